//! The same answers, by looking at every event.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use jiff::{ToSpan, civil, tz::TimeZone};

use crate::{
    Timestamp, UsageEvent,
    index::{
        Answer, Bucket, Dimension, Durations, Filter, GroupRow, Grouping, Histogram, Interval, Other,
        Pattern, Query, Stats, Sums, Table, Timing, columns::millis, histogram::bucket,
    },
};

pub(super) fn query(events: &[UsageEvent], query: &Query) -> Answer {
    let events = events.iter().filter(|event| {
        (query.from..=query.to).contains(&event.timestamp)
            && query
                .filters
                .iter()
                .all(|filter| holds(filter, value(event, filter.dimension, query).as_deref()))
    });
    let events = events.collect::<Vec<_>>();
    Answer {
        totals: stats(&events, query),
        series: series(&events, query),
        groups: query.groupings.iter().map(|grouping| table(&events, grouping, query)).collect(),
        ..Answer::default()
    }
}

pub(super) fn holds(filter: &Filter, value: Option<&str>) -> bool {
    let fits = filter.any_of.iter().any(|pattern| match pattern {
        Pattern::Exact(text) => value == Some(text),
        Pattern::Prefix(text) => value.is_some_and(|value| value.starts_with(text)),
        Pattern::Absent => value.is_none(),
    });
    if filter.not { !fits } else { fits }
}

pub(super) fn value(event: &UsageEvent, dimension: Dimension, query: &Query) -> Option<String> {
    let text = |text: &Option<std::borrow::Cow<'static, str>>| text.as_deref().map(String::from);
    match dimension {
        Dimension::Model => Some(event.model.clone().into_owned()),
        Dimension::Key => event.key.map(|key| key.to_string()),
        Dimension::Provider => text(&event.provider),
        Dimension::Operation => text(&event.operation),
        Dimension::Endpoint => text(&event.endpoint),
        Dimension::StatusClass => {
            (100..600).contains(&event.status).then(|| format!("{}xx", event.status / 100))
        }
        Dimension::Status => Some(event.status.to_string()),
        Dimension::Stream => event.stream.map(|stream| stream.to_string()),
        Dimension::Usage => {
            event.usage.map(|usage| serde_json::to_value(usage).unwrap().as_str().unwrap().to_owned())
        }
        Dimension::Weekday => {
            // 1970 began with a Thursday.
            let day = local(event.timestamp, query).div_euclid(86_400_000);
            Some(((day + 3).rem_euclid(7) + 1).to_string())
        }
        Dimension::HourOfDay => {
            Some((local(event.timestamp, query).div_euclid(3_600_000).rem_euclid(24)).to_string())
        }
    }
}

fn zone(query: &Query) -> TimeZone {
    TimeZone::get(&query.zone.to_string()).unwrap()
}

/// What the clock shows, in milliseconds.
fn local(time: Timestamp, query: &Query) -> i64 {
    // The last day that clocks are known for is a day short.
    let moment = jiff::Timestamp::from_millisecond(time.unix_millis()).unwrap_or(jiff::Timestamp::MAX);
    time.unix_millis() + i64::from(zone(query).to_offset(moment).seconds()) * 1000
}

/// When the piece begins that `time` lies in. Not for clocks that are changed by less than a piece.
fn start(time: Timestamp, query: &Query) -> Timestamp {
    let local = local(time, query);
    let epoch = civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let date = epoch.checked_add(local.milliseconds()).unwrap_or(civil::DateTime::MAX).date();
    let date = match query.interval {
        Interval::None => return Timestamp::MIN,
        Interval::QuarterHour => {
            return Timestamp::from_unix_millis(time.unix_millis() - local.rem_euclid(900_000));
        }
        Interval::Hour => {
            return Timestamp::from_unix_millis(time.unix_millis() - local.rem_euclid(3_600_000));
        }
        Interval::Day => date,
        Interval::Week => date - i64::from(date.weekday().to_monday_zero_offset()).days(),
        Interval::Month => date.first_of_month(),
    };
    let start = date.to_zoned_datetime(zone(query)).and_then(|date| date.start_of_day());
    let start = start.map(|start| start.timestamp().as_millisecond());
    // The same of the last day.
    let offset = local - time.unix_millis();
    let days = (date.at(0, 0, 0, 0).duration_since(epoch)).as_millis() as i64;
    Timestamp::from_unix_millis(start.unwrap_or(days - offset))
}

