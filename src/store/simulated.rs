//! Files in memory that lose their power.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Cursor, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::files::{Files, Handle, Held, Identity};
use crate::Error;

/// A directory of files. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Simulated(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    /// As they were when the directory was synced.
    durable_names: BTreeMap<PathBuf, usize>,
    /// Those that were removed since then.
    removed: Vec<PathBuf>,
    /// Changes so far.
    steps: usize,
    plan: Plan,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// So many of them are synced.
    durable: usize,
}

/// What goes wrong. Nothing, by default.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nothing works any more after so many changes. A write that would be the next one comes half through.
    pub(super) power: Option<usize>,
    /// This change fails, and changes nothing.
    pub(super) failure: Option<(usize, io::ErrorKind)>,
}

/// What a loss of power leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    Nothing,
    /// Of names, what was removed; the system may do it in any order. Of bytes, half of them.
    Some,
    All,
}

impl Simulated {
    pub(super) fn plan(&self, plan: Plan) {
        self.world().plan = plan;
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
            _ => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, path: &Path) -> usize {
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        self.inodes.len() - 1
    }
}

impl Files for Simulated {
    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut world = self.world();
        let inode = match world.find(path) {
            Ok(inode) => inode,
            Err(_) => {
                world.step()?;
                world.make(path)
            }
        };
        Ok(self.handle(inode))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut world = self.world();
        world.step()?;
        let inode = world.make(path);
        Ok(self.handle(inode))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let world = self.world();
        Ok(Box::new(Cursor::new(world.inodes[world.find(path)?].bytes.clone())))
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
        Ok(Box::new(Locked))
    }
}

#[derive(Debug)]
struct Locked;

impl Held for Locked {
    fn is_good(&self) -> bool {
        true
    }
}

struct File {
    world: Simulated,
    inode: usize,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world.world();
        let is_last = world.plan.power == Some(world.steps);
        let result = world.step();
        if is_last {
            let half = &bytes[..bytes.len() / 2];
            world.inodes[self.inode].bytes.extend_from_slice(half);
        }
        result?;
        world.inodes[self.inode].bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Handle for File {
    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.world.world();
        world.step()?;
        let inode = &mut world.inodes[self.inode];
        inode.durable = inode.bytes.len();
        Ok(())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity(0, self.inode as u64))
    }

    fn is_deleted(&self) -> io::Result<bool> {
        Ok(!self.world.world().names.values().any(|inode| *inode == self.inode))
    }
}
