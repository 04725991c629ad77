//! The usage file, read: whole lines at a time, by several threads, and as if by one.
//!
//! Each thread reads a piece of whole lines while it holds the file, and makes a batch of its events. Batches are given on
//! in the file's order, by whichever thread comes when the next one is there and nobody else is at it. The others do
//! not wait for their turn but go on to another piece, up to a limit: where there are fewer cores than threads, or other
//! things to do, one that was stopped holds up none of them for a while. So events come in the file's order, the numbers
//! of lines are right, and memory is bounded. What is done under a lock is what cannot be done side by side: to read,
//! and to take the batches in.

use std::{
    collections::VecDeque,
    io::{self, Read},
    num::NonZero,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::parse::Parser;
use crate::{UsageEvent, event::EventRef};

/// Bytes of the longest line that is read; the writer makes no longer one.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// Bad lines that are reported by their number; more are only counted.
const REPORTED: usize = 20;

/// Bytes that are read at once: enough to make taking turns cheap, few enough for what becomes of them to stay in the
/// cache.
const PIECE: usize = 128 << 10;

/// More threads would wait for one another, since only one of them can give events on.
const MAX_THREADS: usize = 8;

/// Pieces that are begun after one that is not given on yet.
const AHEAD: usize = 16;

/// What a usage file held when it was opened, besides its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) events: u64,
    /// Lines that are neither blank nor an event.
    pub(crate) bad_lines: u64,
    /// The numbers of the first of them, counted from 1.
    pub(crate) first_bad_lines: Vec<u64>,
    /// The length of the file.
    pub(crate) bytes: u64,
    /// The last line has no end.
    pub(crate) torn: bool,
}

/// How many threads it takes to load so many bytes.
pub(super) fn threads(bytes: u64) -> usize {
    // To start a thread takes as long as a piece.
    let useful = usize::try_from(bytes / (4 * PIECE as u64)).unwrap_or(usize::MAX);
    let available = thread::available_parallelism().map_or(1, NonZero::get);
    available.min(MAX_THREADS).min(useful).max(1)
}

