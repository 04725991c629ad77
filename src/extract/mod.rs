//! Reads model and token counts out of a response body as it passes: bytes in, facts out.
//!
//! ```text
//! pieces ─► decoder ─► framing (events, lines, messages) ─► scanner (wanted paths) ─► response (merge, rule)
//! ```
//!
//! Nothing here knows of HTTP, copies a body, or fails: what cannot be read is a fact, too. The same body gives the
//! same facts however it is cut, and what is held of it is an unfinished event at most.

#[cfg(any(test, fuzzing))]
pub(crate) mod check;
mod decode;
mod dialect;
mod framing;
mod merge;
mod scan;
mod simd;
mod text;
mod trie;

use std::{borrow::Cow, io, mem, sync::LazyLock};

pub(crate) use dialect::Dialect;
use memchr::memchr;

use self::{
    decode::Decoder,
    framing::{EventStream, Sse},
    merge::{Reading, Response, Said},
    scan::Scanner,
    trie::ExpectedId,
};
use crate::{
    event::{Tokens, UsageQuality},
    texts::Texts,
};

/// What a response's `Content-Type` says of its body. The body itself has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-sent events.
    EventStream,
    /// A JSON document a line.
    Lines,
    /// JSON.
    Json,
    /// AWS' binary event stream.
    EventMessages,
    /// Nothing, or nothing that is known.
    Unknown,
}

impl Format {
    pub(crate) fn of(content_type: &[u8]) -> Self {
        match content_type {
            b"application/json" => Self::Json,
            b"text/event-stream" | b"text/event-stream; charset=utf-8" => Self::EventStream,
            _ => Self::of_spelled_otherwise(content_type),
        }
    }

    fn of_spelled_otherwise(content_type: &[u8]) -> Self {
        let parameters = memchr(b';', content_type).unwrap_or(content_type.len());
        let essence = content_type[..parameters].trim_ascii();
        let is = |known: &str| essence.eq_ignore_ascii_case(known.as_bytes());
        let ends = |suffix: &str| {
            let start = essence.len().saturating_sub(suffix.len());
            essence[start..].eq_ignore_ascii_case(suffix.as_bytes())
        };
        if is("text/event-stream") {
            Self::EventStream
        } else if is("application/vnd.amazon.eventstream") {
            Self::EventMessages
        } else if [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/stream+json",
        ]
        .into_iter()
        .any(is)
        {
            Self::Lines
        } else if is("application/json") || ends("+json") {
            Self::Json
        } else {
            Self::Unknown
        }
    }
}

/// Reads one response.
#[derive(Debug)]
pub(crate) struct Extractor {
    source: Source,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are plain, and these are to do without a box")]
#[derive(Debug)]
enum Source {
    Plain(Reader),
    Encoded(Option<Decoder>),
    /// In an encoding that is not known. Seldom enough that no other response has to have room for the difference.
    Unknown(Box<Reader>),
}

/// Of nothing, to stand where another one is taken from.
impl Default for Extractor {
    fn default() -> Self {
        Self { source: Source::Plain(Reader::empty()) }
    }
}

impl Extractor {
    /// Of a body to which `codings`, tokens of `Content-Encoding`, were applied in this order.
    pub(crate) fn encoded<'a>(self, codings: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut codings = codings.into_iter().filter(|coding| !coding.is_empty()).peekable();
        let source = match self.source {
            Source::Plain(reader) if codings.peek().is_some() => match Decoder::new(codings, reader) {
                Ok(decoder) => Source::Encoded(Some(decoder)),
                Err(reader) => Source::Unknown(reader),
            },
            source => source,
        };
        Self { source }
    }

    /// Reads the next piece of the body.
    #[inline]
    pub(crate) fn feed(&mut self, input: &[u8]) {
        match &mut self.source {
            Source::Plain(Reader { framing: Framing::Sse(sse), documents, .. }) => sse.feed(input, documents),
            Source::Plain(reader) => reader.feed(input),
            Source::Encoded(decoder) => {
                if let Some(decoder) = decoder {
                    decoder.feed(input);
                }
            }
            Source::Unknown(_) => {}
        }
    }

    /// The response's head says that it reports a failure, and what the provider calls it.
    pub(crate) fn note_error(&mut self, name: &[u8]) {
        match &mut self.source {
            Source::Plain(reader) => reader.documents.response.note_error(name),
            Source::Unknown(reader) => reader.documents.response.note_error(name),
            Source::Encoded(Some(decoder)) => decoder.note_error(name),
            Source::Encoded(None) => {}
        }
    }

