//! Entity tags: whether an answer is still what the client has.
//!
//! Answers are `no-store`, which binds caches: nobody keeps numbers on the way or on a disk. A tag is for a client that
//! has the last answer in its own hands, such as a page that asks every few seconds: it says so by `If-None-Match`, and
//! gets 304 without a body while nothing has changed.
//!
//! Tags are weak, since the same answer can be encoded in several ways, and says when it was made.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};

/// A weak entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag(u64);

impl Tag {
    /// The tag of what is made from `parts` and from nothing else.
    ///
    /// Its numbers are not the same in every version of this crate, which is fine: nor are the answers.
    pub(super) fn of(parts: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (env!("CARGO_PKG_VERSION"), parts).hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(super) fn value(self) -> HeaderValue {
        let value = format!("W/\"{:016x}\"", self.0);
        value.parse().expect("hex digits in quotes are a header's value")
    }

    /// The client has what this is the tag of.
    pub(super) fn is_known_to(self, request: &HeaderMap) -> bool {
        let own = format!("\"{:016x}\"", self.0);
        let values = request
            .get_all(IF_NONE_MATCH)
            .iter()
            .flat_map(|tags| tags.as_bytes().split(|byte| *byte == b','));
        values
            .map(<[u8]>::trim_ascii)
            .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == own.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_every_spelling() {
        let tag = Tag::of(("revision", 7));
        let value = tag.value().to_str().unwrap().to_owned();
        for (known, is_known) in [
            (value.clone(), true),
            (value[2..].to_owned(), true),
            (format!("\"other\" , {value}"), true),
            ("*".to_owned(), true),
            (Tag::of(("revision", 8)).value().to_str().unwrap().to_owned(), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, known.parse().unwrap());
            assert_eq!(tag.is_known_to(&headers), is_known, "{known}");
        }
        assert!(!tag.is_known_to(&HeaderMap::new()));
    }
}
