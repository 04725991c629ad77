//! Which requests are calls to a model, and what their path already says. One table.

use std::borrow::Cow;

use http::Method;

use crate::extract::Dialect;

/// What a request's method and path say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A call to a model: recorded, whatever its outcome.
    Call(&'static Call),
    /// Nobody knows: recorded if its response carries usage.
    Unknown,
    /// No call to a model, though its answer may look like one.
    Ignored,
}

/// A row of the table of calls.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    path: Path,
    /// OpenTelemetry's `gen_ai.operation.name`.
    pub(crate) operation: &'static str,
    /// OpenTelemetry's `gen_ai.provider.name` of whose API this is.
    pub(crate) provider: Option<&'static str>,
    /// What the response is written in.
    pub(crate) dialect: Option<Dialect>,
    /// The response is a stream, whatever it looks like.
    pub(crate) is_stream: bool,
}

/// How a path is recognised. Only its end counts, so that any prefix works.
#[derive(Debug, PartialEq, Eq)]
enum Path {
    /// Ends with these segments.
    Segments(&'static str),
    /// The last segment ends with this method, as Google writes it: `models/gemini-pro:generateContent`.
    Verb(&'static str),
    /// `model/{model}/` and this, as Bedrock writes it.
    Model(&'static str),
}

const fn call(
    path: Path,
    operation: &'static str,
    provider: Option<&'static str>,
    dialect: Option<Dialect>,
) -> Call {
    Call { path, operation, provider, dialect, is_stream: false }
}

const OPENAI: Option<&str> = Some("openai");
const ANTHROPIC: Option<&str> = Some("anthropic");
const GEMINI: Option<&str> = Some("gcp.gemini");
const BEDROCK: Option<&str> = Some("aws.bedrock");

/// Calls to models. The first row that fits counts.
static CALLS: &[Call] = &[
    // Before OpenAI's, whose paths end like these.
    call(Path::Segments("api/chat"), "chat", None, Some(Dialect::Flat)),
    call(Path::Segments("api/generate"), "text_completion", None, Some(Dialect::Flat)),
    call(Path::Segments("api/embed"), "embeddings", None, Some(Dialect::Flat)),
    call(Path::Segments("api/embeddings"), "embeddings", None, Some(Dialect::Flat)),
    call(Path::Segments("chat/completions"), "chat", OPENAI, Some(Dialect::OpenAi)),
    call(Path::Segments("completions"), "text_completion", OPENAI, Some(Dialect::OpenAi)),
    call(Path::Segments("responses"), "chat", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("embeddings"), "embeddings", OPENAI, Some(Dialect::OpenAi)),
    call(Path::Segments("images/generations"), "generate_content", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("images/edits"), "generate_content", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("images/variations"), "generate_content", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("audio/transcriptions"), "generate_content", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("audio/translations"), "generate_content", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("audio/speech"), "generate_content", OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("messages"), "chat", ANTHROPIC, Some(Dialect::Anthropic)),
    call(Path::Verb("rawPredict"), "chat", ANTHROPIC, Some(Dialect::Anthropic)),
    Call {
        is_stream: true,
        ..call(Path::Verb("streamRawPredict"), "chat", ANTHROPIC, Some(Dialect::Anthropic))
    },
    call(Path::Verb("generateContent"), "generate_content", GEMINI, Some(Dialect::Gemini)),
    Call {
        is_stream: true,
        ..call(Path::Verb("streamGenerateContent"), "generate_content", GEMINI, Some(Dialect::Gemini))
    },
    call(Path::Verb("embedContent"), "embeddings", GEMINI, Some(Dialect::Gemini)),
    call(Path::Verb("batchEmbedContents"), "embeddings", GEMINI, Some(Dialect::Gemini)),
    call(Path::Model("converse"), "chat", BEDROCK, None),
    Call { is_stream: true, ..call(Path::Model("converse-stream"), "chat", BEDROCK, None) },
    call(Path::Model("invoke"), "chat", BEDROCK, None),
    Call { is_stream: true, ..call(Path::Model("invoke-with-response-stream"), "chat", BEDROCK, None) },
    call(Path::Segments("v1/rerank"), "rerank", None, None),
    call(Path::Segments("v2/rerank"), "rerank", None, None),
];

/// What looks like a call, or answers with counts, and uses no tokens: counting, storing, cancelling.
static IGNORED: &[Path] = &[
    Path::Segments("messages/count_tokens"),
    Path::Segments("responses/input_tokens"),
    Path::Segments("responses/compact/input_tokens"),
    Path::Verb("countTokens"),
    Path::Verb("computeTokens"),
    Path::Model("count-tokens"),
    Path::Segments("tokenize"),
    Path::Segments("detokenize"),
    Path::Segments("cancel"),
    Path::Segments("batches"),
    Path::Segments("files"),
];

impl Endpoint {
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let path = path.strip_suffix('/').unwrap_or(path);
        // Everything else reads what is stored, or prepares.
        if method != Method::POST || IGNORED.iter().any(|ignored| ignored.fits(path)) {
            return Self::Ignored;
        }
        match CALLS.iter().find(|call| call.path.fits(path)) {
            // A message put into a thread of OpenAI's Assistants is stored, and answered by a run.
            Some(call) if call.path == Path::Segments("messages") && path.contains("/threads/") => {
                Self::Ignored
            }
            Some(call) => Self::Call(call),
            None => Self::Unknown,
        }
    }
}

impl Path {
    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Segments(end) => {
                path.strip_suffix(end).is_some_and(|front| front.is_empty() || front.ends_with('/'))
            }
            Self::Verb(verb) => path.strip_suffix(verb).is_some_and(|front| front.ends_with(':')),
            Self::Model(method) => path
                .strip_suffix(method)
                .and_then(|front| front.strip_suffix('/'))
                .and_then(|front| front.rsplit_once('/'))
                .is_some_and(|(front, model)| front.ends_with("/model") && !model.is_empty()),
        }
    }
}

