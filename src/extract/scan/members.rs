//! The members of an object, most of which are short, and many of which come in an order that is known.

use super::{
    MAX_TEXT, Scalar, Scanner, State, Visit,
    skip::{Place, space, spelled_details_end, text_end_with},
    tell, word,
};
use crate::extract::{
    simd::{self, Block, KEY, Simd},
    trie::{ExpectedId, NodeId, Trie},
};

/// How the members of an object are set apart: as those before them, as a rule.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// White space behind a colon, none or one.
    colon: usize,
    /// From the comma behind a value, or the brace, to the first byte of the key behind it.
    gap: usize,
    /// What it has more one object further in.
    indent: usize,
}

impl Style {
    /// A gap of a comma and a quote.
    pub(super) const COMPACT: u16 = 2;
    /// With a space between them.
    const SPACED: u16 = 3;

    /// Of an object in which `gap` was seen, with so many containers open.
    fn of(gap: u16, depth: u8) -> Self {
        // Most documents are on a line of their own, and to divide takes a while.
        let indent = if gap > Self::SPACED { (gap - Self::SPACED) / u16::from(depth.max(1)) } else { 0 };
        Self { colon: usize::from(gap > Self::COMPACT), gap: gap.into(), indent: indent.into() }
    }

    #[inline(always)]
    fn enter(&mut self) {
        self.gap += self.indent;
    }

    #[inline(always)]
    fn leave(&mut self) {
        self.gap = self.gap.saturating_sub(self.indent).max(Self::COMPACT.into());
    }

    /// White space before the closing brace.
    #[inline(always)]
    fn closing(self) -> usize {
        let is_spread = self.gap > Self::SPACED.into();
        if is_spread { (self.gap - usize::from(Self::COMPACT)).saturating_sub(self.indent) } else { 0 }
    }
}

/// A key as it was read.
struct Key {
    node: NodeId,
    /// What comes behind its value, as a rule.
    next: ExpectedId,
    /// Behind its colon.
    end: usize,
    /// Where the first string behind it ends, if that is known.
    text_end: Option<usize>,
}

impl Scanner {
    /// Reads members of an object, from the quote of a key on, as long as they are as most are. Returns where that ends;
    /// the state says what comes there.
    ///
    /// What is guessed and compared nothing has to wait for: the key that is expected, and the white space that was there
    /// before. The next member is begun before this one is read.
    #[inline(always)]
    pub(super) fn members<S: Simd>(
        &mut self,
        simd: S,
        trie: &Trie,
        input: &[u8],
        visit: &mut impl Visit,
    ) -> usize {
        let mut style = Style::of(self.gap, self.depth);
        let mut at = 1;
        // Not in its place, which would have to be written and read from one member to the next.
        let mut expected = self.expected;
        let (state, end) = 'members: loop {
            let Some(key) = self.key(simd, trie, expected, input, at) else { break (State::InKey, at) };
            self.node = key.node;
            expected = key.next;
            let mut start = key.end + style.colon;
            if input.get(start).is_none_or(|byte| *byte <= b' ') || style.colon > 0 && input[key.end] != b' '
            {
                start = space(input, key.end);
                style.colon = (start - key.end).min(1);
            }
            let Some(&byte) = input.get(start) else { break (State::Value, start) };
            let mut end = match byte {
                b'0'..=b'9' => {
                    let Some((count, end)) = digits(input, start) else { break (State::Value, start) };
                    if count.is_none_or(|count| !visit.count(key.node, count)) {
                        tell(visit, key.node, Scalar::Number(&input[start..end]));
                    }
                    end
                }
                b'"' => {
                    let text = start + 1;
                    let end = match key.text_end {
                        None => match short_text_end(simd, input, text) {
                            None => text_end_with(simd, input, text),
                            end => end,
                        },
                        end => end,
                    };
                    let Some(end) = end else {
                        self.begin_text(&input[text..]);
                        break (self.state, input.len());
                    };
                    tell(visit, key.node, Scalar::Text(&input[text..end.min(text + MAX_TEXT)]));
                    end + 1
                }
                b'n' | b't' | b'f' => {
                    let Some((value, end)) = word(input, start) else { break (State::Value, start) };
                    tell(visit, key.node, value);
                    end
                }
                b'{' if trie.has_children(key.node) => {
                    self.enter(trie, key.node, visit);
                    expected = self.expected;
                    style.enter();
                    at = start + style.gap;
                    if input.get(at - 1) == Some(&b'"') && is_space(simd, input, start + 1, at - 1) {
                        continue 'members;
                    }
                    break (State::FirstKey, start + 1);
                }
                b'[' if trie.element(key.node) != NodeId::NONE => {
                    match self.list(trie, key.node, input, start + 1, visit) {
                        Some(end) => end,
                        None => break (State::FirstValue, start + 1),
                    }
                }
                b'{' | b'[' => {
                    let end = spelled_details_end(input, start)
                        .or_else(|| self.skip(input, start + 1, Place::default(), false));
                    let Some(end) = end else { break (self.state, input.len()) };
                    tell(visit, key.node, Scalar::Other);
                    end
                }
                _ => break (State::Value, start),
            };
            loop {
                if input.get(end) == Some(&b',') {
                    at = end + style.gap;
                    if input.get(at - 1) != Some(&b'"') || !is_space(simd, input, end + 1, at - 1) {
                        at = space(input, end + 1) + 1;
                        if input.get(at - 1) != Some(&b'"') {
                            break 'members (State::Key, at - 1);
                        }
                        style.gap = at - end;
                    }
                    continue 'members;
                }
                let brace = end + style.closing();
                if input.get(brace) != Some(&b'}') || !is_space(simd, input, end, brace) {
                    break 'members (State::After, end);
                }
                end = brace + 1;
                let state = self.close(trie, visit);
                expected = self.expected;
                style.leave();
                if state != State::After || self.top_is_array() {
                    break 'members (state, end);
                }
            }
        };
        self.expected = expected;
        self.state = state;
        end
    }

    /// Reads a key and its colon, if it is as most are.
    #[inline(always)]
    fn key<S: Simd>(
        &self,
        simd: S,
        trie: &Trie,
        expected: ExpectedId,
        input: &[u8],
        at: usize,
    ) -> Option<Key> {
        let rest = input.get(at..)?;
        let last;
        let bytes = match rest.first_chunk() {
            Some(bytes) => bytes,
            None => {
                last = simd::padded(rest);
                &last
            }
        };
        let guess = trie.expected(expected);
        if let Some(len) = guess.len_in(simd, bytes) {
            return Some(Key { node: guess.node, next: guess.next, end: at + len, text_end: None });
        }
        let (quotes, escapes) = marks(simd, input, at);
        let len = quotes.trailing_zeros() as usize;
        if len >= KEY || rest.get(len + 1) != Some(&b':') || escapes & ((1 << len) - 1) != 0 {
            return None;
        }
        let node = trie.child_in(simd, self.top(), bytes, len);
        let next = if node == NodeId::NONE { expected } else { trie.next_of(node) };
        // Should it be a string, then behind the quote that ends the key comes one that begins it.
        let but_first = |bits: u64| bits & bits.wrapping_sub(1);
        let text_end = first_unescaped(but_first(but_first(quotes)), escapes).map(|end| at + end);
        Some(Key { node, next, end: at + len + 2, text_end })
    }
}

