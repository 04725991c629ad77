//! A simulated provider, so that the proxy can be tried without a key: it speaks the APIs of OpenAI, Anthropic, Google
//! and Ollama, at the pace of a person who reads aloud.
//!
//! Every answer says that it is simulated (`x-simulated: true`). Headers of a request steer it: `x-simulated-pace` is
//! the milliseconds a word takes (as is the variable `SIMULATED_PACE_MS`), `x-simulated-error` a status (429, 500, 529)
//! or `stream`, for an error in mid-stream.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Sleep};

const DEFAULT_PACE: Duration = Duration::from_millis(25);
/// Bytes of a request that are read; nobody asks a simulation for more.
const MAX_REQUEST: usize = 8 << 20;

const SENTENCES: [&str; 8] = [
    "The kettle was still warm when the first train of the morning went by.",
    "A good index answers before the question has been finished, and nobody notices.",
    "Nobody had told the cat that the bridge was closed for repairs.",
    "Count what you can see, and say aloud what you cannot.",
    "The map was older than the road, but the road was better kept.",
    "Three boats left the harbour and four came back, which was never explained.",
    "She wrote the number down twice, because numbers like to wander.",
    "In the end the shortest letter was the one that everybody kept.",
];

/// The provider, while the runtime lives.
pub(crate) struct Simulated {
    pub(crate) addr: SocketAddr,
}

/// Starts the provider on a port of its own.
pub(crate) async fn start() -> io::Result<Simulated> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let server = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                drop(server.serve_connection(TokioIo::new(stream), service_fn(answer)).await)
            });
        }
    });
    Ok(Simulated { addr })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Script>, Infallible> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);

    let (head, body) = request.into_parts();
    let header =
        |name| head.headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let path = head.uri.path();
    let Some(api) = Api::of(&head.method, path) else {
        return Ok(Script::whole(404, error(Api::Chat, 404)).respond(DEFAULT_PACE, 0));
    };
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    let pace =
        header("x-simulated-pace").map(str::to_owned).or_else(|| std::env::var("SIMULATED_PACE_MS").ok());
    let pace = pace.and_then(|pace| pace.parse().ok()).map_or(DEFAULT_PACE, Duration::from_millis);

    let body = http_body_util::Limited::new(body, MAX_REQUEST).collect().await;
    let Some(asked) = body.ok().and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok())
    else {
        return Ok(Script::whole(400, error(api, 400)).respond(pace, number));
    };
    // The first calls of somebody who tries it go well.
    let failure = match header("x-simulated-error") {
        Some(wanted) => Some(wanted),
        None if number < 8 => None,
        None if number % 20 == 13 => Some(["429", "500", "529"][number / 20 % 3]),
        None if number % 50 == 31 => Some("stream"),
        None => None,
    };
    if let Some(status) = failure.and_then(|failure| failure.parse().ok()) {
        return Ok(Script::whole(status, error(api, status)).respond(pace, number));
    }
    let talk = Talk::new(&asked, api, path, number);
    let is_stream = match api {
        Api::Embeddings => false,
        Api::Gemini => path.ends_with(":streamGenerateContent"),
        Api::OllamaChat | Api::OllamaGenerate => asked["stream"] != json!(false),
        _ => asked["stream"] == json!(true),
    };
    let mut script = match (api, is_stream) {
        (Api::Embeddings, _) => talk.embeddings(&asked),
        (Api::Chat | Api::Completions, false) => Script::whole(200, talk.completion(api)),
        (Api::Chat | Api::Completions, true) => talk.completion_stream(api, &asked),
        (Api::Responses, false) => Script::whole(200, talk.response("completed")),
        (Api::Responses, true) => talk.response_stream(),
        (Api::Messages, false) => Script::whole(200, talk.message()),
        (Api::Messages, true) => talk.message_stream(),
        (Api::Gemini, false) => {
            Script::whole(200, talk.gemini(&talk.words.join(" "), talk.words.len(), true))
        }
        (Api::Gemini, true) => talk.gemini_stream(head.uri.query().unwrap_or_default().contains("alt=sse")),
        (Api::OllamaChat | Api::OllamaGenerate, is_stream) => talk.ollama(api, is_stream),
    };
    if failure == Some("stream") && is_stream {
        script.break_off(api);
    }
    Ok(script.respond(pace, number))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Messages,
    Gemini,
    OllamaChat,
    OllamaGenerate,
}

