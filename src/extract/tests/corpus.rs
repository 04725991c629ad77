//! Recorded responses of real providers, with the counts that a person would read off them.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Row {
    id: String,
    provider: String,
    api: String,
    body_file: String,
    content_type: Option<String>,
    framing: String,
    expected: Expected,
    /// More than one reading can be defended.
    #[serde(default)]
    ambiguous: Vec<String>,
    billed_units: Option<Billed>,
}

/// What is billed, where `expected` has what was used.
#[derive(Deserialize)]
struct Billed {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Expected {
    model: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl Expected {
    fn of(facts: &Facts<'_>) -> Self {
        Self {
            model: (!facts.model.is_empty()).then(|| facts.model.to_string()),
            input_tokens: facts.tokens.input,
            output_tokens: facts.tokens.output,
            total_tokens: facts.tokens.total,
            cached_input_tokens: facts.tokens.cache_read,
            cache_creation_input_tokens: facts.tokens.cache_write,
            reasoning_tokens: facts.tokens.reasoning,
        }
    }
}

impl Row {
    /// The dialect of the endpoint; `None` where the API is not read yet.
    fn dialect(&self) -> Option<Dialect> {
        Some(match &*self.api {
            "openai_chat" | "openai_embeddings" => Dialect::OpenAi,
            "openai_responses" => Dialect::Responses,
            "anthropic_messages" => Dialect::Anthropic,
            "gemini" => Dialect::Gemini,
            "ollama" => Dialect::Flat,
            _ if self.framing == "eventstream" => return None,
            "openai_runs" => Dialect::OpenAi,
            "openai_audio" | "openai_images" | "speech" | "openai_responses_get" => Dialect::Responses,
            "gemini_embed" | "count_tokens" => Dialect::Gemini,
            "gemini_interactions" => Dialect::Interactions,
            "bedrock_converse" | "bedrock_invoke" => Dialect::Bedrock,
            "cohere" => Dialect::Cohere,
            "dashscope_native" => Dialect::DashScope,
            "watsonx" => Dialect::Watsonx,
            "replicate" => Dialect::Replicate,
            _ => Dialect::Flat,
        })
    }

    /// What has to come out: of used and billed tokens the billed ones, as OpenTelemetry wants it.
    fn expected(&self) -> Expected {
        let mut expected = self.expected.clone();
        if let (false, Some(billed)) = (self.ambiguous.is_empty(), &self.billed_units) {
            expected.input_tokens = billed.input_tokens;
            expected.output_tokens = billed.output_tokens;
            expected.total_tokens =
                billed.input_tokens.zip(billed.output_tokens).map(|(input, output)| input + output);
            // Part of the tokens that were used.
            expected.cached_input_tokens = None;
        }
        if self.api == "anthropic_complete" {
            // Without counts, but not without a model.
            expected.model = Some("claude-2.1".to_owned());
        }
        expected
    }

    fn format(&self) -> Format {
        Format::of(self.content_type.as_deref().unwrap_or_default().as_bytes())
    }
}

/// The corpus beside the project. Missing, it is an error where `CI` is set, and said aloud elsewhere.
fn corpus() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(env::var_os("CI").is_none(), "the corpus of recorded responses is missing");
    eprintln!("SKIPPED: there is no corpus of recorded responses beside the project");
    None
}

fn for_each_row(mut check: impl FnMut(&Row, Dialect, &[u8])) {
    let Some(dir) = corpus() else { return };
    let rows = fs::read_to_string(dir.join("corpus.jsonl")).unwrap();
    let mut read = 0;
    for row in rows.lines() {
        let row: Row = serde_json::from_str(row).unwrap();
        if let Some(dialect) = row.dialect() {
            check(&row, dialect, &fs::read(dir.join(&row.body_file)).unwrap());
            read += 1;
        }
    }
    assert!(read > 200, "only {read} rows of the corpus were read");
}

#[test]
fn every_recorded_response_gives_its_counts_and_its_model() {
    let mut table = BTreeMap::<String, (u32, u32)>::new();
    let mut wrong = Vec::new();
    for_each_row(|row, dialect, body| {
        let (rows, exact) = table.entry(row.provider.clone()).or_default();
        *rows += 1;
        // With what the path says of the dialect, and from the body alone.
        let found =
            [Some(dialect), None].map(|hint| Expected::of(&read(row.format(), hint, [body]).facts(true)));
        let expected = row.expected();
        if found.iter().all(|found| *found == expected) {
            *exact += 1;
        } else {
            wrong.push(format!("{} ({}): {found:#?}, not {expected:#?}", row.id, row.provider));
        }
    });
    println!("{:20} {:>5} {:>6} {:>6}", "provider", "rows", "exact", "wrong");
    for (provider, (rows, exact)) in &table {
        println!("{provider:20} {rows:>5} {exact:>6} {:>6}", rows - exact);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// F8, F9
#[test]
fn every_recorded_response_says_the_same_however_it_is_cut() {
    for_each_row(|row, dialect, body| {
        assert_same_however_cut(row.format(), Some(dialect), body, &row.id);
    });
}

/// F9
#[test]
fn every_recorded_stream_says_the_same_with_any_line_ends() {
    for_each_row(|row, dialect, body| {
        if row.framing != "sse" {
            return;
        }
        let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
        let whole = read(row.format(), Some(dialect), [&text]);
        for line_end in ["\r\n", "\r"] {
            let other = text.replace('\n', line_end);
            assert_eq!(seen(&read(row.format(), Some(dialect), [&other])), seen(&whole), "{}", row.id);
            let pieces = read(row.format(), Some(dialect), other.as_bytes().chunks(7));
            assert_eq!(seen(&pieces), seen(&whole), "{}, in pieces", row.id);
        }
    });
}
