//! What a history of more than one file goes through, on files that fail at each step in turn.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::atomic::{AtomicI64, Ordering},
};

use super::{
    simulated::{Left, Plan, Simulated},
    *,
};
use crate::UsageEvent;

const EVENTS: i64 = 10;

fn note_model(models: &mut Vec<String>, event: &EventRef<'_>) {
    models.push(event.model.to_owned());
}
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A history that is written to, rotated and looked after, all by one thread so that every step has its number.
struct History {
    files: Simulated,
    now: Arc<AtomicI64>,
    appender: Appender<UsageFile>,
    upkeep: Upkeep,
    /// The numbers of events that were written and synced.
    synced: Vec<i64>,
}

/// Small segments, compressed or not, of which all are kept, those of a day, or a few.
fn settings(compress: Compression, keep_days: Option<u32>, keep_bytes: Option<u64>) -> UsageStatistics {
    UsageStatistics {
        rotate_bytes: Some(250),
        rotate_daily: true,
        compress,
        keep_days,
        keep_bytes,
        ..UsageStatistics::default()
    }
}

/// All that segments go through, in a few ways.
fn all_settings() -> impl Iterator<Item = UsageStatistics> {
    let compress = compressions().last().unwrap_or_default();
    [
        settings(Compression::None, None, None),
        settings(compress, None, None),
        settings(Compression::None, Some(0), None),
        settings(compress, Some(1), Some(300)),
    ]
    .into_iter()
}

/// 2026-03-01, noon
const START: i64 = 1_772_366_400_000;

impl History {
    /// On files that go wrong as planned from the moment on at which the history is there.
    fn begin(settings: &UsageStatistics, plan: Plan) -> Self {
        let files = Simulated::default();
        let now = Arc::new(AtomicI64::new(START));
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || Timestamp::from_unix_millis(now.load(Ordering::Relaxed)))
        };
        let Opened { appender, upkeep, .. } = files.open(settings, clock);
        let first = files.steps();
        files.plan(Plan {
            power: plan.power.map(|steps| first + steps),
            failure: plan.failure.map(|(step, kind)| (first + step, kind)),
            ..plan
        });
        Self { files, now, appender, upkeep: upkeep.unwrap(), synced: Vec::new() }
    }

    /// Writes all events, some a day after the one before, and looks after segments now and then. Tries everything twice.
    fn write(&mut self) {
        let mut lines = Vec::new();
        let mut waiting = Vec::new();
        for number in 0..EVENTS {
            self.now.fetch_add(if number % 4 == 3 { DAY } else { 1000 }, Ordering::Relaxed);
            serde_json::to_writer(&mut lines, &event(number, self.now.load(Ordering::Relaxed))).unwrap();
            lines.push(b'\n');
            waiting.push(number);
            for _ in 0..2 {
                let (written, result) = self.appender.append(&lines);
                lines.drain(..written);
                if result.and_then(|()| self.appender.sync()).is_ok() {
                    assert!(lines.is_empty());
                    self.synced.append(&mut waiting);
                }
            }
            if number % 3 == 2 {
                self.keep();
            }
        }
        self.keep();
        self.keep();
    }

    /// What cannot be done is for the next time.
    fn keep(&self) {
        let _ = self.upkeep.run(Timestamp::from_unix_millis(self.now.load(Ordering::Relaxed)), &|| false);
    }
}

/// An event that can be told by its model.
fn event(number: i64, at: i64) -> UsageEvent {
    let mut event = UsageEvent::new(Timestamp::from_unix_millis(at), format!("m{number}"));
    event.id = Some(format!("id{number}").into());
    event
}

/// What the real store makes of files that were left.
struct Found {
    place: tempfile::TempDir,
    settings: UsageStatistics,
}

