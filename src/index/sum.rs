//! Sums of what is met on the way through the history.

use std::{mem, ops::Range, sync::Arc};

use hashbrown::HashMap;

use super::{
    Snapshot,
    columns::{Column, Columns, Value},
    histogram::{self, Histogram},
    names::{ABORTED, ERROR, UNKNOWN},
    plan::{AXES, Axis, Conditions, Pass, Values},
    query::{Durations, Stats, Timing},
    retired::Retired,
    sums::{ByNumber, Cells, Sums},
    tree::{Day, Head, Hour, Run},
    walk::Visitor,
};

/// Sums the events up that `conditions` let pass, apart by their values.
///
/// `done` is told what each group came to in each piece of time: the start of the piece, the number of the group and
/// its events. A group is numbered by its values: see [`decode`].
pub(super) struct Sum<'a, F> {
    snapshot: &'a Snapshot,
    conditions: &'a Conditions,
    values: &'a [Values],
    durations: bool,
    way: Way,
    /// The only numbers that pass, if they are few, on each axis.
    few: [Option<Vec<u32>>; AXES.len()],
    /// Only what is known as aggregates. What cannot be told of is a group: [`UNDECIDED`].
    only_retired: bool,
    groups: Groups,
    /// The piece of time that is being summed up.
    start: i64,
    done: F,
    // Kept for their memory.
    rows: Vec<u32>,
    places: Vec<u32>,
}

/// How much of an event has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing: the sums of all are there.
    All,
    /// One number, by which there are sums.
    By(Axis),
    /// Each event by itself.
    Rows,
}

/// All groups that are not told apart.
pub(super) const REST: u64 = u64::MAX;
/// Retired events that may be asked for, or not: what would tell was not kept.
pub(super) const UNDECIDED: u64 = u64::MAX - 1;

