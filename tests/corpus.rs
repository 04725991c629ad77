//! Recorded responses of real providers, through the layer, with the counts that a person would read off them.
//!
//! They lie beside the project. Missing, they are an error where `CI` is set, and said aloud elsewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    env, fs,
    path::{Path, PathBuf},
};

use http::Response;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use support::{Recording, Script, data, post};
use tower::{Layer, ServiceExt, service_fn};
use tower_llm_usage::{UsageHint, UsageLayer};

#[derive(Deserialize)]
struct Row {
    id: String,
    provider: String,
    api: String,
    endpoint: Option<String>,
    method: String,
    status: u16,
    body_file: String,
    content_type: Option<String>,
    framing: String,
    flags: Vec<String>,
    expected: Expected,
    /// Names what else can be defended beside `expected`.
    #[serde(default)]
    ambiguous: Vec<String>,
    billed_units: Option<Billed>,
    #[serde(default)]
    usage_headers: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Expected {
    model: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// What is billed, where `expected` has what was used.
#[derive(Deserialize)]
struct Billed {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// Input, output, total, cache reads, cache writes, reasoning.
type Counts = [Option<u64>; 6];

impl Row {
    fn path(&self) -> &str {
        match (self.endpoint.as_deref().filter(|path| !path.is_empty()), &*self.api) {
            (Some(endpoint), _) => endpoint,
            (None, "openai_chat") => "/v1/chat/completions",
            (None, "openai_embeddings") => "/v1/embeddings",
            (None, "openai_responses") => "/v1/responses",
            (None, "gemini") => "/v1internal:streamGenerateContent",
            (None, "ollama") => "/api/chat",
            (None, _) => "/somewhere",
        }
    }

    /// A call to a model, and not a look at a stored answer, a list or a count.
    fn is_call(&self) -> bool {
        self.method.eq_ignore_ascii_case("post")
            && !matches!(&*self.api, "non_llm" | "count_tokens" | "moderations")
            // A run that is changed, and not one that is begun.
            && self.path().rsplit('/').nth(1).is_none_or(|segment| segment != "runs")
    }

    /// Recorded for its counts alone: nobody knows such paths for calls to language models.
    fn has_path_of_its_own(&self) -> bool {
        let path = self.path();
        path == "/"
            || path.starts_with("/models/")
            || path.ends_with("/invocations")
            || path.ends_with("/image-synthesis")
    }

    /// The counts that have to come out.
    fn counts(&self) -> Counts {
        let expected = &self.expected;
        let counts = [
            expected.input_tokens,
            expected.output_tokens,
            expected.total_tokens,
            expected.cached_input_tokens,
            expected.cache_creation_input_tokens,
            expected.reasoning_tokens,
        ];
        match &self.billed_units {
            // OpenTelemetry: billed before used. What was cached is a part of what was used.
            Some(billed) if !self.ambiguous.is_empty() => {
                let Billed { input_tokens, output_tokens } = *billed;
                let total = input_tokens.zip(output_tokens).map(|(input, output)| input + output);
                [input_tokens, output_tokens, total, None, None, None]
            }
            _ => counts,
        }
    }

    /// The same, with what InvokeModel says in its head of tokens that the body does not count.
    fn counts_with_head(&self) -> Counts {
        let header = |name: &str| {
            let name = format!("x-amzn-bedrock-{name}-token-count");
            self.usage_headers.get(&name).map(|count| count.parse::<u64>().unwrap())
        };
        let mut counts = self.counts();
        if counts[0].is_none() && header("input").is_some() {
            counts[3] = header("cache-read-input");
            counts[4] = header("cache-write-input");
            counts[0] = header("input").map(|n| n + counts[3].unwrap_or(0) + counts[4].unwrap_or(0));
        }
        if self.path().ends_with("/invoke") {
            counts[1] = counts[1].or(header("output"));
        }
        counts[2] = counts[0].zip(counts[1]).map(|(input, output)| input + output).or(counts[2]);
        counts
    }

    /// The model that the answer names.
    fn model(&self) -> Option<&str> {
        // The older completions of Anthropic's have no counts, but they have a model:
        // https://docs.claude.com/en/api/complete
        let older = (self.api == "anthropic_complete").then_some("claude-2.1");
        self.expected.model.as_deref().or(older)
    }

    /// The model that the path names.
    fn asked(&self) -> Option<String> {
        let path = self.path();
        let name = if let Some((_, rest)) = path.split_once("/model/") {
            rest.rsplit_once('/')?.0
        } else {
            let (_, rest) = path.split_once("/models/")?;
            rest.strip_suffix("/predictions").or_else(|| Some(rest.rsplit_once(':')?.0))?
        };
        Some(name.replace("%3A", ":"))
    }

    /// Who can be told from the path, or from a format that nobody else has.
    fn provider(&self) -> Option<&'static str> {
        let path = self.path();
        let has = |part| path.contains(part);
        Some(match &*self.api {
            _ if has("/publishers/") => "gcp.vertex_ai",
            _ if has("/deployments/") => "azure.ai.openai",
            _ if has("/compatible-mode/") => "alibaba_cloud",
            _ if has("/paas/v4/") => "z_ai",
            "bedrock_converse" | "bedrock_invoke" => "aws.bedrock",
            "anthropic_messages" | "anthropic_complete" => "anthropic",
            "gemini" | "gemini_embed" | "gemini_interactions" => "gcp.gemini",
            // Others have a `rerank` and a `v1/chat`, too.
            "cohere" if !has("rerank") && !has("v1/chat") => "cohere",
            "dashscope_native" => "alibaba_cloud",
            "watsonx" => "ibm.watsonx.ai",
            "replicate" => "replicate",
            "openai_runs" | "openai_images" | "openai_responses" | "openai_embeddings" => "openai",
            _ => return None,
        })
    }
}

fn counts(line: &Value) -> Counts {
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    ]
    .map(|field| line[field].as_u64())
}

fn corpus() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(env::var_os("CI").is_none(), "the corpus of recorded responses is missing");
    eprintln!("SKIPPED: there is no corpus of recorded responses beside the project");
    None
}

