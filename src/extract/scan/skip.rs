//! What nobody wants, and where it ends.

use memchr::memchr;

use crate::extract::{
    dialect::{DETAILS, NEEDLES, SPELLINGS},
    simd::{self, BLOCK, Block, Simd, vectorized},
};

/// Where in a container a piece of it ends.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Containers that are open within it, of whichever kind.
    pub(super) nested: u64,
    pub(super) in_text: bool,
    /// The last byte of the text was a backslash that escapes the next.
    pub(super) is_escaped: bool,
}

/// Bytes of a list that are looked at in the hope that it ends there, and nothing in it matters.
const MAX_SPARSE: usize = 4 << 10;

/// Bytes of such a list as far as its texts may be short.
const SHORT: usize = 2 * BLOCK;

/// Blocks of nothing but text behind which it is taken for a long one, whose quotes are escaped: only its end is looked
/// for. It is longer than [`MAX_SPELLED`] then.
const LONG: usize = 2;

/// The longest that the key of a needle can be spelled, each letter as `\u0061`.
const MAX_SPELLED: usize = 80;

/// [`NEEDLES`] in lower case, as far as that is looked at, and the bits that are.
static LOWER_NEEDLES: [(u64, u64); NEEDLES.len()] = {
    let mut needles = [(0, 0); NEEDLES.len()];
    let mut at = 0;
    while at < needles.len() {
        needles[at] = lower(NEEDLES[at]);
        at += 1;
    }
    needles
};

/// The bit that makes letters lower case.
const LOWER: u64 = u64::from_le_bytes([b' '; 8]);

const fn lower(word: &[u8]) -> (u64, u64) {
    let (mut needle, mut mask) = ([0; 8], [0; 8]);
    let mut at = 0;
    while at < word.len() && at < needle.len() {
        (needle[at], mask[at]) = (word[at].to_ascii_lowercase(), u8::MAX);
        at += 1;
    }
    (u64::from_le_bytes(needle), u64::from_le_bytes(mask))
}

/// Where the container ends of which `input` has more from `at` on. If it is not there, `place` says how to go on.
#[inline(never)]
pub(super) fn container_end(input: &[u8], at: usize, place: &mut Place) -> Option<usize> {
    vectorized!(simd => end_within::<_, false>(simd, input, at, place))
}

/// Where the list ends whose elements begin at `at`, if it does so soon, and nothing in it matters.
#[inline(never)]
pub(super) fn sparse_list_end(input: &[u8], at: usize) -> Option<usize> {
    // As a rule, a document is so long for what its list has.
    if input.len() - at > 2 * MAX_SPARSE {
        return None;
    }
    let near = &input[..input.len().min(at + MAX_SPARSE)];
    if let Some(end) = spelled_list_end(near, at) {
        return Some(end);
    }
    vectorized!(simd => end_within::<_, true>(simd, near, at, &mut Place::default()))
}

/// The same of a list that is spelled as most are.
#[inline]
fn spelled_list_end(input: &[u8], at: usize) -> Option<usize> {
    let list = &input[at..];
    let spelling = SPELLINGS.iter().find(|spelling| is_spelled(list, spelling.before))?;
    let end = text_end(input, at + spelling.before.len())?;
    let after = spelling.after.iter().find(|after| input[end..].starts_with(after))?;
    Some(end + after.len())
}

/// Where the list ends that begins at `at`, if it is one that nobody wants and that is spelled as most are.
#[inline(always)]
pub(super) fn spelled_details_end(input: &[u8], at: usize) -> Option<usize> {
    let list = &input[at..];
    let before = DETAILS.iter().find(|before| is_spelled(list, before))?;
    let number = &list[before.len()..];
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0 && number[digits..].starts_with(b"}]")).then_some(at + before.len() + digits + 2)
}

/// The first bytes tell of most that are spelled otherwise, and to compare them is no call.
#[inline(always)]
fn is_spelled(list: &[u8], before: &[u8]) -> bool {
    list.first_chunk::<16>() == before.first_chunk() && list.starts_with(before)
}

