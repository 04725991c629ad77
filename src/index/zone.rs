//! Where the days of a time zone begin, and everything else that a history is cut into.

use std::{fmt, str::FromStr, sync::LazyLock};

use jiff::{
    civil,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use super::{
    query::HourOfWeek,
    tree::{DAY, HOUR, QUARTER},
};

/// A time zone of the IANA database, whose data is part of the program.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    pub(crate) fn time_zone(&self) -> &TimeZone {
        &self.0
    }
}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

/// There is no time zone of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownZone;

impl FromStr for Zone {
    type Err = UnknownZone;

    /// By name, such as `Europe/Berlin`, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        // Not the system's: every machine cuts days alike.
        static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        ZONES.get(name).map(Self).map_err(|_| UnknownZone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

/// Into which pieces time is cut, by the clock of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interval {
    /// Not at all.
    #[default]
    None,
    /// Begins when the clock shows a full quarter of an hour.
    QuarterHour,
    /// Begins when the clock shows a full hour, or is put to another one. An hour that comes twice in autumn is two.
    Hour,
    /// Begins when the clock first shows the date.
    Day,
    /// ISO: begins with Monday.
    Week,
    /// Begins with its first day.
    Month,
}

impl Interval {
    /// Roughly how long it is, never more than it can be: `range / least` limits the pieces of a range.
    pub(crate) fn least_millis(self) -> i64 {
        match self {
            Self::None => i64::MAX,
            Self::QuarterHour => QUARTER.into(),
            Self::Hour => HOUR / 2,
            Self::Day => 20 * HOUR,
            Self::Week => 6 * DAY,
            Self::Month => 27 * DAY,
        }
    }
}

/// A piece of time, in milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: i64,
    /// Its first moment that is another's.
    pub(super) end: i64,
}

pub(super) const ALWAYS: Piece = Piece { start: i64::MIN, end: i64::MAX };

/// Cuts time into intervals. Fast when it is asked about times close to each other.
#[derive(Debug)]
pub(super) struct Calendar {
    zone: Zone,
    stretch: Stretch,
}

/// A time during which a zone's distance from UTC stays the same.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    piece: Piece,
    /// Local time is UTC and this, in milliseconds.
    offset: i64,
}

impl Calendar {
    pub(super) fn new(zone: &Zone) -> Self {
        Self { zone: zone.clone(), stretch: Stretch { piece: Piece { start: 0, end: 0 }, offset: 0 } }
    }

    /// The piece that `at` lies in.
    pub(super) fn piece(&mut self, interval: Interval, at: i64) -> Piece {
        match interval {
            Interval::None => ALWAYS,
            Interval::QuarterHour => self.clock(QUARTER.into(), at),
            Interval::Hour => self.clock(HOUR, at),
            Interval::Day => self.dates(at, |day| (day, day + 1)),
            Interval::Week => self.dates(at, |day| {
                let monday = day - i32::from(weekday(day)) + 1;
                (monday, monday + 7)
            }),
            Interval::Month => self.dates(at, |day| {
                let of_month = date(day).map(|date| (date.day(), date.month().length(date.year())));
                let (nth, length) = of_month.map_or((1, 1), |(nth, length)| (nth.into(), length.into()));
                (day - nth + 1, day - nth + 1 + length)
            }),
        }
    }

    /// The day of the week, 1 for Monday, and the hour that the clock shows.
    pub(super) fn hour_of_week(&mut self, at: i64) -> HourOfWeek {
        let local = at.saturating_add(self.stretch(at).offset);
        (weekday(day(local)), local.rem_euclid(DAY).div_euclid(HOUR) as u8)
    }

    /// What the clock shows, cut at each full `unit`.
    fn clock(&mut self, unit: i64, at: i64) -> Piece {
        let Stretch { piece, offset } = self.stretch(at);
        let start = (at + offset).div_euclid(unit) * unit - offset;
        let end = start + unit;
        let start = if start < piece.start { self.cut_before(unit, piece.start) } else { start };
        let end = if end >= piece.end { self.cut_after(unit, piece.end) } else { end };
        Piece { start, end }
    }

