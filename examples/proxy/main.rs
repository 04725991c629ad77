//! A streaming reverse proxy that records usage. Without `--upstream`, a simulated provider answers.
//!
//! ```sh
//! cargo run --release --example proxy -- --upstream https://api.openai.com
//! ```

mod args;
mod forward;
mod loading;
mod serve;
mod simulate;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use args::{Key, Settings};
use http::Uri;
use loading::Loading;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serve::{Routes, Signals};
use tokio::{net::TcpListener, runtime::Runtime};
use tower::Layer;
use tower_llm_usage::{Usage, UsageHint};

fn main() -> ExitCode {
    let settings = match args::read() {
        Ok(args::Wish::Serve(settings)) => *settings,
        Ok(args::Wish::Read(text)) => {
            say(&text);
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    match run(settings) {
        Ok(exit_code) => exit_code,
        Err(error) => refuse(&error),
    }
}

/// `Err` is a start that failed.
fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let serving = Runtime::new().context("cannot start the runtime")?;
    let usage = serving.block_on(start_and_serve(settings))?;
    // Ends what is still running, wherever it runs, so that each call is recorded before the usage is closed.
    serving.shutdown_timeout(Duration::from_secs(1));

    let closing = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(closing.context("cannot start the runtime")?.block_on(close(&usage)))
}

async fn start_and_serve(settings: Settings) -> anyhow::Result<Usage> {
    let Settings { listen, upstream, config, key } = settings;
    // Before the usage file: a second start on the same address leaves it alone.
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("cannot learn the address listened on")?;
    let signals = Signals::listen().context("cannot listen for signals")?;
    let simulated = upstream.is_none();
    let upstream = match upstream {
        Some(upstream) => upstream,
        None => {
            let simulated = simulate::start().await.context("cannot start the simulated provider")?;
            Uri::try_from(format!("http://{}", simulated.addr))
                .context("the simulated provider has no address")?
        }
    };
    let forward = forward::service(&upstream)?;
    let prefix = config.remote_management.prefix.trim_end_matches('/').to_owned();
    let usage_file = config.usage_file();
    let mut loading = Loading::start();
    let usage = Usage::open_with_progress(config, |progress| loading.show(&progress, Instant::now()))?;
    drop(loading);

    let status = usage.status();
    let recording = if status.recording { "" } else { ", recording is off" };
    let file = format!("{} ({} events{recording})", usage_file.display(), status.events);
    say(&greeting(reachable(address), &upstream, simulated, &prefix, &key, &file));
    if status.bad_lines > 0 {
        say(&format!("  note         {} lines of the usage file cannot be read\n\n", status.bad_lines));
    }

    let routes = Routes {
        proxy: usage.layer().layer(forward),
        metrics: usage.metrics_service(),
        prefix,
        hint: UsageHint::new().upstream(upstream.host().unwrap_or_default()),
    };
    serve::serve(listener, routes, signals).await;
    Ok(usage)
}

/// Writes what is queued and says what became of it. One more signal gives up on a disk that hangs.
async fn close(usage: &Usage) -> ExitCode {
    let signalled = async {
        match Signals::listen() {
            Ok(mut signals) => signals.next().await,
            Err(_) => std::future::pending().await,
        }
    };
    let closed = tokio::select! {
        closed = usage.close() => closed.map_err(anyhow::Error::from),
        () = signalled => Err(anyhow::anyhow!("ended by a signal before all was written")),
    };
    let status = usage.status();
    let lost = if status.dropped > 0 { format!(", {} lost", status.dropped) } else { String::new() };
    say(&format!(
        "{} calls recorded, {} written{lost}; the usage file holds {} events.\n",
        status.observed, status.persisted, status.events
    ));
    match closed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn greeting(at: SocketAddr, upstream: &Uri, simulated: bool, prefix: &str, key: &Key, file: &str) -> String {
    let mut text = format!("\n  listening    http://{at}\n  upstream     ");
    let _ = match simulated {
        true => writeln!(text, "simulated: no provider is asked, all answers are made up"),
        false => writeln!(text, "{upstream}"),
    };
    let metrics = format!("http://{at}{prefix}/metrics");
    let _ = match key {
        Key::Shown(key) => {
            let fragment = utf8_percent_encode(key, NON_ALPHANUMERIC);
            writeln!(text, "  dashboard    {metrics}/ui#key={fragment}\n  key          {key}")
        }
        Key::Kept { place, .. } => {
            writeln!(text, "  dashboard    {metrics}/ui\n  key          the one in {place}")
        }
        Key::Off => writeln!(text, "  dashboard    off (remote-management.enabled)"),
    };
    let _ = writeln!(text, "  usage file   {file}\n\n  Try it:\n");
    // An upstream such as https://openrouter.ai/api/v1 brings the version along.
    let v1 = if upstream.path().trim_end_matches('/').ends_with("/v1") { "" } else { "/v1" };
    let authorization = match simulated {
        true => " -H 'Authorization: Bearer sk-demo'",
        false => r#" -H "Authorization: Bearer $OPENAI_API_KEY""#,
    };
    let question = r#""messages":[{"role":"user","content":"Hello!"}]"#;
    let _ = writeln!(
        text,
        "curl http://{at}{v1}/chat/completions{authorization} --json '{{\"model\":\"gpt-4o-mini\",{question}}}'\n",
    );
    let _ = match simulated {
        true => writeln!(
            text,
            "curl -N http://{at}/v1/messages -H 'x-api-key: sk-demo' -H 'anthropic-version: 2023-06-01' \
             --json '{{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":256,\"stream\":true,{question}}}'\n"
        ),
        false => writeln!(
            text,
            "curl -N http://{at}{v1}/chat/completions{authorization} --json '{{\"model\":\"gpt-4o-mini\",\
             \"stream\":true,\"stream_options\":{{\"include_usage\":true}},{question}}}'\n"
        ),
    };
    let _ = match key {
        // As a shell reads it, whatever is in it.
        Key::Shown(key) => {
            writeln!(text, "curl {metrics} -H 'Authorization: Bearer {}'\n", key.replace('\'', r"'\''"))
        }
        Key::Kept { variable, .. } => {
            writeln!(text, "curl {metrics} -H \"Authorization: Bearer ${variable}\"\n")
        }
        Key::Off => Ok(()),
    };
    text
}

/// Where a client on this machine finds a server that listens on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn refuse(error: &anyhow::Error) -> ExitCode {
    complain(error);
    ExitCode::from(2)
}

/// Nobody may be there to read it, which is no reason to stop; `println!` would panic.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn complain(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "error: {error:#}");
}
