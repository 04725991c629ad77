//! The facade: wires queue, writer and index, and gives out the layer and the management service.

use std::{sync::Arc, time::Duration};

use crate::{
    Config, Error, ManagementLayer, MetricsService, Progress, Status, UsageEvent, UsageLayer,
    config::{Compression, UsageStatistics},
    index::{Caps, Draft, Index},
    manage,
    queue::{self, Recorder},
    slot::Entry,
    store::{self, Past},
    tap::Tap,
    writer::{self, WriterHandle},
};

/// Everything that is known about usage, and the way to the layer and the management service.
///
/// Cheap to clone. When the last clone goes, what is queued is written first; that blocks, for
/// [`drop_deadline`](crate::UsageStatistics::drop_deadline) at most, so async code had better
/// [`close`](Self::close) before. Layers and responses that outlive it go on recording, and the file is closed in
/// the background when the last of them goes.
///
/// ```
/// use tower_llm_usage::{Config, Timestamp, Usage, UsageEvent};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("usage.json");
/// let usage = Usage::open(Config::recording_to(&path))?;
/// usage.record(UsageEvent::new(Timestamp::now(), "gpt-4o"));
/// usage.close_blocking()?;
/// assert_eq!(usage.status().persisted, 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Usage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Goes first: if it is the last one, the writer ends, and there is its end to wait for.
    recorder: Recorder<Entry>,
    writer: WrittenOnDrop,
    metrics: MetricsService,
}

#[derive(Debug)]
struct WrittenOnDrop {
    writer: WriterHandle,
    deadline: Duration,
}

impl Drop for WrittenOnDrop {
    fn drop(&mut self) {
        self.writer.flush_within(self.deadline);
    }
}

impl Usage {
    /// Opens the usage file, loads its history and starts the writer.
    ///
    /// Blocks while the history is read, which takes about a second for some millions of events.
    ///
    /// # Errors
    ///
    /// When a setting cannot be used, or the file is held by another writer or cannot be opened, made or read.
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::open_with_progress(config, |_| {})
    }

    /// [`open`](Self::open) that tells how far it has come, each time that it has come further: thousands of times a
    /// second, and not at all if there is no history. `progress` is called by several threads, one at a time.
    ///
    /// ```
    /// # use tower_llm_usage::{Config, Timestamp, Usage, UsageEvent};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("usage.json");
    /// # let usage = Usage::open(Config::recording_to(&path))?;
    /// # usage.record(UsageEvent::new(Timestamp::now(), "gpt-4o"));
    /// # usage.close_blocking()?;
    /// let mut loaded = None;
    /// let usage = Usage::open_with_progress(Config::recording_to(&path), |progress| loaded = Some(progress))?;
    /// let loaded = loaded.expect("there is a history");
    /// assert_eq!((loaded.bytes, loaded.events), (loaded.total_bytes, 1));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_progress(config: Config, progress: impl FnMut(Progress) + Send) -> Result<Self, Error> {
        let settings = &config.usage_statistics;
        check(settings)?;
        let caps = Caps { events: settings.max_events, models: settings.max_models, keys: settings.max_keys };
        let management = manage::Settings::new(&config.remote_management)?;
        let path = config.usage_file();
        let mut index = Index::new(caps);
        let take_in = |past: Past<'_, Draft>| writer::take_in(&mut index, past);
        let opened = store::open(&path, settings, Draft::push, take_in, progress)?;
        Tap::prepare();
        let (recorder, events) = queue::channel(settings.queue_capacity);
        recorder.set_on(config.usage_statistics_enabled);
        let writer = WriterHandle::spawn(events, index, opened, path.clone(), settings)
            .map_err(|e| Error::file(path, "start the threads that write", e))?;
        let metrics = MetricsService::new(writer.clone(), management);
        let writer = WrittenOnDrop { writer, deadline: settings.drop_deadline };
        Ok(Self { inner: Arc::new(Inner { recorder, writer, metrics }) })
    }

    /// A layer that records into this.
    pub fn layer(&self) -> UsageLayer {
        UsageLayer::new(self.inner.recorder.clone())
    }

    /// A service that answers the management routes from this.
    pub fn metrics_service(&self) -> MetricsService {
        self.inner.metrics.clone()
    }

    /// A layer that puts the management routes in front of a service.
    pub fn management_layer(&self) -> ManagementLayer {
        ManagementLayer::new(self.metrics_service())
    }

    /// Records a call that no layer saw, if recording is on. Never blocks.
    ///
    /// An event without an [`id`](UsageEvent::id) gets one.
    pub fn record(&self, event: UsageEvent) {
        if self.is_recording() {
            self.inner.recorder.push(Entry::Event(Box::new(event)));
        }
    }

    /// Switches recording on or off while running. Calls in progress end as they began.
    pub fn set_recording(&self, on: bool) {
        self.inner.recorder.set_on(on);
    }

    /// Calls are recorded at the moment.
    pub fn is_recording(&self) -> bool {
        self.inner.recorder.is_on()
    }

    /// Where the events are, and how the file is. Cheap: asks neither the writer nor the file.
    pub fn status(&self) -> Status {
        self.writer().status()
    }

    /// Writes what was recorded so far, and returns when it would survive a loss of power.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; the events are kept and tried again. When the writer is closed.
    pub async fn flush(&self) -> Result<(), Error> {
        self.writer().flush().await
    }

    /// [`flush`](Self::flush) for code that is not async.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn flush_blocking(&self) -> Result<(), Error> {
        self.writer().flush_blocking()
    }

    /// Writes what was recorded so far and ends the writer. What comes later is dropped and counted.
    ///
    /// Afterwards the file is free for another [`open`](Self::open). Closing twice is harmless. If the file cannot
    /// be written, it is tried again for [`drop_deadline`](crate::UsageStatistics::drop_deadline). If the disk hangs,
    /// this waits for it; a host that does not want to can put a timeout around it.
    ///
    /// # Errors
    ///
    /// When not all could be written; [`Status::dropped`] then counts what is lost, although answers given
    /// from now on still hold it.
    pub async fn close(&self) -> Result<(), Error> {
        self.writer().close().await
    }

    /// [`close`](Self::close) for code that is not async.
    ///
    /// # Errors
    ///
    /// As [`close`](Self::close).
    pub fn close_blocking(&self) -> Result<(), Error> {
        self.writer().close_blocking()
    }

    fn writer(&self) -> &WriterHandle {
        &self.inner.writer.writer
    }
}

