//! What the store asks of the system: a few operations on files and their names. Tests have a system of their own, which
//! fails as told and loses its power.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::lock::Lock;
use crate::Error;

/// Files and their names.
///
/// What is done to a name survives a loss of power from the next [`sync_directory`](Self::sync_directory) on.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// The file at `path`, to be appended to. Makes it, for its owner only, where it is missing, but not its directory.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>>;

    /// An empty file at `path`, instead of one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// Writes over what the file at `path` has from `offset` on.
    fn write_over(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Whether there is a file at `path`, and which.
    fn identity(&self, path: &Path) -> io::Result<Option<Identity>>;

    /// The length of the file at `path`, and whether it ends within a line.
    fn measure(&self, path: &Path) -> io::Result<(u64, bool)>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in `directory`, and their lengths.
    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, u64)>>;

    /// Makes `directory` and what is missing above it, for its owner only. One that is there stays as it is.
    fn make_directory(&self, directory: &Path) -> io::Result<()>;

    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// The right to write to the usage file at `path`, whose links are resolved.
    fn lock(&self, path: &Path) -> Result<Box<dyn Held>, Error>;
}

/// A file that is open for writing, whatever its name has become.
pub(crate) trait Handle: Write + Send {
    /// Waits until what was written would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    fn identity(&self) -> io::Result<Identity>;

    /// No name leads to the file any more, so that its end is that of this handle.
    fn is_deleted(&self) -> io::Result<bool>;
}

/// A lock, let go when it is dropped.
pub(crate) trait Held: fmt::Debug + Send {
    /// It still keeps others away: what they would try to lock is what is locked.
    fn is_good(&self) -> bool;
}

/// What a file is told apart by from others that had its name or will have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(pub(super) u64, pub(super) u64);

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        Self(metadata.dev(), metadata.ino())
    }

    /// Elsewhere a file that is open cannot be replaced, or not be told from its replacement.
    #[cfg(not(unix))]
    pub(super) fn of(_: &fs::Metadata) -> Self {
        Self(0, 0)
    }
}

/// The system's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Files for System {
    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(private().read(true).append(true).create(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(private().write(true).create(true).truncate(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn write_over(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn identity(&self, path: &Path) -> io::Result<Option<Identity>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Identity::of(&metadata))),
            // Its directory has become something else.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn measure(&self, path: &Path) -> io::Result<(u64, bool)> {
        let mut file = File::open(path)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        if bytes == 0 {
            return Ok((0, false));
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok((bytes, last != *b"\n"))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // One that has gone meanwhile is not there.
            if let Ok(metadata) = fs::metadata(entry.path())
                && metadata.is_file()
            {
                files.push((entry.file_name(), metadata.len()));
            }
        }
        Ok(files)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened, and names are synced with files.
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Held>, Error> {
        Ok(Box::new(Lock::acquire(path)?))
    }
}

impl Handle for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::of(&self.metadata()?))
    }

    fn is_deleted(&self) -> io::Result<bool> {
        #[cfg(unix)]
        return Ok(std::os::unix::fs::MetadataExt::nlink(&self.metadata()?) == 0);
        #[cfg(not(unix))]
        return Ok(false);
    }
}

/// Options that make a file which only its owner can read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
