//! What a history of more than one file goes through, on files that fail at each step in turn.

use std::{
    collections::HashMap,
    fs,
    sync::atomic::{AtomicI64, Ordering},
};

use super::{
    simulated::{Left, Plan, Simulated},
    *,
};
use crate::UsageEvent;

const EVENTS: i64 = 10;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A history that is written to, rotated and looked after, all by one thread so that every step has its number.
struct History {
    files: Simulated,
    now: Arc<AtomicI64>,
    appender: Appender<UsageFile>,
    upkeep: Upkeep,
    /// The numbers of events that were written and synced.
    synced: Vec<i64>,
}

fn settings(compress: Compression) -> UsageStatistics {
    UsageStatistics { rotate_bytes: Some(250), rotate_daily: true, compress, ..UsageStatistics::default() }
}

/// 2026-03-01, noon
const START: i64 = 1_772_366_400_000;

impl History {
    /// On files that go wrong as planned from the moment on at which the history is there.
    fn begin(compress: Compression, plan: Plan) -> Self {
        let files = Simulated::default();
        let names = Arc::new(Names::of("/usage.json".into()));
        let handle = files.append(names.active()).unwrap();
        files.sync_directory(names.directory()).unwrap();
        let now = Arc::new(AtomicI64::new(START));
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp::from_unix_millis(now.load(Ordering::Relaxed)))
        };
        let today = UtcDay::of(clock());
        let settings = settings(compress);
        let shared: Arc<dyn Files> = Arc::new(files.clone());
        let rotation = Rotation { bytes: settings.rotate_bytes, daily: settings.rotate_daily };
        let upkeep = Upkeep { files: Arc::clone(&shared), names: Arc::clone(&names), compression: compress };
        let lock = shared.lock(names.active()).unwrap();
        let file = UsageFile::new(handle, lock, shared, names, rotation, clock, today, None);
        let first = files.steps();
        files.plan(Plan {
            power: plan.power.map(|steps| first + steps),
            failure: plan.failure.map(|(step, kind)| (first + step, kind)),
        });
        Self { files, now, appender: Appender::new(file, 0, false), upkeep, synced: Vec::new() }
    }

    /// Writes all events, some a day after the one before, and looks after segments now and then. Tries everything twice.
    fn write(&mut self) {
        let mut lines = Vec::new();
        let mut waiting = Vec::new();
        for number in 0..EVENTS {
            self.now.fetch_add(if number % 4 == 3 { DAY } else { 1000 }, Ordering::Relaxed);
            serde_json::to_writer(&mut lines, &event(number, self.now.load(Ordering::Relaxed))).unwrap();
            lines.push(b'\n');
            waiting.push(number);
            for _ in 0..2 {
                let (written, result) = self.appender.append(&lines);
                lines.drain(..written);
                if result.and_then(|()| self.appender.sync()).is_ok() {
                    assert!(lines.is_empty());
                    self.synced.append(&mut waiting);
                }
            }
            if number % 3 == 2 {
                // What could not be done is for the next time.
                let _ = self.upkeep.run(&|| false);
            }
        }
        let _ = self.upkeep.run(&|| false);
    }
}

/// An event that can be told by its model.
fn event(number: i64, at: i64) -> UsageEvent {
    let mut event = UsageEvent::new(Timestamp::from_unix_millis(at), format!("m{number}"));
    event.id = Some(format!("id{number}").into());
    event
}

/// What the real store makes of files that were left.
struct Found {
    place: tempfile::TempDir,
    compress: Compression,
}

impl Found {
    fn new(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>, compress: Compression) -> Self {
        // In memory where there is such a place: what becomes of syncs is not asked here.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        for (path, bytes) in files {
            fs::write(place.path().join(path.strip_prefix("/").unwrap()), bytes).unwrap();
        }
        Self { place, compress }
    }

    fn open(&self) -> (Opened, HashMap<String, u64>) {
        let mut events = HashMap::new();
        let path = self.place.path().join("usage.json");
        let mut told = Vec::new();
        let each = |event: EventRef<'_>| *events.entry(event.model.to_owned()).or_default() += 1;
        let opened = open(&path, &settings(self.compress), each, |progress| told.push(progress));
        assert!(told.is_sorted_by(|a, b| a.bytes <= b.bytes && a.events <= b.events), "{told:?}");
        assert!(told.last().is_none_or(|last| last.bytes == last.total_bytes), "{told:?}");
        (opened.unwrap(), events)
    }

    /// Each of the `needed` events is there once, and no other more than that; also after going on with the files.
    fn assert_holds(&self, needed: &[i64], context: &str) {
        let (mut opened, events) = self.open();
        assert!(opened.history.bad_lines <= 1, "{context}");
        assert_eq!(opened.history.events, events.len() as u64, "{context}");
        assert!(events.values().all(|times| *times == 1), "{context}: {events:?}");
        for number in needed {
            assert!(events.contains_key(&format!("m{number}")), "{context}: {number} of {events:?}");
        }
        let line = serde_json::to_string(&event(99, START + 99 * DAY)).unwrap() + "\n";
        assert!(opened.appender.append(line.as_bytes()).1.is_ok(), "{context}");
        opened.upkeep.take().unwrap().run(&|| false).unwrap();
        drop(opened);
        let (opened, mut again) = self.open();
        assert_eq!(again.remove("m99"), Some(1), "{context}");
        assert_eq!(again, events, "{context}");
        assert!(opened.upkeep.unwrap().names.leftovers(&System).unwrap().is_empty(), "{context}");
    }
}

