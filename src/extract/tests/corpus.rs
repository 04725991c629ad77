//! Recorded responses of real providers, cut at every byte. What they have to say is for `tests/corpus.rs` to know.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use http::Method;
use serde::Deserialize;

use super::*;
use crate::endpoint::Endpoint;

#[derive(Deserialize)]
struct Row {
    id: String,
    endpoint: Option<String>,
    body_file: String,
    content_type: Option<String>,
    framing: String,
}

impl Row {
    /// The dialect of the endpoint, if it has one.
    fn hint(&self) -> Option<Dialect> {
        match Endpoint::of(&Method::POST, self.endpoint.as_deref().unwrap_or_default()) {
            Endpoint::Call(call) => call.dialect,
            Endpoint::Unknown | Endpoint::Ignored => None,
        }
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

fn for_each_row(mut check: impl FnMut(&Row, &[u8])) {
    let Some(dir) = corpus() else { return };
    let rows = fs::read_to_string(dir.join("corpus.jsonl")).unwrap();
    for row in rows.lines() {
        let row: Row = serde_json::from_str(row).unwrap();
        check(&row, &fs::read(dir.join(&row.body_file)).unwrap());
    }
    assert_eq!(rows.lines().count(), 368);
}

/// F8, F9
#[test]
fn every_recorded_response_says_the_same_however_it_is_cut() {
    for_each_row(|row, body| assert_same_however_cut(row.format(), row.hint(), body, &row.id));
}

/// F10: what has been counted where a body breaks off is what its whole documents say until then, or nothing.
#[test]
fn no_recorded_response_says_a_wrong_number_wherever_it_breaks_off() {
    // Short answers at every byte, long ones at many, and where counts stand as a rule at more of them.
    const SHORT: usize = 2 << 10;
    const END: usize = 400;
    for_each_row(|row, body| {
        let read = |len: usize| read(row.format(), row.hint(), [&body[..len]]);
        let whole = read(body.len());
        let whole = whole.facts(true);
        let step = if body.len() <= SHORT { 1 } else { body.len() / 150 };
        let late = body.len().saturating_sub(END);
        // What was said at the end of one of the documents: a body ends there as if there were no more to come.
        let mut said = vec![whole.tokens];
        let mut ends: Vec<_> = (0..body.len()).filter(|at| matches!(body[*at], b'}' | b'\n')).collect();
        if ends.len() > 300 {
            ends = ends.split_off(ends.len() - 300);
        }
        for at in (0..body.len()).filter(|at| at % step == 0 || *at >= late) {
            let broken = read(at);
            let facts = broken.facts(false);
            let counts = |tokens: &Tokens| {
                [tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, tokens.reasoning]
            };
            assert_ne!(facts.quality, UsageQuality::Complete, "{} cut at {at}", row.id);
            let is_said = |said: &[Tokens]| {
                counts(&facts.tokens).into_iter().enumerate().all(|(field, count)| {
                    count.is_none() || said.iter().any(|said| counts(said)[field] == count)
                })
            };
            if !is_said(&said) {
                let until = ends.iter().map(|end| read(end + 1));
                let until = until.filter(|until| {
                    until.reader().is_some_and(|reader| !reader.documents.response.said.is_cut)
                });
                said.extend(until.map(|until| until.facts(true).tokens));
                assert!(is_said(&said), "{} cut at {at}: {:?}", row.id, facts);
            }
        }
    });
}

/// F9
#[test]
fn every_recorded_stream_says_the_same_with_any_line_ends() {
    for_each_row(|row, body| {
        if row.framing != "sse" {
            return;
        }
        let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
        let whole = read(row.format(), row.hint(), [&text]);
        for line_end in ["\r\n", "\r"] {
            let other = text.replace('\n', line_end);
            assert_eq!(seen(&read(row.format(), row.hint(), [&other])), seen(&whole), "{}", row.id);
            let pieces = read(row.format(), row.hint(), other.as_bytes().chunks(7));
            assert_eq!(seen(&pieces), seen(&whole), "{}, in pieces", row.id);
        }
    });
}
