//! Times and ranges of time, in the spellings that people use.

use std::time::Duration;

use jiff::{civil::Date, tz::TimeZone};

use super::{Misunderstood, Pairs};
use crate::Timestamp;

/// A range of time, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manage) struct Range {
    pub(in crate::manage) from: Timestamp,
    pub(in crate::manage) to: Timestamp,
    /// Asked again later, the same words mean another range.
    pub(in crate::manage) moves: bool,
}

/// What is asked about when nothing is said.
const DEFAULT_LENGTH: Duration = Duration::from_secs(24 * 60 * 60);

/// What `from` and `to` may be, for people.
pub(super) const TIMES: [&str; 6] = [
    "RFC 3339",
    "2026-03-01",
    "1772355600 (s or ms since 1970)",
    "now",
    "now-24h (m, h, d, w)",
    "today, yesterday",
];

/// What `range` may be, for people.
pub(super) const RANGES: [&str; 10] = [
    "24h (a number of m, h, d, w)",
    "today",
    "yesterday",
    "week",
    "last-week",
    "month",
    "last-month",
    "year",
    "last-year",
    "all",
];

impl Range {
    /// The range that `from`, `to` and `range` ask for. `first` is the time of the first event there is.
    pub(super) fn of(
        pairs: &Pairs<'_>,
        now: Timestamp,
        zone: &TimeZone,
        first: Option<Timestamp>,
    ) -> Result<Self, Misunderstood> {
        let (from, to) = (pairs.one("from"), pairs.one("to"));
        if let Some(range) = pairs.one("range") {
            if from.is_some() || to.is_some() {
                return Err(Misunderstood::conflict("range", "'range' does not go with 'from' and 'to'"));
            }
            return named(range, now, zone, first).ok_or_else(|| pairs.wrong("range"));
        }
        let span = |name, text: Option<&str>| {
            text.map(|text| span(text, now, zone).ok_or_else(|| pairs.wrong(name))).transpose()
        };
        let from = span("from", from)?;
        let to = span("to", to)?;
        let moves = to.is_none_or(|to| to.moves) || from.is_some_and(|from| from.moves);
        let to = to.map_or(now, |to| to.last);
        let from = from.map_or_else(|| before(to, DEFAULT_LENGTH), |from| from.first);
        if to < from {
            return Err(Misunderstood::reversed());
        }
        Ok(Self { from, to, moves })
    }

    /// The range of the same length that ends where this one begins.
    pub(in crate::manage) fn previous(self) -> Self {
        let (from, to) = (self.from.unix_millis(), self.to.unix_millis());
        Self {
            from: Timestamp::from_unix_millis(from - (to - from) - 1),
            to: Timestamp::from_unix_millis(from - 1),
            moves: self.moves,
        }
    }
}

/// What a spelling of a time stands for: a moment, or a day as a whole.
#[derive(Clone, Copy)]
struct Span {
    first: Timestamp,
    last: Timestamp,
    moves: bool,
}

fn span(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Span> {
    let moment = |at, moves| Some(Span { first: at, last: at, moves });
    let day = |date: Date, moves| Some(Span { first: start(zone, date)?, last: end(zone, date)?, moves });
    // In a query a `+` is a space unless it is escaped, which is easily forgotten.
    if let Ok(at) = text.replace(' ', "+").parse() {
        return moment(at, false);
    }
    match text {
        "now" => return moment(now, true),
        "today" => return day(today(zone, now)?, true),
        "yesterday" => return day(today(zone, now)?.yesterday().ok()?, true),
        _ => {}
    }
    if let Some(ago) = text.strip_prefix("now-") {
        return moment(before(now, length(ago)?), true);
    }
    if let Some(date) = date(text) {
        return day(date, false);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse::<i64>().ok()?;
    // Seconds up to the year 5138 and from the year -1199 on; milliseconds beyond, which is from 1973 on.
    let millis = if number.unsigned_abs() < 100_000_000_000 { number * 1000 } else { number };
    let at = Timestamp::from_unix_millis(millis);
    if at.unix_millis() == millis { moment(at, false) } else { None }
}

fn named(text: &str, now: Timestamp, zone: &TimeZone, first: Option<Timestamp>) -> Option<Range> {
    let today = today(zone, now)?;
    let until_now = |from: Date| Some((start(zone, from)?, now));
    let yesterday = |date: Date| date.yesterday().ok();
    let week =
        |date: Date| date.checked_sub(jiff::Span::new().days(date.weekday().to_monday_zero_offset())).ok();
    let whole = |from: Date, behind: Date| Some((start(zone, from)?, end(zone, yesterday(behind)?)?));
    let (from, to) = match text {
        "today" => until_now(today)?,
        "yesterday" => whole(yesterday(today)?, today)?,
        "week" => until_now(week(today)?)?,
        "last-week" => whole(week(yesterday(week(today)?)?)?, week(today)?)?,
        "month" => until_now(today.first_of_month())?,
        "last-month" => whole(yesterday(today.first_of_month())?.first_of_month(), today.first_of_month())?,
        "year" => until_now(today.first_of_year())?,
        "last-year" => whole(yesterday(today.first_of_year())?.first_of_year(), today.first_of_year())?,
        "all" => (first.map_or(now, |first| first.min(now)), now),
        _ => (before(now, length(text)?), now),
    };
    // By the clock's will `now` may lie before a day that begins later than it should.
    Some(Range { from: from.min(to), to, moves: true })
}

/// `24h`: a number of minutes, hours, days of 24 hours, or weeks of 7 such days. At most a century.
fn length(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=100 * 366 * 24 * 60 * 60).contains(&seconds).then(|| Duration::from_secs(seconds))
}

fn before(at: Timestamp, length: Duration) -> Timestamp {
    Timestamp::from_unix_millis(at.unix_millis().saturating_sub(length.as_millis() as i64))
}

/// `2026-03-01`.
fn date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i16>().ok())?
    };
    Date::new(number(0..4)?, number(5..7)? as i8, number(8..10)? as i8).ok()
}

