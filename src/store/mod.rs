//! The usage file: opened, locked, healed, read, appended to and rotated.
//!
//! One event a line (JSON Lines), only ever appended to, by one writer at a time. A line that is there is left as
//! it is, whatever it holds. A history may be more than one file: see [`segments`].

mod active;
mod aggregate;
mod append;
mod compress;
#[cfg(test)]
pub(crate) mod faulty;
mod files;
mod load;
mod lock;
mod parse;
mod seen;
mod segments;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use active::{Complaint, Disk, UsageFile};
pub(crate) use aggregate::Aggregate;
pub(crate) use append::Appender;
pub(crate) use compress::is_known;
pub(crate) use load::{History, MAX_LINE};
pub(crate) use upkeep::{Done, Inventory, Upkeep};

use crate::{
    Error, Timestamp,
    config::{Compression, UsageStatistics},
    event::EventRef,
};
use active::Rotation;
use aggregate::{Absorbed, Record};
use files::{Files, System};
use seen::{Noted, Seen};
use segments::{Names, Segment, UtcDay};
use upkeep::{Retention, Sorted};

/// A usage file, ready to be appended to, and what there is beside it.
#[derive(Debug)]
pub(crate) struct Opened<D = UsageFile> {
    pub(crate) appender: Appender<D>,
    pub(crate) history: History,
    pub(crate) inventory: Inventory,
    /// `None` if there is nothing to be done, whatever happens.
    pub(crate) upkeep: Option<Upkeep>,
}

/// What a history is made of.
#[derive(Debug)]
pub(crate) enum Past<'a, B> {
    Events(&'a mut B),
    /// Of events that are in no file any more.
    Sums(&'a Aggregate),
}

/// How far the loading of the history has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the history's files that are read.
    pub bytes: u64,
    /// Bytes of all files of the history.
    pub total_bytes: u64,
    /// Events that were in what is read.
    pub events: u64,
}