/// Room for more waiting events than anybody means.
const MAX_QUEUE_CAPACITY: usize = 1 << 24;

fn check(settings: &UsageStatistics) -> Result<(), Error> {
    let UsageStatistics {
        flush_events,
        flush_interval,
        queue_capacity,
        rotate_bytes,
        rotate_daily,
        compress,
        keep_days,
        keep_bytes,
        ..
    } = settings;
    for (name, value, most) in [
        ("max-models", settings.max_models, Caps::MOST_MODELS),
        ("max-keys", settings.max_keys, Caps::MOST_KEYS),
    ] {
        if value > most {
            return Err(Error::config(format!("{name} ({value}) must be at most {most}")));
        }
    }
    if *flush_events == 0 {
        return Err(Error::config("flush-events must be at least 1, which writes every event at once"));
    }
    if flush_interval.is_zero() {
        return Err(Error::config(
            "flush-seconds must be more than 0; to write every event at once, set flush-events to 1",
        ));
    }
    if queue_capacity < flush_events {
        return Err(Error::config(format!(
            "queue-capacity ({queue_capacity}) must be at least flush-events ({flush_events})"
        )));
    }
    if *queue_capacity > MAX_QUEUE_CAPACITY {
        return Err(Error::config(format!(
            "queue-capacity ({queue_capacity}) must be at most {MAX_QUEUE_CAPACITY}"
        )));
    }
    if *rotate_bytes == Some(0) {
        return Err(Error::config(
            "rotate-bytes must be at least 1; leave it out to have no rotation by size",
        ));
    }
    let rotates = rotate_bytes.is_some() || *rotate_daily;
    if !rotates && (keep_days.is_some() || keep_bytes.is_some()) {
        return Err(Error::config(
            "keep-days and keep-bytes need rotate-daily or rotate-bytes: only what is closed can be removed",
        ));
    }
    if !store::is_known(*compress) {
        let (name, feature) = match compress {
            Compression::Gzip => ("gzip", "decompression-gzip"),
            _ => ("zstd", "decompression-zstd"),
        };
        return Err(Error::config(format!("compress: {name} needs the feature {feature}")));
    }
    Ok(())
}
