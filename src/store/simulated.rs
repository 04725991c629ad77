//! Files in memory that fail as told and lose their power.
#![cfg_attr(interleaved, allow(dead_code, reason = "tests of interleavings are few"))]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Cursor, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use super::{
    History, Opened, Upkeep,
    active::{Clock, Rotation, UsageFile},
    append::Appender,
    files::{Files, Handle, Held, Identity},
    segments::{Names, UtcDay},
    upkeep::{Inventory, Retention},
};
use crate::{Error, config::UsageStatistics};

/// A directory of files. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulated(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    /// As they were when the directory was synced.
    durable_names: BTreeMap<PathBuf, usize>,
    /// Those that were removed since then.
    removed: Vec<PathBuf>,
    /// The directory is gone.
    is_gone: bool,
    /// How often it went. A lock from before is none.
    times_gone: usize,
    /// Changes so far.
    steps: usize,
    plan: Plan,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// So many of them are synced.
    durable: usize,
    /// So many are not, though no sync is going to do it any more: one failed, and let go of them.
    lost: usize,
}

/// What goes wrong. Nothing, by default.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Nothing works any more after so many changes. A write that would be the next one comes half through.
    pub(crate) power: Option<usize>,
    /// This change fails, and changes nothing.
    pub(crate) failure: Option<(usize, io::ErrorKind)>,
    /// Every change fails with this error of the system's.
    pub(crate) error: Option<i32>,
    /// Every sync of a file does.
    pub(crate) sync_error: Option<i32>,
    /// The disk is full when files have got so many more bytes.
    pub(crate) room: Option<usize>,
    /// Bytes that one write takes at most.
    pub(crate) at_most: Option<usize>,
    /// How often others get their turn before a write is done.
    pub(crate) slowness: usize,
}

/// Errors of the system's, by the numbers that Unix gives them.
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// What a loss of power leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    Nothing,
    /// Of names, what was removed; the system may do it in any order. Of bytes, half of them.
    Some,
    All,
}

impl Simulated {
    /// A history that is empty and goes by `clock`.
    pub(crate) fn open(&self, settings: &UsageStatistics, clock: Clock) -> Opened {
        let files: Arc<dyn Files> = Arc::new(self.clone());
        let names = Arc::new(Names::of("/usage.json".into()));
        let handle = files.append(names.active()).unwrap();
        files.sync_directory(names.directory()).unwrap();
        let lock = files.lock(names.active()).unwrap();
        let rotation = Rotation { bytes: settings.rotate_bytes, daily: settings.rotate_daily };
        let upkeep = Upkeep {
            files: Arc::clone(&files),
            names: Arc::clone(&names),
            compression: settings.compress,
            retention: Retention::of(settings),
        };
        let today = UtcDay::of(clock());
        let file = UsageFile::new(handle, lock, files, names, rotation, clock, today, None);
        Opened {
            appender: Appender::new(file, 0, false),
            history: History::default(),
            inventory: Inventory::default(),
            upkeep: Some(upkeep),
        }
    }

    pub(crate) fn plan(&self, plan: Plan) {
        self.world().plan = plan;
    }

    /// What all files hold that have a name, in the order in which they were written.
    pub(crate) fn history(&self) -> Vec<u8> {
        let names = Names::of("/usage.json".into());
        let segments = names.segments(self).unwrap();
        let paths = segments.iter().map(|segment| &*segment.path).chain([names.active()]);
        let world = self.world();
        paths
            .flat_map(|path| world.find(path).map(|inode| world.inodes[inode].bytes.clone()))
            .flatten()
            .collect()
    }

    /// What each file holds that ever was.
    pub(crate) fn all_that_was(&self) -> Vec<Vec<u8>> {
        self.world().inodes.iter().map(|inode| inode.bytes.clone()).collect()
    }

    /// Somebody else removes the usage file.
    pub(crate) fn lose_file(&self) {
        self.world().names.remove(Path::new("/usage.json"));
    }

    /// Somebody else removes all files and their directory.
    pub(crate) fn lose_directory(&self) {
        let mut world = self.world();
        world.names.clear();
        world.is_gone = true;
        world.times_gone += 1;
    }

    pub(super) fn steps(&self) -> usize {
        self.world().steps
    }

