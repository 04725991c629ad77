//! The paths that matter, as a tree that a scanner can walk down while it reads.

use super::{
    dialect::{Action, Count},
    simd::{KEY, Simd, equal_keys},
};

/// A place in the tree. `NONE` is any place outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u16);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);
    pub(super) const NONE: Self = Self(u16::MAX);
}

/// Paths from a document's root to the values that are wanted.
///
/// A path is a list of keys; `[]` behind a key stands for every element of its array.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    keys: Vec<Key>,
    /// By hash, the first of the keys that have it.
    table: Box<[u16; TABLE]>,
    /// Room for as many as an [`ExpectedId`] can name, so that it names one of them, whatever it is.
    expected: Box<[Expected; 1 << u8::BITS]>,
    /// How many of them there are.
    expected_len: u8,
}

#[derive(Debug)]
struct Node {
    has_children: bool,
    /// A list, or its elements, of which hardly any has what is wanted.
    is_sparse: bool,
    /// What an array's elements are, if this is wanted as an array.
    element: NodeId,
    action: Option<Action>,
    /// The counts that a value here takes back when it comes again, one bit each: those at and below this node. What
    /// adds up over the elements of an array is taken back by the array alone.
    slots: u32,
    /// Behind the last node below this one.
    end: NodeId,
    /// What an object here begins with, and what comes behind a value here.
    first: ExpectedId,
    next: ExpectedId,
}

/// A key that comes at some point of a document, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpectedId(u8);

impl ExpectedId {
    /// There is no telling.
    pub(super) const NONE: Self = Self(0);
}

/// What is expected. In a line of the cache each.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Expected {
    /// The key, the quote that ends it, and the colon, with zeros behind them.
    bytes: [u8; KEY],
    /// The bytes behind that, a bit each.
    behind: u32,
    len: u8,
    pub(super) node: NodeId,
    pub(super) next: ExpectedId,
}

impl Expected {
    fn new(key: &str, node: NodeId) -> Self {
        let mut bytes = [0; KEY];
        let spelled = [key.as_bytes(), b"\":"].concat();
        bytes[..spelled.len()].copy_from_slice(&spelled);
        let len = spelled.len() as u8;
        Self { bytes, behind: u32::MAX.unbounded_shl(len.into()), len, node, next: ExpectedId::NONE }
    }

    /// What stands for [`ExpectedId::NONE`]: nothing begins like that.
    fn none() -> Self {
        Self { behind: 0, ..Self::new("", NodeId::NONE) }
    }

    /// How long the key is, with its quote and its colon; `None`, if `bytes` begin with another one.
    #[inline(always)]
    pub(super) fn len_in<S: Simd>(&self, simd: S, bytes: &[u8; KEY]) -> Option<usize> {
        (equal_keys(simd, bytes, &self.bytes) | self.behind == u32::MAX).then_some(usize::from(self.len))
    }
}

/// A step from a node to one directly below it.
#[derive(Debug)]
struct Key {
    /// With zeros behind them.
    bytes: [u8; KEY],
    tag: u32,
    node: NodeId,
    /// The next key that has the same hash.
    next: u16,
}

impl Key {
    const NONE: u16 = u16::MAX;

    /// Whose inside a key is of, and how long it is.
    #[inline(always)]
    fn tag(parent: NodeId, len: usize) -> u32 {
        u32::from(parent.0) << 8 | len as u32
    }
}

/// Places in the table: several for a key, so that most keys that are not wanted meet none.
const TABLE: usize = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 11;

#[inline(always)]
fn hash(bytes: &[u8; KEY], len: usize, tag: u32) -> usize {
    let first = u64::from_le_bytes(*bytes.first_chunk().unwrap_or(&[0; 8]));
    // What stands behind the key goes. Few keys that are as long share the first eight bytes.
    let first = first.unbounded_shl(u64::BITS - 8 * len.min(8) as u32);
    ((first ^ u64::from(tag)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - TABLE_BITS)) as usize
}

