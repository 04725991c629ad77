//! Closed segments, compressed and read again.

use std::io::{self, Read, Write};

use crate::config::Compression;

/// This build can do it.
pub(crate) fn is_known(compression: Compression) -> bool {
    match compression {
        Compression::None => true,
        Compression::Gzip => cfg!(feature = "decompression-gzip"),
        Compression::Zstd => cfg!(feature = "decompression-zstd"),
    }
}

/// What `file` was before it was compressed.
pub(crate) fn decoded<'a>(
    file: impl Read + Send + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    match compression {
        Compression::None => Ok(Box::new(file)),
        #[cfg(feature = "decompression-gzip")]
        Compression::Gzip => Ok(Box::new(flate2::read::MultiGzDecoder::new(file))),
        #[cfg(feature = "decompression-zstd")]
        Compression::Zstd => Ok(Box::new(zstd::stream::read::Decoder::new(file)?)),
        #[cfg(not(all(feature = "decompression-gzip", feature = "decompression-zstd")))]
        _ => Err(unknown(compression)),
    }
}

/// Compresses `from` to `to`.
pub(crate) fn encode(from: &mut dyn Read, to: &mut dyn Write, compression: Compression) -> io::Result<()> {
    match compression {
        Compression::None => copy(from, to),
        #[cfg(feature = "decompression-gzip")]
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::default());
            copy(from, &mut encoder)?;
            encoder.finish()?.flush()
        }
        #[cfg(feature = "decompression-zstd")]
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            // So that a file that has lost a piece says so when it is read.
            encoder.include_checksum(true)?;
            copy(from, &mut encoder)?;
            encoder.finish()?.flush()
        }
        #[cfg(not(all(feature = "decompression-gzip", feature = "decompression-zstd")))]
        _ => Err(unknown(compression)),
    }
}

/// Both give the same bytes.
pub(crate) fn is_same(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut piece_of_a, mut piece_of_b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let n = fill(&mut a, &mut piece_of_a)?;
        if n != fill(&mut b, &mut piece_of_b)? || piece_of_a[..n] != piece_of_b[..n] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

const PIECE: usize = 64 << 10;

fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match fill(from, &mut piece)? {
            0 => return Ok(()),
            n => to.write_all(&piece[..n])?,
        }
    }
}

/// How long a file was before it was compressed.
pub(super) fn decoded_len(file: impl Read + Send, compression: Compression) -> io::Result<u64> {
    io::copy(&mut decoded(file, compression)?, &mut io::sink())
}

/// Reads until `buffer` is full or nothing more comes.
fn fill(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(not(all(feature = "decompression-gzip", feature = "decompression-zstd")))]
fn unknown(compression: Compression) -> io::Error {
    let feature = match compression {
        Compression::Gzip => "decompression-gzip",
        _ => "decompression-zstd",
    };
    io::Error::new(io::ErrorKind::Unsupported, format!("this build lacks the feature {feature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> impl Iterator<Item = Compression> {
        [Compression::None, Compression::Gzip, Compression::Zstd].into_iter().filter(|known| is_known(*known))
    }

    fn encoded(text: &[u8], compression: Compression) -> Vec<u8> {
        let mut file = Vec::new();
        encode(&mut &*text, &mut file, compression).unwrap();
        file
    }

    #[test]
    fn what_is_compressed_is_read_again_to_the_byte() {
        let text: Vec<_> = (0..100_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        for compression in known() {
            for text in [&text[..], b"", b"a"] {
                let file = encoded(text, compression);
                assert!(is_same(decoded(&*file, compression).unwrap(), text).unwrap());
            }
            if compression != Compression::None {
                assert!(encoded(&text, compression).len() < text.len() / 2);
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_damaged_is_an_error() {
        for compression in known().filter(|known| *known != Compression::None) {
            let file = encoded(&b"0123456789\n".repeat(1000), compression);
            let mut damaged = file.clone();
            let end = damaged.len() - 1;
            damaged[end] ^= 1;
            for file in [&file[..file.len() - 1], &damaged] {
                assert!(io::copy(&mut decoded(file, compression).unwrap(), &mut io::sink()).is_err());
            }
        }
    }

    #[test]
    fn files_differ_in_their_bytes_and_in_their_length() {
        assert!(is_same(&b"ab"[..], &b"ab"[..]).unwrap());
        assert!(!is_same(&b"ab"[..], &b"ac"[..]).unwrap());
        assert!(!is_same(&b"ab"[..], &b"abc"[..]).unwrap());
        assert!(!is_same(&b"abc"[..], &b"ab"[..]).unwrap());
    }
}
