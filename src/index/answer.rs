//! Answers to questions.

use std::{cmp::Reverse, sync::Arc};

use hashbrown::HashMap;

use super::{
    Answer, Bucket, Dimension, Filter, GroupRow, Grouping, Interval, Measure, Other, Query, Snapshot, Stats,
    Table,
    names::Names,
    plan::{Conditions, Values},
    query::HourOfWeek,
    sum::{Groups, REST, Sum, UNDECIDED, decode},
    walk,
    zone::Calendar,
};
use crate::Timestamp;

impl Snapshot {
    /// What the events that `query` asks for come to: nothing, if its range ends before it begins.
    pub(crate) fn query(&self, query: &Query) -> Answer {
        let mut asked = Asked::new(self, query);
        let mut answer = Answer::default();
        asked.pieces(query.interval, false, &[], Groups::default(), |_, _, start, stats| {
            answer.totals.add(&stats);
            add_to(&mut answer.series, start, stats);
        });
        (answer.aggregated, answer.undecided) = asked.retired();
        if query.interval == Interval::None {
            answer.series.clear();
        } else if query.fill {
            answer.series = asked.fill(answer.series);
        }
        if query.durations {
            answer.totals.durations.get_or_insert_default();
        }
        let mut groupings = query.groupings.iter().peekable();
        let mut known = None;
        while let Some(grouping) = groupings.next() {
            let rows = known.take().unwrap_or_else(|| asked.rows(grouping));
            // The same events are not summed up twice where a table is asked for both as a whole and cut.
            let is_same = |next: &&Grouping| next.by == grouping.by && next.sort == grouping.sort;
            known = groupings.peek().is_some_and(is_same).then(|| rows.clone());
            answer.groups.push(asked.table(grouping, rows));
        }
        answer
    }

    /// The values that events in a range have, those with the most requests first: `limit` of them, and how many more
    /// there are. Events without a value are left out.
    pub(crate) fn dimension(
        &self,
        dimension: Dimension,
        query: &Query,
        limit: usize,
    ) -> (Vec<(Arc<str>, Stats)>, usize) {
        let grouping = Grouping { by: vec![dimension], top: None, sort: Measure::Requests, series: false };
        let mut asked = Asked::new(self, query);
        let rows = asked.rows(&grouping);
        let table = asked.table(&grouping, rows);
        let named =
            table.rows.into_iter().filter_map(|row| Some((row.values.into_iter().next()??, row.stats)));
        let mut named = named.collect::<Vec<_>>();
        let more = named.len().saturating_sub(limit);
        named.truncate(limit);
        (named, more)
    }
}

/// The number of a group's values, and of those that the time decides.
type Group = (u64, HourOfWeek);

/// Without what the grouping does not ask for.
fn group(grouping: &Grouping, code: u64, (weekday, hour): HourOfWeek) -> Group {
    let (by_weekday, by_hour) = by_time(grouping);
    (code, (if by_weekday { weekday } else { 0 }, if by_hour { hour } else { 0 }))
}

fn by_time(grouping: &Grouping) -> (bool, bool) {
    [Dimension::Weekday, Dimension::HourOfDay].map(|time| grouping.by.contains(&time)).into()
}

fn values(grouping: &Grouping, names: &Names) -> Vec<Values> {
    grouping.by.iter().filter_map(|dimension| Values::new(*dimension, names)).collect()
}

/// What is asked of a snapshot.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    query: &'a Query,
    conditions: Conditions,
    /// Those that the time decides.
    hours: Vec<&'a Filter>,
    calendar: Calendar,
}

impl<'a> Asked<'a> {
    fn new(snapshot: &'a Snapshot, query: &'a Query) -> Self {
        Self {
            snapshot,
            query,
            conditions: Conditions::new(&query.filters, &snapshot.names),
            hours: query.filters.iter().filter(|filter| filter.dimension.axis().is_none()).collect(),
            calendar: Calendar::new(&query.zone),
        }
    }

    /// Tells `done` what the groups came to, in pieces of `interval` at most; if `by_hour`, or where the filters need
    /// it, in such that are of one hour of a weekday.
    fn pieces(
        &mut self,
        interval: Interval,
        by_hour: bool,
        values: &[Values],
        groups: Groups,
        done: impl FnMut(u64, HourOfWeek, i64, Stats),
    ) {
        self.walk(None, interval, by_hour, values, groups, done);
    }

    /// How many requests are known only as aggregates, and how many of those cannot be told to be asked for.
    fn retired(&mut self) -> (u64, u64) {
        let (mut aggregated, mut undecided) = (0_u64, 0_u64);
        if self.snapshot.retired.requests > 0 {
            let conditions = self.conditions.of_retired(&self.snapshot.names);
            self.walk(
                Some(&conditions),
                Interval::None,
                false,
                &[],
                Groups::default(),
                |code, _, _, stats| {
                    let count = if code == UNDECIDED { &mut undecided } else { &mut aggregated };
                    *count = count.saturating_add(stats.sums.requests);
                },
            );
        }
        (aggregated, undecided)
    }

