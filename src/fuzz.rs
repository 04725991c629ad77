//! What the targets of `fuzz/` call. Only there in a build for the fuzzer.

use crate::extract::check;

/// Any bytes, announced as anything.
pub fn extract(input: &[u8]) {
    check::extract(input);
}

/// Any bytes behind any encodings.
pub fn decode(input: &[u8]) {
    check::decode(input);
}

/// JSON against a full parse.
pub fn scan(input: &[u8]) {
    check::scan(input);
}

/// Server-sent events against the letter of the specification.
pub fn sse(input: &[u8]) {
    check::sse(input);
}

/// Messages of AWS' event stream against their payloads.
pub fn event_stream(input: &[u8]) {
    check::event_stream(input);
}
