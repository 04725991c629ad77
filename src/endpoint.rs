//! Which requests are calls to a model, and what their path already says. One table.

use std::{borrow::Cow, sync::LazyLock};

use hashbrown::HashMap;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// `METHOD /path`, if the path is as most servers have it: such a one names no model and no provider, and is its own
    /// [`template`].
    pub(crate) usual: Option<&'static str>,
}

/// How a path is recognised. Only its end counts, so that any prefix works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Ends with these segments.
    Segments(&'static str),
    /// The last segment ends with this method, as Google writes it: `models/gemini-pro:generateContent`.
    Verb(&'static str),
    /// The same, of a model with this in its name: `models/text-embedding-005:predict`.
    ModelVerb(&'static str, &'static str),
    /// Ends with a segment, a name that may be any, and these segments: `model/{model}/converse`. The name of a
    /// resource at AWS may have a slash in it, when somebody has decoded it.
    Named(&'static str, &'static str),
    /// Ends with these segments and a name that may be any: `chat/completions/{id}`.
    Child(&'static str),
    /// Has these segments, and a name of any length behind them: `ai/run/{model}`.
    Before(&'static str),
}

const fn call(
    path: Path,
    operation: &'static str,
    provider: Option<&'static str>,
    dialect: Option<Dialect>,
) -> Call {
    Call { path, operation, provider, dialect, is_stream: false, usual: None }
}

const fn stream(
    path: Path,
    operation: &'static str,
    provider: Option<&'static str>,
    dialect: Option<Dialect>,
) -> Call {
    Call { is_stream: true, ..call(path, operation, provider, dialect) }
}

const CHAT: &str = "chat";
const COMPLETION: &str = "text_completion";
const CONTENT: &str = "generate_content";
const EMBEDDINGS: &str = "embeddings";
const RERANK: &str = "rerank";
const AGENT: &str = "invoke_agent";

const OPENAI: Option<&str> = Some("openai");
const ANTHROPIC: Option<&str> = Some("anthropic");
const GEMINI: Option<&str> = Some("gcp.gemini");
const BEDROCK: Option<&str> = Some("aws.bedrock");
const COHERE: Option<&str> = Some("cohere");
const DASHSCOPE: Option<&str> = Some("alibaba_cloud");
const WATSONX: Option<&str> = Some("ibm.watsonx.ai");

/// Calls to models. The first row that fits counts.
static CALLS: &[Call] = &[
    // OpenAI's, and those of everybody who copied them.
    call(Path::Segments("v1beta/openai/chat/completions"), CHAT, GEMINI, Some(Dialect::GeminiOpenAi)),
    call(Path::Segments("endpoints/openapi/chat/completions"), CHAT, GEMINI, Some(Dialect::GeminiOpenAi)),
    call(Path::Segments("v1beta/openai/embeddings"), EMBEDDINGS, GEMINI, Some(Dialect::OpenAi)),
    call(Path::Segments("chat/completions"), CHAT, OPENAI, Some(Dialect::OpenAi)),
    call(Path::Segments("completions"), COMPLETION, OPENAI, Some(Dialect::OpenAi)),
    call(Path::Segments("responses"), CHAT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("responses/compact"), CHAT, OPENAI, Some(Dialect::Responses)),
    // Before OpenAI's, since its path ends like theirs.
    call(Path::Segments("api/embeddings"), EMBEDDINGS, None, Some(Dialect::Flat)),
    call(Path::Segments("embeddings"), EMBEDDINGS, OPENAI, Some(Dialect::OpenAi)),
    call(Path::Segments("images/generations"), CONTENT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("images/edits"), CONTENT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("images/variations"), CONTENT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("audio/transcriptions"), CONTENT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("audio/translations"), CONTENT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("audio/speech"), CONTENT, OPENAI, Some(Dialect::Responses)),
    call(Path::Segments("threads/runs"), AGENT, OPENAI, Some(Dialect::OpenAi)),
    call(Path::Named("threads", "runs"), AGENT, OPENAI, Some(Dialect::OpenAi)),
    call(Path::Named("runs", "submit_tool_outputs"), AGENT, OPENAI, Some(Dialect::OpenAi)),
    call(Path::Named("serving-endpoints", "invocations"), CHAT, Some("databricks"), Some(Dialect::OpenAi)),
    call(Path::Segments("cortex/inference:complete"), CHAT, Some("snowflake"), Some(Dialect::OpenAi)),
    // Anthropic's, also on Vertex, where others answer at the same paths.
    call(Path::Segments("messages"), CHAT, ANTHROPIC, Some(Dialect::Anthropic)),
    // The older one has no counts: every event may be the last.
    call(Path::Segments("v1/complete"), COMPLETION, ANTHROPIC, None),
    call(Path::Verb("rawPredict"), CHAT, None, None),
    stream(Path::Verb("streamRawPredict"), CHAT, None, None),
    // Google's.
    call(Path::Verb("generateContent"), CONTENT, GEMINI, Some(Dialect::Gemini)),
    stream(Path::Verb("streamGenerateContent"), CONTENT, GEMINI, Some(Dialect::Gemini)),
    call(Path::Verb("embedContent"), EMBEDDINGS, GEMINI, Some(Dialect::Gemini)),
    call(Path::Verb("batchEmbedContents"), EMBEDDINGS, GEMINI, Some(Dialect::Gemini)),
    call(Path::ModelVerb("embedding", "predict"), EMBEDDINGS, GEMINI, Some(Dialect::Flat)),
    call(Path::Segments("interactions"), CONTENT, GEMINI, Some(Dialect::Interactions)),
    // Bedrock's. InvokeModel answers in the model's own format.
    call(Path::Named("model", "converse"), CHAT, BEDROCK, Some(Dialect::Bedrock)),
    stream(Path::Named("model", "converse-stream"), CHAT, BEDROCK, Some(Dialect::Bedrock)),
    call(INVOKE_MODEL, CHAT, BEDROCK, None),
    stream(Path::Named("model", "invoke-with-response-stream"), CHAT, BEDROCK, None),
    // Ollama's.
    call(Path::Segments("api/chat"), CHAT, None, Some(Dialect::Flat)),
    call(Path::Segments("api/generate"), COMPLETION, None, Some(Dialect::Flat)),
    call(Path::Segments("api/embed"), EMBEDDINGS, None, Some(Dialect::Flat)),
    // Cohere's.
    call(Path::Segments("v1/chat"), CHAT, None, Some(Dialect::Cohere)),
    call(Path::Segments("v2/chat"), CHAT, COHERE, Some(Dialect::Cohere)),
    call(Path::Segments("v1/generate"), COMPLETION, COHERE, Some(Dialect::Cohere)),
    call(Path::Segments("v1/embed"), EMBEDDINGS, COHERE, Some(Dialect::Cohere)),
    call(Path::Segments("v2/embed"), EMBEDDINGS, COHERE, Some(Dialect::Cohere)),
    call(Path::Segments("rerank"), RERANK, None, None),
    // DashScope's own.
    call(Path::Segments("text-generation/generation"), CHAT, DASHSCOPE, Some(Dialect::DashScope)),
    call(Path::Segments("multimodal-generation/generation"), CHAT, DASHSCOPE, Some(Dialect::DashScope)),
    call(Path::Named("aigc", "generation"), CONTENT, DASHSCOPE, Some(Dialect::DashScope)),
    call(Path::Segments("text-embedding/text-embedding"), EMBEDDINGS, DASHSCOPE, Some(Dialect::DashScope)),
    // watsonx', and what its first version called them.
    call(Path::Segments("text/generation"), COMPLETION, WATSONX, Some(Dialect::Watsonx)),
    stream(Path::Segments("text/generation_stream"), COMPLETION, WATSONX, Some(Dialect::Watsonx)),
    call(Path::Segments("generation/text"), COMPLETION, WATSONX, Some(Dialect::Watsonx)),
    stream(Path::Segments("generation/text_stream"), COMPLETION, WATSONX, Some(Dialect::Watsonx)),
    call(Path::Segments("text/chat"), CHAT, WATSONX, Some(Dialect::OpenAi)),
    stream(Path::Segments("text/chat_stream"), CHAT, WATSONX, Some(Dialect::OpenAi)),
    call(Path::Segments("text/embeddings"), EMBEDDINGS, WATSONX, Some(Dialect::Watsonx)),
    // Replicate's, Cloudflare's, and those of servers that people run themselves: llama.cpp, TGI and SGLang.
    call(Path::Segments("predictions"), CONTENT, Some("replicate"), Some(Dialect::Replicate)),
    call(Path::Before("ai/run"), CONTENT, Some("cloudflare"), Some(Dialect::OpenAi)),
    call(Path::Segments("completion"), COMPLETION, None, Some(Dialect::Flat)),
    call(Path::Segments("complete"), COMPLETION, None, Some(Dialect::Flat)),
    call(Path::Segments("generate"), COMPLETION, None, Some(Dialect::Flat)),
    stream(Path::Segments("generate_stream"), COMPLETION, None, Some(Dialect::Flat)),
];

const INVOKE_MODEL: Path = Path::Named("model", "invoke");

/// What looks like a call, or answers with counts, and uses no tokens: counting, storing, cancelling.
static IGNORED: &[Path] = &[
    Path::Segments("messages/count_tokens"),
    Path::Segments("responses/input_tokens"),
    Path::Segments("responses/compact/input_tokens"),
    Path::Verb("countTokens"),
    Path::Verb("computeTokens"),
    Path::Named("model", "count-tokens"),
    // Venice's, whose path ends like a text's; counted in images.
    Path::Segments("image/generate"),
    Path::Segments("tokenize"),
    Path::Segments("detokenize"),
    Path::Segments("cancel"),
    Path::Segments("batches"),
    Path::Segments("files"),
    // A message put into a thread of OpenAI's Assistants is stored, and answered by a run.
    Path::Named("threads", "messages"),
    // Posts of new metadata, answered by what is stored.
    Path::Child("runs"),
    Path::Child("chat/completions"),
];

impl Endpoint {
    /// Makes the tables, if they are not there yet.
    pub(crate) fn prepare() {
        LazyLock::force(&USUAL);
    }

    pub(crate) fn of(method: &Method, path: &str) -> Self {
        // Everything else reads what is stored, or prepares.
        if method != Method::POST {
            return Self::Ignored;
        }
        match USUAL.get(path) {
            Some(endpoint) => *endpoint,
            None => Self::of_row(ROWS.search(path.strip_suffix('/').unwrap_or(path))),
        }
    }

    fn of_row(row: Option<usize>) -> Self {
        let Some(row) = row else { return Self::Unknown };
        row.checked_sub(IGNORED.len()).map_or(Self::Ignored, |row| Self::Call(&CALLS[row]))
    }
}

/// Paths as most servers have them, which saves the look at the others.
static USUAL: LazyLock<HashMap<&'static str, Endpoint>> = LazyLock::new(|| {
    // What stands before the segments of a row.
    const BEFORE: [&str; 2] = ["POST /", "POST /v1/"];
    let segments =
        paths().filter_map(|path| if let Path::Segments(segments) = path { Some(segments) } else { None });
    let usual = segments.flat_map(|segments| BEFORE.map(|before| &*format!("{before}{segments}").leak()));
    usual
        .map(|usual| {
            let path = &usual["POST ".len()..];
            let mut endpoint = Endpoint::of_row(ROWS.search(path));
            if let Endpoint::Call(call) = &mut endpoint {
                *call = Box::leak(Box::new(Call { usual: Some(usual), ..**call }));
            }
            (path, endpoint)
        })
        .collect()
});

/// The paths of both tables, first what is ignored.
fn paths() -> impl Iterator<Item = &'static Path> {
    IGNORED.iter().chain(CALLS.iter().map(|call| &call.path))
}

