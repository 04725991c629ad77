//! A push scanner for JSON: visits the wanted paths, skips the rest, holds no more than the value it is reading.
//!
//! It takes any split of its input and gives the same visits. It is strict about where it is (a path is a path, a
//! string is a string), and easy about what it skips: of a value that nobody wants only the end is looked for.

mod members;
mod skip;

use smallvec::SmallVec;

use self::{
    members::{Style, is_end},
    skip::{Place, container_end, ends_escaped, space, sparse_list_end, text_end, word_end},
};
use super::{
    simd::vectorized,
    text,
    trie::{ExpectedId, NodeId, Trie},
};

/// Containers that can be open on the way to a wanted value. The deepest path of the dialects decides.
const MAX_DEPTH: usize = 8;

/// Bytes of a key, a number or a string that are looked at. More than any key or number that is wanted; a longer
/// string is cut.
const MAX_TEXT: usize = 256;

/// Who is told.
pub(super) trait Visit {
    /// The value at `node` is an object or array, and not the document itself; what is wanted of it follows.
    fn open(&mut self, node: NodeId);
    /// The value at `node` is a whole number of few digits. Returns whether a count is wanted there; for any other value
    /// there is [`scalar`](Self::scalar).
    fn count(&mut self, node: NodeId, count: u32) -> bool;
    /// The value at `node`.
    fn scalar(&mut self, node: NodeId, value: Scalar<'_>);
    /// A whole document has passed.
    fn end(&mut self);
}

/// A value that is no object and no array, or is one where none was wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// As spelled.
    Number(&'a [u8]),
    /// As spelled between the quotes, cut after `MAX_TEXT` bytes.
    Text(&'a [u8]),
    /// An object or an array whose inside is not wanted, or `NaN` and its like, which are not JSON but are sent.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a document.
    Root,
    /// Before a key.
    Key,
    /// Before the first key of an object, or its end.
    FirstKey,
    /// In a key.
    InKey,
    /// Behind a key.
    Colon,
    /// Before a value.
    Value,
    /// Before the first value of an array, or its end.
    FirstValue,
    /// In a string that is wanted.
    Text,
    /// In a string that is not.
    SkipText,
    /// In a number or a word; wanted or not.
    Word,
    /// In an object or array that is not wanted; or in a list that is broken.
    Skip { in_text: bool, is_broken: bool },
    /// Behind a value.
    After,
    /// The document is not JSON. Nothing more is read of it.
    Broken,
}

/// The scanner's state between two pieces of input.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// Where the value that is being read, or comes next, belongs.
    node: NodeId,
    /// The open containers: whose inside they are, and whether they are arrays (one bit each).
    stack: [NodeId; MAX_DEPTH],
    arrays: u8,
    depth: u8,
    /// A root array is open: its elements are documents.
    in_root_array: bool,
    /// The last byte of the string was a backslash that escapes the next.
    escaped: bool,
    /// Containers that are open within the skipped one.
    nested: u32,
    /// The key that comes next, as a rule.
    expected: ExpectedId,
    /// The one that a document begins with.
    first: ExpectedId,
    /// How far the next key is from the comma or brace before it.
    gap: u16,
    /// The key, number or string being read, when it does not lie in one piece of input.
    text: SmallVec<[u8; 32]>,
}

impl Scanner {
    /// Of documents that begin with the key `first`, as a rule.
    #[inline(always)]
    pub(super) fn new(first: ExpectedId) -> Self {
        Self {
            state: State::Root,
            node: NodeId::ROOT,
            stack: [NodeId::NONE; MAX_DEPTH],
            arrays: 0,
            depth: 0,
            in_root_array: false,
            escaped: false,
            nested: 0,
            expected: first,
            first,
            gap: Style::COMPACT,
            text: SmallVec::new(),
        }
    }

    /// Forgets what was begun: what comes next is a new document.
    pub(super) fn reset(&mut self) {
        self.state = State::Root;
        self.node = NodeId::ROOT;
        self.expected = self.first;
        self.depth = 0;
        self.in_root_array = false;
        self.escaped = false;
        self.text.clear();
    }

    /// Bytes that are held beside the state itself.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        if self.text.spilled() { self.text.capacity() } else { 0 }
    }

    /// The containers that are open: whose inside they are.
    pub(super) fn open(&self) -> &[NodeId] {
        &self.stack[..usize::from(self.depth).min(MAX_DEPTH)]
    }

