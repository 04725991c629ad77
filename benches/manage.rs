//! What questions cost those who do not ask: the time that a call spends in the layer, alone and while 64 readers dawdle
//! over an export and a storm of questions goes on.
//!
//! ```sh
//! cargo bench --bench manage
//! ```
//!
//! Quiet and busy rounds take turns, so that whatever else the machine does touches both. With as many cores as threads
//! that want one, a call is interrupted now and then, which is seen in the slowest calls; the median says whether a
//! question makes a call do more, or wait for something.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    convert::Infallible,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_llm_usage::{Config, KeyHash, MetricsBody, PeerAddr, Timestamp, Usage, UsageEvent};

const EVENTS: usize = 300_000;
const READERS: usize = 64;
const ASKERS: usize = 16;
const ROUNDS: usize = 20;
const CALLS: usize = 5_000;
const ANSWER: &str =
    r#"{"model":"gpt-4o-mini","usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
const STORM: [&str; 4] = [
    "metrics?range=all&interval=day&group_by=model&group_by=key&metrics=all",
    "metrics?range=7d&interval=15m&fill=zero",
    "events?range=all&status=5xx&limit=1000",
    "prometheus",
];

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::recording_to(dir.path().join("usage.json"));
    config.remote_management.secret_key = "bench".into();
    config.usage_statistics.queue_capacity = 1 << 20;
    let usage = Usage::open(config).unwrap();
    let now = Timestamp::now().unix_millis();
    for n in 0..EVENTS {
        let at = Timestamp::from_unix_millis(now - (n as i64) * 3_000);
        let mut event = UsageEvent::new(at, ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5"][n % 3]);
        (event.tokens.input, event.tokens.output, event.tokens.total) = (Some(900), Some(100), Some(1000));
        event.key = Some(KeyHash::of(&(n % 500).to_le_bytes()));
        event.duration = Some(Duration::from_millis(n as u64 % 5000));
        usage.record(event);
    }
    usage.flush_blocking().unwrap();

    let is_busy = Arc::new(AtomicBool::new(false));
    let (asked, read) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for n in 0..ASKERS {
        let (usage, is_busy, asked) = (usage.clone(), Arc::clone(&is_busy), Arc::clone(&asked));
        runtime.spawn(async move {
            for query in STORM.iter().cycle().skip(n) {
                while !is_busy.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                black_box(ask(&usage, query).await.into_body().collect().await.unwrap());
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..READERS {
        let (usage, is_busy, read) = (usage.clone(), Arc::clone(&is_busy), Arc::clone(&read));
        runtime.spawn(async move {
            loop {
                let mut body = ask(&usage, "export?range=all&format=jsonl").await.into_body();
                while let Some(piece) = body.frame().await {
                    read.fetch_add(piece.unwrap().into_data().unwrap().len() as u64, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    while !is_busy.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        });
    }

    let calls = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let inner = service_fn(async |_: Request<Full<Bytes>>| {
        let response = Response::builder().header("content-type", "application/json");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from(ANSWER)).unwrap())
    });
    let mut service = usage.layer().layer(inner);
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS * 2 {
        let times = if round % 2 == 0 { &mut quiet } else { &mut busy };
        is_busy.store(round % 2 == 1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        calls.block_on(async {
            for _ in 0..CALLS {
                let request = Request::post("/v1/chat/completions")
                    .header("authorization", "Bearer sk-bench")
                    .body(Full::default())
                    .unwrap();
                let start = Instant::now();
                let response = service.ready().await.unwrap().call(request).await.unwrap();
                black_box(response.into_body().collect().await.unwrap());
                times.push(start.elapsed());
            }
        });
    }

    let quiet = Summary::of(quiet);
    let busy = Summary::of(busy);
    println!("{EVENTS} events, {READERS} slow readers of export, {ASKERS} askers without a pause");
    println!(
        "  {} questions answered, {} MB exported",
        asked.load(Ordering::Relaxed),
        read.load(Ordering::Relaxed) >> 20
    );
    println!("  a call, alone:    {quiet}");
    println!("  a call, meantime: {busy}");
    println!("  ratio of medians: {:.2}", busy.median.as_secs_f64() / quiet.median.as_secs_f64());
    let status = usage.status();
    println!("  events dropped:   {}", status.dropped);
    assert!(asked.load(Ordering::Relaxed) > 0 && read.load(Ordering::Relaxed) > 0, "nobody asked");
    assert_eq!(status.dropped, 0);
    runtime.shutdown_background();
}

async fn ask(usage: &Usage, query: &str) -> Response<MetricsBody> {
    let request = Request::get(format!("/v0/management/qs/{query}"))
        .header("authorization", "Bearer bench")
        .extension(PeerAddr(([127, 0, 0, 1], 1).into()))
        .body(String::new())
        .unwrap();
    usage.metrics_service().oneshot(request).await.unwrap()
}

struct Summary {
    median: Duration,
    p99: Duration,
}

impl Summary {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { median: times[times.len() / 2], p99: times[times.len() * 99 / 100] }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:?}, 99th percentile {:?}", self.median, self.p99)
    }
}
