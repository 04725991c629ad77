use std::io;

use super::Disk;

/// Writes at the end of the usage file.
#[derive(Debug)]
pub(crate) struct Appender<D> {
    disk: D,
    /// The length of the file.
    bytes: u64,
    /// The file ends within a line that is not ours to finish.
    torn: bool,
}

impl<D: Disk> Appender<D> {
    /// `bytes` long is the file as it is, and `torn` if its last byte is no line end.
    pub(crate) fn new(disk: D, bytes: u64, torn: bool) -> Self {
        Self { disk, bytes, torn }
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes `bytes` in as few calls as the system allows, and says how many of them are in the file now.
    ///
    /// After an error, the rest is what has to be given again: those bytes, from exactly there.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        if bytes.is_empty() {
            return (0, Ok(()));
        }
        if self.torn {
            match self.write_all(b"\n") {
                (_, Ok(())) => self.torn = false,
                (_, Err(e)) => return (0, Err(e)),
            }
        }
        self.write_all(bytes)
    }

    /// Waits until what was appended would survive a loss of power.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
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