/// Has `prepare` put every event of `file` into a batch, and gives the batches to `take`, in the file's order, in bounded
/// memory whatever the file holds; after each, the history so far to `progress`.
///
/// `prepare` is called from any of the `threads`, also at the same time, but not for the same batch; the two others one at
/// a time. A batch that was taken comes back to `prepare`: what `take` leaves in it is still there.
pub(super) fn load<B: Default + Send>(
    file: impl Read + Send,
    threads: usize,
    prepare: impl Fn(&mut B, &EventRef<'_>) + Sync,
    take: impl FnMut(&mut B) + Send,
    progress: impl FnMut(&History) + Send,
) -> io::Result<History> {
    Load::new(Pieces::new(file, PIECE, MAX_LINE), prepare, take, progress).run(threads)
}

/// A file on its way.
struct Load<R, B, F, T, P> {
    pieces: Mutex<Pieces<R>>,
    prepare: F,
    ready: Mutex<Ready<B>>,
    /// Tells those who wait until they may begin another piece.
    room: Condvar,
    taken: Mutex<Taken<T, P>>,
}

/// Pieces that are read, in whatever order, and not taken yet.
struct Ready<B> {
    /// How many were taken.
    taken: u64,
    /// From the next one on; none is not read yet.
    pieces: VecDeque<Option<io::Result<Parsed<B>>>>,
    /// Batches that were taken.
    spare: Vec<B>,
    /// Nothing more is taken, and this is why.
    end: Option<End>,
}

enum End {
    Failed(io::Error),
    Panicked,
}

/// What was taken so far, and who takes it.
struct Taken<T, P> {
    lines: u64,
    history: History,
    take: T,
    progress: P,
}

impl<R, B, F, T, P> Load<R, B, F, T, P>
where
    R: Read + Send,
    B: Default + Send,
    F: Fn(&mut B, &EventRef<'_>) + Sync,
    T: FnMut(&mut B) + Send,
    P: FnMut(&History) + Send,
{
    fn new(pieces: Pieces<R>, prepare: F, take: T, progress: P) -> Self {
        Self {
            pieces: Mutex::new(pieces),
            prepare,
            ready: Mutex::new(Ready { taken: 0, pieces: VecDeque::new(), spare: Vec::new(), end: None }),
            room: Condvar::new(),
            taken: Mutex::new(Taken { lines: 0, history: History::default(), take, progress }),
        }
    }

    fn run(self, threads: usize) -> io::Result<History> {
        thread::scope(|scope| {
            for _ in 1..threads {
                // Without it, it takes longer.
                let builder = thread::Builder::new().name("llm-usage-load".into());
                let _ = builder.spawn_scoped(scope, || self.work());
            }
            self.work();
        });
        match self.ready.into_inner().unwrap_or_else(PoisonError::into_inner).end {
            Some(End::Failed(error)) => Err(error),
            _ => Ok(self.taken.into_inner().unwrap_or_else(PoisonError::into_inner).history),
        }
    }

    fn work(&self) {
        let _alarm = Alarm(self);
        let mut parser = Parser::default();
        let mut bytes = Vec::new();
        while let Some(batch) = self.begin() {
            let Some((number, read)) = unpoisoned(&self.pieces).next(&mut bytes) else { return };
            let parsed = read.map(|piece| Parsed::new(&piece, &bytes, &mut parser, &self.prepare, batch));
            unpoisoned(&self.ready).put(number, parsed);
            self.take();
        }
    }

    /// Waits until another piece may be begun. None if there is no use in it.
    fn begin(&self) -> Option<B> {
        let is_full = |ready: &mut Ready<B>| ready.pieces.len() >= AHEAD && ready.end.is_none();
        let ready = self.room.wait_while(unpoisoned(&self.ready), is_full);
        let mut ready = ready.unwrap_or_else(PoisonError::into_inner);
        ready.end.is_none().then(|| ready.spare.pop().unwrap_or_default())
    }

    /// Takes the pieces whose turn it is, unless somebody is at it.
    fn take(&self) {
        while unpoisoned(&self.ready).has_next() {
            // Whoever has the lock looks once more after it has let go of it. Whoever panicked with it is the last.
            let Ok(mut taken) = self.taken.try_lock() else { return };
            while let Some(mut parsed) = self.next() {
                taken.take(&mut parsed);
                unpoisoned(&self.ready).spare.push(parsed.batch);
            }
        }
    }

    fn next(&self) -> Option<Parsed<B>> {
        let next = unpoisoned(&self.ready).next();
        // One thread or all of them, if this is the end.
        self.room.notify_all();
        next
    }
}

impl<B> Ready<B> {
    fn put(&mut self, number: u64, piece: io::Result<Parsed<B>>) {
        let at = (number - self.taken) as usize;
        if at >= self.pieces.len() {
            self.pieces.resize_with(at + 1, || None);
        }
        self.pieces[at] = Some(piece);
    }

    fn has_next(&self) -> bool {
        self.end.is_none() && matches!(self.pieces.front(), Some(Some(_)))
    }

    fn next(&mut self) -> Option<Parsed<B>> {
        if !self.has_next() {
            return None;
        }
        self.taken += 1;
        match self.pieces.pop_front().flatten()? {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.end = Some(End::Failed(error));
                None
            }
        }
    }
}

impl<T, P: FnMut(&History)> Taken<T, P> {
    fn take<B>(&mut self, parsed: &mut Parsed<B>)
    where
        T: FnMut(&mut B),
    {
        let Self { lines, history, take, progress } = self;
        take(&mut parsed.batch);
        history.events += parsed.events;
        history.bad_lines += parsed.bad_lines;
        let room = REPORTED - history.first_bad_lines.len();
        history.first_bad_lines.extend(parsed.first_bad_lines.iter().take(room).map(|line| *lines + line));
        history.bytes = parsed.bytes;
        history.torn = parsed.torn;
        *lines += parsed.lines;
        progress(history);
    }
}

/// A thread that panics lets nobody wait for what it would have done.
struct Alarm<'a, R, B, F, T, P>(&'a Load<R, B, F, T, P>);

impl<R, B, F, T, P> Drop for Alarm<'_, R, B, F, T, P> {
    fn drop(&mut self) {
        if thread::panicking() {
            unpoisoned(&self.0.ready).end = Some(End::Panicked);
            self.0.room.notify_all();
        }
    }
}

