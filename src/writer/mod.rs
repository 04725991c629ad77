//! The thread that writes: takes events from the queue, appends them to the file and feeds the index.

use std::sync::Arc;

use crate::{Error, index::Snapshot};

/// How the writer is spoken to. Cheap to clone; does not keep the writer alive.
#[derive(Clone, Debug)]
pub(crate) struct WriterHandle {}

impl WriterHandle {
    /// Everything recorded before this call, flushed or not. After `close`, the last state there was.
    pub(crate) async fn snapshot(&self) -> Arc<Snapshot> {
        Arc::default()
    }

    /// Writes what is queued, and answers when it is on disk.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn status(&self) -> Status {
        Status::default()
    }
}

/// Where the events are, and how the file is.
///
/// At every moment `observed = persisted + queued + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Calls are recorded at the moment.
    pub recording: bool,
    /// Events that were to be recorded since the start.
    pub observed: u64,
    /// Events that are in the file.
    pub persisted: u64,
    /// Events on their way to the file.
    pub queued: u64,
    /// Events lost because the queue or the backlog was full, or because the writer was closed.
    pub dropped: u64,
    /// Events in memory, the loaded history included.
    pub events: u64,
    /// Lines of the history that could not be read.
    pub bad_lines: u64,
    /// Why the file cannot be written at the moment.
    pub error: Option<String>,
}
