//! What is done with closed segments, off the way of what is written: they are compressed, and those that are too old or
//! too many are summed up and removed.
//!
//! # What a crash between any two steps of compressing leaves
//!
//! 1. The compressed file is made under a temporary name. A crash leaves it, and the next start removes it.
//! 2. It is synced, then gets its name. *In this order, or the name could lead to a file that is not whole.* A crash
//!    leaves both files. The next start compares them and removes the plain one.
//! 3. The directory is synced, before the plain file is removed. *Or both could be gone.*
//!
//! # And of removing
//!
//! 1. The [aggregates](super::aggregate), with what the segments add to them, are made under a temporary name, synced, and
//!    put in place of the ones before. *All at once, or some of it could be lost or counted twice.*
//! 2. The directory is synced, before the segments are removed. *Or both could be gone.* A crash from here on leaves
//!    segments that are in the aggregates, too. These name them, so that the next start leaves them out, and they are
//!    removed the next time.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    active::Complaint,
    aggregate::{self, Absorbed, Record, Sum},
    compress,
    files::Files,
    load,
    segments::{Names, Segment, temporary},
};
use crate::{
    Timestamp,
    config::{Compression, UsageStatistics},
    event::EventRef,
};

/// Sums that are held before they are written, give or take a segment.
const MAX_CELLS: usize = 200_000;

const QUARTER: i64 = 15 * 60 * 1000;

/// What there is to be done with closed segments, and what it takes.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    pub(super) files: Arc<dyn Files>,
    pub(super) names: Arc<Names>,
    pub(super) compression: Compression,
    pub(super) retention: Retention,
}

/// Which segments are removed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retention {
    /// Those that were closed longer ago.
    pub(crate) age: Option<Duration>,
    /// The oldest, as long as all of them and the usage file are longer.
    pub(crate) bytes: Option<u64>,
}

/// Closed segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) segments: u64,
    /// As they are, compressed or not.
    pub(crate) bytes: u64,
}

/// What became of it all.
#[derive(Debug)]
pub(crate) struct Done {
    /// What was from before then is in no segment any more, but for events that came late.
    pub(crate) retired: Option<Timestamp>,
    /// What failed first. It is left as it is for the next time, and does not keep the rest from being done.
    pub(crate) result: Result<(), Complaint>,
}

/// Asks whether to stop.
pub(crate) type IsStopped<'a> = &'a (dyn Fn() -> bool + Sync);

impl Retention {
    pub(super) fn of(settings: &UsageStatistics) -> Self {
        let days = |days: u32| Duration::from_secs(24 * 60 * 60 * u64::from(days));
        Self { age: settings.keep_days.map(days), bytes: settings.keep_bytes }
    }

    /// It happens at all.
    pub(crate) fn is_any(&self) -> bool {
        self.age.is_some() || self.bytes.is_some()
    }
}

impl Upkeep {
    /// Does all that there is to be done, unless it is stopped on the way.
    pub(crate) fn run(&self, now: Timestamp, is_stopped: IsStopped<'_>) -> Done {
        let mut done = Done { retired: None, result: Ok(()) };
        for step in [
            Self::remove_copies,
            Self::remove_absorbed,
            Self::remove_old,
            Self::compress_all,
            Self::remove_excess,
        ] {
            let result = step(self, now, is_stopped, &mut done.retired);
            if is_stopped() {
                break;
            }
            done.result = done.result.and(result);
        }
        done
    }

    /// What there is by now.
    pub(crate) fn inventory(&self) -> io::Result<Inventory> {
        let segments = self.names.segments(&*self.files)?;
        Ok(Inventory { segments: segments.len() as u64, bytes: total(&segments) })
    }

    /// The last step of compressing, which a crash or a failure has left to be done.
    fn remove_copies(
        &self,
        _: Timestamp,
        _: IsStopped<'_>,
        _: &mut Option<Timestamp>,
    ) -> Result<(), Complaint> {
        for copy in self.sorted()?.copies {
            self.files.remove(&copy.path).map_err(complain("remove a segment of"))?;
        }
        Ok(())
    }

    /// The last step of removing, which a crash has left to be done.
    fn remove_absorbed(
        &self,
        _: Timestamp,
        _: IsStopped<'_>,
        _: &mut Option<Timestamp>,
    ) -> Result<(), Complaint> {
        if !self.retention.is_any() {
            return Ok(());
        }
        let absorbed = absorbed(&*self.files, &self.names).map_err(complain("read the aggregates beside"))?;
        for segment in self.sorted()?.segments {
            if is_absorbed(&*self.files, &segment, &absorbed).map_err(complain("read a segment of"))? {
                self.files.remove(&segment.path).map_err(complain("remove a segment of"))?;
            }
        }
        Ok(())
    }