/// The quotes and the backslashes from `at` on, a bit each.
#[inline(always)]
fn marks<S: Simd>(simd: S, input: &[u8], at: usize) -> (u64, u64) {
    let (block, passed) = Block::last(simd, input, at);
    (block.equal(b'"').unbounded_shr(passed as u32), block.equal(b'\\').unbounded_shr(passed as u32))
}

/// Where the string ends that begins at `start`, if it does so soon, and nothing in it is escaped.
#[inline(always)]
fn short_text_end<S: Simd>(simd: S, input: &[u8], start: usize) -> Option<usize> {
    let (quotes, escapes) = marks(simd, input, start);
    let end = first_unescaped(quotes, escapes)?;
    Some(start + end)
}

/// The place of the first quote, unless there is a backslash somewhere before it.
#[inline(always)]
fn first_unescaped(quotes: u64, escapes: u64) -> Option<usize> {
    let is_plain = quotes != 0 && escapes & (quotes - 1) & !quotes == 0;
    if is_plain { Some(quotes.trailing_zeros() as usize) } else { None }
}

/// All of the bytes are white space, and not too many.
#[inline(always)]
fn is_space<S: Simd>(simd: S, input: &[u8], start: usize, end: usize) -> bool {
    if start == end {
        return true;
    }
    let (block, passed) = Block::last(simd, input, start);
    block.spaces().unbounded_shr(passed as u32).trailing_ones() as usize >= end - start
}

/// Stands behind a number or a word in an object.
#[inline(always)]
pub(super) fn is_end(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b',' | b'}')
}

/// Where the digits at `at` end, and the number that they are, if they are few; `None`, if there are many, if something
/// else belongs to the number, or if `input` ends too soon to tell.
///
/// One by one: where they end is foreseen then, as a rule, and what follows them is begun at once. A length that is
/// computed from all of them has to be waited for.
#[inline(always)]
fn digits(input: &[u8], at: usize) -> Option<(Option<u32>, usize)> {
    let mut end = at;
    let mut number = 0_u32;
    let byte = loop {
        let byte = *input.get(end)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break byte;
        }
        number = number.wrapping_mul(10).wrapping_add(digit.into());
        end += 1;
        if end - at == MAX_DIGITS {
            return None;
        }
    };
    if !is_end(byte) {
        return None;
    }
    // So many that none is too large.
    Some(((end - at < 10).then_some(number), end))
}

/// Digits of a number that is read here.
const MAX_DIGITS: usize = 17;
