//! What the layer costs a proxy on a network: proxies on loopback, as `examples/proxy` forwards, one of which has the
//! layer, with its writer and its file.
//!
//! ```sh
//! cargo bench --bench proxy                  # all of it
//! cargo bench --bench proxy -- stream --json # what has `stream` in its name, as data
//! cargo bench --bench proxy --profile deploy # of proxies that are linked as one
//! cargo bench --bench proxy -- "unary, 1 c" --starts 80 # a closer look, with as many starts in place of eight
//! ```
//!
//! Each proxy is a process of its own with one thread that serves; this one is the provider and the clients. The proxies
//! take turns, and ratios are of neighbouring turns. Between two turns all rest, so that what a writer has still to do does
//! not slow down the next proxy; CPU time has it. A third proxy has, in place of the layer, the least of a recorder: what no
//! recorder can be spared, without any reading of what a call says; a fourth one looks at the heads as well, and searches for
//! the names of model and tokens. A goal that they do not reach is one that nobody reaches on this machine. A ratio is the
//! median of those of all turns, with the range in which that of endlessly many turns lies, in 95 of 100 runs. Of a goal
//! within that range the run cannot tell (≈) whether it is reached (✓) or missed (✗).
//!
//! *Age* is the time from the moment when the provider hands a chunk to its server to the moment when the client has it.
//! A thousand streams want 2,100 open files (`ulimit -n`), and memory and CPU time are read where Linux has them.

#[path = "../../examples/proxy/forward.rs"]
mod forward;
mod generator;
mod provider;
#[path = "../support/mod.rs"]
mod support;

use std::{
    convert::Infallible,
    env, fmt, fs,
    io::{BufRead, BufReader, Read, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use generator::{Load, Turn};
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use provider::Pace;
use serde_json::{Value, json};
use support::{
    Options,
    heads::Heads,
    least::{self, Least},
    median,
    observe::ObserveLayer,
    search::Search,
    sorted,
    table::{Table, grouped},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::sleep};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_llm_usage::{Config, PeerAddr, Usage, bench::LEAST_INTERVAL};

/// Where a proxy that this bench starts finds its provider, which one it is, and where its file is.
const UPSTREAM: &str = "PROXY_BENCH_UPSTREAM";
const WATCH: &str = "PROXY_BENCH_WATCH";
const FILE: &str = "PROXY_BENCH_FILE";

/// What stands in front of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Nothing,
    Layer,
    /// The least of a recorder.
    Least,
    /// The least of one who says something of the answer.
    Search,
}

impl Watch {
    const ALL: [Self; 4] = [Self::Nothing, Self::Layer, Self::Least, Self::Search];
}

/// How often proxies are started unless the caller says so, since where its memory lies makes more of a difference to a
/// process than the layer does; turns of each from start to end; and how long one is.
const STARTS: usize = 8;
const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(300);

/// The least that is left of the throughput.
const GOAL: f64 = 0.97;

fn main() -> anyhow::Result<()> {
    if let Ok(upstream) = env::var(UPSTREAM) {
        let watch = env::var(WATCH)?;
        let watch = Watch::ALL.into_iter().find(|known| format!("{known:?}") == watch);
        let file = env::var_os(FILE).context("a proxy of this bench has a file")?;
        return serve(&upstream.parse()?, watch.context("no such proxy")?, file.into());
    }
    let options = Options::of_command_line()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let rows = runtime.block_on(measure(&options))?;
    if options.is_json {
        println!("{:#}", rows.iter().map(Row::to_json).collect::<Value>());
    } else {
        print(&rows);
    }
    Ok(())
}

/// Is a proxy until standard input ends.
fn serve(upstream: &Uri, watch: Watch, file: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let service = forward::service(upstream)?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    // Services of a type each: one knows nothing of the layer.
    runtime.block_on(async {
        match watch {
            Watch::Nothing => accept(service).await,
            Watch::Layer => {
                let usage = Usage::open(Config::recording_to(file))?;
                accept(usage.layer().layer(service)).await
            }
            Watch::Least => {
                let recorder = least::writing_to(&file)?;
                let observe = move |headers: &HeaderMap| Least::new(headers, recorder.clone());
                accept(ObserveLayer(observe).layer(service)).await
            }
            Watch::Search => {
                let recorder = least::writing_to(&file)?;
                let observe = move |headers: &HeaderMap| {
                    let least = Least::new(headers, recorder.clone());
                    Search::new(Heads::new(least, headers))
                };
                accept(ObserveLayer(observe).layer(service)).await
            }
        }
    })
}

async fn accept<S, B>(service: S) -> anyhow::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            service.clone().oneshot(request)
        });
        let server = auto::Builder::new(TokioExecutor::new());
        tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await.is_ok() });
    }
}

