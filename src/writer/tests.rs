use std::{collections::HashSet, error::Error as _, iter, path::Path, thread, time::Instant};

use proptest::prelude::*;

use super::*;
use crate::{
    Timestamp, UsageEvent,
    config::Fsync,
    event::EventRef,
    queue::{self, Recorder},
    store::{self, faulty::Faulty},
};

/// A writer to a file in memory. Left alone it writes every 50 events, and gives up at once when it ends.
struct Setup {
    recorder: Recorder<UsageEvent>,
    writer: WriterHandle,
    disk: Faulty,
}

fn setup() -> Setup {
    setup_with(|_| {})
}

fn setup_with(change: impl FnOnce(&mut UsageStatistics)) -> Setup {
    let mut settings = UsageStatistics {
        flush_interval: Duration::from_secs(3600),
        drop_deadline: Duration::ZERO,
        ..UsageStatistics::default()
    };
    change(&mut settings);
    let disk = Faulty::default();
    let (recorder, events) = queue::channel(settings.queue_capacity);
    let writer = spawn(events, disk.clone(), &settings);
    Setup { recorder, writer, disk }
}

fn spawn<T>(events: Events<T>, disk: Faulty, settings: &UsageStatistics) -> WriterHandle
where
    T: Show + Send + 'static,
{
    let opened = disk.open();
    WriterHandle::spawn(events, Index::default(), opened, "u.json".into(), settings).unwrap()
}

/// A writer to a real file, with the history that lies there.
fn open(path: &Path, settings: &UsageStatistics) -> (Recorder<UsageEvent>, WriterHandle) {
    let mut index = Index::default();
    let opened = store::open(path, settings, Draft::push, |past| take_in(&mut index, past), |_| {}).unwrap();
    let (recorder, events) = queue::channel(1000);
    (recorder, WriterHandle::spawn(events, index, opened, path.into(), settings).unwrap())
}

impl Setup {
    /// Records an event that can be told by its number.
    fn record(&self, number: u64) {
        self.recorder.push(event(number));
    }

    fn lines(&self) -> Vec<u64> {
        numbers(&self.disk.text())
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.writer.ask_blocking(Command::Snapshot).recv().unwrap()
    }

    /// Has the writer go round once, without having it write.
    fn go_round(&self) {
        self.snapshot();
    }

    fn status(&self) -> Status {
        let status = self.writer.status();
        assert_eq!(status.observed, status.persisted + status.queued + status.dropped);
        assert_eq!(status.dropped, status.dropped_by.sum());
        status
    }

    /// Hears of every sync from now on.
    fn syncs(&self) -> mpsc::Receiver<()> {
        let (synced, syncs) = mpsc::channel();
        self.disk.plan(|plan| plan.synced = Some(synced));
        syncs
    }
}

fn event(number: u64) -> UsageEvent {
    let mut event = UsageEvent::new(Timestamp::from_unix_millis(1_770_000_000_000), "gpt-4o");
    event.tokens.input = Some(number);
    event
}

/// The numbers of the events in a file, every line of which must be whole.
fn numbers(file: &str) -> Vec<u64> {
    assert!(file.is_empty() || file.ends_with('\n'));
    let number = |line| serde_json::from_str::<UsageEvent>(line).unwrap().tokens.input.unwrap();
    file.lines().map(number).collect()
}

mod faults;

mod lines {
    use super::*;

    /// L7
    #[test]
    fn are_written_when_enough_of_them_wait_and_not_before() {
        let setup = setup();
        let syncs = setup.syncs();
        (0..49).for_each(|i| setup.record(i));
        setup.go_round();
        assert_eq!((setup.lines().len(), setup.status().queued), (0, 49));
        setup.record(49);
        syncs.recv().unwrap();
        assert_eq!(setup.lines(), (0..50).collect::<Vec<_>>());
        assert_eq!(setup.disk.calls(), 1);
    }

