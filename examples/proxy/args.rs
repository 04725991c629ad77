//! The command line, and the settings that it makes together with a configuration file.

use std::{env, error::Error, fmt, fs, net::SocketAddr, path::PathBuf};

use hyper::Uri;
use lexopt::{Arg, Parser, ValueExt};
use serde::Deserialize;
use tower_llm_usage::Config;

pub(crate) const HELP: &str = "\
A streaming reverse proxy for LLM APIs that records who used which model, and how many tokens.

Usage: proxy [OPTIONS]

Options:
  --listen ADDRESS        Where to listen [default: 127.0.0.1:8317]
  --upstream URL          The API to forward to; without it, a simulated provider answers
  --usage-file PATH       Where usage is kept [default: ~/.cli-proxy-api/usage.json]
  --management-key KEY    The key for the management routes [default: a random one]
  --allow-remote          Answer the management routes to other machines, too
  --config FILE           Settings in YAML; the options above win over it
  --help                  Show this
  --version               Show the version

Environment:
  MANAGEMENT_PASSWORD     A management key; sets --allow-remote
";

pub(crate) enum Command {
    Run(Box<Settings>),
    Help,
    Version,
}

pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    /// Scheme, authority, and a path that goes in front of every request's.
    pub(crate) upstream: Option<Uri>,
    /// With a management key in any case.
    pub(crate) config: Config,
    /// The management key, where it may be shown: it was made up, or typed on the command line.
    pub(crate) shown_key: Option<String>,
}

/// What is wrong, in one sentence.
#[derive(Debug)]
pub(crate) struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Invalid {}

impl From<lexopt::Error> for Invalid {
    fn from(error: lexopt::Error) -> Self {
        Self(format!("{error}; try --help"))
    }
}

pub(crate) fn parse() -> Result<Command, Invalid> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 8317));
    let mut upstream = None;
    let mut usage_file = None;
    let mut key = None;
    let mut allow_remote = false;
    let mut file = None;

    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("listen") => {
                let text = parser.value()?.string()?;
                listen =
                    text.parse().map_err(|_| Invalid(format!("--listen: '{text}' is not ADDRESS:PORT")))?;
            }
            Arg::Long("upstream") => upstream = Some(parse_upstream(&parser.value()?.string()?)?),
            Arg::Long("usage-file") => usage_file = Some(PathBuf::from(parser.value()?)),
            Arg::Long("management-key") => {
                key = Some(parser.value()?.string()?).filter(|key| !key.is_empty())
            }
            Arg::Long("allow-remote") => allow_remote = true,
            Arg::Long("config") => file = Some(PathBuf::from(parser.value()?)),
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("version") | Arg::Short('V') => return Ok(Command::Version),
            other => return Err(other.unexpected().into()),
        }
    }

    let mut config = match file {
        Some(path) => read(&path)?,
        None => on(Config::default()),
    };
    if let Some(path) = usage_file {
        config.usage_statistics.file = Some(path);
    }
    let management = &mut config.remote_management;
    management.allow_remote |= allow_remote;
    let shown_key = match (key, env::var("MANAGEMENT_PASSWORD")) {
        (Some(key), _) => {
            management.secret_key = key.as_str().into();
            Some(key)
        }
        (None, Ok(password)) if !password.is_empty() => {
            management.secret_key = password.into();
            management.allow_remote = true;
            None
        }
        (None, _) if management.secret_key.is_empty() => {
            let key = uuid::Uuid::new_v4().simple().to_string();
            management.secret_key = key.as_str().into();
            Some(key)
        }
        (None, _) => None,
    };
    Ok(Command::Run(Box::new(Settings { listen, upstream, config, shown_key })))
}

/// Recording is what this program is for.
fn on(mut config: Config) -> Config {
    config.usage_statistics_enabled = true;
    config
}

fn read(path: &PathBuf) -> Result<Config, Invalid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Switch {
        usage_statistics_enabled: Option<bool>,
    }
    let invalid = |error: &dyn fmt::Display| {
        Invalid(format!("cannot read the configuration {}: {error}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|e| invalid(&e))?;
    let config: Config = serde_saphyr::from_str(&text).map_err(|e| invalid(&one_line(&e)))?;
    let switch: Switch = serde_saphyr::from_str(&text).map_err(|e| invalid(&one_line(&e)))?;
    Ok(if switch.usage_statistics_enabled.is_none() { on(config) } else { config })
}

/// Without the piece of the file around the fault, which could be a key.
fn one_line(error: &impl fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn parse_upstream(text: &str) -> Result<Uri, Invalid> {
    let invalid = || Invalid(format!("--upstream: '{text}' is not a URL such as https://api.openai.com"));
    let uri: Uri = text.parse().map_err(|_| invalid())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority))
            if !authority.as_str().contains('@') && uri.query().is_none() =>
        {
            Ok(uri)
        }
        _ => Err(invalid()),
    }
}