impl Found {
    fn new(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>, settings: &UsageStatistics) -> Self {
        // In memory where there is such a place: what becomes of syncs is not asked here.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        for (path, bytes) in files {
            fs::write(place.path().join(path.strip_prefix("/").unwrap()), bytes).unwrap();
        }
        Self { place, settings: settings.clone() }
    }

    /// How often each event was given, by its model, in sums or by itself.
    fn open(&self) -> (Opened, HashMap<String, u64>) {
        let mut events = HashMap::new();
        let path = self.place.path().join("usage.json");
        let mut told = Vec::new();
        let mut count = |model: String, times| *events.entry(model).or_default() += times;
        let each = |past: Past<'_, Vec<String>>| match past {
            Past::Events(models) => models.drain(..).for_each(|model| count(model, 1)),
            Past::Sums(aggregate) => count(aggregate.cell.model.to_string(), aggregate.counts.requests),
        };
        let opened = open(&path, &self.settings, note_model, each, |progress| told.push(progress));
        assert!(told.is_sorted_by(|a, b| a.bytes <= b.bytes && a.events <= b.events), "{told:?}");
        assert!(told.last().is_none_or(|last| last.bytes == last.total_bytes), "{told:?}");
        (opened.unwrap(), events)
    }

    /// Each of the `needed` events is there once, and no other more than that; also after going on with the files.
    fn assert_holds(&self, needed: &[i64], context: &str) {
        let (mut opened, events) = self.open();
        assert!(opened.history.bad_lines <= 1, "{context}");
        assert!(events.values().all(|times| *times == 1), "{context}: {events:?}");
        for number in needed {
            assert!(events.contains_key(&format!("m{number}")), "{context}: {number} of {events:?}");
        }
        let line = serde_json::to_string(&event(99, START + 99 * DAY)).unwrap() + "\n";
        assert!(opened.appender.append(line.as_bytes()).1.is_ok(), "{context}");
        let later = Timestamp::from_unix_millis(START + 99 * DAY);
        assert!(opened.upkeep.take().unwrap().run(later, &|| false).result.is_ok(), "{context}");
        drop(opened);
        let (opened, mut again) = self.open();
        assert_eq!(again.remove("m99"), Some(1), "{context}");
        assert_eq!(again, events, "{context}");
        assert!(opened.upkeep.unwrap().names.leftovers(&System).unwrap().is_empty(), "{context}");
    }
}

fn compressions() -> impl Iterator<Item = Compression> {
    [Compression::None, Compression::Gzip, Compression::Zstd].into_iter().filter(|known| is_known(*known))
}

fn all_is_well(settings: &UsageStatistics) -> History {
    let mut history = History::begin(settings, Plan::default());
    history.write();
    assert_eq!(history.synced, Vec::from_iter(0..EVENTS));
    history
}

/// The steps that it takes when all is well.
fn steps(settings: &UsageStatistics) -> usize {
    all_is_well(settings).files.steps() - History::begin(settings, Plan::default()).files.steps()
}

#[test]
fn segments_are_closed_by_size_and_by_day_and_compressed() {
    for compress in compressions() {
        let settings = settings(compress, None, None);
        let history = all_is_well(&settings);
        let segments = history.upkeep.names.segments(&history.files).unwrap();
        let names: Vec<_> = segments.iter().map(|s| s.path.file_name().unwrap().to_str().unwrap()).collect();
        let suffix = match compress {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        };
        let expected = ["03-01", "03-01.1", "03-02", "03-02.1", "03-03"]
            .map(|day| format!("usage.2026-{}.json{suffix}", day));
        assert_eq!(names, expected);
        let left = history.files.after_loss_of_power(Left::All, Left::Nothing);
        assert_eq!(left.len(), names.len() + 1);
        Found::new(left, &settings).assert_holds(&history.synced, "all is well");
    }
}

/// F36
#[test]
fn segments_that_are_removed_leave_their_sums() {
    for (settings, kept) in [
        (settings(Compression::None, Some(0), None), 1),
        (settings(Compression::None, Some(1), None), 3),
        (settings(Compression::None, Some(2), None), 5),
        (settings(Compression::None, None, Some(0)), 0),
        (settings(Compression::None, None, Some(800)), 2),
    ] {
        let history = all_is_well(&settings);
        let segments = history.upkeep.names.segments(&history.files).unwrap();
        assert_eq!(segments.len(), kept, "{:?} {:?}", settings.keep_days, settings.keep_bytes);
        let left = history.files.after_loss_of_power(Left::All, Left::Nothing);
        let found = Found::new(left, &settings);
        let (opened, events) = found.open();
        assert_eq!(events.values().sum::<u64>(), EVENTS as u64);
        assert_eq!(opened.history.events < EVENTS as u64, kept < 5);
        drop(opened);
        found.assert_holds(&history.synced, "all is well");
    }
}