/// Brackets are counted, not compared: that they match is not for who skips them to say, and the same list may be
/// skipped from anywhere within it.
#[inline(always)]
fn end_within<S: Simd, const SPARSE: bool>(
    simd: S,
    input: &[u8],
    at: usize,
    place: &mut Place,
) -> Option<usize> {
    let mut at = at;
    let (mut in_text, mut is_escaped) = (place.in_text, place.is_escaped);
    // An escaped byte is not looked at once more.
    let start = at + usize::from(is_escaped);
    // So many blocks before were nothing but text.
    let mut text_blocks = 0;
    while at < input.len() {
        let block = Block::of(simd, input, at);
        let quotes = block.equal(b'"');
        // In a short text, whether a block has a quote is nothing to foresee.
        let is_short = SPARSE && at < start + SHORT;
        let is_long = text_blocks >= LONG;
        if in_text && (quotes == 0 && !is_short || is_long) {
            let Some(end) = text_end_with(simd, input, at + usize::from(is_escaped)) else { break };
            // A longer one is no key, however it is spelled.
            let may_be_key = SPARSE && !is_long && end - at <= MAX_SPELLED;
            if may_be_key && memchr(b'\\', &input[at..end]).is_some() {
                return None;
            }
            at = end + 1;
            (in_text, is_escaped, text_blocks) = (false, false, 0);
            continue;
        }
        let (opened, closed) = (block.opening(), block.closing());
        if !SPARSE && !in_text && quotes | opened | closed == 0 {
            // Numbers, and more of them as a rule.
            at = simd::skip_plain(simd, input, at + BLOCK);
            continue;
        }
        let escapes = if quotes == 0 && !in_text { 0 } else { block.equal(b'\\') };
        let before = u64::from(in_text);
        let inside = texts(quotes, escapes, &mut in_text, &mut is_escaped);
        let end = place.balance(opened & !inside, closed & !inside);
        if SPARSE {
            let within = u64::MAX >> (BLOCK - end.unwrap_or(BLOCK));
            let begins = inside & !(inside << 1 | before);
            if has_needle(simd, input, at, within & (begins | escapes)) {
                return None;
            }
        }
        if let Some(end) = end {
            return Some(at + end);
        }
        text_blocks = if inside == u64::MAX { text_blocks + 1 } else { 0 };
        at += BLOCK;
    }
    place.in_text = in_text;
    place.is_escaped = in_text && ends_escaped(input.get(start..).unwrap_or_default());
    None
}

impl Place {
    /// Counts brackets. Returns the place behind the one that ends the container.
    #[inline(always)]
    fn balance(&mut self, opened: u64, closed: u64) -> Option<usize> {
        let all = u64::from(closed.count_ones());
        if all > self.nested {
            let (mut rest, mut before) = (closed, 0);
            while rest != 0 {
                let at = rest.trailing_zeros();
                let opened_before = opened & ((1 << at) - 1);
                if self.nested + u64::from(opened_before.count_ones()) == before {
                    return Some(at as usize + 1);
                }
                before += 1;
                rest &= rest - 1;
            }
        }
        self.nested = self.nested + u64::from(opened.count_ones()) - all;
        None
    }
}

/// Behind one of the quotes and backslashes of a block stands a needle, or a letter as nobody spells it.
#[inline(always)]
fn has_needle<S: Simd>(simd: S, input: &[u8], at: usize, marks: u64) -> bool {
    let seconds = Block::of(simd, input, at + 1);
    // In upper or lower case, and `u` and `e` differ in one bit.
    let begins = seconds.equal_but(0x20 | (b'e' ^ b'u'), b'e' | b'u') | seconds.equal(b'f');
    let mut found = marks & begins;
    while found != 0 {
        let start = at + 1 + found.trailing_zeros() as usize;
        let Some(bytes) = input.get(start..).and_then(<[u8]>::first_chunk) else { return true };
        let word = u64::from_le_bytes(*bytes) | LOWER;
        if matches!(bytes, [b'u', b'0', b'0', b'4'..=b'7', ..])
            || LOWER_NEEDLES.iter().any(|(needle, mask)| word & mask == *needle)
        {
            return true;
        }
        found &= found - 1;
    }
    false
}

