//! What is done with closed segments, off the way of what is written: they are compressed.
//!
//! # What a crash between any two steps of compressing leaves
//!
//! 1. The compressed file is made under a temporary name. A crash leaves it, and the next start removes it.
//! 2. It is synced, then gets its name. *In this order, or the name could lead to a file that is not whole.* A crash
//!    leaves both files. The next start compares them and removes the plain one.
//! 3. The directory is synced, before the plain file is removed. *Or both could be gone.*

use std::{io, sync::Arc};

use super::{
    active::Complaint,
    compress,
    files::Files,
    segments::{Names, Segment, temporary},
};
use crate::config::Compression;

/// What there is to be done with closed segments, and what it takes.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    pub(super) files: Arc<dyn Files>,
    pub(super) names: Arc<Names>,
    pub(super) compression: Compression,
}

/// Closed segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) segments: u64,
    /// As they are, compressed or not.
    pub(crate) bytes: u64,
}

impl Upkeep {
    /// Does all that there is to be done, unless it is stopped on the way. What fails is left as it is, for the next
    /// time, and does not keep the rest from being done; the first failure is the result.
    pub(crate) fn run(&self, is_stopped: &dyn Fn() -> bool) -> Result<(), Complaint> {
        let segments = self.names.segments(&*self.files).map_err(complain("look for segments of"))?;
        let mut result = Ok(());
        for plain in segments.iter().filter(|segment| segment.compression == Compression::None) {
            let is_alone = segments.iter().filter(|segment| segment.id == plain.id).count() == 1;
            if self.compression != Compression::None && is_alone && !is_stopped() {
                result =
                    result.and(self.compress(plain, is_stopped).map_err(complain("compress a segment of")));
            }
        }
        result
    }

    /// What there is by now.
    pub(crate) fn inventory(&self) -> io::Result<Inventory> {
        let segments = self.names.segments(&*self.files)?;
        Ok(Inventory {
            segments: segments.len() as u64,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
        })
    }

    fn compress(&self, plain: &Segment, is_stopped: &dyn Fn() -> bool) -> io::Result<()> {
        let Self { files, names, compression } = self;
        let path = names.segment(plain.id, *compression);
        let half_done = temporary(&path);
        let encode = || {
            let mut file = files.create(&half_done)?;
            compress::encode(&mut files.read(&plain.path)?, &mut file, *compression, is_stopped)?;
            file.sync()
        };
        if let Err(e) = encode() {
            // A disk that is full has better use for it.
            let _ = files.remove(&half_done);
            return if is_stopped() { Ok(()) } else { Err(e) };
        }
        files.rename(&half_done, &path)?;
        files.sync_directory(names.directory())?;
        files.remove(&plain.path)
    }
}

pub(super) fn complain(action: &'static str) -> impl FnOnce(io::Error) -> Complaint {
    move |source| Complaint { action, source }
}
