//! The usage file as it is written to: checked to be where its name says before every write, and rotated.
//!
//! # What a crash between any two steps of a rotation leaves
//!
//! 1. The file is synced. *Its last lines are as safe as any before the next file's are.*
//! 2. An empty file is made under a temporary name. *So that all that may lack room has been done before anything
//!    changes.* A crash leaves the empty file, which the next start removes.
//! 3. The usage file gets the segment's name. A crash leaves no usage file; the next start makes one.
//! 4. The empty file gets the usage file's name.
//! 5. The directory is synced, before any sync of the new file counts. *Or lines would be synced in a file that has no
//!    name after a loss of power.*
//!
//! A failure, other than a crash, at 1 to 3 leaves everything as it was, and writing goes on. At 4 it leaves no file
//! under the usage file's name, which is found before the next write, and one is made.
//!
//! # What a sync that fails leaves
//!
//! The system may let go of what it could not get onto the disk and call the next sync a good one (on Linux most file
//! systems do). So what was written since the last good sync is kept here, and after one that failed it is written once
//! more, to where it stands already, before the next one counts. The file is at no time shorter than it was.

use std::{
    fmt,
    io::{self, Write},
    mem,
    path::PathBuf,
    sync::Arc,
};

use super::{
    files::{Files, Handle, Held},
    segments::{Names, SegmentId, UtcDay},
};
use crate::{Timestamp, config::Compression, sync::mpsc};

/// What lines are appended to. The usage file, but for tests of what appends.
pub(crate) trait Disk: Write + Send {
    /// Waits until what was written would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Comes before each write to a file of `bytes`; it ends with a line if `is_whole`.
    ///
    /// What is written next goes to another file if this gives one.
    fn prepare(&mut self, _bytes: u64, _is_whole: bool) -> io::Result<Option<Other>> {
        Ok(None)
    }

    /// What was just written went into a file that was deleted before.
    fn is_deleted(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Bytes of a file after which the next line had better go to another one.
    fn limit(&self) -> u64 {
        u64::MAX
    }

    /// What went wrong with something that does not keep lines from being written.
    fn complaint(&self) -> Option<&Complaint> {
        None
    }

    /// Has `rotated` hear of every segment that is closed.
    fn report_to(&mut self, _rotated: mpsc::Sender<()>) {}
}

/// Another file than the one before.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) bytes: u64,
    /// It ends within a line.
    pub(crate) torn: bool,
}

/// Something that failed, in the words of [`Error`](crate::Error): "cannot …".
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) action: &'static str,
    pub(crate) source: io::Error,
}

/// When the usage file is closed and a new one begun.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rotation {
    pub(crate) bytes: Option<u64>,
    pub(crate) daily: bool,
}

impl Rotation {
    /// It happens at all.
    pub(crate) fn is_any(&self) -> bool {
        self.bytes.is_some() || self.daily
    }
}

/// The system's clock, but for tests.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The usage file, held against other writers for as long as this lives.
pub(crate) struct UsageFile {
    // Closed before the lock is let go.
    handle: Box<dyn Handle>,
    lock: Box<dyn Held>,
    files: Arc<dyn Files>,
    names: Arc<Names>,
    rotation: Rotation,
    clock: Clock,
    /// The day of the last write.
    day: UtcDay,
    /// The newest closed segment that there ever was, as far as is known.
    newest: Option<SegmentId>,
    /// Names have changed since the directory was synced.
    is_renamed: bool,
    complaint: Option<Complaint>,
    /// Hears of every rotation.
    rotated: Option<mpsc::Sender<()>>,
    unsynced: Unsynced,
}

/// What was written to the file since it was synced without an error.
#[derive(Debug, Default)]
struct Unsynced {
    /// Where it begins.
    offset: u64,
    bytes: Vec<u8>,
    /// It was more than is kept.
    is_too_much: bool,
    /// A sync failed since then.
    is_doubtful: bool,
}

/// So much is kept to be written again: more than comes between two syncs, unless they are rare or never.
const MOST_UNSYNCED: usize = 8 << 20;