/// Which bytes of a block lie within strings, from what is a quote and what is a backslash; whether the first does so,
/// and is escaped, and then whether the one behind the last is.
#[inline(always)]
fn texts(quotes: u64, escapes: u64, in_text: &mut bool, is_escaped: &mut bool) -> u64 {
    let carried = if *in_text { u64::MAX } else { 0 };
    let mut ends_escaped = *is_escaped;
    let escaped = if escapes != 0 || ends_escaped { escaped(escapes, &mut ends_escaped) } else { 0 };
    let mut inside = quotes & !escaped;
    // Each bit is flipped by every quote up to it.
    for distance in [1, 2, 4, 8, 16, 32] {
        inside ^= inside << distance;
    }
    inside ^= carried;
    if escapes & !inside != 0 {
        return texts_among_escapes(quotes, escapes, in_text, is_escaped);
    }
    *in_text = inside >> 63 == 1;
    *is_escaped = ends_escaped;
    inside
}

/// The same, from one quote to the next: outside of strings, where none should be, a backslash escapes nothing.
#[cold]
#[inline(never)]
fn texts_among_escapes(quotes: u64, escapes: u64, in_text: &mut bool, is_escaped: &mut bool) -> u64 {
    let mut inside = 0;
    for at in 0..u64::BITS {
        let (is_quote, is_escape) = (quotes >> at & 1 == 1, escapes >> at & 1 == 1);
        let was_escaped = std::mem::replace(is_escaped, *in_text && is_escape && !*is_escaped);
        *in_text ^= is_quote && !was_escaped;
        inside |= u64::from(*in_text) << at;
    }
    inside
}

/// Which bytes of a text are escaped, from what is a backslash; whether the first is, and then whether the one behind the
/// last is.
#[inline(always)]
fn escaped(escapes: u64, is_escaped: &mut bool) -> u64 {
    // A run of backslashes escapes what follows it if the first that is not escaped itself stands at an even place and the
    // last at an odd one, or the other way round: to subtract tells, since it borrows along the run.
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    let first = u64::from(*is_escaped);
    let active = escapes & !first;
    let last = (active << 1 | ODD).wrapping_sub(active) ^ ODD;
    *is_escaped = (last & escapes) >> (BLOCK - 1) == 1;
    last ^ (escapes | first)
}

/// Where the string has its closing quote that begins at `start`, or goes on there.
#[inline(never)]
pub(super) fn text_end(input: &[u8], start: usize) -> Option<usize> {
    vectorized!(simd => end_of_text(simd, input, start))
}

/// The same, where the instruction set is known.
#[inline(never)]
pub(super) fn text_end_with<S: Simd>(simd: S, input: &[u8], start: usize) -> Option<usize> {
    simd.vectorize(
        #[inline(always)]
        || end_of_text(simd, input, start),
    )
}

/// Bytes of a text behind which it is taken for a long one.
const LONG_TEXT: usize = 4 * BLOCK;

// Most are short. What is done for the others lies elsewhere, and the less has to be fetched for these.
#[inline(always)]
fn end_of_text<S: Simd>(simd: S, input: &[u8], start: usize) -> Option<usize> {
    let near = input.len().min(start + LONG_TEXT);
    match end_in_blocks(simd, input, start, near, false) {
        None if near < input.len() => end_of_long_text(simd, input, start, near),
        end => end,
    }
}

/// Where the string ends, if it does so in one of the blocks that begin in `at..until`. `is_escaped`: the byte at `at` is.
#[inline(always)]
fn end_in_blocks<S: Simd>(
    simd: S,
    input: &[u8],
    mut at: usize,
    until: usize,
    mut is_escaped: bool,
) -> Option<usize> {
    while at < until {
        let (block, passed) = Block::last(simd, input, at);
        let escaped = escaped(block.equal(b'\\') >> passed, &mut is_escaped);
        let ends = block.equal(b'"') >> passed & !escaped;
        if ends != 0 {
            return Some(at + ends.trailing_zeros() as usize);
        }
        at += BLOCK;
    }
    None
}

/// Goes on with a text of which all before `at` has been looked at.
#[inline(never)]
fn end_of_long_text<S: Simd>(simd: S, input: &[u8], start: usize, at: usize) -> Option<usize> {
    simd.vectorize(
        #[inline(always)]
        || end_of_rest(simd, input, start, at),
    )
}

#[inline(always)]
fn end_of_rest<S: Simd>(simd: S, input: &[u8], start: usize, at: usize) -> Option<usize> {
    let mut at = at;
    // A block that lies in two lines of the cache takes as long as two; what is looked at once more does no harm.
    at -= input.get(at..)?.as_ptr().addr() % BLOCK;
    at = skip_plain_text(simd, input, at);
    end_in_blocks(simd, input, at, input.len(), ends_escaped(&input[start..at]))
}

