//! The paths that matter, as a tree that a scanner can walk down while it reads.

use super::dialect::Action;

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
}

#[derive(Debug)]
struct Node {
    /// The nodes directly below, in the order of the lengths of their keys.
    children: Vec<Child>,
    /// Where the keys of each length begin among them, and where the last ones end: few keys that are not wanted have
    /// the length of one that is.
    lengths: Vec<u8>,
    /// What an array's elements are, if this is wanted as an array.
    element: NodeId,
    action: Option<Action>,
    /// The counts that a value here takes back when it comes again, one bit each: those at and below this node. What
    /// adds up over the elements of an array is taken back by the array alone.
    slots: u32,
    /// Behind the last node below this one.
    end: NodeId,
}

#[derive(Debug)]
struct Child {
    key: &'static [u8],
    ends: Ends,
    node: NodeId,
}

/// The first and the last bytes of a key: of keys of the same length, up to 16, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends(u64, u64);

impl Ends {
    /// The longest keys that have the same ends only when they are the same.
    const WHOLE: usize = 16;

    #[inline]
    fn of(key: &[u8]) -> Self {
        if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            Self(u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            Self(u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
        } else {
            let byte = |at: usize| u64::from(key.get(at).copied().unwrap_or_default());
            Self(byte(0) | byte(1) << 8 | byte(2) << 16, 0)
        }
    }
}

impl Trie {
    /// # Panics
    ///
    /// If two paths are the same but ask for different things: the table that they come from is wrong.
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
        let mut trie = Self { nodes: Vec::new() };
        trie.add(&root, false);
        trie
    }

    fn add(&mut self, draft: &Draft, is_in_element: bool) -> NodeId {
        let id = NodeId(self.nodes.len() as u16);
        self.nodes.push(Node {
            children: Vec::new(),
            lengths: Vec::new(),
            element: NodeId::NONE,
            action: draft.action,
            slots: draft.slots(is_in_element),
            end: id,
        });
        let mut children = draft
            .children
            .iter()
            .map(|(key, child)| {
                let node = self.add(child, is_in_element);
                Child { key: key.as_bytes(), ends: Ends::of(key.as_bytes()), node }
            })
            .collect::<Vec<_>>();
        children.sort_by_key(|child| child.key.len());
        let longest = children.last().map_or(0, |child| child.key.len());
        let lengths =
            (0..=longest + 1).map(|len| children.partition_point(|child| child.key.len() < len) as u8);
        let lengths = lengths.collect();
        let element = draft.element.as_ref().map_or(NodeId::NONE, |element| self.add(element, true));
        let end = NodeId(self.nodes.len() as u16);
        let node = &mut self.nodes[usize::from(id.0)];
        node.end = end;
        node.children = children;
        node.lengths = lengths;
        node.element = element;
        id
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::from(id.0))
    }

    /// The node of `key` in an object at `id`.
    #[inline]
    pub(super) fn child(&self, id: NodeId, key: &[u8]) -> NodeId {
        let Some(node) = self.node(id) else { return NodeId::NONE };
        let Some(&[start, end]) = node.lengths.get(key.len()..).and_then(|rest| rest.first_chunk()) else {
            return NodeId::NONE;
        };
        let ends = Ends::of(key);
        node.children[usize::from(start)..usize::from(end)]
            .iter()
            .find(|child| child.ends == ends && (key.len() <= Ends::WHOLE || child.key == key))
            .map_or(NodeId::NONE, |child| child.node)
    }

    /// What the elements of an array at `id` are.
    #[inline]
    pub(super) fn element(&self, id: NodeId) -> NodeId {
        self.node(id).map_or(NodeId::NONE, |node| node.element)
    }

    /// Something is wanted of an object at `id`.
    #[inline]
    pub(super) fn has_children(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|node| !node.children.is_empty())
    }

    #[inline]
    pub(super) fn action(&self, id: NodeId) -> Option<Action> {
        self.node(id)?.action
    }

    /// The counts that a value at `id` takes back, one bit a slot.
    #[inline]
    pub(super) fn slots(&self, id: NodeId) -> u32 {
        self.node(id).map_or(0, |node| node.slots)
    }

    /// `lower` is directly below `id`.
    pub(super) fn is_child(&self, id: NodeId, lower: NodeId) -> bool {
        self.node(id).is_some_and(|node| node.children.iter().any(|child| child.node == lower))
    }

    /// `lower` is `id`, or below it.
    pub(super) fn contains(&self, id: NodeId, lower: NodeId) -> bool {
        self.node(id).is_some_and(|node| (id..node.end).contains(&lower))
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