/// Whoever panicked with a lock has seen to it that nothing is done with what it leaves.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the lines of a piece say.
#[derive(Debug)]
struct Parsed<B> {
    batch: B,
    events: u64,
    lines: u64,
    bad_lines: u64,
    /// The numbers of the first of them within the piece, counted from 1.
    first_bad_lines: Vec<u64>,
    /// Up to the end of the piece.
    bytes: u64,
    torn: bool,
}

impl<B> Parsed<B> {
    /// With the events in `batch`.
    fn new(
        piece: &Piece,
        bytes: &[u8],
        parser: &mut Parser,
        prepare: &impl Fn(&mut B, &EventRef<'_>),
        batch: B,
    ) -> Self {
        let mut parsed = Self {
            batch,
            events: 0,
            lines: 0,
            bad_lines: 0,
            first_bad_lines: Vec::new(),
            bytes: piece.upto,
            torn: piece.torn,
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => parsed.read(text, parser, prepare),
            Err(_) => {
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    match std::str::from_utf8(line) {
                        Ok(text) => parsed.read(text, parser, prepare),
                        Err(_) => parsed.read_line(line, prepare),
                    }
                }
            }
        }
        if piece.is_too_long {
            parsed.lines += 1;
            parsed.complain();
        }
        parsed
    }

    fn read(&mut self, mut text: &str, parser: &mut Parser, prepare: &impl Fn(&mut B, &EventRef<'_>)) {
        while !text.is_empty() {
            let end = match parser.event(text) {
                Some((event, len)) if len <= MAX_LINE => {
                    self.lines += 1;
                    self.events += 1;
                    prepare(&mut self.batch, &event);
                    // What stands there is an end of a line, or the end of all.
                    if text.as_bytes().get(len) == Some(&b'\r') { len + 2 } else { len + 1 }
                }
                _ => {
                    let end = memchr::memchr(b'\n', text.as_bytes()).map_or(text.len(), |at| at + 1);
                    self.read_line(&text.as_bytes()[..end], prepare);
                    end
                }
            };
            text = text.get(end..).unwrap_or_default();
        }
    }

    /// The line as `serde_json` reads it.
    fn read_line(&mut self, line: &[u8], prepare: &impl Fn(&mut B, &EventRef<'_>)) {
        self.lines += 1;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return;
        }
        match if line.len() <= MAX_LINE { serde_json::from_slice::<UsageEvent>(line).ok() } else { None } {
            Some(event) => {
                self.events += 1;
                prepare(&mut self.batch, &(&event).into());
            }
            None => self.complain(),
        }
    }

    /// The line that was read last is bad.
    fn complain(&mut self) {
        self.bad_lines += 1;
        if self.first_bad_lines.len() < REPORTED {
            self.first_bad_lines.push(self.lines);
        }
    }
}

/// A number of lines as they were read, or one that is too long to be.
#[derive(Clone, Copy, Debug)]
struct Piece {
    is_too_long: bool,
    /// Bytes of the file up to its end.
    upto: u64,
    /// It is the last, and its last line has no end.
    torn: bool,
}

/// Cuts a file into pieces of whole lines. The last line need not have an end; a byte order mark in front of the first
/// is left out.
struct Pieces<R> {
    file: R,
    size: usize,
    longest: usize,
    /// The number of the next piece.
    number: u64,
    /// Bytes read so far.
    bytes: u64,
    /// Read, and not given out yet.
    rest: Vec<u8>,
    /// The file has been read to its end, or as far as it can be read.
    is_over: bool,
}

impl<R: Read> Pieces<R> {
    fn new(file: R, size: usize, longest: usize) -> Self {
        Self { file, size, longest, number: 0, bytes: 0, rest: Vec::new(), is_over: false }
    }

    /// Puts the next piece into `bytes`, and gives its number.
    fn next(&mut self, bytes: &mut Vec<u8>) -> Option<(u64, io::Result<Piece>)> {
        bytes.clear();
        bytes.append(&mut self.rest);
        if self.is_over && bytes.is_empty() {
            return None;
        }
        let is_first = self.bytes == 0;
        let piece = self.fill(bytes).transpose()?;
        self.is_over |= piece.is_err();
        if is_first && bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        self.number += 1;
        Some((self.number - 1, piece))
    }

