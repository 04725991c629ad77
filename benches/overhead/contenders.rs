//! What can be put around a service to learn what passes, from nothing at all to all of this crate.

use std::{
    hint::black_box,
    io::{self, Read},
    pin::pin,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use allocation_counter::{AllocationInfo, measure};
use anyhow::ensure;
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::Full;
use serde_json::Value;
use tempfile::TempDir;
use tower::{Layer as _, Service};
use tower_http::trace::TraceLayer;
use tower_llm_usage::{Config, Usage, UsageService, bench};

use crate::{
    cold,
    service::{self, Replay},
    support::{
        bodies::Workload,
        copy::{self, Copy},
        heads::Heads,
        least::{Least, Record},
        observe::{Observe, ObserveLayer},
        search::Search,
    },
};

/// One way to serve a workload.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;

    /// Serves so many requests, and says what that took.
    fn run(&mut self, requests: usize) -> Duration;

    /// Serves one request and counts what is allocated for it: while the answer is under way, and in all.
    fn memory(&mut self) -> Memory;

    /// Does what is left to do when nobody looks at the clock.
    fn rest(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Makes sure that what was measured did what it is for.
    fn check(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What one request allocates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) allocations: i64,
    /// Bytes held before the last piece.
    pub(crate) held: i64,
    /// Bytes held at most.
    pub(crate) peak: i64,
}

pub(crate) const BARE: &str = "bare service";
pub(crate) const NO_OP: &str = "no-op body wrapper";
pub(crate) const TRACE: &str = "TraceLayer, no subscriber";
pub(crate) const VALUE: &str = "buffer + serde_json::Value";
pub(crate) const LEAST: &str = "least of a recorder";
pub(crate) const HEADS: &str = "and the heads";
pub(crate) const SEARCH: &str = "and a search for names";
pub(crate) const COPY: &str = "or a copy";
pub(crate) const LAYER: &str = "this layer";

/// All of them, the bare service first.
pub(crate) fn all(workload: &Workload) -> anyhow::Result<Vec<Box<dyn Contender>>> {
    let replay = || Replay::new(workload);
    let stack = Stack::of(workload);
    let (coding, is_stream) = (workload.content_encoding, workload.is_stream());
    let buffer = ObserveLayer(move |_: &HeaderMap| Buffer { bytes: Vec::new(), coding, is_stream });
    let mut all: Vec<Box<dyn Contender>> = vec![
        Box::new(stack.around(BARE, replay())),
        Box::new(stack.around(NO_OP, ObserveLayer(|_: &HeaderMap| Nothing).layer(replay()))),
        Box::new(stack.around(TRACE, TraceLayer::new_for_http().layer(replay()))),
        Box::new(stack.around(VALUE, buffer.layer(replay()))),
        least(&stack, LEAST, replay(), |least, _| least),
        Box::new(Layer::new(workload)?),
    ];
    if workload.is_plain_chat() {
        all.push(least(&stack, HEADS, replay(), Heads::new));
        all.push(least(&stack, SEARCH, replay(), |least, headers| Search::new(Heads::new(least, headers))));
        if workload.is_short() {
            all.push(least(&stack, COPY, replay(), |least, headers| Copy::new(Heads::new(least, headers))));
        }
    }
    Ok(all)
}

/// A service that is called by a server.
struct Stack<S> {
    name: &'static str,
    service: S,
    request: Request<Full<Bytes>>,
    taken: usize,
    /// The client stays to the end.
    stays: bool,
    is_cold: bool,
}

impl Stack<()> {
    fn of(workload: &Workload) -> Self {
        Self {
            name: "",
            service: (),
            request: service::request(workload),
            taken: workload.taken,
            stays: workload.taken == workload.frames.len(),
            is_cold: workload.is_cold,
        }
    }

    fn around<S>(&self, name: &'static str, service: S) -> Stack<S> {
        let Self { taken, stays, is_cold, .. } = *self;
        Stack { name, service, request: self.request.clone(), taken, stays, is_cold }
    }
}

impl<S, B> Stack<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    fn serve(&mut self, request: Request<Full<Bytes>>) {
        let pieces = if self.stays { usize::MAX } else { self.taken };
        let body = service::begin(&mut self.service, request);
        black_box(service::take(pin!(body), pieces));
    }

    fn run_cold(&mut self) -> Duration {
        let request = self.request.clone();
        cold::forget();
        let start = Instant::now();
        self.serve(request);
        start.elapsed()
    }
}

impl<S, B> Contender for Stack<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    #[inline(never)]
    fn run(&mut self, requests: usize) -> Duration {
        if self.is_cold {
            return (0..requests).map(|_| self.run_cold()).sum();
        }
        let start = Instant::now();
        for _ in 0..requests {
            self.serve(self.request.clone());
        }
        start.elapsed()
    }

    fn memory(&mut self) -> Memory {
        let mut begun = AllocationInfo::default();
        let whole = measure(|| {
            let mut body = None;
            begun = measure(|| {
                let mut answer = Box::pin(service::begin(&mut self.service, self.request.clone()));
                service::take(answer.as_mut(), self.taken - 1);
                body = Some(answer);
            });
            if let Some(mut body) = body {
                service::take(body.as_mut(), if self.stays { usize::MAX } else { 1 });
            }
        });
        Memory {
            allocations: whole.count_total as i64,
            held: begun.bytes_current,
            peak: whole.bytes_max as i64,
        }
    }
}

/// A wrapper that only hands on.
struct Nothing;