/// A way in which a response may come: in which pieces, and in which encodings.
struct Variant {
    name: &'static str,
    codings: &'static str,
    body: Vec<u8>,
    pieces: Pieces,
}

#[derive(Clone, Copy)]
enum Pieces {
    One,
    /// A frame a byte; of large bodies 200 frames, cut at random.
    Many,
    Of(usize),
}

impl Variant {
    fn all(row: &Row, body: &[u8]) -> Vec<Self> {
        let variant =
            |name, codings, body: &[u8], pieces| Self { name, codings, body: body.to_vec(), pieces };
        let mut all =
            vec![variant("whole", "", body, Pieces::One), variant("in many pieces", "", body, Pieces::Many)];
        if row.framing == "sse" {
            let lines = String::from_utf8_lossy(body).replace("\r\n", "\n");
            all.push(variant("with CRLF", "", lines.replace('\n', "\r\n").as_bytes(), Pieces::One));
            all.push(variant("with CRLF, cut", "", lines.replace('\n', "\r\n").as_bytes(), Pieces::Of(7)));
            all.push(variant("with CR", "", lines.replace('\n', "\r").as_bytes(), Pieces::Of(13)));
        }
        for (codings, encoded) in [
            ("gzip", encode::gzip(body)),
            ("deflate", encode::zlib(body)),
            ("Deflate", encode::bare_deflate(body)),
            ("br", encode::brotli(body)),
            ("zstd", encode::zstd(body)),
            ("gzip, br", encode::brotli(&encode::gzip(body))),
            ("zstd,deflate", encode::zlib(&encode::zstd(body))),
        ] {
            if codings.split(',').all(|coding| is_read(coding.trim())) {
                all.push(variant(codings, codings, &encoded, Pieces::Of(1000)));
            }
        }
        all
    }

