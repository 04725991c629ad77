//! Events as columns: what a query wants of many events lies side by side, and each takes the bytes it needs.

use std::time::Duration;

use super::{
    names::{self, ABORTED, Dictionaries, ERROR, Kind, Source, UNKNOWN},
    plan::Axis,
    sums::{Sums, insert, reserve},
    tally::{COUNTS, Lanes},
};
use crate::{Tokens, event::EventRef};

/// An event on its way into the columns. A line of cache, since a load has millions of them on their way.
#[derive(Debug)]
pub(super) struct Row {
    /// Milliseconds since 1970 UTC.
    pub(super) at: i64,
    pub(super) model: u16,
    /// With the flags of `names` in its lowest bits.
    pub(super) kind: u16,
    pub(super) source: u16,
    /// [`ABSENT`] is none.
    values: [u32; VALUES],
    /// Instead, if one of them is too large.
    wide: Option<Box<[Option<u64>; VALUES]>>,
}

const _: () = assert!(size_of::<Row>() == 64);

/// No number, among numbers of four bytes.
const ABSENT: u32 = u32::MAX;

/// What a row may have a number for.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// Unless there is none.
    Key,
    Input,
    Output,
    /// Unless it is input plus output, which goes without saying.
    Total,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    Reasoning,
    /// In whole milliseconds, rounded.
    Duration,
    /// In whole milliseconds, rounded: the way to a provider and back takes tens of them.
    FirstByte,
}

const VALUES: usize = Value::FirstByte as usize + 1;

/// What it costs to put a late row in its place, where to take a later one out and put it back behind is 1.
const LATE: usize = 7;
/// What it costs besides to take rows out and put them back.
const MERGE: usize = 10;

impl Row {
    /// The event, with the numbers that the dictionaries have for what it repeats.
    #[inline]
    pub(super) fn new(event: &EventRef<'_>, model: u16, kind: u16, source: u16, key: u32) -> Self {
        let mut is_wide = false;
        let values = numbers(event, key, |number| narrow(number, &mut is_wide));
        let wide = is_wide.then(|| Box::new(numbers(event, key, |number| number)));
        Self { at: event.timestamp.unix_millis(), model, kind, source, values, wide }
    }

    #[inline]
    fn number(&self, value: usize) -> Option<u64> {
        match &self.wide {
            None => Some(self.values[value]).filter(|&number| number != ABSENT).map(u64::from),
            Some(wide) => wide[value],
        }
    }

    /// 0 is none.
    #[inline]
    pub(super) fn key(&self) -> u32 {
        self.number(Value::Key as usize).unwrap_or(0) as u32
    }

    /// Of its model, source and kind.
    #[inline]
    pub(super) fn numbers(&self) -> [u16; 3] {
        [self.model, self.source, self.kind]
    }

    #[inline]
    pub(super) fn sums(&self) -> Sums {
        sums(self.kind, |value| self.number(value as usize))
    }

    /// The event, with what it repeats in numbers of `names`.
    #[inline]
    pub(super) fn of(event: &EventRef<'_>, names: &mut Dictionaries) -> Self {
        let model = names.model(event.model);
        let kind = names.kind(Kind::of(event), names::flags(event));
        let source = names.source(&Source::of(event));
        let key = names.key(event.key);
        Self::new(event, model, kind, source, key)
    }

    /// Gives it another key, where 0 is none.
    #[inline]
    pub(super) fn set_key(&mut self, key: u32) {
        self.values[Value::Key as usize] = if key == 0 { ABSENT } else { key };
        if let Some(wide) = &mut self.wide {
            wide[Value::Key as usize] = Some(key.into()).filter(|&key| key != 0);
        }
    }

