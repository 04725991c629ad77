//! The command line, the environment and the config file; what comes first wins.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use http::{Uri, uri::Scheme};
use lexopt::prelude::*;
use serde::Deserialize;
use tower_llm_usage::Config;

const HELP: &str = "\
A streaming reverse proxy for LLM APIs that records usage.

Usage: proxy [OPTIONS]

  --listen ADDR:PORT     where to listen; port 0 takes a free one [default: 127.0.0.1:8317]
  --upstream URL         the provider, such as https://api.openai.com [default: a simulated one]
  --usage-file PATH      where calls are kept [default: usage.json in the config file's auth-dir,
                         which is ~/.cli-proxy-api if not set]
  --management-key KEY   what opens the dashboard [default: a random key, shown at the start]
  --allow-remote         answer management requests from other machines, too
  --config FILE          YAML with usage-statistics-enabled, auth-dir, remote-management, …
  -h, --help             show this
  -V, --version          show the version

MANAGEMENT_PASSWORD in the environment sets a key and allows remote use, unless --management-key is given.
";

const MANAGEMENT_PASSWORD: &str = "MANAGEMENT_PASSWORD";

/// What the user asks for.
pub(crate) enum Wish {
    Serve(Box<Settings>),
    /// To read this: the help or the version.
    Read(String),
}

pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    /// `None`: simulated.
    pub(crate) upstream: Option<Uri>,
    pub(crate) config: Config,
    pub(crate) key: Key,
}

/// What may be shown of the management key.
pub(crate) enum Key {
    /// All: it was made here, or is on the command line for all to see.
    Shown(String),
    /// Nothing, since output ends up in logs. `variable` is the shell's for it in examples.
    Kept { place: String, variable: &'static str },
    /// The management routes are switched off.
    Off,
}

pub(crate) fn read() -> anyhow::Result<Wish> {
    let mut listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8317));
    let (mut upstream, mut usage_file, mut management_key, mut config_file) = (None, None, None, None);
    let mut allow_remote = false;

    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => {
                let address = arguments.value()?.string()?;
                listen = address.parse().with_context(|| {
                    format!("--listen {address:?} is not an address such as 127.0.0.1:8317")
                })?;
            }
            Long("upstream") => upstream = Some(upstream_url(&arguments.value()?.string()?)?),
            Long("usage-file") => usage_file = Some(PathBuf::from(arguments.value()?)),
            Long("management-key") => management_key = Some(sendable(arguments.value()?.string()?)?),
            Long("allow-remote") => allow_remote = true,
            Long("config") => config_file = Some(PathBuf::from(arguments.value()?)),
            Short('h') | Long("help") => return Ok(Wish::Read(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Wish::Read(concat!("proxy ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
            }
            _ => return Err(argument.unexpected().into()),
        }
    }

    let mut config = match &config_file {
        Some(path) => config_in(path)?,
        None => recording(Config::default()),
    };
    if let Some(usage_file) = usage_file {
        config.usage_statistics.file = Some(usage_file);
    }
    let key = choose_key(&mut config, management_key, config_file)?;
    config.remote_management.allow_remote |= allow_remote;
    Ok(Wish::Serve(Box::new(Settings { listen, upstream, config, key })))
}

fn upstream_url(url: &str) -> anyhow::Result<Uri> {
    // Before anything is shown of it.
    ensure!(!url.contains('@'), "--upstream must be a URL without user and password");
    let upstream = url
        .parse::<Uri>()
        .with_context(|| format!("--upstream {url:?} is not a URL such as https://api.openai.com"))?;
    ensure!(
        [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&upstream.scheme()),
        "--upstream {url:?} must begin with http:// or https://"
    );
    ensure!(!url.contains(['?', '#']), "--upstream {url:?} must end with its path");
    Ok(upstream)
}

/// A key that a client can put into a header.
fn sendable(key: String) -> anyhow::Result<String> {
    ensure!(
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()),
        "--management-key must be letters, digits and signs of ASCII, without spaces"
    );
    Ok(key)
}

fn config_in(path: &Path) -> anyhow::Result<Config> {
    /// A switch that is not in the file is on, other than in [`Config`].
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Switch {
        usage_statistics_enabled: Option<bool>,
    }

    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the config file {shown}"))?;
    let parse = || -> Result<Config, serde_saphyr::Error> {
        let Some(switch) = serde_saphyr::from_str::<Option<Switch>>(&text)? else {
            return Ok(recording(Config::default()));
        };
        let config = serde_saphyr::from_str::<Config>(&text)?;
        Ok(if switch.usage_statistics_enabled.is_none() { recording(config) } else { config })
    };
    // Its text is one line only without the excerpt, which could hold the key besides.
    let config = parse()
        .map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))
        .with_context(|| format!("the config file {shown} is not usable"))?;
    let prefix = &config.remote_management.prefix;
    if !prefix.starts_with('/') || prefix.trim_end_matches('/').is_empty() {
        bail!(
            "the config file {shown} is not usable: remote-management.prefix must be a path such as /management"
        );
    }
    Ok(config)
}

/// This is a proxy that records; nobody starts it to have it off.
fn recording(mut config: Config) -> Config {
    config.usage_statistics_enabled = true;
    config
}

/// The command line's key, else the environment's, else the file's, else a new one.
fn choose_key(
    config: &mut Config,
    given: Option<String>,
    config_file: Option<PathBuf>,
) -> anyhow::Result<Key> {
    let management = &mut config.remote_management;
    let key = if let Some(key) = given {
        management.secret_key = key.as_str().into();
        // A bcrypt hash opens nothing.
        match key.starts_with("$2") {
            true => Key::Kept { place: "the hash of --management-key".to_owned(), variable: "KEY" },
            false => Key::Shown(key),
        }
    } else if let Some(key) = env::var_os(MANAGEMENT_PASSWORD).filter(|key| !key.is_empty()) {
        let key = key.into_string().ok().with_context(|| format!("{MANAGEMENT_PASSWORD} is not UTF-8"))?;
        management.secret_key = key.into();
        management.allow_remote = true;
        Key::Kept { place: MANAGEMENT_PASSWORD.to_owned(), variable: MANAGEMENT_PASSWORD }
    } else if let (false, Some(file)) = (management.secret_key.is_empty(), config_file) {
        Key::Kept { place: file.display().to_string(), variable: "KEY" }
    } else {
        let mut random = [0; 16];
        getrandom::fill(&mut random).context("cannot make a management key")?;
        let key = format!("{:032x}", u128::from_ne_bytes(random));
        management.secret_key = key.as_str().into();
        Key::Shown(key)
    };
    Ok(if management.enabled == Some(false) { Key::Off } else { key })
}