/// `kill -9`, or a loss of power, at whatever moment.
#[test]
fn a_crash_at_any_step_loses_nothing_that_was_synced_and_doubles_nothing() {
    for settings in all_settings() {
        let steps = steps(&settings);
        assert!(steps > 50);
        for power in 0..steps {
            let mut history = History::begin(&settings, Plan { power: Some(power), ..Plan::default() });
            history.write();
            for (names, bytes) in [
                (Left::Nothing, Left::Nothing),
                (Left::Nothing, Left::All),
                (Left::All, Left::Nothing),
                (Left::Some, Left::Nothing),
                (Left::All, Left::Some),
                (Left::All, Left::All),
            ] {
                let context = format!("{settings:?}, {power} of {steps} steps, left {names:?} {bytes:?}");
                let left = history.files.after_loss_of_power(names, bytes);
                Found::new(left, &settings).assert_holds(&history.synced, &context);
            }
        }
    }
}

/// F50. A sync that fails lets go of what it was to save.
#[test]
fn a_failure_at_any_step_is_made_good_by_the_next_try() {
    for settings in all_settings() {
        for step in 0..steps(&settings) {
            let failure = Some((step, io::ErrorKind::StorageFull));
            let mut history = History::begin(&settings, Plan { failure, ..Plan::default() });
            history.write();
            let context = format!("{settings:?}, step {step}");
            assert_eq!(history.synced, Vec::from_iter(0..EVENTS), "{context}");
            let left = history.files.after_loss_of_power(Left::Nothing, Left::Nothing);
            Found::new(left, &settings).assert_holds(&history.synced, &context);
        }
    }
}

#[test]
fn a_plain_segment_is_trusted_more_than_a_compressed_one_that_differs() {
    for compress in compressions().filter(|compress| *compress != Compression::None) {
        let settings = settings(compress, None, None);
        let history = all_is_well(&settings);
        let mut left = history.files.after_loss_of_power(Left::All, Left::All);
        let names = &history.upkeep.names;
        let id = names.segments(&history.files).unwrap()[0].id;
        let whole = compress::decoded(&*left[&names.segment(id, compress)], compress)
            .and_then(|mut file| {
                let mut text = Vec::new();
                file.read_to_end(&mut text).map(|_| text)
            })
            .unwrap();
        left.insert(names.segment(id, Compression::None), whole);
        // As it is after a crash before the last step.
        Found::new(left.clone(), &settings).assert_holds(&history.synced, "the same");
        let found = Found::new(left.clone(), &settings);
        found.open();
        assert!(!found.place.path().join("usage.2026-03-01.json").exists());

        left.get_mut(&names.segment(id, compress)).unwrap().truncate(5);
        let found = Found::new(left, &settings);
        let (mut opened, events) = found.open();
        assert_eq!(events.len(), EVENTS as usize);
        let done = opened.upkeep.take().unwrap().run(Timestamp::now(), &|| false);
        assert_eq!(done.result.unwrap_err().action, "compress a segment of");
        assert!(found.place.path().join("usage.2026-03-01.json").exists());
    }
}

mod aggregates {
    use proptest::prelude::*;

    use super::*;
    use crate::{KeyHash, event::EventRef};

    /// Events of a few models, keys, providers and statuses, at any time of two hours, with all kinds of counts.
    fn events() -> impl Strategy<Value = Vec<UsageEvent>> {
        let counts = proptest::option::of(prop_oneof![0..10_000_u64, Just(u64::MAX / 2)]);
        let event = (0..7_200_000_i64, 0..3_u8, 0..3_u8, 0..3_u8, 0..600_u16, counts.clone(), counts);
        let event = event.prop_map(|(at, model, key, provider, status, input, duration)| {
            let at = Timestamp::from_unix_millis(START + at);
            let mut event = UsageEvent::new(at, format!("m \"{model}\""));
            event.key = (key > 0).then(|| KeyHash::of(&[key]));
            event.provider = (provider > 0).then(|| format!("p{provider}").into());
            event.status = status;
            event.tokens.input = input;
            event.duration = duration.map(std::time::Duration::from_micros);
            event
        });
        proptest::collection::vec(event, 0..60)
    }

