//! The lines that this crate and the Go original write, read in one go.
//!
//! Both write their fields in one order and without white space, and few of their texts need an escape. A line like
//! that is read here, from its first byte to its last, without looking back and without making a text of its own. Any
//! other line is declined, right or wrong, and is `serde_json`'s to judge. So this may decline whatever it likes, but
//! what it reads has to be exactly what `serde_json` reads: the tests hold the two against each other.

use std::time::Duration;

use crate::{
    Ending, KeyHash, Timestamp, Tokens, UsageQuality,
    event::{EventRef, UNKNOWN_MODEL, first_to_escape},
};

/// Reads lines, fastest if one is of the same minute as the one before.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// `YYYY-MM-DDTHH:MM` as the last line has it, and its first millisecond if that were UTC.
    minute: [u8; 16],
    start: i64,
}

impl Parser {
    /// The event of the line that `text` begins with, and the bytes of the line without its end. `None` says nothing
    /// about the line.
    #[inline]
    pub(super) fn event<'a>(&mut self, text: &'a str) -> Option<(EventRef<'a>, usize)> {
        let mut line = Cursor::new(text);

        line.expect(b"{\"timestamp\":\"")?;
        let timestamp = self.timestamp(&mut line)?;
        line.expect(b",\"model\":\"")?;
        let model = line.text()?.unwrap_or(UNKNOWN_MODEL);
        line.expect(b",\"prompt_tokens\":")?;
        let input = line.count_or_null()?;
        line.expect(b",\"completion_tokens\":")?;
        let output = line.count_or_null()?;
        line.expect(b",\"total_tokens\":")?;
        let total = line.count_or_null()?;
        line.expect(b",\"status\":")?;
        let status = u16::try_from(line.count()?).ok()?;

        let request_id = line.field(b",\"request_id\":\"", Cursor::text)?.flatten();
        let key = line.field(b",\"api_key_hash\":\"", Cursor::key)?;

        let mut event = EventRef {
            timestamp,
            model,
            tokens: Tokens { input, output, total, ..Tokens::default() },
            status,
            request_id,
            key,
            id: None,
            provider: None,
            operation: None,
            endpoint: None,
            request_model: None,
            stream: None,
            usage: None,
            end: None,
            duration: None,
            time_to_first_byte: None,
            error_type: None,
        };
        if line.skip(b",\"v\":2") {
            event.id = line.field(b",\"id\":\"", Cursor::text)?.flatten();
            event.provider = line.field(b",\"provider\":\"", Cursor::text)?.flatten();
            event.operation = line.field(b",\"operation\":\"", Cursor::text)?.flatten();
            event.endpoint = line.field(b",\"endpoint\":\"", Cursor::text)?.flatten();
            event.request_model = line.field(b",\"request_model\":\"", Cursor::text)?.flatten();
            event.stream = line.field(b",\"stream\":", Cursor::flag)?;
            event.tokens.cache_read = line.field(b",\"cache_read_tokens\":", Cursor::count)?;
            event.tokens.cache_write = line.field(b",\"cache_write_tokens\":", Cursor::count)?;
            event.tokens.cache_write_1h = line.field(b",\"cache_write_1h_tokens\":", Cursor::count)?;
            event.tokens.reasoning = line.field(b",\"reasoning_tokens\":", Cursor::count)?;
            event.usage = line.field(b",\"usage\":\"", Cursor::quality)?;
            event.end = line.field(b",\"end\":\"", Cursor::ending)?;
            event.duration = line.field(b",\"duration_ms\":", Cursor::millis)?;
            event.time_to_first_byte = line.field(b",\"ttft_ms\":", Cursor::millis)?;
            event.error_type = line.field(b",\"error_type\":\"", Cursor::text)?.flatten();
        }
        line.expect(b"}")?;
        line.is_at_end().then(|| (event, line.at()))
    }

    /// RFC 3339, with the quote behind it. Leap seconds are declined, as are a `t` or a `z`.
    #[inline]
    fn timestamp(&mut self, line: &mut Cursor<'_>) -> Option<Timestamp> {
        let (minute, rest) = line.rest.split_first_chunk()?;
        line.rest = rest;
        if *minute != self.minute {
            self.start = start_of_minute(minute)?;
            self.minute = *minute;
        }

        line.expect(b":")?;
        let second = line.two_digits().filter(|&second| second < 60)?;
        let fraction = if line.skip(b".") { line.thousandths(9)? } else { 0 };
        let offset = if line.skip(b"Z") { 0 } else { line.offset()? };
        line.expect(b"\"")?;

        let millis = self.start + 1000 * i64::from(second) + fraction as i64 - 60_000 * offset;
        let timestamp = Timestamp::from_unix_millis(millis);
        // Beyond the years that can be written, an offset may still be right.
        (timestamp.unix_millis() == millis).then_some(timestamp)
    }
}