    /// Says that a piece of the body could not be looked at: what comes now is nothing to rely on.
    pub(crate) fn skip(&mut self) {
        self.finish();
        if let Source::Plain(reader) = &mut self.source {
            let reader = mem::replace(reader, Reader::empty());
            self.source = Source::Unknown(Box::new(reader));
        }
    }

    /// Says that the body ends here, whole or not.
    pub(crate) fn finish(&mut self) {
        if let Source::Encoded(decoder) = &mut self.source
            && let Some(decoder) = decoder.take()
        {
            self.source = Source::Plain(decoder.finish());
        }
        if let Source::Plain(reader) = &mut self.source {
            reader.finish();
        }
    }

    /// The provider has said that the answer is at its end. Known after [`finish`](Self::finish).
    pub(crate) fn is_terminal(&self) -> bool {
        self.reader().is_some_and(Reader::is_terminal)
    }

    /// The provider has reported a failure within the body. Known after [`finish`](Self::finish).
    pub(crate) fn is_error(&self) -> bool {
        self.reader().is_some_and(|reader| reader.documents.response.is_error())
    }

    /// Counts have been found. Known after [`finish`](Self::finish).
    pub(crate) fn has_usage(&self) -> bool {
        self.reader().is_some_and(|reader| reader.documents.response.has_usage())
    }

    /// The answer came as events. Known after [`finish`](Self::finish).
    pub(crate) fn is_stream(&self) -> bool {
        self.reader().is_some_and(Reader::is_stream)
    }

    /// The texts that the call has, and what there is to judge. Known after [`finish`](Self::finish), and once.
    /// `is_whole`: the body came to its proper end.
    pub(crate) fn take(&mut self, is_whole: bool) -> (Texts, Answer) {
        match &mut self.source {
            Source::Plain(reader) => reader.take(is_whole),
            Source::Unknown(reader) => {
                let (texts, Answer { said, arrival }) = reader.take(is_whole);
                (texts, Answer { said: said.unsupported(), arrival })
            }
            // Finished, it is plain.
            Source::Encoded(_) => Reader::empty().take(is_whole),
        }
    }

    fn reader(&self) -> Option<&Reader> {
        match &self.source {
            Source::Plain(reader) => Some(reader),
            Source::Unknown(reader) => Some(reader),
            Source::Encoded(_) => None,
        }
    }
}

/// What is known of a body before it is read.
#[derive(Debug)]
pub(crate) struct Unread {
    format: Format,
    hint: Option<Dialect>,
    texts: Texts,
}

impl Unread {
    /// Makes what all that is read is read by, if it is not there yet.
    pub(crate) fn prepare() {
        LazyLock::force(&dialect::PATHS);
    }

    /// `hint` is the dialect of the endpoint, where it is known.
    #[inline(always)]
    pub(crate) fn new(format: Format, hint: Option<Dialect>) -> Self {
        Self { format, hint, texts: Texts::default() }
    }

    /// What was called, before all else: the texts of a call lie together.
    // Most need not be told.
    #[inline(never)]
    pub(crate) fn set_target(&mut self, method: &str, path: &str) {
        self.texts.set_target(method, path);
    }

    /// The name that the request goes by.
    pub(crate) fn set_request_id(&mut self, request_id: &[u8]) {
        self.texts.set_request_id(request_id);
    }

    /// Says what the response's `Content-Type` says.
    pub(crate) fn expect(&mut self, format: Format) {
        self.format = format;
    }

    /// All of it: this one is not to be used any more.
    pub(crate) fn take(&mut self) -> Self {
        Self { texts: mem::take(&mut self.texts), ..*self }
    }

    /// What reads it, of which nothing has come yet.
    pub(crate) fn begin(self) -> Extractor {
        Extractor { source: Source::Plain(Reader::new(self)) }
    }

    /// Reads it, from its beginning to its end.
    pub(crate) fn read(self, body: &[u8]) -> Extractor {
        let mut reader = Reader::new(self);
        reader.feed(body);
        reader.finish();
        Extractor { source: Source::Plain(reader) }
    }
}

/// Reads a body that is not encoded.
#[derive(Debug)]
struct Reader {
    framing: Framing,
    documents: Documents,
}

#[derive(Debug)]
enum Framing {
    /// Nothing but white space so far, of what is announced as this.
    Undecided(Format),
    Sse(Sse),
    Lines,
    Json,
    /// Seldom enough that no other response has to have room for it.
    Messages(Box<EventStream>),
    /// Nothing that can be read.
    Foreign,
}

impl Reader {
    fn new(Unread { format, hint, texts }: Unread) -> Self {
        Self { framing: Framing::Undecided(format), documents: Documents::new(hint, texts) }
    }