    /// Adds the segments to the file in turn, each with a number of the events.
    fn file_of(files: &[&[(u32, &[UsageEvent])]]) -> Vec<u8> {
        let names = Names::of("/usage.json".into());
        files.iter().fold(Vec::new(), |before, segments| {
            let mut sum = aggregate::Sum::default();
            for (number, events) in *segments {
                events.iter().for_each(|event| sum.add(&EventRef::from(event)));
                let id = segments::SegmentId {
                    day: UtcDay::of(Timestamp::from_unix_millis(START)),
                    number: *number,
                };
                let events = events.len() as u64;
                sum.segments.push(Absorbed { id, bytes: events * 100, events, bad_lines: 0 });
            }
            let mut file = Vec::new();
            sum.merge(&*before, &mut file, &names).unwrap();
            file
        })
    }

    proptest! {
        #[test]
        fn are_the_same_bytes_however_and_whenever_they_were_summed_up(
            events in events(),
            first in 0..60_usize,
            second in 0..60_usize,
        ) {
            let (a, rest) = events.split_at(first.min(events.len()));
            let (b, c) = rest.split_at(second.min(rest.len()));
            let at_once = file_of(&[&[(0, a), (1, b), (2, c)]]);
            prop_assert_eq!(&file_of(&[&[(0, a)], &[(1, b)], &[(2, c)]]), &at_once);
            prop_assert_eq!(&file_of(&[&[(2, c), (1, b)], &[(0, a)]]), &at_once);
            prop_assert_eq!(&file_of(&[&[(1, b)], &[(0, a), (2, c)], &[]]), &at_once);
        }

        /// F36, F46: the file, as `jq` or anybody else would read it, against the plain sum of the events, which are large
        /// enough to be too much for 64 bits.
        #[test]
        fn are_the_sums_of_the_events_of_each_quarter_of_an_hour(events in events()) {
            let text = String::from_utf8(file_of(&[&[(0, &events)]])).unwrap();
            let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let segment = lines.next().unwrap();
            prop_assert_eq!(&segment["segment"], "usage.2026-03-01.json");
            prop_assert_eq!(&segment["events"], events.len() as u64);
            let mut seen = 0;
            for line in lines {
                let start: Timestamp = line["start"].as_str().unwrap().parse().unwrap();
                prop_assert_eq!(start.unix_millis() % 900_000, 0);
                let of_line = |event: &&UsageEvent| {
                    let offset = event.timestamp.unix_millis() - start.unix_millis();
                    (0..900_000).contains(&offset)
                        && line["model"] == *event.model
                        && line["api_key_hash"].as_str().map(str::to_owned) == event.key.map(|key| key.to_string())
                        && line["provider"].as_str() == event.provider.as_deref()
                        && line["status"] == format!("{}xx", event.status / 100)
                };
                let events: Vec<_> = events.iter().filter(of_line).collect();
                seen += events.len();
                let sum = |count: fn(&UsageEvent) -> u64| {
                    events.iter().fold(0, |sum: u64, event| sum.saturating_add(count(event)))
                };
                prop_assert_eq!(&line["v"], 1);
                prop_assert_eq!(&line["requests"], sum(|_| 1));
                prop_assert_eq!(&line["errors"], sum(|event| event.is_error().into()));
                prop_assert_eq!(&line["unknown_usage"], sum(|event| event.tokens.is_unknown().into()));
                prop_assert_eq!(&line["prompt_tokens"], sum(|event| event.tokens.input.unwrap_or(0)));
                prop_assert_eq!(&line["completion_tokens"], 0);
                prop_assert_eq!(&line["timed"], sum(|event| event.duration.is_some().into()));
                let micros = |event: &UsageEvent| event.duration.map_or(0, |time| time.as_micros() as u64);
                prop_assert_eq!(&line["duration_us"], sum(micros));
            }
            prop_assert_eq!(seen, events.len());
        }
    }