/// The first millisecond of `YYYY-MM-DDTHH:MM`.
fn start_of_minute(text: &[u8; 16]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2] = *text else {
        return None;
    };
    let number = |tens, ones| Some(i64::from(digit(tens)? * 10 + digit(ones)?));
    let (year, month, day) = (number(y1, y2)? * 100 + number(y3, y4)?, number(m1, m2)?, number(d1, d2)?);
    let (hour, minute) = (number(h1, h2)?, number(n1, n2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => return None,
    };
    if day < 1 || day > days_of_month || hour > 23 || minute > 59 {
        return None;
    }
    // Years from March to February: a leap day is the last, and what lies before a month never depends on one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_month = (153 * month + 2) / 5;
    // From 0000-03-01 to 1970-01-01 it is 719,468 days.
    let days = before_year + before_month + (day - 1) - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000)
}

#[inline(always)]
fn digit(c: u8) -> Option<u8> {
    let digit = c.wrapping_sub(b'0');
    (digit < 10).then_some(digit)
}

/// What is left of a line. What cannot be read is `None`, and what is then left is no matter any more.
struct Cursor<'a> {
    text: &'a str,
    /// The end of `text`.
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn new(text: &'a str) -> Self {
        Self { text, rest: text.as_bytes() }
    }

    /// Bytes of `text` that were read.
    #[inline]
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    #[inline(always)]
    fn skip<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((first, rest)) if first == literal => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn expect<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        self.skip(literal).then_some(())
    }

    /// The value behind `name` if that is what comes next.
    #[inline(always)]
    fn field<T, const N: usize>(
        &mut self,
        name: &[u8; N],
        value: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.skip(name) { value(self).map(Some) } else { Some(None) }
    }

    /// A text without escapes, and the quote behind it. An empty one is none.
    #[inline]
    fn text(&mut self) -> Option<Option<&'a str>> {
        let start = self.at();
        let end = start + first_to_escape(self.rest)?;
        let text = self.text.get(start..end)?;
        self.rest = self.text.as_bytes().get(end..)?;
        self.expect(b"\"")?;
        Some(Some(text).filter(|text| !text.is_empty()))
    }

    /// Digits, at least one, and the number that they are. `None` if they are too many to be sure that it fits.
    #[inline(always)]
    fn digits(&mut self) -> Option<(usize, u64)> {
        let (mut rest, mut number) = (self.rest, 0_u64);
        while let [c, behind @ ..] = rest
            && let Some(digit) = digit(*c)
        {
            number = number.wrapping_mul(10).wrapping_add(digit.into());
            rest = behind;
        }
        let digits = self.rest.len() - rest.len();
        self.rest = rest;
        (0 < digits && digits < 20).then_some((digits, number))
    }

    /// A whole number as JSON has it, whatever comes behind it.
    #[inline(always)]
    fn whole(&mut self) -> Option<u64> {
        let is_zero = self.rest.first() == Some(&b'0');
        let (digits, number) = self.digits()?;
        (digits == 1 || !is_zero).then_some(number)
    }

    /// A whole number that is written as one.
    #[inline]
    fn count(&mut self) -> Option<u64> {
        let number = self.whole()?;
        (!matches!(self.rest, [b'.' | b'e' | b'E', ..])).then_some(number)
    }

    #[inline]
    fn count_or_null(&mut self) -> Option<Option<u64>> {
        if self.skip(b"null") { Some(None) } else { self.count().map(Some) }
    }

    #[inline]
    fn flag(&mut self) -> Option<bool> {
        if self.skip(b"true") { Some(true) } else { self.skip(b"false").then_some(false) }
    }

    /// Milliseconds to the microsecond.
    #[inline]
    fn millis(&mut self) -> Option<Duration> {
        let whole = self.whole()?;
        let fraction = if self.skip(b".") { self.thousandths(3)? } else { 0 };
        // Below that a f64 is so fine that it is of no consequence whether one was in between.
        let is_exact = whole < 1_000_000_000 && !matches!(self.rest, [b'e' | b'E', ..]);
        is_exact.then(|| Duration::from_micros(whole * 1000 + fraction))
    }

    #[inline]
    fn key(&mut self) -> Option<KeyHash> {
        let (hex, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        let key = KeyHash::from_hex(hex)?;
        self.expect(b"\"")?;
        Some(key)
    }

    #[inline]
    fn quality(&mut self) -> Option<UsageQuality> {
        Some(match self.text()?? {
            "complete" => UsageQuality::Complete,
            "partial" => UsageQuality::Partial,
            "missing" => UsageQuality::Missing,
            "inconsistent" => UsageQuality::Inconsistent,
            "overflow" => UsageQuality::Overflow,
            "malformed" => UsageQuality::Malformed,
            "unsupported" => UsageQuality::Unsupported,
            _ => return None,
        })
    }

    #[inline]
    fn ending(&mut self) -> Option<Ending> {
        Some(match self.text()?? {
            "complete" => Ending::Complete,
            "client_closed" => Ending::ClientClosed,
            "upstream_error" => Ending::UpstreamError,
            "stream_error" => Ending::StreamError,
            _ => return None,
        })
    }

    #[inline(always)]
    fn two_digits(&mut self) -> Option<u8> {
        let ([tens, ones], rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(digit(*tens)? * 10 + digit(*ones)?)
    }

    /// The first three digits behind a point, of which there are `most`, nine or fewer.
    #[inline(always)]
    fn thousandths(&mut self, most: usize) -> Option<u64> {
        let (digits, number) = self.digits().filter(|(digits, _)| *digits <= most)?;
        const POWERS: [u64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
        Some(match digits {
            ..3 => number * POWERS[3 - digits],
            _ => number / POWERS[digits - 3],
        })
    }

    /// Minutes east of UTC.
    #[inline]
    fn offset(&mut self) -> Option<i64> {
        let sign = if self.skip(b"+") { 1 } else { self.expect(b"-").map(|()| -1)? };
        let hours = self.two_digits().filter(|&hours| hours < 24)?;
        self.expect(b":")?;
        let minutes = self.two_digits().filter(|&minutes| minutes < 60)?;
        Some(sign * (i64::from(hours) * 60 + i64::from(minutes)))
    }

    /// The line ends here.
    #[inline]
    fn is_at_end(&self) -> bool {
        matches!(self.rest, [] | [b'\n', ..] | [b'\r', b'\n', ..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option::of, prelude::*, sample::Index};

    use super::*;
    use crate::{UsageEvent, event::tests::any_event};

    /// What the parser makes of the line that `text` begins with, after it was held against what `serde_json` makes
    /// of it.
    fn read(parser: &mut Parser, text: &str) -> Option<UsageEvent> {
        let (event, len) = parser.event(text)?;
        let line = text.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').filter(|_| text.len() > line.len()).unwrap_or(line);
        assert_eq!(len, line.len(), "{text:?}");
        let expected = serde_json::from_str::<UsageEvent>(line);
        let expected = expected.unwrap_or_else(|error| panic!("{line:?} is none: {error}"));
        assert_eq!(event, EventRef::from(&expected), "{line:?}");
        Some(expected)
    }

    fn reads(line: &str) -> bool {
        read(&mut Parser::default(), line).is_some()
    }

    const ORIGINAL: &str = r#"{"timestamp":"2026-01-02T03:04:05.678901+02:00","model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"status":200,"request_id":"r1","api_key_hash":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#;
    const OURS: &str = r#"{"timestamp":"2026-02-02T02:40:00.250Z","model":"claude-é","prompt_tokens":9,"completion_tokens":null,"total_tokens":21,"status":200,"request_id":"r1","api_key_hash":"9F86D081884C7D659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","v":2,"id":"e1","provider":"anthropic","operation":"chat","endpoint":"POST /v1/messages","request_model":"claude","stream":true,"cache_read_tokens":0,"cache_write_tokens":18446744073709551,"cache_write_1h_tokens":1,"reasoning_tokens":3,"usage":"partial","end":"client_closed","duration_ms":1234.567,"ttft_ms":0.5,"error_type":"overloaded_error"}"#;

    /// As the Go original writes one: RFC 3339 with up to nine digits and any offset, fields left out if empty.
    fn original() -> impl Strategy<Value = String> {
        let time = (0..=9999_u16, 1..=12_u8, 1..=31_u8, 0..=24_u8, 0..=60_u8, 0..=60_u8);
        let offset = of((any::<bool>(), 0..=24_u8, 0..=60_u8));
        let counts = (0..100_000_u64, 0..100_000_u64, 0..200_000_u64, 0..600_u16);
        (time, "(\\.[0-9]{1,10})?", offset, "[a-z0-9.-]{0,30}", counts, of("[a-z0-9]{1,12}"), of("[0-9a-f]{63,65}"))
            .prop_map(|((y, m, d, h, n, s), fraction, offset, model, (input, output, total, status), id, key)| {
                let offset = offset.map_or("Z".to_owned(), |(east, hours, minutes)| {
                    format!("{}{hours:02}:{minutes:02}", if east { '+' } else { '-' })
                });
                let id = id.map_or(String::new(), |id| format!(r#","request_id":"{id}""#));
                let key = key.map_or(String::new(), |key| format!(r#","api_key_hash":"{key}""#));
                format!(
                    r#"{{"timestamp":"{y:04}-{m:02}-{d:02}T{h:02}:{n:02}:{s:02}{fraction}{offset}","model":"{model}","prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"status":{status}{id}{key}}}"#
                )
            })
    }

    fn a_line() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => any_event().prop_map(|event| serde_json::to_string(&event).unwrap()),
            1 => original(),
            1 => Just(OURS.to_owned()),
            1 => Just(ORIGINAL.to_owned()),
        ]
    }

    /// What can happen to a line.
    #[derive(Clone, Debug)]
    enum Accident {
        /// Some of it is lost.
        Cut(Index, usize),
        /// Something gets in.
        Insert(Index, String),
        /// A character becomes another.
        Replace(Index, char),
        /// Two fields change places.
        Swap(Index, Index),
        /// A field comes twice.
        Repeat(Index, Index),
        /// A value becomes another.
        Value(Index, String),
    }

    fn an_accident() -> impl Strategy<Value = Accident> {
        let value = r#"-?[0-9]{1,22}(\.[0-9]{0,5})?([eE][+-]?[0-9]{1,3})?|null|true|"[a-z"\\]{0,9}"|\[\]|\{\}|0[0-9]|""#;
        let index = any::<Index>;
        prop_oneof![
            (index(), 1..40_usize).prop_map(|(at, n)| Accident::Cut(at, n)),
            (index(), r#"[ \t\r\n"\\,:{}0-9eE.+-]{1,3}|\\u00[0-9a-f]{2}|\\n|,"[a-z_]{1,9}":[0-9]"#)
                .prop_map(|(at, text)| Accident::Insert(at, text)),
            (index(), any::<char>()).prop_map(|(at, c)| Accident::Replace(at, c)),
            (index(), "[ -~]").prop_map(|(at, c)| Accident::Replace(at, c.chars().next().unwrap_or(' '))),
            (index(), index()).prop_map(|(a, b)| Accident::Swap(a, b)),
            (index(), index()).prop_map(|(a, b)| Accident::Repeat(a, b)),
            (index(), value).prop_map(|(at, value)| Accident::Value(at, value)),
        ]
    }

    impl Accident {
        fn befall(&self, line: &str) -> String {
            let mut chars = line.chars().collect::<Vec<_>>();
            // No text of ours has such a thing in it, but for generated ones, where it is an accident, too.
            let mut fields = line.split(",\"").map(str::to_owned).collect::<Vec<_>>();
            match self {
                Self::Cut(at, n) => {
                    let at = at.index(chars.len() + 1);
                    chars.drain(at..(at + n).min(chars.len()));
                    return chars.into_iter().collect();
                }
                Self::Insert(at, text) => {
                    let at = at.index(chars.len() + 1);
                    chars.splice(at..at, text.chars());
                    return chars.into_iter().collect();
                }
                Self::Replace(at, c) => {
                    let at = at.index(chars.len().max(1));
                    chars.splice(at..(at + 1).min(chars.len()), [*c]);
                    return chars.into_iter().collect();
                }
                Self::Swap(a, b) => {
                    let (a, b) = (a.index(fields.len()), b.index(fields.len()));
                    fields.swap(a, b);
                }
                Self::Repeat(from, to) => {
                    let field = fields[from.index(fields.len())].clone();
                    fields.insert(to.index(fields.len() + 1), field);
                }
                Self::Value(at, value) => {
                    let at = at.index(fields.len());
                    if let Some((name, _)) = fields[at].split_once(':') {
                        let end = if at + 1 == fields.len() { "}" } else { "" };
                        fields[at] = format!("{name}:{value}{end}");
                    }
                }
            }
            fields.join(",\"")
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_the_writer_writes_is_read_unless_it_has_an_escape_or_an_odd_time(event in any_event()) {
            let line = serde_json::to_string(&event).unwrap();
            let is_odd = |time: Option<Duration>| time.is_some_and(|time| time.as_secs() > 900_000);
            let is_large = |count: Option<u64>| count.is_some_and(|count| count >= 10_000_000_000_000_000_000);
            let Tokens { input, output, total, cache_read, cache_write, cache_write_1h, reasoning } = event.tokens;
            let counts = [input, output, total, cache_read, cache_write, cache_write_1h, reasoning];
            let may_be_declined = line.contains('\\')
                || is_odd(event.duration)
                || is_odd(event.time_to_first_byte)
                || counts.into_iter().any(is_large);
            prop_assert!(reads(&line) || may_be_declined, "{}", line);
        }

        #[test]
        fn what_the_original_writes_is_read_or_declined_but_not_misread(line in original()) {
            let is_event = serde_json::from_str::<UsageEvent>(&line).is_ok();
            // A hash that is none, more than nine digits, a leap second, or a year too far.
            let is_odd = ["9999-12-31", "0000-01-01", ":60"].iter().any(|odd| line.contains(odd));
            let key = line.split_once(r#"_hash":""#).map(|(_, key)| key.len());
            let digits = line.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
            prop_assert!(reads(&line) == is_event || is_odd || key.is_some_and(|key| key != 66) || digits > 9);
        }

        #[test]
        fn whatever_happens_to_lines_they_are_read_right_or_declined(
            lines in prop::collection::vec((a_line(), prop::collection::vec(an_accident(), 0..3)), 1..6),
            end in prop::sample::select(&["", "\n", "\r\n", "\r", "\n{", " "][..]),
        ) {
            // One parser, since it remembers.
            let mut parser = Parser::default();
            for (line, accidents) in lines {
                let line = accidents.iter().fold(line, |line, accident| accident.befall(&line));
                read(&mut parser, &(line + end));
            }
        }

        #[test]
        fn any_text_is_read_right_or_declined(text in any::<String>()) {
            reads(&text);
            reads(&format!(r#"{{"timestamp":"2026-02-02T02:40:00.250Z","model":"{text}","prompt_tokens":1,"completion_tokens":1,"total_tokens":1,"status":200}}"#));
        }

        #[test]
        fn a_time_to_the_microsecond_is_what_a_float_makes_of_it(
            whole in prop_oneof![0..1_000_000_000_u64, 0..100_000_u64, Just(999_999_999)],
            fraction in "(\\.[0-9]{1,3})?",
        ) {
            let line = OURS.replace("1234.567", &format!("{whole}{fraction}"));
            prop_assert!(reads(&line), "{}", line);
        }
    }

    #[test]
    fn both_shapes_are_read() {
        assert!(reads(ORIGINAL) && reads(OURS));
        for end in ["\n", "\r\n", "\n\n", "\nx"] {
            assert!(reads(&format!("{ORIGINAL}{end}")) && reads(&format!("{OURS}{end}")));
        }
    }

    #[test]
    fn every_day_of_five_hundred_years_is_the_right_one() {
        let mut parser = Parser::default();
        let first: Timestamp = "1899-12-31T23:59:59.999Z".parse().unwrap();
        for day in 0..500 * 365 {
            let at = Timestamp::from_unix_millis(first.unix_millis() + day * 86_400_000);
            let line = OURS.replace("2026-02-02T02:40:00.250Z", &at.to_string());
            assert_eq!(parser.event(&line).map(|(event, _)| event.timestamp), Some(at));
        }
    }

    #[test]
    fn days_and_times_that_there_are_not_are_declined() {
        for (is_one, time) in [
            (true, "2024-02-29T00:00:00Z"),
            (false, "2026-02-29T00:00:00Z"),
            (true, "2000-02-29T00:00:00Z"),
            (false, "1900-02-29T00:00:00Z"),
            (false, "2026-04-31T00:00:00Z"),
            (false, "2026-00-10T00:00:00Z"),
            (false, "2026-13-10T00:00:00Z"),
            (false, "2026-01-00T00:00:00Z"),
            (false, "2026-01-01T24:00:00Z"),
            (false, "2026-01-01T00:60:00Z"),
            (false, "2016-12-31T23:59:60Z"),
            (false, "2026-01-01T00:00:00+24:00"),
            (false, "2026-01-01T00:00:00+00:60"),
            (true, "2026-01-01T00:00:00-23:59"),
            (true, "2026-01-01T00:00:00.1+00:00"),
            (true, "2026-01-01T00:00:00.123456789-00:00"),
            (false, "2026-01-01T00:00:00."),
            (false, "2026-01-01T00:00:00.Z"),
            (false, "2026-01-01t00:00:00Z"),
            (false, "0000-01-01T00:00:00+00:01"),
            (false, "9999-12-31T23:59:59-00:01"),
        ] {
            assert_eq!(reads(&OURS.replace("2026-02-02T02:40:00.250Z", time)), is_one, "{time}");
        }
    }
}
