//! What a reader of usage relies on: the right numbers, from any cut of any body, or an honest word.

mod corpus;
mod formats;
mod oracle;
mod streams;

use super::*;

/// Reads a body that comes in these pieces.
fn read(
    format: Format,
    hint: Option<Dialect>,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Extractor {
    let mut extractor = Extractor::new(format, hint);
    for piece in pieces {
        extractor.feed(piece.as_ref());
    }
    extractor.finish();
    extractor
}

/// Reads a body that comes in these pieces, and asserts that never more of it is held than may be.
fn read_within_bounds(
    format: Format,
    hint: Option<Dialect>,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Extractor {
    const MAX_HELD: usize = 64 << 10;
    const MAX_LEFT: usize = 2 << 10;
    let mut extractor = Extractor::new(format, hint);
    for piece in pieces {
        extractor.feed(piece.as_ref());
        let held = extractor.reader().map_or(0, Reader::held);
        assert!(held <= MAX_HELD, "{held} bytes are held");
    }
    extractor.finish();
    // What is known waits in a queue of thousands.
    let left = extractor.reader().map_or(0, Reader::held);
    assert!(left <= MAX_LEFT, "{left} bytes are left");
    extractor
}

/// All that anybody asks of a whole body.
#[derive(Debug, PartialEq)]
struct Seen<'a> {
    facts: Facts<'a>,
    is_terminal: bool,
    is_error: bool,
    is_stream: bool,
}

fn seen(extractor: &Extractor) -> Seen<'_> {
    Seen {
        facts: extractor.facts(true),
        is_terminal: extractor.is_terminal(),
        is_error: extractor.is_error(),
        is_stream: extractor.is_stream(),
    }
}

/// Asserts that `body`, cut in two at every byte, in single bytes, and in pieces of odd sizes, says what it says whole.
fn assert_same_however_cut(format: Format, hint: Option<Dialect>, body: &[u8], what: &str) {
    let whole = read(format, hint, [body]);
    let expected = seen(&whole);
    let cuts: Vec<usize> = if body.len() <= 8 << 10 {
        (0..=body.len()).collect()
    } else {
        // Spread over the body, at no regular distance.
        (1..=200).map(|n: usize| n.wrapping_mul(0x9E37_79B9) % body.len()).collect()
    };
    for cut in cuts {
        let cut_in_two = read(format, hint, [&body[..cut], &body[cut..]]);
        assert_eq!(seen(&cut_in_two), expected, "{what}, cut at {cut}");
    }
    for size in [1, 2, 3, 7, 61, 1460] {
        let pieces = read(format, hint, body.chunks(size));
        assert_eq!(seen(&pieces), expected, "{what}, in pieces of {size}");
    }
}