impl Api {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let ends = [
            ("/chat/completions", Self::Chat),
            ("/completions", Self::Completions),
            ("/responses", Self::Responses),
            ("/embeddings", Self::Embeddings),
            ("/messages", Self::Messages),
            (":generateContent", Self::Gemini),
            (":streamGenerateContent", Self::Gemini),
            ("/api/chat", Self::OllamaChat),
            ("/api/generate", Self::OllamaGenerate),
        ];
        let (_, api) = ends.into_iter().find(|(end, _)| path.ends_with(end))?;
        (method == Method::POST).then_some(api)
    }
}

/// What is said, and what it costs.
struct Talk {
    id: String,
    model: String,
    words: Vec<String>,
    input: usize,
    cached: usize,
    output: usize,
    reasoning: usize,
}

impl Talk {
    fn new(asked: &Value, api: Api, path: &str, number: usize) -> Self {
        let from_path = || Some(path.rsplit_once('/')?.1.rsplit_once(':')?.0.to_owned());
        let model = asked["model"].as_str().map(str::to_owned).or_else(from_path);
        let sentences = (0..2 + number % 5).map(|at| SENTENCES[(number * 3 + at) % SENTENCES.len()]);
        let words: Vec<_> = sentences.flat_map(str::split_whitespace).map(str::to_owned).collect();
        let input = 4 + characters(asked) / 4;
        let spoken = words.len() * 4 / 3;
        let reasoning = if number % 4 == 3 && api != Api::Embeddings { 64 } else { 0 };
        Self {
            id: format!("sim{number:08}"),
            model: model.filter(|model| !model.is_empty()).unwrap_or_else(|| "simulated-1".to_owned()),
            input,
            cached: if number % 3 == 2 { input / 2 } else { 0 },
            output: spoken + reasoning,
            reasoning,
            words,
        }
    }

    /// Words as they follow each other: all but the first with a space in front.
    fn pieces(&self) -> impl Iterator<Item = String> {
        self.words
            .iter()
            .enumerate()
            .map(|(at, word)| if at == 0 { word.clone() } else { format!(" {word}") })
    }

