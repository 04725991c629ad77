//! One call to a model, as it is kept: the usage file's schema is this module.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::{key::KeyHash, object};

/// The version of the lines that this crate writes (`v`). A line without one is of the Go original.
pub(crate) const LINE_VERSION: u8 = 2;

/// A model that nobody named.
pub(crate) const UNKNOWN_MODEL: &str = "unknown";

/// One call to a model: who asked which model, what it cost in tokens, and how it ended.
///
/// Serialises to one line of the usage file and deserialises from one, the Go original's lines included.
/// Holds no prompt, no answer, no plain key, no error text and no query string.
///
/// ```
/// use tower_llm_usage::{Timestamp, UsageEvent};
///
/// let line = r#"{"timestamp":"2026-01-02T03:04:05+01:00","model":"gpt-4o","prompt_tokens":9,
///     "completion_tokens":12,"total_tokens":21,"status":200}"#;
/// let event: UsageEvent = serde_json::from_str(line)?;
/// assert_eq!(event.tokens.input, Some(9));
/// assert_eq!(event.timestamp.to_string(), "2026-01-02T02:04:05.000Z");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UsageEvent {
    /// When the request came in.
    pub timestamp: Timestamp,
    /// The model that answered, as the provider names it; `unknown` where nobody said.
    pub model: Cow<'static, str>,
    /// What was counted. In the file: `prompt_tokens`, `completion_tokens`, `total_tokens` and the optional counts.
    pub tokens: Tokens,
    /// HTTP status sent to the client; 499 when it left before there was one, 502 when the inner service failed.
    pub status: u16,
    /// The response's `x-request-id`, or the like, where there is one.
    pub request_id: Option<Cow<'static, str>>,
    /// SHA-256 of the client's key. In the file: `api_key_hash`.
    pub key: Option<KeyHash>,
    /// Unique to this event, so that an import never counts it twice. Lines of the original have none.
    pub id: Option<Cow<'static, str>>,
    /// OpenTelemetry's `gen_ai.provider.name`, such as `openai` or `gcp.gemini`.
    pub provider: Option<Cow<'static, str>>,
    /// OpenTelemetry's `gen_ai.operation.name`, such as `chat` or `embeddings`.
    pub operation: Option<Cow<'static, str>>,
    /// Method and path, without a query string.
    pub endpoint: Option<Cow<'static, str>>,
    /// The model that was asked for, where it is known and differs from the one that answered.
    pub request_model: Option<Cow<'static, str>>,
    /// The answer came as a stream of events.
    pub stream: Option<bool>,
    /// How good the counts are. `None` on lines of the original.
    pub usage: Option<UsageQuality>,
    /// How the response ended. `None` on lines of the original.
    pub end: Option<Ending>,
    /// From the request's arrival to the end of the response. In the file: `duration_ms`.
    pub duration: Option<Duration>,
    /// From the request's arrival to the first byte of the response's body. In the file: `ttft_ms`.
    pub time_to_first_byte: Option<Duration>,
    /// The provider's name for the kind of error, such as `overloaded_error`.
    pub error_type: Option<Cow<'static, str>>,
}

impl UsageEvent {
    /// An event of `model` at `timestamp`: status 200, nothing counted, nothing else known.
    pub fn new(timestamp: Timestamp, model: impl Into<Cow<'static, str>>) -> Self {
        let model = model.into();
        Self {
            timestamp,
            model: if model.is_empty() { Cow::Borrowed(UNKNOWN_MODEL) } else { model },
            tokens: Tokens::default(),
            status: 200,
            request_id: None,
            key: None,
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
        }
    }

    /// The call failed: an error status, or an error within the stream. A client that left is no error.
    pub fn is_error(&self) -> bool {
        EventRef::from(self).is_error()
    }

    /// The client left before the answer was complete.
    pub fn is_aborted(&self) -> bool {
        EventRef::from(self).is_aborted()
    }
}

