//! Bodies as providers send them, their members in the same order, with text that somebody might have written. The same
//! in every run.

use std::{
    io::{self, Write},
    mem,
};

use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::Value;
use tower_llm_usage::bench::LONGEST_COPY;

/// Answers of one provider, ready to be sent.
pub struct Workload {
    pub name: &'static str,
    pub path: &'static str,
    pub content_type: &'static str,
    pub content_encoding: Option<&'static str>,
    /// The body, in the pieces in which it arrives.
    pub frames: Vec<Bytes>,
    /// Pieces that the client takes; it is gone before the rest.
    pub taken: usize,
    /// Between two requests, the processor forgets all that it knows of the first.
    pub is_cold: bool,
}

impl Workload {
    fn new(name: &'static str, path: &'static str, content_type: &'static str, frames: Vec<Bytes>) -> Self {
        Self { name, path, content_type, content_encoding: None, taken: frames.len(), is_cold: false, frames }
    }

    pub fn bytes(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }

    /// A chat completion as it is, in one document.
    pub fn is_plain_chat(&self) -> bool {
        self.path == CHAT && !self.is_stream() && self.content_encoding.is_none()
    }

    /// It comes in one piece, and is short enough to be copied.
    pub fn is_short(&self) -> bool {
        self.frames.len() == 1 && self.bytes() <= LONGEST_COPY
    }

    /// An answer that comes as events.
    pub fn is_stream(&self) -> bool {
        self.content_type == STREAM
    }

    fn encoded(mut self, name: &'static str, coding: &'static str) -> Self {
        self.frames = encode(coding, &self.frames);
        Self { name, content_encoding: Some(coding), taken: self.frames.len(), ..self }
    }

    fn left_after(self, name: &'static str, taken: usize) -> Self {
        Self { name, taken, ..self }
    }

    fn cold(self, name: &'static str) -> Self {
        Self { name, is_cold: true, ..self }
    }
}

const JSON: &str = "application/json";
const STREAM: &str = "text/event-stream; charset=utf-8";
const CHAT: &str = "/v1/chat/completions";

pub const CHAT_1_5_KB: &str = "unary chat, 1.5 KB";
pub const CHAT_COLD: &str = "1.5 KB, nothing in the caches";
pub const CHAT_50_KB: &str = "unary chat, 50 KB in 4 frames";
pub const PROSE_50_KB: &str = "unary chat, 50 KB of prose";
pub const OPENAI: &str = "OpenAI stream, 802 frames";
pub const OPENAI_NULL: &str = "the same, \"usage\":null in each";
pub const ANTHROPIC: &str = "Anthropic stream, 605 frames";
pub const RESPONSES: &str = "Responses stream, 402 frames";
pub const GEMINI: &str = "Gemini stream, 100 frames";
pub const ABORT: &str = "OpenAI stream, left after 100";

/// All that the cost of watching is measured by.
pub fn workloads() -> Vec<Workload> {
    let openai = || Workload::new(OPENAI, CHAT, STREAM, openai_stream(802, false));
    let chat = || Workload::new(CHAT_50_KB, CHAT, JSON, pieces(&chat_of_document(50_000), 4));
    let short = || Workload::new(CHAT_1_5_KB, CHAT, JSON, pieces(&chat_completion(1_500), 1));
    vec![
        short(),
        short().cold(CHAT_COLD),
        chat(),
        Workload::new(PROSE_50_KB, CHAT, JSON, pieces(&chat_completion(50_000), 4)),
        openai(),
        Workload::new(OPENAI_NULL, CHAT, STREAM, openai_stream(802, true)),
        Workload::new(ANTHROPIC, "/v1/messages", STREAM, anthropic_stream(605)),
        Workload::new(RESPONSES, "/v1/responses", STREAM, responses_stream(402, 60_000)),
        Workload::new(
            GEMINI,
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            STREAM,
            gemini_stream(100),
        ),
        chat().encoded("unary chat, 50 KB, gzip", "gzip"),
        chat().encoded("unary chat, 50 KB, br", "br"),
        openai().encoded("OpenAI stream, gzip", "gzip"),
        openai().encoded("OpenAI stream, deflate", "deflate"),
        openai().encoded("OpenAI stream, br", "br"),
        openai().encoded("OpenAI stream, zstd", "zstd"),
        openai().left_after(ABORT, 100),
    ]
}

/// `body` in so many pieces of about the same size.
pub fn pieces(body: &str, count: usize) -> Vec<Bytes> {
    cut(body.as_bytes(), body.len().div_ceil(count))
}