    /// Where the piece begins that the clock is in when it is put forward or back, at `change`.
    fn cut_before(&mut self, unit: i64, change: i64) -> i64 {
        if self.is_cut(unit, change) {
            return change;
        }
        let Stretch { piece, offset } = self.stretch(change - 1);
        let start = (change - 1 + offset).div_euclid(unit) * unit - offset;
        if start < piece.start { self.cut_before(unit, piece.start) } else { start }
    }

    /// Where the piece ends that the clock was in when it is put forward or back, at `change`.
    fn cut_after(&mut self, unit: i64, change: i64) -> i64 {
        if change == i64::MAX || self.is_cut(unit, change) {
            return change;
        }
        let Stretch { piece, offset } = self.stretch(change);
        let end = ((change + offset).div_euclid(unit) + 1) * unit - offset;
        if end >= piece.end { self.cut_after(unit, piece.end) } else { end }
    }

    /// Another piece begins at `change`: the clock then shows a full unit, or another one than a moment before.
    fn is_cut(&mut self, unit: i64, change: i64) -> bool {
        let before = change - 1 + self.stretch(change - 1).offset;
        let after = change + self.stretch(change).offset;
        after.rem_euclid(unit) == 0 || before.div_euclid(unit) != after.div_euclid(unit)
    }

    /// `days` says the first day of a piece and the first that is another's.
    fn dates(&mut self, at: i64, days: impl Fn(i32) -> (i32, i32)) -> Piece {
        let mut day = day(at.saturating_add(self.stretch(at).offset)).min(LAST_DAY);
        loop {
            let (first, next) = days(day);
            let end = self.first_moment(next);
            if end > at {
                return Piece { start: self.first_moment(first), end };
            }
            // The clock was put back over midnight: the next date has been shown before.
            day = next;
        }
    }

    /// When the clock first shows a date; the end of time, if that cannot be written.
    fn first_moment(&self, day: i32) -> i64 {
        let local = i64::from(day) * DAY;
        let midnight = date(day).and_then(|date| {
            let date = civil::Date::new(date.year() as i16, u8::from(date.month()) as i8, date.day() as i8);
            date.ok().map(|date| date.at(0, 0, 0, 0))
        });
        let Some(midnight) = midnight else { return i64::MAX };
        let millis = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * 1000;
        match self.zone.0.to_ambiguous_timestamp(midnight).offset() {
            AmbiguousOffset::Unambiguous { offset } => local - millis(offset),
            AmbiguousOffset::Fold { before, .. } => local - millis(before),
            // There is no midnight: the clock is put over it.
            AmbiguousOffset::Gap { after, .. } => self.change_after(local - millis(after)),
        }
    }

    fn stretch(&mut self, at: i64) -> Stretch {
        let Piece { start, end } = self.stretch.piece;
        if !(start..end).contains(&at) {
            let zone = &self.zone.0;
            let start = zone.preceding(moment(at.saturating_add(1))).next();
            self.stretch = Stretch {
                piece: Piece {
                    start: start.map_or(i64::MIN, |change| change.timestamp().as_millisecond()),
                    end: self.change_after(at),
                },
                offset: i64::from(zone.to_offset(moment(at)).seconds()) * 1000,
            };
        }
        self.stretch
    }

    fn change_after(&self, at: i64) -> i64 {
        let change = self.zone.0.following(moment(at)).next();
        change.map_or(i64::MAX, |change| change.timestamp().as_millisecond()).max(at.saturating_add(1))
    }
}

/// The last day of the year 9999, counted from 1970.
const LAST_DAY: i32 = 2_932_896;

/// Days from the beginning of the Julian day numbers to 1970.
const JULIAN: i32 = 2_440_588;

/// The day of a local time, counted from 1970.
fn day(local: i64) -> i32 {
    local.div_euclid(DAY) as i32
}

fn date(day: i32) -> Option<time::Date> {
    time::Date::from_julian_day(day.checked_add(JULIAN)?).ok()
}

/// 1 for Monday up to 7 for Sunday. 1970 began with a Thursday.
fn weekday(day: i32) -> u8 {
    (day + 3).rem_euclid(7) as u8 + 1
}

/// Nobody knows of a change of a clock in the last days of the year 9999.
fn moment(at: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at).unwrap_or(if at < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    })
}