/// Lines as `serde_json` makes them, which takes the writer several times as long.
impl EventRef<'_> {
    /// Writes the event to `line` as [`UsageEvent`]'s [`Serialize`] does, without an end of the line.
    pub(crate) fn write_line(&self, line: &mut Vec<u8>) {
        put(line, b"{\"timestamp\":\"");
        put(line, &self.timestamp.to_rfc3339());
        put(line, b"\",\"model\":");
        write_text(line, self.model);
        put_count(line, b",\"prompt_tokens\":", self.tokens.input);
        put_count(line, b",\"completion_tokens\":", self.tokens.output);
        put_count(line, b",\"total_tokens\":", self.tokens.total);
        put_count(line, b",\"status\":", Some(self.status.into()));
        put_text(line, b",\"request_id\":", self.request_id);
        if let Some(key) = self.key {
            put(line, b",\"api_key_hash\":\"");
            put(line, &key.to_hex());
            put(line, b"\"");
        }
        put_count(line, b",\"v\":", Some(LINE_VERSION.into()));
        put_text(line, b",\"id\":", self.id);
        put_text(line, b",\"provider\":", self.provider);
        put_text(line, b",\"operation\":", self.operation);
        put_text(line, b",\"endpoint\":", self.endpoint);
        put_text(line, b",\"request_model\":", self.request_model);
        match self.stream {
            Some(true) => put(line, b",\"stream\":true"),
            Some(false) => put(line, b",\"stream\":false"),
            None => {}
        }
        put_count_if_any(line, b",\"cache_read_tokens\":", self.tokens.cache_read);
        put_count_if_any(line, b",\"cache_write_tokens\":", self.tokens.cache_write);
        put_count_if_any(line, b",\"cache_write_1h_tokens\":", self.tokens.cache_write_1h);
        put_count_if_any(line, b",\"reasoning_tokens\":", self.tokens.reasoning);
        put_word(line, b",\"usage\":\"", self.usage.map(UsageQuality::word));
        put_word(line, b",\"end\":\"", self.end.map(Ending::word));
        put_millis(line, b",\"duration_ms\":", self.duration);
        put_millis(line, b",\"ttft_ms\":", self.time_to_first_byte);
        put_text(line, b",\"error_type\":", self.error_type);
        put(line, b"}");
    }
}

/// What has one length is a few moves, and not a call of what moves any length.
#[inline(always)]
fn put<const N: usize>(line: &mut Vec<u8>, piece: &[u8; N]) {
    line.extend_from_slice(piece);
}

#[inline(always)]
fn put_text<const N: usize>(line: &mut Vec<u8>, name: &[u8; N], text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        put(line, name);
        write_text(line, text);
    }
}

#[inline(always)]
fn put_count<const N: usize>(line: &mut Vec<u8>, name: &[u8; N], count: Option<u64>) {
    put(line, name);
    match count {
        Some(count) => write_count(line, count),
        None => put(line, b"null"),
    }
}

#[inline(always)]
fn put_count_if_any<const N: usize>(line: &mut Vec<u8>, name: &[u8; N], count: Option<u64>) {
    if count.is_some() {
        put_count(line, name, count);
    }
}

/// One that needs no escape.
#[inline(always)]
fn put_word<const N: usize>(line: &mut Vec<u8>, name: &[u8; N], word: Option<&str>) {
    if let Some(word) = word {
        put(line, name);
        line.extend_from_slice(word.as_bytes());
        put(line, b"\"");
    }
}

#[inline(always)]
fn put_millis<const N: usize>(line: &mut Vec<u8>, name: &[u8; N], time: Option<Duration>) {
    if let Some(time) = time {
        put(line, name);
        write_millis(line, time);
    }
}

/// With quotes, and escaped where that is needed.
fn write_text(line: &mut Vec<u8>, text: &str) {
    if first_to_escape(text.as_bytes()).is_some() {
        serde_json::to_writer(line, text).expect(TAKES_ALL);
        return;
    }
    put(line, b"\"");
    line.extend_from_slice(text.as_bytes());
    put(line, b"\"");
}

/// Where the first byte is that cannot stand in a JSON text as it is: a quote, a backslash, or less than a space.
#[inline]
pub(crate) fn first_to_escape(text: &[u8]) -> Option<usize> {
    // Eight bytes at a time. The lowest bit that is set is right; those above it may be carried.
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = |bytes: u64, n: u64| bytes.wrapping_sub(LOW * n) & !bytes & HIGH;
    let mut rest = text;
    let at = loop {
        let Some((first, behind)) = rest.split_first_chunk() else {
            // The last bytes of all.
            break rest.iter().position(|&c| c < 0x20 || c == b'"' || c == b'\\')?;
        };
        let bytes = u64::from_le_bytes(*first);
        let quote = below(bytes ^ (LOW * u64::from(b'"')), 1);
        let backslash = below(bytes ^ (LOW * u64::from(b'\\')), 1);
        let stops = quote | backslash | below(bytes, 0x20);
        if stops != 0 {
            break stops.trailing_zeros() as usize / 8;
        }
        rest = behind;
    };
    Some(text.len() - rest.len() + at)
}