/// Behind the turns from `at` on in which no string ends, as far as no two backslashes are in them or before them, which
/// would have to be counted.
///
/// Escaped quotes are at no regular distance: to stop at each of them costs more than to look for backslashes as well.
#[inline(always)]
fn skip_plain_text<S: Simd>(simd: S, input: &[u8], at: usize) -> usize {
    let mut at = at;
    if input[..at].ends_with(br"\\") {
        return at;
    }
    let mut before = u64::from(input[at - 1] == b'\\');
    while let Some(turn) = input.get(at..).and_then(<[u8]>::first_chunk::<{ 4 * BLOCK }>) {
        let mut found = 0;
        for bytes in turn.as_chunks().0 {
            let block = Block::new(simd, bytes);
            let (quotes, escapes) = (block.equal(b'"'), block.equal(b'\\'));
            let escaped = escapes << 1 | before;
            before = escapes >> (BLOCK - 1);
            found |= quotes & !escaped | escapes & escaped;
        }
        if found != 0 {
            break;
        }
        at += turn.len();
    }
    at
}

/// Where the word ends that stands at `at`.
pub(super) fn word_end(input: &[u8], at: usize) -> usize {
    let is_end = |byte: &u8| *byte <= b' ' || matches!(byte, b',' | b'"' | b'[' | b']' | b'{' | b'}');
    at + input[at..].iter().position(is_end).unwrap_or(input.len() - at)
}

/// How many of eight bytes, from the first on, are `limit` at most, which is no more than seven bits have.
#[inline(always)]
fn at_most(limit: u8, bytes: u64) -> u32 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // What is more reaches the highest bit.
    let others = (bytes.wrapping_add(ONES * u64::from(0x7F - limit)) | bytes) & (ONES * 0x80);
    others.trailing_zeros() / 8
}

/// Behind the white space at `at`, for which all passes that is not seen.
#[inline]
pub(super) fn space(input: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(bytes) = input.get(at..).and_then(<[u8]>::first_chunk) {
        let spaces = at_most(b' ', u64::from_le_bytes(*bytes));
        at += spaces as usize;
        if spaces < 8 {
            return at;
        }
    }
    at + input.get(at..).map_or(0, |rest| rest.iter().take_while(|byte| **byte <= b' ').count())
}

