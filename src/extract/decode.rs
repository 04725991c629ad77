//! Bodies in an encoding: decoded as they pass, for the reader alone.
//!
//! A decoder hands on what it has decoded in pieces of its own buffer's size, so that what is held does not depend on
//! how well a body was compressed; how much may come out of it in all is limited.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use super::Reader;

/// Bytes that may come out of a body for each that went in, once it is large. What text is compressed by lies far
/// below; what is made to keep a reader busy lies far above.
const MAX_RATIO: u64 = 128;
/// Bytes from which on the ratio is asked for.
const LARGE: u64 = 16 << 20;

/// A reader behind decoders.
pub(super) struct Decoder {
    /// `None`: failed. A mutex only since not every decoder is `Sync`; it is never waited for.
    chain: Mutex<Option<Box<dyn Chain + Send>>>,
    end: Arc<Mutex<End>>,
}

/// What all the decoders work for.
struct End {
    reader: Reader,
    /// Bytes that may still come.
    budget: u64,
}

/// A decoder that hands on to the next one, and in the end to the reader.
trait Chain: Write {
    /// Hands on all that it still holds, whether or not the encoded body is whole.
    fn finish(&mut self) -> io::Result<()>;
}

impl Decoder {
    /// Undoes `codings`, the tokens of `Content-Encoding` in the order in which they were applied.
    ///
    /// Gives the reader back if one of them is not known.
    pub(super) fn new<'a>(
        codings: impl IntoIterator<Item = &'a [u8]>,
        reader: Reader,
    ) -> Result<Self, Box<Reader>> {
        let end = Arc::new(Mutex::new(End { reader, budget: LARGE }));
        // The first coding was applied first, so that its decoder stands last, next to the reader.
        let chain = codings
            .into_iter()
            .try_fold(Box::new(Sink(Arc::clone(&end))) as Box<dyn Chain + Send>, |next, coding| {
                undo(coding, next)
            });
        match chain {
            Some(chain) => Ok(Self { chain: Mutex::new(Some(chain)), end }),
            None => Err(Box::new(take(end))),
        }
    }

    pub(super) fn feed(&mut self, input: &[u8]) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.budget = end.budget.saturating_add((input.len() as u64).saturating_mul(MAX_RATIO));
        drop(end);
        let chain = self.chain.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(decoder) = chain
            && let Err(error) = decoder.write_all(input)
        {
            *chain = None;
            self.end.lock().unwrap_or_else(PoisonError::into_inner).reader.fail(&error);
        }
    }

    /// See [`Extractor::note_error`](super::Extractor::note_error).
    pub(super) fn note_error(&mut self, name: &[u8]) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.reader.documents.response.note_error(name);
    }

    /// The body has come to its end: what the decoders hold goes to the reader, which is what is left.
    pub(super) fn finish(self) -> Reader {
        let chain = self.chain.into_inner().unwrap_or_else(PoisonError::into_inner);
        let finished = chain.map_or(Ok(()), |mut chain| chain.finish());
        let mut reader = take(self.end);
        match finished {
            Ok(()) => {}
            // An encoded body that is cut off says so itself, by the document that it cuts.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => reader.fail(&error),
        }
        reader
    }
}

/// The reader, once the chain that leads to it is gone.
fn take(end: Arc<Mutex<End>>) -> Reader {
    let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut end.reader, Reader::empty())
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// The decoder of one coding, before `next`.
fn undo(coding: &[u8], next: Box<dyn Chain + Send>) -> Option<Box<dyn Chain + Send>> {
    let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
    if is("identity") {
        return Some(next);
    }
    #[cfg(feature = "decompression-gzip")]
    if is("gzip") || is("x-gzip") {
        return Some(Box::new(flate2::write::MultiGzDecoder::new(next)));
    }
    #[cfg(feature = "decompression-deflate")]
    if is("deflate") {
        return Some(Box::new(deflate::Decoder::new(next)));
    }
    #[cfg(feature = "decompression-br")]
    if is("br") {
        return Some(Box::new(brotli_decompressor::DecompressorWriter::new(Whole(next), 4 << 10)));
    }
    #[cfg(feature = "decompression-zstd")]
    if is("zstd") {
        return zstandard::decoder(next);
    }
    None
}

impl Chain for Box<dyn Chain + Send> {
    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }
}

/// Feeds the reader.
struct Sink(Arc<Mutex<End>>);

impl Write for Sink {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.budget = end.budget.checked_sub(decoded.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        end.reader.feed(decoded);
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Chain for Sink {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "decompression-gzip")]
impl<C: Chain> Chain for flate2::write::MultiGzDecoder<C> {
    fn finish(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        self.get_mut().finish().and(flushed)
    }
}

/// Takes all that it is given, or fails.
///
/// A decoder whose stream has ended takes nothing of what comes after, which brotli's would offer it for ever.
#[cfg(feature = "decompression-br")]
struct Whole<C>(C);

#[cfg(feature = "decompression-br")]
impl<C: Write> Write for Whole<C> {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        self.0.write_all(decoded)?;
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(feature = "decompression-br")]
impl<C: Chain> Chain for Whole<C> {
    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }
}

