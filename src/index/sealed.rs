//! What a day keeps besides its sums, from when it is over until it changes.

use super::{
    plan::Axis,
    sum::Groups,
    sums::{ByNumber, Sums},
    times::{Sealed, Times, Took},
    tree::{Day, Hour},
};

#[derive(Debug)]
pub(super) struct SealedDay {
    /// How long all events took.
    times: Sealed,
    /// By model, source and kind, if those are few; the numbers rise.
    times_by: [Option<Vec<(u32, Sealed)>>; 3],
    /// Of the hours, in their order.
    pub(super) times_of_hours: Vec<Sealed>,
    /// If there are few.
    pub(super) combined: Option<Combined>,
    /// If there are few.
    pub(super) models: Option<ModelHours>,
}

/// Numbers on an axis that times are kept by, at most: whoever makes names up shall not have histograms of each.
const MOST_TIMED: usize = 500;

/// Sums that are kept besides, at most: as many as are no burden to any day, or one for so many events. That is a byte
/// and a half for each of them.
const MOST_ANYWAY: usize = 32;
const EVENTS_A_SUM: usize = 64;

const AXES: [Axis; 3] = [Axis::Model, Axis::Source, Axis::Kind];

impl SealedDay {
    pub(super) fn of(day: &Day) -> Self {
        let most = most_sums(day);
        let numbered = AXES.map(|axis| Numbered::new(day.by(axis)));
        let mut times_by = numbered.each_ref().map(|Numbered { known, .. }| {
            (known.len() <= MOST_TIMED).then(|| vec![Times::default(); known.len()])
        });
        let mut combining = Some(Combining::new(&numbered, most));
        let mut all = Times::default();
        let (mut rows, mut took) = (Vec::new(), Took::default());
        let mut times_of_hours = Vec::with_capacity(day.hours.len());
        for hour in &day.hours {
            let mut of_hour = [Times::default()];
            for run in &hour.runs {
                let columns = &run.columns;
                rows.clear();
                rows.extend(0..columns.len() as u32);
                took.look_up(columns, &rows);
                took.add(&mut of_hour, |_| 0);
                let numbers = [columns.model(), columns.source(), columns.kind()];
                for ((times, numbered), numbers) in times_by.iter_mut().zip(&numbered).zip(numbers) {
                    if let Some(times) = times {
                        took.add(times, |row| numbered.places[usize::from(numbers[row])]);
                    }
                }
            }
            if let Some(retired) = &hour.retired {
                for at in 0..retired.len() {
                    let spent = retired.get(at).spent;
                    of_hour[0].add_spent(spent);
                    for ((times, numbered), axis) in times_by.iter_mut().zip(&numbered).zip(AXES) {
                        if let Some(times) = times {
                            times[numbered.places[retired.number(axis, at)] as usize].add_spent(spent);
                        }
                    }
                }
            }
            combining = combining.and_then(|combining| combining.with(hour));
            let sealed = of_hour[0].seal();
            all.add_sealed(&sealed);
            times_of_hours.push(sealed);
        }
        let combined = combining.map(Combining::combined);
        let times_by = [0, 1, 2].map(|axis: usize| {
            let timed = numbered[axis].known.iter().copied().zip(times_by[axis].as_mut()?);
            let timed = timed.filter(|(_, times)| !times.is_empty());
            Some(timed.map(|(number, times)| (number, times.seal())).collect())
        });
        let models = ModelHours::of(day, most);
        Self { times: all.seal(), times_by, times_of_hours, combined, models }
    }

    /// Of all events.
    pub(super) fn times(&self) -> &Sealed {
        &self.times
    }

    /// By the numbers on an axis, if that is kept.
    pub(super) fn times_by(&self, axis: Axis) -> Option<&[(u32, Sealed)]> {
        self.times_by.get(axis as usize)?.as_deref()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let by = self.times_by.iter().flatten();
        let by_bytes = by.clone().map(|by| by.capacity() * size_of::<(u32, Sealed)>()).sum::<usize>();
        let sealed = by.flatten().map(|(_, sealed)| sealed).chain(&self.times_of_hours).chain([&self.times]);
        by_bytes
            + self.times_of_hours.capacity() * size_of::<Sealed>()
            + sealed.map(Sealed::heap_bytes).sum::<usize>()
            + self.combined.as_ref().map_or(0, Combined::heap_bytes)
            + self.models.as_ref().map_or(0, ModelHours::heap_bytes)
    }
}

fn most_sums(day: &Day) -> usize {
    let runs = day.hours.iter().flat_map(|hour| &hour.runs).map(|run| run.columns.len());
    let retired = day.hours.iter().flat_map(|hour| &hour.retired).map(|retired| retired.len());
    (runs.chain(retired).sum::<usize>() / EVENTS_A_SUM).max(MOST_ANYWAY)
}

/// The numbers of a day on an axis, numbered without gaps.
struct Numbered {
    /// Rising.
    known: Vec<u32>,
    /// Where each number is among them.
    places: Vec<u32>,
}

impl Numbered {
    fn new(by: &ByNumber) -> Self {
        let known = by.iter().map(|(number, _)| number).collect::<Vec<_>>();
        let mut places = vec![0; known.last().map_or(0, |last| *last as usize + 1)];
        known.iter().zip(0..).for_each(|(number, place)| places[*number as usize] = place);
        Self { known, places }
    }
}

