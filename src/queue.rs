//! The bounded queue between requests and the writer.
//!
//! `channel(capacity)` gives the two ends. This is the only place that knows the mechanism: lock-free rings, a word that
//! counts the pushes and says whether the queue is closed, and a bell for the one thread that takes.
//!
//! # Two rings
//!
//! A ring is used all around, however few items wait in it: one for thousands of them would bring each push to memory that
//! was last touched thousands of pushes ago, and lies in no cache any more. So there is a [near](NEAR) ring, and a far one
//! for what finds the near one full. Only once the far ring is empty again, items go into the near one, which is taken
//! from first: those of a thread stay in their order, unless the far ring fills up as well.
//!
//! # What is counted, and why the counts always agree
//!
//! Every push first adds one to `pushes`, then puts its item into a ring, then looks whether it has to ring.
//! An item that finds both rings full or the queue closed is dropped and counted as such *after* it was counted as
//! pushed; whoever takes an item out can count what became of it only after that, too. So a reader that loads the
//! counts of what became of items first and `pushes` last never sees more fates than pushes, and the difference
//! is what is on its way.
//!
//! # Why nothing is lost when the queue closes
//!
//! The closed flag is a bit of `pushes`, so every push is either before the closing or after it, and closing tells
//! how many were before. Those after drop their item. Those before may still be on their way into a ring when
//! the flag goes up, so the taking end is [drained](Events::is_drained) only when as many items were taken or
//! dropped for want of room as there were pushes before the closing.
//!
//! # Why no wake is lost
//!
//! The taking end [arms](Events::arm) the queue with the number of the push that shall ring, then looks at `pushes`
//! again; a push adds to `pushes`, then looks at the armed number. All four are `SeqCst`, so at least one of the
//! two sees the other: the push rings, or the taking end does not go to sleep. The bell itself is one flag that
//! both sides only ever swap, so a ring comes before a look at the flag and is seen, or after it, and then sees
//! the thread that it has to unpark.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::sync::{
    ArrayQueue,
    atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, Thread},
};

/// Items for which the near ring has room: more than most proxies have between two looks of the writer, which comes when it
/// is half full, and few enough that a core keeps them at hand.
#[cfg(not(all(test, interleaved)))]
const NEAR: usize = 512;
#[cfg(all(test, interleaved))]
const NEAR: usize = 2;

/// Makes a queue for `capacity` items, at least one. Recording is on.
pub(crate) fn channel<T>(capacity: usize) -> (Recorder<T>, Events<T>) {
    let rings = Arc::new(Rings::new(capacity.max(1)));
    let tally = Arc::new(Tally::default());
    let recorder = Recorder(Arc::new(Sender { rings: Arc::clone(&rings), tally: Arc::clone(&tally) }));
    (recorder, Events { rings, tally, taken: 0, closed_at: None })
}

struct Rings<T> {
    near: ArrayQueue<T>,
    /// `None`: the near one is as large as was asked for.
    far: Option<ArrayQueue<T>>,
}

impl<T> Rings<T> {
    fn new(capacity: usize) -> Self {
        let far = capacity.checked_sub(NEAR).filter(|far| *far > 0);
        Self { near: ArrayQueue::new(capacity.min(NEAR)), far: far.map(ArrayQueue::new) }
    }

    /// Gives `item` back if there is no room.
    fn push(&self, item: T) -> Result<(), T> {
        let Some(far) = &self.far else { return self.near.push(item) };
        let [first, other] = if far.is_empty() { [&self.near, far] } else { [far, &self.near] };
        // Rather in another order than lost.
        first.push(item).or_else(|item| other.push(item))
    }

    fn waiting(&self) -> Waiting {
        // The far ring first. The other way round, what comes in between would fill the near one without being counted and
        // go on into the far one, whose items then were taken before it.
        let far = self.far.as_ref().map_or(0, ArrayQueue::len);
        Waiting { near: self.near.len(), far }
    }
}

/// How many items wait in either ring, to be taken from where they are: what comes meanwhile is no part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    near: usize,
    far: usize,
}

/// The sending end, which never blocks and never fails: what finds the queue full or closed is dropped and counted.
///
/// The queue closes when the last one goes.
pub(crate) struct Recorder<T>(Arc<Sender<T>>);

impl<T> Recorder<T> {
    /// Calls are to be recorded at the moment. `push` does not look at it; whoever starts to watch a call does.
    pub(crate) fn is_on(&self) -> bool {
        self.0.tally.is_on()
    }

