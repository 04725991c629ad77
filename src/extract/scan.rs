//! A push scanner for JSON: visits the wanted paths, skips the rest, holds no more than the value it is reading.
//!
//! It takes any split of its input and gives the same visits. It is strict about where it is (a path is a path, a
//! string is a string), and easy about what it skips: of a value that nobody wants only the end is looked for.

use memchr::{memchr, memchr3};
use smallvec::SmallVec;

use super::{
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
    /// Before a value; in an array that has just been opened, or its end.
    Value { first: bool },
    /// Before a key; in an object that has just been opened, or its end.
    Key { first: bool },
    /// In a key.
    InKey,
    /// Behind a key.
    Colon,
    /// In a string that is wanted.
    Text,
    /// In a string that is not.
    SkipText,
    /// In a number or a word; wanted or not.
    Word,
    /// In an object or array that is not wanted.
    Skip { open: u8, close: u8, in_text: bool },
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
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            at += match self.state {
                State::Root | State::Value { .. } | State::Key { .. } | State::Colon | State::After => {
                    self.structure(trie, rest, visit)
                }
                State::InKey => self.key(trie, rest),
                State::Text => self.string(rest, visit),
                State::SkipText => self.skip_text(rest, visit),
                State::Word => self.word(rest, visit),
                State::Skip { open, close, in_text } => self.skip(rest, open, close, in_text, visit),
                State::Broken => return,
            };
        }
    }

    /// Says that nothing more comes, which is what ends a number that is a whole document.
    pub(super) fn finish(&mut self, visit: &mut impl Visit) {
        if self.state == State::Word && self.depth == 0 && !self.in_root_array {
            self.end_word(visit);
        }
    }

    /// Reads from where structure stands to the end of the input, or into a token that goes on beyond it, or behind a
    /// value that is skipped. Returns how many bytes were used.
    fn structure(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) -> usize {
        // Every step knows the next one: with the state at hand, there is little to decide.
        let mut state = self.state;
        let mut at = 0;
        loop {
            at += space(&input[at..]);
            let Some(&byte) = input.get(at) else { break };
            state = match state {
                State::Key { first } => match byte {
                    b'"' => {
                        self.state = State::InKey;
                        at += 1 + self.key(trie, &input[at + 1..]);
                        match self.state {
                            State::Value { .. } => State::Value { first: false },
                            State::Colon => State::Colon,
                            _ => return at,
                        }
                    }
                    b'}' if first => {
                        at += 1;
                        self.pop(visit)
                    }
                    _ => State::Broken,
                },
                State::Colon if byte == b':' => {
                    at += 1;
                    State::Value { first: false }
                }
                State::Value { first: true } if byte == b']' => {
                    at += 1;
                    self.pop(visit)
                }
                State::Root if self.in_root_array && matches!(byte, b']' | b',') => {
                    at += 1;
                    self.in_root_array = byte == b',';
                    State::Root
                }
                State::Root if byte == b'[' && !self.in_root_array => {
                    at += 1;
                    self.in_root_array = true;
                    State::Root
                }
                State::Root if byte == b'{' => {
                    let mut walk = Walk { scanner: self, trie, input, visit };
                    match walk.object(at + 1, NodeId::ROOT, 0) {
                        Ok(end) => {
                            at = end;
                            visit.end();
                            State::Root
                        }
                        Err(Stopped) => return input.len(),
                    }
                }
                State::Value { .. } | State::Root => {
                    at += self.value(trie, &input[at..], visit);
                    match self.state {
                        // Behind the value there is as a rule what follows it.
                        State::After => State::After,
                        State::Key { .. } => State::Key { first: true },
                        State::Value { .. } => State::Value { first: true },
                        State::Root => State::Root,
                        _ => return at,
                    }
                }
                State::After if byte == b',' => {
                    at += 1;
                    self.next()
                }
                State::After if byte == if self.top_is_array() { b']' } else { b'}' } => {
                    at += 1;
                    self.pop(visit)
                }
                _ => State::Broken,
            };
            if state == State::Broken {
                break;
            }
        }
        self.state = state;
        at
    }

    /// Begins the value that stands at the start of `input`.
    #[inline]
    fn value(&mut self, trie: &Trie, input: &[u8], visit: &mut impl Visit) -> usize {
        let is_wanted = self.node != NodeId::NONE;
        match input[0] {
            b'"' if is_wanted => {
                self.state = State::Text;
                1 + self.string(&input[1..], visit)
            }
            b'"' => {
                self.state = State::SkipText;
                1 + self.skip_text(&input[1..], visit)
            }
            b'{' if trie.has_children(self.node) => {
                self.push(self.node, false, visit);
                self.state = State::Key { first: true };
                1
            }
            b'[' if trie.element(self.node) != NodeId::NONE => {
                self.push(trie.element(self.node), true, visit);
                self.state = State::Value { first: true };
                1
            }
            open @ (b'{' | b'[') => {
                let close = if open == b'{' { b'}' } else { b']' };
                self.nested = 0;
                1 + self.skip(&input[1..], open, close, false, visit)
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.state = State::Word;
                self.word(input, visit)
            }
            _ => {
                self.state = State::Broken;
                1
            }
        }
    }

    fn push(&mut self, inside: NodeId, is_array: bool, visit: &mut impl Visit) {
        visit.open(self.node);
        self.enter(self.depth, inside, is_array);
        self.depth += 1;
        if is_array {
            self.node = inside;
        }
    }

    /// In the containers that are open, notes the one at `depth`.
    fn enter(&mut self, depth: u8, inside: NodeId, is_array: bool) {
        // The trie is no deeper than the stack (a test says so), and only what is in the trie is opened.
        let depth = usize::from(depth).min(MAX_DEPTH - 1);
        self.stack[depth] = inside;
        self.arrays = self.arrays & !(1 << depth) | u8::from(is_array) << depth;
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
    fn pop(&mut self, visit: &mut impl Visit) -> State {
        self.depth -= 1;
        self.end_value(visit);
        self.state
    }

    fn top(&self) -> Option<usize> {
        usize::from(self.depth).checked_sub(1)
    }

    fn top_is_array(&self) -> bool {
        self.top().is_some_and(|top| self.arrays >> top & 1 == 1)
    }

    /// Behind a comma.
    fn next(&mut self) -> State {
        if let Some(top) = self.top()
            && self.top_is_array()
        {
            self.node = self.stack[top];
            State::Value { first: false }
        } else {
            State::Key { first: false }
        }
    }

    /// Behind a value that was wanted and told, or opened and closed.
    fn end_value(&mut self, visit: &mut impl Visit) {
        if self.depth == 0 {
            self.state = State::Root;
            self.node = NodeId::ROOT;
            visit.end();
        } else {
            self.state = State::After;
        }
    }

    /// Behind a value of which only the end was looked for.
    fn after_value(&mut self, visit: &mut impl Visit) {
        if self.node != NodeId::NONE {
            visit.scalar(self.node, Scalar::Other);
        }
        self.end_value(visit);
    }

    /// Reads a key up to its closing quote.
    fn key(&mut self, trie: &Trie, input: &[u8]) -> usize {
        let Some(end) = self.text_end(input) else {
            self.keep(input);
            return input.len();
        };
        let parent = self.top().map_or(NodeId::NONE, |top| self.stack[top]);
        self.node = if self.text.is_empty() {
            child(trie, parent, &input[..end])
        } else {
            self.keep(&input[..end]);
            child(trie, parent, &self.text)
        };
        self.text.clear();
        // As a rule, nothing stands between.
        if input.get(end + 1) == Some(&b':') {
            self.state = State::Value { first: false };
            return end + 2;
        }
        self.state = State::Colon;
        end + 1
    }

    /// Reads a wanted string up to its closing quote.
    fn string(&mut self, input: &[u8], visit: &mut impl Visit) -> usize {
        let Some(end) = self.text_end(input) else {
            self.keep(input);
            return input.len();
        };
        if self.text.is_empty() {
            visit.scalar(self.node, Scalar::Text(&input[..end.min(MAX_TEXT)]));
        } else {
            self.keep(&input[..end]);
            visit.scalar(self.node, Scalar::Text(&self.text));
            self.text.clear();
        }
        self.end_value(visit);
        end + 1
    }

    /// Reads a string that is not wanted up to its closing quote.
    fn skip_text(&mut self, input: &[u8], visit: &mut impl Visit) -> usize {
        let Some(end) = self.text_end(input) else { return input.len() };
        self.after_value(visit);
        end + 1
    }

    /// Where the string that `input` continues has its closing quote.
    #[inline]
    fn text_end(&mut self, input: &[u8]) -> Option<usize> {
        if input.is_empty() {
            return None;
        }
        // From here on, what escapes a quote stands before it.
        let from = usize::from(std::mem::take(&mut self.escaped));
        let end = long_text_end(input, from);
        if end.is_none() {
            self.escaped = ends_escaped(&input[from..]);
        }
        end
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = MAX_TEXT - self.text.len();
        self.text.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Reads a number or a word up to the byte behind it.
    fn word(&mut self, input: &[u8], visit: &mut impl Visit) -> usize {
        let Some(end) = input.iter().position(|byte| !IN_WORD[usize::from(*byte)]) else {
            self.keep(input);
            return input.len();
        };
        if self.text.is_empty() {
            self.tell_word(&input[..end.min(MAX_TEXT)], visit);
        } else {
            self.keep(&input[..end]);
            self.end_word(visit);
        }
        end
    }

    /// The word that is kept is whole.
    fn end_word(&mut self, visit: &mut impl Visit) {
        let word = std::mem::take(&mut self.text);
        self.tell_word(&word, visit);
    }

    fn tell_word(&mut self, word: &[u8], visit: &mut impl Visit) {
        let Some(value) = scalar(word) else {
            self.state = State::Broken;
            return;
        };
        if self.node != NodeId::NONE {
            visit.scalar(self.node, value);
        }
        self.end_value(visit);
    }

    /// Reads on to the end of a container that is not wanted.
    fn skip(&mut self, input: &[u8], open: u8, close: u8, in_text: bool, visit: &mut impl Visit) -> usize {
        match self.container_end(input, open, close, in_text) {
            Some(end) => {
                self.after_value(visit);
                end
            }
            None => input.len(),
        }
    }

    /// Where the container ends that `input` continues. If it is not there, the state says how to go on.
    ///
    /// Brackets are balanced by kind in valid JSON, so that only its own kind needs to be counted.
    fn container_end(&mut self, input: &[u8], open: u8, close: u8, in_text: bool) -> Option<usize> {
        let mut at = 0;
        let mut in_text = in_text;
        loop {
            if in_text {
                let Some(end) = self.text_end(&input[at..]) else { break };
                in_text = false;
                at += end + 1;
            }
            let Some(found) = quote_or_bracket(open, close, &input[at..]) else { break };
            at += found + 1;
            let byte = input[at - 1];
            if byte == b'"' {
                in_text = true;
            } else if byte == open {
                self.nested += 1;
            } else if self.nested > 0 {
                self.nested -= 1;
            } else {
                return Some(at);
            }
        }
        self.state = State::Skip { open, close, in_text };
        None
    }
}

/// Reads a document as far as it is at hand, which most are to their end: where it is in the document, the call stack
/// says, and what comes next, the place in the code. What cannot be read on is left to the scanner's states.
struct Walk<'a, V> {
    scanner: &'a mut Scanner,
    trie: &'a Trie,
    input: &'a [u8],
    visit: &'a mut V,
}

