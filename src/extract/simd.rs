//! A block of bytes at once, with the widest instructions that the processor has for it.
//!
//! What an instruction set can do is known where the program runs, not where it is compiled: [`vectorized`] compiles
//! its expression for each of the sets and chooses among them. All that is to take part has to be inlined into it, and
//! a closure is only where it says so.

use fearless_simd::{Level, mask8x64, prelude::*, u8x32, u8x64};
pub(in crate::extract) use fearless_simd::{Simd, dispatch};

/// Bytes of a block.
pub(in crate::extract) const BLOCK: usize = 64;

/// Bytes that a key can have.
pub(in crate::extract) const KEY: usize = 32;

/// Runs an expression that is generic over the instruction set.
macro_rules! vectorized {
    ($simd:ident => $run:expr) => {
        $crate::extract::simd::dispatch!($crate::extract::simd::level(), $simd => $run)
    };
}
pub(in crate::extract) use vectorized;

/// The best instruction set that there is.
#[cfg(not(any(test, fuzzing)))]
#[inline(always)]
pub(in crate::extract) fn level() -> Level {
    Level::new()
}

/// One instruction set after the other: all of them find the same.
#[cfg(any(test, fuzzing))]
pub(in crate::extract) fn level() -> Level {
    thread_local!(static TURN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    let best = Level::new();
    let levels = [
        Some(best),
        Some(Level::baseline()),
        #[cfg(target_arch = "x86_64")]
        best.as_sse4_2().map(Level::Sse4_2),
        #[cfg(target_arch = "x86_64")]
        best.as_avx2().map(Level::Avx2),
    ];
    let turn = TURN.get();
    TURN.set(turn.wrapping_add(1));
    levels[turn % levels.len()].unwrap_or(best)
}

/// Bytes that lie side by side, to be compared at once. A set of them is a bit each, the first the lowest.
#[derive(Clone, Copy)]
pub(in crate::extract) struct Block<S: Simd> {
    simd: S,
    bytes: u8x64<S>,
}

impl<S: Simd> Block<S> {
    #[inline(always)]
    pub(in crate::extract) fn new(simd: S, bytes: &[u8; BLOCK]) -> Self {
        Self { simd, bytes: u8x64::from_slice(simd, bytes) }
    }

    /// Of `input` from `at` on, and zeros behind its end.
    #[inline(always)]
    pub(in crate::extract) fn of(simd: S, input: &[u8], at: usize) -> Self {
        match input.get(at..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => Self::new(simd, bytes),
            None => Self::new(simd, &last_bytes(input, at)),
        }
    }

    /// Of `input` from `at` on, if need be with bytes that lie before. Returns how many of those there are.
    #[inline(always)]
    pub(in crate::extract) fn last(simd: S, input: &[u8], at: usize) -> (Self, usize) {
        match (input.get(at..).and_then(<[u8]>::first_chunk), input.last_chunk()) {
            (Some(bytes), _) => (Self::new(simd, bytes), 0),
            (None, Some(bytes)) => (Self::new(simd, bytes), BLOCK + at - input.len()),
            (None, None) => (Self::new(simd, &last_bytes(input, at)), 0),
        }
    }

    #[inline(always)]
    fn all(self, byte: u8) -> u8x64<S> {
        u8x64::splat(self.simd, byte)
    }

    #[inline(always)]
    fn is(self, byte: u8) -> mask8x64<S> {
        self.bytes.simd_eq(self.all(byte))
    }

    /// The brackets differ in one bit.
    #[inline(always)]
    fn is_opening(self) -> mask8x64<S> {
        (self.bytes | self.all(b'{' ^ b'[')).simd_eq(self.all(b'{'))
    }

    #[inline(always)]
    fn is_closing(self) -> mask8x64<S> {
        (self.bytes | self.all(b'}' ^ b']')).simd_eq(self.all(b'}'))
    }

    /// Those that are `byte`.
    #[inline(always)]
    pub(in crate::extract) fn equal(self, byte: u8) -> u64 {
        self.is(byte).to_bitmask()
    }

    /// At least one is no more than `limit`.
    #[inline(always)]
    pub(in crate::extract) fn is_at_most(self, limit: u8) -> bool {
        self.bytes.simd_le(self.all(limit)).any_true()
    }

    /// At each place the lower of two bytes.
    #[inline(always)]
    pub(in crate::extract) fn min(self, other: Self) -> Self {
        Self { bytes: self.bytes.min(other.bytes), ..self }
    }

    /// Brackets that open something.
    #[inline(always)]
    pub(in crate::extract) fn opening(self) -> u64 {
        self.is_opening().to_bitmask()
    }

    /// Brackets that close something.
    #[inline(always)]
    pub(in crate::extract) fn closing(self) -> u64 {
        self.is_closing().to_bitmask()
    }

    /// Those that are `byte`, once the bits of `mask` are set in them.
    #[inline(always)]
    pub(in crate::extract) fn equal_but(self, mask: u8, byte: u8) -> u64 {
        (self.bytes | self.all(mask)).simd_eq(self.all(byte)).to_bitmask()
    }

    /// White space, and whatever else is not seen.
    #[inline(always)]
    pub(in crate::extract) fn spaces(self) -> u64 {
        self.bytes.simd_le(self.all(b' ')).to_bitmask()
    }
}

/// Which bytes of a key are those of another, a bit each.
#[inline(always)]
pub(in crate::extract) fn equal_keys<S: Simd>(simd: S, key: &[u8; KEY], other: &[u8; KEY]) -> u32 {
    u8x32::from_slice(simd, key).simd_eq(u8x32::from_slice(simd, other)).to_bitmask() as u32
}

/// `input` from `at` on, where there is less than a block of it; and zeros behind its end.
#[inline(always)]
pub(in crate::extract) fn last_bytes(input: &[u8], at: usize) -> [u8; BLOCK] {
    let mut bytes = [0; 2 * BLOCK];
    let Some(last) = input.last_chunk::<BLOCK>() else { return padded(input.get(at..).unwrap_or_default()) };
    // Moves of a length that is known: one that is not costs a call.
    bytes[..BLOCK].copy_from_slice(last);
    let passed = (at + BLOCK).saturating_sub(input.len()).min(BLOCK);
    *bytes[passed..].first_chunk().unwrap_or(&[0; BLOCK])
}

/// `input`, which is no longer than that, and zeros behind it.
#[cold]
#[inline(never)]
pub(in crate::extract) fn padded<const N: usize>(input: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..input.len()].copy_from_slice(input);
    bytes
}

/// Behind the bytes from `at` on that are neither quotes nor brackets, as far as there are many of them.
#[inline(always)]
pub(in crate::extract) fn skip_plain<S: Simd>(simd: S, input: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(turn) = input.get(at..).and_then(<[u8]>::first_chunk::<{ 2 * BLOCK }>) {
        let mut found = mask8x64::splat(simd, false);
        for bytes in turn.as_chunks().0 {
            let block = Block::new(simd, bytes);
            found |= block.is(b'"') | block.is_opening() | block.is_closing();
        }
        if found.any_true() {
            break;
        }
        at += turn.len();
    }
    at
}
