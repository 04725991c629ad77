//! Accepts connections until a signal, then lets running responses finish.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Either;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tower::{BoxError, Service, ServiceExt};
use tower_llm_usage::{MetricsBody, MetricsService, PeerAddr, UsageHint};

/// How long running responses may go on after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// The proxy, and the management routes in front of it: what is under `prefix` never goes upstream.
#[derive(Clone)]
pub(crate) struct Routes<P> {
    pub(crate) proxy: P,
    pub(crate) metrics: MetricsService,
    pub(crate) prefix: String,
    /// What is known of every call: where it goes.
    pub(crate) hint: UsageHint,
}

impl<P, B> Routes<P>
where
    P: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    async fn answer(
        self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Either<B, MetricsBody>>, Infallible> {
        request.extensions_mut().insert(PeerAddr(peer));
        let below = request.uri().path().strip_prefix(&self.prefix);
        if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            Ok(self.metrics.oneshot(request).await?.map(Either::Right))
        } else {
            request.extensions_mut().insert(self.hint);
            Ok(self.proxy.oneshot(request).await?.map(Either::Left))
        }
    }
}

/// Serves until a signal, and returns when all is answered, [`GRACE`] is over, or a second signal comes.
///
/// Connections that are idle are closed at the first signal. Those that are not may still be running on return.
pub(crate) async fn serve<P, B>(listener: TcpListener, routes: Routes<P>, mut signals: Signals)
where
    P: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    P::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
    let graceful = GracefulShutdown::new();

    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = signals.next() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Out of file descriptors, as a rule: some will come free.
            Err(_) => {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Each piece of a stream goes out at once.
        let _ = stream.set_nodelay(true);
        let routes = routes.clone();
        let service = service_fn(move |request| routes.clone().answer(request, peer));
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        // How a connection ends is seen by its client, and by the layer.
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }

    // Whoever connects now is refused, and not left waiting.
    drop(listener);
    tokio::select! {
        _ = timeout(GRACE, graceful.shutdown()) => {}
        () = signals.next() => {}
    }
}

/// SIGINT and SIGTERM, heard from [`listen`](Self::listen) on.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
