//! A push scanner for JSON: visits the wanted paths, skips the rest, holds no more than the value it is reading.
//!
//! It takes any split of its input and gives the same visits. It is strict about where it is (a path is a path, a
//! string is a string), and easy about what it skips: of a value that nobody wants only the end is looked for.

use smallvec::SmallVec;

use super::{
    simd::{self, BLOCK, Block, KEY, Simd, vectorized},
    text,
    trie::{NodeId, Trie},
};

/// Containers that can be open on the way to a wanted value. The deepest path of the dialects decides.
const MAX_DEPTH: usize = 8;

/// Bytes of a key, a number or a string that are looked at. More than any key or number that is wanted; a longer
/// string is cut.
const MAX_TEXT: usize = 256;

/// Who is told.
pub(super) trait Visit {
    /// The value at `node` is an object or array; what is wanted of it follows.
    fn open(&mut self, node: NodeId);
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
    /// In an object or array that is not wanted.
    Skip { open: u8, in_text: bool },
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
    /// Containers of the skipped kind that are open within the skipped one.
    nested: u64,
    /// The key, number or string being read, when it does not lie in one piece of input.
    text: SmallVec<[u8; 40]>,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Root,
            node: NodeId::ROOT,
            stack: [NodeId::NONE; MAX_DEPTH],
            arrays: 0,
            depth: 0,
            in_root_array: false,
            escaped: false,
            nested: 0,
            text: SmallVec::new(),
        }
    }

    /// Forgets what was begun: what comes next is a new document.
    pub(super) fn reset(&mut self) {
        self.state = State::Root;
        self.node = NodeId::ROOT;
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
        self.state == State::Broken
    }

    /// No document, and no array of documents, is begun but not ended.
    pub(super) fn is_between_documents(&self) -> bool {
        self.state == State::Root && !self.in_root_array
    }

    /// Reads the next piece.
    pub(super) fn feed(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) {
        vectorized!(simd => {
            let start = self.go_on(simd, trie, input, visit);
            self.read(simd, trie, input, start, visit);
        });
    }

    /// Says that nothing more comes, which is what ends a number that is a whole document.
    pub(super) fn finish(&mut self, visit: &mut impl Visit) {
        if self.state == State::Word && self.depth == 0 && !self.in_root_array {
            self.end_word(visit);
        }
    }

    /// Reads from where structure stands to the end of `input`, or into what goes on beyond it.
    ///
    /// What is at hand is read straight on, from a key to its value to what follows it: the state is looked at where
    /// the way is not the usual one.
    #[inline(always)]
    fn read<S: Simd>(&mut self, simd: S, trie: &Trie, input: &[u8], start: usize, visit: &mut impl Visit) {
        let mut at = start;
        let mut state = self.state;
        while state != State::Broken {
            at = space(simd, input, at);
            let Some(&byte) = input.get(at) else { break };
            match state {
                State::Key | State::FirstKey if byte == b'"' => {
                    (at, state) = self.members(simd, trie, input, at + 1, visit);
                    if state != State::InKey {
                        continue;
                    }
                    let Some(end) = text_end(simd, input, at) else {
                        return self.begin_text(&input[at..], State::InKey);
                    };
                    self.node = child(trie, self.top(), &input[at..end]);
                    at = end + 1;
                    state = State::Colon;
                    continue;
                }
                State::Key | State::FirstKey => {
                    at += 1;
                    state = match byte {
                        b'}' if state == State::FirstKey => self.close(visit),
                        _ => State::Broken,
                    };
                    continue;
                }
                State::Colon => {
                    at += 1;
                    state = if byte == b':' { State::Value } else { State::Broken };
                    continue;
                }
                State::After => {
                    at += 1;
                    state = match byte {
                        b',' => self.next(),
                        b']' if self.top_is_array() => self.close(visit),
                        b'}' if !self.top_is_array() => self.close(visit),
                        _ => State::Broken,
                    };
                    continue;
                }
                State::FirstValue if byte == b']' => {
                    at += 1;
                    state = self.close(visit);
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
                _ => {}
            }

            let node = self.node;
            let is_wanted = node != NodeId::NONE;
            match byte {
                b'"' => {
                    at += 1;
                    let Some(end) = text_end(simd, input, at) else {
                        return self
                            .begin_text(&input[at..], if is_wanted { State::Text } else { State::SkipText });
                    };
                    if is_wanted {
                        visit.scalar(node, Scalar::Text(&input[at..end.min(at + MAX_TEXT)]));
                    }
                    at = end + 1;
                }
                b'{' if trie.has_children(node) => {
                    at += 1;
                    self.push(node, false, visit);
                    state = State::FirstKey;
                    continue;
                }
                b'[' if trie.element(node) != NodeId::NONE => {
                    at += 1;
                    self.push(trie.element(node), true, visit);
                    state = State::FirstValue;
                    continue;
                }
                b'{' | b'[' => {
                    self.nested = 0;
                    let Some(end) = self.container_end(simd, input, at + 1, byte, false) else { return };
                    if is_wanted {
                        visit.scalar(node, Scalar::Other);
                    }
                    at = end;
                }
                b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                    let end = word_end(simd, input, at);
                    if end == input.len() {
                        self.state = State::Word;
                        return self.keep(&input[at..]);
                    }
                    match scalar(&input[at..end.min(at + MAX_TEXT)]) {
                        Some(value) if is_wanted => visit.scalar(node, value),
                        Some(_) => {}
                        None => {
                            state = State::Broken;
                            continue;
                        }
                    }
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
    }

    /// Reads members of an object, from within the key of the first, as long as they are as most are. Returns where
    /// that ends, and what comes there: `InKey`, if it is a key that has to be read otherwise.
    #[inline(always)]
    fn members<S: Simd>(
        &mut self,
        simd: S,
        trie: &Trie,
        input: &[u8],
        start: usize,
        visit: &mut impl Visit,
    ) -> (usize, State) {
        let parent = self.top();
        let mut at = start;
        while at < input.len() {
            let last;
            let (bytes, limit) = match input[at..].first_chunk() {
                Some(bytes) => (bytes, BLOCK),
                None => {
                    last = simd::last_bytes(input, at);
                    (&last, input.len() - at)
                }
            };
            let (len, state) = self.member(simd, trie, parent, bytes, limit, visit);
            at += len;
            if state != State::InKey {
                return (at, state);
            }
            if len == 0 {
                break;
            }
        }
        (at, State::InKey)
    }

    /// Reads a member of an object as most are, from within its key: all of it in one block, its value short and no
    /// object or array. Returns how much was read, and what comes then: `InKey`, if it is the next key, or, where nothing
    /// was read, this one still. `limit` is how many of the bytes are there.
    ///
    /// To compare a block with all that matters, and to count bits, takes less than to look for one thing after the
    /// other: each look waits for the one before.
    #[inline(always)]
    fn member<S: Simd>(
        &mut self,
        simd: S,
        trie: &Trie,
        parent: NodeId,
        bytes: &[u8; BLOCK],
        limit: usize,
        visit: &mut impl Visit,
    ) -> (usize, State) {
        let block = Block::new(simd, bytes);
        let quotes = block.equal(b'"');
        let len = quotes.trailing_zeros() as usize;
        if len >= KEY || bytes[len + 1] != b':' || block.has(b'\\') {
            return (0, State::InKey);
        }
        let key = bytes.first_chunk().unwrap_or(&[0; KEY]);
        self.node = trie.child_in(simd, parent, key, len);
        let spaces = block.spaces();
        let mut start = len + 2;
        start += (spaces >> start & 1) as usize;
        let from = |at: usize| u64::MAX.unbounded_shl(at as u32);
        let (end, value) = match bytes[start] {
            b'"' => {
                let end = (quotes & from(start + 1)).trailing_zeros() as usize;
                match bytes.get(start + 1..end) {
                    Some(text) if end < limit => (end + 1, Scalar::Text(text)),
                    _ => return (start, State::Value),
                }
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                let end = (block.ends() & from(start)).trailing_zeros() as usize;
                let word = bytes.get(start..end).filter(|_| end < limit);
                match word.map(scalar) {
                    None => return (start, State::Value),
                    Some(None) => return (start, State::Broken),
                    Some(Some(value)) => (end, value),
                }
            }
            _ => return (start, State::Value),
        };
        if self.node != NodeId::NONE {
            visit.scalar(self.node, value);
        }
        if bytes.get(end) != Some(&b',') {
            return (end, State::After);
        }
        let next = (!spaces & from(end + 1)).trailing_zeros() as usize;
        match bytes.get(next) {
            Some(b'"') => (next + 1, State::InKey),
            _ => (end + 1, State::Key),
        }
    }

    /// Reads to the end of what the last piece of input ended in. Returns where that is.
    #[inline(always)]
    fn go_on<S: Simd>(&mut self, simd: S, trie: &Trie, input: &[u8], visit: &mut impl Visit) -> usize {
        let end = match self.state {
            State::InKey => self.end_key(simd, trie, input),
            State::Text | State::SkipText => self.end_text(simd, input, visit),
            State::Skip { open, in_text } => self.end_container(simd, input, open, in_text, visit),
            State::Word => self.end_split_word(simd, input, visit),
            _ => Some(0),
        };
        end.unwrap_or(input.len())
    }

    #[inline(always)]
    fn end_key<S: Simd>(&mut self, simd: S, trie: &Trie, input: &[u8]) -> Option<usize> {
        let end = self.split_text_end(simd, input);
        self.keep(&input[..end.unwrap_or(input.len())]);
        let end = end?;
        self.node = child(trie, self.top(), &self.text);
        self.text.clear();
        self.state = State::Colon;
        Some(end + 1)
    }

    #[inline(always)]
    fn end_text<S: Simd>(&mut self, simd: S, input: &[u8], visit: &mut impl Visit) -> Option<usize> {
        let end = self.split_text_end(simd, input);
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

    #[inline(always)]
    fn end_container<S: Simd>(
        &mut self,
        simd: S,
        input: &[u8],
        open: u8,
        in_text: bool,
        visit: &mut impl Visit,
    ) -> Option<usize> {
        let end = self.container_end(simd, input, 0, open, in_text)?;
        if self.node != NodeId::NONE {
            visit.scalar(self.node, Scalar::Other);
        }
        self.state = self.after_value(visit);
        Some(end)
    }

    #[inline(always)]
    fn end_split_word<S: Simd>(&mut self, simd: S, input: &[u8], visit: &mut impl Visit) -> Option<usize> {
        let end = word_end(simd, input, 0);
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
        if self.node != NodeId::NONE {
            visit.scalar(self.node, value);
        }
        self.state = self.after_value(visit);
    }

    #[inline(always)]
    fn push(&mut self, inside: NodeId, is_array: bool, visit: &mut impl Visit) {
        visit.open(self.node);
        // The trie is no deeper than the stack (a test says so), and only what is in the trie is opened.
        let depth = usize::from(self.depth).min(MAX_DEPTH - 1);
        self.stack[depth] = inside;
        self.arrays = self.arrays & !(1 << depth) | u8::from(is_array) << depth;
        self.depth += 1;
        self.node = inside;
    }

    /// The input ends in a text, in which nothing has been read yet.
    #[cold]
    fn begin_text(&mut self, text: &[u8], state: State) {
        self.state = state;
        self.escaped = ends_escaped(text);
        if state != State::SkipText {
            self.keep(text);
        }
    }

    /// Behind the end of a container.
    #[inline(always)]
    fn close(&mut self, visit: &mut impl Visit) -> State {
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
    #[inline(always)]
    fn split_text_end<S: Simd>(&mut self, simd: S, input: &[u8]) -> Option<usize> {
        if input.is_empty() {
            return None;
        }
        // From here on, what escapes a quote stands before it.
        let from = usize::from(std::mem::take(&mut self.escaped));
        let end = text_end(simd, input, from);
        if end.is_none() {
            self.escaped = ends_escaped(&input[from..]);
        }
        end
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = MAX_TEXT - self.text.len();
        self.text.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Where the container ends that `input` continues from `at` on. If it is not there, the state says how to go on.
    ///
    /// Brackets are balanced by kind in valid JSON, so that only its own kind needs to be counted.
    #[inline(always)]
    fn container_end<S: Simd>(
        &mut self,
        simd: S,
        input: &[u8],
        at: usize,
        open: u8,
        in_text: bool,
    ) -> Option<usize> {
        // The brackets of a kind are two apart.
        let close = open + 2;
        let mut at = at;
        let mut in_text = in_text;
        let mut is_plain = false;
        loop {
            if in_text {
                // Only what was begun in an earlier piece goes on at the start of this one.
                let end = if at == 0 { self.split_text_end(simd, input) } else { text_end(simd, input, at) };
                let Some(end) = end else {
                    if at > 0 {
                        self.escaped = ends_escaped(&input[at..]);
                    }
                    break;
                };
                at = end + 1;
            }
            if is_plain {
                // Numbers, and more of them as a rule.
                at = simd::skip_all_but(simd, [b'"', open, close], input, at);
            }
            let block = Block::of(simd, input, at);
            let (quotes, opened, closed) = (block.equal(b'"'), block.equal(open), block.equal(close));
            let (inside, begun) = texts(
                quotes,
                #[inline(always)]
                || block.equal(b'\\'),
            );
            if let Some(end) = self.balance(opened & !inside, closed & !inside) {
                return Some(at + end);
            }
            is_plain = quotes | opened | closed == 0;
            in_text = begun.is_some();
            at += begun.unwrap_or(BLOCK);
            if at >= input.len() && !in_text {
                break;
            }
        }
        self.state = State::Skip { open, in_text };
        None
    }

    /// Counts brackets of one kind. Returns the place behind the one that ends the container.
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

/// Which bytes of a block lie within strings, from what is a quote and what is a backslash; and where a string begins
/// that does not end there. The first byte lies outside.
#[inline(always)]
fn texts(quotes: u64, escapes: impl Fn() -> u64) -> (u64, Option<usize>) {
    if quotes == 0 {
        return (0, None);
    }
    let escapes = escapes();
    if escapes != 0 {
        return texts_with_escapes(quotes, escapes);
    }
    // Each bit is flipped by every quote up to it.
    let mut inside = quotes;
    for distance in [1, 2, 4, 8, 16, 32] {
        inside ^= inside << distance;
    }
    let is_open = inside >> 63 == 1;
    (inside, is_open.then(|| 64 - quotes.leading_zeros() as usize))
}

/// The same, from one quote to the next: outside of strings a backslash escapes nothing.
#[inline(never)]
fn texts_with_escapes(quotes: u64, escapes: u64) -> (u64, Option<usize>) {
    let from = |at: u32| u64::MAX.checked_shl(at).unwrap_or(0);
    let mut inside = 0;
    let mut rest = quotes;
    while rest != 0 {
        let start = rest.trailing_zeros();
        let mut at = start + 1;
        loop {
            let next = ((quotes | escapes) & from(at)).trailing_zeros();
            if next == u64::BITS {
                return (inside | from(start), Some(start as usize + 1));
            }
            if quotes >> next & 1 == 1 {
                inside |= from(start) & !from(next);
                rest = quotes & from(next + 1);
                break;
            }
            at = next + 2;
        }
    }
    (inside, None)
}

/// Where the string has its closing quote that begins at `start`, or goes on there.
///
/// Only quotes are looked for: whether one is escaped, the backslashes before it tell, and there are far more escapes in
/// a text than quotes.
#[inline(always)]
fn text_end<S: Simd>(simd: S, input: &[u8], start: usize) -> Option<usize> {
    // Most are short.
    let mut quotes = Block::of(simd, input, start).equal(b'"');
    while quotes != 0 {
        let end = start + quotes.trailing_zeros() as usize;
        if !ends_escaped(&input[start..end]) {
            return Some(end);
        }
        quotes &= quotes - 1;
    }
    let mut at = start + BLOCK;
    loop {
        let end = simd::string_end(simd, input, at)?;
        if !ends_escaped(&input[start..end]) {
            return Some(end);
        }
        at = end + 1;
    }
}

/// Where the word ends that stands at `at`.
#[inline(always)]
fn word_end<S: Simd>(simd: S, input: &[u8], at: usize) -> usize {
    let mut at = at;
    loop {
        let block = Block::of(simd, input, at);
        let ends = block.ends();
        if ends != 0 {
            return at + ends.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
}

/// Behind the white space at `at`, for which all passes that is not seen.
#[inline(always)]
fn space<S: Simd>(simd: S, input: &[u8], at: usize) -> usize {
    let mut at = at;
    while input.get(at).is_some_and(|byte| *byte <= b' ') {
        at += Block::of(simd, input, at).spaces().trailing_ones() as usize;
    }
    at
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

/// The node of a key as spelled. No server escapes a key that is wanted; should one, it is the same key.
fn child(trie: &Trie, parent: NodeId, key: &[u8]) -> NodeId {
    match trie.child(parent, key) {
        NodeId::NONE if key.contains(&b'\\') => trie.child(parent, text::unescape(key).as_bytes()),
        node => node,
    }
}

/// `text` ends in a backslash that escapes what follows.
#[inline(always)]
fn ends_escaped(text: &[u8]) -> bool {
    text.last() == Some(&b'\\') && text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