/// `body` in pieces of `size` bytes.
pub fn cut(body: &[u8], size: usize) -> Vec<Bytes> {
    body.chunks(size).map(Bytes::copy_from_slice).collect()
}

/// A chat completion of about `size` bytes, of which the answer is prose.
pub fn chat_completion(size: usize) -> String {
    chat(size, Words::text)
}

/// The same with an answer as long ones are: prose, and code between its paragraphs.
///
/// What makes a difference is how often something is escaped, where a parser has to stop. Here that is 35 times in 1,000
/// bytes. In the texts of recorded answers it is 23 to 63 times where they are longer than 5 KB, and 12 where they are
/// shorter, for which the prose has 14.
pub fn chat_of_document(size: usize) -> String {
    chat(size, Words::document)
}

/// The same, of which the answer is nothing but code: with quotes in most lines.
pub fn chat_of_code(size: usize) -> String {
    chat(size, Words::code)
}

fn chat(size: usize, text: impl Fn(&mut Words, usize) -> String) -> String {
    let body = |text: &str| {
        format!(
            r#"{{
  "id": "chatcmpl-BZ3uTf2kqW8nYxR5vJm0sLhGdEoPa",
  "object": "chat.completion",
  "created": 1772357400,
  "model": "gpt-4o-mini-2024-07-18",
  "choices": [
    {{
      "index": 0,
      "message": {{
        "role": "assistant",
        "content": {},
        "refusal": null,
        "annotations": []
      }},
      "logprobs": null,
      "finish_reason": "stop"
    }}
  ],
  "usage": {{
    "prompt_tokens": 1117,
    "completion_tokens": 214,
    "total_tokens": 1331,
    "prompt_tokens_details": {{
      "cached_tokens": 1024,
      "audio_tokens": 0
    }},
    "completion_tokens_details": {{
      "reasoning_tokens": 0,
      "audio_tokens": 0,
      "accepted_prediction_tokens": 0,
      "rejected_prediction_tokens": 0
    }}
  }},
  "service_tier": "default",
  "system_fingerprint": "fp_560af6e559"
}}
"#,
            Value::from(text)
        )
    };
    body(&text(&mut Words::new(), size.saturating_sub(body("").len())))
}