fn today(zone: &TimeZone, now: Timestamp) -> Option<Date> {
    let now = jiff::Timestamp::from_millisecond(now.unix_millis()).ok()?;
    Some(zone.to_datetime(now).date())
}

/// The first millisecond of a day.
fn start(zone: &TimeZone, date: Date) -> Option<Timestamp> {
    // Where the clocks jump over midnight, the day begins where they land.
    let start = zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(Timestamp::from_unix_millis(start.as_millisecond()))
}

/// The last millisecond of a day.
fn end(zone: &TimeZone, date: Date) -> Option<Timestamp> {
    let next = date.tomorrow().ok().and_then(|date| start(zone, date));
    Some(next.map_or(Timestamp::MAX, |next| Timestamp::from_unix_millis(next.unix_millis() - 1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manage::query::tests::RANGE;

    const NOW: &str = "2026-03-29T12:30:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn range_in(zone: &str, query: &str) -> Result<Range, Misunderstood> {
        let pairs = Pairs::parse(query, &RANGE)?;
        Range::of(&pairs, at(NOW), &TimeZone::get(zone).unwrap(), Some(at("2026-01-01T00:00:00Z")))
    }

    fn range(query: &str) -> Result<(String, String), Misunderstood> {
        range_in("UTC", query).map(|range| (range.from.to_string(), range.to.to_string()))
    }

    /// R4
    #[test]
    fn a_range_is_a_day_unless_it_is_said() {
        for (query, from, to) in [
            ("", "2026-03-28T12:30:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("from=&to=", "2026-03-28T12:30:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("from=2026-03-02T00:00:00Z", "2026-03-02T00:00:00.000Z", "2026-03-29T12:30:00.000Z"),
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

    #[test]
    fn a_time_has_many_spellings() {
        for (text, from, to) in [
            ("2026-03-01", "2026-03-01T00:00:00.000Z", "2026-03-01T23:59:59.999Z"),
            ("1772355600", "2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.000Z"),
            ("1772355600250", "2026-03-01T09:00:00.250Z", "2026-03-01T09:00:00.250Z"),
            ("0", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"),
            ("-1", "1969-12-31T23:59:59.000Z", "1969-12-31T23:59:59.000Z"),
            ("now", "2026-03-29T12:30:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("now-90m", "2026-03-29T11:00:00.000Z", "2026-03-29T11:00:00.000Z"),
            ("now-24h", "2026-03-28T12:30:00.000Z", "2026-03-28T12:30:00.000Z"),
            ("now-2w", "2026-03-15T12:30:00.000Z", "2026-03-15T12:30:00.000Z"),
            ("today", "2026-03-29T00:00:00.000Z", "2026-03-29T23:59:59.999Z"),
            ("yesterday", "2026-03-28T00:00:00.000Z", "2026-03-28T23:59:59.999Z"),
        ] {
            let query = format!("from={text}&to={text}");
            assert_eq!(range(&query), Ok((from.into(), to.into())), "{text}");
        }
    }

    /// Three of these days are no days of 24 hours, and one zone keeps a quarter of an hour for itself.
    #[test]
    fn a_day_is_one_of_the_zone() {
        for (zone, query, from, to) in [
            (
                "Europe/Berlin",
                "from=2026-03-29&to=2026-03-29",
                "2026-03-28T23:00:00Z",
                "2026-03-29T21:59:59.999Z",
            ),
            ("Europe/Berlin", "range=today", "2026-03-28T23:00:00Z", NOW),
            ("Europe/Berlin", "range=yesterday", "2026-03-27T23:00:00Z", "2026-03-28T22:59:59.999Z"),
            (
                "America/New_York",
                "from=2025-11-02&to=2025-11-02",
                "2025-11-02T04:00:00Z",
                "2025-11-03T04:59:59.999Z",
            ),
            ("Asia/Kathmandu", "range=month", "2026-02-28T18:15:00Z", NOW),
            (
                "America/Sao_Paulo",
                "from=2018-11-04&to=2018-11-04",
                "2018-11-04T03:00:00Z",
                "2018-11-05T01:59:59.999Z",
            ),
            ("Pacific/Auckland", "range=today", "2026-03-29T11:00:00Z", NOW),
        ] {
            let range = range_in(zone, query).unwrap();
            assert_eq!((range.from, range.to), (at(from), at(to)), "{zone} {query}");
        }
    }

    #[test]
    fn a_range_has_many_names() {
        for (name, from, to) in [
            ("15m", "2026-03-29T12:15:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("6h", "2026-03-29T06:30:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("30d", "2026-02-27T12:30:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("today", "2026-03-29T00:00:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("week", "2026-03-23T00:00:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("last-week", "2026-03-16T00:00:00.000Z", "2026-03-22T23:59:59.999Z"),
            ("month", "2026-03-01T00:00:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("last-month", "2026-02-01T00:00:00.000Z", "2026-02-28T23:59:59.999Z"),
            ("year", "2026-01-01T00:00:00.000Z", "2026-03-29T12:30:00.000Z"),
            ("last-year", "2025-01-01T00:00:00.000Z", "2025-12-31T23:59:59.999Z"),
            ("all", "2026-01-01T00:00:00.000Z", "2026-03-29T12:30:00.000Z"),
        ] {
            assert_eq!(range(&format!("range={name}")), Ok((from.into(), to.into())), "{name}");
        }
    }

    /// R5
    #[test]
    fn what_is_no_range_is_said_to_be_none() {
        for (query, code) in [
            ("from=tomorrow", "invalid_from"),
            ("from=2026-02-30", "invalid_from"),
            ("from=2026-3-01", "invalid_from"),
            ("from=%FF%FE", "invalid_from"),
            ("from=now-", "invalid_from"),
            ("from=now-1y", "invalid_from"),
            ("from=now-99999999999999999999d", "invalid_from"),
            ("from=--1", "invalid_from"),
            ("to=2026-13-01T00:00:00Z", "invalid_to"),
            ("to=1e3", "invalid_to"),
            ("to=9223372036854775807", "invalid_to"),
            ("range=1y", "invalid_range"),
            ("range=0h", "invalid_range"),
            ("range=h", "invalid_range"),
            ("range=+1h", "invalid_range"),
            ("range=1h&from=now-2h", "conflicting_parameters"),
            ("from=2026-03-02T00:00:00.001Z&to=2026-03-02T00:00:00Z", "invalid_range"),
            ("from=2026-03-30T00:00:00Z", "invalid_range"),
        ] {
            assert_eq!(range(query).unwrap_err().code, code, "{query}");
        }
        assert!(range("from=2026-03-02T00:00:00Z&to=2026-03-02T00:00:00Z").is_ok());
    }

    #[test]
    fn a_range_moves_if_the_clock_moves_it() {
        for (query, moves) in [
            ("", true),
            ("from=2026-03-01", true),
            ("from=2026-03-01&to=2026-03-02", false),
            ("from=now-1h&to=2026-03-30", true),
            ("range=yesterday", true),
            ("from=0&to=1772355600", false),
        ] {
            assert_eq!(range_in("UTC", query).unwrap().moves, moves, "{query}");
        }
    }

    #[test]
    fn the_previous_range_is_as_long_and_ends_where_this_one_begins() {
        let range = range_in("UTC", "from=2026-03-10&to=2026-03-11").unwrap();
        assert_eq!(range.previous().from, at("2026-03-08T00:00:00Z"));
        assert_eq!(range.previous().to, at("2026-03-09T23:59:59.999Z"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_none(
            from in prop_oneof![".{0,30}", "-?[0-9]{0,20}", "now[-+ ][0-9]{0,20}[a-z]{0,2}", "[0-9]{4}-[0-9]{2}-[0-9]{2}"],
            range in prop_oneof![".{0,8}", "[0-9]{0,20}[mhdw]"],
            zone in prop::sample::select(vec!["UTC", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo"]),
        ) {
            let escape = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            for query in [
                format!("from={}", escape(&from)),
                format!("to={}", escape(&from)),
                format!("from={}", from),
                format!("range={}", escape(&range)),
            ] {
                if let Ok(range) = range_in(zone, &query) {
                    prop_assert!(range.from <= range.to);
                    let before = range.previous();
                    prop_assert!(before.from <= before.to || before.to == Timestamp::MIN);
                }
            }
        }
    }
}
