//! How fast usage is found in a body, and nothing else: no service, no request, no queue.
//!
//! ```sh
//! cargo bench --bench scan                     # all of it
//! cargo bench --bench scan -- stream --json    # what has `stream` in its name, as data
//! ```
//!
//! What is measured is the reader of a body that the layer has. Beside it stand what one might take instead: `serde_json`
//! and `sonic-rs` into a struct of the wanted fields (typed), which is the fastest way to use them that reads a document
//! whole; and `memchr` looking for a byte that is not there, which is the limit of what looks at each byte.
//!
//! The contenders take turns; the table has the medians. Typed, in pieces that ignore the borders of events, collects
//! lines as every client's library does.

#[path = "../support/mod.rs"]
mod support;

use std::{hint::black_box, time::Instant};

use anyhow::ensure;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use support::{
    Options, bodies, median, nanoseconds,
    table::{Table, grouped},
};
use tower_llm_usage::bench::{Api, total_tokens};

/// Turns that each contender has.
const TURNS: usize = 60;

/// About how long a turn is, in nanoseconds.
const TURN: f64 = 1_000_000.0;

fn main() -> anyhow::Result<()> {
    let options = Options::of_command_line()?;
    let subjects = subjects(options.is_full).into_iter().filter(|subject| options.wants(subject.name));
    let rows =
        subjects.map(|subject| Row::of(&subject, options.is_full)).collect::<anyhow::Result<Vec<_>>>()?;
    if options.is_json {
        println!("{:#}", rows.iter().map(Row::to_json).collect::<Value>());
    } else {
        print(&rows);
    }
    Ok(())
}

/// A body, and how it is cut.
struct Subject {
    name: &'static str,
    api: Api,
    pieces: Vec<Bytes>,
    /// Each piece is whole events, or all of the body.
    is_whole: bool,
    /// How many times as fast as `serde_json` it shall be, if that was said.
    goal: Option<f64>,
}

fn subjects(is_full: bool) -> Vec<Subject> {
    let unary = |name, body: &str, api, goal| Subject {
        name,
        api,
        pieces: vec![Bytes::copy_from_slice(body.as_bytes())],
        is_whole: true,
        goal,
    };
    let stream =
        |name, pieces, is_whole| Subject { name, api: Api::ChatStream, pieces, is_whole, goal: Some(15.0) };
    // A vector of 1,536 floats is about 20 KB.
    let (vectors, image) = if is_full { (210, 8_000_000) } else { (2, 80_000) };
    let chunks = bodies::openai_stream(802, false);
    let flat = chunks.concat();
    let with_null = bodies::openai_stream(802, true);
    vec![
        unary("chat, 1.5 KB", &bodies::chat_completion(1_500), Api::Chat, Some(2.5)),
        unary("chat, 50 KB", &bodies::chat_of_document(50_000), Api::Chat, Some(5.0)),
        Subject {
            pieces: bodies::cut(bodies::chat_of_document(50_000).as_bytes(), 1_460),
            is_whole: false,
            ..unary("chat, 50 KB, in 1,460 bytes", "", Api::Chat, Some(5.0))
        },
        unary("chat of prose, 50 KB", &bodies::chat_completion(50_000), Api::Chat, None),
        unary("chat of code, 50 KB", &bodies::chat_of_code(50_000), Api::Chat, None),
        unary("embeddings, floats, 4 MB", &bodies::embeddings(vectors), Api::Chat, Some(7.0)),
        unary("image, base64, 8 MB", &bodies::image(image), Api::Images, Some(2.0)),
        stream("chat stream, an event a frame", chunks, true),
        stream("the stream, \"usage\":null in each", with_null, true),
        stream("the stream in 1,460 bytes", bodies::cut(&flat, 1_460), false),
        stream("the stream in 16 KB", bodies::cut(&flat, 16 << 10), false),
        Subject {
            api: Api::GeminiStream,
            goal: None,
            ..stream("Gemini stream, usage in each", bodies::gemini_stream(100), true)
        },
    ]
}

/// What is wanted of a document.
#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(alias = "modelVersion")]
    model: Option<String>,
    #[serde(alias = "usageMetadata")]
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(alias = "input_tokens", alias = "promptTokenCount")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens", alias = "candidatesTokenCount")]
    #[expect(dead_code, reason = "what one would want to know is parsed, too")]
    completion_tokens: Option<u64>,
    #[serde(alias = "totalTokenCount")]
    total_tokens: Option<u64>,
}

type Parse = fn(&[u8]) -> Option<Document>;

const NAMES: [&str; 4] = ["memchr", "serde_json", "sonic-rs", "this crate"];
const TYPED: usize = 1;
const THIS: usize = 3;

impl Subject {
    fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    fn run(&self, contender: usize) -> Option<u64> {
        match contender {
            0 => self.limit(),
            1 => self.typed(|document| serde_json::from_slice(document).ok()),
            2 => self.typed(|document| sonic_rs::from_slice(document).ok()),
            _ => self.extract(),
        }
    }

