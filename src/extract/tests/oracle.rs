//! The scanner against a naive full parse, on documents made to mislead it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::extract::{
    dialect::{Action, PATHS},
    scan::{Scalar, Scanner, Visit},
    trie::NodeId,
};

/// What is wanted of a document, written down a second time: paths to values.
const WANTED: [&str; 16] = [
    "usage.prompt_tokens",
    "usage.completion_tokens",
    "usage.input_tokens",
    "usage.prompt_tokens_details.cached_tokens",
    "x_groq.usage.prompt_tokens",
    "choices[].usage.prompt_tokens",
    "response.usage.input_tokens",
    "response.usage.output_tokens_details.reasoning_tokens",
    "message.usage.input_tokens",
    "usageMetadata.promptTokenCount",
    "response.usageMetadata.promptTokenCount",
    "prompt_eval_count",
    "model",
    "message.model",
    "response.modelVersion",
    "choices[].finish_reason",
];

/// A JSON document, duplicate keys and odd numbers included.
#[derive(Clone, Debug)]
enum Json {
    /// A number or a word, as spelled.
    Word(String),
    /// A string, as spelled between its quotes.
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// `space` stands wherever JSON allows it.
    fn render(&self, space: &str, out: &mut String) {
        let list =
            |out: &mut String, open, close, items: &mut dyn Iterator<Item = (Option<&String>, &Json)>| {
                out.push(open);
                for (at, (key, value)) in items.enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(space);
                    if let Some(key) = key {
                        out.push_str(&format!("\"{key}\"{space}:{space}"));
                    }
                    value.render(space, out);
                    out.push_str(space);
                }
                out.push(close);
            };
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Text(text) => out.push_str(&format!("\"{text}\"")),
            Self::Array(items) => list(out, '[', ']', &mut items.iter().map(|item| (None, item))),
            Self::Object(items) => {
                list(out, '{', '}', &mut items.iter().map(|(key, value)| (Some(key), value)))
            }
        }
    }

    /// Every scalar by its path; a path that comes again takes back all that stood below it.
    fn walk(&self, path: &str, found: &mut BTreeMap<String, String>) {
        found.retain(|known, _| {
            known.strip_prefix(path).is_none_or(|rest| !(rest.is_empty() || rest.starts_with(['.', '['])))
        });
        match self {
            Self::Word(word) => drop(found.insert(path.to_owned(), word.clone())),
            Self::Text(text) => drop(found.insert(path.to_owned(), format!("\"{text}\""))),
            Self::Array(items) => items.iter().for_each(|item| item.walk(&format!("{path}[]"), found)),
            Self::Object(items) => {
                for (key, value) in items {
                    let separator = if path.is_empty() { "" } else { "." };
                    value.walk(&format!("{path}{separator}{key}"), found);
                }
            }
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    let known = WANTED.iter().flat_map(|path| path.split('.')).map(|key| key.trim_end_matches("[]"));
    let alike =
        ["Usage", "usage_", "prompt_token", "max_output_tokens", "iterations", " ", "\\\"usage", "é", "text"];
    prop::sample::select(known.chain(alike).map(str::to_owned).collect::<Vec<_>>())
}

fn json() -> impl Strategy<Value = Json> {
    let word =
        prop::sample::select(vec!["0", "17", "-3", "2.50", "1e3", "123456789012", "null", "true", "false"]);
    let text = prop::sample::select(vec![
        "",
        "gpt-4o",
        "a\\\"b",
        "\\\\",
        "\\\\\\\"",
        "{\\\"usage\\\":{\\\"prompt_tokens\\\":99}}",
        "[]{}:,",
        "\\u0022usage\\u0022",
        "\u{1F600}\u{E9}",
    ]);
    let leaf = prop_oneof![
        3 => word.prop_map(|word| Json::Word(word.to_owned())),
        1 => text.prop_map(|text| Json::Text(text.to_owned())),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            3 => prop::collection::vec((key(), inner), 0..6).prop_map(Json::Object),
        ]
    })
}

fn object() -> impl Strategy<Value = Json> {
    prop::collection::vec((key(), json()), 0..6).prop_map(Json::Object)
}

/// What the scanner tells of the wanted paths.
#[derive(Default)]
struct Told {
    found: BTreeMap<usize, String>,
    documents: usize,
}

