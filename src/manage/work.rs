//! Threads of our own for what takes longer than an async worker may be held up: scans, exports, compression.
//!
//! The runtime is the host's, and may have no threads to block. Ours start when there is something to do, at most half as
//! many as there are cores, so that the other half goes on serving calls; and they end when there was nothing for a while.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

/// Questions that wait while all threads are busy. At tens of milliseconds for a scan that is seconds.
const MAX_QUESTIONS: usize = 64;
/// Exports that run at the same time. Each holds a piece of some tens of kilobytes and, compressed, its coder's window.
const MAX_EXPORTS: usize = 64;
/// How long a thread waits for something to do.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// There are as many questions waiting, or exports running, as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// The threads, and the bounded queues in front of them. The threads end when the last clone and permit is gone.
#[derive(Clone)]
pub(super) struct Workers(Arc<Pool>);

struct Pool {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Job>,
    /// Of exports. At most one of each waits.
    pieces: VecDeque<Job>,
    /// Whose turn it is: a storm of one kind does not keep the other from being served.
    is_pieces_turn: bool,
    threads: usize,
    idle: usize,
    exports: usize,
    is_over: bool,
}

impl Workers {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Pool { shared: Arc::default(), most: (cores / 2).clamp(1, 8) }))
    }

    /// Has `job` done, unless too many wait already. One whose asker leaves before its turn is not done at all.
    ///
    /// No answer comes if the job panics.
    pub(super) fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<oneshot::Receiver<R>, Busy> {
        let (job, answer) = with_reply(job);
        let mut state = self.0.shared.state();
        if state.questions.len() == MAX_QUESTIONS {
            return Err(Busy);
        }
        state.questions.push_back(job);
        self.0.wake(state)?;
        Ok(answer)
    }

    /// The right to one export. Given back when it is dropped.
    pub(super) fn export(&self) -> Result<Permit, Busy> {
        let mut state = self.0.shared.state();
        if state.exports == MAX_EXPORTS {
            return Err(Busy);
        }
        state.exports += 1;
        Ok(Permit(self.clone()))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

/// The right to one export: its pieces are made one at a time, each when its reader wants it.
pub(super) struct Permit(Workers);

impl Permit {
    /// Has a piece made.
    pub(super) fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<oneshot::Receiver<R>, Busy> {
        let (job, answer) = with_reply(job);
        let pool = &self.0.0;
        let mut state = pool.shared.state();
        state.pieces.push_back(job);
        pool.wake(state)?;
        Ok(answer)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.shared.state().exports -= 1;
    }
}

fn with_reply<R: Send + 'static>(job: impl FnOnce() -> R + Send + 'static) -> (Job, oneshot::Receiver<R>) {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move || {
        if !reply.is_closed() {
            // Whoever asked may leave meanwhile.
            let _ = reply.send(job());
        }
    });
    (job, answer)
}

impl Pool {
    /// Sees to it that the job that was added is done.
    fn wake(&self, mut state: MutexGuard<'_, State>) -> Result<(), Busy> {
        if state.idle >= state.waiting() {
            self.shared.bell.notify_one();
            return Ok(());
        }
        if state.threads == self.most {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        match thread::Builder::new().name("llm-usage-query".into()).spawn(move || shared.run()) {
            Ok(_) => state.threads += 1,
            // Those that there are will come to it.
            Err(_) if state.threads > 0 => {}
            Err(_) => {
                // There are none, so this is all that waits, and nobody will come to it.
                state.questions.clear();
                state.pieces.clear();
                return Err(Busy);
            }
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.bell.notify_all();
    }
}

impl Shared {
    /// Nothing that runs under the lock leaves the state half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn run(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.next() {
                drop(state);
                // Whoever waits for its answer finds that there is none.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
            } else if state.is_over {
                break;
            } else {
                state.idle += 1;
                let woken = self.bell.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                let timeout = woken.1;
                state = woken.0;
                state.idle -= 1;
                if timeout.timed_out() && state.waiting() == 0 {
                    break;
                }
            }
        }
        state.threads -= 1;
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.questions.len() + self.pieces.len()
    }

    fn next(&mut self) -> Option<Job> {
        self.is_pieces_turn = !self.is_pieces_turn;
        let (first, second) = match self.is_pieces_turn {
            true => (&mut self.pieces, &mut self.questions),
            false => (&mut self.questions, &mut self.pieces),
        };
        first.pop_front().or_else(|| second.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Occupies all threads until the sender is dropped.
    fn hold(workers: &Workers) -> (mpsc::Sender<()>, Vec<oneshot::Receiver<()>>) {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (began, begun) = mpsc::channel();
        let held = (0..workers.0.most).map(|_| {
            let (wait, began) = (Arc::clone(&wait), began.clone());
            let job = move || {
                began.send(()).unwrap();
                let _ = wait.lock().unwrap().recv();
            };
            workers.ask(job).unwrap()
        });
        let held = held.collect();
        (0..workers.0.most).for_each(|_| begun.recv().unwrap());
        (go, held)
    }

    #[test]
    fn a_job_is_done_on_another_thread() {
        let workers = Workers::new();
        let here = thread::current().id();
        let there = workers.ask(move || thread::current().id() != here).unwrap();
        assert_eq!(there.blocking_recv(), Ok(true));
    }

    #[test]
    fn a_job_that_panics_gives_no_answer_and_the_next_one_is_done() {
        let workers = Workers::new();
        for _ in 0..20 {
            assert!(workers.ask(|| panic!("as it should")).unwrap().blocking_recv().is_err());
        }
        assert_eq!(workers.ask(|| 1).unwrap().blocking_recv(), Ok(1));
    }

    #[test]
    fn there_is_an_end_to_waiting() {
        let workers = Workers::new();
        let (go, held) = hold(&workers);
        let waiting: Vec<_> = (0..MAX_QUESTIONS).map(|i| workers.ask(move || i).unwrap()).collect();
        assert_eq!(workers.ask(|| ()).unwrap_err(), Busy);
        let exports: Vec<_> = (0..MAX_EXPORTS).map(|_| workers.export().unwrap()).collect();
        assert!(workers.export().is_err());
        let pieces: Vec<_> = exports.iter().map(|export| export.ask(|| ()).unwrap()).collect();

        drop(go);
        held.into_iter().chain(pieces).for_each(|answer| assert_eq!(answer.blocking_recv(), Ok(())));
        for (i, answer) in waiting.into_iter().enumerate() {
            assert_eq!(answer.blocking_recv(), Ok(i));
        }
        assert_eq!(workers.ask(|| 1).unwrap().blocking_recv(), Ok(1));
        drop(exports);
        assert!(workers.export().is_ok());
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let workers = Workers::new();
        let (go, held) = hold(&workers);
        let done = Arc::new(Mutex::new(false));
        let job = Arc::clone(&done);
        drop(workers.ask(move || *job.lock().unwrap() = true).unwrap());
        let after = workers.ask(|| ()).unwrap();
        drop(go);
        held.into_iter().chain([after]).for_each(|answer| assert_eq!(answer.blocking_recv(), Ok(())));
        assert!(!*done.lock().unwrap());
    }

    #[test]
    fn the_threads_end_with_their_owner() {
        let workers = Workers::new();
        let shared = Arc::downgrade(&workers.0.shared);
        let (ended, end) = mpsc::channel::<()>();
        // Dropped with the job, when its thread is done with it.
        workers.ask(move || drop(ended)).unwrap().blocking_recv().unwrap();
        assert!(end.recv().is_err());
        drop(workers);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
