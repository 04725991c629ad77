//! The readers against slow and plain ones, on bodies made to mislead them.

use proptest::prelude::*;
use serde_json::Value;

use super::{
    check::{WANTED, node},
    *,
};
use crate::extract::dialect::PATHS;

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
}

/// Keys of the tables and others like them, some of them with a letter escaped.
fn key() -> impl Strategy<Value = String> {
    let known = WANTED.iter().flat_map(|path| path.split('.')).map(|key| key.trim_end_matches("[]"));
    let alike =
        ["Usage", "usage_", "prompt_token", "max_output_tokens", "iterations", " ", "\\\"usage", "é", "text"];
    let plain = prop::sample::select(known.chain(alike).map(str::to_owned).collect::<Vec<_>>());
    prop_oneof![
        9 => plain.clone(),
        1 => plain.prop_map(|key| match key.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => format!("\\u{:04X}{rest}", key.as_bytes()[0]),
            None => key,
        }),
    ]
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

#[test]
fn every_wanted_path_of_the_test_is_one_of_the_table() {
    for path in WANTED {
        assert!(PATHS.trie.place(node(path)).0.is_some(), "{path}");
    }
}

/// So many cases, or more where `PROPTEST_CASES` asks for more.
fn at_least(cases: u32) -> ProptestConfig {
    ProptestConfig::with_cases(cases.max(ProptestConfig::default().cases))
}

/// A count as it may be spelled, with what it is: a count, no count, or too large to be one.
fn number() -> impl Strategy<Value = (String, Result<Option<u64>, UsageQuality>)> {
    let malformed = ["-1", "0.5", "1e-1", "\"7\"", "true", "{}", "[1]", "NaN", "{\"a\":[1,{}]}"];
    let overflow = ["4294967296", "1e300", "1e999", "18446744073709551616", "4.3e9"];
    prop_oneof![
        4 => (0..=u32::MAX).prop_map(|n| (n.to_string(), Ok(Some(n.into())))),
        2 => (0_u32..1000).prop_map(|n| (format!("{n}.0"), Ok(Some(n.into())))),
        1 => (0_u32..1000).prop_map(|n| (format!("{n}e2"), Ok(Some(u64::from(n) * 100)))),
        1 => Just(("-0".to_owned(), Ok(Some(0)))),
        1 => Just(("null".to_owned(), Ok(None))),
        1 => prop::sample::select(malformed.to_vec()).prop_map(|n| (n.to_owned(), Err(UsageQuality::Malformed))),
        1 => prop::sample::select(overflow.to_vec()).prop_map(|n| (n.to_owned(), Err(UsageQuality::Overflow))),
    ]
}