    fn remove_old(
        &self,
        now: Timestamp,
        is_stopped: IsStopped<'_>,
        retired: &mut Option<Timestamp>,
    ) -> Result<(), Complaint> {
        let Some(age) = self.retention.age else { return Ok(()) };
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let is_old =
            |segment: &Segment| segment.id.day.end().unix_millis().saturating_add(age) <= now.unix_millis();
        let mut segments = self.sorted()?.segments;
        segments.retain(is_old);
        self.retire(&segments, is_stopped, retired)
    }

    fn remove_excess(
        &self,
        _: Timestamp,
        is_stopped: IsStopped<'_>,
        retired: &mut Option<Timestamp>,
    ) -> Result<(), Complaint> {
        let Some(most) = self.retention.bytes else { return Ok(()) };
        let segments = self.sorted()?.segments;
        let (active, _) =
            self.files.measure(self.names.active()).map_err(complain("find the length of the usage file"))?;
        let mut excess = (active + total(&segments)).saturating_sub(most);
        let leaves = |segment: &&Segment| {
            let leaves = excess > 0;
            excess = excess.saturating_sub(segment.bytes);
            leaves
        };
        let leaving: Vec<_> = segments.iter().take_while(leaves).cloned().collect();
        self.retire(&leaving, is_stopped, retired)
    }

    /// Sums up `segments` and removes them.
    fn retire(
        &self,
        segments: &[Segment],
        is_stopped: IsStopped<'_>,
        retired: &mut Option<Timestamp>,
    ) -> Result<(), Complaint> {
        let mut sum = Sum::default();
        let mut summed_up = Vec::new();
        for (segment, left) in segments.iter().zip((0..segments.len()).rev()) {
            let absorbed =
                self.sum_up(segment, &mut sum, is_stopped).map_err(complain("read a segment of"))?;
            sum.segments.push(absorbed);
            summed_up.push(segment);
            if left > 0 && sum.cells() < MAX_CELLS {
                continue;
            }
            let latest = sum.latest();
            self.write(std::mem::take(&mut sum), is_stopped)
                .map_err(complain("write the aggregates beside"))?;
            for segment in summed_up.drain(..) {
                self.files.remove(&segment.path).map_err(complain("remove a segment of"))?;
            }
            // An event from the future must not take those of today with it.
            let before = latest.map(|latest| latest.min(segment.id.day.end()));
            *retired = (*retired).max(before.map(quarter));
        }
        Ok(())
    }

    fn sum_up(&self, segment: &Segment, sum: &mut Sum, is_stopped: IsStopped<'_>) -> io::Result<Absorbed> {
        let file = Stoppable { file: self.files.read(&segment.path)?, is_stopped };
        let file = compress::decoded(file, segment.compression)?;
        // One thread, but that is not for the types to see.
        let sum = Mutex::new(sum);
        let add = |(): &mut (), event: &EventRef<'_>| {
            sum.lock().unwrap_or_else(PoisonError::into_inner).add(event);
        };
        let history = load::load(file, 1, add, |()| {}, |_| {})?;
        let load::History { events, bad_lines, bytes, .. } = history;
        Ok(Absorbed { id: segment.id, bytes, events, bad_lines })
    }

    /// Puts the aggregates, with `sum` in them, in place of those before.
    fn write(&self, sum: Sum, is_stopped: IsStopped<'_>) -> io::Result<()> {
        let Self { files, names, .. } = self;
        let path = names.aggregates();
        let old: Box<dyn Read + Send> =
            if files.identity(&path)?.is_some() { files.read(&path)? } else { Box::new(io::empty()) };
        let half_done = temporary(&path);
        let make = || {
            let mut file = files.create(&half_done)?;
            sum.merge(Stoppable { file: old, is_stopped }, &mut file, names)?;
            file.sync()
        };
        if let Err(e) = make() {
            let _ = files.remove(&half_done);
            return Err(e);
        }
        files.rename(&half_done, &path)?;
        files.sync_directory(names.directory())
    }

    fn compress_all(
        &self,
        _: Timestamp,
        is_stopped: IsStopped<'_>,
        _: &mut Option<Timestamp>,
    ) -> Result<(), Complaint> {
        if self.compression == Compression::None {
            return Ok(());
        }
        let mut result = Ok(());
        for plain in self.sorted()?.segments.iter().filter(|segment| segment.compression == Compression::None)
        {
            if !is_stopped() {
                result =
                    result.and(self.compress(plain, is_stopped).map_err(complain("compress a segment of")));
            }
        }
        result
    }

    fn compress(&self, plain: &Segment, is_stopped: IsStopped<'_>) -> io::Result<()> {
        let Self { files, names, compression, .. } = self;
        let path = names.segment(plain.id, *compression);
        if files.identity(&path)?.is_some() {
            return Err(io::Error::other("there is another file by the name that it would get"));
        }
        let half_done = temporary(&path);
        let encode = || {
            let mut file = files.create(&half_done)?;
            let mut plain = Stoppable { file: files.read(&plain.path)?, is_stopped };
            compress::encode(&mut plain, &mut file, *compression)?;
            file.sync()
        };
        if let Err(e) = encode() {
            // A disk that is full has better use for it.
            let _ = files.remove(&half_done);
            return Err(e);
        }
        files.rename(&half_done, &path)?;
        files.sync_directory(names.directory())?;
        files.remove(&plain.path)
    }

    fn sorted(&self) -> Result<Sorted, Complaint> {
        Sorted::of(&*self.files, &self.names).map_err(complain("look for segments of"))
    }
}

