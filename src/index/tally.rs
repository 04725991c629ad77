//! Many rows summed up at once.

use std::mem;

use super::{
    columns::Row,
    names::{ABORTED, ERROR, FLAG_BITS, UNKNOWN},
    sums::{ByNumber, Cells, Sums},
};

/// What rows come to, as fast as they can be added up: a line of cache, in which no lane can overflow before there are
/// more than `u16::MAX` rows, for each of their numbers has 32 bits. The lanes are: counts of rows, errors, aborted and
/// unknown, 16 bits each; input, output, cache reads, cache writes and reasoning; what the total is more than input and
/// output; and the part of cache writes that is kept for an hour.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [u64; 8]);

pub(super) const BEYOND: usize = 6;
pub(super) const CACHE_WRITE_1H: usize = 7;

/// What a row adds to the first lane, by the flags of its kind.
pub(super) const COUNTS: [u64; 1 << FLAG_BITS] = {
    let mut counts = [1; 1 << FLAG_BITS];
    let mut flags = 0;
    while flags < counts.len() {
        let mut lane = 16;
        while lane <= 48 {
            let flag = [ERROR, ABORTED, UNKNOWN][lane / 16 - 1] as usize;
            if flags & flag != 0 {
                counts[flags] |= 1 << lane;
            }
            lane += 16;
        }
        flags += 1;
    }
    counts
};

impl Lanes {
    /// Wraps only in the lane of what totals are more, which wraps back.
    #[inline]
    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(lane, more)| *lane = lane.wrapping_add(more));
    }

    pub(super) fn sums(self) -> Sums {
        let Self([counts, input, output, cache_read, cache_write, reasoning, beyond, cache_write_1h]) = self;
        let count = |at: u32| counts >> (16 * at) & u64::from(u16::MAX);
        Sums {
            requests: count(0),
            errors: count(1),
            aborted: count(2),
            unknown: count(3),
            input,
            output,
            // Less, too, and then it wraps back.
            total: (input + output).wrapping_add(beyond),
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
        }
    }
}

/// Sums up to `u16::MAX` rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By model, source and kind.
    by: [TallyBy; 3],
    by_key: TallyBy,
}

impl Tally {
    pub(super) fn all(rows: &[&Row]) -> Sums {
        let (mut all, mut rest) = (Lanes::default(), Sums::default());
        for row in rows {
            match row.is_wide() {
                false => all.add(&row.lanes()),
                true => rest += row.sums(),
            }
        }
        rest += all.sums();
        rest
    }

    pub(super) fn cells(&mut self, rows: &[&Row]) -> Cells {
        let mut all = Lanes::default();
        for row in rows.iter().filter(|row| !row.is_wide()) {
            let lanes = row.lanes();
            all.add(&lanes);
            for (by, number) in self.by.iter_mut().zip(row.numbers()) {
                by.add(number.into(), &lanes);
            }
        }
        let mut cells = Cells::new(all.sums(), self.by.each_mut().map(TallyBy::drain));
        for row in rows.iter().filter(|row| row.is_wide()) {
            cells.add(row.numbers(), row.sums());
        }
        cells
    }

    pub(super) fn by_key(&mut self, rows: &[&Row]) -> ByNumber {
        for row in rows.iter().filter(|row| !row.is_wide()) {
            self.by_key.add(row.key(), &row.lanes());
        }
        let mut by = self.by_key.drain();
        for row in rows.iter().filter(|row| row.is_wide()) {
            by.add(row.key(), row.sums());
        }
        by
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.by.iter().chain([&self.by_key]).map(TallyBy::heap_bytes).sum()
    }
}

/// Sums by a number, of which the most are small.
#[derive(Debug, Default)]
struct TallyBy {
    /// Where in `lanes` a number is, counted from 1; 0 is nowhere.
    places: Vec<u16>,
    /// In the order of their coming.
    numbers: Vec<u32>,
    lanes: Vec<Lanes>,
}

impl TallyBy {
    #[inline]
    fn add(&mut self, number: u32, lanes: &Lanes) {
        match self.places.get(number as usize) {
            Some(&place @ 1..) => self.lanes[usize::from(place) - 1].add(lanes),
            _ => self.push(number, *lanes),
        }
    }

    #[cold]
    fn push(&mut self, number: u32, lanes: Lanes) {
        if number as usize >= self.places.len() {
            self.places.resize(number as usize + 1, 0);
        }
        self.numbers.push(number);
        self.lanes.push(lanes);
        self.places[number as usize] = self.lanes.len() as u16;
    }

    /// Gives out the sums, and begins again.
    fn drain(&mut self) -> ByNumber {
        let Self { places, numbers, lanes } = self;
        if numbers.len() > places.len() / 16 {
            // As good as sorted.
            numbers.clear();
            numbers.extend((0..).zip(&*places).filter(|(_, place)| **place != 0).map(|(number, _)| number));
        } else {
            numbers.sort_unstable();
        }
        let sums = numbers.iter().map(|number| {
            let place = mem::take(&mut places[*number as usize]);
            lanes[usize::from(place) - 1].sums()
        });
        let sums = sums.collect();
        let by = ByNumber::new(numbers.clone(), sums);
        numbers.clear();
        lanes.clear();
        by
    }

    fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u16>()
            + self.numbers.capacity() * size_of::<u32>()
            + self.lanes.capacity() * size_of::<Lanes>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::{Timestamp, UsageEvent, index::columns::tests::numbers};

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let key = prop_oneof![0..6_u32, select(vec![70_000, 100_000])];
        let row = (0..6_u16, 0..3_u16, 0..40_u16, key, [numbers(), numbers(), numbers(), numbers()]);
        let row = row.prop_map(|(model, source, kind, key, counts)| {
            let mut event = UsageEvent::new(Timestamp::from_unix_millis(0), "m");
            let tokens = &mut event.tokens;
            [tokens.input, tokens.output, tokens.total, tokens.cache_write_1h] = counts;
            [tokens.cache_write, tokens.cache_read, tokens.reasoning, _] = counts;
            Row::new(&(&event).into(), model * 900, kind, source, key)
        });
        prop::collection::vec(row, 0..40)
    }

    proptest! {
        #[test]
        fn rows_come_to_the_same_at_once_and_one_by_one(parts in prop::collection::vec(rows(), 1..4)) {
            // One for all parts, since it is used again.
            let mut tally = Tally::default();
            for rows in &parts {
                let (mut cells, mut by_key) = (Cells::default(), ByNumber::default());
                for row in rows {
                    cells.add(row.numbers(), row.sums());
                    by_key.add(row.key(), row.sums());
                }
                let rows = rows.iter().collect::<Vec<_>>();
                prop_assert_eq!(Tally::all(&rows), cells.all);
                prop_assert_eq!(tally.cells(&rows), cells);
                prop_assert_eq!(tally.by_key(&rows), by_key);
            }
        }
    }

    #[test]
    fn as_many_rows_as_there_may_be_do_not_overflow() {
        let mut event = UsageEvent::new(Timestamp::from_unix_millis(0), "m");
        let most = u64::from(u32::MAX) - 1;
        event.tokens.input = Some(most);
        event.tokens.output = Some(most);
        event.tokens.total = Some(0);
        let row = Row::new(&(&event).into(), 1, 7, 0, 0);
        let sums = Tally::all(&vec![&row; u16::MAX.into()]);
        let count = u64::from(u16::MAX);
        assert_eq!((sums.requests, sums.errors, sums.aborted, sums.unknown), (count, count, count, count));
        assert_eq!((sums.input, sums.output, sums.total), (most * count, most * count, 0));
    }
}
