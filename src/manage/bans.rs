//! Who has tried too often.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses that are remembered. Beyond that the least recent ones are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// Failed tries by address.
#[derive(Debug)]
pub(super) struct Bans {
    max_failures: u32,
    length: Duration,
    tries: Mutex<HashMap<IpAddr, Tries>>,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    failed: u32,
    last: Instant,
}

impl Bans {
    /// `max_failures` in a row ban an address for `length`; 0 bans nobody.
    pub(super) fn new(max_failures: u32, length: Duration) -> Self {
        Self { max_failures, length, tries: Mutex::default() }
    }

    /// For how long `address` is still banned.
    pub(super) fn left(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = tries.get(&address)?;
        let left = self.length.saturating_sub(now.saturating_duration_since(entry.last));
        if left.is_zero() {
            // A ban that is over, or failures too long ago to be in a row with what comes.
            tries.remove(&address);
            return None;
        }
        (entry.failed >= self.max_failures).then_some(left)
    }

    /// Counts a try before it is known how it ends, so that tries at the same time are counted, too.
    ///
    /// False if the address has had its tries already.
    pub(super) fn begin(&self, address: IpAddr, now: Instant) -> bool {
        if self.max_failures == 0 {
            return true;
        }
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= MAX_ADDRESSES && !tries.contains_key(&address) {
            self.prune(&mut tries, now);
        }
        let entry = tries.entry(address).or_insert(Tries { failed: 0, last: now });
        if entry.failed >= self.max_failures {
            return false;
        }
        entry.failed += 1;
        entry.last = now;
        true
    }

    /// A try has succeeded: those before it do not count any more.
    pub(super) fn forgive(&self, address: IpAddr) {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    /// Makes room: first of those whose time is over, then of the tenth that was heard of least recently.
    fn prune(&self, tries: &mut HashMap<IpAddr, Tries>, now: Instant) {
        tries.retain(|_, entry| now.saturating_duration_since(entry.last) < self.length);
        if tries.len() >= MAX_ADDRESSES {
            let mut times: Vec<_> = tries.values().map(|entry| entry.last).collect();
            let (_, &mut oldest, _) = times.select_nth_unstable(MAX_ADDRESSES / 10);
            tries.retain(|_, entry| entry.last > oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    /// A9
    #[test]
    fn the_last_allowed_failure_bans_for_as_long_as_was_set() {
        let bans = Bans::new(5, 30 * MINUTE);
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(bans.left(address(1), start), None);
            assert!(bans.begin(address(1), start));
        }
        assert_eq!(bans.left(address(1), start + MINUTE), Some(29 * MINUTE));
        assert_eq!(bans.left(address(2), start), None);
        assert_eq!(bans.left(address(1), start + 30 * MINUTE), None);
        assert!(bans.begin(address(1), start + 30 * MINUTE), "and then counts from the beginning");
        assert_eq!(bans.left(address(1), start + 30 * MINUTE), None);
    }

    /// A9
    #[test]
    fn a_success_resets() {
        let bans = Bans::new(2, MINUTE);
        let now = Instant::now();
        for _ in 0..10 {
            assert!(bans.begin(address(1), now));
            bans.forgive(address(1));
        }
        assert_eq!(bans.left(address(1), now), None);
    }

    #[test]
    fn tries_at_the_same_time_are_no_more_than_tries_one_by_one() {
        let bans = Bans::new(3, MINUTE);
        let now = Instant::now();
        assert_eq!((0..10).filter(|_| bans.begin(address(1), now)).count(), 3);
    }

    #[test]
    fn nobody_is_banned_when_bans_are_switched_off() {
        let bans = Bans::new(0, MINUTE);
        let now = Instant::now();
        assert!((0..100).all(|_| bans.begin(address(1), now)));
        assert_eq!(bans.left(address(1), now), None);
    }

    /// A9
    #[test]
    fn the_table_is_bounded_and_forgets_the_least_recent() {
        let bans = Bans::new(1, 30 * MINUTE);
        let start = Instant::now();
        let count = MAX_ADDRESSES as u32 + 500;
        let at = |n: u32| start + Duration::from_millis(u64::from(n));
        (0..count).for_each(|n| assert!(bans.begin(address(n), at(n))));
        assert!(bans.tries.lock().unwrap().len() <= MAX_ADDRESSES);
        assert!(bans.left(address(count - 1), at(count)).is_some());
        assert_eq!(bans.left(address(0), at(count)), None);
    }
}