impl Unsynced {
    fn add(&mut self, bytes: &[u8]) {
        self.is_too_much |= self.bytes.len() + bytes.len() > MOST_UNSYNCED;
        if self.is_too_much {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_too_much
    }

    /// All is synced, and the file's next bytes come at `offset`.
    fn begin(&mut self, offset: u64) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        bytes.shrink_to(KEPT_BUFFER);
        *self = Self { offset, bytes, ..Self::default() };
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// A buffer that was larger once is not kept so.
const KEPT_BUFFER: usize = 1 << 20;

impl UsageFile {
    /// The file that `handle` writes to and `lock` locks. `day` is that of its last write, and `newest` the newest
    /// segment beside it.
    #[allow(clippy::too_many_arguments, reason = "all that there is to know, at the one place that knows it")]
    pub(super) fn new(
        handle: Box<dyn Handle>,
        lock: Box<dyn Held>,
        files: Arc<dyn Files>,
        names: Arc<Names>,
        rotation: Rotation,
        clock: Clock,
        day: UtcDay,
        newest: Option<SegmentId>,
    ) -> Self {
        Self {
            handle,
            lock,
            files,
            names,
            rotation,
            clock,
            day,
            newest,
            is_renamed: false,
            complaint: None,
            rotated: None,
            unsynced: Unsynced::default(),
        }
    }

    /// The usage file's name leads to the file that is open, and the lock's to the lock.
    fn is_in_place(&self) -> io::Result<bool> {
        let named = self.files.identity(self.names.active())?;
        Ok(named == Some(self.handle.identity()?) && self.lock.is_good())
    }

    /// Opens, and makes where it is missing, what the usage file's name leads to by now.
    fn reopen(&mut self) -> io::Result<Other> {
        let (active, directory) = (self.names.active(), self.names.directory());
        self.files.make_directory(directory)?;
        if !self.lock.is_good() {
            self.lock = self.files.lock(active).map_err(io::Error::other)?;
        }
        let handle = self.files.append(active)?;
        let (bytes, torn) = self.files.measure(active)?;
        self.handle = handle;
        self.is_renamed = true;
        self.unsynced.begin(bytes);
        Ok(Other { bytes, torn })
    }

    fn sync_file(&mut self) -> io::Result<()> {
        let result = self.write_again().and_then(|()| self.handle.sync());
        match result {
            Ok(()) => self.unsynced.begin(self.unsynced.end()),
            Err(_) => self.unsynced.is_doubtful = true,
        }
        result
    }

    /// If a sync failed, what it was to save.
    fn write_again(&self) -> io::Result<()> {
        let Unsynced { offset, ref bytes, is_too_much, is_doubtful } = self.unsynced;
        // If somebody else has written to the file, or it is not there any more, it is not known where ours is.
        if is_doubtful
            && !is_too_much
            && self.is_in_place()?
            && self.files.measure(self.names.active())?.0 == self.unsynced.end()
        {
            self.files.write_over(self.names.active(), offset, bytes)?;
        }
        Ok(())
    }

    fn is_time_to_rotate(&self, bytes: u64, today: UtcDay) -> bool {
        let Rotation { bytes: most, daily } = self.rotation;
        bytes > 0 && (most.is_some_and(|most| bytes >= most) || (daily && today > self.day))
    }

    fn rotate(&mut self) -> Result<(), Complaint> {
        let complain = |action| move |source| Complaint { action, source };
        self.sync_file().map_err(complain("sync the usage file"))?;
        let next = self.names.next();
        let handle = self.files.create(&next).map_err(complain("make a new usage file beside"))?;
        let (id, segment) = self.free_name().map_err(complain("find a name for a segment of"))?;
        self.files.rename(self.names.active(), &segment).map_err(complain("close the usage file"))?;
        self.newest = Some(id);
        self.is_renamed = true;
        self.files.rename(&next, self.names.active()).map_err(complain("put a new file in place of"))?;
        self.handle = handle;
        self.unsynced.begin(0);
        if let Some(rotated) = &self.rotated {
            // Nobody is left to hear of it when all comes to its end.
            let _ = rotated.send(());
        }
        Ok(())
    }

    /// The name of the segment that the usage file becomes. Whatever there is under it would be lost.
    fn free_name(&self) -> io::Result<(SegmentId, PathBuf)> {
        let mut id = SegmentId::after(self.newest, self.day);
        loop {
            let is_taken = |compression| {
                let path = self.names.segment(id, compression);
                Ok::<_, io::Error>(self.files.identity(&path)?.is_some())
            };
            if !(is_taken(Compression::None)? || is_taken(Compression::Gzip)? || is_taken(Compression::Zstd)?)
            {
                return Ok((id, self.names.segment(id, Compression::None)));
            }
            id = SegmentId::after(Some(id), id.day);
        }
    }
}

impl Write for UsageFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.handle.write(bytes)?;
        self.unsynced.add(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.handle.flush()
    }
}

impl Disk for UsageFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.is_renamed {
            self.files.sync_directory(self.names.directory())?;
            self.is_renamed = false;
        }
        self.sync_file()
    }

    fn prepare(&mut self, bytes: u64, is_whole: bool) -> io::Result<Option<Other>> {
        if !self.is_in_place()? {
            let other = self.reopen()?;
            self.complaint = None;
            return Ok(Some(other));
        }
        let today = UtcDay::of((self.clock)());
        let mut other = None;
        if is_whole {
            self.complaint = None;
        }
        if is_whole && self.is_time_to_rotate(bytes, today) {
            match self.rotate() {
                Ok(()) => other = Some(Other { bytes: 0, torn: false }),
                Err(complaint) => self.complaint = Some(complaint),
            }
            if other.is_none() && !self.is_in_place()? {
                return self.reopen().map(Some);
            }
        }
        self.day = self.day.max(today);
        if other.is_none() && self.unsynced.is_empty() {
            self.unsynced.begin(bytes);
        }
        Ok(other)
    }

    fn is_deleted(&self) -> io::Result<bool> {
        self.handle.is_deleted()
    }

    fn limit(&self) -> u64 {
        self.rotation.bytes.unwrap_or(u64::MAX)
    }

    fn complaint(&self) -> Option<&Complaint> {
        self.complaint.as_ref()
    }

    fn report_to(&mut self, rotated: mpsc::Sender<()>) {
        self.rotated = Some(rotated);
    }
}

impl fmt::Debug for UsageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageFile").field("path", &self.names.active()).finish_non_exhaustive()
    }
}
