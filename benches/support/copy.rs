//! The least of a recorder who leaves the answer to another thread.

use std::sync::LazyLock;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use http::{HeaderMap, StatusCode};
use tower_llm_usage::bench::LONGEST_COPY;

use super::{heads::Heads, observe::Observe};

/// Room for an answer.
pub type Buffer = Box<[u8; LONGEST_COPY]>;

/// Those that hold nothing. Another thread gives them back.
static SPARE: LazyLock<ArrayQueue<Buffer>> = LazyLock::new(|| {
    let spare = ArrayQueue::new(512);
    while spare.push(Box::new([0; _])).is_ok() {}
    spare
});

/// Beside what [`Heads`] does, a copy of the answer for the thread that takes the record, which is what nobody is spared
/// who does not look at it here.
pub struct Copy {
    heads: Heads,
}

impl Copy {
    pub fn new(heads: Heads) -> Self {
        LazyLock::force(&SPARE);
        Self { heads }
    }
}

impl Observe for Copy {
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.heads.head(status, headers);
    }

    fn piece(&mut self, piece: &Bytes) {
        if let Some(mut buffer) = SPARE.pop() {
            buffer[..piece.len()].copy_from_slice(piece);
            self.heads.record(|record| record.answer = Some(buffer));
        }
    }
}

/// What the other thread does with a copy that it is done with.
pub fn give_back(buffer: Buffer) {
    // There is room for all of them.
    let _ = SPARE.push(buffer);
}
