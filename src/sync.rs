//! Threads and what they share, for the queue and the writer: the standard library's.
//!
//! But for tests that go through many orders in which threads may run: with `INTERLEAVED=1 cargo test --lib interleaved`
//! one thread runs at a time, and a scheduler chooses which at each step.

#[cfg(not(all(test, interleaved)))]
mod real {
    pub(crate) use std::{
        sync::{Mutex, MutexGuard, atomic, mpsc},
        thread,
    };

    pub(crate) use crossbeam_queue::ArrayQueue;
}

#[cfg(all(test, interleaved))]
mod real {
    use std::collections::VecDeque;

    pub(crate) use shuttle::{
        sync::{Mutex, MutexGuard, atomic},
        thread,
    };

    /// Channels whose messages go with the receiver, as the standard library's do.
    pub(crate) mod mpsc {
        use std::time::Duration;

        use shuttle::sync::mpsc;
        pub(crate) use shuttle::sync::mpsc::{RecvError, RecvTimeoutError, Sender, TryRecvError};

        pub(crate) struct Receiver<T>(mpsc::Receiver<T>);

        pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = mpsc::channel();
            (sender, Receiver(receiver))
        }

        impl<T> Receiver<T> {
            pub(crate) fn recv(&self) -> Result<T, RecvError> {
                self.0.recv()
            }

            pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
                self.0.try_recv()
            }

            /// Waits for as long as it takes: nothing here may need a time to be over.
            pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
                self.0.recv().map_err(|_| RecvTimeoutError::Disconnected)
            }

            pub(crate) fn iter(&self) -> mpsc::Iter<'_, T> {
                self.0.iter()
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                if !std::thread::panicking() {
                    while self.0.try_recv().is_ok() {}
                }
            }
        }
    }

    /// What the ring looks like from outside: each operation is one step.
    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            self.items.lock().unwrap().len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(crate) fn capacity(&self) -> usize {
            self.capacity
        }
    }
}

pub(crate) use real::*;