/// Embeddings of so many vectors of 1,536 floats.
pub fn embeddings(vectors: usize) -> String {
    let mut words = Words::new();
    let mut float = || (f64::from(words.random()) / f64::from(u32::MAX) - 0.5) / 8.0;
    let data: Vec<_> = (0..vectors)
        .map(|index| {
            let floats: Vec<_> = (0..1_536).map(|_| format!("{:.9}", float())).collect();
            format!(r#"{{"object":"embedding","index":{index},"embedding":[{}]}}"#, floats.join(","))
        })
        .collect();
    format!(
        r#"{{"object":"list","data":[{}],"model":"text-embedding-3-small","usage":{{"prompt_tokens":8192,"total_tokens":8192}}}}"#,
        data.join(",")
    )
}

/// A picture of about `size` bytes in base64.
pub fn image(size: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut words = Words::new();
    let base64: String = (0..size).map(|_| char::from(DIGITS[words.random() as usize % 64])).collect();
    format!(
        r#"{{"created":1772357400,"background":"opaque","data":[{{"b64_json":"{base64}"}}],"output_format":"png","quality":"high","size":"1536x1024","usage":{{"input_tokens":50,"input_tokens_details":{{"image_tokens":0,"text_tokens":50}},"output_tokens":6208,"total_tokens":6258}}}}"#
    )
}

/// A chat completion in so many events, one a frame.
pub fn openai_stream(frames: usize, usage_in_each: bool) -> Vec<Bytes> {
    let mut words = Words::new();
    let usage = if usage_in_each { r#","usage":null"# } else { "" };
    let chunk = |choices: &str, usage: &str, words: &mut Words| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-BZ3uTf2kqW8nYxR5vJm0sLhGdEoPa\",\"object\":\"chat.completion.chunk\",\"created\":1772357400,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_560af6e559\",\"choices\":[{choices}]{usage},\"obfuscation\":\"{}\"}}\n\n",
            words.padding()
        ))
    };
    let choice = |delta: &str, finish: &str| {
        format!(r#"{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}"#)
    };
    let begin = choice(r#""role":"assistant","content":"","refusal":null"#, "null");
    let mut out = vec![chunk(&begin, usage, &mut words)];
    for _ in 0..frames - 4 {
        let text = choice(&format!(r#""content":{}"#, Value::from(words.word())), "null");
        out.push(chunk(&text, usage, &mut words));
    }
    out.push(chunk(&choice("", r#""stop""#), usage, &mut words));
    let counts = r#","usage":{"prompt_tokens":1117,"completion_tokens":798,"total_tokens":1915,"prompt_tokens_details":{"cached_tokens":1024,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;
    out.push(chunk("", counts, &mut words));
    out.push(Bytes::from_static(b"data: [DONE]\n\n"));
    out
}

/// An event with its type as its name, and with the other members of its document.
fn event(kind: &str, members: &str) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{members}}}\n\n"))
}

/// A message in so many events, one a frame.
pub fn anthropic_stream(frames: usize) -> Vec<Bytes> {
    let mut words = Words::new();
    let mut out = vec![
        event(
            "message_start",
            r#","message":{"model":"claude-sonnet-4-5-20250929","id":"msg_01KqW8nYxR5vJm0sLhGdEoPaZ","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":93,"cache_creation_input_tokens":0,"cache_read_input_tokens":1024,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":3,"service_tier":"standard"}}"#,
        ),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        event("ping", ""),
    ];
    for _ in 0..frames - 6 {
        let text = Value::from(words.text(20));
        out.push(event(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"text_delta","text":{text}}}"#),
        ));
    }
    out.push(event("content_block_stop", r#","index":0"#));
    out.push(event(
        "message_delta",
        r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":93,"cache_creation_input_tokens":0,"cache_read_input_tokens":1024,"output_tokens":2874}"#,
    ));
    out.push(event("message_stop", ""));
    out
}

/// A response in so many events, one a frame; the last has it all, in about `last` bytes.
pub fn responses_stream(frames: usize, last: usize) -> Vec<Bytes> {
    const ITEM: &str = "msg_0b3uTf2kqW8nYxR5vJm0sLhGdEoPa";
    let mut words = Words::new();
    let response = |status: &str, output: &str, usage: &str| {
        format!(
            r#","response":{{"id":"resp_0b3uTf2kqW8nYxR5vJm0sLhGdEoPa","object":"response","created_at":1772357400,"status":"{status}","background":false,"error":null,"incomplete_details":null,"instructions":"You answer briefly.","max_output_tokens":null,"max_tool_calls":null,"model":"gpt-5-2025-08-07","output":[{output}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{{"effort":"medium","summary":"auto"}},"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#
        )
    };
    let mut out = Vec::new();
    let mut send = |kind: &str, members: &str| {
        out.push(event(kind, &format!(r#","sequence_number":{}{members}"#, out.len())));
    };
    let begun = response("in_progress", "", "null");
    send("response.created", &begun);
    send("response.in_progress", &begun);
    send(
        "response.output_item.added",
        &format!(
            r#","output_index":0,"item":{{"id":"{ITEM}","type":"message","status":"in_progress","content":[],"role":"assistant"}}"#
        ),
    );
    send(
        "response.content_part.added",
        &format!(
            r#","item_id":"{ITEM}","output_index":0,"content_index":0,"part":{{"type":"output_text","annotations":[],"logprobs":[],"text":""}}"#
        ),
    );
    for _ in 0..frames - 5 {
        let delta = Value::from(words.word());
        let obfuscation = words.padding();
        send(
            "response.output_text.delta",
            &format!(
                r#","item_id":"{ITEM}","output_index":0,"content_index":0,"delta":{delta},"logprobs":[],"obfuscation":"{obfuscation}""#
            ),
        );
    }
    let text = Value::from(words.text(last - 1_500));
    let output = format!(
        r#"{{"id":"{ITEM}","type":"message","status":"completed","content":[{{"type":"output_text","annotations":[],"logprobs":[],"text":{text}}}],"role":"assistant"}}"#
    );
    let usage = r#"{"input_tokens":1117,"input_tokens_details":{"cached_tokens":1024},"output_tokens":9874,"output_tokens_details":{"reasoning_tokens":448},"total_tokens":10991}"#;
    send("response.completed", &response("completed", &output, usage));
    out
}

/// An answer in so many events, one a frame, each with running totals.
pub fn gemini_stream(frames: usize) -> Vec<Bytes> {
    let mut words = Words::new();
    (1..=frames)
        .map(|frame| {
            let text = Value::from(words.text(120));
            let finish = if frame == frames { r#""finishReason":"STOP","# } else { "" };
            let (output, total) = (27 * frame, 1117 + 27 * frame);
            let document = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":{text}}}],"role":"model"}},{finish}"index":0}}],"usageMetadata":{{"promptTokenCount":1117,"candidatesTokenCount":{output},"totalTokenCount":{total},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":1117}}]}},"modelVersion":"gemini-2.5-flash","responseId":"qW8naYxR5vJm0sLhGdEoPa"}}"#
            );
            Bytes::from(format!("data: {document}\r\n\r\n"))
        })
        .collect()
}

