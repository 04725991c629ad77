//! What becomes of events when the system fails: from the queue down to the names of files.

use std::sync::atomic::{AtomicBool, AtomicI64};

use super::*;
use crate::store::simulated::{EIO, ENOSPC, EROFS, Plan, Simulated};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// 2026-02-02
const START: i64 = 1_770_000_000_000;

/// A writer to files in memory that are closed by size and by day.
struct System {
    recorder: Recorder<UsageEvent>,
    writer: WriterHandle,
    files: Simulated,
    now: Arc<AtomicI64>,
}

impl System {
    fn start(change: impl FnOnce(&mut UsageStatistics)) -> Self {
        let mut settings = UsageStatistics {
            flush_interval: Duration::from_secs(3600),
            drop_deadline: Duration::ZERO,
            rotate_bytes: Some(1000),
            rotate_daily: true,
            ..UsageStatistics::default()
        };
        change(&mut settings);
        let now = Arc::new(AtomicI64::new(START));
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp::from_unix_millis(now.load(Ordering::Relaxed)))
        };
        let files = Simulated::default();
        let opened = Opened { upkeep: None, ..files.open(&settings, clock) };
        let (recorder, events) = queue::channel(settings.queue_capacity);
        let path = "u.json".into();
        let writer = WriterHandle::spawn(events, Index::default(), opened, path, &settings).unwrap();
        Self { recorder, writer, files, now }
    }

    fn status(&self) -> Status {
        let status = self.writer.status();
        assert_eq!(status.observed, status.persisted + status.queued + status.dropped);
        assert_eq!(status.dropped, status.dropped_by.sum());
        status
    }

    /// Looks at the counts at every moment until `is_over`: they agree, and do not go back.
    fn watch(&self, is_over: &AtomicBool) {
        let mut before = self.status();
        while !is_over.load(Ordering::Relaxed) {
            let status = self.status();
            assert!(status.observed >= before.observed && status.persisted >= before.persisted);
            assert!(status.dropped >= before.dropped);
            before = status;
            thread::yield_now();
        }
    }

    /// Has the writer take all that is queued.
    fn go_round(&self) {
        self.writer.ask_blocking(Command::Snapshot).recv().unwrap();
    }

    /// Nothing fails any more. A try from before may do so, and takes its flush with it; the next one does not.
    fn mend(&self) {
        self.files.plan(Plan::default());
        if self.writer.flush_blocking().is_err() {
            self.writer.flush_blocking().unwrap();
        }
        while self.status().error.is_some() {
            thread::yield_now();
        }
    }

    fn history(&self) -> Vec<u64> {
        numbers(&String::from_utf8(self.files.history()).unwrap())
    }
}

/// Lets the watch end, also if a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the system does, how the reason is called, and whether lines can be written all the same.
fn faults() -> impl Iterator<Item = (Plan, &'static str, bool)> {
    let broken = |error| Plan { error: Some(error), ..Plan::default() };
    [
        (broken(EIO), "os error 5", false),
        (broken(EROFS), "os error 30", false),
        (broken(ENOSPC), "os error 28", false),
        (Plan { room: Some(700), ..Plan::default() }, "os error 28", false),
        (Plan { room: Some(700), at_most: Some(3), ..Plan::default() }, "os error 28", false),
        (Plan { sync_error: Some(EIO), ..Plan::default() }, "os error 5", true),
    ]
    .into_iter()
}

/// F50, F25: what waits is bounded, what is lost is counted by its cause, the reason is told, nothing is asked for to have
/// it all well again, and the file goes on to the byte.
#[test]
fn a_fault_is_told_and_outlived() {
    for (plan, reason, can_write) in faults() {
        let system = System::start(|settings| {
            settings.backlog_bytes = 2000;
            settings.flush_interval = Duration::from_millis(5);
        });
        (0..3).for_each(|number| system.recorder.push(event(number)));
        system.writer.flush_blocking().unwrap();
        system.files.plan(plan);
        for number in 3..60 {
            system.recorder.push(event(number));
            system.go_round();
        }
        assert!(system.writer.flush_blocking().unwrap_err().is_file(), "{reason}");
        let status = system.status();
        assert!(status.error.as_ref().is_some_and(|text| text.contains(reason)), "{reason}: {status:?}");
        let shortest = serde_json::to_string(&event(0)).unwrap().len() as u64;
        let most = if can_write { 60 } else { 2000 / shortest + 1 };
        assert!(status.queued <= most, "{reason}: {status:?}");
        assert_eq!((status.dropped > 0, status.persisted == 60), (!can_write, can_write), "{reason}");
        assert_eq!(status.dropped_by.backlog_full, status.dropped);

        let kept = status.observed - status.dropped;
        system.files.plan(Plan::default());
        while system.status().error.is_some() || system.status().queued > 0 {
            thread::yield_now();
        }
        assert!(system.status().last_error.unwrap().text.contains(reason));
        let history = system.history();
        assert_eq!(history, Vec::from_iter(0..kept), "{reason}");
        assert_eq!(system.status().persisted, history.len() as u64);
    }
}

#[test]
fn a_clock_that_is_set_back_neither_closes_a_file_twice_nor_mixes_them_up() {
    let system = System::start(|settings| settings.rotate_bytes = None);
    for (number, day) in [0, 3, 1, 3, -400, 4, 3].into_iter().enumerate() {
        system.now.store(START + day * DAY, Ordering::Relaxed);
        system.recorder.push(event(number as u64));
        system.writer.flush_blocking().unwrap();
    }
    assert_eq!(system.history(), Vec::from_iter(0..7));
    assert_eq!(system.files.all_that_was().len(), 3, "two days were over");
    assert_eq!(system.status().error, None);
}