/// `text` ends in a backslash that escapes what follows.
#[inline(always)]
pub(super) fn ends_escaped(text: &[u8]) -> bool {
    text.last() == Some(&b'\\') && text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::extract::{
        dialect::PATHS,
        scan::{Scalar, Scanner, Visit},
        trie::{ExpectedId, NodeId},
    };

    /// Byte by byte.
    fn plain_text_end(input: &[u8], start: usize) -> Option<usize> {
        let mut is_escaped = false;
        (start..input.len()).find(|at| {
            let is_end = input[*at] == b'"' && !is_escaped;
            is_escaped = input[*at] == b'\\' && !is_escaped;
            is_end
        })
    }

    fn plain_container_end(input: &[u8], start: usize) -> Option<usize> {
        let (mut at, mut open) = (start, 1);
        while let Some(byte) = input.get(at) {
            match byte {
                b'"' => at = plain_text_end(input, at + 1)?,
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            at += 1;
            if open == 0 {
                return Some(at);
            }
        }
        None
    }

    /// Quotes, and what stands before them.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => (0..300_usize).prop_map(|len| "x".repeat(len)),
            4 => Just(r#"\""#.to_owned()),
            4 => (1..6_usize).prop_map(|len| r"\".repeat(len)),
            1 => (60..140_usize).prop_map(|len| r"\".repeat(len)),
            1 => Just("\"".to_owned()),
        ]
    }

    fn containers() -> impl Strategy<Value = String> {
        prop_oneof![2 => texts(), 3 => prop::sample::select(vec!["{", "[", "}", "]", "\""]).prop_map(str::to_owned)]
    }

    /// Pieces in a row, and a place in them.
    fn from_anywhere(
        piece: impl Strategy<Value = String>,
        pieces: Range<usize>,
    ) -> impl Strategy<Value = (String, usize)> {
        (prop::collection::vec(piece, pieces), 0..200_usize).prop_map(|(pieces, start)| {
            let input = pieces.concat();
            let start = start.min(input.len());
            (input, start)
        })
    }

    /// Once for each set of instructions.
    const SETS: usize = 4;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(4_000)))]

        #[test]
        fn a_text_ends_at_the_first_quote_that_is_not_escaped(
            (input, start) in from_anywhere(texts(), 0..30),
        ) {
            for _ in 0..SETS {
                prop_assert_eq!(text_end(input.as_bytes(), start), plain_text_end(input.as_bytes(), start));
            }
        }

        #[test]
        fn a_container_ends_at_its_bracket_wherever_it_is_cut(
            (input, start) in from_anywhere(containers(), 0..40),
            cut in 0..4_000_usize,
        ) {
            let (front, back) = input.as_bytes().split_at(cut.clamp(start, input.len()));
            for _ in 0..SETS {
                let mut place = Place::default();
                let end = container_end(front, start, &mut place)
                    .or_else(|| Some(front.len() + container_end(back, 0, &mut place)?));
                prop_assert_eq!(end, plain_container_end(input.as_bytes(), start));
            }
        }

        #[test]
        fn a_list_that_is_spelled_as_most_ends_where_others_do(
            text in prop::collection::vec(texts(), 0..6),
            choice in any::<[prop::sample::Index; 2]>(),
            rest in prop::sample::select(vec!["", ",", "]", "}]", "\"", ",{\"usage\":1}]"]),
        ) {
            let spelling = choice[0].get(&SPELLINGS);
            let after = choice[1].get(&spelling.after);
            let list = [b"[", spelling.before, text.concat().as_bytes(), after, rest.as_bytes()].concat();
            for _ in 0..SETS {
                if let Some(end) = sparse_list_end(&list, 1) {
                    prop_assert_eq!(Some(end), plain_container_end(&list, 1));
                }
            }
        }

        #[test]
        fn a_sparse_list_that_is_passed_over_ends_at_its_bracket(
            (input, start) in from_anywhere(containers(), 0..40),
        ) {
            for _ in 0..SETS {
                if let Some(end) = sparse_list_end(input.as_bytes(), start) {
                    prop_assert_eq!(Some(end), plain_container_end(input.as_bytes(), start));
                }
            }
        }
    }

    /// Asserts that nobody wants what it is told of.
    struct Nothing;

    impl Visit for Nothing {
        fn open(&mut self, _: NodeId) {}

        fn count(&mut self, node: NodeId, _: u32) -> bool {
            assert_eq!(node, NodeId::NONE);
            false
        }

        fn scalar(&mut self, node: NodeId, value: Scalar<'_>) {
            panic!("{node:?}: {value:?}");
        }

        fn end(&mut self) {}
    }

    #[test]
    fn nothing_in_a_list_that_is_spelled_as_most_is_wanted() {
        for spelling in &SPELLINGS {
            for after in spelling.after {
                let list = [spelling.before, b"usage", after].concat();
                assert_eq!(sparse_list_end(&list, 0), Some(list.len()));
                for name in ["candidates", "choices"] {
                    let document = [b"{\"", name.as_bytes(), b"\":[", &list, b"}"].concat();
                    assert!(serde_json::from_slice::<serde_json::Value>(&document).is_ok());
                    let mut scanner = Scanner::new(ExpectedId::NONE);
                    // No list is whole in a piece then.
                    document.chunks(1).for_each(|byte| scanner.feed(&PATHS.trie, byte, &mut Nothing));
                    assert!(scanner.is_between_documents());
                }
            }
        }
    }

    #[test]
    fn details_that_are_spelled_as_most_end_where_they_do() {
        for before in DETAILS {
            let before = std::str::from_utf8(before).unwrap();
            for (number, is_passed) in
                [("0", true), ("1117", true), ("", false), ("-1", false), ("1.5", false)]
            {
                let list = format!("{before}{number}}}]");
                for rest in ["", ",", "]}"] {
                    let input = format!("x{list}{rest}");
                    let end = spelled_details_end(input.as_bytes(), 1);
                    assert_eq!(end, is_passed.then_some(1 + list.len()), "{input}");
                }
                assert_eq!(spelled_details_end(&list.as_bytes()[..list.len() - 1], 0), None);
            }
        }
    }
}
