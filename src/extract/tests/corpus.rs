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