/// What a server sends that encodes each piece as it comes, and sends it at once.
fn encode(coding: &str, frames: &[Bytes]) -> Vec<Bytes> {
    let level = flate2::Compression::new(6);
    match coding {
        "gzip" => encoded(frames, GzEncoder::new(Vec::new(), level), GzEncoder::get_mut, GzEncoder::finish),
        "deflate" => {
            encoded(frames, ZlibEncoder::new(Vec::new(), level), ZlibEncoder::get_mut, ZlibEncoder::finish)
        }
        "br" => encoded(
            frames,
            brotli::CompressorWriter::new(Vec::new(), 4 << 10, 4, 20),
            brotli::CompressorWriter::get_mut,
            |encoder| Ok(encoder.into_inner()),
        ),
        "zstd" => zstd::Encoder::new(Vec::new(), 3)
            .and_then(|encoder| encoded(frames, encoder, zstd::Encoder::get_mut, zstd::Encoder::finish)),
        other => Err(io::Error::other(other)),
    }
    .expect("what is written to memory is written")
}

fn encoded<E: Write>(
    frames: &[Bytes],
    mut encoder: E,
    sink: impl Fn(&mut E) -> &mut Vec<u8>,
    end: impl FnOnce(E) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<Bytes>> {
    let mut out = Vec::new();
    for frame in frames {
        encoder.write_all(frame)?;
        encoder.flush()?;
        out.push(mem::take(sink(&mut encoder)).into());
    }
    out.push(end(encoder)?.into());
    out.retain(|piece: &Bytes| !piece.is_empty());
    Ok(out)
}

/// Words without end, by the numbers of a small generator.
struct Words(u64);

impl Words {
    fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    fn random(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// A token of a model: a word with the space before it, at times a mark, a quote or a new line.
    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 64] = [
            " the",
            " of",
            " a",
            " is",
            " proxy",
            " response",
            " token",
            " count",
            ".",
            ",",
            " to",
            " and",
            " each",
            " stream",
            " server",
            " that",
            " with",
            " \"usage\"",
            "\n\n",
            " request",
            " it",
            " in",
            " model",
            "'s",
            " passes",
            " –",
            " bytes",
            "ing",
            " key",
            ":",
            " not",
            " for",
            " are",
            " which",
            " by",
            " one",
            "s",
            ",",
            " was",
            " at",
            " from",
            " layer",
            " what",
            " when",
            " first",
            ".",
            " be",
            " can",
            " as",
            " or",
            " an",
            " event",
            " client",
            " body",
            " time",
            " has",
            " same",
            " error",
            " two",
            " end",
            " line",
            "ed",
            " its",
            " only",
        ];
        WORDS[self.random() as usize % WORDS.len()]
    }

    /// Words of at least `len` bytes in all.
    fn text(&mut self, len: usize) -> String {
        let mut text = String::new();
        while text.len() < len {
            text.push_str(self.word());
        }
        text
    }

    /// Paragraphs of prose and code by turns, of at least `len` bytes in JSON.
    fn document(&mut self, len: usize) -> String {
        let mut document = String::new();
        while Value::from(document.as_str()).to_string().len() < len {
            let prose = self.text(800);
            let code = self.code(200);
            document.push_str(&format!("{}\n\n```\n{code}```\n\n", prose.trim()));
        }
        document
    }

    /// Lines of a program of at least `len` bytes in all, with what a compiler would not take.
    fn code(&mut self, len: usize) -> String {
        let mut code = String::new();
        while code.len() < len {
            let [name, function, key] = [(); 3].map(|()| self.word().trim());
            code.push_str(&format!("    let {name} = {function}(\"{key}\", {});\n", self.random() % 100));
        }
        code
    }

    /// What hides how long a word is.
    fn padding(&mut self) -> &'static str {
        &"k3xZ9qLw0vTnB7y"[..self.random() as usize % 16]
    }
}
