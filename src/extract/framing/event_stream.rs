//! AWS' binary event streams, by <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>.
//!
//! A message is a prelude (total length, length of the headers, CRC), headers, a payload and a CRC of it all. What
//! Converse sends is JSON; what InvokeModel sends is JSON in base64 in JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use crc32fast::Hasher;
use smallvec::SmallVec;

use crate::extract::Documents;

const PRELUDE: usize = 12;
const CRC: usize = 4;

/// What AWS allows for a message; more is a broken length.
const MAX_MESSAGE: usize = 24 << 20;
/// Headers that are looked at. AWS' are some hundred bytes.
const MAX_HEADERS: usize = 4 << 10;

/// Between two pieces of a stream.
#[derive(Debug)]
pub(in crate::extract) struct EventStream {
    place: Place,
    /// Bytes of the prelude, of the headers or of the last CRC that have come so far.
    held: SmallVec<[u8; PRELUDE]>,
    crc: Hasher,
    headers: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
    wrap: Wrap,
    is_metadata: bool,
    /// A message has begun as messages do, or the body is announced as such.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Prelude,
    Headers,
    Payload,
    Crc,
    /// A length or a sum was wrong: there is no way to find the next message.
    Broken,
}

impl EventStream {
    /// `is_announced`: the body is announced as such a stream.
    pub(in crate::extract) fn new(is_announced: bool) -> Self {
        Self {
            place: Place::Prelude,
            held: SmallVec::new(),
            crc: Hasher::new(),
            headers: 0,
            payload: 0,
            wrap: Wrap::None,
            is_metadata: false,
            is_known: is_announced,
        }
    }

    /// It is such a stream, and nothing else that begins with a zero.
    pub(in crate::extract) fn is_known(&self) -> bool {
        self.is_known
    }

    pub(in crate::extract) fn feed(&mut self, mut input: &[u8], documents: &mut Documents) {
        while !input.is_empty() {
            match self.place {
                Place::Prelude => {
                    if self.take(&mut input, PRELUDE) {
                        self.prelude(documents);
                    }
                }
                Place::Headers => {
                    if self.take(&mut input, self.headers) {
                        self.crc.update(&self.held);
                        self.headers(documents);
                        self.held.clear();
                        self.place = Place::Payload;
                    }
                }
                Place::Payload => {
                    let piece = input.split_off(..self.payload.min(input.len())).unwrap_or_default();
                    self.payload -= piece.len();
                    self.crc.update(piece);
                    self.wrap.feed(piece, documents);
                }
                Place::Crc => {
                    if self.take(&mut input, CRC) {
                        self.end(documents);
                    }
                }
                Place::Broken => return,
            }
            if self.place == Place::Payload && self.payload == 0 {
                self.place = Place::Crc;
            }
        }
    }

    /// Bytes that are held beside the state itself.
    #[cfg(any(test, fuzzing))]
    pub(in crate::extract) fn held(&self) -> usize {
        if self.held.spilled() { self.held.capacity() } else { 0 }
    }

    /// Nothing more comes. Returns whether the stream ended between two messages.
    pub(in crate::extract) fn finish(&self) -> bool {
        self.place == Place::Prelude && self.held.is_empty()
    }

    /// Moves bytes from `input` until `len` are held.
    fn take(&mut self, input: &mut &[u8], len: usize) -> bool {
        let missing = len - self.held.len();
        let piece = input.split_off(..missing.min(input.len())).unwrap_or_default();
        self.held.extend_from_slice(piece);
        self.held.len() == len
    }