    /// What was fed is not JSON.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken | State::Skip { is_broken: true, .. })
    }

    /// No document, and no array of documents, is begun but not ended.
    pub(super) fn is_between_documents(&self) -> bool {
        self.state == State::Root && !self.in_root_array
    }

    /// Reads the next piece.
    pub(super) fn feed(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) {
        let mut rest = input;
        // As most documents begin, and end.
        if self.state == State::Root && rest.first() == Some(&b'{') {
            let key = if rest.get(1) == Some(&b'"') { 1 } else { space(rest, 1) };
            if rest.get(key) == Some(&b'"') {
                self.push(NodeId::ROOT, false);
                self.gap = u16::try_from(key + 1).unwrap_or(Style::COMPACT);
                rest = &rest[key + self.read_members(trie, &rest[key..], visit)..];
                if self.state == State::Root && !rest.is_empty() {
                    rest = &rest[space(rest, 0)..];
                }
            }
        }
        if !rest.is_empty() {
            self.feed_rest(trie, rest, visit);
        }
    }

    #[inline(never)]
    fn feed_rest(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) {
        let mut rest = input;
        while !rest.is_empty() {
            let end = match self.state {
                State::InKey => self.end_key(trie, rest),
                State::Text | State::SkipText => self.end_text(rest, visit),
                State::Skip { in_text, is_broken } => self.end_skip(rest, in_text, is_broken, visit),
                State::Word => self.end_split_word(rest, visit),
                State::Key | State::FirstKey if rest[0] == b'"' => Some(self.read_members(trie, rest, visit)),
                _ => Some(self.read(trie, rest, visit)),
            };
            rest = &rest[end.unwrap_or(rest.len())..];
        }
    }

    /// Says that nothing more comes, which is what ends a number that is a whole document.
    pub(super) fn finish(&mut self, visit: &mut impl Visit) {
        if self.state == State::Word && self.depth == 0 && !self.in_root_array {
            self.end_word(visit);
        }
    }

    /// Reads from where structure stands to the next key, or to the end of `input`, or into what goes on beyond it.
    /// Returns where that is.
    fn read(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) -> usize {
        let mut at = 0;
        let mut state = self.state;
        loop {
            if state == State::Broken {
                return if self.leave_list(trie) { at } else { input.len() };
            }
            let before = at;
            at = space(input, at);
            let Some(&byte) = input.get(at) else { break };
            match state {
                State::Key | State::FirstKey if byte == b'"' => {
                    self.gap = u16::try_from(at - before + 2).unwrap_or(Style::COMPACT);
                    break;
                }
                State::FirstKey if byte == b'}' => {
                    at += 1;
                    state = self.close(trie, visit);
                    continue;
                }
                State::Colon if byte == b':' => {
                    at += 1;
                    state = State::Value;
                    continue;
                }
                State::After if byte == b',' => {
                    at += 1;
                    state = self.next();
                    continue;
                }
                State::After if byte == if self.top_is_array() { b']' } else { b'}' } => {
                    at += 1;
                    state = self.close(trie, visit);
                    continue;
                }
                State::FirstValue if byte == b']' => {
                    at += 1;
                    state = self.close(trie, visit);
                    continue;
                }
                State::Root if self.in_root_array && matches!(byte, b']' | b',') => {
                    at += 1;
                    self.in_root_array = byte == b',';
                    continue;
                }
                State::Root if byte == b'[' && !self.in_root_array => {
                    at += 1;
                    self.in_root_array = true;
                    continue;
                }
                State::Root | State::Value | State::FirstValue => {}
                _ => {
                    state = State::Broken;
                    continue;
                }
            }

            let node = self.node;
            match byte {
                b'"' => {
                    at += 1;
                    let Some(end) = text_end(input, at) else {
                        self.begin_text(&input[at..]);
                        return input.len();
                    };
                    tell(visit, node, Scalar::Text(&input[at..end.min(at + MAX_TEXT)]));
                    at = end + 1;
                }
                b'{' if trie.has_children(node) => {
                    at += 1;
                    self.enter(trie, node, visit);
                    state = State::FirstKey;
                    continue;
                }
                b'[' if trie.element(node) != NodeId::NONE => {
                    at += 1;
                    match self.list(trie, node, input, at, visit) {
                        Some(end) => at = end,
                        None => {
                            state = State::FirstValue;
                            continue;
                        }
                    }
                }
                b'{' | b'[' => {
                    let Some(end) = self.skip(input, at + 1, Place::default(), false) else {
                        return input.len();
                    };
                    tell(visit, node, Scalar::Other);
                    at = end;
                }
                b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                    let end = word_end(input, at);
                    if end == input.len() {
                        self.state = State::Word;
                        self.keep(&input[at..]);
                        return end;
                    }
                    let Some(value) = scalar(&input[at..end.min(at + MAX_TEXT)]) else {
                        state = State::Broken;
                        continue;
                    };
                    tell(visit, node, value);
                    at = end;
                }
                _ => {
                    state = State::Broken;
                    continue;
                }
            }
            state = self.after_value(visit);
            // As a rule, nothing stands between.
            if state == State::After && input.get(at) == Some(&b',') {
                at += 1;
                state = self.next();
            }
        }
        self.state = state;
        at.min(input.len())
    }

    /// The document breaks here. Within a sparse list that spoils no more than the list, the rest of which is skipped:
    /// whether it is looked at closely depends on how the document is cut, which must not show. Returns whether it is.
    #[cold]
    #[inline(never)]
    fn leave_list(&mut self, trie: &Trie) -> bool {
        self.state = State::Broken;
        let depth = usize::from(self.depth).min(MAX_DEPTH);
        let is_sparse = |depth: &usize| self.arrays >> depth & 1 == 1 && trie.is_sparse(self.stack[*depth]);
        let Some(list) = (0..depth).find(is_sparse) else { return false };
        self.nested = (depth - list - 1) as u32;
        self.expected = trie.next_of(self.stack[list]);
        self.depth = list as u8;
        // Whoever wants the list has been told.
        self.node = NodeId::NONE;
        self.state = State::Skip { in_text: false, is_broken: true };
        true
    }

    /// Reads on from the quote of a key. Returns where that ends.
    #[inline(never)]
    fn read_members(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) -> usize {
        vectorized!(simd => self.members(simd, trie, input, visit))
    }

    /// Skips a container of which there is more from `at` on. Returns where it ends; if that is not in `input`, the
    /// state says how to go on.
    fn skip(&mut self, input: &[u8], at: usize, mut place: Place, is_broken: bool) -> Option<usize> {
        let end = container_end(input, at, &mut place);
        if end.is_none() {
            // Nobody sends as many.
            self.nested = u32::try_from(place.nested).unwrap_or(u32::MAX);
            self.escaped = place.is_escaped;
            self.state = State::Skip { in_text: place.in_text, is_broken };
        }
        end
    }

    // What the last piece of input ended in: these give where it ends, if it does so in this one.

    fn end_key(&mut self, trie: &Trie, input: &[u8]) -> Option<usize> {
        let end = self.split_text_end(input);
        self.keep(&input[..end.unwrap_or(input.len())]);
        let end = end?;
        self.node = child(trie, self.top(), &self.text);
        self.text.clear();
        self.state = State::Colon;
        Some(end + 1)
    }

    fn end_text(&mut self, input: &[u8], visit: &mut impl Visit) -> Option<usize> {
        let end = self.split_text_end(input);
        if self.state == State::Text {
            self.keep(&input[..end.unwrap_or(input.len())]);
        }
        let end = end?;
        if self.state == State::Text {
            visit.scalar(self.node, Scalar::Text(&self.text));
            self.text.clear();
        }
        self.state = self.after_value(visit);
        Some(end + 1)
    }

    fn end_skip(
        &mut self,
        input: &[u8],
        in_text: bool,
        is_broken: bool,
        visit: &mut impl Visit,
    ) -> Option<usize> {
        let place = Place { nested: self.nested.into(), in_text, is_escaped: self.escaped };
        let end = self.skip(input, 0, place, is_broken)?;
        self.escaped = false;
        tell(visit, self.node, Scalar::Other);
        self.state = self.after_value(visit);
        Some(end)
    }

    fn end_split_word(&mut self, input: &[u8], visit: &mut impl Visit) -> Option<usize> {
        let end = word_end(input, 0);
        self.keep(&input[..end]);
        if end == input.len() {
            return None;
        }
        self.end_word(visit);
        Some(end)
    }

    /// The word that is kept is whole.
    fn end_word(&mut self, visit: &mut impl Visit) {
        let word = std::mem::take(&mut self.text);
        let Some(value) = scalar(&word) else {
            self.state = State::Broken;
            return;
        };
        tell(visit, self.node, value);
        self.state = self.after_value(visit);
    }

    /// Into an object.
    #[inline(always)]
    fn enter(&mut self, trie: &Trie, node: NodeId, visit: &mut impl Visit) {
        // What a document begins with is expected already.
        if node != NodeId::ROOT {
            visit.open(node);
            self.expected = trie.first_in(node);
        }
        self.push(node, false);
    }

    /// Past an array whose elements begin at `at`, if it is sparse and nothing in it matters: returns where it ends. Into
    /// any other.
    #[inline(always)]
    fn list(
        &mut self,
        trie: &Trie,
        node: NodeId,
        input: &[u8],
        at: usize,
        visit: &mut impl Visit,
    ) -> Option<usize> {
        visit.open(node);
        let end = if trie.is_sparse(node) { sparse_list_end(input, at) } else { None };
        if end.is_none() {
            self.push(trie.element(node), true);
        }
        end
    }

    #[inline(always)]
    fn push(&mut self, inside: NodeId, is_array: bool) {
        // The trie is no deeper than the stack (a test says so), and only what is in the trie is opened.
        let depth = usize::from(self.depth).min(MAX_DEPTH - 1);
        self.stack[depth] = inside;
        self.arrays = self.arrays & !(1 << depth) | u8::from(is_array) << depth;
        self.depth += 1;
        self.node = inside;
    }

    /// The input ends in a text, in which nothing has been read yet.
    #[cold]
    fn begin_text(&mut self, text: &[u8]) {
        self.escaped = ends_escaped(text);
        if self.node == NodeId::NONE {
            self.state = State::SkipText;
        } else {
            self.state = State::Text;
            self.keep(text);
        }
    }

    /// Behind the end of a container.
    #[inline(always)]
    fn close(&mut self, trie: &Trie, visit: &mut impl Visit) -> State {
        self.expected = trie.next_of(self.top());
        self.depth -= 1;
        self.after_value(visit)
    }

    /// Behind a value.
    #[inline(always)]
    fn after_value(&mut self, visit: &mut impl Visit) -> State {
        if self.depth > 0 {
            return State::After;
        }
        self.node = NodeId::ROOT;
        self.expected = self.first;
        visit.end();
        State::Root
    }

    /// Behind a comma.
    #[inline(always)]
    fn next(&mut self) -> State {
        if self.top_is_array() {
            self.node = self.top();
            State::Value
        } else {
            State::Key
        }
    }

    /// Whose inside the innermost container's is.
    #[inline(always)]
    fn top(&self) -> NodeId {
        match usize::from(self.depth).checked_sub(1) {
            Some(top) => self.stack[top.min(MAX_DEPTH - 1)],
            None => NodeId::NONE,
        }
    }

    #[inline(always)]
    fn top_is_array(&self) -> bool {
        self.depth > 0 && self.arrays >> (self.depth - 1) & 1 == 1
    }

    /// Where the string has its closing quote that has begun in an earlier piece.
    fn split_text_end(&mut self, input: &[u8]) -> Option<usize> {
        if input.is_empty() {
            return None;
        }
        // From here on, what escapes a quote stands before it.
        let from = usize::from(std::mem::take(&mut self.escaped));
        let end = text_end(input, from);
        if end.is_none() {
            self.escaped = ends_escaped(&input[from..]);
        }
        end
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = MAX_TEXT - self.text.len();
        self.text.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// Tells of a value, if it is wanted.
#[inline(always)]
fn tell(visit: &mut impl Visit, node: NodeId, value: Scalar<'_>) {
    if node != NodeId::NONE {
        visit.scalar(node, value);
    }
}

/// What a number or a word says; `None` if it is no JSON.
#[inline(always)]
fn scalar(word: &[u8]) -> Option<Scalar<'_>> {
    Some(match word {
        [b'0'..=b'9', ..] => Scalar::Number(word),
        b"null" => Scalar::Null,
        b"true" => Scalar::Bool(true),
        b"false" => Scalar::Bool(false),
        b"NaN" | b"Infinity" | b"-Infinity" => Scalar::Other,
        [b'-' | b'+' | b'.', ..] => Scalar::Number(word),
        _ => return None,
    })
}

/// What a word says that stands in an object and is none of those that nobody sends, and where it ends.
#[inline(always)]
fn word(input: &[u8], at: usize) -> Option<(Scalar<'_>, usize)> {
    let rest = &input[at..];
    let (value, len) = match rest {
        [b'n', b'u', b'l', b'l', ..] => (Scalar::Null, 4),
        [b't', b'r', b'u', b'e', ..] => (Scalar::Bool(true), 4),
        [b'f', b'a', b'l', b's', b'e', ..] => (Scalar::Bool(false), 5),
        _ => return None,
    };
    rest.get(len).is_some_and(|byte| is_end(*byte)).then_some((value, at + len))
}

/// The node of a key as spelled. No server escapes a key that is wanted; should one, it is the same key.
fn child(trie: &Trie, parent: NodeId, key: &[u8]) -> NodeId {
    match trie.child(parent, key) {
        // A letter can be escaped in one way only.
        NodeId::NONE if key.windows(2).any(|pair| pair == b"\\u") => {
            trie.child(parent, text::unescape(key).as_bytes())
        }
        node => node,
    }
}