    /// A flush costs as much as hundreds of calls: those that come within a tenth of a second share one.
    #[test]
    fn that_come_fast_are_written_together() {
        let setup = setup_with(|settings| settings.flush_events = 1);
        let start = Instant::now();
        for i in 0..500 {
            setup.record(i);
            setup.go_round();
        }
        setup.writer.flush_blocking().unwrap();
        // The first at once, and those that were asked for.
        let most = start.elapsed().as_millis() / 100 + 2;
        assert!(setup.disk.calls() as u128 <= most, "{} writes where {most} would do", setup.disk.calls());
        assert_eq!(setup.lines(), (0..500).collect::<Vec<_>>());
    }

    /// L7
    #[test]
    fn are_written_when_they_have_waited_long_enough() {
        let setup = setup_with(|settings| settings.flush_interval = Duration::from_millis(1));
        let syncs = setup.syncs();
        setup.record(1);
        syncs.recv().unwrap();
        setup.record(2);
        syncs.recv().unwrap();
        assert_eq!(setup.lines(), [1, 2]);
    }

    /// L7
    #[test]
    fn are_written_on_a_flush_even_if_a_query_has_taken_them_from_the_queue() {
        let setup = setup();
        setup.record(1);
        setup.go_round();
        setup.record(2);
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.lines(), [1, 2]);
        assert_eq!(
            (setup.status().persisted, setup.status().file_bytes),
            (2, setup.disk.text().len() as u64)
        );
    }

    #[test]
    fn carry_an_id_of_their_own_unless_they_came_with_one() {
        let setup = setup();
        for id in [None, Some(""), Some("given"), None] {
            let mut event = event(0);
            event.id = id.map(Into::into);
            setup.recorder.push(event);
        }
        setup.writer.flush_blocking().unwrap();
        let text = setup.disk.text();
        let id = |line| serde_json::from_str::<UsageEvent>(line).unwrap().id.unwrap().into_owned();
        let ids: HashSet<_> = text.lines().map(id).collect();
        assert_eq!(ids.len(), 4);
        assert!(ids.contains("given"));
        assert!(ids.iter().all(|id| id == "given" || id.len() == 32));
    }

    /// L11
    #[test]
    fn name_no_empty_model() {
        let setup = setup();
        let mut event = event(0);
        event.model = "".into();
        setup.recorder.push(event);
        setup.writer.flush_blocking().unwrap();
        assert!(setup.disk.text().contains(r#""model":"unknown""#));
    }

    #[test]
    fn that_no_load_would_read_are_not_written() {
        let setup = setup();
        let mut long = event(0);
        long.endpoint = Some("x".repeat(store::MAX_LINE).into());
        setup.recorder.push(long);
        setup.record(1);
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.lines(), [1]);
        assert_eq!((setup.status().dropped, setup.status().events), (1, 1));
        assert_eq!(setup.status().dropped_by, Dropped { too_long: 1, ..Dropped::default() });
    }
}

mod what_is_written {
    use super::*;

    /// Writes an event without asking for it, and waits until it is in the file.
    fn write(setup: &Setup, number: u64) {
        setup.record(number);
        while setup.status().persisted <= number {
            thread::yield_now();
        }
        setup.go_round();
    }

    #[test]
    fn is_synced_with_every_flush() {
        let setup = setup_with(|settings| settings.flush_events = 1);
        let syncs = setup.syncs();
        for i in 0..5 {
            setup.record(i);
            syncs.recv().unwrap();
        }
        setup.writer.close_blocking().unwrap();
        assert_eq!(setup.disk.syncs(), 5);
    }

    #[test]
    fn is_never_synced_where_that_was_asked_for() {
        let setup = setup_with(|settings| (settings.flush_events, settings.fsync) = (1, Fsync::None));
        (0..5).for_each(|i| write(&setup, i));
        setup.writer.flush_blocking().unwrap();
        setup.writer.close_blocking().unwrap();
        assert_eq!((setup.lines(), setup.disk.syncs()), ((0..5).collect(), 0));
    }

