//! Where days begin.

use proptest::{prelude::*, sample::select};

use super::{at, event, indexed};
use crate::{
    Timestamp,
    index::{Calendar, Interval, Query, UnknownZone, Zone},
};

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

/// The starts of the pieces from the one of `from` on, as far as they begin before `to`.
fn starts(name: &str, interval: Interval, from: &str, to: &str) -> Vec<String> {
    let mut calendar = Calendar::new(&zone(name));
    let mut time = at(from).unix_millis();
    let mut starts = Vec::new();
    while time < at(to).unix_millis() {
        let piece = calendar.piece(interval, time);
        starts.push(Timestamp::from_unix_millis(piece.start).to_string().replace(":00.000Z", ""));
        time = piece.end;
    }
    starts
}

#[test]
fn zones_are_found_by_their_name() {
    for (name, shown) in
        [("Europe/Berlin", "Europe/Berlin"), ("america/new_york", "America/New_York"), ("UTC", "UTC")]
    {
        assert_eq!(zone(name).to_string(), shown);
    }
    for name in ["", "Mars/Olympus", "Europe/Berlin ", "../etc/passwd"] {
        assert_eq!(name.parse::<Zone>(), Err(UnknownZone), "{name:?}");
    }
    assert_eq!(Zone::default().to_string(), "UTC");
}

