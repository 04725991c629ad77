//! The least of a recorder.

use std::{
    fs::File,
    hint::black_box,
    io::{self, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, header::AUTHORIZATION};
use tower_llm_usage::{
    KeyHash,
    bench::{self, LEAST_INTERVAL, MOST_PACED, Recorder},
};

use super::{copy::Buffer, observe::Observe};

/// What nobody is spared who records calls as this crate does: a hash of the key, three looks at the clock, one at each
/// byte of the body, and room for what is known, which another thread takes from a queue.
///
/// It knows neither model nor tokens. What it takes is no goal, but no goal can lie below it.
pub struct Least {
    started: Instant,
    record: Option<Box<Record>>,
    recorder: Recorder<Box<Record>>,
}

/// As large as what a line of the file is made of.
pub struct Record {
    at: SystemTime,
    took: Duration,
    key: Option<KeyHash>,
    pub status: u16,
    pub is_readable: bool,
    pub id: Text,
    pub model: Text,
    pub counts: [u64; 3],
    /// The answer, if another thread is to look at it.
    pub answer: Option<Buffer>,
}

impl Least {
    pub fn new(headers: &HeaderMap, recorder: Recorder<Box<Record>>) -> Self {
        let key = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let record = Record {
            at: SystemTime::now(),
            took: Duration::ZERO,
            key: key.map(KeyHash::of),
            status: 0,
            is_readable: false,
            id: Text::NONE,
            model: Text::NONE,
            counts: [0; 3],
            answer: None,
        };
        Self { started: Instant::now(), record: Some(Box::new(record)), recorder }
    }

    /// Has what somebody else knows put there.
    pub fn record(&mut self, put: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            put(record);
        }
    }
}

/// Room for a text.
pub struct Text([u8; 80]);

impl Text {
    const NONE: Self = Self([0; _]);

    /// As much of it as there is room for.
    pub fn set(&mut self, text: &[u8]) {
        let len = text.len().min(self.0.len());
        self.0[..len].copy_from_slice(&text[..len]);
    }
}

impl Observe for Least {
    fn piece(&mut self, piece: &Bytes) {
        black_box(memchr::memchr(0, piece));
    }
}

impl Drop for Least {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.took = self.started.elapsed();
            self.recorder.push(record);
        }
    }
}

/// As long as a line of the file is.
const LINE: &[u8; 330] = &{
    let mut line = [b'x'; 330];
    line[329] = b'\n';
    line
};

/// A recorder whose records another thread takes, and writes a line for each, whatever it says, that is then safe on
/// the disk. That thread is woken and writes when the crate's writer would: how often a thread wakes beside those that
/// serve is by itself a difference of several percent to a proxy with one connection.
pub fn writing_to(path: &Path) -> io::Result<Recorder<Box<Record>>> {
    let (recorder, mut events) = bench::queue::<Box<Record>>(1 << 13);
    let mut file = File::create(path)?;
    thread::spawn(move || {
        let (mut lines, mut written) = (Vec::new(), Instant::now());
        loop {
            events.wait(if lines.is_empty() { Instant::now() } else { written } + LEAST_INTERVAL);
            while let Some(record) = events.pop() {
                black_box(record);
                lines.extend_from_slice(LINE);
            }
            let is_due = written.elapsed() >= LEAST_INTERVAL || lines.len() >= MOST_PACED;
            if is_due && !lines.is_empty() {
                if file.write_all(&lines).and_then(|()| file.sync_data()).is_err() {
                    return;
                }
                lines.clear();
                written = Instant::now();
            }
        }
    });
    Ok(recorder)
}
