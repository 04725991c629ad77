//! A streaming reverse proxy in front of an LLM API, with usage recording and its management routes.
//!
//! `cargo run --release --example proxy` runs it with a simulated provider behind it; `--help` says what else it does.

mod args;
mod forward;
mod simulate;

use std::{convert::Infallible, error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tower_llm_usage::{MetricsService, PeerAddr, Usage, UsageService};

use crate::{
    args::{Command, Settings},
    forward::{Body, BoxError, Forward},
};

/// How long running responses may go on after a signal to stop.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match args::parse() {
        Ok(Command::Run(settings)) => run(*settings).await,
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            Ok(())
        }
        Ok(Command::Version) => {
            println!("proxy {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Err(invalid) => Err(invalid.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::from(2)
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn run(settings: Settings) -> Result<(), BoxError> {
    let Settings { listen, upstream, config, shown_key } = settings;
    let file = config.usage_file();
    let prefix = config.remote_management.prefix.trim_end_matches('/').to_owned();

    let listener = TcpListener::bind(listen).await.map_err(|e| format!("cannot listen on {listen}: {e}"))?;
    let usage = tokio::task::spawn_blocking(|| Usage::open(config)).await??;
    let (upstream, provider) = match upstream {
        Some(url) => (url.clone(), url.to_string()),
        None => {
            let address = simulate::start().await?;
            (
                format!("http://{address}").parse()?,
                format!("a simulated provider at http://{address} (no --upstream given)"),
            )
        }
    };
    let proxy = Proxy {
        calls: usage.layer().layer(Forward::new(upstream)?),
        management: usage.metrics_service(),
        prefix,
    };

    let address = listener.local_addr()?;
    let loaded = usage.status().events;
    print_welcome(
        address,
        &provider,
        &file.display().to_string(),
        loaded,
        &proxy.prefix,
        shown_key.as_deref(),
    );
    serve(listener, proxy).await?;

    usage.close().await?;
    let status = usage.status();
    println!("Stopped. {} events written to {}, {} lost.", status.persisted, file.display(), status.dropped);
    Ok(())
}

/// Serves until a signal to stop, then lets running responses come to their end.
async fn serve(listener: TcpListener, proxy: Proxy) -> Result<(), BoxError> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(hyper_util::rt::TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let mut stop = Signals::new()?;
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.next() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of file descriptors, or a client that is gone again: others may do better in a moment.
                Err(error) => {
                    eprintln!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Tokens are small, and someone reads along.
        let _ = stream.set_nodelay(true);
        let proxy = proxy.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            proxy.clone().answer(request)
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no news.
            let _ = connection.await;
        });
    }

    drop(listener);
    println!("Stopping; running responses have {} s to end. A second signal ends them now.", GRACE.as_secs());
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(GRACE) => {}
        () = stop.next() => {}
    }
    Ok(())
}

/// The management routes under their prefix, and the proxy for everything else.
#[derive(Clone)]
struct Proxy {
    calls: UsageService<Forward>,
    management: MetricsService,
    prefix: String,
}

impl Proxy {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let is_management = request
            .uri()
            .path()
            .strip_prefix(&self.prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_management {
            let response = self.management.oneshot(request).await?;
            Ok(response.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
        } else {
            Ok(self.calls.oneshot(request).await?.map(BodyExt::boxed_unsync))
        }
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

fn print_welcome(
    address: SocketAddr,
    provider: &str,
    file: &str,
    loaded: u64,
    prefix: &str,
    shown_key: Option<&str>,
) {
    // An address to listen on everywhere is none to go to.
    let host = if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    };
    let base = format!("http://{host}");
    let (key, fragment) = match shown_key {
        Some(key) => (key, format!("#key={key}")),
        None => ("$MANAGEMENT_KEY", String::new()),
    };
    println!("Proxy       {base}");
    println!("Upstream    {provider}");
    println!("Dashboard   {base}{prefix}/metrics/ui{fragment}");
    println!("Key         {}", shown_key.unwrap_or("the one that you have set"));
    println!("Usage file  {file} ({loaded} events)");
    println!();
    println!("Try it:");
    println!(
        "  curl -s {base}/v1/chat/completions -H 'authorization: Bearer sk-demo' -H 'content-type: application/json' \
         -d '{{\"model\":\"gpt-4o-mini\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    );
    println!(
        "  curl -sN {base}/v1/messages -H 'x-api-key: sk-demo' -H 'anthropic-version: 2023-06-01' \
         -H 'content-type: application/json' -d '{{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":200,\"stream\":true,\
         \"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    );
    println!("  curl -s {base}{prefix}/metrics -H \"authorization: Bearer {key}\"");
    println!();
}