#[cfg(feature = "decompression-br")]
impl<C: Chain> Chain for brotli_decompressor::DecompressorWriter<C> {
    fn finish(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        self.get_mut().finish().and(flushed)
    }
}

#[cfg(feature = "decompression-deflate")]
mod deflate {
    use std::io::{self, Write};

    use flate2::write::{DeflateDecoder, ZlibDecoder};

    use super::Chain;

    /// `deflate` is zlib's format by the standard, and bare by the habit of some servers: the first byte tells.
    pub(super) enum Decoder<C: Write> {
        Undecided(Option<C>),
        Zlib(ZlibDecoder<C>),
        Bare(DeflateDecoder<C>),
    }

    impl<C: Chain> Decoder<C> {
        pub(super) fn new(next: C) -> Self {
            Self::Undecided(Some(next))
        }
    }

    impl<C: Chain> Write for Decoder<C> {
        fn write(&mut self, input: &[u8]) -> io::Result<usize> {
            if let (Self::Undecided(next), Some(first)) = (&mut *self, input.first())
                && let Some(next) = next.take()
            {
                // zlib: method 8, window of at most 32 KiB.
                let is_zlib = first & 0x0F == 8 && first >> 4 <= 7;
                *self = if is_zlib {
                    Self::Zlib(ZlibDecoder::new(next))
                } else {
                    Self::Bare(DeflateDecoder::new(next))
                };
            }
            match self {
                Self::Undecided(_) => Ok(input.len()),
                Self::Zlib(decoder) => decoder.write(input),
                Self::Bare(decoder) => decoder.write(input),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            match self {
                Self::Undecided(_) => Ok(()),
                Self::Zlib(decoder) => decoder.flush(),
                Self::Bare(decoder) => decoder.flush(),
            }
        }
    }

    impl<C: Chain> Chain for Decoder<C> {
        fn finish(&mut self) -> io::Result<()> {
            let flushed = self.flush();
            match self {
                Self::Undecided(next) => next.as_mut().map_or(Ok(()), Chain::finish),
                Self::Zlib(decoder) => decoder.get_mut().finish(),
                Self::Bare(decoder) => decoder.get_mut().finish(),
            }
            .and(flushed)
        }
    }
}

#[cfg(feature = "decompression-zstd")]
mod zstandard {
    use std::io::{self, Write};

    use zstd::stream::write::Decoder;

    use super::Chain;

    /// RFC 9659: what is sent over HTTP needs no larger window than 8 MiB.
    const WINDOW_LOG: u32 = 23;

    pub(super) fn decoder(next: Box<dyn Chain + Send>) -> Option<Box<dyn Chain + Send>> {
        let mut decoder = Decoder::new(next).ok()?;
        decoder.window_log_max(WINDOW_LOG).ok()?;
        Some(Box::new(decoder))
    }

    impl<C: Chain> Chain for Decoder<'_, C> {
        fn finish(&mut self) -> io::Result<()> {
            let flushed = self.flush();
            self.get_mut().finish().and(flushed)
        }
    }
}

#[cfg(all(feature = "decompression-br", feature = "decompression-deflate", feature = "decompression-gzip"))]
#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What follows the end of an inner body is not looked at for ever.
    #[test]
    #[cfg(all(
        feature = "decompression-br",
        feature = "decompression-deflate",
        feature = "decompression-gzip"
    ))]
    fn bytes_after_the_end_of_an_inner_encoding_end_the_decoding() {
        let body = br#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
        let (mut bare, mut zlib) = (Vec::new(), Vec::new());
        flate2::read::DeflateEncoder::new(&body[..], flate2::Compression::fast())
            .read_to_end(&mut bare)
            .unwrap();
        flate2::read::ZlibEncoder::new(&body[..], flate2::Compression::fast())
            .read_to_end(&mut zlib)
            .unwrap();
        for mut inner in [bare, zlib] {
            inner.extend_from_slice(b"and more");
            for outer in ["br", "gzip"] {
                let mut encoded = Vec::new();
                match outer {
                    "br" => {
                        drop(brotli::CompressorReader::new(&inner[..], 4096, 5, 22).read_to_end(&mut encoded))
                    }
                    _ => drop(
                        flate2::read::GzEncoder::new(&inner[..], flate2::Compression::fast())
                            .read_to_end(&mut encoded),
                    ),
                }
                let reader = Reader::empty();
                let mut decoder = Decoder::new([&b"deflate"[..], outer.as_bytes()], reader).unwrap();
                decoder.feed(&encoded);
                decoder.finish();
            }
        }
    }
}
