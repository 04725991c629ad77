//! What a query string asks for.

use std::{borrow::Cow, time::Duration};

use crate::Timestamp;

/// The question to `metrics`.
#[derive(Debug, PartialEq)]
pub(super) struct Question<'a> {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) model: Option<Cow<'a, str>>,
}

/// Why a question cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misunderstood {
    From,
    To,
    Reversed,
}

/// What is asked about when nothing is said: a day.
const DEFAULT_RANGE: Duration = Duration::from_secs(24 * 60 * 60);

impl<'a> Question<'a> {
    pub(super) fn parse(query: &'a str, now: Timestamp) -> Result<Self, Misunderstood> {
        let value = |name| parameter(query, name).filter(|value| !value.is_empty());
        let time = |name, error| value(name).map(|text| time(&text).ok_or(error)).transpose();
        let from = time("from", Misunderstood::From)?;
        let to = time("to", Misunderstood::To)?.unwrap_or(now);
        let from = from.unwrap_or_else(|| {
            Timestamp::from_unix_millis(to.unix_millis().saturating_sub(DEFAULT_RANGE.as_millis() as i64))
        });
        if to < from {
            return Err(Misunderstood::Reversed);
        }
        Ok(Self { from, to, model: value("model") })
    }
}

/// A time in RFC 3339. In a query a `+` is a space unless it is escaped, which is easily forgotten.
fn time(text: &str) -> Option<Timestamp> {
    text.replace(' ', "+").parse().ok()
}

/// The first value of a parameter, with its escapes resolved.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
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
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn range(query: &str) -> Result<(String, String), Misunderstood> {
        Question::parse(query, at("2026-03-02T12:00:00Z")).map(|q| (q.from.to_string(), q.to.to_string()))
    }

    /// R4
    #[test]
    fn a_range_is_a_day_unless_it_is_said() {
        for (query, from, to) in [
            ("", "2026-03-01T12:00:00.000Z", "2026-03-02T12:00:00.000Z"),
            ("from=&to=", "2026-03-01T12:00:00.000Z", "2026-03-02T12:00:00.000Z"),
            ("from=2026-03-02T00:00:00Z", "2026-03-02T00:00:00.000Z", "2026-03-02T12:00:00.000Z"),
            ("to=2026-01-02T00:00:00Z", "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"),
            (
                "from=2026-03-01T10:00:00%2B02:00&to=2026-03-01T10:00:00.250%2B02:00",
                "2026-03-01T08:00:00.000Z",
                "2026-03-01T08:00:00.250Z",
            ),
            ("to=0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z", "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(range(query), Ok((from.into(), to.into())), "{query}");
        }
    }

    /// R4
    #[test]
    fn a_plus_that_was_not_escaped_is_one_all_the_same() {
        for plus in ["+", "%2B", "%2b", "%20", " "] {
            let query = format!("from=2026-03-01T10:00:00{plus}02:00&to=2026-03-01T10:00:00{plus}02:00");
            assert_eq!(range(&query).unwrap().0, "2026-03-01T08:00:00.000Z", "{query}");
        }
    }

    /// R5
    #[test]
    fn what_is_no_range_is_said_to_be_none() {
        for (query, error) in [
            ("from=yesterday", Misunderstood::From),
            ("from=2026-03-01", Misunderstood::From),
            ("from=%FF%FE", Misunderstood::From),
            ("to=2026-13-01T00:00:00Z", Misunderstood::To),
            ("to=1", Misunderstood::To),
            ("from=2026-03-02T00:00:00.001Z&to=2026-03-02T00:00:00Z", Misunderstood::Reversed),
            ("from=2026-03-03T00:00:00Z", Misunderstood::Reversed),
        ] {
            assert_eq!(range(query), Err(error), "{query}");
        }
        assert!(range("from=2026-03-02T00:00:00Z&to=2026-03-02T00:00:00Z").is_ok());
    }

    /// R6
    #[test]
    fn a_model_is_taken_as_it_is_written() {
        for (query, expected) in [
            ("model=gpt-4o", Some("gpt-4o")),
            ("model=openai%2Fgpt%2B4o", Some("openai/gpt+4o")),
            ("model=two+words", Some("two words")),
            ("model=", None),
            ("model", None),
            ("Model=x", None),
            ("x=1&model=a&model=b", Some("a")),
        ] {
            let question = Question::parse(query, Timestamp::now()).unwrap();
            assert_eq!(question.model.as_deref(), expected, "{query}");
        }
    }
}
