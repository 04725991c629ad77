//! What is wanted of the headers of a call, found in one walk over them.
//!
//! To look for a header takes a hash of its name and a probe, which is as long as a walk takes for several; and of those
//! that a call has, most are nothing to the layer, which their length alone tells.

use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};

use crate::{key, provider};

/// What a request's headers say.
#[derive(Debug, Default)]
pub(crate) struct RequestHeaders<'a> {
    /// The client's key, wherever its API wants it.
    pub(crate) key: Best<'a>,
    pub(crate) request_id: Best<'a>,
}

impl<'a> RequestHeaders<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut of = Self::default();
        for (name, value) in headers {
            if name == AUTHORIZATION {
                if let Some(key) = key::bearer(value.as_bytes()) {
                    of.key.offer(0, key);
                }
            } else if let name = name.as_str()
                // As a key or an id does: the last byte alone rules out nearly all others.
                && let [.., b'y' | b'd'] = name.as_bytes()
            {
                of.other(name, value.as_bytes());
            }
        }
        of
    }

    fn other(&mut self, name: &str, value: &'a [u8]) {
        if let Some(rank) = key::header(name) {
            self.key.offer(rank, value.trim_ascii());
        } else if let Some(rank) = request_id(name) {
            self.request_id.offer(rank, value);
        }
    }
}

/// What a response's headers say.
#[derive(Debug, Default)]
pub(crate) struct ResponseHeaders<'a> {
    pub(crate) content_type: Option<&'a HeaderValue>,
    pub(crate) content_length: Option<&'a HeaderValue>,
    /// There is a `Content-Encoding`, and maybe another.
    pub(crate) is_encoded: bool,
    /// What AWS calls an error.
    pub(crate) error_type: Option<&'a HeaderValue>,
    pub(crate) request_id: Best<'a>,
    pub(crate) provider: Option<provider::Name>,
}

impl<'a> ResponseHeaders<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut of = Self::default();
        for (name, value) in headers {
            if name == CONTENT_TYPE {
                of.content_type = of.content_type.or(Some(value));
            } else if name == CONTENT_LENGTH {
                of.content_length = of.content_length.or(Some(value));
            } else if name == CONTENT_ENCODING {
                of.is_encoded = true;
            } else if let name = name.as_str()
                && let [.., b'd' | b'e' | b'n'] = name.as_bytes()
            {
                of.other(name, value);
            }
        }
        of
    }

    fn other(&mut self, name: &str, value: &'a HeaderValue) {
        if name == "x-amzn-errortype" {
            self.error_type = self.error_type.or(Some(value));
            return;
        }
        if let Some(rank) = request_id(name) {
            self.request_id.offer(rank, value.as_bytes());
        }
        self.provider = self.provider.or_else(|| provider::of_header(name));
    }
}

/// How good the name of a request is, by which it is found in logs, that this header has: the best is the least.
#[inline]
fn request_id(name: &str) -> Option<u8> {
    Some(match name {
        "x-request-id" => 0,
        "request-id" => 1,
        "x-amzn-requestid" => 2,
        "apim-request-id" => 3,
        _ => return None,
    })
}

/// The value of the best of several headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best<'a> {
    rank: u8,
    value: &'a [u8],
}

impl Default for Best<'_> {
    fn default() -> Self {
        Self { rank: u8::MAX, value: &[] }
    }
}

impl<'a> Best<'a> {
    /// The first of the best counts, and none that says nothing.
    fn offer(&mut self, rank: u8, value: &'a [u8]) {
        if rank < self.rank && !value.is_empty() {
            *self = Self { rank, value };
        }
    }

    pub(crate) fn get(self) -> Option<&'a [u8]> {
        (self.rank < u8::MAX).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 16] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "apim-request-id",
        "content-type",
        "content-length",
        "content-encoding",
        "x-amzn-errortype",
        "x-groq-region",
        "mistral-correlation-id",
        "user-agent",
        "x-client-id",
    ];

    proptest! {
        #[test]
        fn one_walk_finds_what_a_look_for_each_header_would(
            all in prop::collection::vec((prop::sample::select(&NAMES[..]), "(Bearer )?[a-z0-9 ]{0,3}"), 0..12),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &all {
                headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            let first = |name: &str| {
                let mut values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
                values.find(|value| !value.is_empty())
            };
            let request_id = NAMES[4..8].iter().find_map(|name| first(name));

            let of_request = RequestHeaders::of(&headers);
            prop_assert_eq!(of_request.request_id.get(), request_id);
            let in_header = |name: &str| headers.get_all(name).into_iter().find_map(|value: &HeaderValue| {
                let value = value.as_bytes();
                let key = if name == AUTHORIZATION { key::bearer(value) } else { Some(value.trim_ascii()) };
                key.filter(|key| !key.is_empty())
            });
            prop_assert_eq!(of_request.key.get(), NAMES[..4].iter().find_map(|name| in_header(name)));

            let of_response = ResponseHeaders::of(&headers);
            prop_assert_eq!(of_response.request_id.get(), request_id);
            prop_assert_eq!(of_response.content_type, headers.get("content-type"));
            prop_assert_eq!(of_response.content_length, headers.get("content-length"));
            prop_assert_eq!(of_response.is_encoded, headers.contains_key("content-encoding"));
            prop_assert_eq!(of_response.error_type, headers.get("x-amzn-errortype"));
            let provider = headers.keys().find_map(|name| provider::of_header(name.as_str()));
            prop_assert_eq!(of_response.provider, provider);
        }
    }
}