/// Opens the usage file at `path`, and makes it and its directory where they are missing; gives its history to `each`:
/// what is left of segments that are gone, then segment by segment from the oldest one, each in its own order. Events
/// come in batches, which are to be emptied and which `prepare` fills, in several threads.
///
/// An `id` that comes twice in a file is two events here: this crate never writes one twice, and to remember every id
/// would cost more than the index. Whatever brings foreign lines into the file has to look at ids before. But an id
/// that an older file has, too, is the same event: somebody has copied a file.
pub(crate) fn open<B: Default + Send>(
    path: &Path,
    settings: &UsageStatistics,
    prepare: impl Fn(&mut B, &EventRef<'_>) + Sync,
    mut each: impl FnMut(Past<'_, B>) + Send,
    progress: impl FnMut(Progress) + Send,
) -> Result<Opened, Error> {
    let files: Arc<dyn Files> = Arc::new(System);
    let (path, day) = make(&*files, path)?;
    let names = Names::of(path);
    let path = names.active();
    let lock = files.lock(path)?;
    // Everything is looked at only now: before, somebody else might still have been writing.
    let failed = |action| move |e| Error::file(path, action, e);
    let absorbed = upkeep::absorbed(&*files, &names).map_err(failed("read the aggregates beside"))?;
    let segments = recover(&*files, &names, &absorbed).map_err(failed("look for segments of"))?;

    load_aggregates(&*files, &names, |aggregate| each(Past::Sums(aggregate)))
        .map_err(failed("read the aggregates beside"))?;
    let mut each = |batch: &mut B| each(Past::Events(batch));
    let paths = segments.iter().map(|segment| &*segment.path).chain([path]);
    let total_bytes = paths.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum();
    let mut history = History::default();
    let mut meter = Meter { read: Progress { bytes: 0, total_bytes, events: 0 }, progress };
    let mut seen = Seen::default();
    for Segment { path, compression, .. } in &segments {
        let loaded = meter.load(path, *compression, &mut seen, &prepare, &mut each);
        history.add(loaded.map_err(|e| Error::file(path, "read the segment", e))?);
    }
    seen.last_file();
    let loaded = meter.load(path, Compression::None, &mut seen, &prepare, &mut each);
    history.add(loaded.map_err(failed("read the usage file"))?);

    let handle = files.append(path).map_err(failed("open the usage file"))?;
    let rotation = Rotation { bytes: settings.rotate_bytes, daily: settings.rotate_daily };
    let newest =
        segments.iter().map(|segment| segment.id).chain(absorbed.iter().map(|segment| segment.id)).max();
    let names = Arc::new(names);
    let upkeep = Upkeep {
        files: Arc::clone(&files),
        names: Arc::clone(&names),
        compression: settings.compress,
        retention: Retention::of(settings),
    };
    let has_upkeep = rotation.is_any() || settings.compress != Compression::None;
    let inventory =
        upkeep.inventory().map_err(|e| Error::file(upkeep.names.active(), "look for segments of", e))?;
    let file = UsageFile::new(handle, lock, files, names, rotation, Arc::new(Timestamp::now), day, newest);
    Ok(Opened {
        appender: Appender::new(file, history.bytes, history.torn),
        history,
        inventory,
        upkeep: has_upkeep.then_some(upkeep),
    })
}

/// Gives every event of a usage file to `take`, in batches that `prepare` fills; returns their number.
pub(crate) fn read<B: Default + Send>(
    path: &Path,
    threads: usize,
    prepare: impl Fn(&mut B, &EventRef<'_>) + Sync,
    take: impl FnMut(&mut B) + Send,
) -> io::Result<u64> {
    Ok(load::load(File::open(path)?, threads, prepare, take, |_| {})?.events)
}

fn load_aggregates(files: &dyn Files, names: &Names, mut each: impl FnMut(&Aggregate)) -> io::Result<()> {
    let path = names.aggregates();
    if files.identity(&path)?.is_none() {
        return Ok(());
    }
    for record in aggregate::lines(files.read(&path)?, names) {
        if let Record::Sums(aggregate) = record? {
            each(&aggregate);
        }
    }
    Ok(())
}

/// Makes the usage file and its directory where they are missing. Gives its path with links resolved, since two ways to
/// one file must meet at one lock, and the day on which it was written to last.
fn make(files: &dyn Files, path: &Path) -> Result<(PathBuf, UtcDay), Error> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        files.make_directory(directory).map_err(|e| Error::file(directory, "make the directory", e))?;
    }
    let failed = |e| Error::file(path, "open the usage file", e);
    let written = match fs::metadata(path) {
        // Told apart before it is opened: opening a pipe waits for its other end.
        Ok(metadata) if !metadata.is_file() => {
            let kind = if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
            return Err(Error::file(path, "use as the usage file", io::Error::other(kind)));
        }
        Ok(metadata) => Some(metadata.modified().map_or_else(|_| Timestamp::now(), Timestamp::from)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed(e)),
    };
    files.append(path).map_err(failed)?;
    let path = fs::canonicalize(path).map_err(failed)?;
    if written.is_none()
        && let Some(directory) = path.parent()
    {
        // Not worth refusing to start: the next start makes the file again.
        let _ = files.sync_directory(directory);
    }
    Ok((path, UtcDay::of(written.unwrap_or_else(Timestamp::now))))
}

/// Clears away what a process that came to its end on the way left half done, and gives the segments that count.
fn recover(files: &dyn Files, names: &Names, absorbed: &[Absorbed]) -> io::Result<Vec<Segment>> {
    for leftover in names.leftovers(files)? {
        // It means nothing to anybody, and is made anew in its place.
        let _ = files.remove(&leftover);
    }
    let Sorted { mut segments, copies } = Sorted::of(files, names)?;
    for copy in copies {
        // If it fails, it does not count all the same.
        let _ = files.remove(&copy.path);
    }
    let mut result = Ok(());
    segments.retain(|segment| match upkeep::is_absorbed(files, segment, absorbed) {
        Ok(is_absorbed) => !is_absorbed,
        Err(e) => {
            result = Err(e);
            false
        }
    });
    result.map(|()| segments)
}

/// Loads one file after the other, and says how far it is with all of them.
struct Meter<P> {
    /// The files before.
    read: Progress,
    progress: P,
}

impl<P: FnMut(Progress) + Send> Meter<P> {
    /// Without the events that an earlier file has.
    fn load<B: Default + Send>(
        &mut self,
        path: &Path,
        compression: Compression,
        seen: &mut Seen,
        prepare: impl Fn(&mut B, &EventRef<'_>) + Sync,
        mut take: impl FnMut(&mut B) + Send,
    ) -> io::Result<History> {
        let Self { read, progress } = self;
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let threads = load::threads(length);
        let mut tell = |bytes, events| {
            progress(Progress { bytes: read.bytes + bytes, events: read.events + events, ..*read });
        };
        let mut noted = Noted::default();
        let prepare = |(batch, part): &mut (B, Noted), event: &EventRef<'_>| {
            if seen.is_new(event, part) {
                prepare(batch, event);
            }
        };
        let take = |(batch, part): &mut (B, Noted)| {
            noted.append(part);
            take(batch);
        };
        let mut history = match compression {
            Compression::None => {
                load::load(file, threads, prepare, take, |history| tell(history.bytes, history.events))?
            }
            _ => {
                let bytes = AtomicU64::new(0);
                let file = compress::decoded(Counted { file, bytes: &bytes }, compression)?;
                load::load(file, threads, prepare, take, |history| {
                    tell(bytes.load(Ordering::Relaxed), history.events)
                })?
            }
        };
        read.bytes += length;
        read.events += history.events;
        history.events -= seen.next_file(noted);
        Ok(history)
    }
}

/// A file that counts what is read of it.
struct Counted<'a> {
    file: File,
    bytes: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl History {
    /// Goes on with that of a younger file. The numbers of bad lines, the length and the end are that file's.
    fn add(&mut self, other: Self) {
        *self =
            Self { events: self.events + other.events, bad_lines: self.bad_lines + other.bad_lines, ..other };
    }
}

/// `path` with `suffix` behind its whole name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