    /// It has a number that is too large for [`lanes`](Self::lanes).
    pub(super) fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// What it adds to sums.
    #[inline]
    pub(super) fn lanes(&self) -> Lanes {
        let number = |value: Value| match self.values[value as usize] {
            ABSENT => 0,
            number => u64::from(number),
        };
        let (input, output) = (number(Value::Input), number(Value::Output));
        let beyond = match self.values[Value::Total as usize] {
            ABSENT => 0,
            total => u64::from(total).wrapping_sub(input + output),
        };
        Lanes([
            COUNTS[usize::from(self.kind) % COUNTS.len()],
            input,
            output,
            number(Value::CacheRead),
            number(Value::CacheWrite),
            number(Value::Reasoning),
            beyond,
            number(Value::CacheWrite1h),
        ])
    }
}

/// What `each` makes of the numbers that an event has, in the order of [`Value`].
#[inline]
fn numbers<T>(event: &EventRef<'_>, key: u32, mut each: impl FnMut(Option<u64>) -> T) -> [T; VALUES] {
    let Tokens { input, output, total, cache_read, cache_write, cache_write_1h, reasoning } = event.tokens;
    let total_is_sum = match (input, output, total) {
        (Some(input), Some(output), Some(total)) => input.checked_add(output) == Some(total),
        _ => false,
    };
    [
        each(Some(key.into()).filter(|&key| key != 0)),
        each(input),
        each(output),
        each(total.filter(|_| !total_is_sum)),
        each(cache_read),
        each(cache_write),
        each(cache_write_1h),
        each(reasoning),
        each(event.duration.map(millis)),
        each(event.time_to_first_byte.map(millis)),
    ]
}

/// In four bytes, if that is enough.
#[inline]
fn narrow(number: Option<u64>, is_wide: &mut bool) -> u32 {
    number.map_or(ABSENT, |number| {
        *is_wide |= number >= ABSENT.into();
        number as u32
    })
}

/// Whole milliseconds, rounded.
pub(super) fn millis(time: Duration) -> u64 {
    let time = time.saturating_add(Duration::from_micros(500));
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What an event adds to sums.
#[inline]
fn sums(kind: u16, number: impl Fn(Value) -> Option<u64>) -> Sums {
    let flag = |flag: u16| u64::from(kind & flag != 0);
    let total = number(Value::Total);
    let number = |value| number(value).unwrap_or(0);
    let (input, output) = (number(Value::Input), number(Value::Output));
    Sums {
        requests: 1,
        errors: flag(ERROR),
        aborted: flag(ABORTED),
        unknown: flag(UNKNOWN),
        input,
        output,
        // Where a call broke off, the input that is known counts, although its total is not.
        total: total.unwrap_or_else(|| input.saturating_add(output)),
        cache_read: number(Value::CacheRead),
        cache_write: number(Value::CacheWrite),
        cache_write_1h: number(Value::CacheWrite1h),
        reasoning: number(Value::Reasoning),
    }
}

/// Rows sorted by time, in the order of their coming where that is equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    /// Milliseconds since the hour began.
    at: Vec<u32>,
    model: Vec<u16>,
    kind: Vec<u16>,
    source: Vec<u16>,
    values: [Column; VALUES],
}

impl Columns {
    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    pub(super) fn at(&self) -> &[u32] {
        &self.at
    }

    pub(super) fn model(&self) -> &[u16] {
        &self.model
    }

    pub(super) fn source(&self) -> &[u16] {
        &self.source
    }

    pub(super) fn kind(&self) -> &[u16] {
        &self.kind
    }

    /// The number that a row has on `axis`.
    #[inline]
    pub(super) fn number(&self, axis: Axis, row: usize) -> usize {
        match axis {
            Axis::Model => self.model[row].into(),
            Axis::Source => self.source[row].into(),
            Axis::Kind => self.kind[row].into(),
            // 0 is none.
            Axis::Key => self.value(Value::Key, row).unwrap_or(0) as usize,
        }
    }

    #[inline]
    pub(super) fn value(&self, value: Value, row: usize) -> Option<u64> {
        self.values[value as usize].get(row)
    }

    pub(super) fn values(&self, value: Value) -> &Column {
        &self.values[value as usize]
    }

