//! Server-sent events, by the grammar of <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! Most events of a stream carry nothing but text. Where the endpoint is known, a look for a few needles decides which
//! ones are worth reading; the others are never taken apart. What is held is the event that has not ended yet, up to
//! [`MAX_HELD`] bytes; a larger one is read as it passes.

use memchr::{memchr2, memrchr2};

use crate::extract::{
    Dialect, Documents,
    simd::{BLOCK, Block, Simd, vectorized},
};

/// Bytes of an unfinished event that are kept until it is whole. With all else that is held of a response, they stay
/// below 64 KiB, also while they move from half the room to all of it.
const MAX_HELD: usize = 40 << 10;

/// Events that are read, needles or not, until one names the model.
const MODEL_EVENTS: u8 = 16;

/// The lines that carry documents.
const DATA: &[u8] = b"data";

/// What ends a stream of OpenAI's.
const DONE: &[u8] = b"[DONE]";

/// Between two pieces of a stream.
#[derive(Debug)]
pub(in crate::extract) struct Sse {
    mode: Mode,
    /// The beginning of an event, while `Mode::Holding`.
    held: Vec<u8>,
    lines: Lines,
    /// The needles tell which events are worth reading. Where nobody knows what to expect, all are.
    has_needles: bool,
    /// A model may give up and another one take over, and the event says so that has it.
    has_stand_ins: bool,
    /// Events come with keys of needles that have no value.
    has_nulls: bool,
    /// Events read in the hope of a model.
    looked: u8,
    /// The last event with data was `[DONE]`.
    is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Between two events.
    Between,
    /// In an event whose beginning is held.
    Holding,
    /// In an event too large to be held.
    Passing,
}

impl Sse {
    pub(in crate::extract) fn new(hint: Option<Dialect>) -> Self {
        Self {
            mode: Mode::Between,
            held: Vec::new(),
            lines: Lines::new(),
            has_needles: hint.is_some_and(Dialect::has_needle),
            has_stand_ins: hint == Some(Dialect::Anthropic),
            has_nulls: false,
            looked: 0,
            is_done: false,
        }
    }

    /// Every event is worth a look at the moment.
    fn reads_all(&self, documents: &Documents) -> bool {
        !self.has_needles || documents.is_near_end() || self.wants_model(documents)
    }

    fn wants_model(&self, documents: &Documents) -> bool {
        !documents.has_model() && self.looked < MODEL_EVENTS
    }

    /// The stream has said that it is at its end.
    pub(in crate::extract) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(in crate::extract) fn feed(&mut self, mut input: &[u8], documents: &mut Documents) {
        if self.passes_over(input, documents) {
            return;
        }
        match self.mode {
            Mode::Between => {
                if let Some(document) = only_document(input) {
                    return self.read_only(document, documents);
                }
            }
            Mode::Holding => match self.complete(input, documents) {
                Some(end) => input = &input[end..],
                None => return,
            },
            Mode::Passing => match self.pass(input, documents) {
                Some(end) => input = &input[end..],
                None => return,
            },
        }
        self.between(input, documents);
    }

    /// Passes over a piece as most are: a few whole events, at the first look without anything to find in them, and
    /// at the end of the last one a JSON object.
    #[inline]
    fn passes_over(&mut self, input: &[u8], documents: &Documents) -> bool {
        let is_passed = self.mode == Mode::Between
            && input.len() <= MAX_FIRST_LOOK
            && (input.ends_with(b"}\n\n") || input.ends_with(b"}\r\n\r\n"))
            && !self.reads_all(documents)
            && !self.may_have_needle(input);
        if is_passed {
            self.is_done = false;
        }
        is_passed
    }

    /// Reads the document of a piece that is nothing but an event, if it may be worth it.
    fn read_only(&mut self, document: &[u8], documents: &mut Documents) {
        self.is_done = false;
        if self.reads_all(documents) || self.has_needle(document) {
            self.looked += u8::from(self.wants_model(documents));
            self.read_document(document, documents);
        }
    }

    fn read_document(&mut self, document: &[u8], documents: &mut Documents) {
        self.is_done = false;
        documents.feed(document);
        documents.end();
    }

