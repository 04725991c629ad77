//! How documents lie in a body.

mod event_stream;
mod sse;

pub(super) use event_stream::EventStream;
pub(super) use sse::Sse;
