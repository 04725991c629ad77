//! Compression of answers, by what the client takes (RFC 9110, section 12.5.3).
//!
//! Not by a layer around the service: that would compress on an async worker, while these run where the answer is made;
//! and an answer that has its encoding already is left alone by a host's own compression layer.

#[cfg(feature = "compression")]
use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

use super::body::Source;

/// Answers shorter than this gain nothing.
const MIN_LENGTH: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    Identity,
    #[cfg(feature = "compression")]
    Gzip,
    #[cfg(feature = "compression")]
    Br,
}

impl Coding {
    /// The best coding of those that the client takes: the one it likes most, `br` where it does not care.
    pub(super) fn chosen_by(request: &HeaderMap) -> Self {
        let (mut gzip, mut br, mut any) = (None, None, None);
        let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let (name, weight) = item.split_once(';').map_or((item, None), |(name, rest)| (name, Some(rest)));
            let Some(weight) = weight.map_or(Some(1000), quality) else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = Some(weight),
                "br" => br = Some(weight),
                "*" => any = Some(weight),
                _ => {}
            }
        }
        Self::best(gzip.or(any).unwrap_or(0), br.or(any).unwrap_or(0))
    }

    #[cfg(feature = "compression")]
    fn best(gzip: u16, br: u16) -> Self {
        match (gzip, br) {
            (0, 0) => Self::Identity,
            _ if br >= gzip => Self::Br,
            _ => Self::Gzip,
        }
    }

    #[cfg(not(feature = "compression"))]
    fn best(_: u16, _: u16) -> Self {
        Self::Identity
    }

    /// What `Content-Encoding` says.
    pub(super) fn name(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            #[cfg(feature = "compression")]
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            #[cfg(feature = "compression")]
            Self::Br => Some(HeaderValue::from_static("br")),
        }
    }

    /// `bytes` encoded, and how; those that are too few stay as they are.
    pub(super) fn encode(self, bytes: Vec<u8>) -> (Bytes, Self) {
        if self == Self::Identity || bytes.len() < MIN_LENGTH {
            return (bytes.into(), Self::Identity);
        }
        let mut coder = Coder::new(self);
        coder.push(&bytes);
        (coder.finish().into(), self)
    }
}

/// Thousandths of `q=0.5`; `None` if it is no weight.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim().parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value))?;
    name.trim().eq_ignore_ascii_case("q").then_some((value * 1000.0) as u16)
}

/// Encodes what is pushed into it, into memory.
enum Coder {
    Identity(Vec<u8>),
    #[cfg(feature = "compression")]
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
    #[cfg(feature = "compression")]
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
}

impl Coder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Identity => Self::Identity(Vec::new()),
            #[cfg(feature = "compression")]
            Coding::Gzip => {
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(5))))
            }
            // Quality and window as for gzip's speed: a window of 256 KiB is all that a coder holds of an export.
            #[cfg(feature = "compression")]
            Coding::Br => Self::Br(Box::new(brotli::CompressorWriter::new(Vec::new(), 16 << 10, 4, 18))),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        // Into memory: there is nothing that could fail.
        match self {
            Self::Identity(encoded) => encoded.extend_from_slice(bytes),
            #[cfg(feature = "compression")]
            Self::Gzip(coder) => coder.write_all(bytes).unwrap_or_default(),
            #[cfg(feature = "compression")]
            Self::Br(coder) => coder.write_all(bytes).unwrap_or_default(),
        }
    }

    /// What is encoded so far.
    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Identity(encoded) => std::mem::take(encoded),
            #[cfg(feature = "compression")]
            Self::Gzip(coder) => std::mem::take(coder.get_mut()),
            #[cfg(feature = "compression")]
            Self::Br(coder) => std::mem::take(coder.get_mut()),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Identity(encoded) => encoded,
            #[cfg(feature = "compression")]
            Self::Gzip(coder) => coder.finish().unwrap_or_default(),
            #[cfg(feature = "compression")]
            Self::Br(coder) => coder.into_inner(),
        }
    }
}

/// A stream that is encoded on its way.
pub(super) struct Encoded<S> {
    source: S,
    /// `None` after the end.
    coder: Option<Coder>,
}

impl<S: Source> Encoded<S> {
    pub(super) fn new(source: S, coding: Coding) -> Self {
        Self { source, coder: Some(Coder::new(coding)) }
    }
}

impl<S: Source> Source for Encoded<S> {
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut coder = self.coder.take()?;
            let Some(piece) = self.source.next() else {
                return Some(coder.finish()).filter(|rest| !rest.is_empty()).map(Bytes::from);
            };
            coder.push(&piece);
            let encoded = coder.take();
            self.coder = Some(coder);
            if !encoded.is_empty() {
                return Some(encoded.into());
            }
        }
    }
}

#[cfg(feature = "compression")]
#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn chosen(value: &str) -> Coding {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
        Coding::chosen_by(&headers)
    }

    #[test]
    fn the_client_chooses() {
        for (accepted, coding) in [
            ("gzip, deflate, br, zstd", Coding::Br),
            ("gzip", Coding::Gzip),
            ("GZIP;q=0.8", Coding::Gzip),
            ("br;q=0.5, gzip;q=0.9", Coding::Gzip),
            ("br;q=0, gzip;q=0.1", Coding::Gzip),
            ("br;q=0, *", Coding::Gzip),
            ("*", Coding::Br),
            ("*;q=0", Coding::Identity),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=2", Coding::Identity),
            ("identity", Coding::Identity),
            ("deflate", Coding::Identity),
            ("", Coding::Identity),
        ] {
            assert_eq!(chosen(accepted), coding, "{accepted}");
        }
        assert_eq!(Coding::chosen_by(&HeaderMap::new()), Coding::Identity);
    }

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Identity => plain.extend_from_slice(bytes),
            Coding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap()),
            Coding::Br => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).unwrap()),
        }
        plain
    }

    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl Source for Pieces {
        fn next(&mut self) -> Option<Bytes> {
            self.0.next().map(Bytes::from)
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_as_before(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 0..8),
        ) {
            for coding in [Coding::Identity, Coding::Gzip, Coding::Br] {
                let whole = pieces.concat();
                let (bytes, by) = coding.encode(whole.clone());
                prop_assert_eq!(by == coding, coding == Coding::Identity || whole.len() >= MIN_LENGTH);
                prop_assert_eq!(&decode(by, &bytes), &whole);

                let mut stream = Encoded::new(Pieces(pieces.clone().into_iter()), coding);
                let mut encoded = Vec::new();
                while let Some(piece) = stream.next() {
                    prop_assert!(!piece.is_empty());
                    encoded.extend_from_slice(&piece);
                }
                prop_assert!(stream.next().is_none());
                prop_assert_eq!(&decode(coding, &encoded), &whole);
            }
        }
    }
}
