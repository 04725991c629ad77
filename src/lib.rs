//! Records who used which model, how many tokens, how fast and with what result, for any proxy built on tower.

mod body;
mod config;
mod endpoint;
mod error;
mod event;
mod extract;
mod future;
mod hint;
mod index;
mod key;
mod layer;
mod manage;
mod queue;
mod service;
mod store;
mod tap;
mod usage;
mod writer;

pub use body::UsageBody;
pub use config::{Config, RemoteManagement, SecretKey, UsageStatistics};
pub use error::Error;
pub use event::{Ending, InvalidTimestamp, Timestamp, Tokens, UsageEvent, UsageQuality};
pub use future::ResponseFuture;
pub use hint::UsageHint;
pub use key::{InvalidKeyHash, KeyHash};
pub use layer::UsageLayer;
pub use manage::{MetricsBody, MetricsService, PeerAddr};
pub use service::UsageService;
pub use usage::Usage;
pub use writer::Status;
