//! The least of a recorder who says which call it was.

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

use super::{
    least::{Least, Record},
    observe::Observe,
};

/// The name of a request, in either head.
const REQUEST_ID: &str = "x-request-id";

/// Beside what [`Least`] does, a look at four headers, which nobody is spared who says by which name a call is found in
/// logs, and knows whether its answer can be read. It does not know what was called, or who answered.
pub struct Heads {
    least: Least,
}

impl Heads {
    pub fn new(mut least: Least, headers: &HeaderMap) -> Self {
        if let Some(id) = headers.get(REQUEST_ID) {
            least.record(|record| record.id.set(id.as_bytes()));
        }
        Self { least }
    }

    /// Has what somebody else knows put there.
    pub fn record(&mut self, put: impl FnOnce(&mut Record)) {
        self.least.record(put);
    }
}

impl Observe for Heads {
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let kind = headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
        let is_readable = kind.starts_with(b"application/json") && !headers.contains_key(CONTENT_ENCODING);
        self.least.record(|record| {
            (record.status, record.is_readable) = (status.as_u16(), is_readable);
            if let Some(id) = headers.get(REQUEST_ID) {
                record.id.set(id.as_bytes());
            }
        });
    }

    fn piece(&mut self, piece: &Bytes) {
        self.least.piece(piece);
    }
}
