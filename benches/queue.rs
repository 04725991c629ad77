//! What a push into the queue costs a request, and how many events a second the writer takes from it to the disk.
//!
//! ```sh
//! cargo bench --bench queue
//! ```
//!
//! *Push*: some producers fill a queue at once that has room for all, ours or what it could have been. *Writer*: one
//! producer records as many events as the queue holds and has them flushed: made into lines, written, synced and in the
//! index. All with medians over turns that the contenders take one after the other.

#[path = "support/mod.rs"]
mod support;

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use support::{
    Options, median, nanoseconds,
    table::{Table, grouped},
};
use tokio::sync::mpsc;
use tower_llm_usage::{Config, Ending, Fsync, KeyHash, Timestamp, Usage, UsageEvent, UsageQuality, bench};

/// As large as what the queue carries.
type Item = [usize; 2];

fn main() -> anyhow::Result<()> {
    let options = Options::of_command_line()?;
    if options.wants("push") {
        let (pushes, turns) = if options.is_full { (1 << 16, 100) } else { (1 << 10, 1) };
        push(pushes, turns);
    }
    if options.wants("writer") {
        let (events, turns) = if options.is_full { (1 << 18, 7) } else { (1 << 10, 1) };
        write(events, turns)?;
    }
    Ok(())
}

fn push(pushes: usize, turns: usize) {
    let mut table = Table::new(["ns a push", "ours", "bare `ArrayQueue`", "bounded tokio `mpsc`"]);
    for producers in [1, 2, 4] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..turns {
            let (recorder, mut events) = bench::queue::<Item>(pushes);
            times[0].push(fill(producers, pushes, |item| recorder.push(item)));
            assert_eq!(std::iter::from_fn(|| events.pop()).count(), pushes / producers * producers);

            let ring = ArrayQueue::<Item>::new(pushes);
            times[1].push(fill(producers, pushes, |item| assert!(ring.push(item).is_ok())));

            let (sender, _receiver) = mpsc::channel::<Item>(pushes);
            times[2].push(fill(producers, pushes, |item| assert!(sender.try_send(item).is_ok())));
        }
        let [ours, ring, channel] = times.map(|times| format!("{:.1}", median(times)));
        let name = if producers == 1 { "1 producer".to_owned() } else { format!("{producers} producers") };
        table.row([name, ours, ring, channel]);
    }
    table.print();
    println!();
}

/// Nanoseconds a push while so many producers share the pushes.
fn fill(producers: usize, pushes: usize, push: impl Fn(Item) + Sync) -> f64 {
    let each = pushes / producers;
    let barrier = Barrier::new(producers);
    let work = |producer: usize| {
        barrier.wait();
        let start = Instant::now();
        (0..each).for_each(|number| push([producer, number]));
        (start, Instant::now())
    };
    let spans: Vec<_> = thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = (1..producers).map(|producer| scope.spawn(move || work(producer))).collect();
        let first = work(0);
        let others = others.into_iter().map(|other| other.join().expect("a producer does not panic"));
        others.chain([first]).collect()
    });
    let first = spans.iter().map(|(start, _)| *start).min();
    let last = spans.iter().map(|(_, end)| *end).max();
    let time = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    nanoseconds(time) / (each * producers) as f64
}

fn write(events: usize, turns: usize) -> anyhow::Result<()> {
    let mut table = Table::new(["queue to disk, index fed", "events a second", "ns an event", "goal"]);
    for (name, fsync) in [("synced with each flush", Fsync::Flush), ("never synced", Fsync::None)] {
        let mut times = Vec::new();
        for _ in 0..turns {
            let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
            let mut config = Config::recording_to(place.path().join("usage.json"));
            config.usage_statistics.queue_capacity = events;
            config.usage_statistics.fsync = fsync;
            let usage = Usage::open(config)?;
            let made: Vec<_> = (0..events as u64).map(event).collect();
            let start = Instant::now();
            made.into_iter().for_each(|event| usage.record(event));
            usage.flush_blocking()?;
            times.push(nanoseconds(start.elapsed()) / events as f64);
            let status = usage.status();
            assert_eq!((status.persisted, status.dropped), (events as u64, 0));
            usage.close_blocking()?;
        }
        let time = median(times);
        table.row([name.to_owned(), grouped(1e9 / time), format!("{time:.0}"), "≥ 300,000".to_owned()]);
    }
    table.print();
    Ok(())
}

/// With nearly every field that there is.
fn event(number: u64) -> UsageEvent {
    let at = Timestamp::from_unix_millis(1_767_225_600_000 + number as i64);
    let mut event =
        UsageEvent::new(at, ["gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash"][number as usize % 3]);
    event.tokens.input = Some(1_000 + number % 20_000);
    event.tokens.output = Some(number % 2_000);
    event.tokens.total = Some(1_000 + number % 20_000 + number % 2_000);
    event.tokens.cache_read = Some(number % 1_000);
    event.tokens.reasoning = Some(number % 500);
    event.key = Some(KeyHash::of(&(number % 1_000).to_le_bytes()));
    event.provider = Some("openai".into());
    event.operation = Some("chat".into());
    event.endpoint = Some("POST /v1/chat/completions".into());
    event.stream = Some(number.is_multiple_of(2));
    event.usage = Some(UsageQuality::Complete);
    event.end = Some(Ending::Complete);
    event.duration = Some(Duration::from_micros(number * 7_919 % 90_000_000));
    event.time_to_first_byte = Some(Duration::from_micros(number * 6_101 % 5_000_000));
    event
}