    fn frames(&self) -> Vec<Vec<u8>> {
        match self.pieces {
            Pieces::One => vec![self.body.clone()],
            Pieces::Of(size) => self.body.chunks(size).map(<[u8]>::to_vec).collect(),
            Pieces::Many if self.body.len() <= 8 << 10 => self.body.chunks(1).map(<[u8]>::to_vec).collect(),
            Pieces::Many => {
                let mut cuts = (1..200_usize).map(|n| n.wrapping_mul(0x9E37_79B9) % self.body.len());
                let mut cuts = Vec::from_iter(&mut cuts);
                cuts.sort_unstable();
                let ends = cuts.iter().copied().chain([self.body.len()]);
                let starts = [0].into_iter().chain(cuts.iter().copied());
                starts.zip(ends).map(|(start, end)| self.body[start..end].to_vec()).collect()
            }
        }
    }
}

fn is_read(coding: &str) -> bool {
    match coding {
        "gzip" => cfg!(feature = "decompression-gzip"),
        "br" => cfg!(feature = "decompression-br"),
        "zstd" => cfg!(feature = "decompression-zstd"),
        _ => cfg!(feature = "decompression-deflate"),
    }
}

mod encode {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    pub(super) fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    pub(super) fn bare_deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    pub(super) fn brotli(body: &[u8]) -> Vec<u8> {
        let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 2, 20);
        encoder.write_all(body).unwrap();
        encoder.into_inner()
    }

    pub(super) fn zstd(body: &[u8]) -> Vec<u8> {
        zstd::encode_all(body, 1).unwrap()
    }
}

/// Sends a response through the layer, and asserts that the client gets what was sent.
async fn pass(layer: &UsageLayer, row: &Row, variant: &Variant, path: &str, name: String) {
    let mut response = Response::builder().status(row.status).header("x-request-id", &*name);
    if let Some(content_type) = &row.content_type {
        response = response.header("content-type", content_type);
    }
    if !variant.codings.is_empty() {
        response = response.header("content-encoding", variant.codings);
    }
    if path == row.path() {
        for (name, value) in &row.usage_headers {
            response = response.header(name, value);
        }
    }
    let mut request = post(path);
    *request.method_mut() = row.method.to_uppercase().parse().unwrap();
    if path != row.path() {
        request.extensions_mut().insert(UsageHint::new().record(true));
    }
    let mut response = Some(response.body(Script::new(variant.frames().into_iter().map(data))).unwrap());
    let service =
        layer.layer(service_fn(move |_| std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))));
    let body = service.oneshot(request).await.unwrap().into_body();
    assert!(
        body.collect().await.unwrap().to_bytes() == variant.body,
        "{name}: the client got something else"
    );
}

/// What the body alone has to tell, at a path that nobody knows.
const ALONE: &str = "/a/path/that/nobody/knows";