    /// What is found after a loss of power.
    pub(super) fn after_loss_of_power(&self, left_names: Left, bytes: Left) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world();
        let mut names = match left_names {
            Left::Nothing | Left::Some => world.durable_names.clone(),
            Left::All => world.names.clone(),
        };
        if matches!(left_names, Left::Some) {
            names.retain(|path, _| !world.removed.contains(path));
        }
        let content = |inode: &Inode| {
            let lost = match bytes {
                Left::Nothing => inode.bytes.len() - inode.durable,
                Left::Some => (inode.bytes.len() - inode.durable).div_ceil(2),
                Left::All => 0,
            };
            inode.bytes[..inode.bytes.len() - lost].to_vec()
        };
        names.iter().map(|(path, inode)| (path.clone(), content(&world.inodes[*inode]))).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn handle(&self, inode: usize) -> Box<dyn Handle> {
        Box::new(File { world: self.clone(), inode })
    }
}

impl World {
    /// One more change, if there is power for it.
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match self.plan {
            Plan { power: Some(steps), .. } if self.steps > steps => {
                Err(io::Error::other("the power is gone"))
            }
            Plan { failure: Some((step, kind)), .. } if self.steps == step + 1 => Err(kind.into()),
            Plan { error: Some(error), .. } => Err(io::Error::from_raw_os_error(error)),
            _ => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, path: &Path) -> io::Result<usize> {
        self.step()?;
        if self.is_gone {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        Ok(self.inodes.len() - 1)
    }
}

impl Files for Simulated {
    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut world = self.world();
        let inode = match world.find(path) {
            Ok(inode) => inode,
            Err(_) => world.make(path)?,
        };
        Ok(self.handle(inode))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut world = self.world();
        let inode = world.make(path)?;
        Ok(self.handle(inode))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let world = self.world();
        Ok(Box::new(Cursor::new(world.inodes[world.find(path)?].bytes.clone())))
    }

    fn write_over(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.find(path)?;
        world.step()?;
        let inode = &mut world.inodes[inode];
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        assert_eq!(inode.bytes[start..end], *bytes);
        if start <= inode.durable && end >= inode.durable + inode.lost {
            inode.lost = 0;
        }
        Ok(())
    }

    fn identity(&self, path: &Path) -> io::Result<Option<Identity>> {
        Ok(self.world().find(path).ok().map(|inode| Identity(0, inode as u64)))
    }

    fn measure(&self, path: &Path) -> io::Result<(u64, bool)> {
        let world = self.world();
        let bytes = &world.inodes[world.find(path)?].bytes;
        Ok((bytes.len() as u64, bytes.last().is_some_and(|last| *last != b'\n')))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.find(from)?;
        world.step()?;
        world.names.remove(from);
        world.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.find(path)?;
        world.step()?;
        world.names.remove(path);
        world.removed.push(path.to_owned());
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, u64)>> {
        let world = self.world();
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(directory));
        let listed = |(path, inode): (&PathBuf, &usize)| {
            (path.file_name().unwrap().to_owned(), world.inodes[*inode].bytes.len() as u64)
        };
        Ok(inside.map(listed).collect())
    }

    fn make_directory(&self, _: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.is_gone {
            world.step()?;
            world.is_gone = false;
        }
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        world.durable_names = world.names.clone();
        world.removed.clear();
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Held>, Error> {
        let times_gone = self.world().times_gone;
        Ok(Box::new(Locked { world: self.clone(), times_gone }))
    }
}

#[derive(Debug)]
struct Locked {
    world: Simulated,
    times_gone: usize,
}

impl Held for Locked {
    fn is_good(&self) -> bool {
        let world = self.world.world();
        !world.is_gone && world.times_gone == self.times_gone
    }
}

struct File {
    world: Simulated,
    inode: usize,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let slowness = self.world.world().plan.slowness;
        (0..slowness).for_each(|_| thread::yield_now());
        let mut world = self.world.world();
        let is_last = world.plan.power == Some(world.steps);
        let result = world.step();
        if is_last {
            let half = &bytes[..bytes.len() / 2];
            world.inodes[self.inode].bytes.extend_from_slice(half);
        }
        result?;
        let mut n = bytes.len().min(world.plan.at_most.unwrap_or(usize::MAX));
        if let Some(room) = &mut world.plan.room {
            if *room == 0 {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            n = n.min(*room);
            *room -= n;
        }
        world.inodes[self.inode].bytes.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Handle for File {
    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.world.world();
        let result = world.step().and_then(|()| match world.plan.sync_error {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => Ok(()),
        });
        let inode = &mut world.inodes[self.inode];
        if result.is_err() {
            inode.lost = inode.bytes.len() - inode.durable;
        } else if inode.lost == 0 {
            inode.durable = inode.bytes.len();
        }
        result
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity(0, self.inode as u64))
    }

    fn is_deleted(&self) -> io::Result<bool> {
        Ok(!self.world.world().names.values().any(|inode| *inode == self.inode))
    }
}