    fn fill(&mut self, bytes: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        loop {
            if self.is_over {
                let torn = bytes.last().is_some_and(|last| *last != b'\n');
                let piece = Piece { is_too_long: false, upto: self.bytes, torn };
                return Ok((!bytes.is_empty()).then_some(piece));
            }
            if let Some(end) = memchr::memrchr(b'\n', bytes) {
                self.rest.extend_from_slice(&bytes[end + 1..]);
                bytes.truncate(end + 1);
                let upto = self.bytes - self.rest.len() as u64;
                return Ok(Some(Piece { is_too_long: false, upto, torn: false }));
            }
            if bytes.len() > self.longest {
                return self.skip_line(bytes).map(Some);
            }
            self.read(bytes)?;
        }
    }

    /// Reads up to the end of a line without keeping it.
    fn skip_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<Piece> {
        loop {
            bytes.clear();
            self.read(bytes)?;
            let end = memchr::memchr(b'\n', bytes);
            if let Some(end) = end {
                self.rest.extend_from_slice(&bytes[end + 1..]);
            }
            if end.is_some() || self.is_over {
                bytes.clear();
                let upto = self.bytes - self.rest.len() as u64;
                return Ok(Piece { is_too_long: true, upto, torn: end.is_none() });
            }
        }
    }

    /// Reads on behind `bytes`.
    fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        // With room to see the end without growing.
        bytes.reserve(self.size + 64);
        let n = self.file.by_ref().take(self.size as u64).read_to_end(bytes)?;
        self.bytes += n as u64;
        self.is_over = n < self.size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::{Timestamp, event::tests::any_event};

    /// Gives its bytes in reads of the sizes told, over and over, interrupted between them.
    struct Reads<'a> {
        bytes: &'a [u8],
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
        interrupted: bool,
    }

