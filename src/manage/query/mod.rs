//! What query strings ask for: parsed once, into what can be answered.
//!
//! Each route has a table of its parameters. What is not in it, or is not what it says, is refused, by name and with
//! what is allowed: a typing error that is passed over gives numbers that somebody believes. `openapi.json` is made from
//! the same tables.

mod filter;
mod question;
mod time;

use std::borrow::Cow;

pub(super) use self::{
    filter::Filters,
    question::{DIMENSIONS, EVENTS, EXPORT, Events, Export, Format, Listing, METRICS, Question},
    time::Range,
};

/// A parameter of a route.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it does, in one sentence.
    pub(super) about: &'static str,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A moment or a day.
    Time,
    /// The name of a range.
    Range,
    /// An IANA time zone.
    Zone,
    OneOf(&'static [&'static str]),
    /// Some of them, separated by commas.
    SomeOf(&'static [&'static str]),
    /// One or two of them, separated by a comma; can be given more than once.
    Pair(&'static [&'static str]),
    Number {
        most: u32,
    },
    Text,
    /// A value, `!` in front for "not", `*` behind for "begins with"; can be given more than once. Only such values as
    /// the pattern has.
    Filter(&'static str),
}

impl Kind {
    fn repeats(self) -> bool {
        matches!(self, Self::Pair(_) | Self::Filter(_))
    }

    /// No value is as if the parameter were not there: the original's rule.
    fn may_be_empty(self) -> bool {
        !matches!(self, Self::OneOf(_) | Self::SomeOf(_) | Self::Pair(_) | Self::Number { .. })
    }

    /// For people.
    fn allowed(self) -> Vec<String> {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match self {
            Self::Time => own(&time::TIMES),
            Self::Range => own(&time::RANGES),
            Self::Zone => own(&["an IANA time zone such as Europe/Berlin", "UTC"]),
            Self::OneOf(words) => own(words),
            Self::SomeOf(words) => [own(&["all"]), own(words)].concat(),
            Self::Pair(words) => [own(words), own(&["two of them, such as model,key"])].concat(),
            Self::Number { most } => vec![format!("a number from 1 to {most}")],
            Self::Text | Self::Filter(_) => Vec::new(),
        }
    }
}

/// Why a question cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misunderstood {
    pub(super) code: &'static str,
    /// For people.
    pub(super) error: String,
    /// The parameter that is to blame.
    pub(super) param: String,
    pub(super) allowed: Vec<String>,
}

impl Misunderstood {
    fn value(param: &str, allowed: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let allowed: Vec<String> = allowed.into_iter().map(Into::into).collect();
        let code = match param {
            "from" => "invalid_from",
            "to" => "invalid_to",
            "range" => "invalid_range",
            _ => "invalid_parameter",
        };
        let error = match param {
            // The words are the original's.
            "from" | "to" => format!("invalid '{param}' timestamp format, expected RFC3339"),
            _ => format!("invalid '{param}', expected {}", one_of(&allowed)),
        };
        Self { code, error, param: param.to_owned(), allowed }
    }

    /// The words are the original's.
    fn reversed() -> Self {
        Self {
            code: "invalid_range",
            error: "'to' must be after 'from'".to_owned(),
            param: "to".to_owned(),
            allowed: Vec::new(),
        }
    }

    fn conflict(param: &str, error: impl Into<String>) -> Self {
        Self {
            code: "conflicting_parameters",
            error: error.into(),
            param: param.to_owned(),
            allowed: Vec::new(),
        }
    }
}

