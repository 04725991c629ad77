//! Who may ask.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::{
    PeerAddr,
    address::{self, Network},
    bans::Bans,
};
use crate::{Error, RemoteManagement, SecretKey};

/// Why somebody is turned away, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no management.
    Off,
    /// Too many failed tries; so much longer.
    Banned(Duration),
    /// Only this machine may ask.
    Remote,
    /// Only this machine may ask, and what was asked for goes by another name.
    ForeignHost,
    /// Nobody can have the right key.
    NoKeySet,
    MissingKey,
    WrongKey,
    /// Too many keys are being checked at the moment.
    Busy,
}

/// The gate in front of the routes.
#[derive(Debug)]
pub(super) struct Gate {
    is_on: bool,
    allows_remote: bool,
    trusted: Vec<Network>,
    secret: Option<Secret>,
    bans: Bans,
}

impl Gate {
    pub(super) fn new(config: &RemoteManagement) -> Result<Self, Error> {
        let trusted = config.trusted_proxies.iter().map(|text| {
            Network::parse(text).ok_or_else(|| {
                Error::config(format!("trusted-proxies: '{text}' is no address and no network"))
            })
        });
        Ok(Self {
            is_on: config.enabled.unwrap_or(!config.secret_key.is_empty()),
            allows_remote: config.allow_remote,
            trusted: trusted.collect::<Result<_, _>>()?,
            secret: Secret::new(&config.secret_key)?,
            bans: Bans::new(config.max_failures, config.ban),
        })
    }

    /// Asks all that needs no key.
    pub(super) fn admit(&self, request: &Parts) -> Result<Origin, Refusal> {
        if !self.is_on {
            return Err(Refusal::Off);
        }
        let peer = request.extensions.get::<PeerAddr>().map(|PeerAddr(peer)| peer.ip());
        let client = address::client(peer, &request.headers, &self.trusted);
        let origin = Origin(address::origin(client));
        if let Some(left) = self.bans.left(origin.0, Instant::now()) {
            return Err(Refusal::Banned(left));
        }
        if !self.allows_remote {
            if !address::is_local(client) {
                return Err(Refusal::Remote);
            }
            if !address::is_host_local(&request.headers, &request.uri) {
                return Err(Refusal::ForeignHost);
            }
        }
        Ok(origin)
    }

    /// Asks for the key.
    pub(super) async fn unlock(&self, origin: Origin, headers: &HeaderMap) -> Result<(), Refusal> {
        let secret = self.secret.as_ref().ok_or(Refusal::NoKeySet)?;
        let keys = keys(headers);
        if keys.is_empty() {
            return Err(Refusal::MissingKey);
        }
        let now = Instant::now();
        if !self.bans.begin(origin.0, now) {
            return Err(Refusal::Banned(self.bans.left(origin.0, now).unwrap_or_default()));
        }
        let outcome = secret.fits(keys).await;
        if outcome != Err(Refusal::WrongKey) {
            self.bans.forgive(origin.0);
        }
        outcome
    }
}

/// Under which name tries are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin(IpAddr);

/// Every key that a request carries: a foreign `Authorization` does not hide a right `X-Management-Key`.
fn keys(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let authorization = headers.get_all(AUTHORIZATION).iter().map(|value| {
        let value = value.as_bytes().trim_ascii();
        match value.split_at_checked(b"bearer ".len()) {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
            _ => value,
        }
    });
    let own = headers.get_all("x-management-key").iter().map(|value| value.as_bytes().trim_ascii());
    authorization.chain(own).filter(|key| !key.is_empty()).map(<[u8]>::to_vec).collect()
}

type Sha = [u8; 32];

/// The management key, as far as it is kept.
#[derive(Debug)]
enum Secret {
    /// SHA-256 of a plain key.
    Plain(Digested),
    Bcrypt(Bcrypt),
}

/// A digest that is compared in constant time and not shown.
struct Digested(Sha);

impl std::fmt::Debug for Digested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digested")
    }
}

impl Digested {
    fn is_of(&self, key: &[u8]) -> bool {
        self.0.ct_eq(&Sha::from(Sha256::digest(key))).into()
    }
}

impl Secret {
    fn new(key: &SecretKey) -> Result<Option<Self>, Error> {
        let key = key.expose();
        Ok(match key {
            "" => None,
            _ if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| key.starts_with(prefix)) => {
                Some(Self::Bcrypt(Bcrypt::new(key)?))
            }
            _ => Some(Self::Plain(Digested(Sha256::digest(key.as_bytes()).into()))),
        })
    }

    async fn fits(&self, keys: Vec<Vec<u8>>) -> Result<(), Refusal> {
        match self {
            // All are looked at: how long it takes says nothing about which one was right.
            Self::Plain(digest) => {
                let right = keys.iter().filter(|key| digest.is_of(key)).count();
                if right > 0 { Ok(()) } else { Err(Refusal::WrongKey) }
            }
            Self::Bcrypt(bcrypt) => bcrypt.fits(keys).await,
        }
    }
}

/// A bcrypt hash. To check a key takes tens of milliseconds by design: a thread of its own does it, one at a time.
struct Bcrypt {
    checks: SyncSender<Check>,
    /// A key that was right before is not checked again.
    known: Mutex<Option<Digested>>,
}

struct Check {
    keys: Vec<Vec<u8>>,
    /// Told which key was right.
    reply: oneshot::Sender<Option<Digested>>,
}

impl Bcrypt {
    /// Checks that may wait for the one being made.
    const MAX_WAITING: usize = 16;
    /// Keys of one request that are checked; more are no honest request.
    const MAX_KEYS: usize = 2;

    fn new(hash: &str) -> Result<Self, Error> {
        // Without the cause, which may have the hash in it.
        hash.parse::<bcrypt::HashParts>()
            .map_err(|_| Error::config("secret-key: not a whole bcrypt hash"))?;
        let (checks, waiting) = sync_channel::<Check>(Self::MAX_WAITING);
        let hash = hash.to_owned();
        let check = move || {
            for Check { keys, reply } in waiting {
                let is_right = |key: &&Vec<u8>| bcrypt::verify(key, &hash).unwrap_or(false);
                let right = keys.iter().take(Self::MAX_KEYS).find(is_right);
                // Whoever asked may have left.
                let _ = reply.send(right.map(|key| Digested(Sha256::digest(key).into())));
            }
        };
        thread::Builder::new()
            .name("llm-usage-bcrypt".into())
            .spawn(check)
            .map_err(|e| Error::config("cannot start the thread that checks keys").with(e))?;
        Ok(Self { checks, known: Mutex::default() })
    }

    async fn fits(&self, keys: Vec<Vec<u8>>) -> Result<(), Refusal> {
        let is_known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.as_ref().is_some_and(|known| keys.iter().any(|key| known.is_of(key)))
        };
        if is_known {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        match self.checks.try_send(Check { keys, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(Refusal::Busy),
        }
        let right = answer.await.map_err(|_| Refusal::Busy)?.ok_or(Refusal::WrongKey)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(right);
        Ok(())
    }
}

impl std::fmt::Debug for Bcrypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bcrypt")
    }
}
