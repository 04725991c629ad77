//! What has to hold of any body, as checks that the fuzzer and the property tests share: slow and plain versions of
//! what the readers do, to compare them with.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Dialect, Documents, Extractor, Format, Reader, Source, Unread,
    dialect::PATHS,
    is_blank,
    scan::{Scalar, Scanner, Visit},
    text,
    trie::NodeId,
};
use crate::{Tokens, UsageQuality, texts::Texts};

/// Most that may be held of a response while it passes, in bytes; see [`Reader::held`].
const MAX_HELD: usize = 64 << 10;
/// Most that may be left of it when it has passed.
const MAX_LEFT: usize = 2 << 10;

/// What a response says of itself. Names are UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts<'a> {
    /// The model that answered; empty where it is not named.
    pub(super) model: &'a [u8],
    /// The provider's name for an error; empty where there is none.
    pub(super) error_type: &'a [u8],
    /// The wire format that the counts have.
    pub(super) dialect: Option<Dialect>,
    pub(super) tokens: Tokens,
    pub(super) quality: UsageQuality,
}

impl Extractor {
    /// What [`take`](Self::take) gives, and is told by its [`Answer`](super::Answer), as often as one likes.
    pub(super) fn facts(&self, is_whole: bool) -> Facts<'_> {
        let reader = self.reader().expect("a finished body is decoded");
        let response = &reader.documents.response;
        let (tokens, quality) = match self.source {
            Source::Unknown(_) => (Tokens::default(), UsageQuality::Unsupported),
            Source::Plain(_) | Source::Encoded(_) => reader.arrival(is_whole).judge(&response.said),
        };
        Facts {
            model: response.model(),
            error_type: response.error_type(),
            dialect: response.said.dialect,
            tokens,
            quality,
        }
    }
}

/// All that anybody asks of a body.
#[derive(Debug, PartialEq)]
pub(super) struct Seen<'a> {
    facts: Facts<'a>,
    facts_if_cut: Facts<'a>,
    is_terminal: bool,
    is_error: bool,
    is_stream: bool,
}

pub(super) fn seen(extractor: &Extractor) -> Seen<'_> {
    Seen {
        facts: extractor.facts(true),
        facts_if_cut: extractor.facts(false),
        is_terminal: extractor.is_terminal(),
        is_error: extractor.is_error(),
        is_stream: extractor.is_stream(),
    }
}

/// Reads a body that comes in these pieces, and asserts that never more of it is held than may be.
pub(super) fn read(
    mut extractor: Extractor,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Extractor {
    for piece in pieces {
        extractor.feed(piece.as_ref());
        let held = extractor.reader().map_or(0, Reader::held);
        assert!(held <= MAX_HELD, "{held} bytes are held");
    }
    extractor.finish();
    // What is known waits in a queue of thousands.
    let left = extractor.reader().map_or(0, Reader::held);
    assert!(left <= MAX_LEFT, "{left} bytes are left");
    extractor
}

/// A body cut into pieces of these sizes, again and again.
fn pieces<'a>(mut body: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = sizes.next().map_or(body.len(), |size| usize::from(*size).max(1));
        body.split_off(..size.min(body.len())).filter(|piece| !piece.is_empty())
    })
}

/// How a body is announced, and cut: said by the first bytes of an input.
struct Plan<'a> {
    format: Format,
    hint: Option<Dialect>,
    sizes: &'a [u8],
}

impl<'a> Plan<'a> {
    fn take(input: &mut &'a [u8]) -> Option<Self> {
        const FORMATS: [Format; 5] =
            [Format::EventStream, Format::Lines, Format::Json, Format::EventMessages, Format::Unknown];
        let format = FORMATS[usize::from(*input.split_off_first()?) % FORMATS.len()];
        let hint = usize::from(*input.split_off_first()?) % (Dialect::ALL.len() + 1);
        Some(Self { format, hint: Dialect::ALL.get(hint).copied(), sizes: input.split_off(..3)? })
    }

    fn extractor(&self) -> Extractor {
        Unread::new(self.format, self.hint).begin()
    }

    /// Reads `body` whole and in pieces, which has to be the same.
    fn read(&self, extractor: impl Fn() -> Extractor, body: &[u8]) -> Extractor {
        let whole = read(extractor(), [body]);
        let cut = read(extractor(), pieces(body, self.sizes));
        assert_eq!(seen(&cut), seen(&whole), "in pieces of {:?}", self.sizes);
        whole
    }
}

/// Any bytes, announced as anything, are read without harm, within bounds, and the same however they are cut.
pub(crate) fn extract(mut input: &[u8]) {
    let Some(plan) = Plan::take(&mut input) else { return };
    let whole = plan.read(|| plan.extractor(), input);
    let bytes = read(plan.extractor(), input.chunks(1));
    assert_eq!(seen(&bytes), seen(&whole), "byte by byte");
}

