//! How long things took, in a few hundred numbers.

/// Counts of milliseconds, by buckets whose width is a 64th of their beginning at most: a value read from it is off by
/// less than 0.8 %, and below 128 it is exact. Two of them add up to what one of all events would be, in any order.
///
/// Sparse: an hour's or a key's events lie in few of the buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// By bucket, rising, none 0.
    counts: Vec<(u16, u64)>,
}

/// Each power of 2 is cut into so many buckets.
const BITS: u32 = 6;

/// The bucket that `value` is in. The numbers rise without gaps, to 3,775 for the largest `u64`.
#[inline]
pub(super) fn bucket(value: u64) -> u16 {
    let shift = (u64::BITS - BITS - 1).saturating_sub(value.leading_zeros());
    ((shift << BITS) as u64 + (value >> shift)) as u16
}

/// The first value of a bucket and the last.
fn bounds(bucket: u16) -> (u64, u64) {
    let shift = (u32::from(bucket) >> BITS).saturating_sub(1);
    let first = (u64::from(bucket) - (u64::from(shift) << BITS)) << shift;
    (first, first + ((1 << shift) - 1))
}

impl Histogram {
    /// Of counts by bucket; what is 0 costs nothing.
    pub(super) fn of(counts: &[u32]) -> Self {
        let counts = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Self { counts: counts.map(|(bucket, count)| (bucket as u16, u64::from(*count))).collect() }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The value that `percent` of the values do not exceed, in milliseconds; none of nothing.
    ///
    /// The value of rank `percent · count / 100`, rounded up, and of its bucket the middle.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        let rank = (percent / 100.0 * self.count() as f64).ceil().max(1.0);
        let mut below = 0;
        let at = self.counts.iter().find(|(_, count)| {
            below += count;
            below as f64 >= rank
        });
        let (first, last) = bounds(at.or(self.counts.last())?.0);
        Some(first as f64 / 2.0 + last as f64 / 2.0)
    }

    /// How many values are at most `millis`, give or take those of the bucket that it lies in, which count.
    pub(crate) fn at_most(&self, millis: u64) -> u64 {
        let end = self.counts.partition_point(|(known, _)| *known <= bucket(millis));
        self.counts[..end].iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
            return;
        }
        let mut sum = Vec::with_capacity(self.counts.len() + other.counts.len());
        let mut theirs = other.counts.iter().copied().peekable();
        for &(bucket, count) in &self.counts {
            while let Some(before) = theirs.next_if(|(other, _)| *other < bucket) {
                sum.push(before);
            }
            let same = theirs.next_if(|(other, _)| *other == bucket).map_or(0, |(_, count)| count);
            sum.push((bucket, count.saturating_add(same)));
        }
        sum.extend(theirs);
        self.counts = sum;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut counts = vec![0; 3_776];
        values.iter().for_each(|value| counts[usize::from(bucket(*value))] += 1);
        Histogram::of(&counts)
    }

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let mut next = 0;
        for number in 0..=bucket(u64::MAX) {
            let (first, last) = bounds(number);
            assert_eq!(first, next);
            assert_eq!((bucket(first), bucket(last)), (number, number));
            assert!(last - first <= first / 64, "{first} to {last}");
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0);
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(50.0), None);
        assert_eq!(of(&[7]).percentile(0.0), Some(7.0));
        assert_eq!(of(&[7]).percentile(100.0), Some(7.0));
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value = prop_oneof![4 => 0..500_u64, 4 => 0..500_000_u64, 1 => any::<u64>()];
        prop::collection::vec(value, 1..200)
    }

    proptest! {
        #[test]
        fn a_percentile_is_off_by_less_than_a_hundredth(mut values in values(), percent in 0.0..=100.0_f64) {
            values.sort();
            let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1] as f64;
            let read = of(&values).percentile(percent).unwrap();
            prop_assert!((read - exact).abs() <= exact * 0.008, "{read} for {exact}");
        }

        #[test]
        fn parts_add_up_to_the_whole_in_any_order(values in values(), cut in any::<prop::sample::Index>()) {
            let (a, b) = values.split_at(cut.index(values.len()));
            let (mut ab, mut ba) = (of(a), of(b));
            ab.add(&of(b));
            ba.add(&of(a));
            prop_assert_eq!(&ab, &of(&values));
            prop_assert_eq!(&ba, &ab);
            prop_assert_eq!(ab.count(), values.len() as u64);
        }

        #[test]
        fn how_many_are_at_most_a_value_is_off_by_those_of_its_bucket(values in values(), limit in 0..600_000_u64) {
            let count = |limit: u64| values.iter().filter(|value| **value <= limit).count() as u64;
            let read = of(&values).at_most(limit);
            prop_assert!(count(limit) <= read && read <= count(limit + limit / 64));
        }
    }
}