const TAKES_ALL: &str = "a vector takes whatever is written to it";

fn write_count(line: &mut Vec<u8>, count: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
}

/// As the shortest text that is read as the same `f64`.
fn write_millis(line: &mut Vec<u8>, time: Duration) {
    let micros = time.as_micros();
    if micros >= 1_000_000_000_000_000 {
        // More digits than every number of them can be told by.
        serde_json::to_writer(line, &to_millis(time)).expect(TAKES_ALL);
        return;
    }
    let micros = micros as u64;
    write_count(line, micros / 1000);
    let rest = (micros % 1000) as u32;
    let [tenths, hundredths, thousandths] = [100, 10, 1].map(|power| b'0' + (rest / power % 10) as u8);
    match (hundredths, thousandths) {
        (b'0', b'0') => put(line, &[b'.', tenths]),
        (_, b'0') => put(line, &[b'.', tenths, hundredths]),
        _ => put(line, &[b'.', tenths, hundredths, thousandths]),
    }
}

/// A [`UsageEvent`] whose texts lie elsewhere: in one, or in the line that it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EventRef<'a> {
    pub(crate) timestamp: Timestamp,
    pub(crate) model: &'a str,
    pub(crate) tokens: Tokens,
    pub(crate) status: u16,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) key: Option<KeyHash>,
    pub(crate) id: Option<&'a str>,
    pub(crate) provider: Option<&'a str>,
    pub(crate) operation: Option<&'a str>,
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) request_model: Option<&'a str>,
    pub(crate) stream: Option<bool>,
    pub(crate) usage: Option<UsageQuality>,
    pub(crate) end: Option<Ending>,
    pub(crate) duration: Option<Duration>,
    pub(crate) time_to_first_byte: Option<Duration>,
    pub(crate) error_type: Option<&'a str>,
}

impl EventRef<'_> {
    /// [`UsageEvent::is_error`].
    pub(crate) fn is_error(&self) -> bool {
        match self.end {
            Some(Ending::UpstreamError | Ending::StreamError) => true,
            _ => self.status >= 400 && self.status != CLIENT_CLOSED_REQUEST,
        }
    }

    /// [`UsageEvent::is_aborted`].
    pub(crate) fn is_aborted(&self) -> bool {
        self.end == Some(Ending::ClientClosed)
    }

    #[cfg(test)]
    pub(crate) fn to_owned(self) -> UsageEvent {
        let own = |text: Option<&str>| text.map(|text| Cow::Owned(text.to_owned()));
        UsageEvent {
            tokens: self.tokens,
            status: self.status,
            request_id: own(self.request_id),
            key: self.key,
            id: own(self.id),
            provider: own(self.provider),
            operation: own(self.operation),
            endpoint: own(self.endpoint),
            request_model: own(self.request_model),
            stream: self.stream,
            usage: self.usage,
            end: self.end,
            duration: self.duration,
            time_to_first_byte: self.time_to_first_byte,
            error_type: own(self.error_type),
            ..UsageEvent::new(self.timestamp, self.model.to_owned())
        }
    }
}

impl<'a> From<&'a UsageEvent> for EventRef<'a> {
    fn from(event: &'a UsageEvent) -> Self {
        Self {
            timestamp: event.timestamp,
            model: &event.model,
            tokens: event.tokens,
            status: event.status,
            request_id: event.request_id.as_deref(),
            key: event.key,
            id: event.id.as_deref(),
            provider: event.provider.as_deref(),
            operation: event.operation.as_deref(),
            endpoint: event.endpoint.as_deref(),
            request_model: event.request_model.as_deref(),
            stream: event.stream,
            usage: event.usage,
            end: event.end,
            duration: event.duration,
            time_to_first_byte: event.time_to_first_byte,
            error_type: event.error_type.as_deref(),
        }
    }
}