fn compressions() -> impl Iterator<Item = Compression> {
    [Compression::None, Compression::Gzip, Compression::Zstd].into_iter().filter(|known| is_known(*known))
}

fn all_is_well(compress: Compression) -> History {
    let mut history = History::begin(compress, Plan::default());
    history.write();
    assert_eq!(history.synced, Vec::from_iter(0..EVENTS));
    history
}

#[test]
fn segments_are_closed_by_size_and_by_day_and_compressed() {
    for compress in compressions() {
        let history = all_is_well(compress);
        let segments = history.upkeep.names.segments(&history.files).unwrap();
        let names: Vec<_> = segments.iter().map(|s| s.path.file_name().unwrap().to_str().unwrap()).collect();
        let suffix = match compress {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        };
        let expected = ["03-01", "03-01.1", "03-02", "03-02.1", "03-03"]
            .map(|day| format!("usage.2026-{}.json{suffix}", day));
        assert_eq!(names, expected);
        let left = history.files.after_loss_of_power(Left::All, Left::Nothing);
        assert_eq!(left.len(), names.len() + 1);
        Found::new(left, compress).assert_holds(&history.synced, "all is well");
    }
}

/// `kill -9`, or a loss of power, at whatever moment.
#[test]
fn a_crash_at_any_step_loses_nothing_that_was_synced_and_doubles_nothing() {
    for compress in [Compression::None].into_iter().chain(compressions().last()) {
        let before = History::begin(compress, Plan::default()).files.steps();
        let steps = all_is_well(compress).files.steps() - before;
        assert!(steps > 50);
        for power in 0..steps {
            let mut history = History::begin(compress, Plan { power: Some(power), ..Plan::default() });
            history.write();
            for (names, bytes) in [
                (Left::Nothing, Left::Nothing),
                (Left::Nothing, Left::All),
                (Left::All, Left::Nothing),
                (Left::All, Left::Half),
                (Left::All, Left::All),
            ] {
                let context = format!("{compress:?}, {power} of {steps} steps, left {names:?} {bytes:?}");
                let left = history.files.after_loss_of_power(names, bytes);
                Found::new(left, compress).assert_holds(&history.synced, &context);
            }
        }
    }
}

/// F50
#[test]
fn a_failure_at_any_step_is_made_good_by_the_next_try() {
    for compress in [Compression::None].into_iter().chain(compressions().last()) {
        let before = History::begin(compress, Plan::default()).files.steps();
        for step in 0..all_is_well(compress).files.steps() - before {
            let failure = Some((step, io::ErrorKind::StorageFull));
            let mut history = History::begin(compress, Plan { failure, ..Plan::default() });
            history.write();
            let context = format!("{compress:?}, step {step}");
            assert_eq!(history.synced, Vec::from_iter(0..EVENTS), "{context}");
            let left = history.files.after_loss_of_power(Left::Nothing, Left::Nothing);
            Found::new(left, compress).assert_holds(&history.synced, &context);
        }
    }
}

#[test]
fn a_plain_segment_is_trusted_more_than_a_compressed_one_that_differs() {
    for compress in compressions().filter(|compress| *compress != Compression::None) {
        let history = all_is_well(compress);
        let mut left = history.files.after_loss_of_power(Left::All, Left::All);
        let names = &history.upkeep.names;
        let id = names.segments(&history.files).unwrap()[0].id;
        let whole = compress::decoded(&*left[&names.segment(id, compress)], compress)
            .and_then(|mut file| {
                let mut text = Vec::new();
                file.read_to_end(&mut text).map(|_| text)
            })
            .unwrap();
        left.insert(names.segment(id, Compression::None), whole);
        // As it is after a crash before the last step.
        Found::new(left.clone(), compress).assert_holds(&history.synced, "the same");
        let found = Found::new(left.clone(), compress);
        found.open();
        assert!(!found.place.path().join("usage.2026-03-01.json").exists());

        left.get_mut(&names.segment(id, compress)).unwrap().truncate(5);
        let found = Found::new(left, compress);
        found.assert_holds(&history.synced, "a damaged one");
        assert!(found.place.path().join("usage.2026-03-01.json").exists());
    }
}
