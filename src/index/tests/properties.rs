//! Any history, any range: the index answers as a scan does.

use std::{borrow::Cow, time::Duration};

use proptest::{prelude::*, sample::select};

use super::{all, at, event, indexed, indexed_in_parts, metrics, naive};
use crate::{
    Ending, KeyHash, Timestamp, Tokens, UsageEvent, UsageQuality,
    index::{
        Answer, Bucket, Cursor, Dimension, Filter, Grouping, Index, Interval, Measure, Pattern, Query,
        Snapshot, Sums,
        plan::Axis,
        sort,
        sums::{ByNumber, Cells},
    },
};

const QUARTER: i64 = 900_000;

/// Close together, often the same, often at the border of a quarter, an hour or a day; also the first and the last.
fn times() -> impl Strategy<Value = Timestamp> {
    let base = select(vec![
        0, // 1970: days before have negative numbers
        1_767_225_600_000,
        Timestamp::MIN.unix_millis(),
        Timestamp::MAX.unix_millis() + 1,
        -30_000_000_000_000,
    ]);
    let near = select(vec![0, -1, 1]);
    let offset = prop_oneof![
        4 => (-300_i64..300).prop_map(|quarters| quarters * QUARTER),
        2 => (-4_i64..4).prop_map(|days| days * 96 * QUARTER),
        4 => -3 * 96 * QUARTER..3 * 96 * QUARTER,
    ];
    // Clocks are put forward or back, in Berlin and in New York.
    let changes = select(
        ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"]
            .map(|time| at(time).unix_millis())
            .to_vec(),
    );
    (prop_oneof![1 => base, 5 => Just(1_767_225_600_000), 3 => changes], offset, near)
        .prop_map(|(base, offset, near)| Timestamp::from_unix_millis(base + offset + near))
}

/// Counts at the edges of what a column's width holds, and beyond.
fn counts() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        2 => Just(None),
        4 => (0..5_000_u64).prop_map(Some),
        1 => (0..3_u64).prop_map(|off| Some(u64::from(u16::MAX) - 1 + off)),
        1 => (0..3_u64).prop_map(|off| Some(u64::from(u32::MAX) - 1 + off)),
        1 => (0..2_u64).prop_map(|off| Some(u64::MAX - off)),
    ]
}

const MODELS: [&str; 6] = ["gpt-4o", "gpt-4o-mini", "claude", "", "__other__", "unknown"];

fn models() -> impl Strategy<Value = String> {
    prop_oneof![6 => select(&MODELS[..]).prop_map(String::from), 1 => "[a-z]{1,2}"]
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (counts(), counts(), prop::option::of(counts()), counts(), counts(), counts(), counts()).prop_map(
        |(input, output, total, cache_read, cache_write, cache_write_1h, reasoning)| Tokens {
            input,
            output,
            total: total.unwrap_or_else(|| input?.checked_add(output?)),
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
        },
    )
}

fn sources() -> impl Strategy<Value = [Option<&'static str>; 3]> {
    let text = |texts: &'static [&str]| prop::option::of(select(texts));
    [
        text(&["openai", "anthropic"]),
        text(&["chat", "embeddings"]),
        text(&["POST /v1/chat", "POST /v1/messages"]),
    ]
}

fn times_taken() -> impl Strategy<Value = Option<Duration>> {
    let micros = prop_oneof![5 => 0..100_000_000_u64, 1 => any::<u64>()];
    prop::option::of(micros.prop_map(Duration::from_micros))
}

