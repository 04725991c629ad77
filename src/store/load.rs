//! The usage file, read: whole lines at a time, by several threads, and as if by one.
//!
//! Each thread reads a piece of whole lines while it holds the file, makes events of them, and waits until all pieces
//! before it have been given on. So events come in the file's order, the numbers of lines are right, and no more than
//! a piece for each thread is in memory. What is done under a lock is what cannot be done side by side: to read, and to
//! take the events in.

use std::{
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

/// Gives every event of `file` to `each`, in the file's order, in bounded memory whatever the file holds; after each
/// piece, the history so far to `progress`.
///
/// Both may be called from any of the `threads`, one at a time.
pub(super) fn load(
    file: impl Read + Send,
    threads: usize,
    each: impl FnMut(&EventRef<'_>) + Send,
    progress: impl FnMut(&History) + Send,
) -> io::Result<History> {
    Load::new(Pieces::new(file, PIECE, MAX_LINE), each, progress).run(threads)
}

/// A file on its way.
struct Load<R, E, P> {
    pieces: Mutex<Pieces<R>>,
    turns: Mutex<Turns<E, P>>,
    next_turn: Condvar,
}

/// Whose turn it is to give events on, and to whom.
struct Turns<E, P> {
    /// The number of the piece.
    next: u64,
    /// There is no next turn, and this is why.
    end: Option<End>,
    lines: u64,
    history: History,
    each: E,
    progress: P,
}

enum End {
    Failed(io::Error),
    Panicked,
}

impl<R, E, P> Load<R, E, P>
where
    R: Read + Send,
    E: FnMut(&EventRef<'_>) + Send,
    P: FnMut(&History) + Send,
{
    fn new(pieces: Pieces<R>, each: E, progress: P) -> Self {
        let turns = Turns { next: 0, end: None, lines: 0, history: History::default(), each, progress };
        Self { pieces: Mutex::new(pieces), turns: Mutex::new(turns), next_turn: Condvar::new() }
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
        let turns = self.turns.into_inner().unwrap_or_else(PoisonError::into_inner);
        match turns.end {
            Some(End::Failed(error)) => Err(error),
            _ => Ok(turns.history),
        }
    }

    fn work(&self) {
        let _alarm = Alarm(self);
        let mut parser = Parser::default();
        let mut bytes = Vec::new();
        loop {
            let read = unpoisoned(&self.pieces).next(&mut bytes);
            let Some((number, read)) = read else { return };
            let parsed = read.map(|piece| Parsed::new(&piece, &bytes, &mut parser));
            let Some(mut turns) = self.turn(number) else { return };
            match parsed {
                Ok(parsed) => turns.take(parsed),
                Err(error) => turns.end = Some(End::Failed(error)),
            }
            turns.next += 1;
            drop(turns);
            self.next_turn.notify_all();
        }
    }
}

impl<R, E, P> Load<R, E, P> {
    /// Waits for the turn of the piece with this number. It never comes if one before it has failed.
    fn turn(&self, number: u64) -> Option<MutexGuard<'_, Turns<E, P>>> {
        let turns = unpoisoned(&self.turns);
        let is_early = |turns: &mut Turns<E, P>| turns.next != number && turns.end.is_none();
        let turns = self.next_turn.wait_while(turns, is_early).unwrap_or_else(PoisonError::into_inner);
        turns.end.is_none().then_some(turns)
    }
}

impl<E: FnMut(&EventRef<'_>), P: FnMut(&History)> Turns<E, P> {
    fn take(&mut self, parsed: Parsed<'_>) {
        let Self { lines, history, each, progress, .. } = self;
        for event in &parsed.events {
            match event {
                Event::Borrowed(event) => each(event),
                Event::Owned(event) => each(&(&**event).into()),
            }
        }
        history.events += parsed.events.len() as u64;
        history.bad_lines += parsed.bad_lines;
        let room = REPORTED - history.first_bad_lines.len();
        history.first_bad_lines.extend(parsed.first_bad_lines.iter().take(room).map(|line| *lines + line));
        history.bytes = parsed.bytes;
        history.torn = parsed.torn;
        *lines += parsed.lines;
        progress(history);
    }
}

/// A thread that panics lets nobody wait for its turn.
struct Alarm<'a, R, E, P>(&'a Load<R, E, P>);

impl<R, E, P> Drop for Alarm<'_, R, E, P> {
    fn drop(&mut self) {
        if thread::panicking() {
            unpoisoned(&self.0.turns).end = Some(End::Panicked);
            self.0.next_turn.notify_all();
        }
    }
}