    /// An event may be worth reading. A long one has its usage at the end, as a rule.
    fn has_needle(&self, event: &[u8]) -> bool {
        let end = event.len().saturating_sub(MAX_FIRST_LOOK);
        // Not at the very beginning of the end: a backslash might stand before it.
        end > 0 && self.needle(&event[end..]).is_some_and(|at| at > 0) || self.needle(event).is_some()
    }

    /// Where the first needle stands.
    fn needle(&self, input: &[u8]) -> Option<usize> {
        vectorized!(simd => find_needle(simd, self.has_stand_ins, input))
    }

    #[inline]
    fn may_have_needle(&mut self, input: &[u8]) -> bool {
        if self.has_stand_ins {
            return vectorized!(simd => may_have_needle::<_, true, false>(simd, input));
        }
        if !self.has_nulls {
            if !vectorized!(simd => may_have_needle::<_, false, false>(simd, input)) {
                return false;
            }
            self.has_nulls = true;
        }
        vectorized!(simd => may_have_needle::<_, false, true>(simd, input))
    }

    /// Nothing more comes: an event that lacks its blank line counts all the same.
    pub(in crate::extract) fn finish(&mut self, documents: &mut Documents) {
        match self.mode {
            Mode::Between => {}
            Mode::Holding => self.read_held(documents),
            Mode::Passing => self.end_event(documents),
        }
        self.mode = Mode::Between;
        // What is known goes on to the queue, and waits there without the room for what was not.
        self.held = Vec::new();
    }

    /// Bytes that are held beside the state itself.
    #[cfg(any(test, fuzzing))]
    pub(in crate::extract) fn held(&self) -> usize {
        self.held.capacity()
    }

    /// Reads from the end of an event on.
    fn between(&mut self, mut input: &[u8], documents: &mut Documents) {
        loop {
            let skipped = input.iter().take_while(|byte| is_newline(**byte)).count();
            input = &input[skipped..];
            if input.is_empty() {
                return;
            }
            if self.reads_all(documents) {
                let Some(end) = event_end(input) else { return self.hold(input, documents) };
                self.looked += u8::from(self.wants_model(documents));
                self.read(&input[..end], documents);
                input = &input[end..];
                continue;
            }
            if input.len() <= MAX_FIRST_LOOK && !self.may_have_needle(input) {
                break;
            }
            let Some(hit) = self.needle(input) else { break };
            let start = event_start(&input[..hit]);
            let Some(end) = event_end(&input[hit..]) else { return self.hold(&input[start..], documents) };
            self.read(&input[start..hit + end], documents);
            input = &input[hit + end..];
        }
        self.skip(input, documents);
    }

    /// Passes over events without a needle.
    fn skip(&mut self, input: &[u8], documents: &mut Documents) {
        if is_complete(input) {
            return self.note_end(input);
        }
        let start = event_start(input);
        self.note_end(&input[..start]);
        self.hold(&input[start..], documents);
    }

    /// Looks whether whole events end with `[DONE]`.
    fn note_end(&mut self, mut events: &[u8]) {
        loop {
            let text = events.trim_ascii_end();
            match text.last() {
                None => return,
                // The end of a JSON object: no `[DONE]`, and no comment that anybody sends.
                Some(b'}') => return self.is_done = false,
                Some(_) => {}
            }
            let start = event_start(text);
            let mut data =
                text[start..].split(|byte| is_newline(*byte)).filter_map(|line| line.strip_prefix(DATA));
            if let Some(first) = data.next() {
                let value = first.strip_prefix(b":").unwrap_or(first);
                return self.is_done = value.trim_ascii() == DONE && data.next().is_none();
            }
            // A comment, or a name without data: it is the event before that counts.
            events = &events[..start];
        }
    }

    fn hold(&mut self, input: &[u8], documents: &mut Documents) {
        self.mode = Mode::Holding;
        if input.len() > MAX_HELD {
            self.begin_passing(documents);
            self.pass(input, documents);
        } else {
            self.held.clear();
            self.keep(input);
        }
    }

