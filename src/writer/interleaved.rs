//! The queue, its bell, the writer's threads and their end, in many orders of what their threads do.
//!
//! Nothing waits for a time here, so a wake that is lost leaves all threads waiting, which the scheduler finds. Every
//! access to what is shared counts as one of an order that all threads agree on: what the queue says about orderings is
//! not tried.

use std::collections::HashSet;

use shuttle::{
    Config, Runner,
    scheduler::{DfsScheduler, PctScheduler, RandomScheduler},
};

use super::*;
use crate::{
    UsageEvent,
    queue::{self, Recorder},
    store::faulty::Faulty,
};

const TIMES: usize = 2000;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config
}

/// Goes through `test` in random orders, and in those in which a few switches of the thread come at the worst moment.
fn interleave(test: impl Fn() + Copy + Send + Sync + 'static) {
    Runner::new(RandomScheduler::new(TIMES), config()).run(test);
    for depth in 1..=3 {
        Runner::new(PctScheduler::new(depth, TIMES / 2), config()).run(test);
    }
}

fn event(number: u64) -> UsageEvent {
    let mut event = UsageEvent::new(Timestamp::from_unix_millis(1_770_000_000_000), "m");
    event.tokens.input = Some(number);
    event
}

/// A writer and its file, and how many pushes have come back.
#[derive(Clone)]
struct Stage {
    recorder: Recorder<UsageEvent>,
    writer: WriterHandle,
    disk: Faulty,
    recorded: Arc<AtomicU64>,
}

impl Stage {
    fn new(queue_capacity: usize, flush_events: usize) -> Self {
        let settings = UsageStatistics {
            flush_events,
            flush_interval: Duration::from_secs(3600),
            drop_deadline: Duration::ZERO,
            ..UsageStatistics::default()
        };
        let disk = Faulty::default();
        let opened = disk.open();
        let (recorder, events) = queue::channel(queue_capacity);
        let index = Index::default();
        let writer = WriterHandle::spawn(events, index, opened, "u.json".into(), &settings).unwrap();
        Self { recorder, writer, disk, recorded: Arc::default() }
    }

    fn record(&self, number: u64) {
        self.recorder.push(event(number));
        self.recorded.fetch_add(1, Ordering::SeqCst);
    }

    fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::SeqCst)
    }

    /// What is true at every moment.
    fn status(&self) -> Status {
        let status = self.writer.status();
        assert_eq!(status.observed, status.persisted + status.queued + status.dropped);
        assert_eq!(status.dropped, status.dropped_by.sum());
        status
    }

    /// The numbers of the events in the file, each of which is whole and there once.
    fn numbers(&self) -> Vec<u64> {
        let number = |line: &str| serde_json::from_str::<UsageEvent>(line).unwrap().tokens.input.unwrap();
        let numbers: Vec<_> = self.disk.text().lines().map(number).collect();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len(), "twice: {numbers:?}");
        numbers
    }

    /// Runs `act` on a thread, with a stage of its own.
    fn spawn(&self, act: impl FnOnce(Self) + Send + 'static) -> thread::JoinHandle<()> {
        let stage = self.clone();
        thread::spawn(move || act(stage))
    }
}

