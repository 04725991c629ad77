//! Numbers, not judgements: `cargo test --release --lib index::tests::speed -- --ignored --nocapture`.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{MODELS, Traffic, all, at, metrics};
use crate::{
    Timestamp, UsageEvent,
    index::{Index, Query, Snapshot},
};

const EVENTS: u64 = 10_000_000;
const DAYS: u64 = 90;

#[test]
#[ignore = "takes gigabytes and minutes unless built with --release"]
fn ten_million_events() {
    let mut index = Index::default();
    let spent = fill(&mut index, Traffic::new(EVENTS, DAYS));
    println!("insert: {:.2} M events/s", EVENTS as f64 / 1e6 / spent.as_secs_f64());

    let start = Instant::now();
    let snapshot = index.snapshot();
    println!("first snapshot: {:?}", start.elapsed());
    println!("memory: {:.1} bytes/event", snapshot.heap_bytes() as f64 / EVENTS as f64);
    let columns = snapshot.days.iter().flat_map(|day| &day.hours).flat_map(|hour| &hour.runs);
    let columns = columns.map(|run| run.columns.heap_bytes()).sum::<usize>();
    println!("of that the columns: {:.1} bytes/event", columns as f64 / EVENTS as f64);
    println!("heap_bytes: {:?}", median(101, || _ = black_box(snapshot.heap_bytes())));

    let start = at("2026-01-01T00:00:00Z").unix_millis();
    let mut random = Traffic::new(0, 0);
    let mut range = |days: u64| {
        let from = start + random.random((DAYS - days) * 86_400_000 + 1) as i64;
        (Timestamp::from_unix_millis(from), Timestamp::from_unix_millis(from + days as i64 * 86_400_000 - 1))
    };
    let model = Some(MODELS[7].as_str());
    let report = |name: &str, snapshot: &Snapshot, query: &mut dyn FnMut() -> Query| {
        let median = median(1_001, || drop(black_box(snapshot.query(black_box(&query())))));
        println!("{name}: {median:?}");
    };
    report("all", &snapshot, &mut || all(None));
    report("all, one model", &snapshot, &mut || all(model));
    for days in [89, 30, 1] {
        for model in [None, model] {
            let name =
                format!("{days} days, ends to the millisecond, {}", model.map_or("all", |_| "one model"));
            report(&name, &snapshot, &mut || {
                let (from, to) = range(days);
                metrics(from, to, model)
            });
        }
    }

    // A query after every event, readers holding on to their snapshot.
    let mut last = snapshot;
    let end = last.span().expect("it has events").1;
    let median_of = |index: &mut Index, last: &mut Arc<Snapshot>, late: i64| {
        median(501, || {
            let mut event = UsageEvent::new(end, MODELS[3].as_str());
            event.timestamp = Timestamp::from_unix_millis(end.unix_millis() - late);
            index.insert(&event);
            *last = index.snapshot();
        })
    };
    println!("insert and snapshot, today: {:?}", median_of(&mut index, &mut last, 0));
    println!("insert and snapshot, a day late: {:?}", median_of(&mut index, &mut last, 86_400_000));
    println!("insert and snapshot, 80 days late: {:?}", median_of(&mut index, &mut last, 80 * 86_400_000));
}

#[test]
#[ignore = "takes gigabytes and minutes unless built with --release"]
fn ten_million_events_in_other_orders() {
    // Two files of the same days, one after the other.
    let mut index = Index::default();
    let mut spent = Duration::ZERO;
    for _ in 0..2 {
        spent += fill(&mut index, Traffic::new(EVENTS / 2, DAYS));
    }
    println!("two files: {:.2} M events/s", EVENTS as f64 / 1e6 / spent.as_secs_f64());

    let mut index = Index::default();
    let mut random = Traffic::new(0, 0);
    let start = at("2026-01-01T00:00:00Z").unix_millis();
    let scattered = Traffic::new(EVENTS / 10, DAYS).map(|mut event| {
        event.timestamp = Timestamp::from_unix_millis(start + random.random(DAYS * 86_400_000) as i64);
        event
    });
    let spent = fill(&mut index, scattered);
    println!("in no order: {:.2} M events/s", EVENTS as f64 / 1e7 / spent.as_secs_f64());
}

/// The time that the index took, without that of making the events.
fn fill(index: &mut Index, mut events: impl Iterator<Item = UsageEvent>) -> Duration {
    let mut spent = Duration::ZERO;
    loop {
        let some = events.by_ref().take(256).collect::<Vec<_>>();
        if some.is_empty() {
            return spent;
        }
        let start = Instant::now();
        some.iter().for_each(|event| index.insert(event));
        spent += start.elapsed();
    }
}

fn median(times: usize, mut run: impl FnMut()) -> Duration {
    let mut spent = (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect::<Vec<_>>();
    spent.sort();
    spent[times / 2]
}
