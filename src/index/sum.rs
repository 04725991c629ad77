//! Sums of what is met on the way through the history.

use std::{mem, ops::Range, sync::Arc};

use hashbrown::HashMap;

use super::{
    Snapshot,
    columns::{Column, Columns, Value},
    plan::{AXES, Axis, Conditions, Pass, Values},
    query::Stats,
    retired::Retired,
    sums::{ByNumber, Cells, Sums},
    tally::{BEYOND, CACHE_WRITE_1H, COUNTS, Lanes},
    times::{self, Sealed, Times},
    tree::{Day, Hour, Run},
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
    codes: Vec<u64>,
    places: Vec<u32>,
}

/// How much of an event has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing: the sums of all are there.
    All,
    /// One number, by which there are sums.
    By(Axis),
    /// Several numbers, by which days that are over have sums at once, if those are few.
    Combined,
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
        let is_asked =
            |axis: &Axis| conditions.on(*axis).is_some() || values.iter().any(|values| values.axis == *axis);
        let way = match AXES.into_iter().filter(is_asked).collect::<Vec<_>>()[..] {
            [] => Way::All,
            [axis] => Way::By(axis),
            [.., Axis::Key] => Way::Rows,
            _ => Way::Combined,
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
            codes: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Leaves out all events that are kept one by one.
    pub(super) fn only_retired(self) -> Self {
        Self { only_retired: true, ..self }
    }

    /// After the last event.
    pub(super) fn finish(&mut self) {
        let Self { groups, start, done, durations, .. } = self;
        groups.drain(*durations, |code, stats| done(*start, code, stats));
    }

    fn by(&mut self, axis: Axis, cells: &ByNumber) {
        if !self.by_few(axis, |number| cells.of(number)) {
            cells.iter().for_each(|(number, sums)| self.add(axis, number as usize, *sums));
        }
    }

    /// Looks up the sums of those that are asked for, if they are few.
    #[inline]
    fn by_few<'s>(&mut self, axis: Axis, sums: impl Fn(u32) -> Option<&'s Sums>) -> bool {
        let Some(few) = self.few[axis as usize].take() else { return false };
        for number in &few {
            if let Some(sums) = sums(*number) {
                self.add(axis, *number as usize, *sums);
            }
        }
        self.few[axis as usize] = Some(few);
        true
    }

    fn add(&mut self, axis: Axis, number: usize, sums: Sums) {
        let pass = self.passes(axis, number);
        if let Some(place) = self.place(pass, |_| number) {
            self.groups.sums[place as usize] += sums;
        }
    }

    fn passes(&self, axis: Axis, number: usize) -> Pass {
        self.conditions.on(axis).map_or(Pass::Yes, |passes| passes[number])
    }

    /// Of an event that has these numbers on the axes.
    fn all_pass(&self, number: impl Fn(Axis) -> usize) -> Pass {
        self.conditions.axes().fold(Pass::Yes, |pass, axis| pass.and(self.passes(axis, number(axis))))
    }

    /// The number of the group of an event that has these numbers on the axes.
    fn code(&self, number: impl Fn(Axis) -> usize) -> u64 {
        let values = self.values.iter();
        values.fold(0, |code, values| code * values.len() as u64 + u64::from(values.of[number(values.axis)]))
    }

    /// Where the group is of an event that has these numbers on the axes.
    #[inline]
    fn place(&mut self, pass: Pass, number: impl Fn(Axis) -> usize) -> Option<u32> {
        match pass {
            Pass::Yes => Some(self.groups.place(self.code(number))),
            Pass::Unknown if self.only_retired => Some(self.groups.place(UNDECIDED)),
            _ => None,
        }
    }

    /// A whole day, if more is asked for than sums by one number.
    fn timed_day(&mut self, day: &Day) {
        match (self.way, &day.sealed) {
            (Way::All, Some(sealed)) => {
                self.all(day.cells.all);
                self.add_times(0, sealed.times());
            }
            (Way::By(axis), Some(sealed)) if sealed.times_by(axis).is_some() => {
                self.by(axis, day.by(axis));
                for (number, sealed) in sealed.times_by(axis).into_iter().flatten() {
                    let number = *number as usize;
                    if self.passes(axis, number) == Pass::Yes {
                        let code = self.code(|_| number);
                        self.add_times(code, sealed);
                    }
                }
            }
            _ => day.hours.iter().for_each(|hour| self.each(hour)),
        }
    }

    /// An hour of a day that has few models' side by side, if few are asked for.
    #[inline]
    fn model_hour(&mut self, day: &Day, at: usize) -> bool {
        let models = day.sealed.as_ref().and_then(|sealed| sealed.models.as_ref());
        models.is_some_and(|models| self.by_few(Axis::Model, |model| models.of_hour(model, at)))
    }

    /// A whole day, of which sums by several numbers are asked for.
    fn combined_day(&mut self, day: &Day) {
        let Some(combined) = day.sealed.as_ref().and_then(|sealed| sealed.combined.as_ref()) else {
            return day.hours.iter().for_each(|hour| self.each(hour));
        };
        for (numbers, sums) in combined.iter() {
            let number = |axis: Axis| usize::from(numbers[axis as usize]);
            if let Some(place) = self.place(self.all_pass(number), number) {
                self.groups.sums[place as usize] += *sums;
            }
        }
    }

    /// Each event of an hour by itself.
    fn each(&mut self, hour: &Hour) {
        if self.is_alien(hour) {
            return;
        }
        hour.runs.iter().for_each(|run| self.rows(run, 0..run.columns.len()));
        if let Some(retired) = &hour.retired {
            self.retired(retired, 0..retired.len());
        }
    }

    /// To the group with this number.
    fn add_times(&mut self, code: u64, sealed: &Sealed) {
        let place = self.groups.place(code) as usize;
        self.groups.times()[place].add_sealed(sealed);
    }

    fn all(&mut self, sums: Sums) {
        self.groups.add(0, sums);
    }

    fn cells(&mut self, cells: &Cells) {
        match self.way {
            Way::All => self.all(cells.all),
            Way::By(axis) => {
                if let Some(cells) = cells.by(axis) {
                    self.by(axis, cells);
                }
            }
            Way::Combined | Way::Rows => {}
        }
    }

    /// No event of the hour passes.
    fn is_alien(&self, hour: &Hour) -> bool {
        AXES.into_iter().any(|axis| match (&self.few[axis as usize], hour.cells.by(axis)) {
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
                            rows.extend(range.start as u32..range.end as u32);
                            keep(columns, axis, passes, rows);
                        }
                    },
                }
            }
        }
        for axis in axes {
            if let Some(passes) = self.conditions.on(axis) {
                keep(columns, axis, passes, rows);
            }
        }
    }

    /// Where the group of each of `rows` is, all of which pass.
    fn find(&mut self, columns: &Columns, rows: &[u32], places: &mut Vec<u32>) {
        places.clear();
        let Self { groups, codes, values, .. } = self;
        let [first, rest @ ..] = *values else {
            places.resize(rows.len(), groups.place(0));
            return;
        };
        codes.clear();
        codes.resize(rows.len(), 0);
        columns.numbers(first.axis, rows, |i, number| codes[i] = first.of[number].into());
        for values in rest {
            let len = values.len() as u64;
            columns.numbers(values.axis, rows, |i, number| {
                codes[i] = codes[i] * len + u64::from(values.of[number]);
            });
        }
        places.extend(codes.iter().map(|code| groups.place(*code)));
    }
}

