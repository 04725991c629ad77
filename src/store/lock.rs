use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
};

use super::{
    beside,
    files::{Held, Identity, private},
};
use crate::{Error, error::Kind};

/// The right to write to a usage file, held through the operating system on a file beside it.
///
/// The system lets go when the process ends, however it ends, so a lock file that is left over blocks nobody. It is
/// never removed: whoever had it open at that moment would hold a lock that nobody else sees.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Locks the usage file at `path`, whose links are resolved.
    pub(super) fn acquire(path: &Path) -> Result<Self, Error> {
        let lock_path = beside(path, ".lock");
        let failed = |e: io::Error| Error::file(&lock_path, "lock the usage file through", e);
        let mut file =
            private().read(true).write(true).create(true).truncate(false).open(&lock_path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&file);
                return Err(Error::new(Kind::Locked { path: path.to_owned(), pid }));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // For the message of whoever comes next. A disk that is full for it may have room again for events.
        let _ = write_pid(&mut file);
        Ok(Self { file, path: lock_path })
    }
}

impl Held for Lock {
    fn is_good(&self) -> bool {
        let (Ok(ours), Ok(named)) = (self.file.metadata(), fs::metadata(&self.path)) else { return false };
        Identity::of(&ours) == Identity::of(&named)
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", process::id())
}

/// The holder's process, where it can be read: Windows keeps a locked file from being read at all.
fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
