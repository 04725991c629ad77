//! The texts of a call, one behind the other.

use std::{borrow::Cow, ops::Range};

use smallvec::SmallVec;

/// What is said of a call in words, in one piece of memory. Each text may be set at any time, and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    /// With room for what calls have as a rule; more costs an allocation.
    bytes: SmallVec<[u8; 104]>,
    /// Where each text but the last ends.
    ends: [u16; Self::COUNT - 1],
}

/// Which of them, in the order in which they lie.
#[derive(Clone, Copy)]
enum Text {
    /// `METHOD /path`.
    Target,
    RequestId,
    Model,
    ErrorType,
}

impl Texts {
    const COUNT: usize = 4;

    /// The longest that a target is kept, in bytes: with all that comes behind it, the ends fit in 16 bits. No server
    /// takes a longer path.
    const MAX_TARGET: usize = 63 << 10;

    /// What is called. Comes before the others.
    #[inline(always)]
    pub(crate) fn set_target(&mut self, method: &str, path: &str) {
        debug_assert!(self.bytes.is_empty());
        self.append(method.as_bytes());
        self.append(b" ");
        self.append(path.as_bytes());
        self.bytes.truncate(Self::MAX_TARGET);
        self.ends = [self.bytes.len() as u16; Self::COUNT - 1];
    }

    /// The name that the request goes by. At most 128 bytes, of whatever kind.
    pub(crate) fn set_request_id(&mut self, request_id: &[u8]) {
        const MAX: usize = 128;
        self.set(Text::RequestId, &request_id[..request_id.len().min(MAX)]);
    }

    /// The model that answered.
    pub(crate) fn set_model(&mut self, model: &[u8]) {
        self.set(Text::Model, model);
    }

    /// The provider's name for an error.
    pub(crate) fn set_error_type(&mut self, error_type: &[u8]) {
        self.set(Text::ErrorType, error_type);
    }

    /// Nothing is known of the answer.
    pub(crate) fn clear_answer(&mut self) {
        self.set_model(b"");
        self.set_error_type(b"");
    }

    pub(crate) fn has_model(&self) -> bool {
        self.ends[Text::RequestId as usize] < self.ends[Text::Model as usize]
    }

    pub(crate) fn model(&self) -> &[u8] {
        &self.bytes[self.range(Text::Model)]
    }

    pub(crate) fn error_type(&self) -> &[u8] {
        &self.bytes[self.range(Text::ErrorType)]
    }

    /// `METHOD /path`, the name of the request, the model, and the type of the error.
    pub(crate) fn all(&self) -> [Cow<'_, str>; Self::COUNT] {
        [Text::Target, Text::RequestId, Text::Model, Text::ErrorType]
            .map(|text| &self.bytes[self.range(text)])
            // To look for what has to be replaced takes several times as long as to see that there is nothing.
            .map(|text| str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed))
    }

    /// Bytes that are held beside the texts themselves.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> usize {
        if self.bytes.spilled() { self.bytes.capacity() } else { 0 }
    }

    fn range(&self, text: Text) -> Range<usize> {
        let at = text as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].into());
        let end = self.ends.get(at).map_or(self.bytes.len(), |end| usize::from(*end));
        start..end
    }

    fn set(&mut self, text: Text, value: &[u8]) {
        let Range { start, end } = self.range(text);
        if value.is_empty() && start == end {
            // As most are.
            return;
        }
        if end < self.bytes.len() {
            return self.replace(text, value);
        }
        self.bytes.truncate(start);
        self.append(value);
        self.ends[text as usize..].fill(self.bytes.len() as u16);
    }

    // Once, and not wherever something is appended.
    #[inline(never)]
    fn append(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// The same where others lie behind it. As a rule they come in their order.
    #[cold]
    fn replace(&mut self, text: Text, value: &[u8]) {
        let Range { start, end } = self.range(text);
        let behind = SmallVec::<[u8; 64]>::from_slice(&self.bytes[end..]);
        self.bytes.truncate(start);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&behind);
        for later in &mut self.ends[text as usize..] {
            *later = *later - end as u16 + (start + value.len()) as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_told_apart_however_long_they_are_and_in_whichever_order_they_come(
            path in "/[a-z]{0,200}",
            later in prop::collection::vec((1..4_usize, "[a-z0-9]{0,128}"), 0..12),
        ) {
            let mut texts = Texts::default();
            texts.set_target("POST", &path);
            let mut expected = [format!("POST {path}"), String::new(), String::new(), String::new()];
            for (at, text) in later {
                [Texts::set_request_id, Texts::set_model, Texts::set_error_type][at - 1](&mut texts, text.as_bytes());
                expected[at] = text;
                prop_assert_eq!(texts.all(), expected.each_ref().map(String::as_str));
                prop_assert_eq!(texts.model(), expected[2].as_bytes());
                prop_assert_eq!(texts.error_type(), expected[3].as_bytes());
            }
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let mut texts = Texts::default();
        texts.set_target("GET", &"/a".repeat(100_000));
        texts.set_request_id(&[b'r'; 1_000]);
        texts.set_model(&[b'm'; 200]);
        texts.set_error_type(&[b'e'; 64]);
        let [target, request_id, model, error_type] = texts.all();
        assert_eq!((target.len(), &target[..7]), (Texts::MAX_TARGET, "GET /a/"));
        assert_eq!(request_id, "r".repeat(128));
        assert_eq!([&*model, &*error_type], ["m".repeat(200), "e".repeat(64)]);
    }
}
