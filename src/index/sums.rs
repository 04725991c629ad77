//! Sums over events, of all and by what they have in common.

use std::ops::AddAssign;

use super::plan::Axis;

/// Sums over events. A count that an event does not have adds nothing; a sum too large for its type is the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums<T = u64> {
    pub(crate) requests: T,
    /// `UsageEvent::is_error`.
    pub(crate) errors: T,
    /// `UsageEvent::is_aborted`.
    pub(crate) aborted: T,
    /// Events without any count, so that the sums below are known to be too low.
    pub(crate) unknown: T,
    pub(crate) input: T,
    pub(crate) output: T,
    pub(crate) total: T,
    pub(crate) cache_read: T,
    pub(crate) cache_write: T,
    pub(crate) cache_write_1h: T,
    pub(crate) reasoning: T,
}

impl<T> Sums<T> {
    /// `f` of each pair of fields.
    #[inline]
    pub(super) fn zip<U, V>(self, other: Sums<U>, f: impl Fn(T, U) -> V) -> Sums<V> {
        Sums {
            requests: f(self.requests, other.requests),
            errors: f(self.errors, other.errors),
            aborted: f(self.aborted, other.aborted),
            unknown: f(self.unknown, other.unknown),
            input: f(self.input, other.input),
            output: f(self.output, other.output),
            total: f(self.total, other.total),
            cache_read: f(self.cache_read, other.cache_read),
            cache_write: f(self.cache_write, other.cache_write),
            cache_write_1h: f(self.cache_write_1h, other.cache_write_1h),
            reasoning: f(self.reasoning, other.reasoning),
        }
    }
}

/// Fields of [`Sums`].
pub(super) const FIELDS: usize = 11;

impl Sums {
    pub(super) fn to_array(self) -> [u64; FIELDS] {
        let Self { requests, errors, aborted, unknown, input, output, total, .. } = self;
        let Self { cache_read, cache_write, cache_write_1h, reasoning, .. } = self;
        [
            requests,
            errors,
            aborted,
            unknown,
            input,
            output,
            total,
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
        ]
    }

    pub(super) fn from_array(fields: [u64; FIELDS]) -> Self {
        let [requests, errors, aborted, unknown, input, output, total, rest @ ..] = fields;
        let [cache_read, cache_write, cache_write_1h, reasoning] = rest;
        Self {
            requests,
            errors,
            aborted,
            unknown,
            input,
            output,
            total,
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
        }
    }
}

impl AddAssign for Sums {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, u64::saturating_add);
    }
}

/// The sums of some events, and the same by each number that they have on an axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells {
    pub(super) all: Sums,
    /// By model, source and kind. Keys are too many to be told apart in every quarter of an hour.
    by: [ByNumber; 3],
}

impl Cells {
    pub(super) fn new(all: Sums, by: [ByNumber; 3]) -> Self {
        Self { all, by }
    }

    pub(super) fn add(&mut self, numbers: [u16; 3], sums: Sums) {
        self.all += sums;
        for (by, number) in self.by.iter_mut().zip(numbers) {
            by.add(number.into(), sums);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.all += other.all;
        for (mine, theirs) in self.by.iter_mut().zip(&other.by) {
            mine.merge(theirs);
        }
    }

    /// None of keys.
    pub(super) fn by(&self, axis: Axis) -> Option<&ByNumber> {
        self.by.get(axis as usize)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.by.iter().map(ByNumber::heap_bytes).sum()
    }
}

/// Sums by a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ByNumber {
    /// Rising. Apart from the sums, so that a search touches few lines of cache.
    numbers: Vec<u32>,
    sums: Vec<Sums>,
}

impl ByNumber {
    /// Of `numbers` that rise.
    pub(super) fn new(numbers: Vec<u32>, sums: Vec<Sums>) -> Self {
        Self { numbers, sums }
    }

    pub(super) fn add(&mut self, number: u32, sums: Sums) {
        match self.find(number) {
            Ok(at) => self.sums[at] += sums,
            Err(at) => {
                insert(&mut self.numbers, at, number);
                insert(&mut self.sums, at, sums);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let missing = other.numbers.iter().filter(|number| self.find(**number).is_err()).count();
        if missing == 0 {
            other.iter().for_each(|(number, sums)| self.add(number, *sums));
            return;
        }
        let (mut from, mut to) = (self.numbers.len(), self.numbers.len() + missing);
        reserve(&mut self.numbers, missing);
        self.numbers.resize(to, 0);
        reserve(&mut self.sums, missing);
        self.sums.resize(to, Sums::default());
        // From the end, so that each is moved once.
        for (number, sums) in other.numbers.iter().zip(&other.sums).rev() {
            while from > 0 && self.numbers[from - 1] > *number {
                (from, to) = (from - 1, to - 1);
                (self.numbers[to], self.sums[to]) = (self.numbers[from], self.sums[from]);
            }
            let mut sums = *sums;
            if from > 0 && self.numbers[from - 1] == *number {
                from -= 1;
                sums += self.sums[from];
            }
            to -= 1;
            (self.numbers[to], self.sums[to]) = (*number, sums);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Sums)> {
        self.numbers.iter().copied().zip(&self.sums)
    }

    pub(super) fn of(&self, number: u32) -> Option<&Sums> {
        self.find(number).ok().map(|at| &self.sums[at])
    }

    /// Where `number` is, or where it belongs.
    #[inline]
    fn find(&self, number: u32) -> Result<usize, usize> {
        // On a busy day each model is there, at the place that its number says.
        match self.numbers.get(number as usize) {
            Some(&there) if there == number => Ok(number as usize),
            _ => self.numbers.binary_search(&number),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<u32>() + self.sums.capacity() * size_of::<Sums>()
    }
}

/// `Vec::insert` that grows as [`reserve`] does.
pub(super) fn insert<T>(vec: &mut Vec<T>, at: usize, value: T) {
    reserve(vec, 1);
    vec.insert(at, value);
}

/// `Vec::reserve` that grows by an eighth: there are many small vectors that stop growing after their quarter of an
/// hour, and what they hold in reserve then stays.
pub(super) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> impl Strategy<Value = Vec<(u32, Sums)>> {
        let requests = prop_oneof![4 => 0..1_000_u64, 1 => any::<u64>()];
        let sums = requests.prop_map(|requests| Sums { requests, ..Sums::default() });
        prop::collection::vec((0..40_u32, sums), 0..40)
    }

    fn by_number(added: &[(u32, Sums)]) -> ByNumber {
        let mut by = ByNumber::default();
        added.iter().for_each(|(number, sums)| by.add(*number, *sums));
        by
    }

    proptest! {
        #[test]
        fn what_is_merged_is_what_would_have_been_added_one_by_one(mut first in some(), second in some()) {
            let mut merged = by_number(&first);
            merged.merge(&by_number(&second));
            first.extend(second);
            prop_assert_eq!(&merged, &by_number(&first));
            prop_assert!(merged.numbers.is_sorted_by(|a, b| a < b));
        }
    }
}