fn series(events: &[&UsageEvent], query: &Query) -> Vec<Bucket> {
    if query.interval == Interval::None {
        return Vec::new();
    }
    let mut pieces = BTreeMap::<Timestamp, Vec<&UsageEvent>>::new();
    events.iter().for_each(|event| pieces.entry(start(event.timestamp, query)).or_default().push(event));
    pieces.into_iter().map(|(start, events)| Bucket { start, stats: stats(&events, query) }).collect()
}

fn table(events: &[&UsageEvent], grouping: &Grouping, query: &Query) -> Table {
    let mut groups = BTreeMap::<Vec<Option<Arc<str>>>, Vec<&UsageEvent>>::new();
    for event in events {
        let values = grouping.by.iter().map(|dimension| value(event, *dimension, query).map(Arc::from));
        groups.entry(values.collect()).or_default().push(event);
    }
    let series = |events: &[&UsageEvent]| if grouping.series { series(events, query) } else { Vec::new() };
    let mut rows = groups.into_iter().collect::<Vec<_>>();
    // Stable: equal ones stay sorted by their values.
    rows.sort_by_cached_key(|(_, events)| {
        let sums = stats(events, query).sums;
        Reverse((grouping.sort.of(&sums), sums.requests))
    });
    let folded = rows.split_off(grouping.top.unwrap_or(rows.len()).min(rows.len()));
    let rest = folded.iter().flat_map(|(_, events)| events).copied().collect::<Vec<_>>();
    Table {
        rows: rows
            .into_iter()
            .map(|(values, events)| GroupRow {
                values,
                stats: stats(&events, query),
                series: series(&events),
            })
            .collect(),
        other: (!folded.is_empty()).then(|| Other {
            rows: folded.len(),
            stats: stats(&rest, query),
            series: series(&rest),
        }),
    }
}

/// The true sums, which saturate only when they are shown.
fn stats(events: &[&UsageEvent], query: &Query) -> Stats {
    let sum = |count: &dyn Fn(&UsageEvent) -> Option<u64>| {
        let sum = events.iter().map(|event| u128::from(count(event).unwrap_or(0))).sum::<u128>();
        u64::try_from(sum).unwrap_or(u64::MAX)
    };
    let is = |set: bool| Some(u64::from(set));
    let sums = Sums {
        requests: events.len() as u64,
        errors: sum(&|event| is(event.is_error())),
        aborted: sum(&|event| is(event.is_aborted())),
        unknown: sum(&|event| is(event.tokens.is_unknown())),
        input: sum(&|event| event.tokens.input),
        output: sum(&|event| event.tokens.output),
        total: sum(&|event| {
            let (input, output) = (event.tokens.input, event.tokens.output);
            // Without a total, what is known of it.
            event.tokens.total.or(Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))))
        }),
        cache_read: sum(&|event| event.tokens.cache_read),
        cache_write: sum(&|event| event.tokens.cache_write),
        cache_write_1h: sum(&|event| event.tokens.cache_write_1h),
        reasoning: sum(&|event| event.tokens.reasoning),
    };
    let timing = |time: &dyn Fn(&UsageEvent) -> Option<u64>| {
        let mut counts = vec![0; 4_000];
        events.iter().filter_map(|event| time(event)).for_each(|time| counts[usize::from(bucket(time))] += 1);
        Timing {
            count: events.iter().filter(|event| time(event).is_some()).count() as u64,
            sum: sum(time),
            histogram: Histogram::of(&counts),
        }
    };
    let duration = |event: &UsageEvent| event.duration.map(millis);
    let durations = query.durations.then(|| Durations {
        duration: timing(&duration),
        first_byte: timing(&|event| event.time_to_first_byte.map(millis)),
        output: sum(&|event| event.tokens.output.filter(|_| event.duration.is_some())),
        output_millis: sum(&|event| duration(event).filter(|_| event.tokens.output.is_some())),
    });
    Stats { sums, durations: durations.map(Box::new) }
}