    /// Of nothing, to stand where another one is taken from.
    fn empty() -> Self {
        Self::new(Unread::new(Format::Unknown, None))
    }

    fn feed(&mut self, mut input: &[u8]) {
        if let Framing::Undecided(format) = self.framing {
            let Some(start) = input.iter().position(|byte| !is_blank(*byte)) else { return };
            input = &input[start..];
            self.framing = self.framing_of(input[0], format);
        }
        match &mut self.framing {
            Framing::Sse(sse) => sse.feed(input, &mut self.documents),
            Framing::Lines => self.documents.feed_lines(input),
            Framing::Json => self.documents.feed(input),
            Framing::Messages(messages) => messages.feed(input, &mut self.documents),
            Framing::Undecided(_) | Framing::Foreign => {}
        }
    }

    /// Which framing a body has that begins with `first`: content types lie.
    fn framing_of(&mut self, first: u8, format: Format) -> Framing {
        match (first, format) {
            (b'{' | b'[', Format::Lines) => Framing::Lines,
            (b'{' | b'[', _) => Framing::Json,
            // The length of a message: none is so long that its first byte is used.
            (0, _) => {
                self.documents.response.defer();
                Framing::Messages(Box::new(EventStream::new(format == Format::EventMessages)))
            }
            (_, Format::EventStream) | (b'd' | b'e' | b'i' | b'r' | b':', _) => {
                Framing::Sse(Sse::new(self.documents.response.hint()))
            }
            _ => Framing::Foreign,
        }
    }

    /// The body could not be decoded to its end: what was read of it is nothing to rely on.
    fn fail(&mut self, error: &io::Error) {
        self.framing = Framing::Foreign;
        let mut texts = self.documents.response.take_texts();
        texts.clear_answer();
        self.documents = Documents::new(None, texts);
        self.documents.response.said.failure = Some(match error.kind() {
            io::ErrorKind::FileTooLarge => UsageQuality::Overflow,
            _ => UsageQuality::Malformed,
        });
    }

    fn finish(&mut self) {
        let mut is_whole = true;
        match &mut self.framing {
            Framing::Sse(sse) => sse.finish(&mut self.documents),
            Framing::Messages(messages) => is_whole = messages.finish(),
            Framing::Undecided(_) | Framing::Lines | Framing::Json | Framing::Foreign => {}
        }
        is_whole &= self.documents.finish();
        self.documents.response.said.is_cut |= !is_whole;
    }

    /// Bytes that are held of the response, the state itself included.
    #[cfg(any(test, fuzzing))]
    fn held(&self) -> usize {
        let by_framing = match &self.framing {
            Framing::Sse(sse) => sse.held(),
            Framing::Messages(messages) => messages.held(),
            Framing::Undecided(_) | Framing::Lines | Framing::Json | Framing::Foreign => 0,
        };
        size_of::<Extractor>() + by_framing + self.documents.scanner.held() + self.documents.response.held()
    }

    fn is_terminal(&self) -> bool {
        self.documents.response.is_terminal() || matches!(&self.framing, Framing::Sse(sse) if sse.is_done())
    }

    fn is_stream(&self) -> bool {
        match self.framing {
            Framing::Sse(_) | Framing::Lines | Framing::Messages(_) => true,
            Framing::Json | Framing::Undecided(_) | Framing::Foreign => self.documents.response.is_of_many(),
        }
    }

    #[inline(always)]
    fn take(&mut self, is_whole: bool) -> (Texts, Answer) {
        let arrival = self.arrival(is_whole);
        let response = &mut self.documents.response;
        // First, since whether the name of an error counts is among what is said.
        let texts = response.take_texts();
        (texts, Answer { said: response.take_said(), arrival })
    }

    fn arrival(&self, is_whole: bool) -> Arrival {
        Arrival {
            is_foreign: match &self.framing {
                Framing::Foreign => true,
                Framing::Messages(messages) => !messages.is_known(),
                Framing::Undecided(_) | Framing::Sse(_) | Framing::Lines | Framing::Json => false,
            },
            is_empty: matches!(self.framing, Framing::Undecided(_)),
            is_whole,
        }
    }
}

/// What an answer has said of tokens, and how it came: all that its counts and their quality are made of, which is for
/// the writer's thread to do.
#[derive(Debug)]
pub(crate) struct Answer {
    said: Said,
    arrival: Arrival,
}