/// The input has come to its end, or to something that is not JSON: the scanner's state is where it goes on.
struct Stopped;

impl<V: Visit> Walk<'_, V> {
    /// Reads the object at `node` from behind its bracket. Returns where it ends.
    fn object(&mut self, at: usize, node: NodeId, depth: u8) -> Result<usize, Stopped> {
        self.visit.open(node);
        let mut at = at;
        let mut first = true;
        loop {
            at += space(&self.input[at..]);
            match self.input.get(at) {
                Some(b'"') => at += 1,
                Some(b'}') if first => return Ok(at + 1),
                byte => return self.stop(byte, State::Key { first }, node, depth, (node, false)),
            }
            let Some(end) = text_end(self.input, at) else {
                self.scanner.begin_text(&self.input[at..], State::InKey);
                return self.leave(NodeId::NONE, depth, (node, false));
            };
            let below = child(self.trie, node, &self.input[at..end]);
            at = end + 1;
            if self.input.get(at) != Some(&b':') {
                at += space(&self.input[at..]);
                match self.input.get(at) {
                    Some(b':') => {}
                    byte => return self.stop(byte, State::Colon, below, depth, (node, false)),
                }
            }
            at = self.value(at + 1, below, depth, (node, false))?;
            if self.input.get(at) != Some(&b',') {
                at += space(&self.input[at..]);
                match self.input.get(at) {
                    Some(b',') => {}
                    Some(b'}') => return Ok(at + 1),
                    byte => return self.stop(byte, State::After, below, depth, (node, false)),
                }
            }
            at += 1;
            first = false;
        }
    }

    /// Reads the array of which `element` are the elements, from behind its bracket.
    fn array(&mut self, at: usize, node: NodeId, element: NodeId, depth: u8) -> Result<usize, Stopped> {
        self.visit.open(node);
        let mut at = at + space(&self.input[at..]);
        match self.input.get(at) {
            Some(b']') => return Ok(at + 1),
            Some(_) => {}
            None => return self.stop(None, State::Value { first: true }, element, depth, (element, true)),
        }
        loop {
            at = self.value(at, element, depth, (element, true))?;
            at += space(&self.input[at..]);
            match self.input.get(at) {
                Some(b',') => at += 1,
                Some(b']') => return Ok(at + 1),
                byte => return self.stop(byte, State::After, element, depth, (element, true)),
            }
        }
    }

    /// Reads a value that is in a container.
    #[inline]
    fn value(&mut self, at: usize, node: NodeId, depth: u8, container: Container) -> Result<usize, Stopped> {
        let mut at = at;
        let is_wanted = node != NodeId::NONE;
        at += space(&self.input[at..]);
        match self.input.get(at) {
            Some(b'"') => {
                at += 1;
                let Some(end) = text_end(self.input, at) else {
                    let state = if is_wanted { State::Text } else { State::SkipText };
                    self.scanner.begin_text(&self.input[at..], state);
                    return self.leave(node, depth, container);
                };
                if is_wanted {
                    self.visit.scalar(node, Scalar::Text(&self.input[at..end.min(at + MAX_TEXT)]));
                }
                Ok(end + 1)
            }
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                let rest = &self.input[at..];
                let Some(end) = rest.iter().position(|byte| !IN_WORD[usize::from(*byte)]) else {
                    self.scanner.state = State::Word;
                    self.scanner.keep(rest);
                    return self.leave(node, depth, container);
                };
                match scalar(&rest[..end.min(MAX_TEXT)]) {
                    None => return self.stop(Some(&0), State::Broken, node, depth, container),
                    Some(value) if is_wanted => self.visit.scalar(node, value),
                    Some(_) => {}
                }
                Ok(at + end)
            }
            Some(b'{') if self.trie.has_children(node) => {
                let inside = self.object(at + 1, node, depth + 1);
                inside.or_else(|Stopped| self.enter(depth, container))
            }
            Some(b'[') if self.trie.element(node) != NodeId::NONE => {
                let inside = self.array(at + 1, node, self.trie.element(node), depth + 1);
                inside.or_else(|Stopped| self.enter(depth, container))
            }
            Some(&open @ (b'{' | b'[')) => {
                let close = if open == b'{' { b'}' } else { b']' };
                self.scanner.nested = 0;
                let Some(end) = self.scanner.container_end(&self.input[at + 1..], open, close, false) else {
                    return self.leave(node, depth, container);
                };
                if is_wanted {
                    self.visit.scalar(node, Scalar::Other);
                }
                Ok(at + 1 + end)
            }
            byte => self.stop(byte, State::Value { first: false }, node, depth, container),
        }
    }

    /// At the end of the input, or at a byte that cannot stand there.
    #[cold]
    fn stop(
        &mut self,
        byte: Option<&u8>,
        state: State,
        node: NodeId,
        depth: u8,
        container: Container,
    ) -> Result<usize, Stopped> {
        self.scanner.state = if byte.is_some() { State::Broken } else { state };
        self.leave(node, depth, container)
    }

    /// Leaves the rest to the scanner's states, of which one is set.
    #[cold]
    fn leave(&mut self, node: NodeId, depth: u8, container: Container) -> Result<usize, Stopped> {
        self.scanner.node = node;
        self.scanner.depth = depth + 1;
        self.enter(depth, container)
    }

    /// Says in whose inside the rest is read.
    #[cold]
    fn enter(&mut self, depth: u8, (inside, is_array): Container) -> Result<usize, Stopped> {
        self.scanner.enter(depth, inside, is_array);
        Err(Stopped)
    }
}