#[test]
fn days_are_as_long_as_the_clock_says() {
    // Forward in March, back in October.
    assert_eq!(
        starts("Europe/Berlin", Interval::Day, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"),
        ["2026-03-27T23:00", "2026-03-28T23:00", "2026-03-29T22:00"]
    );
    assert_eq!(
        starts("Europe/Berlin", Interval::Day, "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
        ["2026-10-23T22:00", "2026-10-24T22:00", "2026-10-25T23:00"]
    );
    // Half an hour, and no midnight: the clock goes from 24:00 to 1:00.
    assert_eq!(
        starts("Asia/Kolkata", Interval::Day, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["2026-03-27T18:30", "2026-03-28T18:30"]
    );
    assert_eq!(
        starts("America/Sao_Paulo", Interval::Day, "2018-11-03T12:00:00Z", "2018-11-05T00:00:00Z"),
        ["2018-11-03T03:00", "2018-11-04T03:00"]
    );
    // A midnight that comes twice: the day begins with the first.
    assert_eq!(
        starts("America/Havana", Interval::Day, "2018-11-03T12:00:00Z", "2018-11-05T12:00:00Z"),
        ["2018-11-03T04:00", "2018-11-04T04:00", "2018-11-05T05:00"]
    );
    // A date that came twice, but for a minute: from 0:01 back to 23:01.
    assert_eq!(
        starts("America/St_Johns", Interval::Day, "2010-11-06T12:00:00Z", "2010-11-08T12:00:00Z"),
        ["2010-11-06T02:30", "2010-11-07T02:30", "2010-11-08T03:30"]
    );
    // A day that never was.
    assert_eq!(
        starts("Pacific/Apia", Interval::Day, "2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z"),
        ["2011-12-29T10:00", "2011-12-30T10:00", "2011-12-31T10:00"]
    );
}

#[test]
fn weeks_begin_with_monday_and_months_with_their_first_day() {
    assert_eq!(
        starts("UTC", Interval::Week, "2026-01-01T00:00:00Z", "2026-01-12T00:00:00Z"),
        ["2025-12-29T00:00", "2026-01-05T00:00"]
    );
    assert_eq!(
        starts("America/New_York", Interval::Week, "2026-03-08T12:00:00Z", "2026-03-10T00:00:00Z"),
        ["2026-03-02T05:00", "2026-03-09T04:00"]
    );
    assert_eq!(
        starts("Europe/Berlin", Interval::Month, "2026-02-28T23:30:00Z", "2026-05-01T00:00:00Z"),
        ["2026-02-28T23:00", "2026-03-31T22:00", "2026-04-30T22:00"]
    );
    assert_eq!(
        starts("UTC", Interval::Month, "2024-02-29T12:00:00Z", "2024-03-02T00:00:00Z"),
        ["2024-02-01T00:00", "2024-03-01T00:00"]
    );
}

#[test]
fn hours_begin_when_the_clock_shows_them() {
    assert_eq!(
        starts("Asia/Kathmandu", Interval::Hour, "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"),
        ["2025-12-31T23:15", "2026-01-01T00:15", "2026-01-01T01:15"]
    );
    // Three o'clock comes twice: two hours of their own.
    assert_eq!(
        starts("Europe/Berlin", Interval::Hour, "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z"),
        ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"]
    );
    // Back by half an hour, from 2:00 to 1:30: an hour of ninety minutes. Forward: one of thirty.
    assert_eq!(
        starts("Australia/Lord_Howe", Interval::Hour, "2026-04-04T14:00:00Z", "2026-04-04T16:00:00Z"),
        ["2026-04-04T14:00", "2026-04-04T15:30"]
    );
    assert_eq!(
        starts("Australia/Lord_Howe", Interval::Hour, "2026-10-03T14:45:00Z", "2026-10-03T17:00:00Z"),
        ["2026-10-03T14:30", "2026-10-03T15:30", "2026-10-03T16:00"]
    );
    // 44 minutes and 30 seconds behind UTC.
    assert_eq!(
        starts("Africa/Monrovia", Interval::QuarterHour, "1971-06-01T00:00:00Z", "1971-06-01T00:20:00Z"),
        ["1971-05-31T23:59:30.000Z", "1971-06-01T00:14:30.000Z"]
    );
}

/// Offsets of today and of the past, that are no quarters of an hour among them.
const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/Havana",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Africa/Monrovia",
    "Europe/Amsterdam",
];

fn moments() -> impl Strategy<Value = i64> {
    let (min, max) = (Timestamp::MIN.unix_millis(), Timestamp::MAX.unix_millis());
    prop_oneof![
        2 => min..=max,
        8 => at("1900-01-01T00:00:00Z").unix_millis()..at("2100-01-01T00:00:00Z").unix_millis(),
        1 => Just(min),
        1 => Just(max),
    ]
}

/// Close to a change of the clock, if there is one before `time`.
fn near_a_change(name: &str, time: i64, off: i64) -> i64 {
    let zone = jiff::tz::TimeZone::get(name).unwrap();
    let change = jiff::Timestamp::from_millisecond(time).ok().and_then(|time| zone.preceding(time).next());
    let time = change.map_or(time, |change| change.timestamp().as_millisecond() + off);
    Timestamp::from_unix_millis(time).unix_millis()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// F26: pieces lie side by side, each moment in one, and the smaller lie within the larger.
    #[test]
    fn every_moment_is_in_one_piece_of_each_kind(
        name in select(&ZONES[..]),
        time in moments(),
        off in prop::option::of(-100_000_000..100_000_000_i64),
    ) {
        use Interval::{Day, Hour, Month, None, QuarterHour, Week};
        let time = off.map_or(time, |off| near_a_change(name, time, off));
        let mut calendar = Calendar::new(&zone(name));
        for interval in [None, QuarterHour, Hour, Day, Week, Month] {
            let piece = calendar.piece(interval, time);
            prop_assert!(piece.start <= time && time < piece.end, "{piece:?}");
            // Asked anew, and from everywhere in it.
            for same in [piece.start, piece.end - 1] {
                if same != i64::MIN && same != i64::MAX - 1 {
                    prop_assert_eq!(calendar.piece(interval, same), piece, "{:?} at {}", interval, same);
                    prop_assert_eq!(Calendar::new(&zone(name)).piece(interval, same), piece);
                }
            }
            if piece.end < i64::MAX {
                prop_assert_eq!(calendar.piece(interval, piece.end).start, piece.end);
            }
        }
        for (inner, outer) in [(QuarterHour, Hour), (Hour, Day), (Day, Week), (Day, Month)] {
            let (inner, outer) = (calendar.piece(inner, time), calendar.piece(outer, time));
            prop_assert!(outer.start <= inner.start && inner.end <= outer.end, "{inner:?} in {outer:?}");
        }
        let hour = calendar.piece(Hour, time);
        prop_assert_eq!(calendar.hour_of_week(hour.start), calendar.hour_of_week(time));
    }

    /// F26: the days of a month are the month, whatever the zone.
    #[test]
    fn the_days_of_a_month_sum_to_the_month(
        name in select(&ZONES[..]),
        year in 1930..2037_i32,
        month in 1..=12_u8,
        offsets in prop::collection::vec(-40 * 86_400_000..40 * 86_400_000_i64, 1..60),
    ) {
        let middle = at(&format!("{year}-{month:02}-15T00:00:00Z")).unix_millis();
        let times = offsets.iter().map(|offset| Timestamp::from_unix_millis(middle + offset));
        let events = times.map(|time| event(time, "m", 1, 2)).collect::<Vec<_>>();
        let snapshot = indexed(&events);
        let piece = Calendar::new(&zone(name)).piece(Interval::Month, middle);
        let range = [piece.start, piece.end - 1].map(Timestamp::from_unix_millis);
        let expected = events.iter().filter(|event| (range[0]..=range[1]).contains(&event.timestamp)).count() as u64;
        for interval in [Interval::QuarterHour, Interval::Hour, Interval::Day, Interval::Month] {
            let query = Query { interval, zone: zone(name), ..Query::over(range[0], range[1]) };
            let answer = snapshot.query(&query);
            prop_assert_eq!(answer.totals.sums.requests, expected);
            prop_assert_eq!(answer.series.iter().map(|day| day.stats.sums.requests).sum::<u64>(), expected);
            if interval == Interval::Month {
                prop_assert!(answer.series.len() <= 1);
            }
        }
    }
}