impl Answer {
    /// The wire format that the counts have.
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        self.said.dialect
    }

    /// The counts, and what they are worth. `announced` is what the response's head says of the tokens, where the body
    /// does not.
    pub(crate) fn judge(&self, announced: Option<&Tokens>) -> (Tokens, UsageQuality) {
        let (tokens, quality) = self.arrival.judge(&self.said);
        match announced {
            Some(announced) => with_announced(tokens, quality, announced),
            None => (tokens, quality),
        }
    }
}

/// How a body came.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// It is nothing that can be read.
    is_foreign: bool,
    /// There was nothing but white space.
    is_empty: bool,
    is_whole: bool,
}

impl Arrival {
    fn judge(self, said: &Said) -> (Tokens, UsageQuality) {
        let (tokens, doubt) = said.tokens();
        let is_broken = said.is_malformed || self.is_whole && said.is_cut;
        let quality = match (said.failure, doubt) {
            (Some(failure), _) => failure,
            (None, _) if self.is_foreign => UsageQuality::Unsupported,
            (None, Some(flaw @ (UsageQuality::Overflow | UsageQuality::Malformed))) => flaw,
            (None, _) if is_broken && (tokens.is_unknown() || said.is_half) => UsageQuality::Malformed,
            (None, _) if self.is_empty => UsageQuality::Missing,
            (None, _) if !self.is_whole || said.is_half => UsageQuality::Partial,
            (None, Some(doubt)) => doubt,
            (None, None) if tokens.is_unknown() => UsageQuality::Missing,
            (None, None) => UsageQuality::Complete,
        };
        (tokens, quality)
    }
}

/// What may stand before the first byte by which a framing is known: white space, and a byte order mark in as many
/// pieces as it likes.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0xEF | 0xBB | 0xBF)
}

/// Adds what the response's head says of the tokens, where the body does not.
fn with_announced(mut tokens: Tokens, quality: UsageQuality, announced: &Tokens) -> (Tokens, UsageQuality) {
    // The parts go with the whole: the body's own input says what of it was cached.
    if tokens.input.is_none() {
        tokens.input = announced.input;
        tokens.cache_read = announced.cache_read;
        tokens.cache_write = announced.cache_write;
    }
    tokens.output = tokens.output.or(announced.output);
    if let Some((input, output)) = tokens.input.zip(tokens.output) {
        tokens.total = Some(input + output);
    }
    let is_complete = matches!(quality, UsageQuality::Complete | UsageQuality::Missing);
    (tokens, if is_complete && !tokens.is_unknown() { UsageQuality::Complete } else { quality })
}

/// A model's or provider's name as it is kept: trimmed, of limited length, without what cannot be seen.
pub(crate) fn clean_name(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= merge::MAX_MODEL && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return name;
    }
    Cow::Owned(text::clean(&name, merge::MAX_MODEL))
}

/// The documents of one response, read one after the other.
#[derive(Debug)]
struct Documents {
    scanner: Scanner,
    response: Response,
}

impl Documents {
    #[inline(always)]
    fn new(hint: Option<Dialect>, texts: Texts) -> Self {
        let first = hint.map_or(ExpectedId::NONE, |hint| dialect::PATHS.first(hint));
        Self { scanner: Scanner::new(first), response: Response::new(hint, texts) }
    }

    fn has_model(&self) -> bool {
        self.response.has_model()
    }

    fn is_near_end(&self) -> bool {
        self.response.is_near_end()
    }

    /// Reads on: documents one behind the other, or as elements of an array.
    fn feed(&mut self, input: &[u8]) {
        let mut reading = Reading::new(&mut self.response);
        self.scanner.feed(reading.trie(), input, &mut reading);
    }

    /// Reads documents of a line each: one that is broken does not spoil the next.
    fn feed_lines(&mut self, input: &[u8]) {
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            self.feed(line);
            if self.scanner.is_broken() && line.ends_with(b"\n") {
                self.end();
            }
        }
    }

    /// What has been read of the document is not what was sent.
    fn spoil(&mut self) {
        self.response.said.is_malformed = true;
        self.scanner.reset();
        self.response.spoil();
    }

    /// The document has to be at its end here.
    fn end(&mut self) {
        // As a rule it is.
        if !self.scanner.is_between_documents() {
            self.response.said.is_malformed |= !self.finish();
        }
    }

    /// Says that nothing more comes of the document. Returns whether it was at its end.
    fn finish(&mut self) -> bool {
        self.scanner.finish(&mut Reading::new(&mut self.response));
        let is_whole = self.scanner.is_between_documents();
        if !is_whole {
            self.response.said.is_malformed |= self.scanner.is_broken();
            self.response.cut(self.scanner.open());
        }
        self.scanner.reset();
        is_whole
    }
}

#[cfg(test)]
mod tests;
