//! Passes a request on to the upstream and its response back, both as streams.

use std::{convert::Infallible, error::Error, io, io::Write as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        self, CONNECTION, CONTENT_TYPE, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
    uri::{Authority, Scheme},
};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{net::TcpStream, time::timeout};
use tower::{BoxError, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

/// For TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From the request to the head of its response, as long as OpenAI's and Anthropic's own clients wait: a model that
/// reasons answers a call without a stream only when it is done. A response that has begun may run for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// The upstream's body, or ours when there is none.
pub(crate) type ProxyBody = Either<Incoming, Full<Bytes>>;

/// A service that forwards to `upstream`, whose path goes in front of every request's.
pub(crate) fn service(
    upstream: &Uri,
) -> anyhow::Result<
    impl Service<Request<Incoming>, Response = Response<ProxyBody>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
> {
    let upstream = Arc::new(Upstream::new(upstream)?);
    Ok(service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { Ok(upstream.forward(request).await.unwrap_or_else(Failure::into_response)) }
    }))
}

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

struct Upstream {
    scheme: Scheme,
    authority: Authority,
    base_path: String,
    client: Client<Connector, Incoming>,
    /// Speaks HTTP/1 only, since HTTP/2 has no upgrades.
    upgrading: Client<Connector, Incoming>,
}

impl Upstream {
    fn new(upstream: &Uri) -> anyhow::Result<Self> {
        let scheme = upstream.scheme().context("the upstream's URL has no scheme")?.clone();
        Ok(Self {
            authority: upstream.authority().context("the upstream's URL has no host")?.clone(),
            base_path: upstream.path().trim_end_matches('/').to_owned(),
            client: client(connector(&scheme, true)?),
            upgrading: client(connector(&scheme, false)?),
            scheme,
        })
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<ProxyBody>, Failure> {
        // A CONNECT asks for a tunnel to anywhere.
        if request.method() == Method::CONNECT {
            return Err(Failure::NotATunnel);
        }
        let wanted = wanted_upgrade(&request);
        let downstream = wanted.as_ref().map(|_| upgrade::on(&mut request));
        let request = self.outgoing(request, wanted.as_ref())?;

        let client = if wanted.is_some() { &self.upgrading } else { &self.client };
        let mut response = timeout(HEAD_TIMEOUT, client.request(request))
            .await
            .map_err(|_| Failure::NoAnswer)?
            .map_err(Failure::of_client)?;

        let upgraded = (response.status() == StatusCode::SWITCHING_PROTOCOLS)
            .then(|| downstream.ok_or(Failure::BrokenOff))
            .transpose()?;
        let protocol = response.headers().get(UPGRADE).cloned();
        remove_hop_by_hop(response.headers_mut());
        // The server chooses the version: the client's.
        *response.version_mut() = Version::HTTP_11;
        if let Some(downstream) = upgraded {
            set_upgrade(response.headers_mut(), protocol.as_ref());
            tokio::spawn(tunnel(downstream, upgrade::on(&mut response)));
        }
        Ok(response.map(Either::Left))
    }

    /// The request as the upstream gets it.
    ///
    /// No `X-Forwarded-*` is added: the upstream is somebody else's, whom the addresses of our clients do not concern.
    /// `Via` is what a gateway must send.
    fn outgoing(
        &self,
        request: Request<Incoming>,
        upgrade: Option<&HeaderValue>,
    ) -> Result<Request<Incoming>, Failure> {
        let (mut head, body) = request.into_parts();
        let via = match head.version {
            Version::HTTP_2 => "2.0 tower-llm-usage",
            Version::HTTP_10 => "1.0 tower-llm-usage",
            _ => "1.1 tower-llm-usage",
        };
        head.uri = self.target(&head.uri).map_err(|_| Failure::BadPath)?;
        // The client chooses the version: the connection's.
        head.version = Version::HTTP_11;
        // They are about the connection to the client.
        head.extensions = Extensions::new();

        let takes_trailers = takes_trailers(&head.headers);
        remove_hop_by_hop(&mut head.headers);
        if takes_trailers {
            head.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocol) = upgrade {
            set_upgrade(&mut head.headers, Some(protocol));
        }
        // The client sets it, or `:authority`, from the URI.
        head.headers.remove(HOST);
        // Is met here: the server says `100 Continue` as soon as the body is asked for.
        head.headers.remove(EXPECT);
        join_cookies(&mut head.headers);
        head.headers.append(VIA, HeaderValue::from_static(via));
        Ok(Request::from_parts(head, body))
    }

    fn target(&self, uri: &Uri) -> http::Result<Uri> {
        // `OPTIONS *` has no path.
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).trim_start_matches('*');
        let slash = if path.starts_with('/') { "" } else { "/" };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{slash}{path}", self.base_path))
            .build()
    }
}