    #[test]
    fn is_synced_at_intervals_and_when_somebody_waits_for_it() {
        let hour = Fsync::Interval(Duration::from_secs(3600));
        let setup = setup_with(|settings| (settings.flush_events, settings.fsync) = (1, hour));
        (0..5).for_each(|i| write(&setup, i));
        assert_eq!(setup.disk.syncs(), 0);
        setup.writer.flush_blocking().unwrap();
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.disk.syncs(), 1, "one was needed");
        write(&setup, 5);
        setup.writer.close_blocking().unwrap();
        assert_eq!(setup.disk.syncs(), 2);
    }

    #[test]
    fn is_synced_when_the_interval_is_over_though_nothing_follows() {
        let soon = Fsync::Interval(Duration::from_millis(1));
        let setup = setup_with(|settings| (settings.flush_events, settings.fsync) = (1, soon));
        let syncs = setup.syncs();
        setup.record(0);
        syncs.recv().unwrap();
        assert_eq!(setup.lines(), [0]);
    }

    #[test]
    fn counts_as_unwell_until_a_sync_goes_well_even_if_more_is_written_meanwhile() {
        let hour = Fsync::Interval(Duration::from_secs(3600));
        let setup = setup_with(|settings| (settings.flush_events, settings.fsync) = (1, hour));
        setup.disk.plan(|plan| plan.sync_error = Some(io::ErrorKind::Other));
        write(&setup, 0);
        assert_eq!(setup.status().error, None);
        setup.writer.flush_blocking().unwrap_err();
        write(&setup, 1);
        assert!(setup.status().error.unwrap().starts_with("cannot sync"));
        setup.disk.plan(|plan| plan.sync_error = None);
        setup.writer.flush_blocking().unwrap();
        let status = setup.status();
        assert_eq!((status.error, setup.disk.syncs()), (None, 1));
        assert!(status.last_error.unwrap().text.starts_with("cannot sync"));
    }
}

mod a_snapshot {
    use super::*;

    /// R9
    #[tokio::test]
    async fn holds_all_that_was_recorded_before_flushed_or_not() {
        let setup = setup();
        for i in 1..=120 {
            setup.record(i);
            assert_eq!(setup.writer.snapshot().await.events(), i);
            assert_eq!(setup.status().events, i);
        }
    }

    /// R10
    #[tokio::test]
    async fn is_not_made_anew_while_nothing_is_recorded() {
        let setup = setup();
        setup.record(1);
        let first = setup.writer.snapshot().await;
        assert!(Arc::ptr_eq(&first, &setup.writer.snapshot().await));
    }

    /// F34
    #[tokio::test]
    async fn does_not_wait_for_a_disk_that_hangs() {
        let setup = setup_with(|settings| settings.flush_events = 1);
        let (hanging, hangs) = mpsc::channel();
        let (release, released) = mpsc::channel();
        setup.disk.plan(|plan| plan.hang = Some((hanging, released)));
        setup.record(1);
        hangs.recv().unwrap();
        setup.record(2);
        assert_eq!(setup.writer.snapshot().await.events(), 2);
        drop(release);
        setup.writer.flush().await.unwrap();
        assert_eq!(setup.lines(), [1, 2]);
    }

    #[tokio::test]
    async fn is_the_last_one_after_the_end() {
        let setup = setup();
        setup.record(1);
        setup.writer.close().await.unwrap();
        setup.record(2);
        let last = setup.writer.snapshot().await;
        assert!(Arc::ptr_eq(&last, &setup.writer.snapshot().await));
        assert_eq!((last.events(), setup.status().events), (1, 1));
    }
}

mod a_file_that_cannot_be_written {
    use super::*;