fn one_of(allowed: &[String]) -> String {
    match allowed {
        [] => "something else".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// The parameters of a request, escapes resolved, all of them known.
pub(super) struct Pairs<'a>(Vec<(&'static Parameter, Cow<'a, str>)>);

impl<'a> Pairs<'a> {
    /// What has no value is left out, as if it had not been said.
    pub(super) fn parse(query: &'a str, known: &[&'static [Parameter]]) -> Result<Self, Misunderstood> {
        let known = || known.iter().copied().flatten();
        let mut pairs = Vec::<(&Parameter, Cow<'_, str>)>::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            let Some(parameter) = known().find(|parameter| parameter.name == name) else {
                let allowed: Vec<_> = known().map(|parameter| parameter.name.to_owned()).collect();
                let param: String = name.chars().take(64).collect();
                let error = match &*allowed {
                    [] => format!("unknown parameter '{param}', there are none here"),
                    _ => format!("unknown parameter '{param}', expected {}", one_of(&allowed)),
                };
                return Err(Misunderstood { code: "unknown_parameter", error, param, allowed });
            };
            let value = decode(value);
            if value.is_empty() && parameter.kind.may_be_empty() {
                continue;
            }
            if !parameter.kind.repeats() && pairs.iter().any(|(known, _)| known.name == parameter.name) {
                let error = format!("'{}' can be given only once", parameter.name);
                return Err(Misunderstood {
                    code: "repeated_parameter",
                    ..Misunderstood::conflict(parameter.name, error)
                });
            }
            pairs.push((parameter, value));
        }
        Ok(Self(pairs))
    }

    fn one(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(parameter, _)| parameter.name == name).map(|(_, value)| &**value)
    }

    /// The value of a parameter that is [one of](Kind::OneOf) some words.
    fn word(&self, name: &'static str) -> Result<Option<&'static str>, Misunderstood> {
        let Some((Parameter { kind: Kind::OneOf(words), .. }, word)) = self.find(name) else {
            return Ok(None);
        };
        let known = words.iter().find(|known| **known == word);
        known.map(|word| Some(*word)).ok_or_else(|| self.wrong(name))
    }

    /// The value of a parameter that is a [number](Kind::Number).
    fn number(&self, name: &'static str) -> Result<Option<usize>, Misunderstood> {
        let Some((Parameter { kind: Kind::Number { most }, .. }, text)) = self.find(name) else {
            return Ok(None);
        };
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok());
        let number = number.flatten().filter(|number| (1..=*most).contains(number));
        number.map(|number| Some(number as usize)).ok_or_else(|| self.wrong(name))
    }

    /// The value of a parameter is none that it may have.
    fn wrong(&self, name: &'static str) -> Misunderstood {
        let allowed = self.find(name).map_or_else(Vec::new, |(parameter, _)| parameter.kind.allowed());
        Misunderstood::value(name, allowed)
    }

    fn find(&self, name: &'static str) -> Option<(&'static Parameter, &str)> {
        let found = self.0.iter().find(|(parameter, _)| parameter.name == name);
        found.map(|(parameter, value)| (*parameter, &**value))
    }
}

