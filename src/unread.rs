//! Short answers on their way to the writer's thread, which reads them there.
//!
//! To read an answer takes some 15 KB of code and tables, which a thread that serves has no longer in its nearest cache when
//! the next answer comes: to fetch them takes several times as long as to read. The writer reads hundreds of answers one
//! behind the other. To copy a short one to where there is room already takes next to nothing.
//!
//! The buffers are made once and go round: none is allocated, or freed by another thread than allocated it, while calls
//! are served.

use std::sync::LazyLock;

use crossbeam_queue::ArrayQueue;

type Buffer = Box<[u8; ShortBody::MAX]>;

/// Those that hold nothing. As many as the events that wait for the writer as a rule; for what is beyond that, the thread
/// that serves reads.
static SPARE: LazyLock<ArrayQueue<Buffer>> = LazyLock::new(|| {
    let spare = ArrayQueue::new(ShortBody::BUFFERS);
    while spare.push(Box::new([0; ShortBody::MAX])).is_ok() {}
    spare
});

/// A copy of a body.
pub(crate) struct ShortBody {
    /// `None` once it has been given back.
    buffer: Option<Buffer>,
    len: usize,
}

impl ShortBody {
    /// The longest that is copied, in bytes: a chat completion with an answer of some hundred words. What a longer one
    /// takes to be read is little beside what it takes to be sent.
    pub(crate) const MAX: usize = 2048;

    const BUFFERS: usize = 512;

    /// Makes the buffers, a megabyte in all, if they are not there yet.
    pub(crate) fn prepare() {
        LazyLock::force(&SPARE);
    }

    /// `None`, if `body` is longer than that, or there is no buffer to spare.
    pub(crate) fn copy_of(body: &[u8]) -> Option<Self> {
        if body.len() > Self::MAX {
            return None;
        }
        let mut buffer = SPARE.pop()?;
        buffer[..body.len()].copy_from_slice(body);
        Some(Self { buffer: Some(buffer), len: body.len() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.as_deref().map_or(&[], |buffer| &buffer[..self.len])
    }
}

impl Drop for ShortBody {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // There is room for all of them.
            let _ = SPARE.push(buffer);
        }
    }
}
