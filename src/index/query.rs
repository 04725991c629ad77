//! Questions and answers.

use std::{ops::Range, sync::Arc};

use super::{
    Snapshot, Sums,
    sums::Cells,
    tree::{DAY, Day, HOUR, Hour, Run},
};
use crate::Timestamp;

/// A question: both ends of the range are inclusive, to the millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Exact and case-sensitive.
    pub(crate) model: Option<&'a str>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) totals: Sums,
    /// Unsorted; only models with events in the range.
    pub(crate) by_model: Vec<(Arc<str>, Sums)>,
    /// By UTC hour, rising; only hours with events in the range.
    pub(crate) by_hour: Vec<(Timestamp, Sums)>,
}

impl Snapshot {
    /// The sums over the events that `query` asks for: none, if its range ends before it begins or nothing was counted
    /// under its model.
    pub(crate) fn query(&self, query: &Query<'_>) -> Answer {
        let models = match query.model {
            None => 0..self.models.len(),
            Some(name) => match self.models.iter().position(|known| **known == *name) {
                Some(id) => id..id + 1,
                None => return Answer::default(),
            },
        };
        if query.from > query.to {
            return Answer::default();
        }
        let mut sum = Sum {
            from: query.from.unix_millis(),
            end: query.to.unix_millis() + 1,
            only: query.model.map(|_| models.start as u16),
            by_model: vec![Sums::default(); models.len()],
            by_hour: Vec::new(),
        };
        sum.add(self);

        let mut answer = Answer { by_hour: sum.by_hour, ..Answer::default() };
        for (name, sums) in self.models[models].iter().zip(sum.by_model) {
            if sums.requests > 0 {
                answer.totals += sums;
                answer.by_model.push((Arc::clone(name), sums));
            }
        }
        answer
    }
}

/// What is summed up, and what it came to so far. Hours come in rising order.
struct Sum {
    /// The first millisecond of the range, and the first after it.
    from: i64,
    end: i64,
    /// Only this model, else all.
    only: Option<u16>,
    /// Of the only model, or of each by its id.
    by_model: Vec<Sums>,
    by_hour: Vec<(Timestamp, Sums)>,
}

impl Sum {
    /// Takes in what lies in the range.
    fn add(&mut self, index: &Snapshot) {
        let Self { from, end, .. } = *self;
        let days = &index.days;
        // The days from `first` up to `behind` lie in the range as a whole.
        let first = days.partition_point(|day| day.start() < from);
        let behind = days.partition_point(|day| day.start() + DAY <= end);

        if let Some(ragged) = first.checked_sub(1) {
            self.add_hours(&days[ragged]);
        }
        if first < behind {
            self.add_days(index, &days[first..behind]);
        }
        if let Some(ragged) = days.get(behind).filter(|_| first <= behind) {
            self.add_hours(ragged);
        }
    }

    /// Takes in whole days that follow each other.
    fn add_days(&mut self, index: &Snapshot, days: &[Arc<Day>]) {
        let (first, last) = (days[0].number, days[days.len() - 1].number);
        let from = self.only.map_or(0, usize::from);
        for (model, sums) in (from..).zip(&mut self.by_model) {
            *sums += index.prefix.between(model, first, last);
        }
        // The prefix sums leave out the last day.
        if let Some(today) = index.days.last().filter(|day| day.number == last) {
            self.add_cells(&today.cells);
        }
        for hour in days.iter().flat_map(|day| &day.hours) {
            self.add_to_hour(hour, self.of(&hour.cells));
        }
    }

    /// Takes in what lies in the range, of a day that does not as a whole.
    fn add_hours(&mut self, day: &Day) {
        for hour in &day.hours {
            if self.from <= hour.start && hour.start + HOUR <= self.end {
                self.add_cells(&hour.cells);
                self.add_to_hour(hour, self.of(&hour.cells));
            } else if self.from < hour.start + HOUR && hour.start < self.end {
                self.add_runs(hour);
            }
        }
    }

    /// Takes in what lies in the range, of an hour that does not as a whole.
    fn add_runs(&mut self, hour: &Hour) {
        // Clamped to the hour, so that they fit.
        let from = (self.from - hour.start).clamp(0, HOUR) as u32;
        let end = (self.end - hour.start).clamp(0, HOUR) as u32;
        for run in &hour.runs {
            if from <= run.first() && run.last() < end {
                self.add_cells(&run.cells);
                self.add_to_hour(hour, self.of(&run.cells));
            } else {
                let sums = self.add_rows(run, run.columns.between(from, end));
                self.add_to_hour(hour, sums);
            }
        }
    }

    /// Takes in some events of a run, one by one, and returns what they come to.
    fn add_rows(&mut self, run: &Run, rows: Range<usize>) -> Sums {
        let mut all = Sums::default();
        for (row, &model) in rows.clone().zip(&run.columns.model()[rows]) {
            let at = match self.only {
                None => usize::from(model),
                Some(only) if only == model => 0,
                Some(_) => continue,
            };
            let sums = run.columns.sums(row);
            self.by_model[at] += sums;
            all += sums;
        }
        all
    }

    fn add_cells(&mut self, cells: &Cells) {
        if self.only.is_some() {
            let sums = self.of(cells);
            self.by_model[0] += sums;
        } else {
            for (model, sums) in cells.by_model() {
                self.by_model[usize::from(model)] += *sums;
            }
        }
    }

    fn add_to_hour(&mut self, hour: &Hour, sums: Sums) {
        let start = Timestamp::from_unix_millis(hour.start);
        match self.by_hour.last_mut() {
            Some((last, known)) if *last == start => *known += sums,
            _ if sums.requests > 0 => self.by_hour.push((start, sums)),
            _ => {}
        }
    }

    /// The part of `cells` that is asked for.
    fn of(&self, cells: &Cells) -> Sums {
        match self.only {
            Some(model) => cells.of(model).copied().unwrap_or_default(),
            None => cells.all,
        }
    }
}