    pub(crate) fn set_on(&self, on: bool) {
        self.0.tally.set_on(on);
    }

    /// Hands `item` to the writer, from any thread, from a `Drop` as well.
    pub(crate) fn push(&self, item: T) {
        let Sender { rings, tally } = &*self.0;
        let before = tally.pushes.count.fetch_add(PUSH, Ordering::SeqCst);
        if before & CLOSED != 0 {
            tally.late.fetch_add(1, Ordering::Release);
            return;
        }
        if rings.push(item).is_err() {
            tally.full.fetch_add(1, Ordering::Release);
        }
        // Exactly one push has the armed number. The later ones find the taking end awake.
        if before / PUSH + 1 == tally.pushes.ring_at.load(Ordering::SeqCst) {
            tally.ring();
        }
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

/// What all recorders share. Its end is the end of the last of them.
struct Sender<T> {
    rings: Arc<Rings<T>>,
    tally: Arc<Tally>,
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.tally.pushes.count.fetch_or(CLOSED, Ordering::SeqCst);
        self.tally.ring();
    }
}

/// The taking end.
pub(crate) struct Events<T> {
    rings: Arc<Rings<T>>,
    tally: Arc<Tally>,
    taken: u64,
    /// Pushes before the closing.
    closed_at: Option<u64>,
}

impl<T> Events<T> {
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// So many items make it worth while to take them, whether or not there is something to do with them.
    pub(crate) fn half(&self) -> usize {
        self.rings.near.capacity() / 2
    }

    /// All that was pushed before this call, as far as it was not taken.
    pub(crate) fn waiting(&self) -> Waiting {
        self.rings.waiting()
    }

    /// There is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == Waiting { near: 0, far: 0 }
    }

    /// Takes the next one of those that were waiting.
    pub(crate) fn next(&mut self, waiting: &mut Waiting) -> Option<T> {
        let near = waiting.near.checked_sub(1).and_then(|rest| {
            waiting.near = rest;
            self.rings.near.pop()
        });
        let item = near.or_else(|| {
            waiting.near = 0;
            waiting.far = waiting.far.checked_sub(1)?;
            self.rings.far.as_ref()?.pop()
        })?;
        self.taken += 1;
        Some(item)
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.next(&mut self.waiting())
    }

    /// Pushes whose item was taken, or dropped for want of room.
    pub(crate) fn settled(&self) -> u64 {
        self.taken + self.tally.full.load(Ordering::Acquire)
    }

    /// Nothing more gets in: [`close`](Self::close) was called, or the last recorder is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.tally.pushes.count.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Drops and counts whatever is pushed from now on. Doing it twice changes nothing.
    pub(crate) fn close(&mut self) {
        let before = self.tally.pushes.count.fetch_or(CLOSED, Ordering::SeqCst);
        // Closed already, but not by us: then no recorder is left, and the number stays what it is.
        self.closed_at.get_or_insert(before / PUSH);
    }

    /// The queue was [closed](Self::close) and all that was pushed before is settled.
    pub(crate) fn is_drained(&self) -> bool {
        self.closed_at == Some(self.settled())
    }

    /// Has the bell rung by the push that brings those not yet settled to `waiting`.
    ///
    /// False if there are as many already: there is no use in waiting then.
    pub(crate) fn arm(&self, waiting: u64) -> bool {
        let at = self.settled() + waiting;
        self.tally.pushes.ring_at.store(at, Ordering::SeqCst);
        self.tally.observed() < at
    }

    /// Makes the calling thread the one that the bell wakes, for good. Rings that came before are not lost.
    pub(crate) fn attach(&self) {
        self.tally.sleeper.get_or_init(thread::current);
    }

    /// The bell has been rung since this was last asked.
    #[cfg(test)]
    #[cfg(not(interleaved))]
    pub(crate) fn is_rung(&self) -> bool {
        self.tally.rung.swap(false, Ordering::AcqRel)
    }

