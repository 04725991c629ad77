use std::borrow::Cow;

use crate::{KeyHash, provider};

/// What a host program knows better than the traffic: put into the extensions of a request or of its response.
///
/// What the response says wins over what the request said, and both over what is read from the traffic, except for
/// the model: a model that the response names itself is the one that answered.
///
/// ```
/// use tower_llm_usage::{KeyHash, UsageHint};
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(UsageHint::new().key(KeyHash::of(b"team-7")).provider("mistral_ai"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct UsageHint {
    pub(crate) record: Option<bool>,
    pub(crate) key: Option<KeyHash>,
    pub(crate) model: Option<Cow<'static, str>>,
    pub(crate) provider: Option<Cow<'static, str>>,
}

impl UsageHint {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Record this call, whatever its path, or do not.
    ///
    /// In a response's extensions it can only call off a recording: what was not watched from the start cannot be
    /// recorded any more.
    #[must_use]
    pub fn record(mut self, record: bool) -> Self {
        self.record = Some(record);
        self
    }

    /// Whose call it is, such as the hash of a tenant's name, in place of the key that the request carries.
    #[must_use]
    pub fn key(mut self, key: KeyHash) -> Self {
        self.key = Some(key);
        self
    }

    /// The model that was asked for.
    #[must_use]
    pub fn model(mut self, model: impl Into<Cow<'static, str>>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Who serves the model, as OpenTelemetry's `gen_ai.provider.name` spells it.
    #[must_use]
    pub fn provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.provider = Some(provider.into());
        self
    }

    /// The host that the request goes to, such as `api.mistral.ai`: names the provider, if it is one that is known
    /// and [`provider`](Self::provider) has not named it. A port is no matter.
    ///
    /// ```
    /// use tower_llm_usage::UsageHint;
    ///
    /// let upstream: http::Uri = "https://api.mistral.ai/v1".parse()?;
    /// let hint = UsageHint::new().upstream(upstream.host().unwrap_or_default());
    /// # Ok::<(), http::uri::InvalidUri>(())
    /// ```
    #[must_use]
    pub fn upstream(mut self, host: &str) -> Self {
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        self.provider = self.provider.or_else(|| provider::of_host(host).map(|name| Cow::Borrowed(*name)));
        self
    }

    /// What is said by both is as `later` says.
    pub(crate) fn update(&mut self, later: &Self) {
        // Whether to record was to be said before.
        let Self { record: _, key, model, provider } = later;
        self.key = key.or(self.key);
        self.model = model.clone().or(self.model.take());
        self.provider = provider.clone().or(self.provider.take());
    }
}
