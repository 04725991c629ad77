//! What can be set, by the names that the Go original gave it.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer};

/// Settings of recording, of the usage file and of the management routes.
///
/// Deserialises from any serde format, keys in kebab-case; a host program can embed it in a file of its own,
/// since keys that it does not know are ignored.
///
/// ```
/// use tower_llm_usage::Config;
///
/// let config: Config = serde_json::from_str(r#"{
///     "usage-statistics-enabled": true,
///     "auth-dir": "/var/lib/proxy",
///     "remote-management": { "secret-key": "hunter2" }
/// }"#)?;
/// assert_eq!(config.usage_file(), std::path::Path::new("/var/lib/proxy/usage.json"));
/// assert!(!format!("{config:?}").contains("hunter2"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Config {
    /// Record calls. Off by default; [`Usage::set_recording`](crate::Usage::set_recording) switches it while running.
    pub usage_statistics_enabled: bool,
    /// The directory of the usage file; a leading `~` is the home directory. `~/.cli-proxy-api` by default.
    pub auth_dir: PathBuf,
    /// Who may ask the management routes.
    pub remote_management: RemoteManagement,
    /// How calls are kept.
    pub usage_statistics: UsageStatistics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            usage_statistics_enabled: false,
            auth_dir: PathBuf::from("~/.cli-proxy-api"),
            remote_management: RemoteManagement::default(),
            usage_statistics: UsageStatistics::default(),
        }
    }
}

impl Config {
    /// The default settings with recording switched on and calls kept in `usage_file`.
    pub fn recording_to(usage_file: impl Into<PathBuf>) -> Self {
        let mut config = Self { usage_statistics_enabled: true, ..Self::default() };
        config.usage_statistics.file = Some(usage_file.into());
        config
    }

    /// Where the usage file lies: `usage-statistics.file` if set, else `usage.json` in `auth-dir`.
    pub fn usage_file(&self) -> PathBuf {
        match &self.usage_statistics.file {
            Some(file) => expand_home(file),
            None => expand_home(&self.auth_dir).join("usage.json"),
        }
    }
}

/// `~` and `~/…` of the user whose process this is; anything else is left as it is.
fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) if !home.as_os_str().is_empty() => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Who may ask the management routes (`remote-management`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct RemoteManagement {
    /// Serve the management routes at all. Unset: when a key is set.
    pub enabled: Option<bool>,
    /// Answer addresses other than loopback. Off by default.
    pub allow_remote: bool,
    /// The management key, plain or as a bcrypt hash (`$2a$`, `$2b$`, `$2y$`).
    pub secret_key: SecretKey,
    /// The path under which the routes lie.
    pub prefix: String,
    /// Failed tries in a row after which an address is banned; 0 switches banning off.
    pub max_failures: u32,
    /// How long a ban lasts.
    #[serde(rename = "ban-seconds", deserialize_with = "seconds")]
    pub ban: Duration,
    /// Proxies whose `X-Forwarded-For` is believed: addresses, or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Give Prometheus the counters by key, too, under the hashes of keys. Off by default: there may be many.
    pub prometheus_key_label: bool,
    /// Origins that may read answers from a page of their own (`Access-Control-Allow-Origin`). None by default.
    pub allowed_origins: Vec<String>,
}

impl Default for RemoteManagement {
    fn default() -> Self {
        Self {
            enabled: None,
            allow_remote: false,
            secret_key: SecretKey::default(),
            prefix: String::from("/v0/management/qs"),
            max_failures: 5,
            ban: Duration::from_secs(30 * 60),
            trusted_proxies: Vec::new(),
            prometheus_key_label: false,
            allowed_origins: Vec::new(),
        }
    }
}

/// How calls are kept (`usage-statistics`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct UsageStatistics {
    /// The usage file; unset: `usage.json` in `auth-dir`.
    pub file: Option<PathBuf>,
    /// Events that wait before they are written; at least 1. However fast they come, their number has them written once in
    /// 100 ms at most, or whenever 512 KiB of lines wait.
    pub flush_events: usize,
    /// How long an event waits at most before it is written; more than 0.
    #[serde(rename = "flush-seconds", deserialize_with = "seconds")]
    pub flush_interval: Duration,
    /// When what was written is synced to disk.
    pub fsync: Fsync,
    /// Bytes from which on the usage file is closed, as a segment beside it, and a new one begun. Unset: it is not
    /// closed for its size.
    pub rotate_bytes: Option<u64>,
    /// Close the usage file, as a segment beside it, before the first write of a UTC day. Off by default.
    pub rotate_daily: bool,
    /// How closed segments are compressed.
    pub compress: Compression,
    /// Days for which a segment is kept after the day on which it was closed. Unset: it is not removed for its age.
    ///
    /// Of what is removed the sums stay, for each quarter of an hour by model, key, provider and class of status, in a
    /// file of their own beside the usage file. Needs rotation, since only closed segments are removed.
    pub keep_days: Option<u32>,
    /// Bytes that the usage file and its segments, compressed or not, may come to; beyond that the oldest segments are
    /// removed, as for [`keep_days`](Self::keep_days).
    pub keep_bytes: Option<u64>,
    /// Events that the queue to the writer holds, at least `flush_events`; one more is dropped and counted. Each takes
    /// 24 bytes, which are set aside at the start, and those beyond the first 512 some 300 more while they wait.
    pub queue_capacity: usize,
    /// Bytes of lines kept in memory while the file cannot be written; events beyond that are dropped and counted.
    pub backlog_bytes: usize,
    /// How long the drop of the last handle waits for what is queued to be written, and how long a writer that ends
    /// goes on trying to write to a file that cannot be written.
    #[serde(rename = "drop-deadline-seconds", deserialize_with = "seconds")]
    pub drop_deadline: Duration,
    /// Events that are kept in memory one by one, about 40 bytes each. Of older ones remain their sums by quarter of an
    /// hour, model, key, provider and class of status; the file keeps them all. 25 million by default.
    pub max_events: u64,
    /// Models that are told apart, at most 65,534; the others count as `__other__`. 10,000 by default.
    pub max_models: usize,
    /// Keys that are told apart, at most 100 million; the others count as `__other__`. A million by default.
    pub max_keys: usize,
}

