//! The client's key, and the one thing that is ever kept of it.

use std::{fmt, str::FromStr};

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// How soon a header is asked for the key, if it is one that is nothing but a key, where an API wants it: after
/// `Authorization: Bearer` those of Anthropic, of Azure and of Google.
#[inline]
pub(crate) fn header(name: &str) -> Option<u8> {
    Some(match name {
        "x-api-key" => 1,
        "api-key" => 2,
        "x-goog-api-key" => 3,
        _ => return None,
    })
}

/// The hash of the key that a request carries: that of its headers or, where Google's clients put it, `?key=`.
pub(crate) fn of_request(in_headers: Option<&[u8]>, uri: &Uri) -> Option<KeyHash> {
    in_headers.map(KeyHash::of).or_else(|| in_query(uri.query()?))
}

/// The key behind `Bearer`, in whatever case the scheme is written.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"bearer".len())?;
    let key = key.strip_prefix(b" ").or(key.strip_prefix(b"\t"))?.trim_ascii();
    let is_bearer = scheme == b"Bearer" || scheme.eq_ignore_ascii_case(b"bearer");
    (is_bearer && !key.is_empty()).then_some(key)
}

fn in_query(query: &str) -> Option<KeyHash> {
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    let key = percent_encoding::percent_decode_str(key).collect::<Vec<_>>();
    (!key.is_empty()).then(|| KeyHash::of(&key))
}

/// SHA-256 of a client's key: tells callers apart, and cannot be turned back.
///
/// Shown, written and read as 64 lower-case hex digits.
///
/// ```
/// use tower_llm_usage::KeyHash;
///
/// let hash = KeyHash::of(b"sk-test");
/// assert_eq!(hash.to_string().len(), 64);
/// assert_eq!(hash.to_string().parse(), Ok(hash));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of `key`, which is not kept.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The hash that is written as `hex`, in digits of either case.
    #[inline]
    pub(crate) fn from_hex(hex: &[u8; 64]) -> Option<Self> {
        let (mut digits, mut are_right) = ([0; 64], true);
        // Without a branch for each digit, so that the compiler takes many at once.
        for (digit, c) in digits.iter_mut().zip(hex) {
            let (decimal, letter) = (c.wrapping_sub(b'0'), (c | 0x20).wrapping_sub(b'a'));
            *digit = if decimal < 10 { decimal } else { letter.wrapping_add(10) };
            are_right &= decimal < 10 || letter < 6;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        are_right.then_some(Self(bytes))
    }

    /// In lower-case digits.
    pub(crate) fn to_hex(self) -> [u8; 64] {
        let mut hex = [0; 64];
        // Without a table, so that the compiler takes many at once.
        let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        for (pair, byte) in hex.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        hex
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl FromStr for KeyHash {
    type Err = InvalidKeyHash;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        hex.as_bytes().try_into().ok().and_then(Self::from_hex).ok_or(InvalidKeyHash)
    }
}

/// The text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeyHash;

impl fmt::Display for InvalidKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 64 hex digits")
    }
}

impl std::error::Error for InvalidKeyHash {}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        hex.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::headers::RequestHeaders;

    fn found(uri: &str, headers: &[(&str, &str)]) -> Option<KeyHash> {
        let request = headers
            .iter()
            .fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        of_request(RequestHeaders::of(&parts.headers).key.get(), &parts.uri)
    }

    #[test]
    fn a_key_is_found_wherever_an_api_wants_it() {
        let expected = Some(KeyHash::of(b"sk-1"));
        for (name, value) in [
            ("authorization", "Bearer sk-1"),
            ("authorization", "bearer sk-1"),
            ("authorization", "BEARER   sk-1 "),
            ("x-api-key", "sk-1"),
            ("api-key", "sk-1"),
            ("x-goog-api-key", " sk-1"),
        ] {
            assert_eq!(found("/", &[(name, value)]), expected, "{name}: {value}");
        }
        assert_eq!(found("/v1beta/models/g:generateContent?alt=sse&key=sk-1", &[]), expected);
        assert_eq!(found("/?key=sk%2D1", &[]), expected);
    }

    #[test]
    fn a_foreign_or_empty_credential_is_no_key() {
        for value in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "Bearersk-1", "sk-1"] {
            assert_eq!(found("/", &[("authorization", value)]), None, "{value}");
        }
        assert_eq!(found("/?key=&monkey=sk-1", &[("x-api-key", "")]), None);
        assert_eq!(
            found("/?key=sk-1", &[("authorization", "Basic dXNlcjpwYXNz")]),
            Some(KeyHash::of(b"sk-1")),
            "a foreign scheme does not hide a key"
        );
    }

    #[test]
    fn a_hash_is_what_everybody_computes() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(KeyHash::of(b"test").to_string(), hash);
        assert_eq!(hash.to_uppercase().parse(), Ok(KeyHash::of(b"test")));
        for bad in ["", "9f86", &hash[1..], &format!("{}g", &hash[1..]), &format!("{hash}0"), &"é".repeat(32)]
        {
            assert_eq!(bad.parse::<KeyHash>(), Err(InvalidKeyHash), "{bad}");
        }
    }
}
