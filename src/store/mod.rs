//! The usage file: opened, locked, healed, read and appended to.
//!
//! One event a line (JSON Lines), only ever appended to, by one writer at a time. A line that is there is left as
//! it is, whatever it holds.

mod append;
#[cfg(test)]
pub(crate) mod faulty;
mod load;
mod lock;

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

pub(crate) use append::Appender;
pub(crate) use load::{History, MAX_LINE};
use lock::Lock;

use crate::{Error, UsageEvent};

/// What lines are appended to. The usage file, but for tests.
pub(crate) trait Disk: Write + Send {
    /// Waits until what was written would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

/// The usage file, held against other writers for as long as this lives.
#[derive(Debug)]
pub(crate) struct UsageFile {
    // Closed before the lock is let go.
    file: File,
    _lock: Lock,
}

impl Write for UsageFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Disk for UsageFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Opens the usage file at `path`, and makes it and its directory where they are missing; gives every event that it
/// holds to `each`, in the file's order.
///
/// An `id` that comes twice is two events here: this crate never writes one twice, and to remember every id would
/// cost more than the index. Whatever brings foreign lines into the file has to look at ids before.
pub(crate) fn open(
    path: &Path,
    each: impl FnMut(UsageEvent),
) -> Result<(Appender<UsageFile>, History), Error> {
    let (file, path) = open_file(path)?;
    let lock = Lock::acquire(&path)?;
    // Read only now: before, somebody else might still have been writing.
    let history = load::load(&file, each).map_err(|e| Error::file(&path, "read the usage file", e))?;
    let appender = Appender::new(UsageFile { file, _lock: lock }, history.bytes, history.torn);
    Ok((appender, history))
}

/// The file, and its path with links resolved: two ways to one file must meet at one lock.
fn open_file(path: &Path) -> Result<(File, PathBuf), Error> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        make_directory(directory).map_err(|e| Error::file(directory, "make the directory", e))?;
    }
    let is_new = match fs::metadata(path) {
        // Told apart before it is opened: opening a pipe waits for its other end.
        Ok(metadata) if !metadata.is_file() => {
            let kind = if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
            return Err(Error::file(path, "use as the usage file", io::Error::other(kind)));
        }
        Ok(_) => false,
        Err(e) if e.kind() == io::ErrorKind::NotFound => true,
        Err(e) => return Err(Error::file(path, "open the usage file", e)),
    };
    let file = private().read(true).append(true).create(true).open(path);
    let file = file.map_err(|e| Error::file(path, "open the usage file", e))?;
    let path = fs::canonicalize(path).map_err(|e| Error::file(path, "open the usage file", e))?;
    if is_new {
        sync_directory(&path);
    }
    Ok((file, path))
}

/// Options that make a file which only its owner can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes `directory` and what is missing above it, for its owner only. One that is there stays as it is.
fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Makes the name of a new file survive a loss of power, where the system can do that.
fn sync_directory(file: &Path) {
    if cfg!(unix)
        && let Some(directory) = file.parent()
        && let Ok(directory) = File::open(directory)
    {
        // Not worth refusing to start: the next start makes the file again.
        let _ = directory.sync_all();
    }
}

/// `path` with `suffix` behind its whole name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