/// The same behind decoders, of which some input is made to fail: then there are no counts.
pub(crate) fn decode(mut input: &[u8]) {
    const CODINGS: [&[u8]; 7] = [b"gzip", b"deflate", b"br", b"zstd", b"identity", b"X-GZIP", b"compress"];
    let Some(plan) = Plan::take(&mut input) else { return };
    let Some(&choice) = input.split_off_first() else { return };
    let first = CODINGS[usize::from(choice & 7) % CODINGS.len()];
    let second = CODINGS.get(usize::from(choice >> 3 & 7)).copied();
    let codings = || [first].into_iter().chain(second);
    let whole = plan.read(|| plan.extractor().encoded(codings()), input);
    let facts = whole.facts(true);
    assert!(facts.quality != UsageQuality::Unsupported || facts.tokens.is_unknown());
}

/// A document that a full parse can read says the same to the scanner.
pub(crate) fn scan(mut input: &[u8]) {
    let Some(sizes) = input.split_off(..3) else { return };
    let told = [sizes, &[]].map(|sizes| {
        let mut scanner = Scanner::new(super::trie::ExpectedId::NONE);
        let mut told = Told::default();
        pieces(input, sizes).for_each(|piece| scanner.feed(&PATHS.trie, piece, &mut told));
        scanner.finish(&mut told);
        (told, scanner.is_between_documents())
    });
    assert_eq!(told[0], told[1], "in pieces of {sizes:?}");
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return };
    // A root array is a stream of documents.
    if !value.is_array() {
        let found =
            WANTED.iter().map(|path| value_at(&value, path).filter(|text| matters(path, text))).collect();
        assert_eq!(told[0], (Told { found, documents: 1 }, true));
    }
}

/// Server-sent events say what they say when they are first taken apart by the letter of the specification.
pub(crate) fn sse(mut input: &[u8]) {
    let Some(plan) = Plan::take(&mut input) else { return };
    let stream = plan.read(|| Unread::new(Format::EventStream, None).begin(), input);
    // The reader is easy about what stands before the first line, and about what is announced as events and is none.
    let start = input.iter().position(|byte| !is_blank(*byte)).unwrap_or(input.len());
    if !matches!(input.get(start), Some(b'd' | b'e' | b'i' | b'r' | b':')) {
        return;
    }
    let mut documents = Documents::new(None, Texts::default());
    let mut is_done = false;
    for data in events(&input[start..]) {
        is_done = data.starts_with(b"[") && data.trim_ascii_end() == b"[DONE]";
        if !data.starts_with(b"[") {
            documents.feed(&data);
            documents.end();
        }
    }
    let plain = &documents.response;
    let facts = stream.facts(true);
    assert_eq!(facts.tokens, plain.said.tokens().0);
    assert_eq!(facts.model, plain.model());
    assert_eq!(facts.error_type, plain.error_type());
    assert_eq!(stream.is_error(), plain.is_error());
    assert_eq!(stream.is_terminal(), plain.is_terminal() || is_done);
}

/// The data of each event, by
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>; only that the last
/// event needs no empty line to count.
fn events(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        let len = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + len..];
    }
    // Half a name is none.
    if rest.contains(&b':') {
        lines.push(rest);
    }
    lines.push(b"");
    let mut events = Vec::new();
    let mut data = None::<Vec<u8>>;
    for line in lines {
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        if line.is_empty() {
            events.extend(data.take());
        } else if field == b"data" {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            }
        }
    }
    events
}

/// Messages of AWS' event stream say what their payloads say, up to the first one that is damaged.
pub(crate) fn event_stream(mut input: &[u8]) {
    const KINDS: [&str; 3] = ["chunk", "metadata", "contentBlockDelta"];
    let Some(plan) = Plan::take(&mut input) else { return };
    let mut documents = Documents::new(plan.hint, Texts::default());
    documents.response.defer();
    let mut body = Vec::new();
    let mut is_damaged = false;
    while let Some(head) = input.split_off(..4) {
        let kind = KINDS[usize::from(head[0]) % KINDS.len()];
        let len = usize::from(u16::from_le_bytes([head[1], head[2]])).min(input.len());
        let payload = input.split_off(..len).unwrap_or_default();
        let mut message = match kind {
            "chunk" => event(kind, format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(payload)).as_bytes()),
            kind => event(kind, payload),
        };
        if head[3] == u8::MAX {
            // But for its first byte, by which a stream of messages is known.
            let at = 1 + usize::from(head[0]) % (message.len() - 1);
            message[at] ^= head[1].max(1);
            is_damaged = true;
        }
        body.extend_from_slice(&message);
        if !is_damaged {
            documents.feed(payload);
            documents.end();
            documents.response.commit();
        }
    }
    let stream = plan.read(|| Unread::new(Format::EventMessages, plan.hint).begin(), &body);
    let facts = stream.facts(true);
    assert_eq!(facts.tokens, documents.response.said.tokens().0);
    assert!(!is_damaged || facts.quality == UsageQuality::Malformed);
}