    /// `retired`, if only what is known as aggregates is to be met.
    fn walk(
        &mut self,
        retired: Option<&Conditions>,
        interval: Interval,
        by_hour: bool,
        values: &[Values],
        groups: Groups,
        mut done: impl FnMut(u64, HourOfWeek, i64, Stats),
    ) {
        let Self { snapshot, query, conditions, hours, calendar } = self;
        let by_hour = by_hour || !hours.is_empty();
        let finest = match interval {
            Interval::QuarterHour => interval,
            _ if by_hour => Interval::Hour,
            _ => interval,
        };
        // Each of the two goes its own way through time.
        let mut clock = Calendar::new(&query.zone);
        let mut hour = (0, 0);
        let (from, end) = (query.from.unix_millis(), query.to.unix_millis() + 1);
        let durations = query.durations && retired.is_none();
        let conditions = retired.unwrap_or(conditions);
        let mut sum = Sum::new(snapshot, conditions, values, durations, groups, |start: i64, code, stats| {
            if by_hour {
                hour = clock.hour_of_week(start);
                if !hours.iter().all(|filter| filter.holds_at(hour)) {
                    return;
                }
            }
            let start = if finest == interval { start } else { clock.piece(interval, start).start };
            done(code, hour, start, stats);
        });
        if retired.is_some() {
            sum = sum.only_retired();
        }
        walk::walk(snapshot, (from, end), finest, calendar, &mut sum);
        sum.finish();
    }

    /// What events come to by their values, sorted: all that a grouping has but for its cut and its series.
    fn rows(&mut self, grouping: &Grouping) -> Vec<(Group, GroupRow)> {
        let names = &self.snapshot.names;
        let values = values(grouping, names);
        let (by_weekday, by_hour) = by_time(grouping);
        let mut groups = HashMap::<Group, Stats>::new();
        self.pieces(
            Interval::None,
            by_weekday || by_hour,
            &values,
            Groups::default(),
            |code, hour, _, stats| {
                groups.entry(group(grouping, code, hour)).or_default().add(&stats);
            },
        );
        let rows = groups.into_iter().map(|(group, stats)| {
            let mut coded = decode(group.0, &values).into_iter().zip(&values);
            let row = grouping.by.iter().map(|dimension| match dimension.axis() {
                Some(_) => coded.next().and_then(|(value, values)| values.name(value, names)),
                None => dimension.at(group.1),
            });
            (group, GroupRow { values: row.collect(), stats, series: Vec::new() })
        });
        let mut rows = rows.collect::<Vec<_>>();
        rows.sort_by(|(_, a), (_, b)| {
            let key = |row: &GroupRow| Reverse((grouping.sort.of(&row.stats.sums), row.stats.sums.requests));
            key(a).cmp(&key(b)).then_with(|| a.values.cmp(&b.values))
        });
        rows
    }

    fn table(&mut self, grouping: &Grouping, mut rows: Vec<(Group, GroupRow)>) -> Table {
        let values = values(grouping, &self.snapshot.names);
        let (by_weekday, by_hour) = by_time(grouping);
        let folded = rows.split_off(grouping.top.unwrap_or(usize::MAX).min(rows.len()));
        let mut table = Table::default();
        if !folded.is_empty() {
            let mut other = Other { rows: folded.len(), stats: Stats::default(), series: Vec::new() };
            folded.iter().for_each(|(_, row)| other.stats.add(&row.stats));
            table.other = Some(other);
        }
        if grouping.series && self.query.interval != Interval::None {
            let places =
                rows.iter().enumerate().map(|(at, (group, _))| (*group, at)).collect::<HashMap<_, _>>();
            let known = Groups::only(places.keys().map(|(code, _)| *code));
            let interval = self.query.interval;
            self.pieces(interval, by_weekday || by_hour, &values, known, |code, hour, start, stats| {
                let place = if code == REST { None } else { places.get(&group(grouping, code, hour)) };
                match (place, &mut table.other) {
                    (Some(at), _) => add_to(&mut rows[*at].1.series, start, stats),
                    (None, Some(other)) => add_to(&mut other.series, start, stats),
                    (None, None) => {}
                }
            });
        }
        table.rows = rows.into_iter().map(|(_, row)| row).collect();
        if self.query.fill && grouping.series && self.query.interval != Interval::None {
            let all = table.rows.iter_mut().map(|row| &mut row.series);
            for series in all.chain(table.other.as_mut().map(|other| &mut other.series)) {
                *series = self.fill(std::mem::take(series));
            }
        }
        table
    }

    /// The series with all pieces of the range.
    fn fill(&mut self, series: Vec<Bucket>) -> Vec<Bucket> {
        let (mut at, end) = (self.query.from.unix_millis(), self.query.to.unix_millis());
        let mut known = series.into_iter().peekable();
        let mut filled = Vec::new();
        while at <= end {
            let piece = self.calendar.piece(self.query.interval, at);
            let start = Timestamp::from_unix_millis(piece.start);
            let there = known.next_if(|bucket| bucket.start == start);
            filled.push(there.unwrap_or_else(|| Bucket { start, stats: Stats::default() }));
            at = piece.end;
        }
        filled
    }
}

/// Takes `stats` into the last bucket, or a new one behind it.
fn add_to(series: &mut Vec<Bucket>, start: i64, stats: Stats) {
    let start = Timestamp::from_unix_millis(start);
    match series.last_mut().filter(|last| last.start == start) {
        Some(last) => last.stats.add(&stats),
        None => series.push(Bucket { start, stats }),
    }
}

impl Measure {
    pub(crate) fn of(self, sums: &super::Sums) -> u64 {
        match self {
            Self::Requests => sums.requests,
            Self::Errors => sums.errors,
            Self::Aborted => sums.aborted,
            Self::Unknown => sums.unknown,
            Self::Input => sums.input,
            Self::Output => sums.output,
            Self::Total => sums.total,
            Self::CacheRead => sums.cache_read,
            Self::CacheWrite => sums.cache_write,
            Self::CacheWrite1h => sums.cache_write_1h,
            Self::Reasoning => sums.reasoning,
        }
    }
}
