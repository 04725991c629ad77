//! Who may ask, and what the others are told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{IpAddr, SocketAddr};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::Value;
use tower::ServiceExt;
use tower_llm_usage::{Config, PeerAddr, RemoteManagement, Usage};

const KEY: &str = "correct-horse-battery-staple";
const HEALTH: &str = "/v0/management/qs/health";
const LOCAL: &str = "127.0.0.1";
const REMOTE: &str = "203.0.113.9";

struct Server {
    usage: Usage,
    _dir: tempfile::TempDir,
}

impl Server {
    fn new(set: impl FnOnce(&mut RemoteManagement)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::recording_to(dir.path().join("usage.json"));
        config.remote_management.secret_key = KEY.into();
        set(&mut config.remote_management);
        Self { usage: Usage::open(config).unwrap(), _dir: dir }
    }

    fn local() -> Self {
        Self::new(|_| {})
    }

    fn remote() -> Self {
        Self::new(|management| management.allow_remote = true)
    }

    async fn ask(&self, peer: &str, headers: &[(&str, &str)]) -> (StatusCode, String, Option<String>) {
        self.send(Method::GET, HEALTH, Some(peer), headers).await
    }

    /// Status, `error` and `Retry-After`.
    async fn send(
        &self,
        method: Method,
        uri: &str,
        peer: Option<&str>,
        headers: &[(&str, &str)],
    ) -> (StatusCode, String, Option<String>) {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(peer) = peer {
            request = request.extension(PeerAddr(SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 5000)));
        }
        let response =
            self.usage.metrics_service().oneshot(request.body(String::new()).unwrap()).await.unwrap();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let error = serde_json::from_slice::<Value>(&body).ok();
        let error = error.and_then(|body| Some(body.get("error")?.as_str()?.to_owned())).unwrap_or_default();
        (status, error, retry)
    }
}

fn bearer() -> [(&'static str, &'static str); 1] {
    [("authorization", "Bearer correct-horse-battery-staple")]
}

const WRONG: [(&str, &str); 1] = [("x-management-key", "wrong")];

/// The table of cases, in its order.
mod cases {
    use super::*;

    /// A1
    #[tokio::test]
    async fn without_any_key_there_is_no_management() {
        let off = Server::new(|management| management.secret_key = "".into());
        let switched_off = Server::new(|management| management.enabled = Some(false));
        for server in [off, switched_off] {
            for path in [HEALTH, "/v0/management/qs/metrics/ui", "/v0/management/qs/nothing"] {
                let (status, ..) = server.send(Method::GET, path, Some(LOCAL), &bearer()).await;
                assert_eq!(status, 404, "{path}");
            }
        }
    }

    /// A2, A9: the fifth failure still gets its answer, and loopback counts, too.
    #[tokio::test]
    async fn five_failures_in_a_row_ban_an_address() {
        let server = Server::remote();
        for peer in [REMOTE, LOCAL] {
            for _ in 0..5 {
                assert_eq!(server.ask(peer, &WRONG).await.0, 401);
            }
            let (status, error, retry) = server.ask(peer, &bearer()).await;
            assert_eq!(status, 403);
            let left = error.strip_prefix("IP banned due to too many failed attempts. Try again in ");
            assert!(left.is_some_and(|left| left == "30m0s" || left.starts_with("29m")), "{error}");
            assert!((1700..=1800).contains(&retry.unwrap().parse::<u32>().unwrap()));
        }
        assert_eq!(server.ask("203.0.113.10", &bearer()).await.0, 200, "somebody else");
    }

    /// A2 before A3; A13: the page is for those who are not banned.
    #[tokio::test]
    async fn a_ban_holds_for_the_page_too() {
        let server = Server::local();
        for _ in 0..5 {
            server.ask(LOCAL, &WRONG).await;
        }
        let (status, ..) = server.send(Method::GET, "/v0/management/qs/metrics/ui", Some(LOCAL), &[]).await;
        assert_eq!(status, 403);
    }

