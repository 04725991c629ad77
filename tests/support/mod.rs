//! What several tests need.
#![allow(dead_code, unreachable_pub, reason = "not every test needs all of it, and none is needed beyond")]

use std::{
    collections::VecDeque,
    fmt, fs,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tower_llm_usage::{Config, Usage, UsageLayer};

/// A usage file of its own, and what was recorded into it.
pub struct Recording {
    // Ends before its directory goes, or it would make it again.
    pub usage: Usage,
    dir: TempDir,
}

impl Recording {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let usage = Usage::open(Config::recording_to(dir.path().join("usage.json"))).unwrap();
        Self { usage, dir }
    }

    pub fn layer(&self) -> UsageLayer {
        self.usage.layer()
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("usage.json")
    }

    /// Ends the recording, and gives the lines that it wrote.
    pub async fn lines(self) -> Vec<Value> {
        self.usage.close().await.unwrap();
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one line that there has to be.
    pub async fn line(self) -> Value {
        let mut lines = self.lines().await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.remove(0)
    }
}

/// A step of a scripted body.
#[derive(Debug)]
pub enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail,
    /// Never anything again.
    Hang,
}

pub fn data(text: impl Into<Bytes>) -> Step {
    Step::Data(text.into())
}

/// A body that does as it is told, and lies about itself if it is told to.
#[derive(Debug)]
pub struct Script {
    steps: VecDeque<Step>,
    hint: SizeHint,
    /// `is_end_stream` says so when the last frame is out.
    knows_its_end: bool,
    on_drop: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script says so")
    }
}

impl std::error::Error for Failure {}

impl Script {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            hint: SizeHint::default(),
            knows_its_end: false,
            on_drop: None,
        }
    }

    pub fn exact(mut self, len: usize) -> Self {
        self.hint = SizeHint::with_exact(len as u64);
        self
    }

    pub fn knowing_its_end(mut self) -> Self {
        self.knows_its_end = true;
        self
    }

    /// Resolves when the body is gone.
    pub fn dropped(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.on_drop = Some(sender);
        receiver
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Poll::Ready(match self.steps.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Fail) => Some(Err(Failure)),
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                return Poll::Pending;
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            let _ = on_drop.send(());
        }
    }
}

/// A call to a model.
pub fn chat() -> http::Request<http_body_util::Empty<Bytes>> {
    post("/v1/chat/completions")
}

pub fn post(path: &str) -> http::Request<http_body_util::Empty<Bytes>> {
    http::Request::post(path).header("host", "localhost").body(http_body_util::Empty::new()).unwrap()
}

pub const COMPLETION: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