    /// L8, F50
    #[test]
    fn fails_a_flush_and_has_its_lines_when_it_recovers() {
        let setup = setup();
        setup.disk.plan(|plan| plan.room = Some(300));
        (0..3).for_each(|i| setup.record(i));
        let error = setup.writer.flush_blocking().unwrap_err();
        assert!(error.is_file());
        let cause = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
        let status = setup.status();
        assert!(status.error.unwrap().starts_with("cannot write to the usage file u.json: "));
        assert_eq!((status.persisted, status.dropped, status.file_bytes), (1, 0, 300));

        setup.record(3);
        setup.disk.plan(|plan| plan.room = None);
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.lines(), [0, 1, 2, 3]);
        assert_eq!((setup.status().persisted, setup.status().error), (4, None));
    }

    #[test]
    fn is_tried_again_without_being_asked() {
        let setup = setup_with(|settings| settings.flush_events = 1);
        let syncs = setup.syncs();
        setup.disk.plan(|plan| plan.failures = 1);
        setup.record(1);
        syncs.recv().unwrap();
        assert_eq!((setup.lines(), setup.disk.calls()), (vec![1], 2));
    }

    #[test]
    fn is_left_alone_between_the_tries() {
        let setup = setup_with(|settings| settings.flush_events = 1);
        setup.disk.plan(|plan| plan.error = Some(io::ErrorKind::Other));
        // Before the try from which the first wait is counted.
        let start = Instant::now();
        setup.record(1);
        setup.writer.flush_blocking().unwrap_err();
        let tries = setup.disk.calls();
        for i in 2..200 {
            setup.record(i);
            setup.go_round();
        }
        // No try at all, on a machine that does this within the first wait.
        let waits = start.elapsed().as_millis() / 250;
        assert!((setup.disk.calls() - tries) as u128 <= waits);
    }

    /// F25, F50
    #[test]
    fn holds_no_more_than_the_backlog_and_the_rest_is_counted_and_in_no_answer() {
        let setup = setup_with(|settings| settings.backlog_bytes = 1000);
        setup.disk.plan(|plan| plan.error = Some(io::ErrorKind::StorageFull));
        setup.record(0);
        setup.writer.flush_blocking().unwrap_err();
        (1..20).for_each(|i| setup.record(i));
        setup.go_round();
        let kept = setup.status().queued;
        assert!((2..10).contains(&kept));
        assert_eq!((setup.status().dropped, setup.status().events), (20 - kept, kept));
        assert_eq!(setup.status().dropped_by.backlog_full, 20 - kept);
        assert_eq!(setup.snapshot().events(), kept);

        setup.disk.plan(|plan| plan.error = None);
        setup.writer.flush_blocking().unwrap();
        setup.record(20);
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.lines(), (0..kept).chain([20]).collect::<Vec<_>>());
        assert_eq!((setup.status().dropped, setup.status().events), (20 - kept, kept + 1));
    }

    #[test]
    fn is_one_that_hangs_as_well_once_the_backlog_is_full() {
        let setup = setup_with(|settings| (settings.flush_events, settings.backlog_bytes) = (1, 1000));
        let (hanging, hangs) = mpsc::channel();
        let (release, released) = mpsc::channel();
        setup.disk.plan(|plan| plan.hang = Some((hanging, released)));
        setup.record(0);
        hangs.recv().unwrap();
        (1..20).for_each(|i| setup.record(i));
        setup.go_round();
        let kept = setup.status().events;
        assert_eq!(setup.status().dropped, 20 - kept);
        drop(release);
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.lines(), (0..kept).collect::<Vec<_>>());
    }

    #[test]
    fn is_not_one_that_is_merely_slow_so_a_small_backlog_loses_nothing() {
        let setup = setup_with(|settings| settings.backlog_bytes = 1);
        (0..500).for_each(|i| setup.record(i));
        setup.writer.flush_blocking().unwrap();
        assert_eq!(setup.lines(), (0..500).collect::<Vec<_>>());
        assert_eq!(setup.status().dropped, 0);
    }

    #[test]
    fn is_not_one_that_cannot_be_synced_which_is_reported_and_gone_on_with() {
        let setup = setup();
        setup.disk.plan(|plan| plan.sync_error = Some(io::ErrorKind::Other));
        for i in 0..2 {
            setup.record(i);
            assert!(setup.writer.flush_blocking().unwrap_err().is_file());
            assert!(setup.status().error.unwrap().starts_with("cannot sync the usage file"));
        }
        assert_eq!((setup.lines(), setup.status().persisted), (vec![0, 1], 2));
        setup.disk.plan(|plan| plan.sync_error = None);
        setup.writer.flush_blocking().unwrap();
        assert_eq!((setup.lines(), setup.status().error), (vec![0, 1], None));
    }
}

mod the_end {
    use super::*;

    /// L9, F27
    #[tokio::test]
    async fn by_close_writes_all_and_can_be_asked_for_twice() {
        let setup = setup();
        (0..10).for_each(|i| setup.record(i));
        setup.writer.close().await.unwrap();
        assert_eq!(setup.lines(), (0..10).collect::<Vec<_>>());
        setup.writer.close().await.unwrap();
        setup.writer.close_blocking().unwrap();
        assert!(setup.writer.flush().await.unwrap_err().is_closed());
        setup.record(10);
        let status = setup.status();
        assert_eq!((status.observed, status.persisted, status.queued, status.dropped), (11, 10, 0, 1));
        assert_eq!(status.dropped_by.closed, 1);
    }

