//! Conditions on what events are told apart by.

use super::{Kind, Misunderstood, Pairs, Parameter};
use crate::index::{Dimension, Filter, Pattern};

/// What events can be filtered by.
pub(super) const FILTERS: [Parameter; 8] = [
    filter("model", ANYTHING, "The model that answered."),
    filter(
        "key",
        r"^(!?([0-9a-f]{64}|[0-9a-f]{0,64}\*|__other__))?$",
        "The SHA-256 of the client's key, in hex.",
    ),
    filter("provider", ANYTHING, "Who served the call, such as `openai`."),
    filter("operation", ANYTHING, "What was done, such as `chat`."),
    filter("endpoint", ANYTHING, "Method and path, such as `POST /v1/messages`."),
    filter(
        "status",
        r"^(!?([1-5]xx|[0-9]{3}|[0-9]{0,3}\*))?$",
        "The HTTP status, such as `429`, or its class, such as `4xx`.",
    ),
    filter("stream", "^(!?(true|false))?$", "Whether the answer came as a stream."),
    filter(
        "usage",
        "^(!?(complete|partial|missing|inconsistent|overflow|malformed|unsupported))?$",
        "How good the counts are.",
    ),
];

const ANYTHING: &str = "";

const fn filter(name: &'static str, pattern: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Filter(pattern), about }
}

/// The conditions of a question, which hold all at once, and how they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::manage) struct Filters {
    pub(in crate::manage) all: Vec<Filter>,
    pub(in crate::manage) written: Vec<(&'static str, Vec<String>)>,
}

impl Filters {
    pub(super) fn of(pairs: &Pairs<'_>) -> Result<Self, Misunderstood> {
        let mut filters = Self::default();
        for Parameter { name, .. } in &FILTERS {
            let (mut any_of, mut none_of) = (Vec::new(), Vec::new());
            for text in pairs.all(name) {
                let (not, pattern) = pattern(text);
                check(name, &pattern)?;
                if not { &mut none_of } else { &mut any_of }.push(pattern);
            }
            for (not, any_of) in [(false, any_of), (true, none_of)] {
                if !any_of.is_empty() {
                    filters.all.push(condition(name, not, any_of));
                }
            }
            let written: Vec<_> = pairs.all(name).map(str::to_owned).collect();
            if !written.is_empty() {
                filters.written.push((name, written));
            }
        }
        Ok(filters)
    }
}

/// `!` in front is "not", `*` behind is "begins with", and what follows a `\` is itself. `!*` is what has no value.
fn pattern(text: &str) -> (bool, Pattern) {
    if text == "!*" {
        return (false, Pattern::Absent);
    }
    let (not, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
    let mut value = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match char {
            '*' if rest.as_str().is_empty() => return (not, Pattern::Prefix(value)),
            '\\' => value.push(rest.next().unwrap_or('\\')),
            _ => value.push(char),
        }
    }
    (not, Pattern::Exact(value))
}

fn condition(name: &str, not: bool, any_of: Vec<Pattern>) -> Filter {
    let dimension = match name {
        "model" => Dimension::Model,
        "key" => Dimension::Key,
        "provider" => Dimension::Provider,
        "operation" => Dimension::Operation,
        "endpoint" => Dimension::Endpoint,
        "stream" => Dimension::Stream,
        "usage" => Dimension::Usage,
        _ => {
            return Filter {
                dimension: Dimension::Status,
                not,
                any_of: any_of.into_iter().map(statuses).collect(),
            };
        }
    };
    Filter { dimension, not, any_of }
}

/// `4xx` is a status that begins with 4.
fn statuses(pattern: Pattern) -> Pattern {
    match pattern {
        Pattern::Exact(class) if class.ends_with("xx") => Pattern::Prefix(class[..1].to_owned()),
        other => other,
    }
}