/// A proxy in a process of its own.
struct Proxy {
    process: Child,
    address: SocketAddr,
    /// Where its file is.
    _directory: TempDir,
}

impl Proxy {
    fn start(upstream: SocketAddr, watch: Watch) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut process = Command::new(env::current_exe()?)
            .env(UPSTREAM, format!("http://{upstream}"))
            .env(WATCH, format!("{watch:?}"))
            .env(FILE, directory.path().join("usage.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("standard output is piped")?).read_line(&mut line)?;
        let address = line.trim().parse().context("the proxy says where it listens")?;
        Ok(Self { process, address, _directory: directory })
    }

    /// Bytes of memory that it has in use.
    fn memory(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
    }

    /// Nanoseconds for which its threads have run.
    fn cpu(&self) -> Option<f64> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).ok()?;
        let times = threads.filter_map(|thread| {
            let schedule = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            schedule.split_whitespace().next()?.parse::<f64>().ok()
        });
        Some(times.sum())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Its standard input ends with that, should this fail.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What was measured with one load: without the layer, and with it.
struct Row {
    name: String,
    /// Of neighbouring turns: with the layer by without it, with the least of a recorder, and with a search.
    throughput: Ratio,
    least: Ratio,
    search: Ratio,
    cpu: Option<f64>,
    rate: [f64; 2],
    latency: [[f64; 2]; 2],
    age: Option<[[f64; 2]; 2]>,
    memory: Option<[f64; 2]>,
}

async fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let upstream = provider::start().await?;
    let mut rows = Vec::new();
    for (kind, pace) in [("unary", Pace::Whole), ("stream", Pace::Burst), ("paced stream", Pace::Slow)] {
        for connections in [1, 16, 64] {
            let name = format!("{kind}, {connections} connections");
            if options.wants(&name) {
                rows.push(Row::of(name, upstream, Load { pace, connections }, options).await?);
            }
        }
    }
    let streams = if options.is_full { 1_000 } else { 10 };
    let name = format!("{streams} streams open");
    if options.wants(&name) {
        rows.push(Row::open(name, upstream, streams).await?);
    }
    Ok(rows)
}

impl Row {
    async fn of(name: String, upstream: SocketAddr, load: Load, options: &Options) -> anyhow::Result<Self> {
        let (starts, turns, time, rest) = if options.is_full {
            // Until a writer has written what it still has.
            (options.starts.unwrap_or(STARTS), TURNS, TURN, LEAST_INTERVAL * 3 / 2)
        } else {
            (1, 1, Duration::from_millis(20), Duration::ZERO)
        };
        let mut all: [Vec<Turn>; 4] = Default::default();
        for start in 0..starts {
            let proxies = Watch::ALL.into_iter().map(|watch| Proxy::start(upstream, watch));
            let proxies = proxies.collect::<anyhow::Result<Vec<_>>>()?;
            for turn in 0..=turns {
                // Nobody is always first.
                for at in (start + turn..).take(proxies.len()).map(|at| at % proxies.len()) {
                    let before = proxies[at].cpu();
                    let mut done = generator::run(proxies[at].address, load, time).await?;
                    sleep(rest).await;
                    done.cpu = proxies[at].cpu().zip(before).map(|(after, before)| after - before);
                    // The first one warms caches.
                    if turn > 0 {
                        all[at].push(done);
                    }
                }
            }
        }
        let [without, with, least, search] = &all;
        let throughput = |turns: &[Turn]| {
            Ratio::of(turns.iter().zip(without).map(|(turn, without)| turn.rate() / without.rate()))
        };
        let cpu = |turn: &Turn| Some(turn.cpu? / turn.latencies.len() as f64);
        let both = |values: fn(&Turn) -> &[f64]| [without, with].map(|turns| percentiles(turns, values));
        Ok(Self {
            name,
            throughput: throughput(with),
            least: throughput(least),
            search: throughput(search),
            cpu: with
                .iter()
                .zip(without)
                .map(|(with, without)| Some(cpu(with)? / cpu(without)?))
                .collect::<Option<Vec<_>>>()
                .map(median),
            rate: [without, with].map(|turns| median(turns.iter().map(Turn::rate))),
            latency: both(|turn| &turn.latencies),
            age: (!matches!(load.pace, Pace::Whole)).then(|| both(|turn| &turn.ages)),
            memory: None,
        })
    }

