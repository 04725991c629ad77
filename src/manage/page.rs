//! The page at `metrics/ui`, with what it loads.
//!
//! It carries no data and needs no key; the data it asks for does. The build script packs it: what it loads lies under
//! a name made of its content, and may be kept for ever; the page itself is asked for again each time.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, VARY,
    },
};

use super::{MetricsBody, answer};

include!(concat!(env!("OUT_DIR"), "/dashboard/files.rs"));

/// Nothing but our own script and style, and our own routes to ask.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asset {
    /// At `metrics/ui`: what it loads lies in `ui/`.
    Page,
    /// At `metrics/ui/`: what it loads lies beside it.
    PageInside,
    /// By its place among what the page loads.
    Loaded(usize),
}

impl Asset {
    /// What lies at `path` behind `metrics/ui`.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "" => Some(Self::Page),
            "/" => Some(Self::PageInside),
            _ => {
                let (version, name) = path.strip_prefix('/')?.split_once('/')?;
                let place = LOADED.iter().position(|(loaded, _)| *loaded == name);
                place.filter(|_| version == VERSION).map(Self::Loaded)
            }
        }
    }

    fn file(self) -> &'static File {
        match self {
            Self::Page => &PAGE,
            Self::PageInside => &PAGE_INSIDE,
            Self::Loaded(place) => &LOADED[place].1,
        }
    }
}

/// A file in the forms in which it can be sent.
struct File {
    content_type: &'static str,
    /// Of its content.
    hash: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    br: &'static [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Gzip,
    Br,
}

impl Form {
    /// The smallest that is welcome.
    fn best(request: &HeaderMap) -> Self {
        match () {
            () if accepts(request, "br") => Self::Br,
            () if accepts(request, "gzip") => Self::Gzip,
            // Whoever forbids this as well gets it all the same: it is that or nothing.
            () => Self::Plain,
        }
    }
}

/// Whether a content coding is welcome, by its name or by `*`.
fn accepts(request: &HeaderMap, coding: &str) -> bool {
    let mut by_star = false;
    for header in request.get_all(ACCEPT_ENCODING) {
        for offer in header.to_str().unwrap_or_default().split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let welcome = weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0));
            match name {
                "*" => by_star = welcome,
                _ if name.eq_ignore_ascii_case(coding) => return welcome,
                _ => {}
            }
        }
    }
    by_star
}

pub(super) fn respond(asset: Asset, request: &HeaderMap) -> Response<MetricsBody> {
    let file = asset.file();
    let (bytes, coding) = match Form::best(request) {
        Form::Plain => (file.plain, None),
        Form::Gzip => (file.gzip, Some("gzip")),
        Form::Br => (file.br, Some("br")),
    };
    // Each form has a tag of its own: their bytes differ.
    let tag =
        format!("\"{}{}{}\"", file.hash, if coding.is_some() { "-" } else { "" }, coding.unwrap_or_default());
    let mut response = if is_known(request, &tag) {
        let mut response = Response::new(MetricsBody::new(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = answer::response(StatusCode::OK, file.content_type, Bytes::from_static(bytes));
        if let Some(coding) = coding {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.parse().expect("hex digits in quotes are a header's value"));
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(VARY, "accept-encoding");
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(
        CACHE_CONTROL,
        match asset {
            Asset::Page | Asset::PageInside => "no-cache",
            Asset::Loaded(_) => "public, max-age=31536000, immutable",
        },
    );
    response
}

/// Whether the client has it already.
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let tags =
        request.get_all(IF_NONE_MATCH).iter().flat_map(|tags| tags.as_bytes().split(|byte| *byte == b','));
    let mut tags = tags.map(<[u8]>::trim_ascii).map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
    tags.any(|known| known == tag.as_bytes() || known == b"*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_form_that_is_welcome_is_sent() {
        for (accepted, form) in [
            ("gzip, deflate, br, zstd", Form::Br),
            ("gzip;q=1.0, br;q=0.1", Form::Br),
            ("GZIP", Form::Gzip),
            ("br;q=0, gzip", Form::Gzip),
            ("br; q=0.000, *", Form::Gzip),
            ("*", Form::Br),
            ("*;q=0", Form::Plain),
            ("br;q=nonsense", Form::Plain),
            ("identity", Form::Plain),
            ("", Form::Plain),
        ] {
            let mut request = HeaderMap::new();
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(Form::best(&request), form, "{accepted}");
        }
        assert_eq!(Form::best(&HeaderMap::new()), Form::Plain);
    }

    #[cfg(all(feature = "decompression-br", feature = "decompression-gzip"))]
    #[test]
    fn every_form_of_a_file_is_the_file() {
        use std::io::Read as _;

        for (name, file) in LOADED.iter().map(|(name, file)| (*name, file)).chain([("page", &PAGE)]) {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(file.gzip).read_to_end(&mut plain).unwrap();
            assert!(plain == file.plain, "{name}");
            plain.clear();
            brotli_decompressor::Decompressor::new(file.br, 4096).read_to_end(&mut plain).unwrap();
            assert!(plain == file.plain, "{name}");
        }
    }

    #[test]
    fn all_of_it_is_small() {
        let sent: usize = LOADED.iter().map(|(_, file)| file.gzip.len()).sum();
        assert!(sent + PAGE.gzip.len() < 120_000, "{sent} bytes");
    }
}