/// One look at a path finds its row.
static ROWS: LazyLock<Rows> = LazyLock::new(|| Rows::new(paths()));

/// A table by the last words of its paths: of many rows few are worth a look.
struct Rows {
    by_last_word: HashMap<&'static str, Vec<Row>>,
    /// Those whose last word may be any.
    others: Vec<Row>,
}

type Row = (usize, &'static Path);

impl Rows {
    fn new(paths: impl Iterator<Item = &'static Path>) -> Self {
        let mut rows = Self { by_last_word: HashMap::new(), others: Vec::new() };
        for row in paths.enumerate() {
            match row.1.last_word() {
                Some(word) => rows.by_last_word.entry(word).or_default().push(row),
                None => rows.others.push(row),
            }
        }
        rows
    }

    /// The first row that fits.
    fn search(&self, path: &str) -> Option<usize> {
        let known = self.by_last_word.get(last_word(path)).map_or(&[][..], |rows| rows);
        let known = known.iter().find(|(_, row)| row.fits(path)).map(|(at, _)| *at);
        let mut before = self.others.iter().take_while(|(at, _)| known.is_none_or(|known| *at < known));
        before.find(|(_, row)| row.fits(path)).map(|(at, _)| *at).or(known)
    }
}

/// What stands behind the last slash or colon.
fn last_word(path: &str) -> &str {
    memchr::memrchr2(b'/', b':', path.as_bytes()).map_or(path, |at| &path[at + 1..])
}

impl Call {
    /// The counts stand in the response's head, too, and for some models only there.
    pub(crate) fn has_usage_headers(&self) -> bool {
        self.path == INVOKE_MODEL
    }
}

impl Path {
    /// The last word of all paths that it fits; `None` if they have not the same.
    fn last_word(&self) -> Option<&'static str> {
        match self {
            Self::Segments(end) | Self::Verb(end) | Self::ModelVerb(_, end) | Self::Named(_, end) => {
                Some(last_word(end))
            }
            Self::Child(_) | Self::Before(_) => None,
        }
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Segments(segments) => before(path, segments).is_some(),
            Self::Verb(verb) => before_end(path, verb).is_some_and(|front| front.ends_with(':')),
            Self::ModelVerb(part, verb) => {
                Self::Verb(verb).fits(path)
                    && path.rsplit_once("models/").is_some_and(|(_, model)| model.contains(part))
            }
            Self::Child(parent) => path
                .rsplit_once('/')
                .is_some_and(|(front, name)| !name.is_empty() && before(front, parent).is_some()),
            Self::Named(parent, segments) => before(path, segments)
                .is_some_and(|front| name_behind(front.strip_suffix('/').unwrap_or(front), parent).is_some()),
            Self::Before(segments) => behind(path, segments).is_some(),
        }
    }
}