    /// Some number takes more than four bytes.
    pub(super) fn has_any(&self) -> bool {
        self.values.iter().any(|column| matches!(column, Column::Any(_)))
    }

    /// Shows `each` the number that each of `rows` has on `axis`.
    #[inline]
    pub(super) fn numbers(&self, axis: Axis, rows: &[u32], mut each: impl FnMut(usize, usize)) {
        let rows = rows.iter().map(|row| *row as usize).enumerate();
        // Apart, so that each of the loops knows its type.
        match (axis, self.values(Value::Key)) {
            (Axis::Model, _) => rows.for_each(|(i, row)| each(i, self.model[row].into())),
            (Axis::Source, _) => rows.for_each(|(i, row)| each(i, self.source[row].into())),
            (Axis::Kind, _) => rows.for_each(|(i, row)| each(i, self.kind[row].into())),
            // 0 is none.
            (Axis::Key, Column::Short(keys)) => {
                rows.for_each(|(i, row)| each(i, if keys[row] == u16::MAX { 0 } else { keys[row].into() }));
            }
            (Axis::Key, keys) => rows.for_each(|(i, row)| each(i, keys.get(row).unwrap_or(0) as usize)),
        }
    }

    /// Takes in `rows`, which are sorted by time and of the hour that begins at `start`.
    pub(super) fn insert(&mut self, start: i64, rows: &[&Row]) {
        let at = |row: &Row| (row.at - start) as u32;
        let late = self.at.last().map_or(0, |&last| rows.partition_point(|row| at(row) < last));
        let (late, later) = rows.split_at(late);
        let Some(first) = late.first() else { return self.append(start, later) };
        let behind = self.len() - self.at.partition_point(|&earlier| earlier <= at(first));
        if late.len() * LATE <= behind + MERGE {
            late.iter().for_each(|row| self.insert_one(at(row), row));
            self.append(start, later);
        } else {
            self.merge(start, behind, rows);
        }
    }

    /// Takes in `rows`, none of which is earlier than the last that is there.
    fn append(&mut self, start: i64, rows: &[&Row]) {
        let len = self.len();
        reserve(&mut self.at, rows.len());
        self.at.extend(rows.iter().map(|row| (row.at - start) as u32));
        reserve(&mut self.model, rows.len());
        self.model.extend(rows.iter().map(|row| row.model));
        reserve(&mut self.kind, rows.len());
        self.kind.extend(rows.iter().map(|row| row.kind));
        reserve(&mut self.source, rows.len());
        self.source.extend(rows.iter().map(|row| row.source));
        let are_narrow = !rows.iter().any(|row| row.is_wide());
        for (value, column) in self.values.iter_mut().enumerate() {
            if are_narrow {
                column.append(len, rows.iter().map(|row| row.values[value]));
            } else {
                rows.iter().zip(len..).for_each(|(row, at)| column.insert(at, at, row.number(value)));
            }
        }
    }

    /// Takes in `rows`, which belong among the last `behind` rows or after them.
    fn merge(&mut self, start: i64, behind: usize, rows: &[&Row]) {
        let kept = self.len() - behind;
        let last = (kept..self.len()).map(|row| self.row(start, row)).collect::<Vec<_>>();
        self.truncate(kept);
        let mut all = last.iter().chain(rows.iter().copied()).collect::<Vec<_>>();
        // Leaves those that are equal in their order.
        all.sort_by_key(|row| row.at);
        self.append(start, &all);
    }

    fn row(&self, start: i64, row: usize) -> Row {
        let mut is_wide = false;
        let numbers = self.values.each_ref().map(|column| column.get(row));
        let values = numbers.map(|number| narrow(number, &mut is_wide));
        Row {
            at: start + i64::from(self.at[row]),
            model: self.model[row],
            kind: self.kind[row],
            source: self.source[row],
            values,
            wide: is_wide.then(|| Box::new(numbers)),
        }
    }