/// Some words, separated by commas, by their numbers; `None` if there is one that is unknown.
fn words(text: &str, known: &'static [&'static str]) -> Option<Vec<usize>> {
    text.split(',').map(|word| known.iter().position(|known| *known == word.trim())).collect()
}

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    pub(super) const RANGE: [&[Parameter]; 1] = [&question::RANGE];

    fn now() -> Timestamp {
        "2026-03-29T12:30:00Z".parse().unwrap()
    }

    fn parse(query: &str) -> Result<Question, Misunderstood> {
        Question::of(&Pairs::parse(query, &METRICS)?, now(), None)
    }

    /// R6
    #[test]
    fn a_model_is_taken_as_it_is_written() {
        for (query, expected) in [
            ("model=gpt-4o", Some("gpt-4o")),
            ("model=openai%2Fgpt%2B4o", Some("openai/gpt+4o")),
            ("model=two+words", Some("two words")),
            ("m%6Fdel=a", Some("a")),
            ("model=", None),
            ("model", None),
            ("&&model=a&", Some("a")),
        ] {
            let written = parse(query).unwrap().selection.filters.written;
            let model = written.first().map(|(name, values)| (*name, &*values[0]));
            assert_eq!(model, expected.map(|model| ("model", model)), "{query}");
        }
    }

    #[test]
    fn a_mistake_is_told_by_name_with_what_is_allowed() {
        for (query, code, param, allowed) in [
            ("Model=x", "unknown_parameter", "Model", "model"),
            ("form=now-1h", "unknown_parameter", "form", "from"),
            ("%FF=1", "unknown_parameter", "\u{fffd}", "to"),
            ("tz=Mars/Olympus", "invalid_parameter", "tz", "UTC"),
            ("range=soon", "invalid_range", "range", "yesterday"),
            ("from=soon", "invalid_from", "from", "RFC 3339"),
            ("interval=year", "invalid_parameter", "interval", "15m"),
            ("fill=none", "invalid_parameter", "fill", "zero"),
            ("group_by=tag", "invalid_parameter", "group_by", "hour_of_day"),
            ("group_by=model,key,usage", "invalid_parameter", "group_by", "model"),
            ("group_by=model,model", "invalid_parameter", "group_by", "model"),
            ("metrics=tokens,cost", "invalid_parameter", "metrics", "ttft_p95_ms"),
            ("limit=0", "invalid_parameter", "limit", "a number from 1 to 10000"),
            ("limit=10001", "invalid_parameter", "limit", "a number from 1 to 10000"),
            ("limit=%2B5", "invalid_parameter", "limit", "a number from 1 to 10000"),
            ("sort=duration_p95_ms", "invalid_parameter", "sort", "tokens"),
            ("format=xml", "invalid_parameter", "format", "jsonl"),
            ("status=ok", "invalid_parameter", "status", "4xx"),
            (
                "from=1970-01-01&interval=15m&fill=zero",
                "too_many_buckets",
                "interval",
                "100000 pieces of time in all",
            ),
        ] {
            let what = parse(query).unwrap_err();
            assert_eq!((what.code, &*what.param), (code, param), "{query}");
            assert!(what.allowed.iter().any(|word| word == allowed), "{what:?}");
            assert!(what.error.contains(param), "{what:?}");
        }
        for (query, code) in [
            ("interval=day&interval=day", "repeated_parameter"),
            ("format=csv&compare=previous", "conflicting_parameters"),
            ("format=csv&group_by=model&group_by=key", "conflicting_parameters"),
        ] {
            assert_eq!(parse(query).unwrap_err().code, code, "{query}");
        }
        let nine = ["group_by=model"; 9].join("&");
        assert_eq!(parse(&nine).unwrap_err().code, "conflicting_parameters");
    }

    #[test]
    fn an_interval_that_suits_has_neither_too_many_pieces_nor_too_few() {
        for range in ["1h", "6h", "24h", "7d", "30d", "90d", "52w", "200w", "1000w"] {
            let question = parse(&format!("range={range}&interval=auto")).unwrap();
            let pieces = question.query().pieces();
            assert!((4..=400).contains(&pieces), "{range}: {pieces} of {}", question.interval_name());
        }
    }

    /// A heat map has 168 cells, however few models are asked for.
    #[test]
    fn a_limit_is_for_what_clients_can_make_up() {
        let query = "group_by=model&group_by=weekday,hour_of_day&group_by=usage&group_by=key,status&limit=3";
        let tops: Vec<_> = parse(query).unwrap().query().groupings.iter().map(|table| table.top).collect();
        assert_eq!(tops[1..], [Some(3), None, None, Some(3)]);
    }

    #[test]
    fn what_is_not_said_is_as_it_was_in_the_original() {
        let question = parse("").unwrap();
        assert_eq!(question.interval_name(), "hour");
        assert!(!question.fill && !question.series && !question.compare && question.tables.is_empty());
        assert_eq!((question.format, question.sort.0), (Format::Json, "tokens"));
        assert!(!question.query().durations);
    }

    fn parameters() -> impl Strategy<Value = String> {
        let tables = [METRICS, EVENTS, EXPORT, DIMENSIONS].concat();
        let names = tables.into_iter().flatten().map(|parameter| parameter.name).collect::<Vec<_>>();
        let name = prop::sample::select(names);
        let value = prop_oneof![
            ".{0,12}",
            "[!]?[a-z0-9-]{0,8}[*]?",
            "[0-9]{1,20}",
            "now-[0-9]{1,3}[mhdw]",
            "(model|key|weekday|,){0,4}",
            prop::sample::select(vec![
                "auto", "zero", "all", "UTC", "groups", "previous", "csv", "tokens", "2xx", "1.1"
            ])
            .prop_map(str::to_owned),
        ];
        (name, value).prop_map(|(name, value)| format!("{name}={value}"))
    }

    proptest! {
        #[test]
        fn any_text_is_a_question_or_a_mistake(
            pairs in prop::collection::vec(parameters(), 0..5),
            raw in ".{0,60}",
        ) {
            for query in [pairs.join("&"), raw] {
                let first = Some("2024-01-01T00:00:00Z".parse().unwrap());
                let mistakes = [
                    Pairs::parse(&query, &METRICS).and_then(|pairs| Question::of(&pairs, now(), first)).err(),
                    Pairs::parse(&query, &EVENTS).and_then(|pairs| Events::of(&pairs, now(), first)).err(),
                    Pairs::parse(&query, &EXPORT).and_then(|pairs| Export::of(&pairs, now(), first)).err(),
                    Pairs::parse(&query, &DIMENSIONS).and_then(|pairs| Listing::of(&pairs, now(), first)).err(),
                ];
                for what in mistakes.into_iter().flatten() {
                    prop_assert!(!what.error.is_empty() && !what.code.is_empty());
                }
            }
        }
    }
}