/// A message of AWS' event stream: an event of this kind.
pub(super) fn event(kind: &str, payload: &[u8]) -> Vec<u8> {
    message(&[(":event-type", kind), (":content-type", "application/json")], payload)
}

/// A message of AWS' event stream, with headers that are strings.
pub(super) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    const STRING: u8 = 7;
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(name.len() as u8);
        head.extend_from_slice(name.as_bytes());
        head.push(STRING);
        head.extend_from_slice(&(value.len() as u16).to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let mut out = Vec::new();
    out.extend_from_slice(&(12 + head.len() as u32 + payload.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&(head.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

/// What is wanted of a document, written down a second time: paths to values.
pub(super) const WANTED: [&str; 25] = [
    "usage.prompt_tokens",
    "usage.completion_tokens",
    "usage.input_tokens",
    "usage.prompt_tokens_details.cached_tokens",
    "usage.prompt_token_details.cached_tokens",
    "usage.cache_creation.ephemeral_1h_input_tokens",
    "usage.iterations[].cache_creation.ephemeral_1h_input_tokens",
    "usage.cacheDetails[].ttl",
    "usage.billed_units.input_tokens",
    "x_groq.usage.prompt_tokens",
    "choices[].usage.prompt_tokens",
    "response.usage.input_tokens",
    "response.usage.output_tokens_details.reasoning_tokens",
    "message.usage.input_tokens",
    "usageMetadata.promptTokenCount",
    "response.usageMetadata.promptTokenCount",
    "response.candidates[].finishReason",
    "predictions[].embeddings.statistics.token_count",
    "prompt_eval_count",
    "model",
    "message.model",
    "response.modelVersion",
    "choices[].finish_reason",
    "type",
    "done",
];

/// The value at a path, as [`Told`] has it; of an array the last element counts.
fn value_at(value: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(value, |value, key| {
        let inside = value.as_object()?.get(key.trim_end_matches("[]"))?;
        if key.ends_with("[]") { inside.as_array()?.last() } else { Some(inside) }
    })?;
    match value {
        Value::Null => Some("null".to_owned()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(spelled(number.as_f64())),
        Value::String(text) => Some(spelled_text(text)),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Of the reasons why a choice has ended only an error matters: a list without one is not looked at closely.
fn matters(path: &str, text: &str) -> bool {
    path != "choices[].finish_reason" || text.to_ascii_lowercase().starts_with("\"error")
}

/// Two parsers need not agree on the last bit of a number that is no count.
fn spelled(number: Option<f64>) -> String {
    match number {
        Some(number) if number.abs() < 1e9 && number.fract() == 0.0 => format!("{}", number as i64),
        _ => "no count".to_owned(),
    }
}

/// A longer text is cut; where, is not compared.
fn spelled_text(text: &str) -> String {
    let text = text.replace(char::is_control, "\n");
    if text.len() > 40 { "long".to_owned() } else { format!("{text:?}") }
}

/// What the scanner tells of the wanted paths.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) found: Vec<Option<String>>,
    pub(super) documents: usize,
}

impl Default for Told {
    fn default() -> Self {
        Self { found: vec![None; WANTED.len()], documents: 0 }
    }
}

/// Where a path leads.
pub(super) fn node(path: &str) -> NodeId {
    nodes(path).last().map_or(NodeId::ROOT, |[_, node]| node)
}

/// The nodes on the way: of every key, and of what is looked at below it.
fn nodes(path: &str) -> impl Iterator<Item = [NodeId; 2]> {
    path.split('.').scan(NodeId::ROOT, |node, key| {
        let child = PATHS.trie.child(*node, key.trim_end_matches("[]").as_bytes());
        *node = if key.ends_with("[]") { PATHS.trie.element(child) } else { child };
        Some([child, *node])
    })
}

impl Told {
    /// By the spelled paths, not by the trie's own ranges.
    fn forget(&mut self, at: NodeId) {
        for (found, path) in self.found.iter_mut().zip(WANTED) {
            if found.is_some() && nodes(path).any(|nodes| nodes.contains(&at)) {
                *found = None;
            }
        }
    }
}

impl Visit for Told {
    fn open(&mut self, at: NodeId) {
        self.forget(at);
    }

    fn count(&mut self, at: NodeId, count: u32) -> bool {
        let is_wanted = PATHS.trie.count(at).is_some();
        if is_wanted {
            self.scalar(at, Scalar::Number(count.to_string().as_bytes()));
        }
        is_wanted
    }

    fn scalar(&mut self, at: NodeId, value: Scalar<'_>) {
        self.forget(at);
        let text = match value {
            Scalar::Null => "null".to_owned(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Number(number) => {
                spelled(std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()))
            }
            Scalar::Text(text) => spelled_text(&text::unescape(text)),
            Scalar::Other => return,
        };
        if let Some(wanted) = WANTED.iter().position(|path| node(path) == at && matters(path, &text)) {
            self.found[wanted] = Some(text);
        }
    }

    fn end(&mut self) {
        self.documents += 1;
    }
}