impl<'a, F: FnMut(i64, u64, Stats)> Sum<'a, F> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        conditions: &'a Conditions,
        values: &'a [Values],
        durations: bool,
        groups: Groups,
        done: F,
    ) -> Self {
        let mut axes = conditions.axes().chain(values.iter().map(|values| values.axis));
        let way = match axes.next() {
            _ if durations => Way::Rows,
            None => Way::All,
            Some(axis) if axes.all(|other| other == axis) => Way::By(axis),
            Some(_) => Way::Rows,
        };
        Self {
            snapshot,
            conditions,
            values,
            durations,
            way,
            few: AXES.map(|axis| conditions.few(axis)),
            only_retired: false,
            groups,
            start: 0,
            done,
            rows: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Leaves out all events that are kept one by one.
    pub(super) fn only_retired(self) -> Self {
        Self { only_retired: true, ..self }
    }

    /// After the last event.
    pub(super) fn finish(&mut self) {
        let Self { groups, start, done, .. } = self;
        groups.drain(|code, stats| done(*start, code, stats));
    }

    fn by(&mut self, axis: Axis, cells: &ByNumber) {
        match self.few[axis as usize].take() {
            Some(few) => {
                for number in &few {
                    if let Some(sums) = cells.of(*number) {
                        self.add(axis, *number as usize, *sums);
                    }
                }
                self.few[axis as usize] = Some(few);
            }
            None => cells.iter().for_each(|(number, sums)| self.add(axis, number as usize, *sums)),
        }
    }

    fn add(&mut self, axis: Axis, number: usize, sums: Sums) {
        let pass = self.conditions.on(axis).map_or(Pass::Yes, |passes| passes[number]);
        if let Some(place) = self.place(pass, |_| number) {
            self.groups.sums[place as usize] += sums;
        }
    }

    /// Where the group is of an event that has these numbers on the axes.
    #[inline]
    fn place(&mut self, pass: Pass, number: impl Fn(Axis) -> usize) -> Option<u32> {
        match pass {
            Pass::Yes => {
                let code = self.values.iter().fold(0, |code, values| {
                    code * values.len() as u64 + u64::from(values.of[number(values.axis)])
                });
                Some(self.groups.place(code))
            }
            Pass::Unknown if self.only_retired => Some(self.groups.place(UNDECIDED)),
            _ => None,
        }
    }

    fn all(&mut self, sums: Sums) {
        let place = self.groups.place(0) as usize;
        self.groups.sums[place] += sums;
    }

    fn cells(&mut self, cells: &Cells) {
        match self.way {
            Way::All => self.all(cells.all),
            Way::By(axis) => {
                if let Some(cells) = cells.by(axis) {
                    self.by(axis, cells);
                }
            }
            Way::Rows => {}
        }
    }

    /// No row of the run passes.
    fn is_alien(&self, run: &Run) -> bool {
        AXES.into_iter().any(|axis| match (&self.few[axis as usize], run.cells.by(axis)) {
            (Some(few), Some(cells)) => few.iter().all(|number| cells.of(*number).is_none()),
            _ => false,
        })
    }

    /// Leaves those of `range` in `rows` that pass.
    fn select(&self, columns: &Columns, range: Range<usize>, rows: &mut Vec<u32>) {
        let mut axes = self.conditions.axes();
        rows.clear();
        match axes.next() {
            None => rows.extend(range.start as u32..range.end as u32),
            Some(axis) => {
                let passes = self.conditions.on(axis).unwrap_or_default();
                let only = match self.few[axis as usize].as_deref() {
                    Some([number]) => Some(*number),
                    _ => None,
                };
                match axis {
                    Axis::Model => select(columns.model(), range, only, passes, rows),
                    Axis::Source => select(columns.source(), range, only, passes, rows),
                    Axis::Kind => select(columns.kind(), range, only, passes, rows),
                    Axis::Key => match (columns.values(Value::Key), only) {
                        // None is as good as 0, which is no key.
                        (Column::Short(keys), Some(only @ 1..)) => {
                            select(keys, range, Some(only), passes, rows)
                        }
                        _ => {
                            let all = range.start as u32..range.end as u32;
                            rows.extend(
                                all.filter(|row| passes[columns.number(axis, *row as usize)] == Pass::Yes),
                            );
                        }
                    },
                }
            }
        }
        for axis in axes {
            if let Some(passes) = self.conditions.on(axis) {
                rows.retain(|row| passes[columns.number(axis, *row as usize)] == Pass::Yes);
            }
        }
    }

    fn add_rows(&mut self, columns: &Columns, rows: &[u32], places: &[u32]) {
        let sums = &mut self.groups.sums;
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        let kinds = columns.kind();
        for (row, place) in rows.iter().zip(places) {
            let (sums, kind) = (&mut sums[*place as usize], kinds[*row as usize]);
            let flag = |flag: u16| u64::from(kind & flag != 0);
            sums.requests += 1;
            sums.errors += flag(ERROR);
            sums.aborted += flag(ABORTED);
            sums.unknown += flag(UNKNOWN);
        }
        // Column by column, for each is of its own type.
        let mut each = |value: Value, sum: fn(&mut Sums) -> &mut u64| {
            columns.values(value).each(rows, |i, more| add(sum(&mut sums[places[i] as usize]), more));
        };
        each(Value::Input, |sums| &mut sums.input);
        each(Value::Output, |sums| &mut sums.output);
        each(Value::CacheRead, |sums| &mut sums.cache_read);
        each(Value::CacheWrite, |sums| &mut sums.cache_write);
        each(Value::CacheWrite1h, |sums| &mut sums.cache_write_1h);
        each(Value::Reasoning, |sums| &mut sums.reasoning);
        if let Column::Absent = columns.values(Value::Total) {
            // Each total is input and output.
            each(Value::Input, |sums| &mut sums.total);
            each(Value::Output, |sums| &mut sums.total);
        } else {
            for (row, place) in rows.iter().zip(places) {
                add(&mut sums[*place as usize].total, columns.sums(*row as usize).total);
            }
        }
    }

    fn add_times(&mut self, columns: &Columns, rows: &[u32], places: &[u32]) {
        self.groups.times.resize_with(self.groups.sums.len(), Times::default);
        let times = &mut self.groups.times;
        let outputs = columns.values(Value::Output);
        columns.values(Value::Duration).each(rows, |i, millis| {
            let times = &mut times[places[i] as usize];
            times.duration.add(millis);
            if let Some(output) = outputs.get(rows[i] as usize) {
                times.output = times.output.saturating_add(output);
                times.output_millis = times.output_millis.saturating_add(millis);
            }
        });
        columns
            .values(Value::FirstByte)
            .each(rows, |i, millis| times[places[i] as usize].first_byte.add(millis));
    }
}

/// Puts those of `range` into `rows` whose number passes; `only`, if that is one.
fn select(column: &[u16], range: Range<usize>, only: Option<u32>, passes: &[Pass], rows: &mut Vec<u32>) {
    let (start, column) = (range.start, &column[range]);
    if let Some(only) = only.and_then(|only| u16::try_from(only).ok()) {
        // Most blocks have none: a comparison of many numbers at once.
        const BLOCK: usize = 64;
        for (block, numbers) in column.chunks(BLOCK).enumerate() {
            if numbers.iter().fold(false, |any, number| any | (*number == only)) {
                let of_block = (start + block * BLOCK) as u32..;
                rows.extend(of_block.zip(numbers).filter(|(_, number)| **number == only).map(|(row, _)| row));
            }
        }
        return;
    }
    // Without a jump that nobody could foresee.
    rows.resize(column.len(), 0);
    let mut len = 0;
    for (row, number) in (start as u32..).zip(column) {
        rows[len] = row;
        len += usize::from(passes[usize::from(*number)] == Pass::Yes);
    }
    rows.truncate(len);
}

/// The numbers of a group's values, by its own number.
pub(super) fn decode(mut code: u64, values: &[Values]) -> Vec<usize> {
    let mut numbers = Vec::new();
    for values in values.iter().rev() {
        numbers.push((code % values.len() as u64) as usize);
        code /= values.len() as u64;
    }
    numbers.reverse();
    numbers
}

impl<F: FnMut(i64, u64, Stats)> Visitor for Sum<'_, F> {
    fn piece(&mut self, start: i64) {
        self.finish();
        self.start = start;
    }

    fn days(&mut self, days: &[Arc<Day>]) {
        let (first, last) = (days[0].number, days[days.len() - 1].number);
        match self.way {
            Way::By(Axis::Model) => {
                for model in 0..self.snapshot.names.models.len() {
                    let sums = self.snapshot.prefix.between(model, first, last);
                    if sums.requests > 0 {
                        self.add(Axis::Model, model, sums);
                    }
                }
                // The prefix sums leave out the last day.
                if let Some(today) = self.snapshot.days.last().filter(|day| day.number == last) {
                    self.cells(&today.cells);
                }
            }
            Way::By(axis) => days.iter().for_each(|day| self.by(axis, day.by(axis))),
            Way::All => days.iter().for_each(|day| self.cells(&day.cells)),
            Way::Rows => {
                for (head, hour) in days.iter().flat_map(|day| day.heads.iter().zip(&day.hours)) {
                    self.hour(head, hour);
                }
            }
        }
    }

    fn hour(&mut self, head: &Head, hour: &Arc<Hour>) {
        match self.way {
            Way::All => self.all(head.sums),
            Way::Rows | Way::By(Axis::Key) => {
                hour.runs.iter().for_each(|run| self.run(run));
                if let Some(retired) = &hour.retired {
                    self.retired(retired, 0..retired.len());
                }
            }
            _ => self.cells(&hour.cells),
        }
    }

    fn run(&mut self, run: &Run) {
        match self.way {
            Way::Rows | Way::By(Axis::Key) => self.rows(run, 0..run.columns.len()),
            _ => self.cells(&run.cells),
        }
    }

    fn rows(&mut self, run: &Run, range: Range<usize>) {
        if self.only_retired || self.is_alien(run) {
            return;
        }
        let columns = &run.columns;
        let (mut rows, mut places) = (mem::take(&mut self.rows), mem::take(&mut self.places));
        self.select(columns, range, &mut rows);
        places.clear();
        if self.values.is_empty() {
            places.resize(rows.len(), self.groups.place(0));
        } else {
            for row in &rows {
                places.extend(self.place(Pass::Yes, |axis| columns.number(axis, *row as usize)));
            }
        }
        self.add_rows(columns, &rows, &places);
        if self.durations {
            self.add_times(columns, &rows, &places);
        }
        (self.rows, self.places) = (rows, places);
    }

    fn retired(&mut self, retired: &Retired, cells: Range<usize>) {
        for at in cells {
            let pass = self.conditions.axes().fold(Pass::Yes, |pass, axis| {
                pass.and(
                    self.conditions.on(axis).map_or(Pass::Yes, |passes| passes[retired.number(axis, at)]),
                )
            });
            let Some(place) = self.place(pass, |axis| retired.number(axis, at)) else { continue };
            let cell = retired.get(at);
            self.groups.sums[place as usize] += cell.sums;
            if self.durations {
                self.groups.times.resize_with(self.groups.sums.len(), Times::default);
                let times = &mut self.groups.times[place as usize];
                for (time, count, sum) in [
                    (&mut times.duration, cell.spent.timed, cell.spent.duration),
                    (&mut times.first_byte, cell.spent.first_bytes, cell.spent.first_byte),
                ] {
                    time.count = time.count.saturating_add(count);
                    time.sum = time.sum.saturating_add(sum);
                }
            }
        }
    }
}

