//! The names of the files that one history is kept in.
//!
//! ```text
//! usage.json                    the usage file, which is appended to
//! usage.2026-03-01.json         closed segments, oldest first: day by day, and by number within a day
//! usage.2026-03-01.1.json.zst
//! usage.aggregates.json         what is left of segments that are gone
//! usage.json.lock
//! usage….tmp                    half done; means nothing
//! ```

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use super::files::Files;
use crate::{Timestamp, config::Compression};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A day of UTC, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UtcDay(i64);

impl UtcDay {
    pub(crate) fn of(moment: Timestamp) -> Self {
        Self(moment.unix_millis().div_euclid(DAY))
    }

    /// The first millisecond after it.
    pub(crate) fn end(self) -> Timestamp {
        Timestamp::from_unix_millis((self.0 + 1) * DAY)
    }

    /// `2026-03-01`
    fn name(self) -> String {
        let mut name = Timestamp::from_unix_millis(self.0 * DAY).to_string();
        name.truncate(10);
        name
    }

    fn parse(name: &str) -> Option<Self> {
        let day = Self::of(format!("{name}T00:00:00Z").parse().ok()?);
        (day.name() == name).then_some(day)
    }
}

/// What tells the segments of a history apart, in the order in which they were closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    /// The last day on which it was written to.
    pub(crate) day: UtcDay,
    pub(crate) number: u32,
}

impl SegmentId {
    /// The one to follow `last`, on `day` or, should the clock have been set back, on a later one: segments that follow
    /// each other have names that do.
    pub(crate) fn after(last: Option<Self>, day: UtcDay) -> Self {
        match last {
            Some(Self { day: last, number }) if last >= day => match number.checked_add(1) {
                Some(number) => Self { day: last, number },
                None => Self { day: UtcDay(last.0 + 1), number: 0 },
            },
            _ => Self { day, number: 0 },
        }
    }
}

/// A closed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) compression: Compression,
    pub(crate) path: PathBuf,
    /// The length of the file, compressed or not.
    pub(crate) bytes: u64,
}

/// Makes the names of a history's files, and knows them when it sees them.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    active: PathBuf,
    stem: OsString,
    /// With its dot, or empty.
    extension: String,
}

impl Names {
    /// Of the history whose usage file is at `active`.
    pub(crate) fn of(active: PathBuf) -> Self {
        let extension = active.extension().and_then(OsStr::to_str).map(|extension| format!(".{extension}"));
        let stem = match extension {
            Some(_) => active.file_stem(),
            None => active.file_name(),
        };
        Self { stem: stem.unwrap_or_default().to_owned(), extension: extension.unwrap_or_default(), active }
    }

    pub(crate) fn active(&self) -> &Path {
        &self.active
    }

    pub(crate) fn directory(&self) -> &Path {
        match self.active.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }

    /// The file that becomes the usage file.
    pub(crate) fn next(&self) -> PathBuf {
        temporary(&self.active)
    }

    pub(crate) fn aggregates(&self) -> PathBuf {
        self.beside("aggregates", Compression::None)
    }

    pub(crate) fn segment(&self, id: SegmentId, compression: Compression) -> PathBuf {
        let SegmentId { day, number } = id;
        match number {
            0 => self.beside(&day.name(), compression),
            _ => self.beside(&format!("{}.{number}", day.name()), compression),
        }
    }

    /// The name of a segment that is not compressed.
    pub(super) fn plain_name(&self, id: SegmentId) -> String {
        let path = self.segment(id, Compression::None);
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn beside(&self, what: &str, compression: Compression) -> PathBuf {
        let mut name = self.stem.clone();
        name.push(format!(".{what}{}{}", self.extension, suffix(compression)));
        self.active.with_file_name(name)
    }

    /// What `name` says, if it is one of a segment.
    fn parse(&self, name: &OsStr) -> Option<(SegmentId, Compression)> {
        // Behind the stem, names of ours are ASCII.
        let rest = name.as_encoded_bytes().strip_prefix(self.stem.as_encoded_bytes())?;
        let rest = std::str::from_utf8(rest).ok()?.strip_prefix('.')?;
        // The usage file's own extension may look like that of a compressed one.
        let (rest, compression) = [Compression::Gzip, Compression::Zstd, Compression::None]
            .into_iter()
            .find_map(|compression| {
                let plain = rest.strip_suffix(suffix(compression))?;
                Some((plain.strip_suffix(&self.extension)?, compression))
            })?;
        let (day, number) = match rest.split_once('.') {
            // As it is written by us, so that one segment has one name.
            Some((day, number)) if number.starts_with(|c: char| c.is_ascii_digit() && c != '0') => {
                (day, number.parse().ok()?)
            }
            Some(_) => return None,
            None => (rest, 0),
        };
        Some((SegmentId { day: UtcDay::parse(day)?, number }, compression))
    }

    /// The segment that is meant by what [`plain_name`](Self::plain_name) gave.
    pub(super) fn id(&self, plain_name: &str) -> Option<SegmentId> {
        // A stem that is no text was replaced by one that is.
        let stem = self.stem.to_string_lossy();
        let rest = plain_name.strip_prefix(&*stem)?;
        let mut name = self.stem.clone();
        name.push(rest);
        self.parse(&name).map(|(id, _)| id)
    }

    /// The name is one that we give to what is half done.
    fn is_temporary(&self, name: &OsStr) -> bool {
        let Some(name) =
            Path::new(name).file_stem().filter(|_| Path::new(name).extension() == Some("tmp".as_ref()))
        else {
            return false;
        };
        Some(name) == self.active.file_name()
            || Some(name) == self.aggregates().file_name()
            || self.parse(name).is_some()
    }

    /// The closed segments that are there, oldest first.
    pub(crate) fn segments(&self, files: &dyn Files) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for (name, bytes) in files.list(self.directory())? {
            if let Some((id, compression)) = self.parse(&name) {
                segments.push(Segment { id, compression, path: self.active.with_file_name(name), bytes });
            }
        }
        segments.sort_by_key(|segment| (segment.id, segment.compression));
        Ok(segments)
    }