    fn insert_one(&mut self, at: u32, row: &Row) {
        let (len, to) = (self.len(), self.at.partition_point(|&earlier| earlier <= at));
        insert(&mut self.at, to, at);
        insert(&mut self.model, to, row.model);
        insert(&mut self.kind, to, row.kind);
        insert(&mut self.source, to, row.source);
        for (value, column) in self.values.iter_mut().enumerate() {
            column.insert(to, len, row.number(value));
        }
    }

    fn truncate(&mut self, len: usize) {
        self.at.truncate(len);
        self.model.truncate(len);
        self.kind.truncate(len);
        self.source.truncate(len);
        self.values.iter_mut().for_each(|column| column.truncate(len));
    }

    /// Takes out the rows from `row` on.
    pub(super) fn split_off(&mut self, row: usize) -> Self {
        Self {
            at: self.at.split_off(row),
            model: self.model.split_off(row),
            kind: self.kind.split_off(row),
            source: self.source.split_off(row),
            values: self.values.each_mut().map(|column| column.split_off(row)),
        }
    }

    #[inline]
    pub(super) fn sums(&self, row: usize) -> Sums {
        sums(self.kind[row], |value| self.value(value, row))
    }

    /// The number of rows before `at`, in milliseconds since the hour began.
    pub(super) fn before(&self, at: u32) -> usize {
        self.at.partition_point(|&earlier| earlier < at)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.at.capacity() * size_of::<u32>()
            + (self.model.capacity() + self.kind.capacity() + self.source.capacity()) * size_of::<u16>()
            + self.values.iter().map(Column::heap_bytes).sum::<usize>()
    }
}

/// A number or none for each row, as wide as the largest needs: most runs have counts that fit two bytes, and every
/// count that an event can hold fits somewhere.
#[derive(Clone, Debug, Default)]
pub(super) enum Column {
    /// No row has a value, however many rows there are.
    #[default]
    Absent,
    /// `u16::MAX` is none.
    Short(Vec<u16>),
    /// `u32::MAX` is none.
    Long(Vec<u32>),
    Any(Vec<Option<u64>>),
}

impl Column {
    /// Puts `value` in front of row `to` of `len` rows.
    #[inline]
    pub(super) fn insert(&mut self, to: usize, len: usize, value: Option<u64>) {
        self.make_room(len, value);
        match self {
            Self::Absent => {}
            Self::Short(column) => insert(column, to, value.map_or(u16::MAX, |value| value as u16)),
            Self::Long(column) => insert(column, to, value.map_or(u32::MAX, |value| value as u32)),
            Self::Any(column) => insert(column, to, value),
        }
    }

    /// Widens the column until `value` fits.
    #[inline]
    fn make_room(&mut self, len: usize, value: Option<u64>) {
        let widest = match self {
            Self::Absent => None,
            Self::Short(_) => Some(u64::from(u16::MAX) - 1),
            Self::Long(_) => Some(u64::from(u32::MAX) - 1),
            Self::Any(_) => Some(u64::MAX),
        };
        if value > widest {
            self.widen(len, value);
        }
    }

    #[cold]
    fn widen(&mut self, len: usize, value: Option<u64>) {
        let rows = (0..len).map(|row| self.get(row));
        *self = match value {
            Some(value) if value >= u64::from(u32::MAX) => Self::Any(rows.collect()),
            Some(value) if value >= u64::from(u16::MAX) => {
                Self::Long(rows.map(|value| value.map_or(u32::MAX, |value| value as u32)).collect())
            }
            _ => Self::Short(vec![u16::MAX; len]),
        };
    }