    fn openai_usage(&self) -> Value {
        json!({
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": { "cached_tokens": self.cached, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": self.reasoning, "audio_tokens": 0 },
        })
    }

    fn completion(&self, api: Api) -> Value {
        let text = self.words.join(" ");
        let (object, choice) = match api {
            Api::Completions => ("text_completion", json!({ "text": text })),
            _ => (
                "chat.completion",
                json!({ "message": { "role": "assistant", "content": text, "refusal": null } }),
            ),
        };
        let mut choice = choice;
        choice["index"] = json!(0);
        choice["finish_reason"] = json!("stop");
        json!({
            "id": format!("chatcmpl-{}", self.id), "object": object, "created": 1_772_323_200, "model": self.model,
            "choices": [choice], "usage": self.openai_usage(),
        })
    }

    fn completion_stream(&self, api: Api, asked: &Value) -> Script {
        let wants_usage = asked["stream_options"]["include_usage"] == json!(true);
        let object = if api == Api::Chat { "chat.completion.chunk" } else { "text_completion" };
        let chunk = |choices: Value, usage: Value| {
            let mut chunk = json!({
                "id": format!("chatcmpl-{}", self.id), "object": object, "created": 1_772_323_200, "model": self.model,
                "choices": choices,
            });
            // Asked for, it is in every chunk, and null in all but the last.
            if wants_usage {
                chunk["usage"] = usage;
            }
            format!("data: {chunk}\n\n")
        };
        let choice = |piece: Option<String>| {
            let finish = piece.is_none().then_some("stop");
            match (api, piece) {
                (Api::Chat, Some(piece)) => {
                    json!([{ "index": 0, "delta": { "content": piece }, "finish_reason": finish }])
                }
                (Api::Chat, None) => json!([{ "index": 0, "delta": {}, "finish_reason": finish }]),
                (_, piece) => {
                    json!([{ "index": 0, "text": piece.unwrap_or_default(), "finish_reason": finish }])
                }
            }
        };
        let mut script = Script::stream("text/event-stream; charset=utf-8");
        script.extend(self.pieces().map(|piece| chunk(choice(Some(piece)), Value::Null)));
        script.push(chunk(choice(None), Value::Null));
        if wants_usage {
            script.push(chunk(json!([]), self.openai_usage()));
        }
        script.push("data: [DONE]\n\n");
        script
    }

    fn response(&self, status: &str) -> Value {
        let is_over = status == "completed";
        let output = json!([{
            "type": "message", "id": format!("msg_{}", self.id), "role": "assistant", "status": status,
            "content": [{ "type": "output_text", "text": self.words.join(" "), "annotations": [] }],
        }]);
        let usage = json!({
            "input_tokens": self.input,
            "input_tokens_details": { "cached_tokens": self.cached },
            "output_tokens": self.output,
            "output_tokens_details": { "reasoning_tokens": self.reasoning },
            "total_tokens": self.input + self.output,
        });
        json!({
            "id": format!("resp_{}", self.id), "object": "response", "created_at": 1_772_323_200, "status": status,
            "error": null, "model": self.model, "output": if is_over { output } else { json!([]) },
            "usage": if is_over { usage } else { Value::Null },
        })
    }

    fn response_stream(&self) -> Script {
        let event = |kind: &str, mut data: Value| {
            data["type"] = json!(kind);
            format!("event: {kind}\ndata: {data}\n\n")
        };
        let mut script = Script::stream("text/event-stream; charset=utf-8");
        script.push(event("response.created", json!({ "response": self.response("in_progress") })));
        script.extend(self.pieces().map(|piece| {
            let item = format!("msg_{}", self.id);
            event("response.output_text.delta", json!({ "item_id": item, "output_index": 0, "delta": piece }))
        }));
        script.push(event("response.completed", json!({ "response": self.response("completed") })));
        script
    }

    fn embeddings(&self, asked: &Value) -> Script {
        let count = asked["input"].as_array().map_or(1, Vec::len);
        let vector: Vec<_> =
            (0..64).map(|at| ((self.input * 31 + at * 17) % 200) as f64 / 1000.0 - 0.1).collect();
        let data: Vec<_> = (0..count)
            .map(|index| json!({ "object": "embedding", "index": index, "embedding": vector }))
            .collect();
        let usage = json!({ "prompt_tokens": self.input, "total_tokens": self.input });
        Script::whole(200, json!({ "object": "list", "data": data, "model": self.model, "usage": usage }))
    }

    /// Anthropic counts what came from a cache beside the input.
    fn message_usage(&self, output: usize) -> Value {
        json!({
            "input_tokens": self.input - self.cached, "cache_read_input_tokens": self.cached,
            "cache_creation_input_tokens": 0, "output_tokens": output,
        })
    }

    fn message(&self) -> Value {
        json!({
            "id": format!("msg_{}", self.id), "type": "message", "role": "assistant", "model": self.model,
            "content": [{ "type": "text", "text": self.words.join(" ") }], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": self.message_usage(self.output),
        })
    }

    fn message_stream(&self) -> Script {
        let event =
            |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
        let mut start = self.message();
        start["content"] = json!([]);
        start["stop_reason"] = Value::Null;
        start["usage"] = self.message_usage(1);
        let mut script = Script::stream("text/event-stream; charset=utf-8");
        script.push(event(json!({ "type": "message_start", "message": start })));
        let block = json!({ "type": "text", "text": "" });
        script.push(event(json!({ "type": "content_block_start", "index": 0, "content_block": block })));
        script.push(event(json!({ "type": "ping" })));
        script.extend(self.pieces().map(|piece| {
            let delta = json!({ "type": "text_delta", "text": piece });
            event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
        }));
        script.push(event(json!({ "type": "content_block_stop", "index": 0 })));
        let delta = json!({ "stop_reason": "end_turn", "stop_sequence": null });
        script.push(event(
            json!({ "type": "message_delta", "delta": delta, "usage": self.message_usage(self.output) }),
        ));
        script.push(event(json!({ "type": "message_stop" })));
        script
    }

    /// Google counts thoughts beside the candidates. `words` so far, of which `text` is the last piece.
    fn gemini(&self, text: &str, words: usize, is_last: bool) -> Value {
        let spoken = (self.output - self.reasoning) * words / self.words.len();
        let mut candidate =
            json!({ "content": { "parts": [{ "text": text }], "role": "model" }, "index": 0 });
        if is_last {
            candidate["finishReason"] = json!("STOP");
        }
        let mut usage = json!({
            "promptTokenCount": self.input, "candidatesTokenCount": spoken,
            "totalTokenCount": self.input + spoken + self.reasoning,
        });
        if self.reasoning > 0 {
            usage["thoughtsTokenCount"] = json!(self.reasoning);
        }
        if self.cached > 0 {
            usage["cachedContentTokenCount"] = json!(self.cached);
        }
        json!({ "candidates": [candidate], "usageMetadata": usage, "modelVersion": self.model, "responseId": self.id })
    }

    fn gemini_stream(&self, is_sse: bool) -> Script {
        let mut script =
            Script::stream(if is_sse { "text/event-stream" } else { "application/json; charset=UTF-8" });
        let count = self.words.len();
        for (at, piece) in self.pieces().enumerate() {
            let chunk = self.gemini(&piece, at + 1, at + 1 == count);
            script.push(match (is_sse, at) {
                (true, _) => format!("data: {chunk}\r\n\r\n"),
                (false, 0) => format!("[{chunk}"),
                (false, _) => format!(",\r\n{chunk}"),
            });
        }
        if !is_sse {
            script.push("]");
        }
        script
    }

    fn ollama(&self, api: Api, is_stream: bool) -> Script {
        let line = |text: &str, is_last: bool| {
            let mut line =
                json!({ "model": self.model, "created_at": "2026-03-01T00:00:00Z", "done": is_last });
            match api {
                Api::OllamaChat => line["message"] = json!({ "role": "assistant", "content": text }),
                _ => line["response"] = json!(text),
            }
            if is_last {
                line["done_reason"] = json!("stop");
                line["total_duration"] = json!(1_234_567_890_u64);
                line["prompt_eval_count"] = json!(self.input);
                line["eval_count"] = json!(self.output);
            }
            line
        };
        if !is_stream {
            return Script::whole(200, line(&self.words.join(" "), true));
        }
        let mut script = Script::stream("application/x-ndjson");
        script.extend(self.pieces().map(|piece| format!("{}\n", line(&piece, false))));
        script.push(format!("{}\n", line("", true)));
        script
    }
}