/// What stands before the end of a path, if this is its end.
#[inline]
fn before_end<'a>(path: &'a str, end: &str) -> Option<&'a str> {
    // Byte by byte: most differ at once. A comparison that takes many bytes reads beyond a text, and where its page ends
    // there, some processors take hundreds of nanoseconds for it.
    let is_end = path.len() >= end.len() && path.bytes().rev().zip(end.bytes().rev()).all(|(a, b)| a == b);
    if is_end { path.get(..path.len() - end.len()) } else { None }
}

/// What stands before the last segments of a path, if it has them.
fn before<'a>(path: &'a str, segments: &str) -> Option<&'a str> {
    before_end(path, segments).filter(|front| front.is_empty() || front.ends_with('/'))
}

/// The name at the end of `front`, if `parent` stands before it.
fn name_behind<'a>(front: &'a str, parent: &str) -> Option<&'a str> {
    let at = memchr::memrchr(b'/', front.as_bytes())?;
    let (before_name, name) = (&front[..at], &front[at + 1..]);
    if !name.is_empty() && before(before_name, parent).is_some() {
        return Some(name);
    }
    // A search for a text costs more than all else here; that for a byte is cheap, and few paths have a colon.
    memchr::memchr(b':', front.as_bytes())?;
    behind(front, parent).filter(|name| name.starts_with("arn:"))
}