    /// Goes on with the event that is held. Returns where in `input` it ends.
    fn complete(&mut self, input: &[u8], documents: &mut Documents) -> Option<usize> {
        let at_seam = match (self.held.last(), input.first()) {
            (Some(&last), Some(&first)) => is_blank_line(last, first),
            _ => false,
        };
        let end = if at_seam { Some(1) } else { event_end(input) };
        if self.held.len() + end.unwrap_or(input.len()) > MAX_HELD {
            self.begin_passing(documents);
            return self.pass(input, documents);
        }
        self.keep(&input[..end.unwrap_or(input.len())]);
        if end.is_some() {
            self.mode = Mode::Between;
            self.read_held(documents);
        }
        end
    }

    /// Holds on to `piece`, for which there has to be room.
    fn keep(&mut self, piece: &[u8]) {
        let len = self.held.len() + piece.len();
        if len > self.held.capacity() {
            // As a vector grows, but never beyond what may be held; and the last step is from half of that at most, since
            // what grows is there twice for a moment.
            let capacity = match MAX_HELD / 2 {
                half if len > half => MAX_HELD,
                half => len.max(self.held.capacity() * 2).min(half),
            };
            self.held.reserve_exact(capacity - self.held.len());
        }
        self.held.extend_from_slice(piece);
    }

    /// Reads the event that is held, if it may be worth it.
    fn read_held(&mut self, documents: &mut Documents) {
        let held = std::mem::take(&mut self.held);
        let is_worth = self.reads_all(documents)
            || (held.len() > MAX_FIRST_LOOK || self.may_have_needle(&held)) && self.has_needle(&held);
        if is_worth {
            self.looked += u8::from(self.wants_model(documents));
            self.read(&held, documents);
        } else {
            self.note_end(&held);
        }
        self.held = held;
        self.held.clear();
    }

    fn begin_passing(&mut self, documents: &mut Documents) {
        let held = std::mem::take(&mut self.held);
        self.mode = Mode::Passing;
        self.lines = Lines::new();
        self.lines.feed(&held, documents);
    }

    fn pass(&mut self, input: &[u8], documents: &mut Documents) -> Option<usize> {
        let end = self.lines.feed(input, documents)?;
        self.end_event(documents);
        self.mode = Mode::Between;
        Some(end)
    }

    /// Reads one whole event.
    fn read(&mut self, event: &[u8], documents: &mut Documents) {
        if let Some(document) = only_document(event) {
            return self.read_document(document, documents);
        }
        self.lines = Lines::new();
        self.lines.feed(event, documents);
        self.end_event(documents);
    }

    fn end_event(&mut self, documents: &mut Documents) {
        match self.lines.data {
            Data::None => {}
            Data::Bracket(len) => self.is_done = usize::from(len) == DONE.len(),
            Data::Empty | Data::Document => {
                self.is_done = false;
                documents.end();
            }
        }
    }
}

/// Where the first key of `input` stands that makes an event worth reading: with usage or an error, unless it is `null`;
/// or, where there are stand-ins, what Anthropic's events say that name the model that took over from one that refused.
#[inline(always)]
fn find_needle<S: Simd>(simd: S, has_stand_ins: bool, input: &[u8]) -> Option<usize> {
    let mut is_escaped = 0;
    for at in (0..input.len()).step_by(BLOCK) {
        let (firsts, seconds) = (Block::of(simd, input, at), Block::of(simd, input, at + 1));
        let escapes = firsts.equal(b'\\');
        // `u` and `e` differ in one bit.
        let mut begins = seconds.equal_but(b'e' ^ b'u', b'e' | b'u');
        if has_stand_ins {
            begins |= seconds.equal(b'f');
        }
        // A quote behind a backslash is part of a text: there are no backslashes outside of one.
        let mut found = firsts.equal(b'"') & begins & !(escapes << 1 | is_escaped);
        is_escaped = escapes >> (BLOCK - 1);
        while found != 0 {
            let at = at + found.trailing_zeros() as usize;
            if is_needle(has_stand_ins, &input[at + 1..]) {
                return Some(at);
            }
            found &= found - 1;
        }
    }
    None
}

/// A needle stands at the beginning of `rest`, behind its quote.
fn is_needle(has_stand_ins: bool, rest: &[u8]) -> bool {
    match rest.split_at_checked(b"usage".len()) {
        Some((b"usage" | b"error", value)) => {
            value.get(NULL - 1 - b"usage".len()) != Some(&b'n') && !is_null(value)
        }
        _ => has_stand_ins && rest.starts_with(b"fallback\""),
    }
}