fn node(path: &str) -> NodeId {
    path.split('.').fold(NodeId::ROOT, |node, key| {
        let child = PATHS.child(node, key.trim_end_matches("[]").as_bytes());
        if key.ends_with("[]") { PATHS.element(child) } else { child }
    })
}

impl Told {
    fn forget(&mut self, at: NodeId) {
        // By the spelled paths, not by the trie's own bits.
        let above = |path: &str, at: NodeId| {
            let mut keys = path.split('.').scan(NodeId::ROOT, |node, key| {
                let child = PATHS.child(*node, key.trim_end_matches("[]").as_bytes());
                *node = if key.ends_with("[]") { PATHS.element(child) } else { child };
                Some([child, *node])
            });
            keys.any(|nodes| nodes.contains(&at))
        };
        self.found.retain(|wanted, _| !above(WANTED[*wanted], at));
    }
}

impl Visit for Told {
    fn open(&mut self, at: NodeId) {
        if at != NodeId::ROOT {
            self.forget(at);
        }
    }

    fn scalar(&mut self, at: NodeId, value: Scalar<'_>) {
        self.forget(at);
        let text = match value {
            Scalar::Null => "null".to_owned(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Number(number) => String::from_utf8_lossy(number).into_owned(),
            Scalar::Text(text) => format!("\"{}\"", String::from_utf8_lossy(text)),
            Scalar::Other => return,
        };
        if let Some(wanted) = WANTED.iter().position(|path| node(path) == at) {
            self.found.insert(wanted, text);
        }
    }

    fn end(&mut self) {
        self.documents += 1;
    }
}

#[test]
fn every_wanted_path_of_the_test_is_one_of_the_table() {
    for path in WANTED {
        assert!(PATHS.action(node(path)).is_some(), "{path}");
    }
    assert!(matches!(PATHS.action(node("usage.prompt_tokens")), Some(Action::Count { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// F48
    #[test]
    fn the_scanner_finds_what_a_full_parse_finds(
        document in object(),
        space in prop::sample::select(vec!["", " ", "\n\t\r "]),
        size in 1_usize..40,
    ) {
        let mut text = String::new();
        document.render(space, &mut text);
        let mut all = BTreeMap::new();
        document.walk("", &mut all);
        let expected: BTreeMap<usize, String> = WANTED
            .iter()
            .enumerate()
            .filter_map(|(at, path)| Some((at, all.get(*path)?.clone())))
            .collect();

        for size in [size, text.len()] {
            let mut scanner = Scanner::new();
            let mut told = Told::default();
            text.as_bytes().chunks(size).for_each(|piece| scanner.feed(&PATHS, piece, &mut told));
            prop_assert!(scanner.is_between_documents(), "{text}");
            prop_assert_eq!(&told.found, &expected, "{}", text);
            prop_assert_eq!(told.documents, 1);
        }
    }

    /// F8, F19
    #[test]
    fn any_bytes_are_read_without_harm_and_the_same_however_they_are_cut(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                prop::sample::select(vec![
                    "data: ", "data:", "\n", "\r", "\r\n", "\n\n", ": comment", "event: error", "[DONE]", "{", "}", "[",
                    "]", "\"", "\\", ",", ":", "\"usage\":", "\"usage\":null", "\"error\":null", "\"error\":{}",
                    "{\"usage\":{\"prompt_tokens\":7}}", "{\"model\":\"m\"}", "{\"type\":\"message_stop\"}",
                    "{\"usageMetadata\":{\"promptTokenCount\":3}}", "{\"done\":true,\"eval_count\":5}",
                ]).prop_map(|text| text.as_bytes().to_vec()),
            ],
            0..30,
        ),
        start in prop::sample::select(vec!["", "data: ", "{", "[", "\u{FEFF}", ":\n\n"]),
        format in prop::sample::select(vec![Format::EventStream, Format::Lines, Format::Json, Format::Unknown]),
        size in 1_usize..20,
    ) {
        let body = [start.as_bytes(), &pieces.concat()].concat();
        let whole = read_within_bounds(format, None, [&body]);
        let cut = read_within_bounds(format, None, body.chunks(size));
        prop_assert_eq!(seen(&cut), seen(&whole));
        let uneven = read(format, None, pieces.iter().fold(vec![start.as_bytes().to_vec()], |mut all, piece| {
            all.push(piece.clone());
            all
        }));
        prop_assert_eq!(seen(&uneven), seen(&whole));
    }
}
