//! What the page is served by: the proxy example as it is, and a stage on which a test decides how the service stands.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};
use tower::ServiceExt;
use tower_llm_usage::{Config, MetricsBody, PeerAddr, Timestamp, Usage};

/// Long and odd enough to be found wherever it should not be.
pub const KEY: &str = "correct-horse-battery-staple";

const PREFIX: &str = "/v0/management/qs";

/// The proxy example, with a history.
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
    output: [Option<JoinHandle<String>>; 2],
}

impl Proxy {
    pub fn start(history: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("usage.json"), history).unwrap();
        let mut child = Command::new(example())
            .env_remove("MANAGEMENT_PASSWORD")
            .args(["--listen", "127.0.0.1:0", "--management-key", KEY, "--usage-file"])
            .arg(dir.path().join("usage.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening    http://") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the proxy ended before it was ready");
        }
        let (_, address) = line.trim().split_once("http://").unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let output = [
            thread::spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).map(|_| text).unwrap_or_default()
            }),
            thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).map(|_| text).unwrap_or_default()
            }),
        ];
        Self { child, address: address.parse().unwrap(), dir, output: output.map(Some) }
    }

    pub fn page(&self) -> String {
        format!("http://{}{PREFIX}/metrics/ui", self.address)
    }

    pub fn file(&self) -> String {
        fs::read_to_string(self.dir.path().join("usage.json")).unwrap()
    }

    /// Stops it, and gives what it wrote on its outputs after its greeting.
    pub fn stop(mut self) -> [String; 2] {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.output.each_mut().map(|output| output.take().unwrap().join().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example that is named, or that `cargo test` has built beside this test.
fn example() -> PathBuf {
    if let Some(path) = env::var_os("PROXY_EXAMPLE") {
        return path.into();
    }
    let test = env::current_exe().unwrap();
    let example = test.parent().and_then(Path::parent).unwrap().join("examples/proxy");
    assert!(
        example.exists(),
        "no example to test: `cargo test` builds it, `cargo build --example proxy` as well"
    );
    example
}

/// The service itself, by a server that a test plays tricks with.
pub struct Stage {
    address: SocketAddr,
    props: Arc<Props>,
}

struct Props {
    usage: Mutex<Arc<Usage>>,
    peer: Mutex<SocketAddr>,
    is_down: Mutex<bool>,
    /// Questions wait while it is `true`; the page itself does not.
    held: watch::Sender<bool>,
    dir: TempDir,
}

impl Stage {
    pub async fn set_up(set: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let usage = Arc::new(open(dir.path().join("0.json"), set));
        let props = Arc::new(Props {
            usage: Mutex::new(usage),
            peer: Mutex::new(([127, 0, 0, 1], 5000).into()),
            is_down: Mutex::new(false),
            held: watch::Sender::new(false),
            dir,
        });
        let shared = Arc::clone(&props);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let props = Arc::clone(&shared);
                let service = service_fn(move |request| respond(Arc::clone(&props), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, props }
    }

    pub fn page(&self) -> String {
        format!("http://{}{PREFIX}/metrics/ui", self.address)
    }

    pub fn usage(&self) -> Arc<Usage> {
        Arc::clone(&self.props.usage.lock().unwrap())
    }

    /// The server starts again, configured otherwise.
    pub fn restart(&self, set: impl FnOnce(&mut Config)) {
        let mut usage = self.props.usage.lock().unwrap();
        // On a file of its own: the one before lets go of its file when the last question is answered.
        let name = format!("{}.json", Timestamp::now().unix_millis());
        *usage = Arc::new(open(self.props.dir.path().join(name), set));
    }

    /// Whoever asks seems to come from there.
    pub fn ask_from(&self, peer: [u8; 4]) {
        *self.props.peer.lock().unwrap() = (peer, 5000).into();
    }

    pub fn go_down(&self, is_down: bool) {
        *self.props.is_down.lock().unwrap() = is_down;
    }

    pub fn hold(&self, held: bool) {
        self.props.held.send_replace(held);
    }
}

fn open(path: PathBuf, set: impl FnOnce(&mut Config)) -> Usage {
    let mut config = Config::recording_to(path);
    config.remote_management.secret_key = KEY.into();
    set(&mut config);
    Usage::open(config).unwrap()
}

/// An error closes the connection without a word.
async fn respond(
    props: Arc<Props>,
    mut request: Request<Incoming>,
) -> Result<http::Response<MetricsBody>, std::io::Error> {
    let is_question = !request.uri().path().contains("/ui");
    if is_question {
        let mut held = props.held.subscribe();
        let _ = held.wait_for(|held| !held).await;
    }
    if *props.is_down.lock().unwrap() {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    request.extensions_mut().insert(PeerAddr(*props.peer.lock().unwrap()));
    let service = props.usage.lock().unwrap().metrics_service();
    let Ok(response) = service.oneshot(request).await;
    Ok(response)
}

/// A history of 30 days, the same each time but for the time it ends at: so many calls, of models of all sorts.
pub fn history(calls: usize, now: Timestamp) -> String {
    const MODELS: [(&str, &str); 13] = [
        ("gpt-4o-mini-2024-07-18", "openai"),
        (HOSTILE, "openai"),
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("gemini-2.5-flash", "gcp.gemini"),
        ("gpt-4o", "openai"),
        ("o4-mini", "openai"),
        ("claude-opus-4-1", "anthropic"),
        ("text-embedding-3-small", "openai"),
        ("mistral-large", "mistral_ai"),
        ("llama-3.3-70b", "groq"),
        ("deepseek-chat", "deepseek"),
        ("command-r-plus", "cohere"),
        ("grok-4", "x_ai"),
    ];
    const MONTH: u64 = 30 * 24 * 3_600_000;
    let mut random = Random(42);
    let mut text = String::new();
    for i in 0..calls {
        let ago = MONTH - MONTH / calls as u64 * (i as u64 + 1);
        let time = Timestamp::from_unix_millis(now.unix_millis() - ago as i64);
        // Few models are asked for much.
        let (model, provider) = MODELS[(random.below(13) * random.below(14) / 13) as usize];
        let failed = random.below(25) == 0;
        let uncounted = failed || random.below(20) == 0;
        let [input, output] = [random.below(8000) + 100, random.below(1500) + 10];
        let mut line = json!({
            "timestamp": time.to_string(), "model": model, "provider": provider, "operation": "chat",
            "endpoint": "POST /v1/chat/completions", "v": 2, "id": format!("{i:032x}"), "request_id": format!("req_{i}"),
            "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0,
            "status": if failed { 429 + 71 * random.below(2) } else { 200 },
            "api_key_hash": format!("{:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(random.below(7) + 1)).repeat(4),
            "stream": random.below(2) == 0, "usage": if uncounted { "missing" } else { "complete" }, "end": "complete",
            "duration_ms": 200 + random.below(9000), "ttft_ms": 50 + random.below(900),
        });
        if !uncounted {
            line["prompt_tokens"] = json!(input);
            line["completion_tokens"] = json!(output);
            line["total_tokens"] = json!(input + output);
            line["cache_read_tokens"] = json!(input / (1 + random.below(4)) / 2);
            line["cache_write_tokens"] = json!(input / 10 * random.below(2));
            line["reasoning_tokens"] = json!(output / 4 * random.below(2));
        }
        let _ = writeln!(text, "{line}");
    }
    text
}

/// A model's name that tries everything at once.
pub const HOSTILE: &str =
    "\u{202e}<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"`${1}";

/// Numbers that look random (xorshift) and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % end
    }
}