    /// L10, F27
    #[test]
    fn by_the_last_recorder_writes_all_and_closes_the_file() {
        let Setup { recorder, writer, disk } = setup();
        let other = recorder.clone();
        recorder.push(event(1));
        drop(recorder);
        other.push(event(2));
        drop(other);
        writer.flush_within(Duration::from_secs(60));
        assert_eq!(numbers(&disk.text()), [1, 2]);
        assert!(disk.is_the_only_one());
        writer.close_blocking().unwrap();
    }

    #[test]
    fn with_a_file_that_cannot_be_written_says_so_and_counts_what_is_lost() {
        let setup = setup();
        setup.disk.plan(|plan| plan.room = Some(300));
        (0..3).for_each(|i| setup.record(i));
        assert!(setup.writer.close_blocking().unwrap_err().is_file());
        let status = setup.status();
        assert_eq!((status.observed, status.persisted, status.queued, status.dropped), (3, 1, 0, 2));
        assert_eq!(status.dropped_by.unwritten, 2);
    }

    #[test]
    fn tries_a_file_that_cannot_be_written_until_the_deadline() {
        let setup = setup_with(|settings| settings.drop_deadline = Duration::from_secs(60));
        setup.disk.plan(|plan| plan.failures = 2);
        setup.record(1);
        setup.writer.close_blocking().unwrap();
        assert_eq!((setup.lines(), setup.disk.calls()), (vec![1], 3));
    }

    #[test]
    fn with_a_file_that_cannot_be_synced_is_not_put_off() {
        let setup = setup_with(|settings| settings.drop_deadline = Duration::from_secs(60));
        setup.disk.plan(|plan| plan.sync_error = Some(io::ErrorKind::Other));
        setup.record(1);
        assert!(setup.writer.close_blocking().unwrap_err().is_file());
        assert_eq!((setup.lines(), setup.status().persisted), (vec![1], 1));
    }

    #[test]
    fn is_not_waited_for_beyond_the_limit() {
        let Setup { recorder, writer, disk } = setup();
        let (hanging, hangs) = mpsc::channel();
        let (release, released) = mpsc::channel();
        disk.plan(|plan| plan.hang = Some((hanging, released)));
        recorder.push(event(1));
        drop(recorder);
        hangs.recv().unwrap();
        writer.flush_within(Duration::from_millis(1));
        drop(release);
        writer.close_blocking().unwrap();
    }

    /// L9
    #[test]
    fn while_many_threads_record_and_ask_leaves_nobody_waiting_and_nothing_uncounted() {
        for round in 0..20 {
            let setup = setup_with(|settings| settings.queue_capacity = 64);
            thread::scope(|scope| {
                for thread in 0..4 {
                    let setup = &setup;
                    scope.spawn(move || (0..500).for_each(|i| setup.record(thread * 500 + i)));
                    scope.spawn(move || while setup.writer.flush_blocking().is_ok() {});
                    scope.spawn(move || while setup.status().queued > 0 {});
                }
                scope.spawn(|| {
                    (0..round * 20).for_each(|_| setup.go_round());
                    setup.writer.close_blocking().unwrap();
                });
            });
            let status = setup.status();
            assert_eq!((status.observed, status.queued), (2000, 0));
            let lines = setup.lines();
            assert_eq!(lines.len() as u64, status.persisted);
            assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len());
            for thread in 0..4 {
                assert!(lines.iter().filter(|line| *line / 500 == thread).is_sorted());
            }
        }
    }

    /// Should not happen; if it does, nobody hangs and nothing is kept silently.
    #[tokio::test]
    async fn by_a_panic_is_an_error_to_those_who_ask() {
        struct Bomb;
        impl Show for Bomb {
            fn show(self, _: impl FnOnce(EventRef<'_>)) {
                panic!("the writer is meant to panic here")
            }
        }
        let (recorder, events) = queue::channel(8);
        let writer = spawn(events, Faulty::default(), &UsageStatistics::default());
        recorder.push(Bomb);
        recorder.push(Bomb);
        assert!(writer.flush().await.unwrap_err().is_closed());
        assert!(writer.close().await.unwrap_err().is_closed());
        assert!(writer.close_blocking().unwrap_err().is_closed());
        writer.snapshot().await;
        recorder.push(Bomb);
        let status = writer.status();
        assert_eq!((status.observed, status.persisted, status.queued, status.dropped), (3, 0, 0, 3));
    }
}