/// Bytes that are looked at for what all needles begin with. In a longer piece it stands somewhere, as a rule.
const MAX_FIRST_LOOK: usize = 2 << 10;

/// Where, counted from its quote, a key's `null` begins, if the key is that of a needle and no white space is between.
const NULL: usize = 8;

/// Somewhere stands a quote with the `u` or `e` of a needle behind it; with the `f`, too, if there are stand-ins; and no
/// `null` behind it, if there are nulls.
///
/// Without a branch but the loop's; one look for all needles costs less than a search for each.
#[inline(always)]
fn may_have_needle<S: Simd, const STAND_INS: bool, const NULLS: bool>(simd: S, input: &[u8]) -> bool {
    let mut look = FirstLook::<STAND_INS, NULLS>::default();
    let (blocks, rest) = input.as_chunks();
    for block in blocks {
        look.at(Block::new(simd, block), 0);
    }
    if !rest.is_empty() {
        let (block, passed) = Block::last(simd, input, input.len() - rest.len());
        look.at(block, passed);
    }
    // Behind the last there is no room for a value, and for no `null`.
    look.found | look.value != 0
}

/// What is carried from one block to the next, as bits of that.
#[derive(Default)]
struct FirstLook<const STAND_INS: bool, const NULLS: bool> {
    /// The last byte was a quote.
    after_quote: u64,
    /// Where the values are of keys that have begun.
    value: u64,
    found: u64,
}

impl<const STAND_INS: bool, const NULLS: bool> FirstLook<STAND_INS, NULLS> {
    /// `passed` bytes of the block lie before those that come next.
    #[inline(always)]
    fn at<S: Simd>(&mut self, block: Block<S>, passed: usize) {
        let quotes = block.equal(b'"') >> passed;
        // They differ in one bit.
        let mut letters = block.equal_but(b'e' ^ b'u', b'e' | b'u') >> passed;
        if STAND_INS {
            letters |= block.equal(b'f') >> passed;
        }
        let begins = (quotes << 1 | self.after_quote) & letters;
        self.after_quote = quotes >> (BLOCK - 1);
        if NULLS {
            self.found |= (begins << (NULL - 1) | self.value) & !(block.equal(b'n') >> passed);
            self.value = begins >> (BLOCK - (NULL - 1));
        } else {
            self.found |= begins;
        }
    }
}

/// What follows a key's letters is its end, and `null`.
fn is_null(rest: &[u8]) -> bool {
    rest.strip_prefix(b"\"")
        .and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"))
        .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"null"))
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Two bytes that end a line and then an empty one. A `\n` that belongs to the second byte's `\r` may follow.
fn is_blank_line(first: u8, second: u8) -> bool {
    first == b'\n' && is_newline(second) || first == b'\r' && second == b'\r'
}

/// Where the first event of `input` ends.
fn event_end(input: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'\n', b'\r', &input[at..])?;
        let second = *input.get(at + 1)?;
        at += 1;
        if is_blank_line(input[at - 1], second) {
            return Some(at + 1);
        }
    }
}

/// The JSON object of an event that is nothing but a line of data, or has a line with its name before that. The event
/// has to be whole, and all there is.
fn only_document(event: &[u8]) -> Option<&[u8]> {
    let mut line = event;
    if line.starts_with(b"event:") {
        line = &line[memchr2(b'\n', b'\r', line)?..];
        line = line.strip_prefix(b"\r\n").unwrap_or(&line[1..]);
    }
    let value = line.strip_prefix(b"data:")?;
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let document = value.strip_suffix(b"\n\n").or_else(|| value.strip_suffix(b"\r\n\r\n"))?;
    if document.starts_with(b"{") && !vectorized!(simd => has_newline(simd, document)) {
        Some(document)
    } else {
        None
    }
}

/// Without a branch but the loop's: the lowest byte tells of nearly every document that it has none.
#[inline(always)]
fn has_newline<S: Simd>(simd: S, input: &[u8]) -> bool {
    let Some(last) = input.last_chunk() else { return input.iter().any(|byte| is_newline(*byte)) };
    let lowest = input.as_chunks().0.iter().fold(
        Block::new(simd, last),
        #[inline(always)]
        |lowest, block| lowest.min(Block::new(simd, block)),
    );
    lowest.is_at_most(b'\r') && memchr2(b'\n', b'\r', input).is_some()
}

