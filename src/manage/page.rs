//! The page at `metrics/ui`, with what it loads.
//!
//! It carries no data and needs no key; the data it asks for does.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH},
};
use sha2::{Digest, Sha256};

use super::{MetricsBody, answer};

/// Nothing but our own script and style, and our own routes to ask.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asset {
    /// At `metrics/ui`: what it loads lies in `ui/`.
    Page,
    /// At `metrics/ui/`: what it loads lies beside it.
    PageInside,
    Script,
    Style,
}

impl Asset {
    /// What lies at `path` behind `metrics/ui`.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "" => Self::Page,
            "/" => Self::PageInside,
            "/app.js" => Self::Script,
            "/app.css" => Self::Style,
            _ => return None,
        })
    }

    fn file(self) -> &'static File {
        static FILES: LazyLock<[File; 4]> = LazyLock::new(|| {
            let page = include_str!("dashboard/index.html");
            let html = "text/html; charset=utf-8";
            [
                File::new(html, Bytes::from_static(page.as_bytes())),
                File::new(html, page.replace("\"ui/", "\"").into()),
                File::new(
                    "text/javascript; charset=utf-8",
                    Bytes::from_static(include_bytes!("dashboard/app.js")),
                ),
                File::new("text/css; charset=utf-8", Bytes::from_static(include_bytes!("dashboard/app.css"))),
            ]
        });
        &FILES[self as usize]
    }
}

struct File {
    content_type: &'static str,
    bytes: Bytes,
    tag: HeaderValue,
}

impl File {
    fn new(content_type: &'static str, bytes: Bytes) -> Self {
        let hash = Sha256::digest(&bytes);
        let tag =
            format!("\"{:016x}\"", hash.iter().take(8).fold(0_u64, |tag, byte| tag << 8 | u64::from(*byte)));
        Self { content_type, tag: tag.parse().expect("hex digits in quotes are a header's value"), bytes }
    }
}

pub(super) fn respond(asset: Asset, request: &HeaderMap) -> Response<MetricsBody> {
    let file = asset.file();
    let tags =
        request.get_all(IF_NONE_MATCH).iter().flat_map(|tags| tags.as_bytes().split(|byte| *byte == b','));
    let mut tags = tags.map(|tag| tag.trim_ascii()).map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
    let mut response = if tags.any(|tag| tag == file.tag.as_bytes() || tag == b"*") {
        let mut response = Response::new(MetricsBody::new(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        answer::response(StatusCode::OK, file.content_type, file.bytes.clone())
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, file.tag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
