use tower_layer::Layer;

use crate::{UsageService, queue::Recorder, slot::Entry};

/// Records the usage of every call to a model that passes through a service.
///
/// Made by [`Usage::layer`](crate::Usage::layer). What it does to a response, and when, stands with [`UsageBody`].
///
/// [`UsageBody`]: crate::UsageBody
#[derive(Clone, Debug)]
pub struct UsageLayer {
    recorder: Recorder<Entry>,
}

impl UsageLayer {
    pub(crate) fn new(recorder: Recorder<Entry>) -> Self {
        Self { recorder }
    }
}

impl<S> Layer<S> for UsageLayer {
    type Service = UsageService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        UsageService::new(inner, self.recorder.clone())
    }
}