    /// A3, A13
    #[tokio::test]
    async fn a_remote_address_is_refused_by_default_and_that_is_no_failed_try() {
        let server = Server::local();
        for path in [HEALTH, "/v0/management/qs/metrics/ui", "/v0/management/qs/metrics/ui/0/app.js"] {
            for _ in 0..10 {
                let (status, error, _) = server.send(Method::GET, path, Some(REMOTE), &WRONG).await;
                assert_eq!((status.as_u16(), &*error), (403, "remote management disabled"), "{path}");
            }
        }
    }

    /// A4
    #[tokio::test]
    async fn switched_on_without_a_key_it_says_so() {
        let server = Server::new(|management| {
            management.enabled = Some(true);
            management.secret_key = "".into();
        });
        let (status, error, _) = server.ask(LOCAL, &bearer()).await;
        assert_eq!((status.as_u16(), &*error), (403, "remote management key not set"));
    }

    /// A5, A6
    #[tokio::test]
    async fn no_key_and_a_wrong_one_are_told_apart() {
        let server = Server::local();
        for _ in 0..10 {
            let (status, error, _) = server.ask(LOCAL, &[]).await;
            assert_eq!(
                (status.as_u16(), &*error),
                (401, "missing management key"),
                "nobody is banned for asking"
            );
        }
        let (status, error, _) = server.ask(LOCAL, &WRONG).await;
        assert_eq!((status.as_u16(), &*error), (401, "invalid management key"));
    }

    /// A13
    #[cfg(feature = "dashboard")]
    #[tokio::test]
    async fn the_page_needs_no_key() {
        let server = Server::local();
        for path in ["metrics/ui", "metrics/ui/"] {
            let (status, ..) =
                server.send(Method::GET, &format!("/v0/management/qs/{path}"), Some(LOCAL), &[]).await;
            assert_eq!(status, 200, "{path}");
        }
    }
}

mod keys {
    use super::*;

    /// A7
    #[tokio::test]
    async fn are_taken_in_every_spelling() {
        let server = Server::local();
        for headers in [
            &[("authorization", "Bearer correct-horse-battery-staple")][..],
            &[("authorization", "bearer correct-horse-battery-staple")],
            &[("authorization", "BEARER  correct-horse-battery-staple")],
            &[("authorization", "correct-horse-battery-staple")],
            &[("x-management-key", "correct-horse-battery-staple")],
            &[("authorization", "Basic dXNlcjpwYXNz"), ("x-management-key", "correct-horse-battery-staple")],
            &[("authorization", "Bearer sk-other"), ("authorization", "Bearer correct-horse-battery-staple")],
        ] {
            assert_eq!(server.ask(LOCAL, headers).await.0, 200, "{headers:?}");
        }
    }

    /// A7
    #[tokio::test]
    async fn are_not_taken_from_the_address() {
        let server = Server::local();
        let uri = format!("{HEALTH}?key={KEY}");
        let (status, error, _) = server.send(Method::GET, &uri, Some(LOCAL), &[]).await;
        assert_eq!((status.as_u16(), &*error), (401, "missing management key"));
    }

    /// A9
    #[tokio::test]
    async fn that_are_right_reset_the_failures() {
        let server = Server::local();
        for _ in 0..5 {
            for _ in 0..4 {
                assert_eq!(server.ask(LOCAL, &WRONG).await.0, 401);
            }
            assert_eq!(server.ask(LOCAL, &bearer()).await.0, 200);
        }
    }

    /// A9: several wrong keys in one request are one try.
    #[tokio::test]
    async fn of_one_request_are_one_try() {
        let server = Server::new(|management| management.max_failures = 2);
        let many = [("authorization", "Bearer a"), ("x-management-key", "b"), ("x-management-key", "c")];
        assert_eq!(server.ask(LOCAL, &many).await.0, 401);
        assert_eq!(server.ask(LOCAL, &bearer()).await.0, 200);
    }

