//! The proxy example as its users have it: started, asked with their clients, and stopped.
#![cfg(all(unix, feature = "dashboard"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use async_openai::{
    Client,
    config::OpenAIConfig,
    types::{
        chat::{ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequestArgs},
        embeddings::CreateEmbeddingRequestArgs,
    },
};
use serde_json::Value;
use tempfile::TempDir;
use tokio_stream::StreamExt;

/// The example that `cargo test` has built beside this test.
fn proxy() -> Command {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let proxy = profile.join("examples/proxy");
    assert!(
        proxy.exists(),
        "no example to test: `cargo test` builds it, `cargo build --example proxy` as well"
    );
    let mut command = Command::new(proxy);
    command.env_remove("MANAGEMENT_PASSWORD").env("SIMULATED_PACE_MS", "0");
    command
}

/// The same, with a usage file in `dir` and on a port that is free.
fn recording_in(dir: &TempDir) -> Command {
    let mut command = proxy();
    command.args(["--listen", "127.0.0.1:0", "--usage-file"]).arg(dir.path().join("usage.json"));
    command
}

/// Starts it, to read what it says.
fn started(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// A proxy that runs.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    curls: Vec<String>,
    dir: TempDir,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    fn start_in(dir: TempDir, args: &[&str]) -> Self {
        let (child, mut stdout) = started(recording_in(&dir).args(["--management-key", "secret"]).args(args));
        let mut address = None;
        let mut curls = Vec::new();
        // The greeting ends with its third line for the shell.
        while curls.len() < 3 {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the proxy ended before it was ready");
            if let Some((_, url)) = line.split_once("listening    http://") {
                address = Some(url.trim().parse().unwrap());
            }
            if line.starts_with("curl ") {
                curls.push(line.trim().to_owned());
            }
        }
        Self { child, stdout, address: address.unwrap(), curls, dir }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("usage.json")
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Stops it as a service manager does, and gives the lines of its file.
    fn stop(mut self) -> Vec<Value> {
        self.signal("-TERM");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert!(self.wait().success(), "{rest}");
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Stopped already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn post(address: SocketAddr, path: &str, body: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let len = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {len}\r\n\r\n{body}")
        .unwrap();
    stream
}

/// Reads until `text` has come.
fn read_until(stream: &mut impl Read, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).ends_with(text) {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "ended before {text:?}: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

mod a_new_user {
    use super::*;

    #[test]
    fn pastes_the_lines_of_the_greeting_and_sees_the_numbers_agree() {
        let proxy = Running::start(&[]);
        let chat: Value = serde_json::from_str(&shell(&proxy.curls[0])).unwrap();
        let stream = shell(&proxy.curls[1]);
        let metrics: Value = serde_json::from_str(&shell(&proxy.curls[2])).unwrap();

        let events = stream.lines().filter_map(|line| line.strip_prefix("data: "));
        let delta = events
            .map(|event| serde_json::from_str::<Value>(event).unwrap())
            .find(|event| event["type"] == "message_delta")
            .unwrap();
        let count = |value: &Value| value.as_u64().unwrap();
        let chat_total = count(&chat["usage"]["total_tokens"]);
        let stream_total = count(&delta["usage"]["input_tokens"])
            + count(&delta["usage"]["cache_read_input_tokens"])
            + count(&delta["usage"]["output_tokens"]);
        assert_eq!(metrics["totals"]["requests"], 2);
        assert_eq!(metrics["totals"]["tokens"], chat_total + stream_total);

        let lines = proxy.stop();
        let models: Vec<_> =
            lines.iter().map(|line| (&line["model"], &line["total_tokens"], &line["end"])).collect();
        let complete = Value::from("complete");
        assert_eq!(
            models,
            [
                (&"gpt-4o-mini".into(), &chat_total.into(), &complete),
                (&"claude-sonnet-4-5".into(), &stream_total.into(), &complete)
            ]
        );
    }

    #[test]
    fn finds_the_history_again_after_a_restart() {
        let mut proxy = Running::start(&[]);
        shell(&proxy.curls[0]);
        proxy.signal("-INT");
        assert!(proxy.wait().success());
        let dir = std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap());
        let again = Running::start_in(dir, &[]);
        let metrics: Value = serde_json::from_str(&shell(&again.curls[2])).unwrap();
        assert_eq!(metrics["totals"]["requests"], 1);
        assert_eq!(again.stop().len(), 1);
    }
}

/// OpenAI's own API, asked by a client that was not written for this.
mod a_real_client {
    use super::*;

    #[tokio::test]
    async fn gets_its_answers_and_its_usage_is_what_it_saw() {
        let proxy = Running::start(&[]);
        let config =
            OpenAIConfig::new().with_api_base(format!("{}/v1", proxy.url())).with_api_key("sk-real-client");
        let client = Client::with_config(config);
        let message =
            ChatCompletionRequestUserMessageArgs::default().content("How are you?").build().unwrap();
        let ask = |stream: bool| {
            let mut request = CreateChatCompletionRequestArgs::default();
            request.model("gpt-4o").messages([message.clone().into()]);
            if stream {
                let options = serde_json::from_str::<Value>(r#"{"include_usage":true}"#).unwrap();
                request.stream_options(
                    serde_json::from_value::<async_openai::types::chat::ChatCompletionStreamOptions>(options)
                        .unwrap(),
                );
            }
            request.build().unwrap()
        };

        let mut seen = Vec::new();
        let answer = client.chat().create(ask(false)).await.unwrap();
        assert!(answer.choices[0].message.content.is_some());
        seen.push(answer.usage.unwrap().total_tokens);

        let mut chunks = client.chat().create_stream(ask(true)).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.unwrap();
            text.extend(chunk.choices.iter().filter_map(|choice| choice.delta.content.as_deref()));
            seen.extend(chunk.usage.map(|usage| usage.total_tokens));
        }
        assert!(!text.is_empty());

        let request =
            CreateEmbeddingRequestArgs::default().model("text-embedding-3-small").input("some text").build();
        seen.push(client.embeddings().create(request.unwrap()).await.unwrap().usage.total_tokens);

        let lines = proxy.stop();
        let recorded: Vec<_> = lines.iter().map(|line| line["total_tokens"].as_u64().unwrap()).collect();
        assert_eq!(recorded, seen.into_iter().map(u64::from).collect::<Vec<_>>());
        let operations: Vec<_> = lines.iter().map(|line| &line["operation"]).collect();
        assert_eq!(operations, ["chat", "chat", "embeddings"]);
        let streamed: Vec<_> = lines.iter().map(|line| &line["stream"]).collect();
        assert_eq!(streamed, [false, true, false]);
        assert!(!format!("{lines:?}").contains("sk-real-client"));
    }
}

/// An upstream of the test's own, one connection at a time.
struct Upstream(TcpListener);

impl Upstream {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/base/", self.0.local_addr().unwrap())
    }

    /// Accepts a connection and reads the head of its request.
    fn accept(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().unwrap();
        let head = read_until(&mut stream, "\r\n\r\n");
        (stream, head)
    }
}

mod a_proxy {
    use super::*;

    #[test]
    fn passes_on_what_is_for_the_upstream_and_nothing_else() {
        let upstream = Upstream::new();
        let proxy = Running::start(&["--upstream", &upstream.url()]);
        let headers = "x-custom: 1\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nte: trailers\r\nauthorization: Bearer k\r\n";
        let mut client = post(proxy.address, "/v1/chat/completions?a=b%20c", "{}", headers);
        let (mut connection, head) = upstream.accept();
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /base/v1/chat/completions?a=b%20c http/1.1\r\n"), "{head}");
        for wanted in ["x-custom: 1", "te: trailers", "authorization: bearer k", "content-length: 2"] {
            assert!(head.contains(&format!("\r\n{wanted}\r\n")), "{wanted}: {head}");
        }
        let host = format!("\r\nhost: {}\r\n", upstream.0.local_addr().unwrap());
        assert!(head.contains(&host) && !head.contains("x-hop") && !head.contains("x-forwarded"), "{head}");
        connection
            .write_all(
                b"HTTP/1.1 201 Created\r\nx-up: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 2\r\n\r\nok",
            )
            .unwrap();
        let answer = read_until(&mut client, "\r\n\r\nok").to_ascii_lowercase();
        assert!(
            answer.starts_with("http/1.1 201")
                && answer.contains("x-up: 1")
                && !answer.contains("keep-alive"),
            "{answer}"
        );
        assert_eq!(proxy.stop()[0]["status"], 201);
    }

    #[test]
    fn streams_in_both_directions_at_once() {
        let upstream = Upstream::new();
        let proxy = Running::start(&["--upstream", &upstream.url()]);
        let mut client = TcpStream::connect(proxy.address).unwrap();
        client
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
            .unwrap();
        let (mut connection, _) = upstream.accept();
        read_until(&mut connection, "2\r\nab\r\n");
        connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").unwrap();
        read_until(&mut client, "3\r\none\r\n");
        client.write_all(b"2\r\ncd\r\n0\r\n\r\n").unwrap();
        read_until(&mut connection, "2\r\ncd\r\n0\r\n\r\n");
        connection.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
        read_until(&mut client, "3\r\ntwo\r\n0\r\n\r\n");
        assert_eq!(proxy.stop().len(), 1);
    }

    /// A client that leaves is seen by the upstream, and in the file.
    #[test]
    fn carries_a_hang_up_to_the_upstream() {
        let upstream = Upstream::new();
        let proxy = Running::start(&["--upstream", &upstream.url()]);
        let mut client = post(proxy.address, "/v1/messages", "{}", "");
        let (mut connection, _) = upstream.accept();
        connection
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\n: hi\n\n\r\n",
            )
            .unwrap();
        read_until(&mut client, ": hi\n\n\r\n");
        drop(client);
        let mut rest = Vec::new();
        // Ends, or is reset: either way the upstream learns of it.
        let _ = connection.read_to_end(&mut rest);
        let lines = proxy.stop();
        assert_eq!((&lines[0]["end"], &lines[0]["usage"]), (&"client_closed".into(), &"partial".into()));
    }

    #[test]
    fn tunnels_an_upgrade() {
        let upstream = Upstream::new();
        let proxy = Running::start(&["--upstream", &upstream.url()]);
        let mut client = TcpStream::connect(proxy.address).unwrap();
        client
            .write_all(
                b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
            )
            .unwrap();
        let (mut connection, head) = upstream.accept();
        assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
        connection
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfrom above")
            .unwrap();
        let head = read_until(&mut client, "\r\n\r\nfrom above");
        assert!(
            head.starts_with("HTTP/1.1 101") && head.to_ascii_lowercase().contains("upgrade: websocket"),
            "{head}"
        );
        client.write_all(b"from below").unwrap();
        read_until(&mut connection, "from below");
        drop((client, connection));
        assert_eq!(proxy.stop().len(), 0, "nobody has asked a model");
    }

    #[test]
    fn speaks_http2_without_asking() {
        let proxy = Running::start(&[]);
        let line =
            proxy.curls[0].replace("curl ", "curl -sS --http2-prior-knowledge -w '\\n%{http_version}' ");
        let answer = shell(&line);
        assert!(answer.ends_with("\n2"), "{answer}");
        assert_eq!(proxy.stop()[0]["end"], "complete");
    }

    #[test]
    fn says_clearly_that_the_upstream_cannot_be_reached() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = Running::start(&["--upstream", &format!("http://{nobody}")]);
        let mut client = post(proxy.address, "/v1/chat/completions", "{}", "connection: close\r\n");
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains(r#""type":"bad_gateway""#), "{answer}");
        assert!(!answer.contains(&nobody.port().to_string()), "{answer}");
        assert_eq!(proxy.stop()[0]["status"], 502);
    }

    #[test]
    fn keeps_management_requests_to_itself() {
        let upstream = Upstream::new();
        let proxy = Running::start(&["--upstream", &upstream.url()]);
        let url = format!("{}/v0/management/qs", proxy.url());
        let status = |path: &str| shell(&format!("curl -s -o /dev/null -w '%{{http_code}}' {url}{path}"));
        assert_eq!(
            ["", "/health", "/metrics", "/metrics/ui", "/x"].map(status),
            ["401", "401", "401", "200", "401"]
        );
        proxy.stop();
    }
}

mod stopping {
    use super::*;

    /// F27
    #[test]
    fn lets_a_running_response_come_to_its_end() {
        let upstream = Upstream::new();
        let proxy = Running::start(&["--upstream", &upstream.url()]);
        let mut client = post(proxy.address, "/v1/chat/completions", "{}", "");
        let (mut connection, _) = upstream.accept();
        let rest = r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{{",
            rest.len() + 1
        );
        connection.write_all(head.as_bytes()).unwrap();
        read_until(&mut client, "\r\n\r\n{");
        proxy.signal("-TERM");
        // Nobody new gets in, which is how one sees that the signal has arrived.
        while TcpStream::connect(proxy.address).is_ok() {
            thread::yield_now();
        }
        connection.write_all(rest.as_bytes()).unwrap();
        drop(connection);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let mut proxy = proxy;
        assert!(proxy.wait().success());
        let line: Value = serde_json::from_str(&fs::read_to_string(proxy.file()).unwrap()).unwrap();
        assert_eq!((&line["end"], &line["status"]), (&"complete".into(), &200.into()));
    }

    /// F27: an open dashboard is such a connection.
    #[test]
    fn is_not_held_up_by_an_idle_connection() {
        let proxy = Running::start(&[]);
        let mut client = TcpStream::connect(proxy.address).unwrap();
        client.write_all(b"GET /v0/management/qs/metrics/ui HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        read_until(&mut client, "</html>\n");
        proxy.stop();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

mod a_bad_start {
    use super::*;

    /// One sentence, exit code 2.
    fn refused(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
        said
    }

    #[test]
    fn is_explained_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yaml");
        fs::write(&config, "remote-management: [secret-key, topsecret\n").unwrap();
        let config = config.to_str().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().to_string();
        for (args, part) in [
            (&["--nonsense"][..], "--nonsense"),
            (&["--listen", "here"], "here"),
            (&["--listen", &taken], &*taken),
            (&["--upstream", "ftp://x"], "ftp://x"),
            (&["--config", "/nowhere/config.yaml"], "/nowhere/config.yaml"),
            (&["--config", config], config),
        ] {
            let said = refused(proxy().args(args));
            assert!(said.contains(part) && !said.contains("topsecret"), "{said}");
        }
    }

    #[test]
    fn leaves_a_file_alone_that_it_cannot_use() {
        let running = Running::start(&[]);
        shell(&running.curls[0]);
        let file = running.file();
        let start = |path: &std::path::Path| {
            refused(proxy().args(["--listen", "127.0.0.1:0", "--usage-file"]).arg(path))
        };
        let said = start(&file);
        assert!(said.contains(&running.child.id().to_string()) && said.contains("usage.json"), "{said}");
        assert!(start(running.dir.path()).contains(running.dir.path().to_str().unwrap()));
        assert!(start(&file.join("below")).contains("usage.json"));
        assert_eq!(running.stop().len(), 1);
    }

    #[test]
    fn is_none_when_help_is_asked_for() {
        for (flag, part) in [("--help", "--upstream"), ("--version", env!("CARGO_PKG_VERSION"))] {
            let output = proxy().arg(flag).output().unwrap();
            assert!(output.status.success());
            assert!(String::from_utf8_lossy(&output.stdout).contains(part));
        }
    }
}

#[allow(dead_code, reason = "the terminal is not the system's here")]
#[path = "../examples/proxy/loading.rs"]
mod loading;

mod a_long_load {
    use tower_llm_usage::{Config, Usage};

    use super::{loading::Loading, *};

    /// What is shown of a small history that is as far as given, so many milliseconds after the start.
    fn shown(is_terminal: bool, looks: &[u64]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("usage.json");
        let line = r#"{"timestamp":"2026-03-01T00:00:00Z","model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"status":200}"#;
        fs::write(&file, format!("{line}\n")).unwrap();
        let mut progress = None;
        drop(Usage::open_with_progress(Config::recording_to(file), |all| progress = Some(all)).unwrap());

        let mut terminal = Vec::new();
        let start = Instant::now();
        let mut loading = Loading::on(&mut terminal, is_terminal, start);
        for millis in looks {
            loading.show(&progress.unwrap(), start + Duration::from_millis(*millis));
        }
        drop(loading);
        String::from_utf8(terminal).unwrap()
    }

    #[test]
    fn is_shown_on_a_terminal_once_it_has_taken_a_second_and_cleared_away() {
        let line = "\r  loading      100 % (1 events)";
        let cleared = "\r\x1b[K";
        assert_eq!(shown(true, &[0, 999]), "");
        assert_eq!(shown(true, &[0, 1000, 1199]), [line, cleared].concat());
        assert_eq!(shown(true, &[1000, 1100, 1200, 1500]), [line, line, line, cleared].concat());
    }

    #[test]
    fn is_not_shown_where_nobody_looks() {
        assert_eq!(shown(false, &[0, 1000, 60_000]), "");
    }
}

mod configuration {
    use super::*;

    /// Section 4: the key of the environment, and remote use with it, which is to say under names that are not local.
    #[test]
    fn of_management_comes_from_the_environment_unless_a_key_is_given() {
        for (args, key, remote) in
            [(&[][..], "from-environment", "200"), (&["--management-key", "k"], "k", "403")]
        {
            let dir = tempfile::tempdir().unwrap();
            let (mut child, mut stdout) =
                started(recording_in(&dir).env("MANAGEMENT_PASSWORD", "from-environment").args(args));
            let greeting = read_until(&mut stdout, "/metrics -H");
            assert!(!greeting.contains("from-environment"), "{greeting}");
            let (_, rest) = greeting.split_once("listening    ").unwrap();
            let url = rest.lines().next().unwrap();
            for (host, expected) in [("localhost", "200"), ("proxy.example", remote)] {
                let status = shell(&format!(
                    "curl -so /dev/null -w '%{{http_code}}' {url}/v0/management/qs/health -H 'host: {host}' -H 'x-management-key: {key}'"
                ));
                assert_eq!(status, expected, "{args:?} {host}");
            }
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
            assert!(child.wait().unwrap().success());
        }
    }

    /// Section 4: the original's keys.
    #[test]
    fn is_read_from_a_file_and_the_command_line_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let auth = dir.path().join("auth");
        let yaml = format!(
            "port: 8317\nusage-statistics-enabled: true\nauth-dir: {}\nremote-management:\n  allow-remote: false\n  secret-key: \"from-file\"\n",
            auth.display()
        );
        fs::write(&path, yaml).unwrap();
        let (mut child, mut stdout) =
            started(proxy().args(["--listen", "127.0.0.1:0", "--config"]).arg(&path));
        let greeting = read_until(&mut stdout, "/metrics -H");
        assert!(
            greeting.contains(auth.join("usage.json").to_str().unwrap()) && !greeting.contains("from-file"),
            "{greeting}"
        );
        let (_, rest) = greeting.split_once("listening    ").unwrap();
        let url = rest.lines().next().unwrap();
        let health =
            shell(&format!("curl -sf {url}/v0/management/qs/health -H 'x-management-key: from-file'"));
        assert!(health.contains(r#""recording":true"#), "{health}");
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
}