/// F8, F9, F14, F19, F20, F23, and all of the formats: each response whole, in pieces, with other line ends and in
/// every encoding.
#[tokio::test]
async fn every_recorded_response_gives_its_counts_and_its_model() {
    let Some(dir) = corpus() else { return };
    let rows = fs::read_to_string(dir.join("corpus.jsonl")).unwrap();
    let rows = rows.lines().map(|row| serde_json::from_str::<Row>(row).unwrap()).collect::<Vec<_>>();
    assert_eq!(rows.len(), 368);

    let recording = Recording::start();
    let layer = recording.layer();
    let mut names = Vec::new();
    for row in &rows {
        let body = fs::read(dir.join(&row.body_file)).unwrap();
        let variants = Variant::all(row, &body);
        for variant in &variants {
            pass(&layer, row, variant, row.path(), format!("{} {}", row.id, variant.name)).await;
        }
        pass(&layer, row, &variants[0], ALONE, format!("{} alone", row.id)).await;
        names.push(variants.into_iter().map(|variant| variant.name).collect::<Vec<_>>());
        recording.usage.flush().await.unwrap();
    }
    let status = recording.usage.status();
    assert_eq!((status.dropped, status.queued), (0, 0));
    let lines = recording.lines().await;
    let by_name = |line: &Value| line["request_id"].as_str().unwrap().to_owned();
    let mut lines = lines.iter().map(|line| (by_name(line), line)).collect::<HashMap<_, _>>();

    let mut table = BTreeMap::<&str, (u32, u32)>::new();
    let mut wrong = Vec::new();
    let mut bodies = 0;
    for (row, names) in rows.iter().zip(&names) {
        let (rows, exact) = table.entry(&row.provider).or_default();
        *rows += 1;
        let before = wrong.len();
        let mut complain =
            |what: String| wrong.push(format!("{} ({} {}): {what}", row.id, row.provider, row.api));

        let alone = lines.remove(&format!("{} alone", row.id));
        if row.is_call() && alone.is_none_or(|line| counts(line) != row.counts()) {
            complain(format!("the body alone: {alone:?}, not {:?}", row.counts()));
        }
        let whole = lines.get(&format!("{} whole", row.id)).copied();
        let is_recorded = row.is_call() && (!row.has_path_of_its_own() || row.counts() != [None; 6]);
        match whole {
            Some(line) if is_recorded => check(row, line, &mut complain),
            None if !is_recorded => {}
            line => complain(format!("{line:?} {is_recorded}")),
        }
        for name in names {
            let line = lines.remove(&format!("{} {name}", row.id));
            bodies += 1;
            if line.map(comparable) != whole.map(comparable) {
                complain(format!("{name}: {line:#?}, not as it is whole: {whole:#?}"));
            }
        }
        if wrong.len() == before {
            *exact += 1;
        }
    }
    assert!(lines.is_empty(), "nobody asked for {:?}", lines.keys());

    println!("{:20} {:>5} {:>6} {:>6}", "provider", "rows", "exact", "wrong");
    let all = table.values().fold((0, 0), |all, (rows, exact)| (all.0 + rows, all.1 + exact));
    for (provider, (rows, exact)) in table.iter().chain([(&"total", &all)]) {
        println!("{provider:20} {rows:>5} {exact:>6} {:>6}", rows - exact);
    }
    println!("{bodies} bodies: whole, in pieces, with other line ends, encoded");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the line of a whole response has to say.
fn check(row: &Row, line: &Value, complain: &mut dyn FnMut(String)) {
    let mut expect = |field: &str, expected: Value| {
        if line[field] != expected {
            complain(format!("{field}: {}, not {expected}", line[field]));
        }
    };
    let asked = row.asked();
    let model = row.model().or(asked.as_deref()).unwrap_or("unknown");
    expect("model", model.into());
    expect("status", row.status.into());
    if let Some(provider) = row.provider() {
        expect("provider", provider.into());
    }
    // 0130's last event says `"finish_reason":"ERROR"`, which is a failure by Cohere's documentation:
    // https://docs.cohere.com/reference/chat-stream
    let has_failed = row.flags.iter().any(|flag| flag == "midstream-error") || row.id == "0130";
    expect("end", if has_failed { "stream_error" } else { "complete" }.into());
    let expected = row.counts_with_head();
    if counts(line) != expected {
        complain(format!("{:?}, not {expected:?}", counts(line)));
    }
    let qualities: &[&str] = match expected {
        [None, None, None, ..] if row.status < 400 => &["missing", "partial", "malformed", "unsupported"],
        [None, None, None, ..] => &["missing", "unsupported"],
        _ if has_failed => &["partial"],
        _ => &["complete", "inconsistent"],
    };
    if !line["usage"].as_str().is_some_and(|usage| qualities.contains(&usage)) {
        complain(format!("usage: {}, not one of {qualities:?}", line["usage"]));
    }
}

/// A line without what differs from call to call.
fn comparable(line: &Value) -> Value {
    let mut line = line.clone();
    for field in ["id", "timestamp", "request_id", "duration_ms", "ttft_ms"] {
        line.as_object_mut().unwrap().remove(field);
    }
    line
}

/// `genai-prices` is a list of what models cost, and comes with extractors of its own for the usage in their answers:
/// <https://github.com/pydantic/genai-prices>.
mod second_opinion {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use serde_json::json;

    use super::*;

    const PACKAGE: &str = "genai-prices==0.2.3";

    /// Input, output, cache reads, cache writes, reasoning.
    type Opinion = [Option<u64>; 5];
    const FIELDS: [&str; 5] = ["input", "output", "cache reads", "cache writes", "reasoning"];

    /// Where the two disagree, by provider and API: of which field, what it says that is not what we say, and why.
    #[rustfmt::skip]
    const EXPLAINED: &[(&str, &str, &str, &str)] = &[
        // They read an answer that is one document; of a stream's, none has both the input and the output.
        ("anthropic", "anthropic_messages", "input", "the input is in the stream's beginning, the output at its end"),
        ("anthropic", "anthropic_messages", "output", "the same"),
        ("anthropic", "anthropic_messages", "cache reads", "the same"),
        ("anthropic", "anthropic_messages", "cache writes", "the same"),
        ("vertex", "anthropic_messages", "input", "the same"),
        ("vertex", "anthropic_messages", "output", "the same"),
        ("vertex", "anthropic_messages", "cache reads", "the same"),
        ("vertex", "anthropic_messages", "cache writes", "the same"),
        ("cohere", "cohere", "input", "the first version's `meta` is read of embeddings only"),
        ("cohere", "cohere", "output", "the same"),
        // Fields that they do not look for.
        ("cerebras", "openai_chat", "cache reads", "`prompt_tokens_details` is not read of Cerebras"),
        ("together", "openai_chat", "cache reads", "`cached_tokens` beside the others is Together's own"),
        ("copilot", "openai_chat", "reasoning", "`reasoning_tokens` beside the others is Copilot's own"),
        ("doubleword", "openai_chat", "cache writes", "`cache_creation_input_tokens` is not read of it"),
        ("vercel-gateway", "openai_chat", "cache writes", "the same"),
        ("local-server", "openai_embeddings", "output", "`completion_tokens` is 0, and not read of embeddings"),
        ("mistral", "openai_embeddings", "output", "the same"),
        // Mistral's own total says that the audio stands beside the prompt, not in it.
        ("mistral", "openai_chat", "input", "audio is not added to the prompt"),
    ];

    /// Who of theirs reads such a response. `None`: nobody.
    fn extractor(row: &Row) -> Option<(&'static str, &'static str)> {
        Some(match (&*row.api, &*row.provider) {
            ("anthropic_messages", _) => ("anthropic", "default"),
            ("gemini", _) => ("google", "default"),
            ("bedrock_converse", _) => ("aws", "default"),
            ("cohere", _) if row.path().ends_with("embed") => ("cohere", "embeddings"),
            ("cohere", _) => ("cohere", "default"),
            ("openai_chat", "azure") => ("azure", "chat"),
            ("openai_chat", "cerebras") => ("cerebras", "chat"),
            ("openai_chat", "copilot") => ("github-copilot", "chat"),
            ("openai_chat", "deepseek") => ("deepseek", "chat"),
            ("openai_chat", "doubleword") => ("doubleword", "chat"),
            ("openai_chat", "mistral") => ("mistral", "default"),
            ("openai_chat", "openrouter") => ("openrouter", "chat"),
            ("openai_chat", "perplexity") => ("perplexity", "default"),
            ("openai_chat", "xai") => ("x-ai", "chat"),
            ("openai_chat", "zai") => ("zai", "chat"),
            ("openai_chat", _) => ("openai", "chat"),
            ("openai_responses", "xai") => ("x-ai", "responses"),
            ("openai_responses", _) => ("openai", "responses"),
            ("openai_embeddings", _) => ("openai", "embeddings"),
            ("openai_images", _) => ("openai", "images"),
            _ => return None,
        })
    }

    /// The documents of a response, out of the envelopes that they do not open.
    fn documents(row: &Row, body: &[u8]) -> Vec<Value> {
        let text = String::from_utf8_lossy(body);
        let documents = match &*row.framing {
            "json" => vec![serde_json::from_str(&text).unwrap_or_default()],
            _ => text
                .lines()
                .map(|line| line.strip_prefix("data:").unwrap_or(line))
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .collect(),
        };
        let open = |document: Value| match &*row.api {
            "openai_responses" if document["response"].is_object() => document["response"].clone(),
            "cohere" if document["delta"].is_object() => document["delta"].clone(),
            _ => document,
        };
        documents.into_iter().map(open).filter(Value::is_object).collect()
    }

    /// A Python that has the package, in an environment below the target directory.
    fn python() -> Option<PathBuf> {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
        let python = dir.join("bin/python");
        let run = |command: &mut Command| {
            let output = command.output().map_err(|error| error.to_string())?;
            let error = || String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(error()) }
        };
        let check = || run(Command::new(&python).args(["-c", "import genai_prices"]));
        let install = || {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]))
        };
        match check().or_else(|_| install()) {
            Ok(()) => Some(python),
            Err(error) => {
                assert!(env::var_os("CI").is_none(), "{PACKAGE} is missing: {error}");
                eprintln!("SKIPPED: there is no Python that has {PACKAGE}: {error}");
                None
            }
        }
    }

    #[tokio::test]
    async fn where_genai_prices_reads_other_counts_there_is_a_reason() {
        let (Some(dir), Some(python)) = (corpus(), python()) else { return };
        let rows = fs::read_to_string(dir.join("corpus.jsonl")).unwrap();
        let rows = rows.lines().map(|row| serde_json::from_str::<Row>(row).unwrap());
        let recording = Recording::start();
        let layer = recording.layer();
        let mut asked = String::new();
        let mut names = HashMap::new();
        for row in rows.filter(Row::is_call) {
            let Some((provider, flavor)) =
                extractor(&row).filter(|_| matches!(&*row.framing, "json" | "sse" | "ndjson"))
            else {
                continue;
            };
            let body = fs::read(dir.join(&row.body_file)).unwrap();
            let documents = documents(&row, &body);
            let line = json!({"id": row.id, "provider": provider, "flavor": flavor, "documents": documents});
            asked.push_str(&format!("{line}\n"));
            let variant = Variant { name: "whole", codings: "", body, pieces: Pieces::One };
            pass(&layer, &row, &variant, row.path(), row.id.clone()).await;
            names.insert(row.id, (row.provider, row.api));
        }
        let ours = recording.lines().await;
        let ours = ours.iter().map(|line| (line["request_id"].as_str().unwrap(), counts(line)));
        let ours = ours.collect::<HashMap<_, _>>();

        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_opinion.py");
        let mut child =
            Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success());

        let mut unexplained = Vec::new();
        let mut used = vec![false; EXPLAINED.len()];
        let mut agreed = 0;
        let mut heard = 0;
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let line = serde_json::from_str::<Value>(line).unwrap();
            let id = line["id"].as_str().unwrap();
            let theirs = serde_json::from_value::<Option<Opinion>>(line["counts"].clone())
                .unwrap()
                .unwrap_or_default();
            let [input, output, _, cache_read, cache_write, reasoning] = ours[id];
            let ours: Opinion = [input, output, cache_read, cache_write, reasoning];
            let (provider, api) = &names[id];
            heard += 1;
            agreed += usize::from(ours == theirs);
            for (at, field) in FIELDS.iter().enumerate().filter(|(at, _)| ours[*at] != theirs[*at]) {
                let reason = EXPLAINED
                    .iter()
                    .position(|known| (known.0, known.1, known.2) == (&**provider, &**api, *field));
                match reason {
                    Some(reason) => used[reason] = true,
                    None => unexplained.push(format!(
                        "{id} ({provider} {api}): {field} {:?}, theirs {:?}",
                        ours[at], theirs[at]
                    )),
                }
            }
        }
        println!("{PACKAGE}: {agreed} of {heard} responses the same, the others explained");
        assert_eq!(heard, names.len());
        assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
        let stale = EXPLAINED.iter().zip(used).filter(|(_, used)| !used).map(|(known, _)| known);
        assert_eq!(
            stale.collect::<Vec<_>>(),
            Vec::<&(&str, &str, &str, &str)>::new(),
            "explained, but agreed"
        );
    }
}