    #[tokio::test]
    async fn may_be_kept_as_a_bcrypt_hash() {
        let hash = bcrypt::hash(KEY, 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = format!("{prefix}{}", &hash[4..]);
            let server = Server::new(|management| management.secret_key = hash.clone().into());
            assert_eq!(server.ask(LOCAL, &WRONG).await.0, 401);
            for _ in 0..3 {
                assert_eq!(server.ask(LOCAL, &bearer()).await.0, 200);
            }
            assert_eq!(server.ask(LOCAL, &[("x-management-key", &hash)]).await.0, 401, "the hash is no key");
            for _ in 0..4 {
                assert_eq!(server.ask(LOCAL, &WRONG).await.0, 401);
            }
            assert_eq!(server.ask(LOCAL, &bearer()).await.0, 403, "banned");
        }
    }

    /// A8
    #[tokio::test]
    async fn are_not_shown() {
        let mut config = Config::default();
        config.remote_management.secret_key = KEY.into();
        let server = Server::local();
        let shown = format!("{config:?} {:?} {:?}", server.usage, server.usage.metrics_service());
        assert!(!shown.contains(KEY), "{shown}");
    }
}

mod addresses {
    use super::*;

    /// A10
    #[tokio::test]
    async fn are_the_sockets_and_not_what_a_header_says() {
        let server = Server::local();
        let headers = [
            bearer()[0],
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
        ];
        assert_eq!(server.ask(REMOTE, &headers).await.0, 403);
        assert_eq!(server.ask(LOCAL, &[bearer()[0], ("x-forwarded-for", REMOTE)]).await.0, 200);
    }

    /// A10
    #[tokio::test]
    async fn are_told_by_proxies_that_are_trusted() {
        let server =
            Server::new(|management| management.trusted_proxies = vec!["10.0.0.0/8".into(), LOCAL.into()]);
        let from = |forwarded: &'static str| [bearer()[0], ("x-forwarded-for", forwarded)];
        assert_eq!(server.ask(LOCAL, &from(REMOTE)).await.0, 403);
        assert_eq!(server.ask("10.0.0.1", &from("127.0.0.1")).await.0, 200);
        assert_eq!(server.ask("10.0.0.1", &from("127.0.0.1, 203.0.113.9")).await.0, 403);
    }

    /// A11
    #[tokio::test]
    async fn of_this_machine_have_many_forms_and_an_unknown_one_is_none_of_them() {
        let server = Server::local();
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(server.ask(peer, &bearer()).await.0, 200, "{peer}");
        }
        assert_eq!(server.send(Method::GET, HEALTH, None, &bearer()).await.0, 403);
    }

    /// A9: the same machine in two forms, and a whole network of IPv6 addresses.
    #[tokio::test]
    async fn are_banned_in_every_form() {
        let server = Server::remote();
        for peers in [["203.0.113.1", "::ffff:203.0.113.1"], ["2001:db8::1", "2001:db8::2"]] {
            for _ in 0..5 {
                assert_eq!(server.ask(peers[0], &WRONG).await.0, 401);
            }
            assert_eq!(server.ask(peers[1], &bearer()).await.0, 403, "{peers:?}");
        }
        assert_eq!(server.ask("2001:db8:0:1::1", &bearer()).await.0, 200, "another network");
    }

    /// A12
    #[tokio::test]
    async fn are_not_the_only_thing_that_has_to_be_local() {
        let server = Server::local();
        let to = |host: &'static str| [bearer()[0], ("host", host)];
        for host in ["localhost:8317", "127.0.0.1", "[::1]:8317"] {
            assert_eq!(server.ask(LOCAL, &to(host)).await.0, 200, "{host}");
        }
        for host in ["evil.example", "evil.example:8317", "localhost.evil.example"] {
            assert_eq!(server.ask(LOCAL, &to(host)).await.0, 403, "{host}");
            let remote = Server::remote();
            assert_eq!(remote.ask(LOCAL, &to(host)).await.0, 200, "{host}, where remote clients are allowed");
        }
        let uri = format!("http://evil.example{HEALTH}");
        assert_eq!(server.send(Method::GET, &uri, Some(LOCAL), &bearer()).await.0, 403, "HTTP/2's authority");
    }
}

