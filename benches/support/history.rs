//! Usage files as a busy proxy leaves them, made up.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use tower_llm_usage::{KeyHash, Timestamp};

/// Whose lines they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The Go original's, with all of its eight fields: 263 bytes each.
    Original,
    /// Ours, with nearly every field there is.
    Ours,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "the original",
            Self::Ours => "ours",
        }
    }
}

/// What a file holds as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub events: u64,
    pub bytes: u64,
    pub tokens: u64,
}

/// 2026-01-01T00:00:00Z
pub const START: i64 = 1_767_225_600_000;
/// From the first call to the last.
pub const DAYS: i64 = 90;

const MODELS: u64 = 50;
const KEYS: u64 = 1_000;

pub fn model(number: u64) -> String {
    format!("{}-{number}", FAMILIES[number as usize % FAMILIES.len()])
}

pub fn key(number: u64) -> String {
    KeyHash::of(&number.to_le_bytes()).to_string()
}

/// Writes so many lines to a new file, as a busy proxy does in [`DAYS`].
pub fn write(path: &Path, shape: Shape, lines: u64) -> io::Result<Written> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let models: Vec<_> = (0..MODELS).map(model).collect();
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    let interval = (DAYS * 86_400_000) as f64 / lines as f64;
    let mut random = Random(1);
    let mut written = Written { events: lines, ..Written::default() };
    let mut line = Vec::new();
    for i in 0..lines {
        // Rising, but for calls that took longer than those after them.
        let millis = (i as f64 * interval) as u64 + random.below(5_000);
        let at = Timestamp::from_unix_millis(START + millis as i64);
        let model = &models[random.below(MODELS) as usize];
        let key = &keys[random.below(KEYS) as usize];
        // Most prompts are short, and each quarter of an hour has some that are not.
        let longest = if random.below(16) == 0 { 200_000 } else { 20_000 };
        let (input, output) = (random.below(longest), random.below(2_000));
        let total = input + output;
        let status = if random.below(50) == 0 { 429 } else { 200 };
        let id = random.next();
        line.clear();
        write!(
            line,
            r#"{{"timestamp":"{at}","model":"{model}","prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"status":{status}"#
        )?;
        match shape {
            Shape::Original => {
                writeln!(line, r#","request_id":"req-{id:016x}","api_key_hash":"{key}"}}"#)?;
            }
            Shape::Ours => {
                let (provider, operation, endpoint) = SOURCES[random.below(SOURCES.len() as u64) as usize];
                let stream = random.below(2) == 0;
                let (read, wrote, reasoning) = (input / 2, random.below(2_000), output / 3);
                let (duration, ttft) = (random.below(90_000_000), random.below(5_000_000));
                writeln!(
                    line,
                    r#","api_key_hash":"{key}","v":2,"id":"019b5a3e{id:024x}","provider":"{provider}","operation":"{operation}","endpoint":"{endpoint}","stream":{stream},"cache_read_tokens":{read},"cache_write_tokens":{wrote},"reasoning_tokens":{reasoning},"usage":"complete","end":"complete","duration_ms":{:?},"ttft_ms":{:?}}}"#,
                    duration as f64 / 1e3,
                    ttft as f64 / 1e3,
                )?;
            }
        }
        file.write_all(&line)?;
        written.bytes += line.len() as u64;
        written.tokens += total;
    }
    file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
    Ok(written)
}

const FAMILIES: [&str; 5] =
    ["gpt-4o-mini-2024-07", "claude-sonnet-4-5", "gemini-2.5-flash", "llama-3.3-70b", "o3"];
const SOURCES: [(&str, &str, &str); 4] = [
    ("openai", "chat", "POST /v1/chat/completions"),
    ("openai", "embeddings", "POST /v1/embeddings"),
    ("anthropic", "chat", "POST /v1/messages"),
    ("gcp.gemini", "generate_content", "POST /v1beta/models/{model}:streamGenerateContent"),
];

/// SplitMix64: fast, and the same on each machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
