//! Clients that call a proxy as fast as it answers, on a connection each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    provider::{self, PACE, Pace, STUCK},
    support::nanoseconds,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) pace: Pace,
    pub(crate) connections: usize,
}

/// What came of some time of it. All times are in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) elapsed: f64,
    pub(crate) latencies: Vec<f64>,
    pub(crate) ages: Vec<f64>,
    /// For which the proxy's threads have run.
    pub(crate) cpu: Option<f64>,
}

impl Turn {
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed * 1e9
    }
}

type Client = SendRequest<Full<Bytes>>;

pub(crate) async fn run(proxy: SocketAddr, load: Load, time: Duration) -> anyhow::Result<Turn> {
    let mut clients = Vec::new();
    for _ in 0..load.connections {
        clients.push(connect(proxy).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(call_until(client, load.pace, start + time));
    }
    let mut turn = Turn::default();
    while let Some(done) = tasks.join_next().await {
        let (latencies, ages) = done??;
        turn.latencies.extend(latencies);
        turn.ages.extend(ages);
    }
    turn.elapsed = nanoseconds(start.elapsed());
    Ok(turn)
}

async fn call_until(mut client: Client, pace: Pace, end: Instant) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut latencies, mut ages) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        let start = Instant::now();
        let mut body = call(&mut client, pace).await?;
        while let Some(frame) = body.frame().await {
            note_ages(frame?.data_ref(), &mut ages);
        }
        latencies.push(nanoseconds(start.elapsed()));
        client.ready().await?;
    }
    Ok((latencies, ages))
}

/// The moments at which the chunks in a frame were sent.
fn note_ages(frame: Option<&Bytes>, ages: &mut Vec<f64>) {
    const AT: &[u8] = b"\"at\":";
    let Some(frame) = frame else { return };
    let now = provider::now();
    for at in memmem::find_iter(frame, AT) {
        let digits = frame[at + AT.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let sent = digits.fold(0_u64, |number, digit| 10 * number + u64::from(digit - b'0'));
        // A number that is cut by the end of a frame is none.
        if frame.len() > at + AT.len() + 20 || frame.ends_with(b"\n") {
            ages.push(now.saturating_sub(sent) as f64);
        }
    }
}

/// Opens streams that do not end; they stay open as long as what is returned lives.
pub(crate) async fn open(proxy: SocketAddr, count: usize) -> anyhow::Result<Vec<(Client, Incoming)>> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut client = connect(proxy).await?;
        let mut body = call(&mut client, Pace::Stuck).await?;
        let mut chunks = 0;
        while chunks < STUCK {
            let Some(frame) = body.frame().await else { break };
            let frame = frame?;
            chunks += frame.data_ref().map_or(0, |data| memmem::find_iter(data, b"data: ").count());
        }
        ensure!(chunks == STUCK, "the stream has ended");
        open.push((client, body));
    }
    Ok(open)
}

async fn connect(proxy: SocketAddr) -> anyhow::Result<Client> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { connection.await.is_ok() });
    Ok(client)
}

async fn call(client: &mut Client, pace: Pace) -> anyhow::Result<Incoming> {
    let request = Request::post("/v1/chat/completions")
        .header(header::HOST, "proxy.internal:8317")
        .header(header::AUTHORIZATION, "Bearer sk-proj-Uq8naYxR5vJm0sLhGdEoPaZ3uTf2kqW8nYxR5vJm0sL")
        .header(header::CONTENT_TYPE, "application/json")
        .header(PACE, pace.name())
        .body(Full::from(Bytes::from_static(b"{\"messages\": [1]}")))?;
    let response = client.send_request(request).await?;
    ensure!(response.status().is_success(), "the proxy answers {}", response.status());
    Ok(response.into_body())
}
