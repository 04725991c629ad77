//! Any history, any range: the index answers as a scan does.

use proptest::{prelude::*, sample::select};

use super::{ALL, event, indexed, indexed_in_parts, naive, sorted};
use crate::{
    Ending, KeyHash, Timestamp, Tokens, UsageEvent, UsageQuality,
    index::{Answer, Index, Query, Snapshot, Sums},
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
    (prop_oneof![1 => base, 5 => Just(1_767_225_600_000)], offset, near)
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

fn events() -> impl Strategy<Value = UsageEvent> {
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
    )
        .prop_map(|(time, model, tokens, status, end, usage, key)| {
            let mut event = UsageEvent::new(time, model);
            (event.tokens, event.status, event.end, event.usage) = (tokens, status, end, usage);
            event.key = (key < 128).then(|| KeyHash::of(&[key]));
            event.stream = (key % 3 > 0).then_some(key % 3 > 1);
            event
        })
}

fn histories() -> impl Strategy<Value = Vec<UsageEvent>> {
    prop::collection::vec(events(), 0..150)
}

/// One by one, some at a time, all at once.
fn parts() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 2..500_usize, Just(usize::MAX)]
}

/// Any range, one that begins and ends at events, or all there is.
fn ask(history: &[UsageEvent], (from, to, kind): (Timestamp, Timestamp, usize)) -> (Timestamp, Timestamp) {
    let time = |i: usize| history.get(i % history.len().max(1)).map_or(from, |event| event.timestamp);
    match kind % 4 {
        0 => (ALL.from, ALL.to),
        1 => (from.min(to), from.max(to)),
        2 => (time(kind), time(kind)),
        _ => (time(kind).min(time(kind / 7)), time(kind).max(time(kind / 7))),
    }
}

fn ranges() -> impl Strategy<Value = (Timestamp, Timestamp, usize)> {
    (times(), times(), any::<usize>())
}

fn check(snapshot: &Snapshot, history: &[UsageEvent], query: &Query<'_>) -> Result<Answer, TestCaseError> {
    let answer = sorted(snapshot.query(query));
    prop_assert_eq!(&answer, &naive::query(history, query), "{:?}", query);
    let sum = |parts: &mut dyn Iterator<Item = Sums>| {
        parts.fold(Sums::default(), |mut sum, part| {
            sum += part;
            sum
        })
    };
    prop_assert_eq!(sum(&mut answer.by_model.iter().map(|(_, sums)| *sums)), answer.totals);
    prop_assert_eq!(sum(&mut answer.by_hour.iter().map(|(_, sums)| *sums)), answer.totals);
    Ok(answer)
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
            check(&snapshot, &history, &Query { from, to, model: None })?;
            check(&snapshot, &history, &Query { from, to, model: Some(model) })?;
        }
    }

    /// F26
    #[test]
    fn the_parts_of_a_range_sum_to_the_range(
        history in histories(),
        range in ranges(),
        mut cuts in prop::collection::vec(times(), 0..12),
        model in prop::option::of(models()),
    ) {
        let snapshot = indexed(&history);
        let model = model.as_deref();
        let (from, to) = ask(&history, range);
        cuts.retain(|cut| from < *cut && *cut <= to);
        cuts.sort();
        let mut sum = Sums::default();
        let mut start = from;
        for cut in cuts {
            let before = Timestamp::from_unix_millis(cut.unix_millis() - 1);
            sum += snapshot.query(&Query { from: start, to: before, model }).totals;
            start = cut;
        }
        sum += snapshot.query(&Query { from: start, to, model }).totals;
        prop_assert_eq!(sum, snapshot.query(&Query { from, to, model }).totals);
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
            check(&snapshot, history, &ALL)?;
            check(&snapshot, history, &Query { from, to, model: None })?;
            check(&snapshot, history, &Query { from, to, model: Some("gpt-4o") })?;
        }
    }

    #[test]
    fn the_order_of_coming_changes_no_answer(
        (history, shuffled) in histories().prop_flat_map(|history| (Just(history.clone()), Just(history).prop_shuffle())),
        range in ranges(),
        part in parts(),
    ) {
        let (from, to) = ask(&history, range);
        let (ordered, shuffled) = (indexed(&history), indexed_in_parts(&shuffled, part));
        for query in [ALL, Query { from, to, model: None }, Query { from, to, model: Some("claude") }] {
            prop_assert_eq!(sorted(ordered.query(&query)), sorted(shuffled.query(&query)));
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
            check(&snapshot, &history, &Query { from, to, model: None })?;
            check(&snapshot, &history, &Query { from, to, model: Some("gpt-4o") })?;
        }
    }
}