/// F36
mod events_that_leave_the_disk {
    use super::*;
    use crate::index::Query;

    fn requests(snapshot: &Snapshot) -> u64 {
        snapshot.query(&Query::over(Timestamp::MIN, Timestamp::MAX)).totals.sums.requests
    }

    #[test]
    fn leave_memory_with_it_and_keep_their_sums_over_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("usage.json");
        let settings = UsageStatistics {
            flush_events: 1,
            rotate_bytes: Some(1),
            keep_bytes: Some(0),
            ..UsageStatistics::default()
        };
        let (recorder, writer) = open(&path, &settings);
        for hour in 0..5 {
            let at = Timestamp::from_unix_millis(1_770_000_000_000 + hour * 3_600_000);
            recorder.push(UsageEvent::new(at, "gpt-4o"));
        }
        writer.flush_blocking().unwrap();
        let snapshot = || writer.ask_blocking(Command::Snapshot).recv().unwrap();
        // The last one is in the usage file, and the one before shares its sums' quarter of an hour with what may come.
        while snapshot().events() > 2 {
            thread::yield_now();
        }
        assert_eq!((snapshot().events(), requests(&snapshot())), (2, 5));
        assert_eq!(writer.status().error, None);
        writer.close_blocking().unwrap();

        let (_recorder, writer) = open(&path, &settings);
        let status = writer.status();
        assert_eq!((status.events, status.segments, status.error), (1, 0, None));
        let snapshot = writer.ask_blocking(Command::Snapshot).recv().unwrap();
        assert_eq!((snapshot.events(), requests(&snapshot)), (1, 5));
        // Before the directory goes: segments are looked after until then.
        writer.close_blocking().unwrap();
    }
}

mod a_history {
    use proptest::{collection::vec, sample::select};

    use super::*;
    use crate::{
        config::Compression,
        index::{
            Query,
            tests::properties::{events, queries},
        },
    };