/// Whose inside a container's is, and whether it is an array.
type Container = (NodeId, bool);

/// Where the string that begins at `from`, behind its quote, has its closing quote.
#[inline(always)]
fn text_end(input: &[u8], from: usize) -> Option<usize> {
    // Most are short.
    for at in [from, from + 8, from + 16] {
        let Some(word) = input.get(at..).and_then(|rest| rest.first_chunk::<8>()) else { break };
        let found = bytes_equal(u64::from_le_bytes(*word), b'"');
        if found != 0 {
            let end = at + found.trailing_zeros() as usize / 8;
            if input[end - 1] == b'\\' {
                break;
            }
            return Some(end);
        }
    }
    long_text_end(input, from)
}

/// The same for any text.
///
/// Only quotes are looked for: whether one is escaped, the backslashes before it tell, and there are far more escapes
/// in a text than quotes.
#[inline(never)]
fn long_text_end(input: &[u8], from: usize) -> Option<usize> {
    let mut start = from;
    loop {
        let end = start + quote(&input[start..])?;
        if !ends_escaped(&input[start..end]) {
            return Some(end);
        }
        start = end + 1;
    }
}

/// What a number or a word says; `None` if it is no JSON.
#[inline]
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
#[inline]
fn child(trie: &Trie, parent: NodeId, key: &[u8]) -> NodeId {
    // That of a letter: `\u` and four digits.
    const ESCAPE: usize = 6;
    match trie.child(parent, key) {
        NodeId::NONE if key.len() >= ESCAPE && key.contains(&b'\\') => {
            trie.child(parent, text::unescape(key).as_bytes())
        }
        node => node,
    }
}