impl Trie {
    /// # Panics
    ///
    /// If two paths are the same but ask for different things, or a key is longer than [`KEY`]: the table that they come
    /// from is wrong.
    pub(super) fn new(paths: impl IntoIterator<Item = (Vec<&'static str>, Action)>) -> Self {
        let mut root = Draft::default();
        for (path, action) in paths {
            let mut node = &mut root;
            for key in path {
                let (name, is_array) = match key.strip_suffix("[]") {
                    Some(name) => (name, true),
                    None => (key, false),
                };
                node = node.child(name);
                if is_array {
                    node = node.element.get_or_insert_default();
                }
            }
            node.action = Some(match node.action {
                Some(earlier) => earlier.merge(action),
                None => action,
            });
        }
        let mut trie = Self {
            nodes: Vec::new(),
            keys: Vec::new(),
            table: Box::new([Key::NONE; TABLE]),
            expected: Box::new(std::array::from_fn(|_| Expected::none())),
            expected_len: 1,
        };
        trie.add(&root, false);
        trie
    }

    /// Expects the keys of a document in an order: `id usage { input output } model`, where an object's own keys stand
    /// in braces behind its key. It is no more than a guess, which costs little if it is wrong. Of orders that
    /// contradict each other the first stands. Returns what comes first.
    ///
    /// # Panics
    ///
    /// If more keys are expected than an [`ExpectedId`] can name.
    pub(super) fn expect(&mut self, order: &str) -> ExpectedId {
        self.expect_in(NodeId::ROOT, &mut order.split_whitespace())
    }

    fn expect_in<'a>(&mut self, parent: NodeId, words: &mut impl Iterator<Item = &'a str>) -> ExpectedId {
        let mut first = ExpectedId::NONE;
        let mut last = ExpectedId::NONE;
        while let Some(word) = words.next() {
            let before = usize::from(last.0);
            match word {
                "}" => break,
                "{" => {
                    let node = self.expected[before].node;
                    let inside = self.expect_in(node, words);
                    set(&mut self.nodes[usize::from(node.0)].first, inside);
                }
                key => {
                    let id = ExpectedId(self.expected_len);
                    self.expected_len = id.0.checked_add(1).expect("too many keys are expected");
                    self.expected[usize::from(id.0)] = Expected::new(key, self.child(parent, key.as_bytes()));
                    if last == ExpectedId::NONE {
                        first = id;
                    } else {
                        self.expected[before].next = id;
                        self.expect_behind(self.expected[before].node, id);
                    }
                    last = id;
                }
            }
        }
        first
    }