/// Sums by what events have on all of [`AXES`]: whatever is asked about those is a sum of some of them.
#[derive(Debug)]
pub(super) struct Combined {
    /// Rising, each once. Apart from the sums, so that few lines of cache are touched for those that are not asked for.
    numbers: Box<[[u16; AXES.len()]]>,
    sums: Box<[Sums]>,
}

impl Combined {
    /// With the numbers in the order of the axes; none for keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u16; AXES.len()], &Sums)> {
        self.numbers.iter().zip(&self.sums)
    }

    fn heap_bytes(&self) -> usize {
        self.numbers.len() * size_of::<[u16; AXES.len()]>() + self.sums.len() * size_of::<Sums>()
    }
}

/// The hours of each model, side by side: their series reads what lies in a row, and nothing of the hours themselves.
#[derive(Debug)]
pub(super) struct ModelHours {
    /// Rising.
    models: Box<[u32]>,
    /// Of each model, where its sums begin, and a bit for each hour of the day that it has events in.
    places: Box<[(u32, u32)]>,
    /// By model, and then by hour.
    sums: Box<[Sums]>,
}

impl ModelHours {
    /// Of `most` sums; none if there are more.
    fn of(day: &Day, most: usize) -> Option<Self> {
        let of_hours =
            || day.hours.iter().zip(0_u32..).filter_map(|(hour, at)| Some((hour.cells.by(Axis::Model)?, at)));
        if of_hours().map(|(models, _)| models.iter().count()).sum::<usize>() > most {
            return None;
        }
        let mut all = of_hours()
            .flat_map(|(models, at)| models.iter().map(move |(model, sums)| (model, at, *sums)))
            .collect::<Vec<_>>();
        all.sort_by_key(|(model, at, _)| (*model, *at));
        let (mut models, mut places, mut begin) = (Vec::new(), Vec::new(), 0);
        for hours in all.chunk_by(|a, b| a.0 == b.0) {
            models.push(hours[0].0);
            places.push((begin, hours.iter().fold(0, |bits, (_, at, _)| bits | 1 << at)));
            begin += hours.len() as u32;
        }
        let sums = all.into_iter().map(|(_, _, sums)| sums).collect();
        Some(Self { models: models.into(), places: places.into(), sums })
    }

    /// What `model` came to in the hour `at` of the day's.
    #[inline]
    pub(super) fn of_hour(&self, model: u32, at: usize) -> Option<&Sums> {
        // On a busy day each model is there, at the place that its number says.
        let place = match self.models.get(model as usize) {
            Some(&there) if there == model => model as usize,
            _ => self.models.binary_search(&model).ok()?,
        };
        let (begin, hours) = self.places[place];
        let bit = 1 << at;
        (hours & bit != 0).then(|| &self.sums[begin as usize + (hours & (bit - 1)).count_ones() as usize])
    }

    fn heap_bytes(&self) -> usize {
        self.models.len() * size_of::<(u32, u32, u32)>() + self.sums.len() * size_of::<Sums>()
    }
}

/// [`Combined`] in the making.
struct Combining<'a> {
    numbered: &'a [Numbered; AXES.len()],
    groups: Groups,
    most: usize,
    // Kept for their memory.
    rows: Vec<u32>,
    places: Vec<u32>,
}

impl<'a> Combining<'a> {
    /// Of `most` sums.
    fn new(numbered: &'a [Numbered; AXES.len()], most: usize) -> Self {
        Self { numbered, groups: Groups::default(), most, rows: Vec::new(), places: Vec::new() }
    }

    /// And the events of `hour`; none if that gets too many.
    fn with(mut self, hour: &Hour) -> Option<Self> {
        for run in &hour.runs {
            let columns = &run.columns;
            let (mut rows, mut places) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.places));
            rows.clear();
            rows.extend(0..columns.len() as u32);
            places.clear();
            let numbers = columns.model().iter().zip(columns.source()).zip(columns.kind());
            places.extend(numbers.map(|((model, source), kind)| {
                self.groups.place(self.code([model, source, kind].map(|number| usize::from(*number))))
            }));
            self.groups.add_rows(columns, &rows, &places);
            (self.rows, self.places) = (rows, places);
            if self.groups.len() > self.most {
                return None;
            }
        }
        if let Some(retired) = &hour.retired {
            for at in 0..retired.len() {
                let code = self.code(AXES.map(|axis| retired.number(axis, at)));
                self.groups.add(code, retired.get(at).sums);
                if self.groups.len() > self.most {
                    return None;
                }
            }
        }
        Some(self)
    }

    /// Rises with the numbers.
    #[inline]
    fn code(&self, numbers: [usize; AXES.len()]) -> u64 {
        numbers.iter().zip(self.numbered).fold(0, |code, (number, Numbered { known, places })| {
            code * known.len() as u64 + u64::from(places[*number])
        })
    }

    fn numbers(&self, mut code: u64) -> [u16; AXES.len()] {
        let mut numbers = [0; AXES.len()];
        for (number, Numbered { known, .. }) in numbers.iter_mut().zip(self.numbered).rev() {
            // Of these axes all numbers have two bytes.
            *number = known[(code % known.len() as u64) as usize] as u16;
            code /= known.len() as u64;
        }
        numbers
    }

    fn combined(mut self) -> Combined {
        let mut groups = std::mem::take(&mut self.groups).into_sums();
        groups.sort_by_key(|(code, _)| *code);
        Combined {
            numbers: groups.iter().map(|(code, _)| self.numbers(*code)).collect(),
            sums: groups.iter().map(|(_, sums)| *sums).collect(),
        }
    }
}
