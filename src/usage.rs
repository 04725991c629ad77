//! The facade: wires queue, writer and index, and gives out the layer and the management service.

use crate::{Config, Error, MetricsService, Status, UsageEvent, UsageLayer};

/// Everything that is known about usage, and the way to the layer and the management service.
///
/// Cheap to clone. When the last clone goes, what is queued is written first.
#[derive(Clone, Debug)]
pub struct Usage {}

impl Usage {
    /// Opens the usage file, loads its history and starts the writer.
    ///
    /// Blocks while the history is read.
    ///
    /// # Errors
    ///
    /// When a setting cannot be used, or the file is held by another process or cannot be opened or made.
    pub fn open(config: Config) -> Result<Self, Error> {
        let _ = config;
        Ok(Self {})
    }

    /// A layer that records into this.
    pub fn layer(&self) -> UsageLayer {
        unimplemented!()
    }

    /// A service that answers the management routes from this.
    pub fn metrics_service(&self) -> MetricsService {
        MetricsService {}
    }

    /// Records a call that no layer saw.
    pub fn record(&self, event: UsageEvent) {
        let _ = event;
    }

    /// Switches recording on or off while running. Calls in progress end as they began.
    pub fn set_recording(&self, on: bool) {
        let _ = on;
    }

    /// Where the events are, and how the file is.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Writes what was recorded so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; the events are kept and tried again.
    pub async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    /// [`flush`](Self::flush) for code that is not async.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn flush_blocking(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Writes what was recorded so far and ends the writer. What comes later is dropped and counted.
    ///
    /// # Errors
    ///
    /// When not all could be written.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// [`close`](Self::close) for code that is not async.
    ///
    /// # Errors
    ///
    /// As [`close`](Self::close).
    pub fn close_blocking(&self) -> Result<(), Error> {
        Ok(())
    }
}