/// What the writer can take in.
pub(crate) trait Show {
    /// Has `look` see it as an event, whose texts need not be anybody's own.
    fn show(self, look: impl FnOnce(EventRef<'_>));
}

impl Show for UsageEvent {
    fn show(self, look: impl FnOnce(EventRef<'_>)) {
        look(EventRef::from(&self));
    }
}

/// nginx's status for a client that left before there was an answer.
pub(crate) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Tokens of one call, by the rule of OpenTelemetry's GenAI conventions.
///
/// `None` is "the provider did not say", never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tokens {
    /// All input, cache reads and writes included (`prompt_tokens`).
    pub input: Option<u64>,
    /// All output, reasoning included (`completion_tokens`).
    pub output: Option<u64>,
    /// Input and output, or what the provider gave when it gave only a total (`total_tokens`).
    pub total: Option<u64>,
    /// The part of the input that was read from a cache.
    pub cache_read: Option<u64>,
    /// The part of the input that was written to a cache, for whatever time.
    pub cache_write: Option<u64>,
    /// The part of the cache writes that is kept for an hour.
    pub cache_write_1h: Option<u64>,
    /// The part of the output that the model spent on reasoning.
    pub reasoning: Option<u64>,
}

impl Tokens {
    /// The provider reported no count at all.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// How good the counts of an event are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsageQuality {
    /// The provider's final counts.
    Complete,
    /// Counts from before the end: the stream broke off, or the client left.
    Partial,
    /// The response carried no counts.
    Missing,
    /// The counts contradict each other; they are kept as given.
    Inconsistent,
    /// A count was too large to be one, or an event too large to be read.
    Overflow,
    /// The response was not what its format says.
    Malformed,
    /// The response could not be read: an encoding or format that is not known.
    Unsupported,
    /// A word that a later version wrote.
    #[serde(other)]
    Unknown,
}

impl UsageQuality {
    /// As in a line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Missing => "missing",
            Self::Inconsistent => "inconsistent",
            Self::Overflow => "overflow",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Unknown => "unknown",
        }
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// All of it was delivered.
    Complete,
    /// The client left before the end.
    ClientClosed,
    /// The inner service or its body failed.
    UpstreamError,
    /// The provider reported an error within a stream that began well.
    StreamError,
    /// A word that a later version wrote.
    #[serde(other)]
    Unknown,
}

impl Ending {
    /// As in a line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientClosed => "client_closed",
            Self::UpstreamError => "upstream_error",
            Self::StreamError => "stream_error",
            Self::Unknown => "unknown",
        }
    }
}

/// A moment in milliseconds since 1970 UTC, shown and read as RFC 3339.
///
/// ```
/// use tower_llm_usage::Timestamp;
///
/// let t: Timestamp = "2026-03-01T00:30:00.250+05:30".parse()?;
/// assert_eq!(t.to_string(), "2026-02-28T19:00:00.250Z");
/// # Ok::<_, tower_llm_usage::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00Z, the earliest that RFC 3339 can write.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// 9999-12-31T23:59:59.999Z, the latest that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Milliseconds since 1970 UTC, clamped to the years 0 to 9999.
    pub const fn from_unix_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970 UTC.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// RFC 3339 in UTC with exactly three fractional digits, as in the usage file.
    pub(crate) fn to_rfc3339(self) -> [u8; 24] {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        // After so many days, which are 400 years, the calendar repeats.
        const ERA: u32 = 146_097;
        // Since 1 March of the year -400, and years from March to February: a leap day is the last of one.
        let days = (self.0.div_euclid(DAY) + 719_468 + i64::from(ERA)) as u32;
        let (era, day) = (days / ERA, days % ERA);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (next, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
        let year = era * 400 + year + next - 400;
        let millis = self.0.rem_euclid(DAY) as u32;

        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, number: u32| {
            text[at] = b'0' + (number / 10) as u8;
            text[at + 1] = b'0' + (number % 10) as u8;
        };
        put(0, year / 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, millis / 3_600_000);
        put(14, millis / 60_000 % 60);
        put(17, millis / 1000 % 60);
        put(20, millis % 1000 / 10);
        text[22] = b'0' + (millis % 10) as u8;
        text
    }

    /// The system clock's time.
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_rfc3339()).map_err(|_| fmt::Error)?)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| InvalidTimestamp)?
            .checked_to_offset(UtcOffset::UTC)
            .ok_or(InvalidTimestamp)?;
        let millis = time.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).map(Self::from_unix_millis).map_err(|_| InvalidTimestamp)
    }
}

