//! How documents lie in a body.

mod sse;

pub(super) use sse::Sse;
