//! A real Chromium, driven over its DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/>): the few
//! commands that these tests need, on a WebSocket.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    pin::pin,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// What a condition may take until a test has failed, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Chromium is. Without it a test cannot run: in CI that is a failure, elsewhere it says so.
pub fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let paths: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let found = names
        .iter()
        .flat_map(|name| paths.iter().map(move |path| path.join(name)))
        .find(|path| path.exists());
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "the dashboard's tests need chromium");
        eprintln!("\n*** SKIPPED: the dashboard is not tested, there is no chromium here ***\n");
    }
    found
}

pub struct Browser {
    child: Child,
    /// Hangs up when none of its processes is left.
    ended: std::sync::mpsc::Receiver<()>,
    connection: Arc<Connection>,
    _profile: TempDir,
}

impl Browser {
    pub async fn start(chromium: PathBuf) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // A page of Chromium's own, which a new window loads beside ours: what is timed would be both.
            .args(["--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup"])
            .args([
                "--remote-debugging-port=0",
                "--hide-scrollbars",
                "--disable-dev-shm-usage",
                "--force-device-scale-factor=1",
            ])
            // The tests' own name for this machine, which is not one of a local host.
            .args(["--host-resolver-rules=MAP proxy.test 127.0.0.1"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // What it puts elsewhere it leaves behind when it is killed.
            .env("TMPDIR", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "Chromium ended before it was ready");
            if let Some((_, url)) = line.split_once("DevTools listening on ") {
                break url.trim().to_owned();
            }
        };
        // It writes on, and must not find its pipe full.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        thread::spawn(move || {
            let _end = end;
            std::io::copy(&mut stderr, &mut std::io::sink())
        });
        Self { child, ended, connection: Connection::open(&url).await, _profile: profile }
    }

    /// A page of its own: nothing of another page's storage or cache is there.
    pub async fn page(&self, look: Look) -> Page {
        let send = |method, params| self.connection.send(None, method, params);
        let context = send("Target.createBrowserContext", json!({})).await["browserContextId"].clone();
        let target =
            send("Target.createTarget", json!({ "url": "about:blank", "browserContextId": context })).await;
        let attached =
            send("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true })).await;
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let page = Page { connection: Arc::clone(&self.connection), session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.send(&format!("{domain}.enable"), json!({})).await;
        }
        page.send("Emulation.setTimezoneOverride", json!({ "timezoneId": "Europe/Berlin" })).await;
        page.look(look).await;
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its other processes end with it, and would still write to the profile while that is removed.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub dark: bool,
}

impl Look {
    pub const DESKTOP: Self = Self { width: 1440, dark: false };
}

/// A connection with all the pages, each a session on it.
struct Connection {
    commands: mpsc::UnboundedSender<String>,
    next: AtomicU64,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// By session.
    events: Mutex<HashMap<String, Vec<Value>>>,
    arrived: Notify,
}

impl Connection {
    async fn open(url: &str) -> Arc<Self> {
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let (mut sink, mut stream) = socket.split();
        let (commands, mut queue) = mpsc::unbounded_channel::<String>();
        let state = Arc::new(State::default());
        tokio::spawn(async move {
            while let Some(command) = queue.recv().await {
                if sink.send(Message::text(command)).await.is_err() {
                    break;
                }
            }
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                let Ok(text) = message.to_text() else { continue };
                let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
                shared.take(message);
            }
        });
        Arc::new(Self { commands, next: AtomicU64::new(1), state })
    }

    async fn send(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.try_send(session, method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_send(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.state.waiting.lock().unwrap().insert(id, sender);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        self.commands.send(command.to_string()).unwrap();
        let answer = tokio::time::timeout(PATIENCE * 2, answer).await;
        let mut answer = answer.unwrap_or_else(|_| panic!("no answer to {method}")).unwrap();
        match answer["error"].take() {
            Value::Null => Ok(answer["result"].take()),
            error => Err(error),
        }
    }
}

impl State {
    fn take(&self, message: Value) {
        if let Some(id) = message["id"].as_u64() {
            if let Some(sender) = self.waiting.lock().unwrap().remove(&id) {
                let _ = sender.send(message);
            }
        } else if let Some(session) = message["sessionId"].as_str() {
            self.events.lock().unwrap().entry(session.to_owned()).or_default().push(message);
            self.arrived.notify_waiters();
        }
    }
}

pub struct Page {
    connection: Arc<Connection>,
    session: String,
}

impl Page {
    pub async fn send(&self, method: &str, params: Value) -> Value {
        self.connection.send(Some(&self.session), method, params).await
    }

    pub async fn look(&self, Look { width, dark }: Look) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.send("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        let motion = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        self.send("Emulation.setEmulatedMedia", json!({ "features": [scheme, motion] })).await;
    }

    pub async fn open(&self, url: &str) {
        let answer = self.send("Page.navigate", json!({ "url": url })).await;
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait("document.readyState === 'complete'").await;
    }

    /// The value of an expression in the page, which may be a promise.
    pub async fn eval(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.send("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {:#}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn wait(&self, condition: &str) {
        let watch = format!(
            "new Promise((resolve) => {{
                const end = performance.now() + {};
                const look = () => {{
                    let met = false;
                    try {{ met = Boolean({condition}); }} catch {{}}
                    met || performance.now() > end ? resolve(met) : setTimeout(look, 10);
                }};
                look();
            }})",
            PATIENCE.as_millis()
        );
        let params = json!({ "expression": watch, "awaitPromise": true, "returnByValue": true });
        let met = loop {
            // What was waited in may have gone, because the page has.
            let answer =
                self.connection.try_send(Some(&self.session), "Runtime.evaluate", params.clone()).await;
            if let Ok(answer) = answer {
                break answer["result"]["value"] == json!(true);
            }
        };
        if !met {
            let seen = self.eval("document.querySelector('main').innerText.slice(0, 1500) + document.querySelector('dialog').innerText").await;
            panic!(
                "never came true: {condition}\n{}\n{:#?}",
                seen.as_str().unwrap_or_default(),
                self.complaints()
            );
        }
    }

    pub async fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({selector:?})?.textContent ?? null")).await;
        text.as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// Clicks with the mouse, where a person would: what lies under something else cannot be clicked.
    pub async fn click(&self, selector: &str) {
        let at = self
            .eval(&format!(
                "(() => {{
                    const node = document.querySelector({selector:?});
                    node.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                    const box = node.getBoundingClientRect();
                    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                    const top = document.elementFromPoint(x, y);
                    return {{ x, y, free: node.contains(top) || top.contains(node) || top.closest('label')?.control === node, top: top.outerHTML.slice(0, 200) }};
                }})()"
            ))
            .await;
        assert_eq!(at["free"], json!(true), "{selector} lies under {}", at["top"]);
        self.mouse("mousePressed", &at["x"], &at["y"]).await;
        self.mouse("mouseReleased", &at["x"], &at["y"]).await;
    }

    pub async fn mouse(&self, kind: &str, x: &Value, y: &Value) {
        let held = u8::from(kind != "mouseReleased");
        let params =
            json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": held, "clickCount": 1 });
        self.send("Input.dispatchMouseEvent", params).await;
    }

    pub async fn write(&self, text: &str) {
        self.send("Input.insertText", json!({ "text": text })).await;
    }

    pub async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Tab" => (9, ""),
            " " => (32, " "),
            _ => panic!("no such key: {key}"),
        };
        let name = if key == " " { "Space" } else { key };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": name, "windowsVirtualKeyCode": code, "text": text });
            self.send("Input.dispatchKeyEvent", params).await;
        }
    }

    /// Chooses in a `select`, as the keyboard does.
    pub async fn choose(&self, selector: &str, value: &str) {
        self.eval(&format!(
            "(() => {{
                const node = document.querySelector({selector:?});
                node.focus();
                node.value = {value:?};
                if (node.value !== {value:?}) throw new Error('no such choice');
                node.dispatchEvent(new Event('change', {{ bubbles: true }}));
            }})()"
        ))
        .await;
    }

    fn events(&self, method: &str) -> Vec<Value> {
        let events = self.connection.state.events.lock().unwrap();
        let events = events.get(&self.session).map(Vec::as_slice).unwrap_or_default();
        events.iter().filter(|event| event["method"] == method).map(|event| event["params"].clone()).collect()
    }

    /// Waits until so many requests have been made to addresses with `part` in them.
    pub async fn asked(&self, part: &str, times: usize) -> Vec<String> {
        let asked = || self.requests().into_iter().filter(|url| url.contains(part)).collect::<Vec<_>>();
        self.until(&format!("{times} requests to {part}"), || {
            Some(asked()).filter(|asked| asked.len() >= times)
        })
        .await
    }

    /// Waits for an event.
    pub async fn happens(&self, method: &str, is: impl Fn(&Value) -> bool) {
        self.until(method, || self.events(method).iter().any(&is).then_some(())).await;
    }

    /// Waits until what has happened so far gives something.
    async fn until<T>(&self, what: &str, find: impl Fn() -> Option<T>) -> T {
        let wait = async {
            loop {
                let mut arrived = pin!(self.connection.state.arrived.notified());
                arrived.as_mut().enable();
                if let Some(found) = find() {
                    return found;
                }
                arrived.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("waited in vain: {what}\n{:#?}", self.requests()))
    }

    /// Forgets such events.
    pub fn forget(&self, method: &str) {
        let mut events = self.connection.state.events.lock().unwrap();
        events.entry(self.session.clone()).or_default().retain(|event| event["method"] != method);
    }

    pub fn requests(&self) -> Vec<String> {
        let requests = self.events("Network.requestWillBeSent");
        requests.iter().map(|event| event["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// Bytes that came over the wire, bodies with their heads.
    pub fn transferred(&self) -> u64 {
        let finished = self.events("Network.loadingFinished");
        finished.iter().map(|event| event["encodedDataLength"].as_f64().unwrap() as u64).sum()
    }

    /// Whatever the browser has to say against the page: errors, warnings, violations of its policy.
    pub fn complaints(&self) -> Vec<String> {
        let of = |method: &str| self.events(method).into_iter().map(|event| event.to_string());
        of("Runtime.consoleAPICalled")
            .chain(of("Runtime.exceptionThrown"))
            .chain(of("Log.entryAdded").filter(|entry| !entry.contains(r#""level":"verbose""#)))
            .chain(of("Security.certificateError"))
            .collect()
    }

    /// Takes a picture, for people to look at where `DASHBOARD_PICTURES` names a folder.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = env::var_os("DASHBOARD_PICTURES") else { return };
        let size = self.send("Page.getLayoutMetrics", json!({})).await["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let picture =
            self.send("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": clip })).await;
        let bytes = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            picture["data"].as_str().unwrap(),
        );
        fs::write(PathBuf::from(folder).join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }
}