/// Puts those of `range` into `rows` whose number passes; `only`, if that is one.
fn select(column: &[u16], range: Range<usize>, only: Option<u32>, passes: &[Pass], rows: &mut Vec<u32>) {
    let (start, column) = (range.start, &column[range]);
    rows.resize(column.len(), 0);
    let mut len = 0;
    // Without a jump that nobody could foresee.
    if let Some(only) = only.and_then(|only| u16::try_from(only).ok()) {
        // Many blocks have none: a comparison of many numbers at once.
        const BLOCK: usize = 32;
        for (block, numbers) in column.chunks(BLOCK).enumerate() {
            if numbers.iter().fold(false, |any, number| any | (*number == only)) {
                for (row, number) in ((start + block * BLOCK) as u32..).zip(numbers) {
                    rows[len] = row;
                    len += usize::from(*number == only);
                }
            }
        }
    } else {
        for (row, number) in (start as u32..).zip(column) {
            rows[len] = row;
            len += usize::from(passes[usize::from(*number)] == Pass::Yes);
        }
    }
    rows.truncate(len);
}

/// Keeps those of `rows` whose number passes.
fn keep(columns: &Columns, axis: Axis, passes: &[Pass], rows: &mut Vec<u32>) {
    let all = mem::take(rows);
    rows.resize(all.len(), 0);
    let mut len = 0;
    columns.numbers(axis, &all, |i, number| {
        rows[len] = all[i];
        len += usize::from(passes[number] == Pass::Yes);
    });
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
            Way::By(Axis::Model) if !self.durations => {
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
            Way::By(axis) if !self.durations => days.iter().for_each(|day| self.by(axis, day.by(axis))),
            Way::All if !self.durations => days.iter().for_each(|day| self.cells(&day.cells)),
            Way::Combined if !self.durations => days.iter().for_each(|day| self.combined_day(day)),
            _ => days.iter().for_each(|day| self.timed_day(day)),
        }
    }

    fn hour(&mut self, day: &Day, at: usize) {
        if self.way == Way::By(Axis::Model) && !self.durations && self.model_hour(day, at) {
            return;
        }
        let hour = &day.hours[at];
        match (self.way, &day.sealed) {
            (Way::All, _) if !self.durations => self.all(day.heads[at].sums),
            (Way::All, Some(sealed)) => {
                self.all(day.heads[at].sums);
                self.add_times(0, &sealed.times_of_hours[at]);
            }
            (Way::By(Axis::Model | Axis::Source | Axis::Kind), _) if !self.durations => {
                self.cells(&hour.cells);
            }
            _ => self.each(hour),
        }
    }

    fn run(&mut self, run: &Run) {
        match self.way {
            Way::All if !self.durations => self.all(run.sums),
            _ => self.rows(run, 0..run.columns.len()),
        }
    }

    fn rows(&mut self, run: &Run, range: Range<usize>) {
        if self.only_retired {
            return;
        }
        let columns = &run.columns;
        let (mut rows, mut places) = (mem::take(&mut self.rows), mem::take(&mut self.places));
        self.select(columns, range, &mut rows);
        if !rows.is_empty() {
            self.find(columns, &rows, &mut places);
            self.groups.add_rows(columns, &rows, &places);
            if self.durations {
                times::add_rows(self.groups.times(), columns, &rows, &places);
            }
        }
        (self.rows, self.places) = (rows, places);
    }

    fn retired(&mut self, retired: &Retired, cells: Range<usize>) {
        for at in cells {
            let number = |axis: Axis| retired.number(axis, at);
            let Some(place) = self.place(self.all_pass(number), number) else { continue };
            let cell = retired.get(at);
            self.groups.sums[place as usize] += cell.sums;
            if self.durations {
                self.groups.times()[place as usize].add_spent(cell.spent);
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
    /// Of rows that are not in `sums` yet; of the first groups.
    lanes: Vec<Lanes>,
    /// So many rows at most.
    in_lanes: usize,
    block: Block,
    /// If durations are asked for; of the first groups.
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

    /// What each of them came to, in no order.
    pub(super) fn into_sums(mut self) -> Vec<(u64, Sums)> {
        self.fold();
        self.codes.into_iter().zip(self.sums).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.codes.len()
    }

    pub(super) fn add(&mut self, code: u64, sums: Sums) {
        let place = self.place(code) as usize;
        self.sums[place] += sums;
    }

    #[inline]
    pub(super) fn place(&mut self, code: u64) -> u32 {
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

    /// Of all groups.
    fn times(&mut self) -> &mut [Times] {
        self.times.resize_with(self.sums.len(), Times::default);
        &mut self.times
    }

    /// Sums up rows of a run, each at its place.
    pub(super) fn add_rows(&mut self, columns: &Columns, rows: &[u32], places: &[u32]) {
        if columns.has_any() {
            for (row, place) in rows.iter().zip(places) {
                self.sums[*place as usize] += columns.sums(*row as usize);
            }
            return;
        }
        if self.in_lanes + rows.len() > usize::from(u16::MAX) {
            self.fold();
        }
        self.in_lanes += rows.len();
        self.lanes.resize(self.sums.len(), Lanes::default());
        for (rows, places) in rows.chunks(BLOCK).zip(places.chunks(BLOCK)) {
            self.block.add(&mut self.lanes, columns, rows, places);
        }
    }

    /// Takes what is in the lanes into the sums.
    fn fold(&mut self) {
        if self.in_lanes == 0 {
            return;
        }
        self.in_lanes = 0;
        for (lanes, sums) in self.lanes.iter_mut().zip(&mut self.sums) {
            if lanes.0[0] != 0 {
                *sums += mem::take(lanes).sums();
            }
        }
    }

    /// Gives out what the groups came to, and begins again.
    fn drain(&mut self, durations: bool, mut done: impl FnMut(u64, Stats)) {
        self.fold();
        if durations {
            self.times();
        }
        let Self { codes, sums, times, .. } = self;
        for (at, (code, sums)) in codes.iter().zip(sums).enumerate() {
            if sums.requests > 0 {
                let durations = times.get_mut(at).map(|times| Box::new(mem::take(times).durations()));
                done(*code, Stats { sums: mem::take(sums), durations });
            }
        }
    }
}

/// The numbers of a row that go into [`Lanes`] as they are, from the second lane on.
const WIDENED: [Value; 5] =
    [Value::Input, Value::Output, Value::CacheRead, Value::CacheWrite, Value::Reasoning];

/// Rows whose numbers are widened at once: few enough to stay in the nearest cache.
const BLOCK: usize = 256;

/// Their numbers. Kept for its memory, of which runs of few rows touch little.
#[derive(Debug, Default)]
struct Block {
    counts: Vec<u64>,
    widened: [Vec<u32>; WIDENED.len()],
}

impl Block {
    fn add(&mut self, lanes: &mut [Lanes], columns: &Columns, rows: &[u32], places: &[u32]) {
        let Self { counts, widened } = self;
        for (value, widened) in WIDENED.into_iter().zip(&mut *widened) {
            widened.clear();
            widened.resize(rows.len(), 0);
            columns.values(value).spread(rows, widened);
        }
        counts.clear();
        counts.resize(rows.len(), 0);
        columns.numbers(Axis::Kind, rows, |i, kind| counts[i] = COUNTS[kind % COUNTS.len()]);
        // As long as each other, which saves looking at the ends.
        let places = &places[..rows.len()];
        let counts = &counts[..rows.len()];
        let [input, output, cache_read, cache_write, reasoning] =
            widened.each_ref().map(|widened| &widened[..rows.len()]);
        for i in 0..rows.len() {
            let Lanes(lanes) = &mut lanes[places[i] as usize];
            lanes[0] += counts[i];
            lanes[1] += u64::from(input[i]);
            lanes[2] += u64::from(output[i]);
            lanes[3] += u64::from(cache_read[i]);
            lanes[4] += u64::from(cache_write[i]);
            lanes[5] += u64::from(reasoning[i]);
        }
        columns.values(Value::Total).each(rows, |i, total| {
            let known = u64::from(input[i]) + u64::from(output[i]);
            let lane = &mut lanes[places[i] as usize].0[BEYOND];
            *lane = lane.wrapping_add(total.wrapping_sub(known));
        });
        columns.values(Value::CacheWrite1h).each(rows, |i, more| {
            lanes[places[i] as usize].0[CACHE_WRITE_1H] += more;
        });
    }
}