/// Characters of all text in a request.
fn characters(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(fields) => fields.values().map(characters).sum(),
        _ => 0,
    }
}

fn error(api: Api, status: u16) -> Value {
    let (kind, code, text) = match status {
        400 => ("invalid_request_error", "INVALID_ARGUMENT", "The request's body is not JSON."),
        404 => ("invalid_request_error", "NOT_FOUND", "The simulated provider does not know this path."),
        429 => ("rate_limit_error", "RESOURCE_EXHAUSTED", "Too many requests; this error is simulated."),
        529 => ("overloaded_error", "UNAVAILABLE", "Overloaded; this error is simulated."),
        _ => ("api_error", "INTERNAL", "Something went wrong; this error is simulated."),
    };
    match api {
        Api::Messages => json!({ "type": "error", "error": { "type": kind, "message": text } }),
        Api::Gemini => json!({ "error": { "code": status, "message": text, "status": code } }),
        Api::OllamaChat | Api::OllamaGenerate => json!({ "error": text }),
        _ => json!({ "error": { "message": text, "type": kind, "param": null, "code": null } }),
    }
}

/// A response's body, piece by piece.
struct Script {
    status: u16,
    content_type: &'static str,
    pieces: VecDeque<Bytes>,
    pace: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Script {
    fn whole(status: u16, body: Value) -> Self {
        let mut script = Self { status, ..Self::stream("application/json") };
        script.push(body.to_string());
        script
    }

    fn stream(content_type: &'static str) -> Self {
        Self { status: 200, content_type, pieces: VecDeque::new(), pace: Duration::ZERO, sleep: None }
    }

    fn push(&mut self, piece: impl Into<Bytes>) {
        self.pieces.push_back(piece.into());
    }

    fn extend(&mut self, pieces: impl Iterator<Item = String>) {
        pieces.for_each(|piece| self.push(piece));
    }

    /// Goes well for a while, and then does not.
    fn break_off(&mut self, api: Api) {
        self.pieces.truncate(self.pieces.len() / 2);
        let error = error(api, 500);
        self.push(match api {
            Api::Messages => format!("event: error\ndata: {error}\n\n"),
            Api::OllamaChat | Api::OllamaGenerate => format!("{error}\n"),
            Api::Gemini if self.content_type.starts_with("application/json") => format!(",{error}]"),
            _ => format!("data: {error}\n\n"),
        });
    }

    fn respond(mut self, pace: Duration, number: usize) -> Response<Self> {
        // A whole answer takes its time, too.
        self.pace = if self.pieces.len() == 1 { pace * 10 } else { pace };
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let response = Response::builder()
            .status(status)
            .header("content-type", self.content_type)
            .header("x-request-id", format!("req_sim{number:08}"))
            .header("x-simulated", "true");
        response.body(self).expect("these headers are valid")
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces.is_empty() {
            return Poll::Ready(None);
        }
        if !self.pace.is_zero() {
            let pace = self.pace;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pace)));
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }
}