pub(crate) fn events() -> impl Strategy<Value = UsageEvent> {
    let end = prop::option::of(select(vec![
        Ending::Complete,
        Ending::ClientClosed,
        Ending::UpstreamError,
        Ending::StreamError,
        Ending::Unknown,
    ]));
    let usage =
        prop::option::of(select(vec![UsageQuality::Complete, UsageQuality::Missing, UsageQuality::Unknown]));
    let status = prop_oneof![Just(200), Just(499), any::<u16>()];
    (
        times(),
        models(),
        prop_oneof![1 => Just(Tokens::default()), 4 => tokens()],
        status,
        end,
        usage,
        any::<u8>(),
        sources(),
        (times_taken(), times_taken()),
    )
        .prop_map(|(time, model, tokens, status, end, usage, key, source, taken)| {
            let mut event = UsageEvent::new(time, model);
            (event.tokens, event.status, event.end, event.usage) = (tokens, status, end, usage);
            [event.provider, event.operation, event.endpoint] = source.map(|text| text.map(Cow::Borrowed));
            (event.duration, event.time_to_first_byte) = taken;
            event.key = (key < 128).then(|| KeyHash::of(&[key % 16]));
            event.stream = (key % 3 > 0).then_some(key % 3 > 1);
            event
        })
}

pub(super) fn histories() -> impl Strategy<Value = Vec<UsageEvent>> {
    prop::collection::vec(events(), 0..150)
}

/// One by one, some at a time, all at once.
pub(super) fn parts() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 2..500_usize, Just(usize::MAX)]
}

/// Any range, one that begins and ends at events, or all there is.
pub(super) fn ask(
    history: &[UsageEvent],
    (from, to, kind): (Timestamp, Timestamp, usize),
) -> (Timestamp, Timestamp) {
    let time = |i: usize| history.get(i % history.len().max(1)).map_or(from, |event| event.timestamp);
    match kind % 4 {
        0 => (Timestamp::MIN, Timestamp::MAX),
        1 => (from.min(to), from.max(to)),
        2 => (time(kind), time(kind)),
        _ => (time(kind).min(time(kind / 7)), time(kind).max(time(kind / 7))),
    }
}

pub(super) fn ranges() -> impl Strategy<Value = (Timestamp, Timestamp, usize)> {
    (times(), times(), any::<usize>())
}

const DIMENSIONS: [Dimension; 11] = [
    Dimension::Model,
    Dimension::Key,
    Dimension::Provider,
    Dimension::Operation,
    Dimension::Endpoint,
    Dimension::StatusClass,
    Dimension::Status,
    Dimension::Stream,
    Dimension::Usage,
    Dimension::Weekday,
    Dimension::HourOfDay,
];