impl Default for UsageStatistics {
    fn default() -> Self {
        Self {
            file: None,
            flush_events: 50,
            flush_interval: Duration::from_secs(30),
            fsync: Fsync::Flush,
            rotate_bytes: None,
            rotate_daily: false,
            compress: Compression::None,
            keep_days: None,
            keep_bytes: None,
            queue_capacity: 8192,
            backlog_bytes: 16 << 20,
            drop_deadline: Duration::from_secs(5),
            max_events: 25_000_000,
            max_models: 10_000,
            max_keys: 1_000_000,
        }
    }
}

/// When written events are made to survive a loss of power (`fsync`): `"flush"`, a number of seconds, or `"none"`.
///
/// The end of the process, by whatever signal, loses nothing that was written: it is only the system's own end that
/// can, and this is how much.
///
/// ```
/// use std::time::Duration;
/// use tower_llm_usage::{Config, Fsync};
///
/// let config: Config = serde_json::from_str(r#"{ "usage-statistics": { "fsync": 2.5 } }"#)?;
/// assert_eq!(config.usage_statistics.fsync, Fsync::Interval(Duration::from_millis(2500)));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// With every flush: nothing that was flushed is lost. The default.
    #[default]
    Flush,
    /// This long after an event was written, at the latest, and whenever a flush or the end is asked for.
    Interval(Duration),
    /// Never: when it gets to disk is up to the system, for most a matter of half a minute.
    None,
}

impl<'de> Deserialize<'de> for Fsync {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "fsync must be \"flush\", \"none\", or a number of seconds")]
        enum Value {
            Word(Word),
            Seconds(f64),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Flush,
            None,
        }
        Ok(match Value::deserialize(deserializer)? {
            Value::Word(Word::Flush) => Self::Flush,
            Value::Word(Word::None) => Self::None,
            Value::Seconds(seconds) => {
                Self::Interval(Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)?)
            }
        })
    }
}

/// How closed segments are compressed (`compress`): `"none"`, `"gzip"` or `"zstd"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all. The default.
    #[default]
    None,
    /// To a file that ends in `.gz`. Needs the feature `decompression-gzip`.
    Gzip,
    /// To a file that ends in `.zst`. Needs the feature `decompression-zstd`.
    Zstd,
}

/// Seconds, fractions allowed; what no clock can count is refused.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// A key that cannot be shown: `Debug` says only whether there is one.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "Option<String>")]
pub struct SecretKey(String);

impl SecretKey {
    /// No key, or an empty one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl From<&str> for SecretKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

/// YAML's `secret-key:` with nothing behind it.
impl From<Option<String>> for SecretKey {
    fn from(key: Option<String>) -> Self {
        Self(key.unwrap_or_default())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "SecretKey(none)" } else { "SecretKey(set)" })
    }
}
