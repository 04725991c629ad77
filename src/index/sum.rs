//! Sums of what is met on the way through the history.

use std::{mem, ops::Range, sync::Arc};

use hashbrown::HashMap;

use super::{
    Snapshot,
    columns::Value,
    histogram::{self, Histogram},
    plan::{AXES, Axis, Conditions, Values},
    query::{Durations, Stats, Timing},
    sums::{Cells, Sums},
    tree::{Day, Hour, Run},
    walk::Visitor,
};

/// Sums the events up that `conditions` let pass, apart by their values.
///
/// `done` is told what each group came to in each piece of time: the start of the piece, the number of the group and
/// its events. A group is numbered by its values: see [`Sum::code`].
pub(super) struct Sum<'a, F> {
    snapshot: &'a Snapshot,
    conditions: &'a Conditions,
    values: &'a [Values],
    durations: bool,
    way: Way,
    groups: Groups,
    /// The piece of time that is being summed up.
    start: i64,
    done: F,
    // Kept for their memory.
    rows: Vec<u32>,
    codes: Vec<u64>,
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
            Some(axis) if axis == Axis::Model && axes.all(|other| other == axis) => Way::By(axis),
            Some(_) => Way::Rows,
        };
        let (rows, codes) = (Vec::new(), Vec::new());
        Self { snapshot, conditions, values, durations, way, groups, start: 0, done, rows, codes }
    }

    /// After the last event.
    pub(super) fn finish(&mut self) {
        let Self { groups, start, done, .. } = self;
        groups.drain(|code, stats| done(*start, code, stats));
    }

    /// The number of the group of an event, by its numbers on the axes.
    fn code(&self, number: impl Fn(Axis) -> usize) -> u64 {
        self.values
            .iter()
            .fold(0, |code, values| code * values.len() as u64 + u64::from(values.of[number(values.axis)]))
    }

    fn add(&mut self, axis: Axis, number: usize, sums: Sums) {
        if self.conditions.on(axis).is_none_or(|passes| passes[number]) {
            let code = self.code(|_| number);
            self.groups.at(code).sums += sums;
        }
    }

    fn cells(&mut self, cells: &Cells) {
        match self.way {
            Way::All => self.groups.at(0).sums += cells.all,
            Way::By(axis) => {
                for (model, sums) in cells.by_model() {
                    self.add(axis, model.into(), *sums);
                }
            }
            Way::Rows => {}
        }
    }
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
        match self.way {
            Way::By(axis) => {
                let (first, last) = (days[0].number, days[days.len() - 1].number);
                for model in 0..self.snapshot.names.models.len() {
                    let sums = self.snapshot.prefix.between(model, first, last);
                    if sums.requests > 0 {
                        self.add(axis, model, sums);
                    }
                }
                // The prefix sums leave out the last day.
                if let Some(today) = self.snapshot.days.last().filter(|day| day.number == last) {
                    self.cells(&today.cells);
                }
            }
            Way::All => days.iter().for_each(|day| self.cells(&day.cells)),
            Way::Rows => days.iter().flat_map(|day| &day.hours).for_each(|hour| self.hour(hour)),
        }
    }

    fn hour(&mut self, hour: &Hour) {
        match self.way {
            Way::Rows => hour.runs.iter().for_each(|run| self.run(hour, run)),
            _ => self.cells(&hour.cells),
        }
    }

    fn run(&mut self, hour: &Hour, run: &Run) {
        match self.way {
            Way::Rows => self.rows(hour, run, 0..run.columns.len()),
            _ => self.cells(&run.cells),
        }
    }

    fn rows(&mut self, _: &Hour, run: &Run, range: Range<usize>) {
        let columns = &run.columns;
        let mut rows = mem::take(&mut self.rows);
        rows.clear();
        rows.extend(range.start as u32..range.end as u32);
        for axis in AXES {
            if let Some(passes) = self.conditions.on(axis) {
                rows.retain(|row| passes[columns.number(axis, *row as usize)]);
            }
        }
        let mut codes = mem::take(&mut self.codes);
        codes.clear();
        codes.extend(rows.iter().map(|row| self.code(|axis| columns.number(axis, *row as usize))));

        for (row, code) in rows.iter().zip(&codes) {
            let row = *row as usize;
            let group = self.groups.at(*code);
            group.sums += columns.sums(row);
            if self.durations {
                let times = group.times.get_or_insert_default();
                let duration = columns.value(Value::Duration, row);
                let output = columns.value(Value::Output, row);
                times.duration.add(duration);
                times.first_byte.add(columns.value(Value::FirstByte, row));
                if let Some((duration, output)) = duration.zip(output) {
                    times.output = times.output.saturating_add(output);
                    times.output_millis = times.output_millis.saturating_add(duration);
                }
            }
        }
        (self.rows, self.codes) = (rows, codes);
    }
}

/// The groups that were met.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Where a group is, by its number.
    places: HashMap<u64, u32>,
    known: Vec<(u64, Group)>,
    /// All groups that are not known from the beginning are one.
    rest: Option<u32>,
}

/// Its number is that of the rest.
pub(super) const REST: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Group {
    sums: Sums,
    times: Option<Box<Times>>,
}

impl Groups {
    /// `codes`, and one for all others.
    pub(super) fn only(codes: impl IntoIterator<Item = u64>) -> Self {
        let mut groups = Self::default();
        for code in codes {
            groups.at(code);
        }
        groups.at(REST);
        groups.rest = Some(groups.known.len() as u32 - 1);
        groups
    }

    fn at(&mut self, code: u64) -> &mut Group {
        let Self { places, known, rest } = self;
        let place = match places.get(&code).copied().or(*rest) {
            Some(place) => place,
            None => {
                let place = known.len() as u32;
                known.push((code, Group::default()));
                places.insert(code, place);
                place
            }
        };
        &mut known[place as usize].1
    }

    /// Gives out what the groups came to, and begins again.
    fn drain(&mut self, mut done: impl FnMut(u64, Stats)) {
        for (code, group) in &mut self.known {
            if group.sums.requests > 0 {
                done(*code, group.take());
            }
        }
    }
}

impl Group {
    fn take(&mut self) -> Stats {
        let durations = self.times.as_mut().map(|times| {
            let durations = Durations {
                duration: times.duration.timing(),
                first_byte: times.first_byte.timing(),
                output: times.output,
                output_millis: times.output_millis,
            };
            **times = Times::default();
            Box::new(durations)
        });
        Stats { sums: mem::take(&mut self.sums), durations }
    }
}

#[derive(Debug, Default)]
struct Times {
    duration: Counted,
    first_byte: Counted,
    output: u64,
    output_millis: u64,
}

#[derive(Debug, Default)]
struct Counted {
    sum: u64,
    /// By bucket of the histogram.
    counts: Vec<u32>,
}

impl Counted {
    #[inline]
    fn add(&mut self, millis: Option<u64>) {
        let Some(millis) = millis else { return };
        let bucket = usize::from(histogram::bucket(millis));
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum = self.sum.saturating_add(millis);
    }

    fn timing(&self) -> Timing {
        let histogram = Histogram::of(&self.counts);
        Timing { count: histogram.count(), sum: self.sum, histogram }
    }
}
