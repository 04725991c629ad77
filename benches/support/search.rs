//! The least of a recorder who says something of the answer.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use memchr::{memchr, memmem::Finder};

use super::{heads::Heads, observe::Observe};

/// Beside what [`Heads`] does, a search for the names of what is wanted of a chat completion, which is what nobody is
/// spared who names the model and the tokens.
///
/// It knows no JSON: what somebody has written into an answer it takes for a count. So it is no recorder to be used; but
/// one that reads bodies as they are takes no less.
pub struct Search {
    heads: Heads,
    has_model: bool,
}

struct Names {
    model: Finder<'static>,
    usage: Finder<'static>,
    counts: [Finder<'static>; 3],
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    model: Finder::new("\"model\":"),
    usage: Finder::new("\"usage\":"),
    counts: ["\"prompt_tokens\":", "\"completion_tokens\":", "\"total_tokens\":"].map(Finder::new),
});

impl Search {
    pub fn new(heads: Heads) -> Self {
        Self { heads, has_model: false }
    }
}

impl Observe for Search {
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.heads.head(status, headers);
    }

    fn piece(&mut self, piece: &Bytes) {
        let names = &*NAMES;
        if !self.has_model
            && let Some(model) = behind(&names.model, piece).and_then(text)
        {
            self.has_model = true;
            self.heads.record(|record| record.model.set(model));
        }
        if let Some(usage) = behind(&names.usage, piece) {
            let counts = names.counts.each_ref().map(|name| behind(name, usage).map_or(0, number));
            self.heads.record(|record| record.counts = counts);
        }
    }
}

fn behind<'a>(name: &Finder<'_>, bytes: &'a [u8]) -> Option<&'a [u8]> {
    name.find(bytes).map(|at| bytes[at + name.needle().len()..].trim_ascii_start())
}

/// The text that stands here, as spelled.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let text = bytes.strip_prefix(b"\"")?;
    Some(&text[..memchr(b'"', text)?])
}

fn number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