/// One that takes, by the protocol of the bell; two items from each of the threads that push. While there is a recorder
/// more, nothing but a push rings.
fn take_what_others_push(pushing: u64) {
    let (recorder, mut events) = queue::channel(8);
    let pushing: Vec<_> = (0..pushing)
        .map(|_| {
            let recorder = recorder.clone();
            thread::spawn(move || (0..2).for_each(|i| recorder.push(i)))
        })
        .collect();
    events.attach();
    let all = 2 * pushing.len() as u64;
    let mut taken = 0;
    while taken < all {
        match events.pop() {
            Some(_) => taken += 1,
            None if events.arm(1) => events.wait(None),
            None => thread::yield_now(),
        }
    }
    drop(recorder);
    while !events.is_closed() {
        events.wait(None);
    }
    events.close();
    assert!(events.is_drained() && events.pop().is_none());
    assert_eq!(events.tally().observed(), all);
    pushing.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_push_and_a_sleeper_miss_each_other_in_no_order() {
    interleave(|| take_what_others_push(2));
}

/// All orders of a push and of one that is about to sleep: the push rings, or the other one sees it and stays awake.
#[test]
fn a_push_rings_or_is_seen_in_every_order_there_is() {
    let orders = Runner::new(DfsScheduler::new(None, false), config()).run(|| {
        let (recorder, mut events) = queue::channel(1);
        let other = recorder.clone();
        let pushing = thread::spawn(move || other.push(1));
        events.attach();
        let sleeps = events.arm(1);
        pushing.join().unwrap();
        if sleeps {
            // Nobody is left who would ring.
            events.wait(None);
        }
        assert_eq!(events.pop(), Some(1));
        drop(recorder);
    });
    assert!(orders > 50, "{orders}");
}

/// L9: whoever closes, what was let in before comes out, and what comes later is counted.
#[test]
fn a_push_while_the_queue_closes_comes_out_or_is_counted() {
    interleave(|| {
        let (recorder, mut events) = queue::channel(1);
        let tally = Arc::clone(events.tally());
        let pushing: Vec<_> = (0..3)
            .map(|i| {
                let recorder = recorder.clone();
                thread::spawn(move || recorder.push(i))
            })
            .collect();
        let mut taken = u64::from(events.pop().is_some());
        events.close();
        while !events.is_drained() {
            taken += u64::from(events.pop().is_some());
            thread::yield_now();
        }
        pushing.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(events.pop(), None);
        assert_eq!((tally.observed(), taken + tally.full() + tally.late()), (3, 3));
    });
}

/// Both rings are used in turn, and neither fills up.
#[test]
fn what_one_thread_pushes_comes_out_in_its_order() {
    interleave(|| {
        let (recorder, mut events) = queue::channel(8);
        let pushing: Vec<_> = (0..2)
            .map(|thread| {
                let recorder = recorder.clone();
                thread::spawn(move || (0..4).for_each(|i| recorder.push((thread, i))))
            })
            .collect();
        let mut next = [0, 0];
        while next != [4, 4] {
            let mut waiting = events.waiting();
            while let Some((thread, i)) = events.next(&mut waiting) {
                assert_eq!(i, next[thread]);
                next[thread] += 1;
            }
            thread::yield_now();
        }
        pushing.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// L7: without a flush.
#[test]
fn enough_events_wake_the_writer() {
    interleave(|| {
        let stage = Stage::new(8, 2);
        let recording = stage.spawn(|stage| stage.record(0));
        stage.record(1);
        recording.join().unwrap();
        while stage.status().persisted < 2 {
            thread::yield_now();
        }
        assert_eq!(stage.numbers().len(), 2);
        stage.writer.close_blocking().unwrap();
    });
}

/// L8, R9: a flush finds all that was recorded before in the file, a question all of it in the answer; and whoever looks at
/// the counts finds them agreeing.
#[test]
fn what_was_recorded_before_is_in_the_file_and_in_the_answer() {
    interleave(|| {
        let stage = Stage::new(8, 50);
        let acting = [
            stage.spawn(|stage| {
                stage.record(0);
                stage.record(1);
            }),
            stage.spawn(|stage| {
                stage.record(2);
                let recorded = stage.recorded();
                stage.writer.flush_blocking().unwrap();
                assert!(stage.numbers().len() as u64 >= recorded);
                assert!(stage.numbers().contains(&2));
            }),
            stage.spawn(|stage| {
                stage.record(3);
                let recorded = stage.recorded();
                assert!(stage.writer.snapshot_blocking().events() >= recorded);
            }),
            stage.spawn(|stage| {
                let before = stage.status();
                let status = stage.status();
                assert!(status.observed >= before.observed && status.persisted >= before.persisted);
            }),
        ];
        acting.into_iter().for_each(|thread| thread.join().unwrap());
        stage.writer.close_blocking().unwrap();
        assert_eq!(stage.status().persisted, 4);
        assert_eq!(stage.numbers().len(), 4);
    });
}

/// L8, F50: a write fails once, and whether it was a flush's or the last, no line is there twice or missing.
#[test]
fn what_could_not_be_written_is_written_later_and_once() {
    interleave(|| {
        let stage = Stage::new(8, 50);
        stage.disk.plan(|plan| {
            plan.at_most = Some(100);
            plan.room = Some(150);
        });
        let acting = [
            stage.spawn(|stage| {
                stage.record(0);
                if stage.writer.flush_blocking().is_ok() {
                    assert!(stage.numbers().contains(&0));
                }
            }),
            stage.spawn(|stage| {
                stage.record(1);
                stage.disk.plan(|plan| plan.room = None);
                stage.status();
            }),
        ];
        acting.into_iter().for_each(|thread| thread.join().unwrap());
        stage.status();
        stage.writer.flush_blocking().unwrap();
        assert_eq!(stage.numbers().len(), 2);
        stage.writer.close_blocking().unwrap();
        assert_eq!(stage.status().persisted, 2);
    });
}

/// L9, F27: at the end each event is in the file or counted as lost, whoever closes, records, flushes and asks meanwhile.
#[test]
fn recording_asking_and_closing_get_along() {
    interleave(|| drop(record_ask_and_close(3)));
}

/// That is with one ring only: with two, events change places rather than get lost.
#[test]
fn what_one_thread_records_is_written_in_its_order_even_if_the_queue_is_full() {
    interleave(|| {
        let numbers = record_ask_and_close(2);
        for thread in 0..2 {
            assert!(numbers.iter().filter(|number| *number / 10 == thread).is_sorted());
        }
    });
}

/// Gives the numbers of the events in the file.
fn record_ask_and_close(queue_capacity: usize) -> Vec<u64> {
    let stage = Stage::new(queue_capacity, 2);
    let recording = (0..2).map(|thread| {
        stage.spawn(move |stage| {
            stage.record(10 * thread);
            if stage.writer.flush_blocking().is_ok() && stage.status().dropped == 0 {
                assert!(stage.numbers().contains(&(10 * thread)));
            }
            stage.record(10 * thread + 1);
            stage.record(10 * thread + 2);
        })
    });
    let asking = stage.spawn(|stage| {
        stage.record(100);
        let recorded = stage.recorded();
        let events = stage.writer.snapshot_blocking().events();
        assert!(events + stage.status().dropped >= recorded);
    });
    let closing = |_| stage.spawn(|stage| stage.writer.close_blocking().unwrap());
    let acting: Vec<_> = recording.chain([asking]).chain((0..2).map(closing)).collect();
    stage.status();
    acting.into_iter().for_each(|thread| thread.join().unwrap());
    stage.writer.close_blocking().unwrap();
    let status = stage.status();
    assert_eq!((status.observed, status.queued, status.dropped_by.unwritten), (7, 0, 0));
    let numbers = stage.numbers();
    assert_eq!(numbers.len() as u64, status.persisted);
    numbers
}

/// L10, F27
#[test]
fn the_last_recorder_ends_it_all_in_good_order() {
    interleave(|| {
        let Stage { recorder, writer, disk, .. } = Stage::new(8, 50);
        let recording: Vec<_> = (0..2)
            .map(|thread| {
                let recorder = recorder.clone();
                thread::spawn(move || recorder.push(event(thread)))
            })
            .collect();
        drop(recorder);
        let asking = {
            let writer = writer.clone();
            thread::spawn(move || drop(writer.flush_blocking()))
        };
        writer.flush_within(Duration::MAX);
        for thread in recording.into_iter().chain([asking]) {
            thread.join().unwrap();
        }
        // By now the last recorder is gone.
        writer.close_blocking().unwrap();
        let status = writer.status();
        assert_eq!((status.observed, status.persisted, status.queued, status.dropped), (2, 2, 0, 0));
        assert_eq!(disk.text().lines().count(), 2);
        assert!(disk.is_the_only_one(), "the file is closed");
    });
}
