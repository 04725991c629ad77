//! What is left of events that are no longer kept one by one.

use std::{ops::AddAssign, ops::Range};

use super::{
    columns::{Column, Columns, Value},
    names::Dictionaries,
    plan::Axis,
    sums::{FIELDS, Sums},
    tree::QUARTER,
};
use crate::{KeyHash, Timestamp};

/// What the events of a quarter of an hour come to that share model, key, provider and class of status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aggregate<'a> {
    /// Any moment of the quarter of an hour.
    pub(crate) start: Timestamp,
    pub(crate) model: &'a str,
    pub(crate) key: Option<KeyHash>,
    pub(crate) provider: Option<&'a str>,
    /// The status' hundreds.
    pub(crate) class: u16,
    pub(crate) sums: Sums,
    pub(crate) spent: Spent,
}

/// How long events took together, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Events whose duration is known, and their durations.
    pub(crate) timed: u64,
    pub(crate) duration: u64,
    /// Events whose time to the first byte is known, and those times.
    pub(crate) first_bytes: u64,
    pub(crate) first_byte: u64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.timed, other.timed),
            (&mut self.duration, other.duration),
            (&mut self.first_bytes, other.first_bytes),
            (&mut self.first_byte, other.first_byte),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// An aggregate, as the columns keep it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Of the hour: 0 to 3.
    pub(super) quarter: u8,
    pub(super) model: u16,
    pub(super) source: u16,
    pub(super) kind: u16,
    /// 0 is none.
    pub(super) key: u32,
    pub(super) sums: Sums,
    pub(super) spent: Spent,
}

impl Cell {
    /// What is left of a row.
    pub(super) fn of(columns: &Columns, row: usize, names: &mut Dictionaries) -> Self {
        let (source, kind) = names.retired(columns.source()[row], columns.kind()[row]);
        let (duration, first_byte) =
            (columns.value(Value::Duration, row), columns.value(Value::FirstByte, row));
        Self {
            quarter: (columns.at()[row] / QUARTER) as u8,
            model: columns.model()[row],
            source,
            kind,
            key: columns.number(Axis::Key, row) as u32,
            sums: columns.sums(row),
            spent: Spent {
                timed: duration.is_some().into(),
                duration: duration.unwrap_or(0),
                first_bytes: first_byte.is_some().into(),
                first_byte: first_byte.unwrap_or(0),
            },
        }
    }

    fn place(&self) -> (u8, u16, u32, u16, u16) {
        (self.quarter, self.model, self.key, self.source, self.kind)
    }
}

/// The aggregates of an hour, sorted by quarter, each combination once. As columns, for there may be as many of them as
/// there were events.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired {
    quarter: Vec<u8>,
    model: Vec<u16>,
    source: Vec<u16>,
    kind: Vec<u16>,
    key: Column,
    /// Without those that are 0.
    sums: [Column; FIELDS],
    spent: [Column; 4],
}

impl Retired {
    pub(super) fn len(&self) -> usize {
        self.quarter.len()
    }

    /// This, and `more`.
    pub(super) fn with(&self, mut more: Vec<Cell>) -> Self {
        more.extend((0..self.len()).map(|at| self.get(at)));
        more.sort_by_key(Cell::place);
        more.dedup_by(|next, kept| {
            let is_same = next.place() == kept.place();
            if is_same {
                kept.sums += next.sums;
                kept.spent += next.spent;
            }
            is_same
        });
        let column = |value: &dyn Fn(&Cell) -> u64| {
            let mut column = Column::default();
            for (at, cell) in more.iter().enumerate() {
                column.insert(at, at, Some(value(cell)).filter(|&value| value != 0));
            }
            column
        };
        Self {
            quarter: more.iter().map(|cell| cell.quarter).collect(),
            model: more.iter().map(|cell| cell.model).collect(),
            source: more.iter().map(|cell| cell.source).collect(),
            kind: more.iter().map(|cell| cell.kind).collect(),
            key: column(&|cell| cell.key.into()),
            sums: std::array::from_fn(|field| column(&|cell| cell.sums.to_array()[field])),
            spent: [
                column(&|cell| cell.spent.timed),
                column(&|cell| cell.spent.duration),
                column(&|cell| cell.spent.first_bytes),
                column(&|cell| cell.spent.first_byte),
            ],
        }
    }

    pub(super) fn get(&self, at: usize) -> Cell {
        let [timed, duration, first_bytes, first_byte] =
            self.spent.each_ref().map(|column| column.get(at).unwrap_or(0));
        Cell {
            quarter: self.quarter[at],
            model: self.model[at],
            source: self.source[at],
            kind: self.kind[at],
            key: self.key.get(at).unwrap_or(0) as u32,
            sums: Sums::from_array(self.sums.each_ref().map(|column| column.get(at).unwrap_or(0))),
            spent: Spent { timed, duration, first_bytes, first_byte },
        }
    }

    pub(super) fn number(&self, axis: Axis, at: usize) -> usize {
        match axis {
            Axis::Model => self.model[at].into(),
            Axis::Source => self.source[at].into(),
            Axis::Kind => self.kind[at].into(),
            Axis::Key => self.key.get(at).unwrap_or(0) as usize,
        }
    }

    /// Those of a quarter of the hour.
    pub(super) fn of_quarter(&self, quarter: u8) -> Range<usize> {
        self.quarter.partition_point(|&other| other < quarter)
            ..self.quarter.partition_point(|&other| other <= quarter)
    }

    pub(super) fn quarters(&self) -> &[u8] {
        &self.quarter
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.quarter.capacity()
            + (self.model.capacity() + self.source.capacity() + self.kind.capacity()) * size_of::<u16>()
            + self.sums.iter().chain(&self.spent).chain([&self.key]).map(Column::heap_bytes).sum::<usize>()
    }
}