#[derive(Clone, Debug)]
enum Step {
    Record(u8),
    GoRound,
    Flush,
    Break(Fault),
    Mend,
    LoseFile,
    LoseDirectory,
    /// To so many days after the start.
    SetClock(i8),
}

#[derive(Clone, Debug)]
enum Fault {
    Error(i32),
    Sync,
    Room(u16),
    Short(u8),
    Slow(u8),
}

impl Fault {
    fn plan(&self) -> Plan {
        match *self {
            Self::Error(error) => Plan { error: Some(error), ..Plan::default() },
            Self::Sync => Plan { sync_error: Some(EIO), ..Plan::default() },
            Self::Room(room) => Plan { room: Some(room.into()), at_most: Some(97), ..Plan::default() },
            Self::Short(at_most) => Plan { at_most: Some(at_most.into()), ..Plan::default() },
            Self::Slow(slowness) => Plan { slowness: slowness.into(), at_most: Some(300), ..Plan::default() },
        }
    }

    /// All can be done, if not at once.
    fn is_mild(&self) -> bool {
        matches!(self, Self::Short(_) | Self::Slow(_))
    }
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        prop_oneof![Just(EIO), Just(EROFS), Just(ENOSPC)].prop_map(Fault::Error),
        Just(Fault::Sync),
        (0_u16..2000).prop_map(Fault::Room),
        (1_u8..100).prop_map(Fault::Short),
        (1_u8..4).prop_map(Fault::Slow),
    ];
    prop_oneof![
        6 => (0_u8..30).prop_map(Step::Record),
        2 => Just(Step::GoRound),
        3 => Just(Step::Flush),
        3 => fault.prop_map(Step::Break),
        2 => Just(Step::Mend),
        1 => Just(Step::LoseFile),
        1 => Just(Step::LoseDirectory),
        1 => (-2_i8..5).prop_map(Step::SetClock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// L8, F50, F25
    #[test]
    fn whatever_the_system_does_each_event_is_kept_once_or_counted_as_lost(
        steps in proptest::collection::vec(step(), 0..50),
        flush_events in 1_usize..20,
        backlog_bytes in 0_usize..10_000,
        rotate_bytes in proptest::option::of(1_u64..3000),
    ) {
        let system = System::start(|settings| {
            settings.flush_events = flush_events;
            settings.queue_capacity = 40;
            settings.backlog_bytes = backlog_bytes;
            settings.rotate_bytes = rotate_bytes;
        });
        let shortest = serde_json::to_string(&event(0)).unwrap().len() + 1;
        let is_over = AtomicBool::new(false);
        let mut recorded = 0;
        // The first event that no loss of a file can have taken.
        let mut safe = 0;
        let mut is_mild = true;
        thread::scope(|scope| {
            scope.spawn(|| system.watch(&is_over));
            let _over = Over(&is_over);
            for step in &steps {
                match step {
                    Step::Record(n) => {
                        (0..*n).for_each(|i| system.recorder.push(event(recorded + u64::from(i))));
                        recorded += u64::from(*n);
                    }
                    Step::GoRound => {
                        system.go_round();
                        // What the queue had is in the backlog now, or gone.
                        let most = (backlog_bytes / shortest + 1) as u64;
                        assert!(system.status().queued <= most, "{:?}", system.status());
                    }
                    Step::Flush => match system.writer.flush_blocking() {
                        Ok(()) => {
                            let status = system.status();
                            assert_eq!((status.observed, status.queued), (recorded, 0));
                        }
                        Err(error) => {
                            assert!(!is_mild, "{error}");
                            assert!(system.status().error.is_some());
                        }
                    },
                    Step::Break(fault) => {
                        // One that began before may fail yet.
                        is_mild &= fault.is_mild();
                        system.files.plan(fault.plan());
                    }
                    Step::Mend => {
                        system.mend();
                        is_mild = true;
                    }
                    Step::LoseFile => {
                        system.files.lose_file();
                        safe = recorded;
                    }
                    Step::LoseDirectory => {
                        system.files.lose_directory();
                        safe = recorded;
                    }
                    Step::SetClock(day) => {
                        system.now.store(START + i64::from(*day) * DAY, Ordering::Relaxed);
                    }
                }
            }
            system.mend();
        });
        system.writer.close_blocking().unwrap();
        let status = system.status();
        prop_assert_eq!((status.observed, status.queued, status.error), (recorded, 0, None));
        prop_assert_eq!(status.dropped_by.unwritten, 0);
        let history = system.history();
        prop_assert!(history.is_sorted_by(|a, b| a < b), "{history:?}");
        // In files that were lost, lines may be torn, and may be what has been written again since.
        let mut kept = HashSet::new();
        for file in system.files.all_that_was() {
            let whole = memchr::memrchr(b'\n', &file).map_or(0, |end| end + 1);
            kept.extend(numbers(std::str::from_utf8(&file[..whole]).unwrap()));
        }
        prop_assert_eq!(kept.len() as u64, status.persisted);
        let missing: Vec<_> =
            kept.into_iter().filter(|number| *number >= safe && !history.contains(number)).collect();
        prop_assert!(missing.is_empty(), "{missing:?} were lost with no file");
    }
}