    fn expect_behind(&mut self, before: NodeId, id: ExpectedId) {
        for node in [before, self.element(before)] {
            if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
                set(&mut node.next, id);
            }
        }
    }

    /// Says of the list at a path that hardly any of its elements has what is wanted.
    ///
    /// # Panics
    ///
    /// If no list is wanted there.
    pub(super) fn set_sparse<'a>(&mut self, path: impl IntoIterator<Item = &'a str>) {
        let list = path.into_iter().fold(NodeId::ROOT, |node, key| self.child(node, key.as_bytes()));
        for node in [list, self.element(list)] {
            self.nodes[usize::from(node.0)].is_sparse = true;
        }
    }

    fn add(&mut self, draft: &Draft, is_in_element: bool) -> NodeId {
        let id = NodeId(self.nodes.len() as u16);
        self.nodes.push(Node {
            has_children: !draft.children.is_empty(),
            is_sparse: false,
            element: NodeId::NONE,
            action: draft.action,
            slots: draft.slots(is_in_element),
            end: id,
            first: ExpectedId::NONE,
            next: ExpectedId::NONE,
        });
        for (key, child) in &draft.children {
            let node = self.add(child, is_in_element);
            let mut bytes = [0; KEY];
            bytes[..key.len()].copy_from_slice(key.as_bytes());
            let tag = Key::tag(id, key.len());
            let first = &mut self.table[hash(&bytes, key.len(), tag)];
            let next = std::mem::replace(first, self.keys.len() as u16);
            self.keys.push(Key { bytes, tag, node, next });
        }
        let element = draft.element.as_ref().map_or(NodeId::NONE, |element| self.add(element, true));
        let end = NodeId(self.nodes.len() as u16);
        let node = &mut self.nodes[usize::from(id.0)];
        node.end = end;
        node.element = element;
        id
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::from(id.0))
    }

    /// The node of `key` in an object at `id`.
    pub(super) fn child(&self, id: NodeId, key: &[u8]) -> NodeId {
        let mut bytes = [0; KEY];
        match bytes.get_mut(..key.len()) {
            Some(start) => start.copy_from_slice(key),
            None => return NodeId::NONE,
        }
        self.find(id, &bytes, key.len(), |other| *other == bytes)
    }

    /// The same of the first `len` of `bytes`, which are fewer than all.
    #[inline(always)]
    pub(super) fn child_in<S: Simd>(&self, simd: S, id: NodeId, bytes: &[u8; KEY], len: usize) -> NodeId {
        let behind = u32::MAX << len;
        self.find(
            id,
            bytes,
            len,
            #[inline(always)]
            |other| equal_keys(simd, bytes, other) | behind == u32::MAX,
        )
    }

    #[inline(always)]
    fn find(&self, id: NodeId, bytes: &[u8; KEY], len: usize, is: impl Fn(&[u8; KEY]) -> bool) -> NodeId {
        let tag = Key::tag(id, len);
        let mut number = self.table[hash(bytes, len, tag)];
        while let Some(key) = self.keys.get(usize::from(number)) {
            if key.tag == tag && is(&key.bytes) {
                return key.node;
            }
            number = key.next;
        }
        NodeId::NONE
    }

    #[inline(always)]
    pub(super) fn expected(&self, id: ExpectedId) -> &Expected {
        &self.expected[usize::from(id.0)]
    }

    /// What an object at `id` begins with, as a rule.
    #[inline(always)]
    pub(super) fn first_in(&self, id: NodeId) -> ExpectedId {
        self.node(id).map_or(ExpectedId::NONE, |node| node.first)
    }

    /// What comes behind a value at `id`, as a rule.
    #[inline(always)]
    pub(super) fn next_of(&self, id: NodeId) -> ExpectedId {
        self.node(id).map_or(ExpectedId::NONE, |node| node.next)
    }

    /// The count that a value at `id` is, and the counts that it takes back, one bit a slot.
    #[inline(always)]
    pub(super) fn count(&self, id: NodeId) -> Option<(Count, u32)> {
        match self.node(id) {
            Some(Node { action: Some(Action::Count(count)), slots, .. }) => Some((*count, *slots)),
            _ => None,
        }
    }

    /// Hardly any element of the list at `id`, or around it, has what is wanted.
    #[inline(always)]
    pub(super) fn is_sparse(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.is_sparse)
    }

    /// What the elements of an array at `id` are.
    #[inline]
    pub(super) fn element(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(NodeId::NONE, |node| node.element)
    }

    /// Something is wanted of an object at `id`.
    #[inline]
    pub(super) fn has_children(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.has_children)
    }

    /// What is to be done with a value at `id`, and the counts that it takes back, one bit a slot.
    #[inline(always)]
    pub(super) fn place(&self, id: NodeId) -> (Option<Action>, u32) {
        self.node(id).map_or((None, 0), |node| (node.action, node.slots))
    }

    /// `lower` is directly below `id`.
    pub(super) fn is_child(&self, id: NodeId, lower: NodeId) -> bool {
        self.keys.iter().any(|key| key.node == lower && key.tag >> 8 == u32::from(id.0))
    }

    /// `lower` is `id`, or below it.
    pub(super) fn contains(&self, id: NodeId, lower: NodeId) -> bool {
        self.node(id).is_some_and(|node| (id..node.end).contains(&lower))
    }
}

/// Unless there is something already.
fn set(place: &mut ExpectedId, id: ExpectedId) {
    if *place == ExpectedId::NONE {
        *place = id;
    }
}

/// A node while the tree is built.
#[derive(Default)]
struct Draft {
    children: Vec<(&'static str, Draft)>,
    element: Option<Box<Draft>>,
    action: Option<Action>,
}

impl Draft {
    /// The counts at and below this node, without those that add up where one element does not take back another.
    fn slots(&self, is_in_element: bool) -> u32 {
        let own = self.action.filter(|action| !(is_in_element && action.is_sum())).map_or(0, Action::slots);
        let below = self.children.iter().map(|(_, child)| child).chain(self.element.as_deref());
        below.fold(own, |slots, draft| slots | draft.slots(is_in_element))
    }

    fn child(&mut self, key: &'static str) -> &mut Self {
        let at = match self.children.iter().position(|(name, _)| *name == key) {
            Some(at) => at,
            None => {
                self.children.push((key, Self::default()));
                self.children.len() - 1
            }
        };
        &mut self.children[at].1
    }
}
