//! A file in memory that fails as told.
#![cfg_attr(interleaved, allow(dead_code, reason = "tests of interleavings are few"))]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, mpsc},
};

use super::{Appender, Disk, History, Inventory, Opened};

/// Clones are the same file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    calls: usize,
    syncs: usize,
    plan: Plan,
}

/// What goes wrong. Nothing, by default.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The disk is full when the file has got so many more bytes.
    pub(crate) room: Option<usize>,
    /// Bytes that one write takes at most.
    pub(crate) at_most: Option<usize>,
    /// Every write fails.
    pub(crate) error: Option<io::ErrorKind>,
    /// Writes that fail before one gets through.
    pub(crate) failures: usize,
    /// Writes that are interrupted before one gets through.
    pub(crate) interruptions: usize,
    /// Every sync fails.
    pub(crate) sync_error: Option<io::ErrorKind>,
    /// The next sync says that it is there, then hangs until this gets a message or its sender goes.
    pub(crate) hang: Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>,
    /// Hears of every sync that went well.
    pub(crate) synced: Option<mpsc::Sender<()>>,
}

impl Faulty {
    /// Opened for a writer, with nothing in it.
    pub(crate) fn open(&self) -> Opened<Self> {
        Opened {
            appender: Appender::new(self.clone(), 0, false),
            history: History::default(),
            inventory: Inventory::default(),
            upkeep: None,
        }
    }

    pub(crate) fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.state().plan);
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.state().bytes.clone()).unwrap()
    }

    /// Calls of `write` so far.
    pub(crate) fn calls(&self) -> usize {
        self.state().calls
    }

    /// Syncs that went well so far.
    pub(crate) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// Nobody else holds this file any more.
    pub(crate) fn is_the_only_one(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let State { bytes: file, calls, plan, .. } = &mut *state;
        *calls += 1;
        if plan.interruptions > 0 {
            plan.interruptions -= 1;
            return Err(io::ErrorKind::Interrupted.into());
        }
        if plan.failures > 0 {
            plan.failures -= 1;
            return Err(io::ErrorKind::Other.into());
        }
        if let Some(error) = plan.error {
            return Err(error.into());
        }
        let mut n = bytes.len().min(plan.at_most.unwrap_or(usize::MAX));
        if let Some(room) = &mut plan.room {
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            n = n.min(*room);
            *room -= n;
        }
        file.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Faulty {
    fn sync(&mut self) -> io::Result<()> {
        let hang = self.state().plan.hang.take();
        if let Some((hanging, release)) = hang {
            let _ = hanging.send(());
            let _ = release.recv();
        }
        let mut state = self.state();
        if let Some(error) = state.plan.sync_error {
            return Err(error.into());
        }
        state.syncs += 1;
        if let Some(synced) = &state.plan.synced {
            let _ = synced.send(());
        }
        Ok(())
    }
}
