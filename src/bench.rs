//! What this crate's own benches measure apart from the rest. No part of its interface: any version may change it.
#![allow(missing_docs, missing_debug_implementations, reason = "for this crate's benches")]

use std::{hint::black_box, io, path::Path, sync::Arc};

use crate::{
    index::{Index, Snapshot},
    queue, store,
};

/// Reads the events of a usage file without keeping them, and gives their number.
pub fn parse(file: &Path, threads: usize) -> io::Result<u64> {
    store::read(file, threads, |event| _ = black_box(event))
}

/// Loads a usage file into an index.
pub fn load(file: &Path, threads: usize) -> io::Result<Loaded> {
    let mut index = Index::default();
    store::read(file, threads, |event| index.insert(event))?;
    let snapshot = index.snapshot();
    Ok(Loaded { snapshot, _index: index })
}

/// A history in memory.
pub struct Loaded {
    snapshot: Arc<Snapshot>,
    _index: Index,
}

impl Loaded {
    pub fn events(&self) -> u64 {
        self.snapshot.events()
    }
}

/// The queue between requests and the writer.
pub fn queue<T>(capacity: usize) -> (Recorder<T>, Events<T>) {
    let (recorder, events) = queue::channel(capacity);
    (Recorder(recorder), Events(events))
}

pub struct Recorder<T>(queue::Recorder<T>);

impl<T> Recorder<T> {
    pub fn push(&self, item: T) {
        self.0.push(item);
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub struct Events<T>(queue::Events<T>);

impl<T> Events<T> {
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}