    /// Puts `numbers` behind `len` rows; [`ABSENT`] is none.
    fn append(&mut self, len: usize, numbers: impl ExactSizeIterator<Item = u32> + Clone) {
        // One more than the largest, and 0 if there is none.
        let largest = numbers.clone().fold(0, |largest, number| number.wrapping_add(1).max(largest));
        self.make_room(len, largest.checked_sub(1).map(u64::from));
        match self {
            Self::Absent => {}
            // What is none in four bytes is so in two.
            Self::Short(column) => {
                reserve(column, numbers.len());
                column.extend(numbers.map(|number| number as u16));
            }
            Self::Long(column) => {
                reserve(column, numbers.len());
                column.extend(numbers);
            }
            Self::Any(column) => {
                reserve(column, numbers.len());
                column.extend(numbers.map(|number| (number != ABSENT).then_some(number.into())));
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Absent => {}
            Self::Short(column) => column.truncate(len),
            Self::Long(column) => column.truncate(len),
            Self::Any(column) => column.truncate(len),
        }
    }

    fn split_off(&mut self, row: usize) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Short(column) => Self::Short(column.split_off(row)),
            Self::Long(column) => Self::Long(column.split_off(row)),
            Self::Any(column) => Self::Any(column.split_off(row)),
        }
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Short(column) => Some(column[row]).filter(|&value| value != u16::MAX).map(u64::from),
            Self::Long(column) => Some(column[row]).filter(|&value| value != u32::MAX).map(u64::from),
            Self::Any(column) => column[row],
        }
    }

    /// The values of `rows`, 0 where there is none. Nothing of those that take more than four bytes.
    #[inline]
    pub(super) fn spread(&self, rows: &[u32], widened: &mut [u32]) {
        let short = |value: u16| u32::from(if value == u16::MAX { 0 } else { value });
        let long = |value: u32| if value == u32::MAX { 0 } else { value };
        let whole = match rows {
            [first, .., last] if (last - first) as usize == rows.len() - 1 => {
                Some(*first as usize..*last as usize + 1)
            }
            _ => None,
        };
        let rows = rows.iter().map(|row| *row as usize);
        match (self, whole) {
            (Self::Short(column), Some(whole)) => {
                widened.iter_mut().zip(&column[whole]).for_each(|(to, value)| *to = short(*value));
            }
            (Self::Short(column), None) => {
                widened.iter_mut().zip(rows).for_each(|(to, row)| *to = short(column[row]))
            }
            (Self::Long(column), Some(whole)) => {
                widened.iter_mut().zip(&column[whole]).for_each(|(to, value)| *to = long(*value));
            }
            (Self::Long(column), None) => {
                widened.iter_mut().zip(rows).for_each(|(to, row)| *to = long(column[row]))
            }
            (Self::Absent | Self::Any(_), _) => {}
        }
    }

    /// Shows `each` the values of `rows` that there are, with the number among them.
    #[inline]
    pub(super) fn each(&self, rows: &[u32], mut each: impl FnMut(usize, u64)) {
        let rows = rows.iter().map(|row| *row as usize).enumerate();
        // Apart, so that each of the loops knows its type.
        match self {
            Self::Absent => {}
            Self::Short(column) => rows.for_each(|(i, row)| {
                let value = column[row];
                if value != u16::MAX {
                    each(i, value.into());
                }
            }),
            Self::Long(column) => rows.for_each(|(i, row)| {
                let value = column[row];
                if value != u32::MAX {
                    each(i, value.into());
                }
            }),
            Self::Any(column) => rows.for_each(|(i, row)| {
                if let Some(value) = column[row] {
                    each(i, value);
                }
            }),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Short(column) => column.capacity() * size_of::<u16>(),
            Self::Long(column) => column.capacity() * size_of::<u32>(),
            Self::Any(column) => column.capacity() * size_of::<Option<u64>>(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::{Timestamp, UsageEvent};

    pub(in super::super) fn numbers() -> impl Strategy<Value = Option<u64>> {
        const SHORT: u64 = u16::MAX as u64;
        const LONG: u64 = u32::MAX as u64;
        let edges = [0, SHORT - 1, SHORT, SHORT + 1, LONG - 1, LONG, LONG + 1, u64::MAX - 1, u64::MAX];
        prop_oneof![2 => Just(None), 2 => (0..1000_u64).prop_map(Some), 1 => select(edges.to_vec()).prop_map(Some)]
    }

    proptest! {
        /// F3: what is absent stays absent, and 0 stays 0, however wide the column gets.
        #[test]
        fn a_column_keeps_every_number_where_it_was_put(
            numbers in prop::collection::vec((numbers(), any::<prop::sample::Index>()), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut column, mut expected) = (Column::default(), Vec::new());
            for (number, to) in numbers {
                let (to, len) = (to.index(expected.len() + 1), expected.len());
                column.insert(to, len, number);
                expected.insert(to, number);
            }
            let cut = cut.index(expected.len() + 1);
            let behind = column.split_off(cut);
            let all = (0..cut).map(|row| column.get(row));
            let all = all.chain((0..expected.len() - cut).map(|row| behind.get(row)));
            prop_assert_eq!(all.collect::<Vec<_>>(), expected);
        }

        /// Sorted by time, in the order of coming where that is equal, each row with all that is its own.
        #[test]
        fn rows_stay_whole_wherever_they_are_put(
            parts in prop::collection::vec(prop::collection::vec((0..20_i64, numbers(), numbers()), 1..10), 1..10),
            cut in any::<prop::sample::Index>(),
        ) {
            let start = -3_600_000;
            let (mut columns, mut expected) = (Columns::default(), Vec::new());
            for (i, part) in parts.iter().enumerate() {
                let mut rows = Vec::new();
                for &(at, input, output) in part {
                    let mut event = UsageEvent::new(Timestamp::from_unix_millis(start + at), "m");
                    (event.tokens.input, event.tokens.output) = (input, output);
                    let number = expected.len() + rows.len();
                    rows.push(Row::new(&(&event).into(), i as u16, number as u16, 7 * i as u16, number as u32));
                }
                rows.sort_by_key(|row| row.at);
                columns.insert(start, &rows.iter().collect::<Vec<_>>());
                expected.extend(rows);
            }
            expected.sort_by_key(|row| row.at);

            let cut = cut.index(expected.len() + 1);
            let behind = columns.split_off(cut);
            prop_assert_eq!((columns.len(), behind.len()), (cut, expected.len() - cut));
            for (row, expected) in expected.iter().enumerate() {
                let (columns, row) = if row < cut { (&columns, row) } else { (&behind, row - cut) };
                prop_assert_eq!(start + i64::from(columns.at[row]), expected.at);
                prop_assert_eq!((columns.model[row], columns.kind[row]), (expected.model, expected.kind));
                prop_assert_eq!((columns.source[row], columns.number(Axis::Key, row) as u32), (expected.source, expected.key()));
                for (value, column) in columns.values.iter().enumerate() {
                    prop_assert_eq!(column.get(row), expected.number(value));
                }
                prop_assert_eq!(columns.sums(row), expected.sums());
            }
        }
    }

    #[test]
    fn a_row_has_the_numbers_of_its_event() {
        let mut event = UsageEvent::new(Timestamp::from_unix_millis(0), "m");
        event.tokens.input = Some(1);
        event.tokens.output = Some(2);
        event.tokens.total = Some(3);
        event.tokens.cache_write_1h = Some(4);
        event.duration = Some(Duration::from_micros(5_500));
        event.time_to_first_byte = Some(Duration::MAX);
        let row = Row::new(&(&event).into(), 0, 0, 0, 7);
        for (value, number) in [
            (Value::Key, Some(7)),
            (Value::Input, Some(1)),
            (Value::Output, Some(2)),
            (Value::Total, None), // goes without saying
            (Value::CacheRead, None),
            (Value::CacheWrite1h, Some(4)),
            (Value::Duration, Some(6)),
            (Value::FirstByte, Some(u64::MAX)),
        ] {
            assert_eq!(row.number(value as usize), number);
        }
        assert_eq!(row.sums().total, 3);
    }
}
