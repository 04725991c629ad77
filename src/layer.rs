use tower_layer::Layer;

use crate::UsageService;

/// Records the usage of every call to a model that passes through a service.
#[derive(Clone, Debug)]
pub struct UsageLayer {}

impl<S> Layer<S> for UsageLayer {
    type Service = UsageService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        UsageService { inner }
    }
}
