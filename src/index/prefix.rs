//! Prefix sums over days, by model.

use std::sync::Arc;

use super::{
    plan::Axis,
    sums::{ByNumber, Sums},
    tree::Day,
};

/// Prefix sums of each model, by its id.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefix(Vec<Arc<Series>>);

/// What a model came to by the end of each day that it was used on.
#[derive(Clone, Debug, Default)]
struct Series {
    /// Rising.
    days: Vec<i32>,
    /// Sums of days, each at most `u64::MAX`; there are far less than 2^64 days.
    sums: Vec<Sums<u128>>,
}

impl Prefix {
    /// Replaces all that is known from the first of `days` on. `days` is not empty.
    pub(super) fn replace(&mut self, days: &[Arc<Day>]) {
        let Some(first) = days.first() else { return };
        for series in &mut self.0 {
            if series.days.last().is_some_and(|&last| last >= first.number) {
                Arc::make_mut(series).truncate(first.number);
            }
        }
        for day in days {
            let models = day.cells.by(Axis::Model).into_iter().flat_map(ByNumber::iter);
            for (model, sums) in models {
                let model = model as usize;
                if model >= self.0.len() {
                    self.0.resize_with(model + 1, Arc::default);
                }
                Arc::make_mut(&mut self.0[model]).push(day.number, *sums);
            }
        }
    }

    /// The sums of the model in the days from `first` to `last`, both included.
    pub(super) fn between(&self, model: usize, first: i32, last: i32) -> Sums {
        self.0.get(model).map_or_else(Sums::default, |series| series.between(first, last))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let series = |series: &Arc<Series>| {
            size_of::<(Arc<Series>, Series)>()
                + series.days.capacity() * size_of::<i32>()
                + series.sums.capacity() * size_of::<Sums<u128>>()
        };
        self.0.iter().map(series).sum()
    }
}

impl Series {
    /// Forgets `day` and what comes after.
    fn truncate(&mut self, day: i32) {
        let len = self.days.partition_point(|&known| known < day);
        self.days.truncate(len);
        self.sums.truncate(len);
    }

    fn push(&mut self, day: i32, sums: Sums) {
        let before = self.sums.last().copied().unwrap_or_default();
        self.days.push(day);
        self.sums.push(before.zip(sums, |before, day| before + u128::from(day)));
    }

    fn between(&self, first: i32, last: i32) -> Sums {
        let by = |days: usize| days.checked_sub(1).map_or_else(Sums::default, |at| self.sums[at]);
        let until = by(self.days.partition_point(|&day| day <= last));
        let before = by(self.days.partition_point(|&day| day < first));
        until.zip(before, |until, before| u64::try_from(until - before).unwrap_or(u64::MAX))
    }
}