    /// Sleeps until the bell rings, or `deadline`. Only for the thread that is [attached](Self::attach).
    pub(crate) fn wait(&self, deadline: Option<Instant>) {
        // The flag decides, not the parking token, which any blocking call of this thread might use up.
        while !self.tally.rung.swap(false, Ordering::AcqRel) {
            match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(left) if left.is_zero() => return,
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

/// A taking end that goes, by whatever way, leaves nobody pushing into a queue that is never emptied.
impl<T> Drop for Events<T> {
    fn drop(&mut self) {
        self.close();
        while self.pop().is_some() {}
    }
}

/// The counts, the switch and the bell, without the items: what the writer's handles look at.
#[derive(Debug)]
pub(crate) struct Tally {
    pushes: Pushes,
    /// Items dropped because both rings were full.
    full: AtomicU64,
    /// Items dropped because the queue was closed.
    late: AtomicU64,
    on: AtomicBool,
    rung: AtomicBool,
    sleeper: OnceLock<Thread>,
}

/// What each push writes, or looks at then. It lies apart from the switch, which is looked at when a call begins and would
/// have to be fetched after each push of another core; processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Pushes {
    /// Pushes so far, twice; the lowest bit says that the queue is closed.
    count: AtomicU64,
    /// The number of the push that rings the bell.
    ring_at: AtomicU64,
}

const CLOSED: u64 = 1;
const PUSH: u64 = 2;

impl Default for Tally {
    fn default() -> Self {
        Self {
            pushes: Pushes { count: AtomicU64::new(0), ring_at: AtomicU64::new(u64::MAX) },
            full: AtomicU64::new(0),
            late: AtomicU64::new(0),
            on: AtomicBool::new(true),
            rung: AtomicBool::new(false),
            sleeper: OnceLock::new(),
        }
    }
}

impl Tally {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(crate) fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Pushes so far. Load it *after* any count of what became of them.
    pub(crate) fn observed(&self) -> u64 {
        self.pushes.count.load(Ordering::SeqCst) / PUSH
    }

    /// Items dropped because the queue was full.
    pub(crate) fn full(&self) -> u64 {
        self.full.load(Ordering::Acquire)
    }

    /// Items dropped because the queue was closed.
    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Acquire)
    }

    /// Wakes the attached thread, or keeps it from going to sleep.
    pub(crate) fn ring(&self) {
        // Rung already and not yet heard: whoever did so unparks.
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.unpark();
        }
    }
}

