use std::io::{self, Read};

use crate::UsageEvent;

/// Bytes of the longest line that is read; the writer makes no longer one.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// Bad lines that are reported by their number; more are only counted.
const REPORTED: usize = 20;

const BUFFER: usize = 128 << 10;

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

/// Gives every event of `file` to `each`, in bounded memory whatever the file holds.
pub(super) fn load(file: impl Read, mut each: impl FnMut(UsageEvent)) -> io::Result<History> {
    let mut history = History::default();
    let mut lines = Lines::new(file, BUFFER, MAX_LINE);
    let mut number = 0;
    while let Some(line) = lines.next()? {
        number += 1;
        let event = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => continue,
            Line::Text(text) => serde_json::from_slice(text).ok(),
            Line::TooLong => None,
        };
        match event {
            Some(event) => {
                history.events += 1;
                each(event);
            }
            None => {
                history.bad_lines += 1;
                if history.first_bad_lines.len() < REPORTED {
                    history.first_bad_lines.push(number);
                }
            }
        }
    }
    history.bytes = lines.bytes;
    history.torn = lines.torn;
    Ok(history)
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// Without its end.
    Text(&'a [u8]),
    TooLong,
}

/// Cuts a file into lines. The last one need not have an end; a byte order mark in front of the first is left out.
struct Lines<R> {
    file: R,
    buffer: Vec<u8>,
    /// The part of `buffer` that was read and not yet given out.
    start: usize,
    end: usize,
    longest: usize,
    /// Bytes read, line ends included.
    bytes: u64,
    /// The last byte read was no line end.
    torn: bool,
}

impl<R: Read> Lines<R> {
    fn new(file: R, buffer: usize, longest: usize) -> Self {
        Self { file, buffer: vec![0; buffer], start: 0, end: 0, longest, bytes: 0, torn: false }
    }

    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let is_first = self.bytes == 0;
        let mut searched = 0;
        let mut too_long = false;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                let line = self.start..self.start + searched + at;
                self.start = line.end + 1;
                return Ok(Some(self.line(line, too_long, is_first)));
            }
            searched = self.end - self.start;
            if searched > self.longest {
                too_long = true;
                self.start = self.end;
                searched = 0;
            }
            if self.fill()? == 0 {
                let line = self.start..self.end;
                self.start = self.end;
                let is_there = too_long || !line.is_empty();
                return Ok(is_there.then(|| self.line(line, too_long, is_first)));
            }
        }
    }

    fn line(&self, line: std::ops::Range<usize>, too_long: bool, is_first: bool) -> Line<'_> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        if too_long || line.len() > self.longest {
            return Line::TooLong;
        }
        let text = &self.buffer[line];
        Line::Text(if is_first { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text) } else { text })
    }

    /// Reads on behind what is there; 0 is the end of the file.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            // Not beyond the longest line by more than it takes to see that it is longer.
            self.buffer.resize((self.end * 2).min(self.longest + 1), 0);
        }
        let n = loop {
            match self.file.read(&mut self.buffer[self.end..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += n;
        self.bytes += n as u64;
        if n > 0 {
            self.torn = self.buffer[self.end - 1] != b'\n';
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    /// Gives its bytes in pieces of the sizes told, over and over, interrupted between them.
    struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
        interrupted: bool,
    }

    impl Read for Pieces<'_> {
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
        let file = file.strip_suffix(b"\n").map_or(file, |_| &file[..file.len() - 1]);
        let whole = if file.is_empty() { Vec::new() } else { file.split(|b| *b == b'\n').collect() };
        whole.into_iter().map(|line| (line.len() <= longest).then(|| line.to_vec())).collect()
    }

    fn cut(file: impl Read, buffer: usize, longest: usize) -> (Vec<Option<Vec<u8>>>, u64, bool) {
        let mut lines = Lines::new(file, buffer, longest);
        let mut cut = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            cut.push(match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
        }
        assert!(lines.buffer.len() <= buffer.max(longest + 1));
        (cut, lines.bytes, lines.torn)
    }

    fn loaded(file: &[u8]) -> (Vec<UsageEvent>, History) {
        let mut events = Vec::new();
        let history = load(file, |event| events.push(event)).unwrap();
        (events, history)
    }

    const ORIGINAL: &str = r#"{"timestamp":"2026-01-02T03:04:05.678901+02:00","model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"status":200}"#;

    fn ours() -> UsageEvent {
        let mut event = UsageEvent::new(Timestamp::from_unix_millis(1_770_000_000_000), "claude");
        event.id = Some("a".into());
        event
    }

    proptest! {
        /// L4
        #[test]
        fn lines_are_cut_alike_whatever_the_reads_and_the_buffer(
            file in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r')], 0..200),
            sizes in proptest::collection::vec(1_usize..9, 1..5),
            buffer in 1_usize..20,
            longest in 1_usize..20,
        ) {
            // An empty first line only: the naive way cannot tell it from an empty file.
            prop_assume!(file != b"\n");
            let pieces = Pieces { bytes: &file, sizes: sizes.iter().cycle(), interrupted: false };
            let (lines, bytes, torn) = cut(pieces, buffer, longest);
            prop_assert_eq!(lines, naive(&file, longest));
            prop_assert_eq!(bytes, file.len() as u64);
            prop_assert_eq!(torn, file.last().is_some_and(|last| *last != b'\n'));
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
        assert!(load(Broken, |_| {}).is_err());
    }
}
