//! Many events by many threads, with questions in between and files that come and go: nothing is lost, and memory does
//! not grow.
//!
//! The long one: `cargo test --test soak -- --ignored --nocapture`
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use tower_llm_usage::{Config, KeyHash, PeerAddr, Timestamp, Usage, UsageEvent};

const PRODUCERS: u64 = 8;

/// Those who look on leave the cores to those who write.
const PAUSE: Duration = Duration::from_millis(2);

#[test]
fn fifty_thousand_events_are_all_kept() {
    soak(50_000);
}

#[test]
#[ignore = "takes minutes"]
fn five_million_events_are_all_kept_in_memory_that_does_not_grow() {
    soak(5_000_000);
}

fn soak(events: u64) {
    let place = tempfile::tempdir().unwrap();
    let mut config = Config::recording_to(place.path().join("usage.json"));
    config.remote_management.secret_key = "k".into();
    let settings = &mut config.usage_statistics;
    // Some fifty segments come, and all but the last few go.
    settings.rotate_bytes = Some(events * 5);
    settings.keep_bytes = Some(events * 20);
    settings.max_events = events / 10;
    settings.flush_events = 1000;
    let room = settings.queue_capacity as u64 / 2;
    let usage = Usage::open(config).unwrap();

    let start = Instant::now();
    let is_over = Over::default();
    let (asked, slowest, memory) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&usage, &is_over));
        let watching = scope.spawn(|| watch(&usage, events, &is_over));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let usage = &usage;
                scope.spawn(move || {
                    for number in (producer..events).step_by(PRODUCERS as usize) {
                        // What comes faster than it can be written is dropped, which is not asked here.
                        if (number / PRODUCERS).is_multiple_of(64) && usage.status().queued > room {
                            usage.flush_blocking().unwrap();
                        }
                        usage.record(event(number));
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        usage.flush_blocking().unwrap();
        // What looks after the segments has its own pace, and closing would end it.
        let deadline = Instant::now() + Duration::from_secs(300);
        while fs::read_dir(place.path()).unwrap().count() > 10 {
            assert!(Instant::now() < deadline, "segments stay");
            thread::park_timeout(PAUSE);
        }
        usage.close_blocking().unwrap();
        is_over.set();
        let (asked, slowest) = asking.join().unwrap();
        (asked, slowest, watching.join().unwrap())
    });
    let took = start.elapsed();

    let status = usage.status();
    assert_eq!((status.observed, status.persisted, status.queued, status.dropped), (events, events, 0, 0));
    assert_eq!(status.error, None);
    let segments = status.segments;
    assert!(segments < 10, "most are gone");
    let (found, sum, sums) = read(place.path());
    assert_eq!((found, sum), (events, (0..events).sum()));
    assert!(sums > events / 2, "{sums} are summed up");
    let [early, late] = memory.map(|bytes| bytes >> 20);
    println!(
        "{events} events in {took:.1?}; {asked} questions, the slowest took {slowest:.1?}; \
         {early} MiB after a third, {late} MiB at the end"
    );
    assert!(late <= early + early / 4 + 16, "{early} MiB became {late} MiB");
}

/// An event that can be told by its input.
fn event(number: u64) -> UsageEvent {
    let mut event = UsageEvent::new(Timestamp::now(), format!("m{}", number % 50));
    event.key = Some(KeyHash::of(&(number % 40).to_le_bytes()));
    event.tokens.input = Some(number);
    event.duration = Some(Duration::from_micros(number % 1_000_000));
    event
}

/// Asks for all there is, over and over: no answer has less than the one before. Says how often, and how long the slowest
/// took.
fn ask(usage: &Usage, is_over: &Over) -> (u64, Duration) {
    let _over = is_over.guard();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut asked, mut slowest, mut before) = (0, Duration::ZERO, 0);
    while !is_over.is_set() {
        let start = Instant::now();
        let request = Request::get("/v0/management/qs/metrics")
            .header("host", "localhost")
            .header("authorization", "Bearer k")
            .extension(PeerAddr(([127, 0, 0, 1], 5000).into()))
            .body(String::new())
            .unwrap();
        let answer = runtime.block_on(async {
            let response = usage.metrics_service().oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        });
        slowest = slowest.max(start.elapsed());
        asked += 1;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let requests = answer["totals"]["requests"].as_u64().unwrap();
        assert!(requests >= before, "{requests} after {before}");
        before = requests;
        thread::park_timeout(PAUSE);
    }
    (asked, slowest)
}

/// The memory of this process when a third of the events was recorded, and the most that it had in the last third.
fn watch(usage: &Usage, events: u64, is_over: &Over) -> [u64; 2] {
    let _over = is_over.guard();
    let (mut early, mut late) = (0, 0);
    while !is_over.is_set() {
        let status = usage.status();
        assert_eq!(status.observed, status.persisted + status.queued + status.dropped);
        if status.observed < events / 3 {
            early = early.max(resident());
        } else if status.observed > events / 3 * 2 {
            late = late.max(resident());
        }
        thread::park_timeout(PAUSE);
    }
    [early, late]
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// The number of events in a directory, the sum of their inputs, and how many of them are in sums only.
fn read(place: &Path) -> (u64, u64, u64) {
    let (mut events, mut input) = (0, 0);
    let mut gone = HashSet::new();
    for line in fs::read_to_string(place.join("usage.aggregates.json")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["segment"].as_str() {
            Some(segment) => _ = gone.insert(segment.to_owned()),
            None => {
                events += line["requests"].as_u64().unwrap();
                input += line["prompt_tokens"].as_u64().unwrap();
            }
        }
    }
    let sums = events;
    for entry in fs::read_dir(place).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "usage.aggregates.json" || name == "usage.json.lock" || gone.contains(&name) {
            continue;
        }
        for line in fs::read_to_string(place.join(name)).unwrap().lines() {
            events += 1;
            input += serde_json::from_str::<UsageEvent>(line).unwrap().tokens.input.unwrap();
        }
    }
    (events, input, sums)
}

/// All threads end when one of them does.
#[derive(Default)]
struct Over(AtomicBool);

impl Over {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn guard(&self) -> impl Drop + '_ {
        struct Guard<'a>(&'a Over);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        Guard(self)
    }
}