/// What stands behind some segments of a path, if it has them and there is something.
fn behind<'a>(path: &'a str, segments: &str) -> Option<&'a str> {
    let at = path.find(segments)?;
    let (front, rest) = (&path[..at], &path[at + segments.len()..]);
    let name = rest.strip_prefix('/').filter(|name| !name.is_empty())?;
    (front.is_empty() || front.ends_with('/')).then_some(name)
}

/// The model that a path names: `…/models/{model}:verb`, `…/model/{model}/…`, `…/models/{owner}/{model}/predictions`
/// or `…/ai/run/{model}`.
pub(crate) fn model(path: &str) -> Option<Cow<'_, str>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (front, last) = path.rsplit_once('/')?;
    let model = match last.rsplit_once(':') {
        Some((model, _)) if front.ends_with("/models") => model,
        _ if last == "predictions" => behind(front, "models")?,
        _ => match behind(path, "ai/run") {
            Some(model) => model,
            None => name_behind(front, "model")?,
        },
    };
    (!model.is_empty()).then(|| percent_encoding::percent_decode_str(model).decode_utf8_lossy())
}

/// The longest template, in bytes: paths are a client's text.
const MAX_TEMPLATE: usize = 200;

/// `path` with what differs from call to call replaced: models and ids would make every endpoint a new one.
pub(crate) fn template(path: &str) -> Cow<'_, str> {
    // `None`, as long as all is as it was.
    let mut out = (!path.starts_with('/')).then(String::new);
    let mut before = "";
    let mut start = 0;
    for segment in path.split('/') {
        let at = start;
        start += segment.len() + 1;
        if at == 0 {
            continue;
        }
        if let Some(out) = &mut out {
            out.push('/');
        }
        let front = out.as_deref().unwrap_or(&path[..at]);
        let (mark, rest, is_last) = match (before, segment.rsplit_once(':')) {
            ("models", Some((_, verb))) => ("{model}:", verb, false),
            ("models", None) if path.ends_with("/predictions") => ("{model}", "/predictions", true),
            ("run", _) if front.ends_with("/ai/run/") => ("{model}", "", true),
            ("model", _) if segment.starts_with("arn:") => {
                ("{model}/", path.rsplit_once('/').map_or("", |(_, last)| last), true)
            }
            ("model", _) => ("{model}", "", false),
            ("deployments", _) => ("{deployment}", "", false),
            (
                "projects" | "locations" | "threads" | "runs" | "accounts" | "endpoints"
                | "serving-endpoints",
                _,
            ) if !matches!((before, segment), (_, "") | ("threads", "runs") | ("endpoints", "openapi")) => {
                ("{id}", "", false)
            }
            _ => ("", segment, false),
        };
        before = segment;
        if !mark.is_empty() {
            out.get_or_insert_with(|| path[..at].to_owned()).push_str(mark);
        }
        if let Some(out) = &mut out {
            out.push_str(rest);
        }
        if is_last {
            break;
        }
    }
    let mut out = out.map_or(Cow::Borrowed(path), Cow::Owned);
    if out.len() > MAX_TEMPLATE {
        let end = (0..=MAX_TEMPLATE).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
        out.to_mut().truncate(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider;

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
            ("/api/v1/services/aigc/text-generation/generation", "chat"),
            ("/api/v1/services/aigc/image-generation/generation", "generate_content"),
            ("/v1/messages", "chat"),
            ("/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict", "chat"),
            ("/v1beta/models/gemini-2.5-pro:generateContent", "generate_content"),
            ("/v1internal:streamGenerateContent", "generate_content"),
            ("/model/anthropic.claude-3%3A0/converse", "chat"),
            ("/api/chat", "chat"),
            ("/api/generate", "text_completion"),
            ("/v1/threads/thread_1/runs", "invoke_agent"),
            ("/v1/threads/runs", "invoke_agent"),
            ("/v1/threads/thread_1/runs/run_1/submit_tool_outputs", "invoke_agent"),
            ("/v1beta/interactions", "generate_content"),
            ("/v1beta/openai/chat/completions", "chat"),
            ("/serving-endpoints/my-model/invocations", "chat"),
            ("/v1/rerank", "rerank"),
            ("/api/v1/services/aigc/text-generation/generation", "chat"),
            ("/ml/v1/text/generation_stream", "text_completion"),
            ("/v1/models/meta/llama-2-70b-chat/predictions", "generate_content"),
            ("/client/v4/accounts/a/ai/run/@cf/meta/llama-3.1-8b-instruct", "generate_content"),
            ("/completion", "text_completion"),
            ("/v1/responses/compact", "chat"),
            ("/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict", "embeddings"),
            ("/model/arn:aws:bedrock:eu-west-1:1:inference-profile/eu.m-v1:0/converse", "chat"),
            ("/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.m-v1%3A0/converse", "chat"),
            ("/generate_stream", "text_completion"),
        ] {
            assert_eq!(operation(path), Some(expected), "{path}");
        }
    }

    proptest! {
        /// To look at few rows changes nothing.
        #[test]
        fn the_first_row_that_fits_is_found(segments in prop::collection::vec(segment(), 0..6)) {
            let path = format!("/{}", segments.join("/"));
            prop_assert_eq!(ROWS.search(&path), paths().position(|row| row.fits(&path)), "{}", path);
        }
    }

    /// Parts of the tables' paths, and what may stand between them.
    fn segment() -> impl Strategy<Value = String> {
        let of = |path: &'static Path| match path {
            Path::Segments(segments) | Path::Child(segments) | Path::Before(segments) => vec![*segments],
            Path::Verb(verb) => vec![*verb],
            Path::ModelVerb(part, verb) => vec![*part, *verb],
            Path::Named(parent, segments) => vec![*parent, *segments],
        };
        let parts = paths().flat_map(of);
        let plain = prop::sample::select(parts.collect::<Vec<_>>());
        let verb = plain.clone();
        prop_oneof![
            4 => plain.prop_map(str::to_owned),
            2 => verb.prop_map(|verb| format!("models/text-embedding:{verb}")),
            1 => Just("arn:aws:x".to_owned()),
            1 => "[a-z:]{0,3}",
        ]
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
            "/v1/threads/thread_1/runs/run_1",
            "/v1/chat/completions/chatcmpl-1",
            "/v1/threads/thread_1/runs/run_1/cancel",
        ] {
            assert_eq!(Endpoint::of(&Method::POST, path), Endpoint::Ignored, "{path}");
        }
        for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
            assert_eq!(Endpoint::of(&method, "/v1/responses"), Endpoint::Ignored, "{method}");
        }
    }

    #[test]
    fn what_only_looks_like_a_call_is_unknown() {
        for path in [
            "/v1/mychat/xcompletions",
            "/generateContent",
            "/converse",
            "/chat",
            "/ai/run/",
            "/v1/projects/p/locations/l/publishers/google/models/imagen-3:predict",
            "/model/a/b/converse",
            "/",
            "",
        ] {
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
            (
                "/model/arn:aws:bedrock:eu-west-1:1:inference-profile/eu.m-v1:0/converse",
                Some("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.m-v1:0"),
            ),
            ("/v1internal:generateContent", None),
            ("/v1/models/meta/llama-2-70b-chat/predictions", Some("meta/llama-2-70b-chat")),
            ("/v1/predictions", None),
            ("/client/v4/accounts/a/ai/run/@cf/meta/llama", Some("@cf/meta/llama")),
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
            ("/model/arn:aws:bedrock:e:1:inference-profile/m/converse", "/model/{model}/converse"),
            ("/v1/models/meta/llama/predictions", "/v1/models/{model}/predictions"),
            ("/client/v4/accounts/a/ai/run/@cf/meta/llama", "/client/v4/accounts/{id}/ai/run/{model}"),
            ("/v1/threads/t/runs/r/submit_tool_outputs", "/v1/threads/{id}/runs/{id}/submit_tool_outputs"),
            ("/v1/threads/runs", "/v1/threads/runs"),
            ("/openai/deployments/d/embeddings", "/openai/deployments/{deployment}/embeddings"),
            (
                "/v1/projects/p/locations/l/publishers/google/models/g:generateContent",
                "/v1/projects/{id}/locations/{id}/publishers/google/models/{model}:generateContent",
            ),
        ] {
            assert_eq!(template(path), expected);
        }
        let long = format!("/{}/chat/completions", "ä".repeat(5_000));
        assert!(template(&long).len() <= MAX_TEMPLATE);
    }

    #[test]
    fn a_usual_path_tells_nothing_beside_its_call() {
        let call_at = |path: &str| match Endpoint::of(&Method::POST, path) {
            Endpoint::Call(call) => call,
            other => panic!("{path}: {other:?}"),
        };
        for call in CALLS {
            let Path::Segments(segments) = call.path else { continue };
            for path in ["/", "/v1/"].map(|version| format!("{version}{segments}")) {
                let call = call_at(&path);
                assert_eq!(call.usual, Some(&*format!("POST {path}")));
                let first = CALLS.iter().find(|call| call.path.fits(&path));
                assert_eq!(Some(&Call { usual: None, ..*call }), first, "{path}");
                assert_eq!((model(&path), provider::of_path(&path)), (None, None), "{path}");
                assert_eq!(template(&path), path);
            }
            for other in ["/openai/deployments/d/", "/v2/", "//", ""] {
                assert_eq!(call_at(&format!("{other}{segments}")).usual, None, "{other}{segments}");
            }
            assert_eq!(call_at(&format!("/v1/{segments}/")).usual, None, "{segments}");
        }
    }
}