/// Whoever panicked with a lock has seen to it that nothing is done with what it leaves.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the lines of a piece say.
#[derive(Debug, Default)]
struct Parsed<'a> {
    events: Vec<Event<'a>>,
    lines: u64,
    bad_lines: u64,
    /// The numbers of the first of them within the piece, counted from 1.
    first_bad_lines: Vec<u64>,
    /// Up to the end of the piece.
    bytes: u64,
    torn: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is of the large variant")]
enum Event<'a> {
    Borrowed(EventRef<'a>),
    Owned(Box<UsageEvent>),
}

impl<'a> Parsed<'a> {
    fn new(piece: &Piece, bytes: &'a [u8], parser: &mut Parser) -> Self {
        // Our lines are longer.
        let events = Vec::with_capacity(bytes.len() / 256);
        let mut parsed = Self { events, bytes: piece.upto, torn: piece.torn, ..Self::default() };
        match std::str::from_utf8(bytes) {
            Ok(text) => parsed.read(text, parser),
            Err(_) => {
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    match std::str::from_utf8(line) {
                        Ok(text) => parsed.read(text, parser),
                        Err(_) => parsed.read_line(line),
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

    fn read(&mut self, mut text: &'a str, parser: &mut Parser) {
        while !text.is_empty() {
            let end = match parser.event(text) {
                Some((event, len)) if len <= MAX_LINE => {
                    self.lines += 1;
                    self.events.push(Event::Borrowed(event));
                    // What stands there is an end of a line, or the end of all.
                    if text.as_bytes().get(len) == Some(&b'\r') { len + 2 } else { len + 1 }
                }
                _ => {
                    let end = memchr::memchr(b'\n', text.as_bytes()).map_or(text.len(), |at| at + 1);
                    self.read_line(&text.as_bytes()[..end]);
                    end
                }
            };
            text = text.get(end..).unwrap_or_default();
        }
    }

    /// The line as `serde_json` reads it.
    fn read_line(&mut self, line: &[u8]) {
        self.lines += 1;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return;
        }
        match if line.len() <= MAX_LINE { serde_json::from_slice(line).ok() } else { None } {
            Some(event) => self.events.push(Event::Owned(event)),
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

    fn loaded(file: &[u8]) -> (Vec<UsageEvent>, History) {
        loaded_by(1, PIECE, file)
    }

    fn loaded_by(threads: usize, size: usize, file: &[u8]) -> (Vec<UsageEvent>, History) {
        let mut events = Vec::new();
        let each = |event: &EventRef<'_>| events.push(EventRef::to_owned(*event));
        let history = Load::new(Pieces::new(file, size, MAX_LINE), each, |_| {}).run(threads).unwrap();
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
        let ours = serde_json::to_string(&ours()).unwrap();
        let file = [ORIGINAL, "", "{\"timestamp\":1}", "  \t", "null", &ours, "\0\0\0", ""].join("\n");
        let (events, history) = loaded(file.as_bytes());
        assert_eq!(events, [serde_json::from_str(ORIGINAL).unwrap(), self::ours()]);
        assert_eq!((history.events, history.bad_lines), (2, 3));
        assert_eq!(history.first_bad_lines, [3, 5, 7]);
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
            let each = |_: &EventRef<'_>| events += 1;
            let error = Load::new(Pieces::new(file, 200, MAX_LINE), each, |_| {}).run(threads).unwrap_err();
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
            let history = Load::new(pieces, |_: &EventRef<'_>| {}, progress).run(threads).unwrap();
            assert!(told.len() > 100 && told.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{told:?}");
            assert_eq!(told.last(), Some(&(file.len() as u64, 1_000)));
            assert_eq!((history.bytes, history.events, history.bad_lines), (file.len() as u64, 1_000, 1_000));
        }
    }

    /// A panic of one thread is the panic of the load, and none of the others waits for it for ever.
    #[test]
    fn a_panic_ends_the_load() {
        let file = format!("{ORIGINAL}\n").repeat(100);
        let events = AtomicUsize::new(0);
        let each = |_: &EventRef<'_>| assert!(events.fetch_add(1, Ordering::Relaxed) < 50, "enough");
        let load = Load::new(Pieces::new(file.as_bytes(), 500, MAX_LINE), each, |_| {});
        let load = std::panic::AssertUnwindSafe(|| load.run(4));
        assert!(std::panic::catch_unwind(load).is_err());
        assert_eq!(events.into_inner(), 51);
    }

    #[test]
    fn a_small_file_is_no_work_for_two() {
        assert_eq!(threads(0), 1);
        assert_eq!(threads(PIECE as u64), 1);
        assert!((1..=MAX_THREADS).contains(&threads(u64::MAX)));
    }
}