/// The groups that were met.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Where a group is, by its number, if that is small; else [`NOWHERE`].
    near: Vec<u32>,
    far: HashMap<u64, u32>,
    codes: Vec<u64>,
    sums: Vec<Sums>,
    /// If durations are asked for: not for all, if no row was met.
    times: Vec<Times>,
    /// All groups that are not known from the beginning are one.
    rest: Option<u32>,
}

const NOWHERE: u32 = u32::MAX;
/// Numbers that are small.
const NEAR: u64 = 1 << 20;

impl Groups {
    /// `codes`, and one for all others.
    pub(super) fn only(codes: impl IntoIterator<Item = u64>) -> Self {
        let mut groups = Self::default();
        for code in codes {
            groups.place(code);
        }
        groups.rest = Some(groups.place(REST));
        groups
    }

    #[inline]
    fn place(&mut self, code: u64) -> u32 {
        match self.near.get(code as usize) {
            Some(place) if code < NEAR && *place != NOWHERE => *place,
            _ => self.far_place(code),
        }
    }

    #[cold]
    fn far_place(&mut self, code: u64) -> u32 {
        let Self { near, far, codes, sums, rest, .. } = self;
        if let Some(place) = far.get(&code).copied().or(*rest) {
            return place;
        }
        let place = codes.len() as u32;
        codes.push(code);
        sums.push(Sums::default());
        if code < NEAR {
            let len = near.len().max(code as usize + 1);
            near.resize(len, NOWHERE);
            near[code as usize] = place;
        } else {
            far.insert(code, place);
        }
        place
    }

