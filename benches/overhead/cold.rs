//! Has the processor forget what it knows of a program, as it does while a proxy waits for the network.

use std::hint::black_box;

/// Reads more than a core's first cache holds, and runs more code than it does, in 4,096 pieces that are reached by a jump
/// each: what a server and a kernel do between two calls has that effect. In the second cache all is still there; in the
/// first nothing is, and where branches lead has to be found out again.
pub(crate) fn forget() {
    let sum = black_box(&DATA).iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>();
    let blocks = BLOCKS.as_flattened().as_flattened();
    black_box(blocks.iter().fold(sum, |number, block| block(number)));
}

static DATA: [u8; 128 << 10] = [1; 128 << 10];

type Block = fn(u64) -> u64;

/// A piece of code like no other, of about two lines of a cache.
#[inline(never)]
fn block<const N: u64>(number: u64) -> u64 {
    let mut number = number;
    for round in [1, 3, 5, 7] {
        number = (number ^ (N << round)).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (N * round)).rotate_left(29);
    }
    number
}

macro_rules! sixteen {
    ($one:ident, $at:expr) => {
        [
            $one!($at),
            $one!($at + 1),
            $one!($at + 2),
            $one!($at + 3),
            $one!($at + 4),
            $one!($at + 5),
            $one!($at + 6),
            $one!($at + 7),
            $one!($at + 8),
            $one!($at + 9),
            $one!($at + 10),
            $one!($at + 11),
            $one!($at + 12),
            $one!($at + 13),
            $one!($at + 14),
            $one!($at + 15),
        ]
    };
}

macro_rules! block {
    ($at:expr) => {
        block::<{ $at }> as Block
    };
}

macro_rules! blocks {
    ($at:expr) => {
        sixteen!(block, 16 * ($at))
    };
}

macro_rules! more_blocks {
    ($at:expr) => {
        sixteen!(blocks, 16 * ($at))
    };
}

static BLOCKS: [[[Block; 16]; 16]; 16] = sixteen!(more_blocks, 0);