    fn limit(&self) -> Option<u64> {
        self.pieces.iter().filter_map(|piece| memchr::memchr(0, piece)).map(|at| at as u64).max()
    }

    fn extract(&self) -> Option<u64> {
        total_tokens(self.api, self.pieces.iter().map(|piece| &piece[..]))
    }

    fn typed(&self, parse: Parse) -> Option<u64> {
        let mut model = None;
        let mut total = None;
        let mut note = |document: &[u8]| {
            let Document { model: named, usage } = parse(document).unwrap_or_default();
            model = named.or(model.take());
            total = usage.and_then(|usage| usage.total_tokens.or(usage.prompt_tokens)).or(total);
        };
        match (self.api, self.is_whole) {
            (Api::Chat | Api::Images, true) => self.pieces.iter().for_each(|piece| note(piece)),
            (Api::Chat | Api::Images, false) => note(&self.pieces.concat()),
            (Api::ChatStream | Api::GeminiStream, true) => {
                self.pieces.iter().filter_map(|piece| piece.strip_prefix(b"data: ")).for_each(note)
            }
            (Api::ChatStream | Api::GeminiStream, false) => {
                let mut held = Vec::new();
                for piece in &self.pieces {
                    let mut rest = &**piece;
                    while let Some(end) = memchr::memchr(b'\n', rest) {
                        held.extend_from_slice(&rest[..end]);
                        if let Some(document) = held.strip_prefix(b"data: ") {
                            note(document);
                        }
                        held.clear();
                        rest = &rest[end + 1..];
                    }
                    held.extend_from_slice(rest);
                }
            }
        }
        black_box(model);
        total
    }
}

/// What was measured with one body.
struct Row {
    name: &'static str,
    bytes: usize,
    pieces: usize,
    goal: Option<f64>,
    /// Of each contender, for the whole body, in nanoseconds.
    times: [f64; NAMES.len()],
}

impl Row {
    fn of(subject: &Subject, is_full: bool) -> anyhow::Result<Self> {
        let expected = subject.run(TYPED);
        ensure!(expected.is_some(), "{}: nothing to find", subject.name);
        let mut rounds = [1; NAMES.len()];
        for (contender, name) in NAMES.iter().enumerate().skip(1) {
            let found = subject.run(contender);
            ensure!(found == expected, "{}: {name} finds {found:?}", subject.name);
        }
        if is_full {
            for (contender, rounds) in rounds.iter_mut().enumerate() {
                let start = Instant::now();
                black_box(subject.run(contender));
                *rounds = ((TURN / nanoseconds(start.elapsed())) as usize).clamp(1, 1 << 12);
            }
        }
        let turns = if is_full { TURNS } else { 1 };
        let mut times = [const { Vec::new() }; NAMES.len()];
        for _ in 0..turns {
            for (contender, (&rounds, times)) in rounds.iter().zip(&mut times).enumerate() {
                let start = Instant::now();
                for _ in 0..rounds {
                    black_box(black_box(subject).run(contender));
                }
                times.push(nanoseconds(start.elapsed()) / rounds as f64);
            }
        }
        Ok(Self {
            name: subject.name,
            bytes: subject.bytes(),
            pieces: subject.pieces.len(),
            goal: subject.goal,
            times: times.map(median),
        })
    }

    /// Bytes a nanosecond are gigabytes a second.
    fn speed(&self, contender: usize) -> f64 {
        self.bytes as f64 / self.times[contender]
    }

    fn ratio(&self) -> f64 {
        self.times[TYPED] / self.times[THIS]
    }

    fn to_json(&self) -> Value {
        let speeds = NAMES.iter().enumerate().map(|(at, name)| {
            json!({
                "contender": name, "gb_per_s": self.speed(at), "ns": self.times[at],
                "ns_per_piece": self.times[at] / self.pieces as f64,
            })
        });
        json!({
            "body": self.name, "bytes": self.bytes, "pieces": self.pieces, "contenders": speeds.collect::<Value>(),
            "times_serde_json": self.ratio(), "goal": self.goal, "is_reached": self.goal.map(|goal| self.ratio() >= goal),
        })
    }
}

fn print(rows: &[Row]) {
    let mut table = Table::new([
        "GB/s",
        "pieces",
        NAMES[0],
        NAMES[1],
        NAMES[2],
        NAMES[3],
        "ns a piece",
        "serde_json's",
        "× serde_json",
        "goal",
    ]);
    for row in rows {
        let speed = |at| format!("{:.2}", row.speed(at));
        let mark = |goal| if row.ratio() >= goal { "✓" } else { "✗" };
        table.row([
            row.name.to_owned(),
            grouped(row.pieces as f64),
            speed(0),
            speed(1),
            speed(2),
            speed(3),
            grouped(row.times[THIS] / row.pieces as f64),
            grouped(row.times[TYPED] / row.pieces as f64),
            format!("{:.1}", row.ratio()),
            row.goal.map_or_else(String::new, |goal| format!("≥ {goal} {}", mark(goal))),
        ]);
    }
    table.print();
}