    /// Opens streams, and looks at what they hold.
    async fn open(name: String, upstream: SocketAddr, streams: usize) -> anyhow::Result<Self> {
        let mut held = [None; 2];
        for (held, watch) in held.iter_mut().zip([Watch::Nothing, Watch::Layer]) {
            let proxy = Proxy::start(upstream, watch)?;
            // What is made once is made.
            drop(generator::open(proxy.address, 1).await?);
            let before = proxy.memory();
            let open = generator::open(proxy.address, streams)
                .await
                .with_context(|| format!("cannot open {streams} streams; see ulimit -n"))?;
            *held = proxy.memory().zip(before).map(|(after, before)| (after - before) / streams as f64);
            drop(open);
        }
        Ok(Self {
            name,
            throughput: Ratio::NONE,
            least: Ratio::NONE,
            search: Ratio::NONE,
            cpu: None,
            rate: [f64::NAN; 2],
            latency: [[f64::NAN; 2]; 2],
            age: None,
            memory: held[0].zip(held[1]).map(|(without, with)| [without, with]),
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "load": self.name, "throughput_ratio": self.throughput.median,
            "throughput_ratio_95": self.throughput.range, "least_of_a_recorder": self.least.median,
            "least_of_a_recorder_95": self.least.range, "least_with_a_search": self.search.median,
            "least_with_a_search_95": self.search.range, "cpu_ratio": self.cpu,
            "requests_per_second": self.rate, "latency_ns_p50_p99": self.latency, "age_ns_p50_p99": self.age,
            "bytes_per_stream": self.memory,
        })
    }
}

/// The median of ratios, and the range in which that of endlessly many lies, in 95 of 100 runs.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    median: f64,
    range: [f64; 2],
}

impl Ratio {
    const NONE: Self = Self { median: f64::NAN, range: [f64::NAN; 2] };

    fn of(ratios: impl Iterator<Item = f64>) -> Self {
        let ratios = sorted(ratios);
        // How many of them lie below it is the number of heads of as many coins, whatever they are distributed like.
        let len = ratios.len() as f64;
        let away = 1.96 * len.sqrt() / 2.0;
        let nth = |n: f64| ratios.get(n.clamp(0.0, len - 1.0) as usize).copied().unwrap_or(f64::NAN);
        let range = [nth((len / 2.0 - away).floor() - 1.0), nth((len / 2.0 + away).ceil())];
        Self { median: nth(len / 2.0), range }
    }

    fn mark(self, goal: f64) -> &'static str {
        let [least, most] = self.range;
        if least >= goal {
            "✓"
        } else if most < goal {
            "✗"
        } else {
            "≈"
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, range: [least, most] } = self;
        write!(f, "{median:.3} ({least:.2}–{most:.2})")
    }
}

/// The median and the value that one in a hundred exceeds, of all turns together.
fn percentiles(turns: &[Turn], values: fn(&Turn) -> &[f64]) -> [f64; 2] {
    let all = sorted(turns.iter().flat_map(values).copied());
    [0.5, 0.99].map(|part| all.get((all.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN))
}

fn print(rows: &[Row]) {
    let mut table = Table::new([
        "with the layer by without it",
        "throughput",
        "goal",
        "least of a recorder",
        "… with heads and search",
        "CPU a request",
        "requests/s without",
        "latency p50, µs",
        "added",
        "p99, µs",
        "added",
        "added age p50, µs",
        "p99",
    ]);
    for row in rows.iter().filter(|row| row.memory.is_none()) {
        let [without, with] = row.latency;
        let micros = |nanoseconds: f64| format!("{:.1}", nanoseconds / 1e3);
        let age =
            |at: usize| row.age.map_or_else(String::new, |[without, with]| micros(with[at] - without[at]));
        table.row([
            row.name.clone(),
            row.throughput.to_string(),
            format!("≥ {GOAL} {}", row.throughput.mark(GOAL)),
            row.least.to_string(),
            row.search.to_string(),
            row.cpu.map_or_else(String::new, |cpu| format!("{cpu:.3}")),
            grouped(row.rate[0]),
            micros(without[0]),
            micros(with[0] - without[0]),
            micros(without[1]),
            micros(with[1] - without[1]),
            age(0),
            age(1),
        ]);
    }
    table.print();
    for row in rows {
        if let Some([without, with]) = row.memory {
            println!(
                "\n{}: {} bytes each without the layer, {} with it.",
                row.name,
                grouped(without),
                grouped(with)
            );
        }
    }
}