    /// The files that are half done, of a process that came to its end on the way.
    pub(crate) fn leftovers(&self, files: &dyn Files) -> io::Result<Vec<PathBuf>> {
        let mut leftovers = Vec::new();
        for (name, _) in files.list(self.directory())? {
            if self.is_temporary(&name) {
                leftovers.push(self.active.with_file_name(name));
            }
        }
        Ok(leftovers)
    }
}

/// Where the file for `path` is made, to be renamed when it is whole.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    super::beside(path, ".tmp")
}

fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(name: &str) -> UtcDay {
        UtcDay::parse(name).unwrap()
    }

    fn name(path: PathBuf) -> String {
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn files_are_named_after_the_usage_file() {
        let id = |number| SegmentId { day: day("2026-03-01"), number };
        let names = Names::of("/a/usage.json".into());
        assert_eq!(names.segment(id(0), Compression::None), Path::new("/a/usage.2026-03-01.json"));
        assert_eq!(name(names.segment(id(12), Compression::Zstd)), "usage.2026-03-01.12.json.zst");
        assert_eq!(name(names.aggregates()), "usage.aggregates.json");
        assert_eq!(name(names.next()), "usage.json.tmp");
        assert_eq!(
            name(Names::of("calls".into()).segment(id(1), Compression::Gzip)),
            "calls.2026-03-01.1.gz"
        );
        assert_eq!(Names::of("calls".into()).directory(), Path::new("."));
    }

    #[test]
    fn what_is_named_otherwise_is_none_of_ours() {
        let names = Names::of("/a/usage.json".into());
        for name in [
            "usage.json",
            "usage.json.1",
            "usage.aggregates.json",
            "usage.2026-03-01",
            "usage.2026-3-1.json",
            "usage.2026-02-30.json",
            "usage.2026-03-01.0.json",
            "usage.2026-03-01.01.json",
            "usage.2026-03-01.+1.json",
            "usage.2026-03-01.1.1.json",
            "usage.2026-03-01.99999999999.json",
            "usage.2026-03-01.json.bak",
            "usage.2026-03-01.json.xz",
            "usage.2026-03-01.json.tmp",
            "usage-2026-03-01.json",
            "ausage.2026-03-01.json",
            "usage.2026-03-01.jsonl",
        ] {
            assert_eq!(names.parse(name.as_ref()), None, "{name}");
        }
        for (name, is_temporary) in [
            ("usage.json.tmp", true),
            ("usage.aggregates.json.tmp", true),
            ("usage.2026-03-01.1.json.zst.tmp", true),
            ("usage.tmp", false),
            ("usage.other.json.tmp", false),
            ("usage.json", false),
        ] {
            assert_eq!(names.is_temporary(name.as_ref()), is_temporary, "{name}");
        }
    }

    #[test]
    fn names_rise_even_if_the_clock_falls() {
        let first = SegmentId::after(None, day("2026-03-02"));
        let second = SegmentId::after(Some(first), day("2026-03-02"));
        let set_back = SegmentId::after(Some(second), day("2026-03-01"));
        let later = SegmentId::after(Some(set_back), day("2026-03-03"));
        assert_eq!([first, second, set_back, later].map(|id| id.number), [0, 1, 2, 0]);
        assert!([first, second, set_back, later].is_sorted());
    }

    #[test]
    fn a_usage_file_may_be_named_like_a_compressed_one() {
        let names = Names::of("usage.gz".into());
        let id = SegmentId::after(None, day("2026-03-01"));
        for (name, compression) in
            [("usage.2026-03-01.gz", Compression::None), ("usage.2026-03-01.gz.gz", Compression::Gzip)]
        {
            assert_eq!(names.segment(id, compression), Path::new(name));
            assert_eq!(names.parse(name.as_ref()), Some((id, compression)));
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_made(
            active in "(/[a-z.]{1,5}|)/?[a-z.]{0,3}[a-z]",
            millis in Timestamp::MIN.unix_millis()..=Timestamp::MAX.unix_millis(),
            number: u32,
        ) {
            let names = Names::of(active.into());
            let id = SegmentId { day: UtcDay::of(Timestamp::from_unix_millis(millis)), number };
            for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
                let path = names.segment(id, compression);
                prop_assert_eq!(names.parse(path.file_name().unwrap()), Some((id, compression)));
                prop_assert!(names.is_temporary(temporary(&path).file_name().unwrap()));
            }
            prop_assert_eq!(names.parse(names.active().file_name().unwrap()), None);
            prop_assert_eq!(names.parse(names.aggregates().file_name().unwrap()), None);
        }
    }
}
