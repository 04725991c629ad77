//! The crate's one error type.

use std::{error, fmt, io, path::PathBuf};

/// Why usage could not be opened, read or written.
///
/// Its text is one sentence that names the file or setting it is about; the cause is its
/// [`source`](error::Error::source). It never carries a key.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// A setting has a value that cannot be used.
    Config(String),
    /// The usage file is in use by another process (or another [`Usage`](crate::Usage) of this one).
    Locked { path: PathBuf, pid: Option<u32> },
    /// The usage file, or its directory, could not be opened, made, read or written.
    File { path: PathBuf, action: &'static str },
    /// The writer has been closed.
    Closed,
    /// An answer could not be made to its end.
    BrokenOff,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::new(Kind::Config(text.into()))
    }

    pub(crate) fn file(path: impl Into<PathBuf>, action: &'static str, source: io::Error) -> Self {
        Self::new(Kind::File { path: path.into(), action }).with(source)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed)
    }

    pub(crate) fn broken_off() -> Self {
        Self::new(Kind::BrokenOff)
    }

    pub(crate) fn with(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A setting has a value that cannot be used.
    pub fn is_config(&self) -> bool {
        matches!(self.kind, Kind::Config(_))
    }

    /// Another writer holds the usage file.
    pub fn is_locked(&self) -> bool {
        matches!(self.kind, Kind::Locked { .. })
    }

    /// The usage file or its directory could not be opened, made, read or written.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// The writer was closed before this was asked of it.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind, Kind::Closed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Config(text) => f.write_str(text),
            Kind::Locked { path, pid: Some(pid) } => {
                write!(f, "the usage file {} is in use by process {pid}", path.display())
            }
            Kind::Locked { path, pid: None } => {
                write!(f, "the usage file {} is in use by another process", path.display())
            }
            Kind::File { path, action } => write!(f, "cannot {action} {}", path.display()),
            Kind::Closed => f.write_str("the usage writer is closed"),
            Kind::BrokenOff => f.write_str("the answer broke off"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