/// The model that a path names: `…/models/{model}:verb` or `…/model/{model}/…`.
pub(crate) fn model(path: &str) -> Option<Cow<'_, str>> {
    let (front, last) = path.rsplit_once('/')?;
    let model = match last.rsplit_once(':') {
        Some((model, _)) if front.ends_with("/models") => model,
        _ => front.rsplit_once('/').filter(|(front, _)| front.ends_with("/model"))?.1,
    };
    (!model.is_empty()).then(|| percent_encoding::percent_decode_str(model).decode_utf8_lossy())
}

/// `path` with what differs from call to call replaced: models and ids would make every endpoint a new one.
pub(crate) fn template(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut before = "";
    for segment in path.split('/').skip(1) {
        out.push('/');
        match (before, segment.rsplit_once(':')) {
            ("models", Some((_, verb))) => {
                out.push_str("{model}:");
                out.push_str(verb);
            }
            ("model", _) => out.push_str("{model}"),
            ("deployments", _) => out.push_str("{deployment}"),
            ("projects" | "locations" | "threads" | "accounts" | "endpoints", _) if !segment.is_empty() => {
                out.push_str("{id}");
            }
            _ => out.push_str(segment),
        }
        before = segment;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(path: &str) -> Option<&'static str> {
        match Endpoint::of(&Method::POST, path) {
            Endpoint::Call(call) => Some(call.operation),
            Endpoint::Unknown | Endpoint::Ignored => None,
        }
    }

    #[test]
    fn a_call_is_known_by_the_end_of_its_path() {
        for (path, expected) in [
            ("/v1/chat/completions", "chat"),
            ("/chat/completions", "chat"),
            ("/any/prefix/v1/chat/completions/", "chat"),
            ("/openai/deployments/gpt-4o/chat/completions", "chat"),
            ("/v1/completions", "text_completion"),
            ("/backend-api/codex/responses", "chat"),
            ("/v1/embeddings", "embeddings"),
            ("/v1/messages", "chat"),
            ("/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict", "chat"),
            ("/v1beta/models/gemini-2.5-pro:generateContent", "generate_content"),
            ("/v1internal:streamGenerateContent", "generate_content"),
            ("/model/anthropic.claude-3%3A0/converse", "chat"),
            ("/api/chat", "chat"),
            ("/api/generate", "text_completion"),
        ] {
            assert_eq!(operation(path), Some(expected), "{path}");
        }
    }

    /// F23
    #[test]
    fn counting_storing_and_reading_are_no_calls() {
        for path in [
            "/v1/messages/count_tokens",
            "/v1/responses/input_tokens",
            "/v1beta/models/gemini-2.5-pro:countTokens",
            "/model/m/count-tokens",
            "/v1/threads/thread_1/messages",
            "/v1/responses/resp_1/cancel",
            "/v1/messages/batches",
        ] {
            assert_eq!(Endpoint::of(&Method::POST, path), Endpoint::Ignored, "{path}");
        }
        for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
            assert_eq!(Endpoint::of(&method, "/v1/responses"), Endpoint::Ignored, "{method}");
        }
    }

    #[test]
    fn what_only_looks_like_a_call_is_unknown() {
        for path in ["/v1/mychat/xcompletions", "/generateContent", "/converse", "/chat", "/", ""] {
            assert_eq!(Endpoint::of(&Method::POST, path), Endpoint::Unknown, "{path}");
        }
    }

    #[test]
    fn a_path_may_name_the_model() {
        for (path, expected) in [
            ("/v1beta/models/gemini-2.5-pro:generateContent", Some("gemini-2.5-pro")),
            (
                "/v1/projects/p/locations/l/publishers/google/models/g@001:streamGenerateContent",
                Some("g@001"),
            ),
            ("/model/us.anthropic.claude-3-v2%3A0/converse-stream", Some("us.anthropic.claude-3-v2:0")),
            ("/v1internal:generateContent", None),
            ("/v1/chat/completions", None),
            ("/openai/deployments/gpt-4o/chat/completions", None),
        ] {
            assert_eq!(model(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn an_endpoint_is_the_same_for_every_model_and_project() {
        for (path, expected) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/{model}:generateContent"),
            ("/model/m/converse", "/model/{model}/converse"),
            ("/openai/deployments/d/embeddings", "/openai/deployments/{deployment}/embeddings"),
            (
                "/v1/projects/p/locations/l/publishers/google/models/g:generateContent",
                "/v1/projects/{id}/locations/{id}/publishers/google/models/{model}:generateContent",
            ),
        ] {
            assert_eq!(template(path), expected);
        }
    }
}