/// Real sockets: the peer is whoever holds the other end, whatever it says.
mod sockets {
    use super::*;

    use std::{convert::Infallible, net::Ipv4Addr};

    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper_util::rt::TokioIo;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    const THIS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
    /// Another address of this machine, for a proxy that is not trusted.
    const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// Serves the management routes, and tells them the peer of each connection.
    async fn serve(server: &Server) -> SocketAddr {
        let listener = TcpListener::bind((THIS, 0)).await.unwrap();
        let (address, metrics) = (listener.local_addr().unwrap(), server.usage.metrics_service());
        tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let metrics = metrics.clone();
                let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(peer));
                    metrics.clone().oneshot(request)
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    /// A proxy at `own` that adds its client to `X-Forwarded-For`, as proxies do.
    async fn forward(own: Ipv4Addr, to: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((THIS, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let service = hyper::service::service_fn(move |mut request: Request<Incoming>| async move {
                    let before =
                        request.headers().get("x-forwarded-for").map(|value| value.to_str().unwrap());
                    let hops = before.into_iter().map(str::to_owned).chain([peer.ip().to_string()]);
                    let hops = hops.collect::<Vec<_>>().join(", ");
                    request.headers_mut().insert("x-forwarded-for", hops.parse().unwrap());
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.bind((own, 0).into()).unwrap();
                    let stream = socket.connect(to).await.unwrap();
                    Ok::<_, Infallible>(send(stream, request).await)
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    async fn send<B>(stream: TcpStream, request: Request<B>) -> http::Response<Incoming>
    where
        B: http_body::Body<Data: Send, Error: Into<tower::BoxError>> + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    async fn ask(address: SocketAddr, headers: &[(&str, &str)]) -> StatusCode {
        let mut request = Request::get(HEALTH).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        send(TcpStream::connect(address).await.unwrap(), request).await.status()
    }

    /// A10, A11
    #[tokio::test]
    async fn decide_who_is_local() {
        let server = Server::local();
        let address = serve(&server).await;
        assert_eq!(ask(address, &bearer()).await, 200);
        let lie = [bearer()[0], ("x-forwarded-for", REMOTE), ("forwarded", "for=203.0.113.9")];
        assert_eq!(ask(address, &lie).await, 200, "nobody here is trusted to say so");
    }

    /// A10: what the client wrote to the left of what the proxy wrote is not looked at.
    #[tokio::test]
    async fn behind_a_trusted_proxy_are_those_of_its_clients() {
        let server = Server::new(|management| management.trusted_proxies = vec![OTHER.to_string()]);
        let proxy = forward(OTHER, serve(&server).await).await;
        assert_eq!(ask(proxy, &bearer()).await, 200, "its client is this machine");
        let lie = [bearer()[0], ("x-forwarded-for", "127.0.0.1, 203.0.113.9")];
        assert_eq!(ask(proxy, &lie).await, 200, "what the proxy saw counts, not what it was told");

        // One more proxy in front, at an address that is trusted, and a client that is not local behind both.
        let server = Server::new(|management| management.trusted_proxies = vec!["127.0.0.0/8".into()]);
        let proxy = forward(OTHER, serve(&server).await).await;
        let remote = [bearer()[0], ("x-forwarded-for", REMOTE)];
        assert_eq!(ask(proxy, &remote).await, 403);
        let lie = [bearer()[0], ("x-forwarded-for", "127.0.0.1, 203.0.113.9")];
        assert_eq!(ask(proxy, &lie).await, 403, "the rightmost that is not trusted is the client");
    }

    /// A9, A10: a ban is the client's, not its proxy's.
    #[tokio::test]
    async fn are_banned_one_by_one_behind_a_proxy() {
        let server = Server::new(|management| {
            management.trusted_proxies = vec!["127.0.0.0/8".into()];
            management.allow_remote = true;
        });
        let proxy = forward(OTHER, serve(&server).await).await;
        let from = |client: &'static str| ("x-forwarded-for", client);
        for _ in 0..5 {
            assert_eq!(ask(proxy, &[WRONG[0], from(REMOTE)]).await, 401);
        }
        assert_eq!(ask(proxy, &[bearer()[0], from(REMOTE)]).await, 403);
        assert_eq!(ask(proxy, &[bearer()[0], from("203.0.113.10")]).await, 200);
    }
}

fn header() -> impl Strategy<Value = (&'static str, String)> {
    let name = prop::sample::select(vec![
        "authorization",
        "x-management-key",
        "host",
        "x-forwarded-for",
        "origin",
        "cookie",
    ]);
    let value = prop_oneof![
        "[ -~]{0,40}",
        prop::sample::select(vec!["Bearer ", "Bearer wrong", "Basic x", "localhost", "127.0.0.1, ::1", "*"])
            .prop_map(str::to_owned),
    ];
    (name, value)
}

proptest! {
    /// A6, A8: whatever is asked, nothing is given away without the key.
    #[test]
    fn no_request_without_the_right_key_gets_data_and_none_gets_the_key(
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::OPTIONS, Method::PUT]),
        path in prop_oneof![
            "(/v0/management/qs)?/(health|metrics|events|export|dimensions|status|recording|prometheus|openapi[.]json)\
             (/ui)?/?(\\?[a-z=&%0-9+:.-]{0,40})?",
            "/[a-z0-9/._%~-]{0,40}(\\?[!-~]{0,40})?".prop_filter("a URI", |path| path.parse::<http::Uri>().is_ok()),
        ],
        headers in prop::collection::vec(header(), 0..4),
        peer in prop::option::of(any::<[u8; 4]>()),
        allow_remote in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let server = Server::new(|management| management.allow_remote = allow_remote);
        let mut request = Request::builder().method(method).uri(&path);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        if let Some(peer) = peer {
            request = request.extension(PeerAddr((peer, 1).into()));
        }
        let response = runtime.block_on(server.usage.metrics_service().oneshot(request.body(String::new()).unwrap())).unwrap();
        let status = response.status();
        let shown = format!("{:?}", response.headers());
        let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body);
        prop_assert!(!shown.contains(KEY) && !body.contains(KEY));
        prop_assert!(status != 200 || path.contains("/metrics/ui"), "{status} {body}");
        prop_assert!(!body.contains("\"totals\":") && !body.contains("\"observed\":"));
    }

    /// A8: whoever has the key gets answers, and the key is in none of them; nothing that can be asked breaks anything.
    #[test]
    fn whatever_is_asked_with_the_key_is_answered_without_it(
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::DELETE]),
        route in prop::sample::select(vec![
            "health", "metrics", "events", "export", "dimensions", "status", "recording", "prometheus", "openapi.json",
            "metrics/ui", "nothing",
        ]),
        query in prop_oneof![
            Just(String::new()),
            "[a-z_]{1,9}=[!-~]{0,20}",
            "(from|to|range|tz|interval|group_by|metrics|limit|cursor|dimension|key|model)=[a-z0-9,*!-]{0,12}",
        ].prop_filter("a URI", |query| format!("/?{query}").parse::<http::Uri>().is_ok()),
        headers in prop::collection::vec(header(), 0..3),
        body in ".{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let server = Server::remote();
        let mut request = Request::builder().method(method).uri(format!("/v0/management/qs/{route}?{query}"));
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let request = request.header("x-management-key", KEY).extension(PeerAddr(([203, 0, 113, 9], 1).into()));
        let response = runtime.block_on(server.usage.metrics_service().oneshot(request.body(body).unwrap())).unwrap();
        let status = response.status();
        prop_assert!(![401, 403, 500].contains(&status.as_u16()), "{}", status);
        let shown = format!("{:?}", response.headers());
        let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
        prop_assert!(!shown.contains(KEY) && !String::from_utf8_lossy(&body).contains(KEY));
    }
}