proptest! {
    #![proptest_config(at_least(1000))]

    /// F48
    #[test]
    fn the_scanner_finds_what_a_full_parse_finds(
        document in object(),
        space in prop::sample::select(vec!["", " ", "\n\t\r "]),
        sizes in any::<[u8; 3]>(),
    ) {
        let mut text = String::new();
        document.render(space, &mut text);
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        check::scan(&[&sizes.map(|size| size % 40), text.as_bytes()].concat());
    }

    /// F3, F46: of a count that is none, nothing is left but the word that it was none; the last of its name counts.
    #[test]
    fn counts_are_what_they_are_spelled_as(
        input in prop::collection::vec(number(), 0..3),
        output in number(),
        noise in json(),
    ) {
        let mut text = String::from(r#"{"object":"chat.completion","choices":"#);
        noise.render(" ", &mut text);
        text.push_str(r#","usage":{"#);
        for (input, _) in &input {
            text.push_str(&format!(r#""prompt_tokens":{input}, "#));
        }
        text.push_str(&format!(r#""completion_tokens": {}}}}}"#, output.0));
        let extractor = read(Format::Json, None, [&text]);
        let facts = extractor.facts(true);
        let last = input.last().map_or(Ok(None), |(_, value)| *value);
        // What was no count is not forgotten for one that came later: the document is not to be trusted.
        let flaws = input.iter().chain([&output]).filter_map(|(_, value)| value.err()).collect::<Vec<_>>();
        prop_assert_eq!(facts.tokens.input, last.unwrap_or_default(), "{}", text);
        prop_assert_eq!(facts.tokens.output, output.1.unwrap_or_default(), "{}", text);
        if flaws.contains(&UsageQuality::Overflow) {
            prop_assert_eq!(facts.quality, UsageQuality::Overflow);
        } else if !flaws.is_empty() {
            prop_assert_eq!(facts.quality, UsageQuality::Malformed);
        }
    }

    /// F7: the last document with counts is all that counts, in an array as in lines as in events.
    #[test]
    fn documents_say_the_same_in_every_framing(documents in prop::collection::vec(object(), 0..6)) {
        let documents = documents
            .iter()
            .map(|document| {
                let mut text = String::new();
                document.render("", &mut text);
                text
            })
            .collect::<Vec<_>>();
        let events = documents.iter().map(|text| format!("data: {text}\n\n")).collect::<String>();
        let framings = [
            read(Format::Lines, None, [documents.join("\n")]),
            read(Format::Json, None, [format!("[{}]", documents.join(",\r\n"))]),
            read(Format::Json, None, [documents.concat()]),
            read(Format::EventStream, None, [events]),
            read(
                Format::EventMessages,
                None,
                documents.iter().map(|text| check::event("x", text.as_bytes())),
            ),
        ];
        for other in &framings[1..] {
            prop_assert_eq!(other.facts(true).tokens, framings[0].facts(true).tokens);
            prop_assert_eq!(other.facts(true).model, framings[0].facts(true).model);
            prop_assert_eq!(other.is_terminal(), framings[0].is_terminal());
            prop_assert_eq!(other.is_error(), framings[0].is_error());
        }
    }
}

proptest! {
    #![proptest_config(at_least(500))]

    /// A list of answers is not looked at closely where nothing in it matters, and it ends in the same piece.
    #[test]
    fn a_list_of_answers_spoils_no_more_than_itself_however_it_is_cut(
        list in prop::collection::vec(prop::sample::select(PIECES_OF_A_LIST.to_vec()), 0..30),
        name in prop::sample::select(vec!["choices", "candidates"]),
        space in prop::sample::select(vec!["", "\n    "]),
        plan in any::<[u8; 2]>(),
        sizes in any::<[u8; 3]>(),
    ) {
        let list = list.concat();
        let body = format!(
            r#"{{"model":"m",{space}"{name}":[{list}],{space}"usage":{{{space}"prompt_tokens":17{space}}}}}"#
        );
        let plan = [&plan[..], &sizes.map(|size| size % 60), body.as_bytes()].concat();
        check::extract(&plan);
        check::scan(&plan[2..]);
    }

    /// F8, F9, F19, F21: what the fuzzer does for hours, for a moment.
    #[test]
    fn what_the_fuzzer_checks_holds(input in fuzz()) {
        check::extract(&input);
        check::decode(&input);
        check::scan(&input);
        check::sse(&input);
        check::event_stream(&input);
    }
}

/// What an answer is made of, and what could be taken for something else.
const PIECES_OF_A_LIST: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\",
    "\\\"",
    ",",
    ":",
    " ",
    "\n",
    "1",
    "-2.5",
    "1[2",
    "null",
    "tru",
    "\"\"",
    "{\"index\":0,\"message\":{\"content\":\"",
    "\"},\"finish_reason\":\"stop\"}",
    "{\"usage\":{\"completion_tokens\":5}}",
    "{\"\\u0075sage\":{\"completion_tokens\":5}}",
    "{\"us\\age\":{\"completion_tokens\":5}}",
    "{\"error\":{\"type\":\"broken\"}}",
    "{\"finish_reason\":\"error\"}",
    "{\"finish_reason\":\"ERROR_x\"}",
    "{\"finishReason\":\"STOP\"}",
    "\"usage\"",
    "usage",
    "\\u0041",
    "a text of some length that has neither a quote nor a backslash nor a bracket in all of it, not one",
    "a text of some length that has \\\"quotes\\\" in it, and \\u00e9 and \\n, and a {bracket} that is [none]",
    "                                                                ",
    "{\"a\":]}",
    "},{",
];

/// A few bytes that say how the rest is announced and cut, and a rest that looks like a body here and there.
fn fuzz() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "data: ",
        "data:",
        "data",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        ": comment",
        "event: error",
        "[DONE]",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ",",
        ":",
        "\"usage\":",
        "\"usage\":null",
        "\"error\":null",
        "\"error\":{}",
        "\u{FEFF}",
        "{\"usage\":{\"prompt_tokens\":7}}",
        "{\"model\":\"m\"}",
        "{\"type\":\"message_stop\"}",
        "{\"usageMetadata\":{\"promptTokenCount\":3}}",
        "{\"done\":true,\"eval_count\":5}",
        "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}",
    ]);
    let piece = prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..20),
        4 => text.prop_map(|text| text.as_bytes().to_vec()),
    ];
    (any::<[u8; 2]>(), any::<[u8; 3]>(), prop::collection::vec(piece, 0..30)).prop_map(
        |(plan, sizes, pieces)| [&plan[..], &sizes.map(|size| size % 20), &pieces.concat()].concat(),
    )
}