/// The bytes that a number or a word is made of.
static IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'+' | b'.');
        byte += 1;
    }
    table
};

/// How much white space `input` begins with.
#[inline]
fn space(input: &[u8]) -> usize {
    match input {
        [first, ..] if *first > b' ' => 0,
        [b' ', second, ..] if *second > b' ' => 1,
        _ => spaces(input),
    }
}

/// The same where there is more of it: a new line, and spaces by which the next is indented.
fn spaces(input: &[u8]) -> usize {
    let mut at = 0;
    loop {
        while let Some(word) = input[at..].first_chunk::<8>() {
            let spaces = (u64::from_le_bytes(*word) ^ each(b' ')).trailing_zeros() as usize / 8;
            at += spaces;
            if spaces < 8 {
                break;
            }
        }
        match input.get(at) {
            Some(b' ' | b'\n' | b'\r' | b'\t') => at += 1,
            _ => return at,
        }
    }
}

/// Where the first quote stands. Keys and most strings are short: to read some words costs less than the call of a
/// search that is made for long ones.
#[inline]
fn quote(input: &[u8]) -> Option<usize> {
    const WORDS: usize = 4;
    let mut at = 0;
    while at < 8 * WORDS
        && let Some(word) = input[at..].first_chunk::<8>()
    {
        let found = bytes_equal(u64::from_le_bytes(*word), b'"');
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr(b'"', &input[at..]).map(|found| at + found)
}

/// Where the first quote or bracket stands. Behind a short string it is near.
#[inline]
fn quote_or_bracket(open: u8, close: u8, input: &[u8]) -> Option<usize> {
    if let Some(word) = input.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let found = bytes_equal(word, b'"') | bytes_equal(word, open) | bytes_equal(word, close);
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
    }
    memchr3(b'"', open, close, input)
}

/// The highest bit of each byte of `word` that is `byte`, exact up to the first of them.
#[inline]
fn bytes_equal(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ each(byte);
    zero_where_equal.wrapping_sub(each(1)) & !zero_where_equal & each(0x80)
}

/// A word that has `byte` everywhere.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// `text` ends in a backslash that escapes what follows.
#[inline]
fn ends_escaped(text: &[u8]) -> bool {
    text.last() == Some(&b'\\') && text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