    /// What a line can hold: a time beyond is cut to what a float tells.
    fn writable() -> impl Strategy<Value = UsageEvent> {
        events().prop_map(|mut event| {
            let is_short = |time: &Duration| *time < Duration::from_secs(1_000_000_000);
            event.duration = event.duration.filter(is_short);
            event.time_to_first_byte = event.time_to_first_byte.filter(is_short);
            event
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// F34: what was answered while it was written is answered of the file, and of any segments that it lies in.
        #[test]
        fn is_answered_alike_live_and_loaded_wherever_its_segments_end(
            history in vec(writable(), 0..80),
            flushes in vec(1_usize..80, 0..4),
            rotate_bytes in select(vec![None, Some(1), Some(1000), Some(9000)]),
            compress in select(if cfg!(feature = "decompression-gzip") {
                vec![Compression::None, Compression::Gzip]
            } else {
                vec![Compression::None]
            }),
            questions in vec(queries(), 4),
        ) {
            let mut direct = Index::default();
            history.iter().for_each(|event| direct.insert(event));
            let direct = direct.snapshot();
            let ask = |snapshot: &Snapshot| {
                let of = |query: &Query| (snapshot.query(query), snapshot.query(&Query { filters: Vec::new(), ..query.clone() }));
                questions.iter().map(of).collect::<Vec<_>>()
            };
            let expected = ask(&direct);

            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("usage.json");
            let settings = UsageStatistics { flush_events: 7, rotate_bytes, compress, fsync: Fsync::None, ..UsageStatistics::default() };
            let (recorder, writer) = open(&path, &settings);
            for (number, event) in history.iter().enumerate() {
                recorder.push(event.clone());
                if flushes.contains(&number) {
                    writer.flush_blocking().unwrap();
                }
            }
            prop_assert_eq!(&ask(&writer.snapshot_blocking()), &expected);
            writer.close_blocking().unwrap();

            let (_recorder, writer) = open(&path, &settings);
            let status = writer.status();
            prop_assert_eq!((status.events, status.bad_lines), (history.len() as u64, 0));
            prop_assert_eq!(&ask(&writer.snapshot_blocking()), &expected);
            // Before the directory goes: segments are looked after until then.
            writer.close_blocking().unwrap();
        }
    }
}

mod callers {
    use super::*;

    #[test]
    fn can_hold_the_futures_on_any_thread() {
        fn is_send(_: impl Send) {}
        let setup = setup();
        is_send(setup.writer.snapshot());
        is_send(setup.writer.flush());
        is_send(setup.writer.close());
    }

    #[tokio::test]
    async fn can_use_the_blocking_twins_inside_a_runtime() {
        let setup = setup();
        setup.record(1);
        setup.writer.flush_blocking().unwrap();
        setup.writer.close_blocking().unwrap();
    }

    #[tokio::test]
    async fn that_leave_before_the_answer_do_no_harm() {
        let setup = setup();
        setup.record(1);
        for _ in 0..3 {
            drop(setup.writer.ask(Command::Flush));
            drop(setup.writer.ask(Command::Snapshot));
        }
        setup.writer.flush().await.unwrap();
        assert_eq!(setup.lines(), [1]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Record(u8),
    GoRound,
    Flush,
    FailWrites(bool),
    FailSyncs(bool),
    Shorten(Option<u16>),
    Interrupt(u8),
    Fill(Option<u16>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..30).prop_map(Step::Record),
        1 => Just(Step::GoRound),
        3 => Just(Step::Flush),
        1 => any::<bool>().prop_map(Step::FailWrites),
        1 => any::<bool>().prop_map(Step::FailSyncs),
        1 => proptest::option::of(1_u16..400).prop_map(Step::Shorten),
        1 => (0_u8..4).prop_map(Step::Interrupt),
        2 => proptest::option::of(0_u16..2000).prop_map(Step::Fill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// L8, F50
    #[test]
    fn whatever_the_disk_does_the_file_has_each_kept_event_once_and_in_order(
        steps in proptest::collection::vec(step(), 0..40),
        flush_events in 1_usize..20,
        queue_capacity in 20_usize..40,
        backlog_bytes in 0_usize..10_000,
    ) {
        let setup = setup_with(|settings| {
            settings.flush_events = flush_events;
            settings.queue_capacity = queue_capacity;
            settings.backlog_bytes = backlog_bytes;
        });
        let mut recorded = 0;
        for step in &steps {
            match step {
                Step::Record(n) => {
                    (0..*n).for_each(|i| setup.record(recorded + u64::from(i)));
                    recorded += u64::from(*n);
                }
                Step::GoRound => setup.go_round(),
                Step::Flush => drop(setup.writer.flush_blocking()),
                Step::FailWrites(fail) => {
                    setup.disk.plan(|plan| plan.error = fail.then_some(io::ErrorKind::Other));
                }
                Step::FailSyncs(fail) => {
                    setup.disk.plan(|plan| plan.sync_error = fail.then_some(io::ErrorKind::Other));
                }
                Step::Shorten(to) => setup.disk.plan(|plan| plan.at_most = to.map(usize::from)),
                Step::Interrupt(times) => setup.disk.plan(|plan| plan.interruptions = usize::from(*times)),
                Step::Fill(room) => setup.disk.plan(|plan| plan.room = room.map(usize::from)),
            }
            prop_assert_eq!(setup.status().observed, recorded);
        }
        setup.disk.plan(|plan| *plan = Default::default());
        setup.writer.close_blocking().unwrap();
        let status = setup.status();
        let lines = setup.lines();
        prop_assert_eq!(lines.len() as u64, status.persisted);
        prop_assert_eq!((status.queued, status.events), (0, status.persisted));
        prop_assert!(iter::zip(&lines, &lines[lines.len().min(1)..]).all(|(a, b)| a < b));
        prop_assert_eq!(status.file_bytes, setup.disk.text().len() as u64);
    }
}