    fn prelude(&mut self, documents: &mut Documents) {
        let number = |at: usize| {
            self.held[at..at + 4].iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) as usize
        };
        let (total, headers, crc) = (number(0), number(4), number(8));
        let is_sound = crc32fast::hash(&self.held[..8]) as usize == crc
            && (PRELUDE + CRC..=MAX_MESSAGE).contains(&total)
            && headers <= MAX_HEADERS.min(total - PRELUDE - CRC);
        if !is_sound {
            return self.fail(documents);
        }
        self.is_known = true;
        self.crc = Hasher::new();
        self.crc.update(&self.held);
        self.held.clear();
        self.headers = headers;
        self.payload = total - headers - PRELUDE - CRC;
        self.wrap = Wrap::None;
        self.is_metadata = false;
        self.place = if headers == 0 { Place::Payload } else { Place::Headers };
    }

    fn headers(&mut self, documents: &mut Documents) {
        let mut rest = &*self.held;
        while let Some((name, value)) = header(&mut rest) {
            match (name, value) {
                (b":event-type", b"chunk") => self.wrap = Wrap::Seeking(0),
                (b":event-type", b"metadata") => self.is_metadata = true,
                (b":message-type", b"exception" | b"error") => documents.response.note_error(b""),
                (b":exception-type" | b":error-code", kind) => documents.response.note_error(kind),
                _ => {}
            }
        }
    }

    fn end(&mut self, documents: &mut Documents) {
        let crc = self.held.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let is_sound = crc == std::mem::take(&mut self.crc).finalize();
        self.held.clear();
        self.place = Place::Prelude;
        if !is_sound {
            return self.fail(documents);
        }
        documents.end();
        documents.response.commit();
        if self.is_metadata {
            // Converse's last word.
            documents.response.note_end();
        }
    }

    fn fail(&mut self, documents: &mut Documents) {
        self.place = Place::Broken;
        documents.spoil();
    }
}

/// Takes a header from the front: its name, and its value where that is a string.
fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let len = usize::from(*rest.split_off_first()?);
    let name = rest.split_off(..len)?;
    let kind = *rest.split_off_first()?;
    let fixed = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | 7 => usize::from(u16::from_be_bytes(rest.split_off(..2)?.try_into().ok()?)),
        _ => return None,
    };
    let value = rest.split_off(..fixed)?;
    Some((name, if kind == 7 { value } else { b"" }))
}

/// How a document lies in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    /// It is the payload.
    None,
    /// In base64, behind a key of which so many bytes have been seen.
    Seeking(usize),
    /// In base64, with so many digits left over from the last piece.
    Digits { left: [u8; 4], len: usize },
    /// Behind the base64.
    Behind,
}

impl Wrap {
    fn feed(&mut self, mut piece: &[u8], documents: &mut Documents) {
        const KEY: &[u8] = br#""bytes":""#;
        while !piece.is_empty() {
            match self {
                Self::None => return documents.feed(piece),
                Self::Seeking(seen) => {
                    let byte = piece[0];
                    piece = &piece[1..];
                    if *seen >= KEY.len() - 2 && byte.is_ascii_whitespace() {
                        continue;
                    }
                    *seen = if byte == KEY[*seen] {
                        *seen + 1
                    } else {
                        // The key has its first byte in it once more, before its end.
                        usize::from(byte == KEY[0])
                    };
                    if *seen == KEY.len() {
                        *self = Self::Digits { left: [0; 4], len: 0 };
                    }
                }
                Self::Digits { left, len } => {
                    let end = memchr::memchr(b'"', piece);
                    let digits = &piece[..end.unwrap_or(piece.len())];
                    let is_sound = decode(left, len, digits, documents);
                    piece = end.map_or(&[], |end| &piece[end + 1..]);
                    if !is_sound {
                        documents.spoil();
                    }
                    if end.is_some() || !is_sound {
                        *self = Self::Behind;
                    }
                }
                Self::Behind => return,
            }
        }
    }
}

/// Decodes digits by fours; up to three are left for the next time. Returns whether that is what they are.
fn decode(left: &mut [u8; 4], len: &mut usize, mut digits: &[u8], documents: &mut Documents) -> bool {
    while *len > 0 && *len < 4 && !digits.is_empty() {
        left[*len] = digits[0];
        *len += 1;
        digits = &digits[1..];
    }
    if *len == 4 {
        if !decode_fours(left, documents) {
            return false;
        }
        *len = 0;
    }
    let (whole, rest) = digits.split_at(digits.len() / 4 * 4);
    if !rest.is_empty() {
        left[..rest.len()].copy_from_slice(rest);
        *len = rest.len();
    }
    // Of a thousand with a wrong one among them, those before it are read all the same: as if they had come one by one.
    whole.chunks(1024).all(|digits| {
        decode_fours(digits, documents) || digits.chunks(4).all(|four| decode_fours(four, documents))
    })
}

fn decode_fours(digits: &[u8], documents: &mut Documents) -> bool {
    let mut bytes = [0; 768];
    let decoded = STANDARD.decode_slice(digits, &mut bytes);
    if let Ok(len) = decoded {
        documents.feed(&bytes[..len]);
    }
    decoded.is_ok()
}
