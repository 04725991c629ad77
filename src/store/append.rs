use std::{io, mem};

use super::active::{Complaint, Disk, Other};
use crate::sync::mpsc;

/// Writes at the end of the usage file.
#[derive(Debug)]
pub(crate) struct Appender<D> {
    disk: D,
    /// The length of the file.
    bytes: u64,
    /// The file ends within a line that is not ours to finish.
    torn: bool,
    /// The line that was begun and not finished, as far as it was given here. It goes on in the same file.
    begun: Vec<u8>,
    /// So much of it is in the file. Less than all only when the file has become another one.
    begun_in_file: usize,
}

impl<D: Disk> Appender<D> {
    /// `bytes` long is the file as it is, and `torn` if its last byte is no line end.
    pub(crate) fn new(disk: D, bytes: u64, torn: bool) -> Self {
        Self { disk, bytes, torn, begun: Vec::new(), begun_in_file: 0 }
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Has `rotated` hear of every segment that is closed.
    pub(crate) fn report_to(&mut self, rotated: mpsc::Sender<()>) {
        self.disk.report_to(rotated);
    }

    /// What went wrong lately with something that does not keep lines from being written.
    pub(crate) fn complaint(&self) -> Option<&Complaint> {
        self.disk.complaint()
    }

    /// Writes `bytes` in as few calls as the system allows, and says how many of them are in the file now.
    ///
    /// After an error, the rest is what has to be given again: those bytes, from exactly there. With no bytes, what went
    /// wrong without keeping lines from being written is tried again.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        if bytes.is_empty() && self.complaint().is_some() {
            return (0, self.prepare());
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.append_some(&bytes[written..]) {
                (n, Ok(())) => written += n,
                (n, Err(e)) => return (written + n, Err(e)),
            }
        }
        (written, Ok(()))
    }

    /// Waits until what was appended would survive a loss of power.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }

    /// Writes what belongs into one file.
    fn append_some(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        if let Err(e) = self.prepare().and_then(|()| self.heal()).and_then(|()| self.catch_up()) {
            return (0, Err(e));
        }
        let (written, result) =
            self.write_all(whole_lines(bytes, self.disk.limit().saturating_sub(self.bytes)));
        match self.disk.is_deleted() {
            // Gone with the file. What was in it before was deleted together with it.
            Ok(true) => return (0, Ok(())),
            Ok(false) => {}
            Err(e) => {
                self.note(&bytes[..written]);
                return (written, result.and(Err(e)));
            }
        }
        self.note(&bytes[..written]);
        (written, result)
    }

    fn prepare(&mut self) -> io::Result<()> {
        if let Some(Other { bytes, torn }) = self.disk.prepare(self.bytes, self.begun.is_empty())? {
            (self.bytes, self.torn, self.begun_in_file) = (bytes, torn, 0);
        }
        Ok(())
    }

    fn heal(&mut self) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n").1?;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes again what another file had of the line that goes on.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.begun_in_file < self.begun.len() {
            let begun = mem::take(&mut self.begun);
            let (written, result) = self.write_all(&begun[self.begun_in_file..]);
            self.begun = begun;
            self.begun_in_file += written;
            result?;
        }
        Ok(())
    }

    /// Keeps what was written of a line whose end was not.
    fn note(&mut self, written: &[u8]) {
        match memchr::memrchr(b'\n', written) {
            Some(end) => {
                self.begun.clear();
                self.begun.extend_from_slice(&written[end + 1..]);
            }
            None => self.begun.extend_from_slice(written),
        }
        self.begun_in_file = self.begun.len();
    }

    /// [`io::Write::write_all`] that says how far it came.
    fn write_all(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.disk.write(&bytes[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n;
                    self.bytes += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (written, Err(e)),
            }
        }
        (written, Ok(()))
    }
}

/// The lines of `bytes` up to the one that reaches `room`: a file is closed for its size only when it has got it.
fn whole_lines(bytes: &[u8], room: u64) -> &[u8] {
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    match bytes.get(room - 1..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        Some(end) => &bytes[..room + end],
        None => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::faulty::Faulty, *};

    fn appender(torn: bool) -> (Appender<Faulty>, Faulty) {
        let disk = Faulty::default();
        (Appender::new(disk.clone(), 0, torn), disk)
    }

    /// L8
    #[test]
    fn a_batch_is_one_write_where_the_system_takes_it_whole() {
        let (mut appender, disk) = appender(false);
        assert!(matches!(appender.append(b"a\nb\n"), (4, Ok(()))));
        assert_eq!((disk.text().as_str(), disk.calls()), ("a\nb\n", 1));
    }

    /// L8
    #[test]
    fn short_and_interrupted_writes_go_on_where_they_stopped() {
        let (mut appender, disk) = appender(false);
        disk.plan(|plan| {
            plan.at_most = Some(3);
            plan.interruptions = 2;
        });
        assert!(matches!(appender.append(b"0123456789\n"), (11, Ok(()))));
        assert_eq!(disk.text(), "0123456789\n");
    }

    /// L8, F50
    #[test]
    fn a_full_disk_leaves_exactly_the_unwritten_bytes_to_be_given_again() {
        let (mut appender, disk) = appender(false);
        disk.plan(|plan| plan.room = Some(4));
        let lines = b"one\ntwo\n";
        let (written, result) = appender.append(lines);
        assert_eq!((written, result.unwrap_err().kind()), (4, io::ErrorKind::StorageFull));
        let (none, result) = appender.append(&lines[written..]);
        assert_eq!((none, result.unwrap_err().kind()), (0, io::ErrorKind::StorageFull));
        disk.plan(|plan| plan.room = None);
        assert!(matches!(appender.append(&lines[written..]), (4, Ok(()))));
        assert_eq!(disk.text(), "one\ntwo\n");
    }

    #[test]
    fn a_system_that_takes_nothing_is_an_error_and_no_endless_loop() {
        let (mut appender, disk) = appender(false);
        disk.plan(|plan| plan.at_most = Some(0));
        let (written, result) = appender.append(b"a\n");
        assert_eq!((written, result.unwrap_err().kind()), (0, io::ErrorKind::WriteZero));
    }

    /// L5, F28
    #[test]
    fn a_torn_last_line_is_healed_once_and_only_when_something_is_appended() {
        let (mut appender, disk) = appender(true);
        disk.plan(|plan| plan.error = Some(io::ErrorKind::Other));
        assert_eq!(appender.append(b"").0, 0);
        assert!(appender.append(b"a\n").1.is_err());
        disk.plan(|plan| plan.error = None);
        assert!(matches!(appender.append(b"a\n"), (2, Ok(()))));
        assert!(matches!(appender.append(b"b\n"), (2, Ok(()))));
        assert_eq!(disk.text(), "\na\nb\n");
        assert_eq!(appender.bytes(), 5);
    }
}