/// Where only some values can be, any other is a mistake.
fn check(name: &str, pattern: &Pattern) -> Result<(), Misunderstood> {
    let (text, is_whole) = match pattern {
        Pattern::Exact(text) => (&**text, true),
        Pattern::Prefix(text) => (&**text, false),
        Pattern::Absent => return Ok(()),
    };
    let is_one_of = |values: &[&str]| match is_whole {
        true => values.contains(&text),
        false => values.iter().any(|value| value.starts_with(text)),
    };
    let are_all = |is: fn(u8) -> bool| text.bytes().all(is);
    let (is_valid, allowed) = match name {
        "status" => {
            let is_code = text.len() <= 3 && are_all(|byte| byte.is_ascii_digit());
            let is_class = ["1xx", "2xx", "3xx", "4xx", "5xx"].contains(&text);
            let is_valid = if is_whole { is_class || is_code && text.len() == 3 } else { is_code };
            (is_valid, &["2xx", "4xx", "429 or another status"][..])
        }
        "key" => {
            let is_hex = are_all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let is_long = if is_whole { text.len() == 64 } else { text.len() <= 64 };
            (
                text == OTHER || is_hex && is_long,
                &["64 hex digits in lower case", "the first of them and a *", OTHER][..],
            )
        }
        "stream" => (is_one_of(&STREAMS), &STREAMS[..]),
        "usage" => (is_one_of(&USAGES), &USAGES[..]),
        _ => return Ok(()),
    };
    if is_valid { Ok(()) } else { Err(Misunderstood::value(name, allowed.iter().copied())) }
}

const OTHER: &str = "__other__";
const STREAMS: [&str; 2] = ["true", "false"];
const USAGES: [&str; 7] =
    ["complete", "partial", "missing", "inconsistent", "overflow", "malformed", "unsupported"];

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(query: &str) -> Result<Vec<Filter>, Misunderstood> {
        Filters::of(&Pairs::parse(query, &[&FILTERS])?).map(|filters| filters.all)
    }

    #[test]
    fn a_filter_is_a_value_or_its_beginning_and_may_be_turned_round() {
        let exact = |text: &str| Pattern::Exact(text.to_owned());
        let prefix = |text: &str| Pattern::Prefix(text.to_owned());
        for (text, not, pattern) in [
            ("gpt-4o", false, exact("gpt-4o")),
            ("!gpt-4o", true, exact("gpt-4o")),
            ("gpt-*", false, prefix("gpt-")),
            ("!gpt-*", true, prefix("gpt-")),
            ("*", false, prefix("")),
            ("!*", false, Pattern::Absent),
            ("!", true, exact("")),
            ("a*b", false, exact("a*b")),
            ("a**", false, prefix("a*")),
            (r"\!a", false, exact("!a")),
            (r"a\*", false, exact("a*")),
            (r"a\\*", false, prefix(r"a\")),
            (r"a\", false, exact(r"a\")),
            ("a!", false, exact("a!")),
        ] {
            assert_eq!(super::pattern(text), (not, pattern), "{text}");
        }
    }

    #[test]
    fn several_values_are_any_of_them_and_none_of_those_turned_round() {
        let filters = filters("model=a&provider=openai&model=!c*&model=b&model=!d").unwrap();
        let [is, not, provider] = &*filters else { panic!("{filters:?}") };
        assert_eq!((is.not, is.any_of.len(), is.dimension), (false, 2, Dimension::Model));
        assert_eq!((not.not, not.any_of.len(), not.dimension), (true, 2, Dimension::Model));
        assert_eq!((provider.not, provider.dimension), (false, Dimension::Provider));
    }

    #[test]
    fn a_status_is_one_or_a_class_of_them() {
        let filters = filters("status=4xx&status=200&status=50*").unwrap();
        let prefix = |text: &str| Pattern::Prefix(text.to_owned());
        assert_eq!(filters[0].any_of, [prefix("4"), Pattern::Exact("200".to_owned()), prefix("50")]);
    }

    #[test]
    fn a_value_that_cannot_be_is_a_mistake() {
        for query in [
            "status=ok",
            "status=6xx",
            "status=20",
            "status=2000",
            "status=4x*",
            "stream=yes",
            "stream=1",
            "usage=fine",
            "key=sk-secret",
            "key=ABCDEF*",
            "key=abc",
            "status=",
        ] {
            match filters(query) {
                Ok(filters) => assert!(query.ends_with('=') && filters.is_empty(), "{query}"),
                Err(what) => {
                    let (param, value) = query.split_once('=').unwrap();
                    assert_eq!((what.code, &*what.param), ("invalid_parameter", param));
                    assert!(!what.error.contains(value), "a key that was put there is not repeated");
                }
            }
        }
        for query in ["stream=t*", "usage=mis*", "status=2*", "key=__other__", "key=!*", "usage=!*"] {
            assert!(filters(query).is_ok(), "{query}");
        }
    }
}