impl Observe for Nothing {
    fn piece(&mut self, piece: &Bytes) {
        black_box(piece);
    }
}

/// The least of a recorder, as `watch` makes use of it.
fn least<O: Observe + 'static>(
    stack: &Stack<()>,
    name: &'static str,
    replay: Replay,
    watch: fn(Least, &HeaderMap) -> O,
) -> Box<dyn Contender> {
    let (recorder, mut events) = bench::queue::<Box<Record>>(1 << 10);
    let (emptied, is_empty) = mpsc::sync_channel(0);
    let (empty, asked) = mpsc::sync_channel(0);
    thread::spawn(move || {
        while asked.recv().is_ok() {
            while let Some(record) = events.pop() {
                let record = black_box(record);
                // A search that finds nothing would be no measure.
                assert!(name != SEARCH || record.counts.iter().all(|count| *count > 0));
                assert!(name != COPY || record.answer.is_some());
                if let Some(answer) = record.answer {
                    black_box(memchr::memchr(1, &*answer));
                    copy::give_back(answer);
                }
            }
            if emptied.send(()).is_err() {
                break;
            }
        }
    });
    let layer =
        ObserveLayer(move |headers: &HeaderMap| watch(Least::new(headers, recorder.clone()), headers));
    Box::new(Emptied { stack: stack.around(name, layer.layer(replay)), empty, is_empty })
}

/// With a queue that another thread empties between turns.
struct Emptied<S> {
    stack: Stack<S>,
    empty: mpsc::SyncSender<()>,
    is_empty: mpsc::Receiver<()>,
}

impl<S> Contender for Emptied<S>
where
    Stack<S>: Contender,
{
    fn name(&self) -> &'static str {
        self.stack.name
    }

    fn run(&mut self, requests: usize) -> Duration {
        self.stack.run(requests)
    }

    fn memory(&mut self) -> Memory {
        self.stack.memory()
    }

    fn rest(&mut self) -> anyhow::Result<()> {
        self.empty.send(())?;
        Ok(self.is_empty.recv()?)
    }
}

/// Keeps what passes, and reads it at the end with the tools that everybody knows.
struct Buffer {
    bytes: Vec<u8>,
    coding: Option<&'static str>,
    is_stream: bool,
}

impl Observe for Buffer {
    fn piece(&mut self, piece: &Bytes) {
        self.bytes.extend_from_slice(piece);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Half a body that was compressed is read as far as it goes.
        let _ = black_box(self.tokens());
    }
}

impl Buffer {
    fn tokens(&self) -> io::Result<Option<u64>> {
        let mut decoded = Vec::new();
        let encoded = self.bytes.as_slice();
        let body = match self.coding {
            None => encoded,
            Some(coding) => {
                match coding {
                    "gzip" => MultiGzDecoder::new(encoded).read_to_end(&mut decoded)?,
                    "deflate" => ZlibDecoder::new(encoded).read_to_end(&mut decoded)?,
                    "br" => brotli::Decompressor::new(encoded, 4 << 10).read_to_end(&mut decoded)?,
                    _ => zstd::Decoder::new(encoded)?.read_to_end(&mut decoded)?,
                };
                &decoded
            }
        };
        if !self.is_stream {
            return Ok(tokens(&serde_json::from_slice(body)?));
        }
        let events = body.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
        // Every event says something: of the model, of an end, of counts.
        Ok(events.fold(None, |found, event| {
            serde_json::from_slice(event).ok().and_then(|event| tokens(&event)).or(found)
        }))
    }
}

/// The output's tokens, wherever one of the workloads has them.
fn tokens(document: &Value) -> Option<u64> {
    [
        "/usage/completion_tokens",
        "/usage/output_tokens",
        "/response/usage/output_tokens",
        "/usageMetadata/candidatesTokenCount",
    ]
    .iter()
    .find_map(|path| document.pointer(path)?.as_u64())
}

/// This crate's layer, with queue, writer and file.
pub(crate) struct Layer {
    stack: Stack<UsageService<Replay>>,
    usage: Usage,
    directory: TempDir,
    served: u64,
}

impl Layer {
    pub(crate) fn new(workload: &Workload) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let usage = Usage::open(Config::recording_to(directory.path().join("usage.json")))?;
        let stack = Stack::of(workload).around(LAYER, usage.layer().layer(Replay::new(workload)));
        Ok(Self { stack, usage, directory, served: 0 })
    }
}

impl Contender for Layer {
    fn name(&self) -> &'static str {
        self.stack.name()
    }

    fn run(&mut self, requests: usize) -> Duration {
        self.served += requests as u64;
        self.stack.run(requests)
    }

    fn memory(&mut self) -> Memory {
        self.served += 1;
        self.stack.memory()
    }

    /// The queue is empty when the next turn begins, as it is in a proxy that is not overrun.
    fn rest(&mut self) -> anyhow::Result<()> {
        Ok(self.usage.flush_blocking()?)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.usage.close_blocking()?;
        let status = self.usage.status();
        ensure!(
            status.persisted == self.served,
            "{} of {} calls are in the file",
            status.persisted,
            self.served
        );
        let file = std::fs::read_to_string(self.directory.path().join("usage.json"))?;
        let end = if self.stack.stays { "complete" } else { "client_closed" };
        for line in file.lines() {
            let line: Value = serde_json::from_str(line)?;
            ensure!(line["end"] == end, "ended in another way than {end}: {line}");
            ensure!(!self.stack.stays || line["usage"] == "complete", "not all was counted: {line}");
        }
        Ok(())
    }
}
