//! Records who used which model, how many tokens, how fast and with what result: a [tower] layer for proxies and
//! gateways in front of LLM APIs, with a file that keeps it and a service that answers questions about it.
//!
//! [tower]: https://docs.rs/tower
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_llm_usage::{Config, Usage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("usage.json");
//! let usage = Usage::open(Config::recording_to(&path))?;
//!
//! // A proxy, or anything else that answers HTTP requests.
//! let proxy = service_fn(async |_: Request<Full<Bytes>>| {
//!     let body = r#"{"model":"gpt-4o","usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(body)))
//! });
//! let service = ServiceBuilder::new().layer(usage.layer()).service(proxy);
//!
//! let request = Request::post("/v1/chat/completions").body(Full::default())?;
//! let answer = service.oneshot(request).await?.into_body().collect().await?;
//! assert!(answer.to_bytes().starts_with(b"{\"model\""));
//!
//! usage.close().await?;
//! let line = std::fs::read_to_string(&path)?;
//! assert!(line.contains(r#""model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21"#));
//! # Ok(()) }
//! ```
//!
//! # What is recorded, and when
//!
//! A call to a model is a `POST` whose path ends like one (`…/chat/completions`, `…/messages`,
//! `…:streamGenerateContent`, …); it is recorded whatever comes of it. A `POST` to a path that is not known is recorded
//! if its response is JSON or a stream of events and carries counts where one of the formats has them. Nothing else
//! is: reading a stored answer or counting tokens uses none. [`UsageHint`] overrides that for a request.
//!
//! Each call gives one [`UsageEvent`], as soon as its end is known: see [`UsageBody`].
//!
//! # Guarantees
//!
//! - **Transparent**: bytes, frames, trailers, `size_hint`, `is_end_stream`, extensions and errors are the inner
//!   service's, and so are `Send`, `Sync` and `Unpin`.
//! - **Fail open**: whatever is in a body, the client gets all of it. What could not be read is a [`UsageQuality`].
//! - **Off the request's path**: a request costs an allocation for what is known of it, the hash of its key, and a push
//!   into a bounded lock-free queue. A stream is read as it passes; an answer that comes whole, of 2 KiB at most, is copied
//!   and read later. That, files and sums are the business of a thread of their own.
//! - **Nothing lost silently**: `observed = persisted + queued + dropped`, at every moment, in [`Status`].
//! - **Not reported is not 0**: a count that the provider did not send is `None`, and stays so.
//! - **No secrets**: of a key only its SHA-256 is kept, of a request neither body nor query string, of an error only
//!   the provider's name for its kind.
//!
//! # Tokens
//!
//! By the rule of OpenTelemetry's conventions for generative AI, whatever the provider's own is: input is *all* input,
//! cache reads and writes included; output is *all* output, reasoning included; the total is their sum.
//!
//! | format | what is added |
//! |---|---|
//! | OpenAI, and who speaks like it | nothing; reasoning or audio where only then the provider's total adds up (xAI, Mistral) |
//! | OpenAI Responses, images, transcriptions | nothing |
//! | Anthropic, Bedrock | cache reads and writes, to the input |
//! | Gemini, interactions | thoughts, to the output; what tools brought, to the input |
//! | Gemini's route that speaks OpenAI | thoughts, to the output: what the total has beyond input and output |
//! | Cohere, DashScope, watsonx, Replicate, Ollama, llama.cpp, TGI, SGLang | nothing |
//!
//! Within one response nothing is summed over documents: a later count takes the place of an earlier one. The format
//! decides, and not who serves it. Numbers that contradict each other are kept as given, and marked
//! [`Inconsistent`](UsageQuality::Inconsistent).
//!
//! ## What is read
//!
//! A path tells the format, where it is one of a known API; else the body does, if its counts stand where one of these
//! has them. Plain and streamed: server-sent events, JSON a line, JSON arrays, and AWS' event stream.
//!
//! | format | who answers in it | source |
//! |---|---|---|
//! | chat completions, completions, embeddings, runs | OpenAI, Azure, Groq, DeepSeek, xAI, Mistral, OpenRouter, Together, Fireworks, Perplexity, Databricks, Moonshot, Z.ai, MiniMax, Copilot, Cerebras, Cloudflare, Voyage, Jina, vLLM and many more | [OpenAI](https://platform.openai.com/docs/api-reference/chat/object) |
//! | Responses, images, transcriptions | OpenAI, Azure, xAI, Perplexity, Copilot | [OpenAI](https://platform.openai.com/docs/api-reference/responses/object) |
//! | Messages | Anthropic, also on Bedrock and Vertex, and those who copied it | [Anthropic](https://docs.claude.com/en/api/messages) |
//! | generateContent, embedContent | Gemini, Vertex, Gemini CLI | [Google](https://ai.google.dev/api/generate-content#UsageMetadata) |
//! | interactions | Gemini | [Google](https://ai.google.dev/api/interactions-api) |
//! | chat completions without thoughts | Google's compatible route | [Google](https://ai.google.dev/gemini-api/docs/openai) |
//! | Converse, and InvokeModel's headers and metrics | Bedrock | [AWS](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html) |
//! | chat, embed, both versions | Cohere | [Cohere](https://docs.cohere.com/reference/chat) |
//! | generation | DashScope | [Alibaba Cloud](https://help.aliyun.com/zh/model-studio/dashscope-api-reference) |
//! | text generation | watsonx | [IBM](https://cloud.ibm.com/apidocs/watsonx-ai#text-generation) |
//! | predictions | Replicate | [Replicate](https://replicate.com/docs/reference/http#predictions.create) |
//! | counts beside the answer | Ollama, llama.cpp, TGI, SGLang, Llama and Titan on Bedrock, Aleph Alpha | [Ollama](https://github.com/ollama/ollama/blob/main/docs/api.md) and others |
//!
//! ## Billed or used
//!
//! Where a provider reports both, the same conventions want what is billed:
//!
//! | format | what counts | what does not |
//! |---|---|---|
//! | Cohere | `billed_units`; `tokens` where it has none | `tokens`, which has the chat's template in it, and `cached_tokens`, a part of those |
//! | Anthropic with `iterations` (compaction, advisor, fallback) | their sum, which is billed | the counts beside them, of the last answer alone |
//! | Anthropic on Bedrock's InvokeModel | the model's own counts | the envelope's, which repeat them; where they differ, `Inconsistent` |
//! | Perplexity's deep research | completion, citations and reasoning, each billed | `total_tokens`, which has neither of the last two |
//! | Copilot | `usage` | `copilot_usage`, the same in units of its own |
//! | Bedrock | `cacheReadInputTokens` and its like | the same under its second name, and `cacheDetails`, but for what is kept for an hour |
//! | OpenAI's runs | the run's | those of its steps, which are parts of it |
//! | transcriptions by duration, reranking by search, images by number | nothing: these are no tokens | |
//!
//! # Where to put the layer
//!
//! Inside of a layer that compresses responses, and outside of one that decompresses them: encoded bodies are read, too,
//! but what need not be decoded costs nothing. Inside of authentication. Outside of retries to count a call once, inside
//! to count every try. Two of them around one service count once.
//!
//! # Features
//!
//! All of them are on by default.
//!
//! - `compression`: management answers in `Content-Encoding` gzip and br.
//! - `dashboard`: the page at `metrics/ui`.
//! - `decompression-br`, `decompression-deflate`, `decompression-gzip`, `decompression-zstd`: usage in bodies with this
//!   `Content-Encoding`. Without it, and in any other encoding, they are recorded as
//!   [`Unsupported`](UsageQuality::Unsupported).

#[doc(hidden)]
pub mod bench;
mod body;
mod config;
mod endpoint;
mod error;
mod event;
mod extract;
mod future;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod hint;
mod index;
mod key;
mod layer;
mod manage;
mod object;
mod provider;
mod queue;
mod record;
mod service;
mod slot;
mod store;
mod sync;
mod tap;
mod texts;
mod usage;
mod writer;

pub use body::UsageBody;
pub use config::{Compression, Config, Fsync, RemoteManagement, SecretKey, UsageStatistics};
pub use error::Error;
pub use event::{Ending, InvalidTimestamp, Timestamp, Tokens, UsageEvent, UsageQuality};
pub use future::ResponseFuture;
pub use hint::UsageHint;
pub use key::{InvalidKeyHash, KeyHash};
pub use layer::UsageLayer;
pub use manage::{
    ManagementBody, ManagementFuture, ManagementLayer, ManagementService, MetricsBody, MetricsFuture,
    MetricsService, PeerAddr,
};
pub use service::UsageService;
pub use store::Progress;
pub use usage::Usage;
pub use writer::{Dropped, LastError, Status};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