#[cfg(test)]
#[cfg(not(interleaved))]
mod tests {
    use std::{collections::VecDeque, sync::mpsc, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn drain<T>(events: &mut Events<T>) -> Vec<T> {
        std::iter::from_fn(|| events.pop()).collect()
    }

    mod what_is_pushed {
        use super::*;

        #[test]
        fn comes_out_in_order() {
            let (recorder, mut events) = channel(4);
            (0..3).for_each(|i| recorder.push(i));
            assert_eq!(drain(&mut events), [0, 1, 2]);
            assert_eq!((events.settled(), events.tally.observed()), (3, 3));
        }

        proptest! {
            #[test]
            fn comes_out_in_order_and_is_dropped_only_if_there_is_no_room(
                steps in prop::collection::vec((0..1_500_usize, 0..1_500_usize), 0..12),
            ) {
                const FAR: usize = 500;
                let (recorder, mut events) = channel(NEAR + FAR);
                let (mut number, mut in_queue, mut was_full) = (0, VecDeque::new(), false);
                for (pushes, takes) in steps {
                    for _ in 0..pushes {
                        let full = events.tally.full();
                        recorder.push(number);
                        prop_assert_eq!(events.tally.full() - full, u64::from(in_queue.len() == NEAR + FAR));
                        if in_queue.len() < NEAR + FAR {
                            in_queue.push_back(number);
                        }
                        number += 1;
                    }
                    was_full |= events.waiting().far == FAR;
                    let mut waiting = events.waiting();
                    prop_assert_eq!(waiting.near + waiting.far, in_queue.len());
                    for _ in 0..takes {
                        let Some(item) = events.next(&mut waiting) else { break };
                        let at = in_queue.iter().position(|waits| *waits == item);
                        prop_assert!(at == Some(0) || was_full && at.is_some());
                        in_queue.remove(at.unwrap());
                    }
                }
                drop(recorder);
                let mut rest = drain(&mut events);
                rest.sort_unstable();
                let mut expected = Vec::from(in_queue);
                expected.sort_unstable();
                prop_assert_eq!(rest, expected);
            }
        }

        #[test]
        fn is_dropped_and_counted_when_the_queue_is_full() {
            let (recorder, mut events) = channel(2);
            (0..5).for_each(|i| recorder.push(i));
            assert_eq!((events.tally.observed(), events.tally.full()), (5, 3));
            assert_eq!(drain(&mut events), [0, 1]);
            recorder.push(5);
            assert_eq!(drain(&mut events), [5]);
            assert_eq!(events.settled(), 6);
        }

        /// L9
        #[test]
        fn is_dropped_and_counted_once_the_queue_is_closed() {
            let (recorder, mut events) = channel(4);
            recorder.push(1);
            events.close();
            recorder.push(2);
            events.close();
            assert!(!events.is_drained());
            assert_eq!(drain(&mut events), [1]);
            assert!(events.is_drained());
            assert_eq!((events.tally.observed(), events.tally.late()), (2, 1));
        }

        #[test]
        fn is_dropped_when_the_taking_end_is_gone() {
            let item = Arc::new(());
            let (recorder, events) = channel(4);
            recorder.push(Arc::clone(&item));
            drop(events);
            recorder.push(Arc::clone(&item));
            assert_eq!(Arc::strong_count(&item), 1);
        }
    }

    mod the_bell {
        use super::*;

        #[test]
        fn is_rung_once_by_the_push_that_reaches_the_armed_number() {
            let (recorder, mut events) = channel(8);
            assert!(events.arm(3));
            recorder.push(1);
            recorder.push(2);
            assert!(!events.is_rung());
            recorder.push(3);
            assert!(events.is_rung());
            recorder.push(4);
            assert!(!events.is_rung());
            assert!(!events.arm(4), "four are waiting already");
            drain(&mut events);
            assert!(events.arm(1));
            recorder.push(5);
            assert!(events.is_rung());
        }

        #[test]
        fn is_rung_by_a_push_that_finds_no_room() {
            let (recorder, events) = channel(1);
            recorder.push(1);
            assert!(events.arm(2));
            recorder.push(2);
            assert!(events.is_rung());
        }

        #[test]
        fn is_rung_by_the_end_of_the_last_recorder_only() {
            let (recorder, events) = channel::<u8>(1);
            drop(recorder.clone());
            assert!(!events.is_closed() && !events.is_rung());
            drop(recorder);
            assert!(events.is_closed() && events.is_rung());
        }

        #[test]
        fn wakes_the_attached_thread_even_if_it_rang_before() {
            let (recorder, events) = channel::<u8>(1);
            events.tally.ring();
            let tally = Arc::clone(&events.tally);
            let (woke, wakes) = mpsc::channel();
            let sleeper = thread::spawn(move || {
                events.attach();
                for _ in 0..2 {
                    events.wait(None);
                    woke.send(()).unwrap();
                }
            });
            wakes.recv().unwrap();
            tally.ring();
            wakes.recv().unwrap();
            sleeper.join().unwrap();
            drop(recorder);
        }

        #[test]
        fn is_waited_for_until_the_deadline_at_most() {
            let (_recorder, events) = channel::<u8>(1);
            events.attach();
            let deadline = Instant::now() + Duration::from_millis(1);
            events.wait(Some(deadline));
            assert!(Instant::now() >= deadline);
        }
    }

    /// L9
    #[test]
    fn threads_that_push_while_the_queue_closes_lose_and_keep_nothing_silently() {
        const THREADS: u64 = 4;
        const EACH: u64 = 20_000;
        let (recorder, mut events) = channel(64);
        let pushers: Vec<_> = (0..THREADS)
            .map(|_| {
                let recorder = recorder.clone();
                thread::spawn(move || (0..EACH).for_each(|i| recorder.push(i)))
            })
            .collect();
        let mut taken = 0;
        while events.tally.observed() < EACH {
            taken += u64::from(events.pop().is_some());
        }
        events.close();
        while !events.is_drained() {
            match events.pop() {
                Some(_) => taken += 1,
                None => thread::yield_now(),
            }
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        assert_eq!(events.pop(), None);
        assert_eq!(events.tally.observed(), THREADS * EACH);
        assert_eq!(taken + events.tally.full() + events.tally.late(), THREADS * EACH);
    }

    #[test]
    fn a_reader_never_sees_more_fates_than_pushes() {
        let (recorder, mut events) = channel(16);
        let tally = Arc::clone(&events.tally);
        let taken = Arc::new(AtomicU64::new(0));
        let pusher = thread::spawn(move || (0..50_000).for_each(|i| recorder.push(i)));
        let taker = {
            let taken = Arc::clone(&taken);
            thread::spawn(move || {
                while !(events.is_closed() && events.is_empty()) {
                    if events.pop().is_some() {
                        taken.fetch_add(1, Ordering::Release);
                    }
                }
            })
        };
        loop {
            let done = pusher.is_finished() && taker.is_finished();
            let fates = taken.load(Ordering::Acquire) + tally.full() + tally.late();
            assert!(fates <= tally.observed());
            if done {
                assert_eq!(fates, tally.observed());
                break;
            }
        }
        pusher.join().unwrap();
        taker.join().unwrap();
    }
}