    /// All segments are there again, from a backup, and the file is not.
    #[test]
    fn are_the_same_bytes_when_they_are_made_anew_from_the_segments() {
        for (keep_days, keep_bytes) in [(Some(0), None), (Some(1), None), (None, Some(0))] {
            let mut files = Vec::new();
            for compress in compressions() {
                let removing = settings(compress, keep_days, keep_bytes);
                let history = all_is_well(&removing);
                let now = Timestamp::from_unix_millis(history.now.load(Ordering::Relaxed));
                let aggregates = history.upkeep.names.aggregates();
                let piece_by_piece =
                    history.files.after_loss_of_power(Left::All, Left::Nothing).remove(&aggregates).unwrap();
                files.push(piece_by_piece);

                let keeping = all_is_well(&settings(compress, None, None));
                let all = keeping.files.after_loss_of_power(Left::All, Left::Nothing);
                let found = Found::new(all, &removing);
                let (mut opened, _) = found.open();
                assert!(opened.upkeep.take().unwrap().run(now, &|| false).result.is_ok());
                files.push(fs::read(found.place.path().join("usage.aggregates.json")).unwrap());
            }
            assert!(files.iter().all(|file| *file == files[0]), "{keep_days:?} {keep_bytes:?}");
        }
    }

    #[test]
    fn of_another_version_or_damaged_are_an_error_that_says_where() {
        let names = Names::of("/usage.json".into());
        let whole = String::from_utf8(file_of(&[&[(0, &[event(1, START)])]])).unwrap();
        for (wrong, text) in [
            (whole.replace("\"v\":1", "\"v\":2"), "line 1: version 2 is not known"),
            (format!("{whole}{{}}\n"), "line 3: version 0 is not known"),
            (format!("{whole}{{\"v\":1}}\n"), "line 3: neither a segment nor sums"),
            (whole.replace("2xx", "ok"), "line 2: no class of status"),
            (whole.replace("usage.2026-03-01", "usage.march"), "line 1: no segment's name"),
        ] {
            let error = aggregate::lines(wrong.as_bytes(), &names).find_map(Result::err).unwrap();
            assert_eq!(error.to_string(), text);
            let mut file = Vec::new();
            assert!(aggregate::Sum::default().merge(wrong.as_bytes(), &mut file, &names).is_err());
        }
    }
}

/// F36: the sums are in place, and what they are of has not been removed.
#[test]
fn a_crash_between_the_two_steps_of_removing_counts_nothing_twice() {
    for settings in all_settings().filter(|settings| settings.keep_days.is_some()) {
        let mut states = 0;
        for power in 0..steps(&settings) {
            let mut history = History::begin(&settings, Plan { power: Some(power), ..Plan::default() });
            history.write();
            let left = history.files.after_loss_of_power(Left::All, Left::Nothing);
            let names = &history.upkeep.names;
            let Some(aggregates) = left.get(&names.aggregates()) else { continue };
            let is_between = aggregate::lines(&**aggregates, names).any(|record| match record.unwrap() {
                Record::Segment(Absorbed { id, .. }) => [Compression::None, settings.compress]
                    .iter()
                    .any(|c| left.contains_key(&names.segment(id, *c))),
                Record::Sums(_) => false,
            });
            if is_between {
                states += 1;
                Found::new(left, &settings).assert_holds(&history.synced, &format!("{settings:?}, {power}"));
            }
        }
        assert!(states > 3, "{states}");
    }
}

mod one_history {
    use proptest::prelude::*;

    use super::*;

    /// A file, or a piece of the sums, as somebody may have left it.
    #[derive(Clone, Debug)]
    struct Part {
        events: u8,
        compression: Compression,
        /// By the Go original, which knows no ids.
        is_original: bool,
        /// Without an end of the last line.
        is_torn: bool,
    }

    fn part() -> impl Strategy<Value = Part> {
        let compression = proptest::sample::select(compressions().collect::<Vec<_>>());
        (0..6_u8, compression, any::<bool>(), any::<bool>()).prop_map(
            |(events, compression, is_original, is_torn)| Part { events, compression, is_original, is_torn },
        )
    }

