//! Passes a request on to the upstream, and its response back, both as they stream.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use serde_json::json;
use tower::Service;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A model that thinks before it answers may take minutes for its first byte. What has begun may take as long as it
/// likes: only the client knows for how long it cares.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The proxy itself: a service like any other, to be layered.
#[derive(Clone)]
pub(crate) struct Forward {
    client: Client<HttpsConnector<HttpConnector>, Incoming>,
    upstream: Uri,
}

impl Forward {
    pub(crate) fn new(upstream: Uri) -> Result<Self, BoxError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_timer(TokioTimer::new())
            .build(tls);
        Ok(Self { client, upstream })
    }

    async fn forward(self, mut request: Request<Incoming>) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return failure(
                StatusCode::NOT_IMPLEMENTED,
                "not_supported",
                "this proxy has one upstream and makes no tunnels",
            );
        }
        let protocol = upgrade_of(request.headers());
        let client_side = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let Some(uri) = self.target(request.uri()) else {
            return failure(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the request's path is none for the upstream",
            );
        };
        *request.uri_mut() = uri;
        // The client speaks what the upstream speaks, whatever this request came in.
        *request.version_mut() = Version::HTTP_11;
        strip(request.headers_mut());
        // Set from the URI. Nothing else is added: who its clients are is this proxy's business, not the upstream's.
        request.headers_mut().remove(HOST);
        if let Some(protocol) = &protocol {
            offer_upgrade(request.headers_mut(), protocol);
        }

        let mut response = match tokio::time::timeout(HEAD_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() && is_timeout(&error) => {
                return failure(
                    StatusCode::GATEWAY_TIMEOUT,
                    "gateway_timeout",
                    "the upstream did not accept a connection in time",
                );
            }
            Ok(Err(error)) if error.is_connect() => {
                return failure(StatusCode::BAD_GATEWAY, "bad_gateway", "the upstream cannot be reached");
            }
            Ok(Err(_)) => {
                return failure(
                    StatusCode::BAD_GATEWAY,
                    "bad_gateway",
                    "the upstream broke off before it answered",
                );
            }
            Err(_) => {
                return failure(
                    StatusCode::GATEWAY_TIMEOUT,
                    "gateway_timeout",
                    "the upstream did not answer in time",
                );
            }
        };

        let accepted =
            (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| upgrade_of(response.headers()));
        if let (Some(client_side), Some(accepted)) = (client_side, accepted) {
            let upstream_side = hyper::upgrade::on(&mut response);
            tokio::spawn(tunnel(client_side, upstream_side));
            strip(response.headers_mut());
            if let Some(protocol) = accepted {
                offer_upgrade(response.headers_mut(), &protocol);
            }
        } else {
            strip(response.headers_mut());
        }
        response.map(|body| body.map_err(BoxError::from).boxed_unsync())
    }

    /// The upstream's URI for a request's: its path goes behind the upstream's.
    fn target(&self, uri: &Uri) -> Option<Uri> {
        let base = self.upstream.path().trim_end_matches('/');
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder()
            .scheme(self.upstream.scheme()?.clone())
            .authority(self.upstream.authority()?.clone())
            .path_and_query(format!("{base}{path}"))
            .build()
            .ok()
    }
}

impl Service<Request<Incoming>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.forward(request).await) })
    }
}

/// Takes out what is between two neighbours and not for those behind them (RFC 9110, 7.6.1).
fn strip(headers: &mut HeaderMap) {
    const HOP_BY_HOP: [HeaderName; 7] = [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        TE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("proxy-authorization"),
    ];
    let named = |value: &HeaderValue| -> Vec<HeaderName> {
        let names = value.to_str().unwrap_or_default().split(',');
        names.filter_map(|name| name.trim().parse().ok()).collect()
    };
    let named: Vec<_> = headers.get_all(CONNECTION).iter().flat_map(named).collect();
    // The one thing that TE may say over HTTP/2, and that makes an upstream send trailers.
    let wants_trailers =
        headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The protocol that a message wants to change to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = |value: &HeaderValue| {
        let options = value.to_str().unwrap_or_default().split(',');
        options.map(str::trim).any(|option| option.eq_ignore_ascii_case("upgrade"))
    };
    headers.get_all(CONNECTION).iter().any(wants).then(|| headers.get(UPGRADE).cloned()).flatten()
}

fn offer_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

/// Carries bytes both ways until one side ends.
async fn tunnel(client: hyper::upgrade::OnUpgrade, upstream: hyper::upgrade::OnUpgrade) {
    if let Ok((client, upstream)) = tokio::try_join!(client, upstream) {
        // However it ends, both sides are closed, and there is nobody left to tell.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await;
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|error| {
        error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}

/// An answer of the proxy's own, in the shape that OpenAI's clients understand.
fn failure(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = json!({ "error": { "message": message, "type": kind, "code": kind } }).to_string();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}