/// The text is no RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 time")
    }
}

impl std::error::Error for InvalidTimestamp {}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An event as a line spells it. Borrowed for writing, owned after reading.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    timestamp: Timestamp,
    #[serde(default)]
    model: Cow<'a, str>,
    // Always there, as in the original's lines: `null` is "not reported", which the original read as 0.
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient_key")]
    api_key_hash: Option<KeyHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_model: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_read_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write_1h_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usage: Option<UsageQuality>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Ending>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttft_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_type: Option<Cow<'a, str>>,
}

/// A hash that is none (the original wrote whatever it was given) is left out; the counts beside it still count.
fn lenient_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyHash>, D::Error> {
    Ok(Option::<Cow<'de, str>>::deserialize(deserializer)?.and_then(|hex| hex.parse().ok()))
}

/// To the microsecond: shorter lines, and no clock here is better.
fn to_millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

fn from_millis(millis: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(millis / 1e3).ok()
}

fn borrow<'a>(text: &'a Option<Cow<'static, str>>) -> Option<Cow<'a, str>> {
    text.as_deref().filter(|text| !text.is_empty()).map(Cow::Borrowed)
}

fn own(text: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    text.filter(|text| !text.is_empty()).map(|text| Cow::Owned(text.into_owned()))
}

impl Serialize for UsageEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            timestamp: self.timestamp,
            model: Cow::Borrowed(&self.model),
            prompt_tokens: self.tokens.input,
            completion_tokens: self.tokens.output,
            total_tokens: self.tokens.total,
            status: self.status,
            request_id: borrow(&self.request_id),
            api_key_hash: self.key,
            v: Some(LINE_VERSION),
            id: borrow(&self.id),
            provider: borrow(&self.provider),
            operation: borrow(&self.operation),
            endpoint: borrow(&self.endpoint),
            request_model: borrow(&self.request_model),
            stream: self.stream,
            cache_read_tokens: self.tokens.cache_read,
            cache_write_tokens: self.tokens.cache_write,
            cache_write_1h_tokens: self.tokens.cache_write_1h,
            reasoning_tokens: self.tokens.reasoning,
            usage: self.usage,
            end: self.end,
            duration_ms: self.duration.map(to_millis),
            ttft_ms: self.time_to_first_byte.map(to_millis),
            error_type: borrow(&self.error_type),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UsageEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line: Line<'de> = object::deserialize(deserializer)?;
        Ok(Self {
            tokens: Tokens {
                input: line.prompt_tokens,
                output: line.completion_tokens,
                total: line.total_tokens,
                cache_read: line.cache_read_tokens,
                cache_write: line.cache_write_tokens,
                cache_write_1h: line.cache_write_1h_tokens,
                reasoning: line.reasoning_tokens,
            },
            status: line.status,
            request_id: own(line.request_id),
            key: line.api_key_hash,
            id: own(line.id),
            provider: own(line.provider),
            operation: own(line.operation),
            endpoint: own(line.endpoint),
            request_model: own(line.request_model),
            stream: line.stream,
            usage: line.usage,
            end: line.end,
            duration: line.duration_ms.and_then(from_millis),
            time_to_first_byte: line.ttft_ms.and_then(from_millis),
            error_type: own(line.error_type),
            ..Self::new(line.timestamp, line.model.into_owned())
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{
        option::{of, weighted},
        prelude::*,
        sample::select,
    };

    use super::*;

    /// Texts as they come: mostly plain, some that JSON has to escape, some beyond ASCII.
    fn text() -> impl Strategy<Value = Cow<'static, str>> {
        prop_oneof![
            6 => "[a-zA-Z0-9 ./:{}_-]{0,40}",
            1 => "[\"\\\\/\u{0}-\u{1f}a-z\u{7f}]{0,12}",
            1 => any::<String>(),
        ]
        .prop_map(Cow::Owned)
    }

    fn count() -> impl Strategy<Value = Option<u64>> {
        of(prop_oneof![4 => 0..1_000_000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX), 1 => Just(0)])
    }

    /// Mostly as a clock measures it, to the microsecond and finer.
    fn duration() -> impl Strategy<Value = Option<Duration>> {
        weighted(
            0.8,
            prop_oneof![
                4 => (0..3_600_000_000_u64).prop_map(Duration::from_micros),
                2 => (0..2_000_000_u64).prop_map(Duration::from_millis),
                1 => (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns)),
                1 => (0..2_000_000_u64, 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns)),
            ],
        )
    }

    /// Any event that there can be.
    pub(crate) fn any_event() -> impl Strategy<Value = UsageEvent> {
        use {Ending as E, UsageQuality as Q};
        let millis = prop_oneof![4 => 1_600_000_000_000..1_900_000_000_000_i64, 1 => any::<i64>()];
        let qualities =
            [Q::Complete, Q::Partial, Q::Missing, Q::Inconsistent, Q::Overflow, Q::Malformed, Q::Unsupported];
        let endings = [E::Complete, E::ClientClosed, E::UpstreamError, E::StreamError];
        (
            (millis, text(), any::<u16>(), of(any::<[u8; 8]>())),
            (count(), count(), count(), count(), count(), count(), count()),
            (of(text()), of(text()), of(text()), of(text()), of(text()), of(text()), of(text())),
            (
                of(any::<bool>()),
                of(select(qualities.to_vec())),
                of(select(endings.to_vec())),
                duration(),
                duration(),
            ),
        )
            .prop_map(|(first, counts, texts, rest)| {
                let (millis, model, status, key) = first;
                let mut event = UsageEvent::new(Timestamp::from_unix_millis(millis), model);
                event.status = status;
                event.key = key.map(|key| KeyHash::of(&key));
                let tokens = &mut event.tokens;
                (tokens.input, tokens.output, tokens.total, tokens.cache_read, ..) = counts;
                (.., tokens.cache_write, tokens.cache_write_1h, tokens.reasoning) = counts;
                (event.request_id, event.id, event.provider, event.operation, ..) = texts;
                (.., event.endpoint, event.request_model, event.error_type) = texts;
                (event.stream, event.usage, event.end, event.duration, event.time_to_first_byte) = rest;
                event
            })
    }

    proptest! {
        #[test]
        fn a_line_is_what_serde_json_would_write(event in any_event()) {
            let mut line = Vec::new();
            EventRef::from(&event).write_line(&mut line);
            let expected = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(String::from_utf8(line).unwrap(), expected);
        }

        #[test]
        fn a_duration_is_written_as_the_shortest_float(micros in any::<u64>(), digits in 0..20_u32) {
            let time = Duration::from_micros(micros / 10_u64.saturating_pow(digits));
            let mut line = Vec::new();
            write_millis(&mut line, time);
            prop_assert_eq!(String::from_utf8(line).unwrap(), serde_json::to_string(&to_millis(time)).unwrap());
        }

        #[test]
        fn a_timestamp_is_shown_as_it_is_read(millis in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let timestamp = Timestamp::from_unix_millis(millis);
            let text = timestamp.to_string();
            prop_assert!(text.len() == 24 && text.ends_with('Z'), "{}", text);
            prop_assert_eq!(text.parse(), Ok(timestamp));
        }
    }

    #[test]
    fn the_words_of_a_line_are_those_that_are_read() {
        use {Ending as E, UsageQuality as Q};
        for quality in [
            Q::Complete,
            Q::Partial,
            Q::Missing,
            Q::Inconsistent,
            Q::Overflow,
            Q::Malformed,
            Q::Unsupported,
            Q::Unknown,
        ] {
            assert_eq!(serde_json::to_value(quality).unwrap(), quality.word());
        }
        for end in [E::Complete, E::ClientClosed, E::UpstreamError, E::StreamError, E::Unknown] {
            assert_eq!(serde_json::to_value(end).unwrap(), end.word());
        }
    }

    #[test]
    fn each_day_of_400_years_is_read_as_it_is_written() {
        // After these, the calendar repeats.
        for day in 0..146_097 {
            let timestamp = Timestamp::from_unix_millis(Timestamp::MIN.0 + day * 86_400_000);
            assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        }
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }
}