    fn line(number: i64, is_original: bool) -> String {
        let event = event(number, START + number);
        if is_original {
            let UsageEvent { timestamp, model, .. } = event;
            format!(
                r#"{{"timestamp":"{timestamp}","model":"{model}","prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"status":200}}"#
            )
        } else {
            serde_json::to_string(&event).unwrap()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn is_in_segments_compressed_ones_and_old_files_whatever_is_where(
            parts in proptest::collection::vec(part(), 1..8),
            summed_up in 0..4_usize,
        ) {
            let names = Names::of("/usage.json".into());
            let mut numbers = 0..;
            let mut files = BTreeMap::new();
            let mut expected = Vec::new();
            let mut sum = aggregate::Sum::default();
            for (at, part) in parts.iter().enumerate() {
                let numbers: Vec<i64> = numbers.by_ref().take(part.events.into()).collect();
                let mut text: String = numbers.iter().map(|n| line(*n, part.is_original) + "\n").collect();
                if part.is_torn {
                    text.truncate(text.len().saturating_sub(1));
                }
                let day = UtcDay::of(Timestamp::from_unix_millis(START + (at as i64) * DAY));
                let id = segments::SegmentId { day, number: (at % 2) as u32 };
                let is_last = at + 1 == parts.len();
                if at < summed_up && !is_last {
                    for number in numbers {
                        sum.add(&(&event(number, START + number)).into());
                    }
                    sum.segments.push(Absorbed { id, bytes: text.len() as u64, events: 0, bad_lines: 0 });
                    continue;
                }
                expected.extend(numbers.iter().map(|number| format!("m{number}")));
                if is_last {
                    files.insert(names.active().to_owned(), text.into_bytes());
                } else {
                    let mut file = Vec::new();
                    compress::encode(&mut text.as_bytes(), &mut file, part.compression).unwrap();
                    files.insert(names.segment(id, part.compression), file);
                }
            }
            let all: Vec<_> = (0..numbers.start).map(|number| format!("m{number}")).collect();
            if expected.len() < all.len() {
                let mut file = Vec::new();
                sum.merge(io::empty(), &mut file, &names).unwrap();
                files.insert(names.aggregates(), file);
            }
            let found = Found::new(files, &UsageStatistics::default());
            let path = found.place.path().join("usage.json");
            let (mut events, mut sums) = (Vec::new(), Vec::new());
            let each = |past: Past<'_, Vec<String>>| match past {
                Past::Events(models) => events.append(models),
                Past::Sums(aggregate) => sums.push(aggregate.cell.model.clone()),
            };
            let opened = open(&path, &found.settings, note_model, each, |_| {}).unwrap();
            prop_assert_eq!(opened.history.events as usize, events.len());
            prop_assert_eq!(opened.history.bad_lines, 0);
            prop_assert_eq!(&events, &expected, "in the order in which they were written");
            sums.extend(events);
            sums.sort();
            let mut all = all;
            all.sort();
            prop_assert_eq!(sums, all);
        }
    }
}

/// Somebody puts another file where a removed segment was.
#[test]
fn a_file_by_the_name_of_a_removed_segment_is_another_one() {
    let settings = settings(Compression::None, Some(0), None);
    let history = all_is_well(&settings);
    let mut left = history.files.after_loss_of_power(Left::All, Left::All);
    assert!(!left.contains_key(Path::new("/usage.2026-03-01.json")));
    let line = serde_json::to_string(&event(50, START)).unwrap() + "\n";
    left.insert("/usage.2026-03-01.json".into(), line.into_bytes());
    let mut needed = history.synced.clone();
    needed.push(50);
    Found::new(left, &settings).assert_holds(&needed, "another");
}

#[test]
fn upkeep_that_is_stopped_leaves_everything_as_it_was() {
    for settings in all_settings() {
        let mut history = History::begin(&settings, Plan::default());
        history.upkeep.compression = Compression::None;
        let retention = std::mem::take(&mut history.upkeep.retention);
        history.write();
        (history.upkeep.compression, history.upkeep.retention) = (settings.compress, retention);
        let before = history.files.after_loss_of_power(Left::All, Left::All);
        let asked = AtomicI64::new(0);
        for patience in 0..8 {
            asked.store(0, Ordering::Relaxed);
            let is_stopped = || asked.fetch_add(1, Ordering::Relaxed) >= patience;
            let done = history.upkeep.run(Timestamp::from_unix_millis(START + 99 * DAY), &is_stopped);
            assert!(done.result.is_ok(), "to be stopped is no failure");
        }
        Found::new(before, &settings).assert_holds(&history.synced, "stopped");
        let left = history.files.after_loss_of_power(Left::All, Left::All);
        assert!(left.keys().all(|path| path.extension() != Some("tmp".as_ref())));
        Found::new(left, &settings).assert_holds(&history.synced, "stopped");
    }
}