fn client(connector: Connector) -> Client<Connector, Incoming> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // Finds a connection dead while all streams on it are silent, as with models that think.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .build(connector)
}

fn connector(scheme: &Scheme, http2: bool) -> anyhow::Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    // Works on a machine without certificates.
    if *scheme == Scheme::HTTP {
        return Ok(Connector::new(in_time(tcp.map_response(MaybeHttpsStream::Http))));
    }
    let https = HttpsConnectorBuilder::new()
        .with_native_roots()
        .context("cannot read the system's certificates")?
        .https_only()
        .enable_http1();
    Ok(match http2 {
        true => Connector::new(in_time(https.enable_http2().wrap_connector(tcp))),
        false => Connector::new(in_time(https.wrap_connector(tcp))),
    })
}

fn in_time<S>(
    connector: S,
) -> impl Service<Uri, Response = S::Response, Error = BoxError, Future: Send> + Clone + Send + Sync
where
    S: Service<Uri, Error: Into<BoxError>, Future: Send + 'static> + Clone + Send + Sync,
{
    connector.map_err(Into::into).map_future(async |connecting| {
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    })
}

/// What is about one connection, besides what `Connection` names (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in listed(headers, &CONNECTION).map(str::to_owned).collect::<Vec<_>>() {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    listed(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// The members of a comma-separated header, over all its lines.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// HTTP/2 clients send a cookie a line; HTTP/1 allows for one line (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// The protocol to which a client wants to upgrade: WebSocket in practice. Not `h2c`, since calls to models could
/// hide in such a tunnel.
fn wanted_upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let protocol = request.headers().get(UPGRADE)?;
    let asked = request.version() == Version::HTTP_11
        && listed(request.headers(), &CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    (asked && listed(request.headers(), &UPGRADE).all(|name| !name.eq_ignore_ascii_case("h2c")))
        .then(|| protocol.clone())
}

fn set_upgrade(headers: &mut HeaderMap, protocol: Option<&HeaderValue>) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol.clone());
    }
}

/// Carries bytes both ways until both sides are done, or one fails.
async fn tunnel(downstream: OnUpgrade, upstream: OnUpgrade) {
    if let Ok((downstream, upstream)) = tokio::try_join!(downstream, upstream) {
        // How it ends is seen by both.
        let _ =
            tokio::io::copy_bidirectional(&mut TokioIo::new(downstream), &mut TokioIo::new(upstream)).await;
    }
}

/// Why there is no response from the upstream.
enum Failure {
    NotATunnel,
    BadPath,
    /// The client stopped in the midst of its request's body.
    BrokenRequest,
    Unreachable,
    ConnectTimeout,
    BrokenOff,
    NoAnswer,
}

impl Failure {
    fn of_client(error: legacy::Error) -> Self {
        let connect = error.is_connect();
        let error = anyhow::Error::new(error);
        let broken_request =
            error.chain().any(|cause| cause.downcast_ref().is_some_and(hyper::Error::is_user));
        let failure = match (connect, error.chain().any(is_timeout)) {
            (true, true) => Self::ConnectTimeout,
            (true, false) => Self::Unreachable,
            (false, true) => Self::NoAnswer,
            (false, false) if broken_request => return Self::BrokenRequest,
            (false, false) => Self::BrokenOff,
        };
        // The cause is for whoever runs the proxy; the client learns nothing of the network behind it.
        let _ = writeln!(io::stderr(), "upstream: {error:#}");
        failure
    }

    fn into_response(self) -> Response<ProxyBody> {
        let (status, kind, message) = match self {
            Self::NotATunnel => {
                (StatusCode::NOT_IMPLEMENTED, "not_implemented", "This proxy does not serve CONNECT.")
            }
            Self::BadPath => {
                (StatusCode::BAD_REQUEST, "bad_request", "The path cannot be passed to the upstream.")
            }
            Self::BrokenRequest => {
                (StatusCode::BAD_REQUEST, "bad_request", "The body of the request broke off.")
            }
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "bad_gateway", "The upstream cannot be reached."),
            Self::ConnectTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                "The upstream could not be reached within 10 seconds.",
            ),
            Self::BrokenOff => {
                (StatusCode::BAD_GATEWAY, "bad_gateway", "The upstream broke off before its response began.")
            }
            Self::NoAnswer => (
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                "The upstream's response did not begin in time.",
            ),
        };
        let body = serde_json::json!({ "error": { "message": message, "type": kind } }).to_string();
        let mut response = Response::new(Either::Right(Full::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn is_timeout(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || cause.downcast_ref().is_some_and(hyper::Error::is_timeout)
}
