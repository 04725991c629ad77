//! What a reader of usage relies on: the right numbers, from any cut of any body, or an honest word.

mod corpus;
mod formats;
mod oracle;
mod streams;

use super::{
    check::{Facts, seen},
    *,
};

/// Reads a body that comes in these pieces, within bounds.
fn read(
    format: Format,
    hint: Option<Dialect>,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Extractor {
    check::read(Unread::new(format, hint).begin(), pieces)
}

/// Asserts that `body`, cut in two at every byte, in single bytes, and in pieces of odd sizes, says what it says whole.
fn assert_same_however_cut(format: Format, hint: Option<Dialect>, body: &[u8], what: &str) {
    let whole = read(format, hint, [body]);
    let expected = seen(&whole);
    for is_whole in [true, false] {
        let facts = whole.facts(is_whole);
        let (texts, answer) = read(format, hint, [body]).take(is_whole);
        assert_eq!((texts.model(), texts.error_type()), (facts.model, facts.error_type), "{what}");
        assert_eq!(
            (answer.dialect(), answer.judge(None)),
            (facts.dialect, (facts.tokens, facts.quality)),
            "{what}"
        );
    }
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