/// The closed segments that are there.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Those that count, oldest first.
    pub(super) segments: Vec<Segment>,
    /// Those that have been compressed and are to be removed.
    pub(super) copies: Vec<Segment>,
}

impl Sorted {
    pub(super) fn of(files: &dyn Files, names: &Names) -> io::Result<Self> {
        let mut segments = names.segments(files)?;
        let mut copies = Vec::new();
        let plain: Vec<_> =
            segments.iter().filter(|segment| segment.compression == Compression::None).cloned().collect();
        for plain in plain {
            let is_compressed =
                |segment: &Segment| segment.id == plain.id && segment.compression != Compression::None;
            let Some(compressed) = segments.iter().find(|segment| is_compressed(segment)) else { continue };
            if is_same(files, compressed, &plain).unwrap_or(false) {
                segments.retain(|segment| *segment != plain);
                copies.push(plain);
            } else {
                // A segment is whole until it is removed, so that one is the one to be trusted.
                segments.retain(|segment| !is_compressed(segment));
            }
        }
        Ok(Self { segments, copies })
    }
}

/// `compressed` holds what `plain` does.
fn is_same(files: &dyn Files, compressed: &Segment, plain: &Segment) -> io::Result<bool> {
    let decoded = compress::decoded(files.read(&compressed.path)?, compressed.compression)?;
    compress::is_same(decoded, files.read(&plain.path)?)
}

/// The segments that the aggregates hold.
pub(super) fn absorbed(files: &dyn Files, names: &Names) -> io::Result<Vec<Absorbed>> {
    let path = names.aggregates();
    if files.identity(&path)?.is_none() {
        return Ok(Vec::new());
    }
    let mut absorbed = Vec::new();
    for record in aggregate::lines(files.read(&path)?, names) {
        match record? {
            Record::Segment(segment) => absorbed.push(segment),
            Record::Sums(_) => break,
        }
    }
    Ok(absorbed)
}

/// `segment` is one of those. Another file under its name, which only somebody else can have put there, is not.
pub(super) fn is_absorbed(files: &dyn Files, segment: &Segment, absorbed: &[Absorbed]) -> io::Result<bool> {
    let mut same_name = absorbed.iter().filter(|absorbed| absorbed.id == segment.id).peekable();
    if same_name.peek().is_none() {
        return Ok(false);
    }
    let bytes = compress::decoded_len(files.read(&segment.path)?, segment.compression)?;
    Ok(same_name.any(|absorbed| absorbed.bytes == bytes))
}

/// A file that cannot be read on once it is time to stop.
struct Stoppable<'a, R> {
    file: R,
    is_stopped: IsStopped<'a>,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_stopped)() {
            return Err(io::Error::other("stopped"));
        }
        self.file.read(buffer)
    }
}

fn total(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.bytes).sum()
}

/// The first moment of the quarter of an hour that `moment` is in.
fn quarter(moment: Timestamp) -> Timestamp {
    Timestamp::from_unix_millis(moment.unix_millis().div_euclid(QUARTER) * QUARTER)
}

fn complain(action: &'static str) -> impl FnOnce(io::Error) -> Complaint {
    move |source| Complaint { action, source }
}