    /// Gives out what the groups came to, and begins again.
    fn drain(&mut self, mut done: impl FnMut(u64, Stats)) {
        let Self { codes, sums, times, .. } = self;
        for (at, (code, sums)) in codes.iter().zip(sums).enumerate() {
            if sums.requests > 0 {
                let durations = times.get_mut(at).map(|times| Box::new(mem::take(times).durations()));
                done(*code, Stats { sums: mem::take(sums), durations });
            }
        }
    }
}

#[derive(Debug, Default)]
struct Times {
    duration: Counted,
    first_byte: Counted,
    output: u64,
    output_millis: u64,
}

impl Times {
    fn durations(self) -> Durations {
        let Self { duration, first_byte, output, output_millis } = self;
        Durations { duration: duration.timing(), first_byte: first_byte.timing(), output, output_millis }
    }
}

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    sum: u64,
    /// By bucket of the histogram; without those that are only known as aggregates.
    buckets: Vec<u32>,
}

impl Counted {
    #[inline]
    fn add(&mut self, millis: u64) {
        let bucket = usize::from(histogram::bucket(millis));
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.count += 1;
        self.sum = self.sum.saturating_add(millis);
    }

    fn timing(self) -> Timing {
        Timing { count: self.count, sum: self.sum, histogram: Histogram::of(&self.buckets) }
    }
}