/// Of values that are there, that look like them, and that are not.
fn patterns(dimension: Dimension) -> impl Strategy<Value = Pattern> {
    let key = KeyHash::of(&[3]).to_string();
    let texts = match dimension {
        Dimension::Model => MODELS.map(String::from).to_vec(),
        Dimension::Key => vec![key[..1].to_owned(), key.to_uppercase(), key],
        Dimension::Provider => vec!["openai".into(), "an".into()],
        Dimension::Operation => vec!["chat".into(), "e".into()],
        Dimension::Endpoint => vec!["POST /v1/chat".into(), "POST".into()],
        Dimension::StatusClass => vec!["2xx".into(), "4".into(), "5xx".into()],
        Dimension::Status => vec!["200".into(), "4".into(), "499".into()],
        Dimension::Stream => vec!["true".into(), "false".into(), "t".into()],
        Dimension::Usage => vec!["complete".into(), "unknown".into()],
        Dimension::Weekday => vec!["1".into(), "7".into(), "3".into()],
        Dimension::HourOfDay => vec!["0".into(), "1".into(), "23".into()],
    };
    prop_oneof![
        4 => select(texts.clone()).prop_map(Pattern::Exact),
        2 => select(texts).prop_map(Pattern::Prefix),
        1 => Just(Pattern::Prefix(String::new())),
        2 => Just(Pattern::Absent),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    let any_of =
        |dimension| (Just(dimension), any::<bool>(), prop::collection::vec(patterns(dimension), 0..4));
    select(&DIMENSIONS[..]).prop_flat_map(any_of).prop_map(|(dimension, not, any_of)| Filter {
        dimension,
        not,
        any_of,
    })
}

fn groupings() -> impl Strategy<Value = Grouping> {
    let measures =
        [Measure::Requests, Measure::Errors, Measure::Total, Measure::CacheWrite1h, Measure::Unknown];
    (
        prop::collection::vec(select(&DIMENSIONS[..]), 1..=2),
        prop::option::of(0..4_usize),
        select(measures.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(by, top, sort, series)| Grouping { by, top, sort, series })
}

/// Without its range.
pub(crate) fn queries() -> impl Strategy<Value = Query> {
    let intervals = [
        Interval::None,
        Interval::QuarterHour,
        Interval::Hour,
        Interval::Day,
        Interval::Week,
        Interval::Month,
    ];
    // Clocks that the naive way of looking at them is right for.
    let zones =
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Kiritimati"];
    (
        prop_oneof![2 => prop::collection::vec(filters(), 0..1), 1 => prop::collection::vec(filters(), 1..3)],
        select(intervals.to_vec()),
        select(zones.to_vec()),
        prop::collection::vec(groupings(), 0..3),
        any::<bool>(),
    )
        .prop_map(|(filters, interval, zone, groupings, durations)| Query {
            filters,
            interval,
            zone: zone.parse().unwrap(),
            groupings,
            durations,
            ..Query::over(Timestamp::MIN, Timestamp::MAX)
        })
}

fn check(snapshot: &Snapshot, history: &[UsageEvent], query: &Query) -> Result<Answer, TestCaseError> {
    let answer = snapshot.query(query);
    prop_assert_eq!(&answer, &naive::query(history, query), "{:?}", query);
    if query.interval != Interval::None {
        prop_assert_eq!(sum_of(answer.series.iter().map(|bucket| bucket.stats.sums)), answer.totals.sums);
    }
    for (table, grouping) in answer.groups.iter().zip(&query.groupings) {
        let other = table.other.iter().map(|other| other.stats.sums);
        let rows = table.rows.iter().map(|row| row.stats.sums);
        prop_assert_eq!(sum_of(rows.chain(other)), answer.totals.sums, "{:?}", grouping);
    }
    Ok(answer)
}

fn sum_of(parts: impl Iterator<Item = Sums>) -> Sums {
    parts.fold(Sums::default(), |mut sum, part| {
        sum += part;
        sum
    })
}

proptest! {
    #[test]
    fn the_index_answers_as_a_scan_does(
        history in histories(),
        asked in prop::collection::vec(ranges(), 8),
        models in prop::collection::vec(models(), 8),
        part in parts(),
    ) {
        let snapshot = indexed_in_parts(&history, part);
        for (asked, model) in asked.into_iter().zip(&models) {
            let (from, to) = ask(&history, asked);
            check(&snapshot, &history, &metrics(from, to, None))?;
            check(&snapshot, &history, &metrics(from, to, Some(model)))?;
        }
    }

    /// Every filter, grouping, interval and zone; `other` included.
    #[test]
    fn any_question_is_answered_as_a_scan_does(
        history in histories(),
        asked in prop::collection::vec((ranges(), queries()), 4),
        part in parts(),
    ) {
        let snapshot = indexed_in_parts(&history, part);
        for (range, query) in asked {
            let (from, to) = ask(&history, range);
            check(&snapshot, &history, &Query { from, to, ..query })?;
        }
    }

    #[test]
    fn each_node_has_the_sums_of_its_events(history in histories(), late in histories(), part in parts()) {
        let snapshot = indexed_in_parts(history.iter().chain(&late), part);
        for day in &snapshot.days {
            let (mut of_day, mut by_key) = (Cells::default(), ByNumber::default());
            for (hour, head) in day.hours.iter().zip(&day.heads) {
                let mut of_hour = Cells::default();
                for run in &hour.runs {
                    let (columns, mut of_run) = (&run.columns, Sums::default());
                    for row in 0..columns.len() {
                        let numbers = [columns.model()[row], columns.source()[row], columns.kind()[row]];
                        of_run += columns.sums(row);
                        of_hour.add(numbers, columns.sums(row));
                        by_key.add(columns.number(Axis::Key, row) as u32, columns.sums(row));
                    }
                    prop_assert_eq!(run.sums, of_run);
                }
                prop_assert_eq!((&hour.cells, head.sums), (&of_hour, of_hour.all));
                of_day.merge(&of_hour);
            }
            prop_assert_eq!((&day.cells, &day.keys), (&of_day, &by_key));
        }
    }

    #[test]
    fn keys_are_sorted_however_far_they_are_from_their_places(
        mut keys in prop::collection::vec(0..200_u64, 0..300),
        sorted_by in prop_oneof![Just(1), 2..50_u64, Just(u64::MAX)],
    ) {
        let mut expected = keys.clone();
        expected.sort();
        // All, nearly all, or none of them in order.
        keys.sort_by_key(|key| key / sorted_by);
        sort(&mut keys);
        prop_assert_eq!(keys, expected);
    }

    /// F26
    #[test]
    fn the_parts_of_a_range_sum_to_the_range(
        history in histories(),
        range in ranges(),
        mut cuts in prop::collection::vec(times(), 0..12),
        query in queries(),
    ) {
        let snapshot = indexed(&history);
        let (from, to) = ask(&history, range);
        cuts.retain(|cut| from < *cut && *cut <= to);
        cuts.sort();
        let mut sum = Sums::default();
        let mut start = from;
        for cut in cuts {
            let before = Timestamp::from_unix_millis(cut.unix_millis() - 1);
            sum += snapshot.query(&Query { from: start, to: before, ..query.clone() }).totals.sums;
            start = cut;
        }
        sum += snapshot.query(&Query { from: start, to, ..query.clone() }).totals.sums;
        prop_assert_eq!(sum, snapshot.query(&Query { from, to, ..query }).totals.sums);
    }

    /// The series has each piece of the range once, and what it has is what it has unfilled.
    #[test]
    fn a_filled_series_has_no_gaps(history in histories(), query in queries(), hours in 0..400_i64) {
        let snapshot = indexed(&history);
        let from = Timestamp::from_unix_millis(1_767_225_600_000);
        let to = Timestamp::from_unix_millis(from.unix_millis() + hours * 3_599_999);
        let query = Query { from, to, ..query };
        let (sparse, full) = (snapshot.query(&query), snapshot.query(&Query { fill: true, ..query.clone() }));
        let there = |series: &[Bucket]| {
            series.iter().filter(|bucket| bucket.stats.sums.requests > 0).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(there(&full.series), sparse.series);
        prop_assert!(full.series.len() as u64 <= query.pieces());
        if query.interval != Interval::None {
            let mut calendar = super::super::Calendar::new(&query.zone);
            let mut next = calendar.piece(query.interval, from.unix_millis()).start;
            for bucket in &full.series {
                prop_assert_eq!(bucket.start.unix_millis(), next);
                next = calendar.piece(query.interval, next).end;
            }
            prop_assert!(next > to.unix_millis());
        }
        for (sparse, full) in sparse.groups.iter().zip(&full.groups) {
            for (sparse, full) in sparse.rows.iter().zip(&full.rows) {
                prop_assert_eq!(&there(&full.series), &sparse.series);
            }
        }
    }

    /// Page by page, all that is asked for, the newest first, whatever arrives meanwhile; and the export in order.
    #[test]
    fn pages_show_each_event_once_while_others_arrive(
        history in histories(),
        late in prop::collection::vec((0..150_usize, events()), 0..20),
        range in ranges(),
        query in queries(),
        limit in 1..20_usize,
        part in parts(),
    ) {
        let (from, to) = ask(&history, range);
        let query = Query { from, to, ..query };
        let mut index = Index::default();
        for (i, event) in history.iter().enumerate() {
            index.insert(event);
            if i % part == 0 {
                index.snapshot();
            }
        }
        let exported = index.snapshot().export(&query).collect::<Vec<_>>();
        let mut late = late.into_iter();
        let (mut shown, mut cursor) = (Vec::new(), None);
        loop {
            let page = index.snapshot().page(&query, cursor, limit);
            prop_assert!(page.events.len() <= limit);
            prop_assert!(page.next.is_none() || page.events.len() == limit);
            shown.extend(page.events);
            let Some(next) = page.next else { break };
            cursor = Some(next.to_string().parse::<Cursor>().unwrap());
            // At the time of one that was shown, after it or anywhere: none of them may move what is to come.
            if let Some((i, mut event)) = late.next() {
                event.timestamp = shown.get(i % shown.len()).map_or(to, |shown| shown.timestamp);
                index.insert(&event);
            }
        }
        shown.reverse();
        prop_assert_eq!(&shown, &exported);
        prop_assert_eq!(shown.len() as u64, naive::query(&history, &query).totals.sums.requests);
        prop_assert!(shown.is_sorted_by_key(|row| row.timestamp));
    }

    #[test]
    fn snapshots_between_inserts_change_neither_themselves_nor_the_index(
        history in histories(),
        stops in prop::collection::vec(0..150_usize, 0..8),
        range in ranges(),
    ) {
        let mut index = Index::default();
        let mut held = Vec::new();
        for (i, event) in history.iter().enumerate() {
            if stops.contains(&i) {
                held.push((i, index.snapshot()));
            }
            // Some readers leave.
            if i % 50 == 49 {
                held.pop();
            }
            index.insert(event);
        }
        held.push((history.len(), index.snapshot()));
        for (events, snapshot) in held {
            let history = &history[..events];
            let (from, to) = ask(history, range);
            prop_assert_eq!(snapshot.events(), events as u64);
            check(&snapshot, history, &all(None))?;
            check(&snapshot, history, &metrics(from, to, None))?;
            check(&snapshot, history, &metrics(from, to, Some("gpt-4o")))?;
        }
    }

    #[test]
    fn the_order_of_coming_changes_no_answer(
        (history, shuffled) in histories().prop_flat_map(|history| (Just(history.clone()), Just(history).prop_shuffle())),
        range in ranges(),
        query in queries(),
        part in parts(),
    ) {
        let (from, to) = ask(&history, range);
        let (ordered, shuffled) = (indexed(&history), indexed_in_parts(&shuffled, part));
        for query in [all(None), Query { from, to, ..query }] {
            prop_assert_eq!(ordered.query(&query), shuffled.query(&query));
        }
        prop_assert_eq!(ordered.span(), shuffled.span());
        prop_assert_eq!(
            ordered.span(),
            history.iter().map(|event| event.timestamp).min().zip(history.iter().map(|event| event.timestamp).max())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// So many events in half an hour that runs divide.
    #[test]
    fn dense_histories_are_answered_as_a_scan_does(
        offsets in prop::collection::vec((0..2 * QUARTER, 0..3_usize), 3_000..9_000),
        crowded in any::<bool>(),
        sorted_up_to in 0..9_000_usize,
        asked in prop::collection::vec((0..2 * QUARTER, 0..2 * QUARTER), 6),
        part in parts(),
    ) {
        // Crowded: only some milliseconds, so that equal times lie in several runs.
        let time = |offset: i64| Timestamp::from_unix_millis(if crowded { offset / 300_000 } else { offset } - QUARTER);
        let mut history = offsets
            .iter()
            .map(|&(offset, model)| event(time(offset), MODELS[model], offset as u64, 1))
            .collect::<Vec<_>>();
        let sorted_up_to = sorted_up_to.min(history.len());
        history[..sorted_up_to].sort_by_key(|event| event.timestamp);
        let snapshot = indexed_in_parts(&history, part);
        for (from, to) in asked {
            let (from, to) = (time(from.min(to)), time(from.max(to)));
            check(&snapshot, &history, &metrics(from, to, None))?;
            check(&snapshot, &history, &metrics(from, to, Some("gpt-4o")))?;
        }
    }
}