/// Where the event begins that goes on to the end of `input`.
fn event_start(input: &[u8]) -> usize {
    let mut end = input.len();
    while let Some(at) = memrchr2(b'\n', b'\r', &input[..end]) {
        if at > 0 && is_blank_line(input[at - 1], input[at]) {
            let is_crlf = input[at] == b'\r' && input.get(at + 1) == Some(&b'\n');
            return at + 1 + usize::from(is_crlf);
        }
        end = at;
    }
    0
}

/// `input` ends where an event ends.
fn is_complete(input: &[u8]) -> bool {
    let ends = |input: &[u8]| matches!(input, [.., first, second] if is_blank_line(*first, *second));
    ends(input) || input.ends_with(b"\r\n") && ends(&input[..input.len() - 1])
}

/// Takes an event apart into lines, and hands on the data.
#[derive(Debug)]
struct Lines {
    place: Place,
    /// The last line ended in `\r`; a `\n` behind it is no line of its own.
    after_cr: bool,
    data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a line's name, of which so many bytes are those of `data`.
    Name(u8),
    /// Behind `data:`, where one space may stand.
    Space,
    /// In the data.
    Data,
    /// In a line that says nothing to us.
    Other,
}

/// What an event's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    /// There is none.
    None,
    /// There is an empty line of it.
    Empty,
    Document,
    /// So many bytes of `[DONE]`; more than there are when it is something else in brackets. No provider sends an
    /// array as an event.
    Bracket(u8),
}

impl Lines {
    fn new() -> Self {
        Self { place: Place::Name(0), after_cr: false, data: Data::None }
    }

    /// Returns where the event ends, if it ends within `input`.
    fn feed(&mut self, input: &[u8], documents: &mut Documents) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let after_cr = std::mem::take(&mut self.after_cr);
            match self.place {
                Place::Name(0) if byte == b'\n' && after_cr => at += 1,
                Place::Name(0) if is_newline(byte) => return Some(at + 1),
                Place::Name(len) => {
                    at += 1;
                    self.place = match byte {
                        b'\n' | b'\r' => {
                            if usize::from(len) == DATA.len() {
                                // A name alone is a line of data with nothing in it.
                                self.begin_data(documents);
                            }
                            self.after_cr = byte == b'\r';
                            Place::Name(0)
                        }
                        b':' if usize::from(len) == DATA.len() => {
                            self.begin_data(documents);
                            Place::Space
                        }
                        _ if DATA.get(usize::from(len)) == Some(&byte) => Place::Name(len + 1),
                        _ => Place::Other,
                    };
                }
                Place::Space => {
                    at += usize::from(byte == b' ');
                    self.place = Place::Data;
                }
                Place::Data | Place::Other => {
                    let rest = &input[at..];
                    let end = memchr2(b'\n', b'\r', rest);
                    if self.place == Place::Data {
                        self.data(&rest[..end.unwrap_or(rest.len())], documents);
                    }
                    at += end.map_or(rest.len(), |end| end + 1);
                    if let Some(end) = end {
                        self.after_cr = rest[end] == b'\r';
                        self.place = Place::Name(0);
                    }
                }
            }
        }
        None
    }

    fn begin_data(&mut self, documents: &mut Documents) {
        match self.data {
            Data::None => self.data = Data::Empty,
            // Lines of data are joined by a newline.
            _ => self.data(b"\n", documents),
        }
    }

    fn data(&mut self, piece: &[u8], documents: &mut Documents) {
        if matches!(self.data, Data::None | Data::Empty) {
            self.data = match piece.first() {
                Some(b'[') => Data::Bracket(0),
                Some(_) => Data::Document,
                None => return,
            };
        }
        if let Data::Bracket(len) = &mut self.data {
            for byte in piece {
                *len = match DONE.get(usize::from(*len)) {
                    Some(expected) if expected == byte => *len + 1,
                    None if usize::from(*len) == DONE.len() && byte.is_ascii_whitespace() => *len,
                    _ => DONE.len() as u8 + 1,
                };
            }
        } else {
            documents.feed(piece);
        }
    }
}