    impl Read for Reads<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let size = self.sizes.next().copied().unwrap_or(1);
            let n = self.bytes.len().min(buffer.len()).min(size);
            buffer[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes = &self.bytes[n..];
            Ok(n)
        }
    }

    /// The whole file at once, the obvious way. `None` is a line that is too long.
    fn naive(file: &[u8], longest: usize) -> Vec<Option<Vec<u8>>> {
        let lines =
            file.split_inclusive(|b| *b == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line));
        lines.map(|line| (line.len() <= longest).then(|| line.to_vec())).collect()
    }

    /// The lines of all pieces, and whether the last one has no end.
    fn cut(file: impl Read, size: usize, longest: usize) -> (Vec<Option<Vec<u8>>>, bool) {
        let mut pieces = Pieces::new(file, size, longest);
        let (mut lines, mut torn, mut upto) = (Vec::new(), false, 0);
        let mut bytes = Vec::new();
        while let Some((_, piece)) = pieces.next(&mut bytes) {
            let piece = piece.unwrap();
            assert!(bytes.len() <= longest + size, "{} bytes at once", bytes.len());
            lines.extend(naive(&bytes, longest));
            lines.extend(piece.is_too_long.then_some(None));
            assert!(!torn && upto < piece.upto, "after {upto}: {piece:?}");
            (torn, upto) = (piece.torn, piece.upto);
        }
        assert_eq!((upto, bytes.len()), (pieces.bytes, 0));
        (lines, torn)
    }

    fn keep(batch: &mut Vec<UsageEvent>, event: &EventRef<'_>) {
        batch.push(EventRef::to_owned(*event));
    }

    fn loaded(file: &[u8]) -> (Vec<UsageEvent>, History) {
        loaded_by(1, PIECE, file)
    }

    fn loaded_by(threads: usize, size: usize, file: &[u8]) -> (Vec<UsageEvent>, History) {
        let mut events = Vec::new();
        let take = |batch: &mut Vec<UsageEvent>| events.append(batch);
        let history = Load::new(Pieces::new(file, size, MAX_LINE), keep, take, |_| {}).run(threads).unwrap();
        (events, history)
    }

    const ORIGINAL: &str = r#"{"timestamp":"2026-01-02T03:04:05.678901+02:00","model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"status":200}"#;

    fn ours() -> UsageEvent {
        let mut event = UsageEvent::new(Timestamp::from_unix_millis(1_770_000_000_000), "claude");
        event.id = Some("a".into());
        event
    }

    /// A line of a file that has seen a lot.
    fn any_line() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => any_event().prop_map(|event| serde_json::to_string(&event).unwrap()),
            4 => Just(ORIGINAL.to_owned()),
            1 => Just(format!("{ORIGINAL}\r")),
            1 => select(&["", " ", "\r", "x", "null", "{}", "\u{feff}", "{\"timestamp\":1}"][..]).prop_map(str::to_owned),
            1 => "[^\n]{0,20}",
        ]
    }

    /// What `file` holds, by the book.
    fn plainly_loaded(file: &str) -> (Vec<UsageEvent>, History) {
        let mut history = History { bytes: file.len() as u64, ..History::default() };
        history.torn = !file.is_empty() && !file.ends_with('\n');
        let text = file.strip_prefix('\u{feff}').unwrap_or(file);
        let mut events = Vec::new();
        for (line, number) in text.split_terminator('\n').zip(1..) {
            match serde_json::from_str(line) {
                Ok(event) => events.push(event),
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(_) => history.first_bad_lines.push(number),
            }
        }
        history.events = events.len() as u64;
        history.bad_lines = history.first_bad_lines.len() as u64;
        history.first_bad_lines.truncate(20);
        (events, history)
    }

    proptest! {
        /// L4
        #[test]
        fn lines_are_cut_alike_whatever_the_reads_and_the_buffer(
            file in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r')], 0..200),
            sizes in proptest::collection::vec(1_usize..9, 1..5),
            size in 1_usize..20,
            longest in 1_usize..20,
        ) {
            let reads = Reads { bytes: &file, sizes: sizes.iter().cycle(), interrupted: false };
            let (lines, torn) = cut(reads, size, longest);
            prop_assert_eq!(lines, naive(&file, longest));
            prop_assert_eq!(torn, file.last().is_some_and(|last| *last != b'\n'));
        }

        /// L4: neither order nor numbers tell how many threads there were, or where the pieces ended.
        #[test]
        fn threads_load_what_one_loads_of_the_whole(
            lines in proptest::collection::vec(any_line(), 0..60),
            end in select(&["", "\n"][..]),
            size in 1_usize..2_000,
            threads in 1_usize..5,
        ) {
            let file = [lines.join("\n").as_str(), end].concat();
            prop_assert_eq!(loaded_by(threads, size, file.as_bytes()), plainly_loaded(&file));
        }
    }

    /// L4, F29
    #[test]
    fn a_bad_line_is_counted_with_its_number_and_stops_nothing() {
        const LIST: &str = r#"["2026-11-25T00:00:00Z","gpt-4o",9,12,21,200]"#;
        let ours = serde_json::to_string(&ours()).unwrap();
        let file = [ORIGINAL, "", "{\"timestamp\":1}", "  \t", "null", &ours, "\0\0\0", LIST, ""].join("\n");
        let (events, history) = loaded(file.as_bytes());
        assert_eq!(events, [serde_json::from_str(ORIGINAL).unwrap(), self::ours()]);
        assert_eq!((history.events, history.bad_lines), (2, 4));
        assert_eq!(history.first_bad_lines, [3, 5, 7, 8]);
        assert_eq!((history.bytes, history.torn), (file.len() as u64, false));
    }

    #[test]
    fn twenty_bad_lines_are_named_and_the_rest_counted() {
        let (_, history) = loaded("x\n".repeat(50).as_bytes());
        assert_eq!(history.bad_lines, 50);
        assert_eq!(history.first_bad_lines, (1..=20).collect::<Vec<_>>());
    }

    /// L4: over 64 KiB broke every query of the original.
    #[test]
    fn a_line_may_be_long_and_one_that_is_too_long_is_a_bad_line() {
        let mut long = ours();
        long.endpoint = Some("x".repeat(300 << 10).into());
        let mut too_long = ours();
        too_long.endpoint = Some("x".repeat(MAX_LINE).into());
        let line = |event: &UsageEvent| serde_json::to_string(event).unwrap();
        let file = [line(&long), line(&too_long), line(&ours())].join("\n");
        let (events, history) = loaded(file.as_bytes());
        assert!(events == [long, ours()]);
        assert_eq!((history.first_bad_lines.as_slice(), history.torn), ([2].as_slice(), true));
    }

    /// L5
    #[test]
    fn a_torn_last_line_counts_if_it_is_a_whole_event() {
        let (events, history) = loaded(ORIGINAL.as_bytes());
        assert_eq!((events.len(), history.bad_lines, history.torn), (1, 0, true));
        let (events, history) = loaded(&ORIGINAL.as_bytes()[..50]);
        assert_eq!((events.len(), history.bad_lines, history.torn), (0, 1, true));
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_are_no_obstacle() {
        let (events, history) = loaded(format!("\u{feff}{ORIGINAL}\r\n\r\n{ORIGINAL}\r\n").as_bytes());
        assert_eq!((events.len(), history.bad_lines), (2, 0));
    }

    /// F30: a request id, empty or repeated, identifies nothing; neither does loading look at ids.
    #[test]
    fn lines_that_share_an_id_or_a_request_id_are_events_of_their_own() {
        let mut event = ours();
        event.request_id = Some("r".into());
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(loaded(format!("{line}\n{line}\n").as_bytes()).1.events, 2);
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let whole = format!("{ORIGINAL}\n").repeat(3);
        for threads in [1, 3] {
            let mut events = 0;
            let file = whole.as_bytes().chain(Broken);
            let take = |batch: &mut Vec<UsageEvent>| events += batch.drain(..).len();
            let load = Load::new(Pieces::new(file, 200, MAX_LINE), keep, take, |_| {});
            let error = load.run(threads).unwrap_err();
            assert_eq!(error.to_string(), "broken");
            // Not the third: to see its end takes the read that fails.
            assert!(events < 3);
        }
    }

    #[test]
    fn progress_is_told_piece_by_piece_up_to_the_end() {
        let file = format!("{ORIGINAL}\nx\n").repeat(1_000);
        for threads in [1, 3] {
            let mut told = Vec::new();
            let progress = |history: &History| told.push((history.bytes, history.events));
            let pieces = Pieces::new(file.as_bytes(), 1_000, MAX_LINE);
            let history =
                Load::new(pieces, |(), _: &EventRef<'_>| {}, |()| {}, progress).run(threads).unwrap();
            assert!(told.len() > 100 && told.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{told:?}");
            assert_eq!(told.last(), Some(&(file.len() as u64, 1_000)));
            assert_eq!((history.bytes, history.events, history.bad_lines), (file.len() as u64, 1_000, 1_000));
        }
    }

    #[test]
    fn others_go_on_while_one_takes_but_not_without_end() {
        let file = format!("{ORIGINAL}\n").repeat(200);
        let (begun, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let prepare = |(): &mut (), _: &EventRef<'_>| {
            let begun = begun.fetch_add(1, Ordering::SeqCst) + 1;
            // With one that is being taken, and one more of each thread.
            assert!(begun - taken.load(Ordering::SeqCst) <= AHEAD + 3);
        };
        let take = |(): &mut ()| {
            while taken.load(Ordering::SeqCst) == 0 && begun.load(Ordering::SeqCst) <= AHEAD {
                thread::yield_now();
            }
            taken.fetch_add(1, Ordering::SeqCst);
        };
        // A line is a piece.
        let pieces = Pieces::new(file.as_bytes(), ORIGINAL.len() + 1, MAX_LINE);
        assert_eq!(Load::new(pieces, prepare, take, |_| {}).run(2).unwrap().events, 200);
        assert_eq!(taken.into_inner(), 200);
    }

    /// A panic of one thread is the panic of the load, and none of the others waits for it for ever.
    #[test]
    fn a_panic_ends_the_load() {
        let file = format!("{ORIGINAL}\n").repeat(1_000);
        for (most_prepared, most_taken) in [(usize::MAX, 50), (50, usize::MAX)] {
            let (prepared, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let prepare = |(): &mut (), _: &EventRef<'_>| {
                assert!(prepared.fetch_add(1, Ordering::Relaxed) < most_prepared, "enough");
            };
            let take = |(): &mut ()| assert!(taken.fetch_add(1, Ordering::Relaxed) < most_taken, "enough");
            let load = Load::new(Pieces::new(file.as_bytes(), 500, MAX_LINE), prepare, take, |_| {});
            let load = std::panic::AssertUnwindSafe(|| load.run(4));
            assert!(std::panic::catch_unwind(load).is_err());
            assert!(prepared.into_inner() < 1_000 && taken.into_inner() <= 51);
        }
    }

    #[test]
    fn a_small_file_is_no_work_for_two() {
        assert_eq!(threads(0), 1);
        assert_eq!(threads(PIECE as u64), 1);
        assert!((1..=MAX_THREADS).contains(&threads(u64::MAX)));
    }
}
