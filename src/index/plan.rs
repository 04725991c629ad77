//! What a question means in numbers of the dictionaries.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    names::{self, FLAG_BITS, Kind, Names, OTHER_KEY},
    query::{Dimension, Filter, Pattern},
};
use crate::KeyHash;

/// What rows have a number for, that stands for one or more dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Model,
    Source,
    Kind,
    Key,
}

pub(super) const AXES: [Axis; 4] = [Axis::Model, Axis::Source, Axis::Kind, Axis::Key];

impl Dimension {
    /// None for those that only the time decides.
    pub(super) fn axis(self) -> Option<Axis> {
        match self {
            Self::Model => Some(Axis::Model),
            Self::Key => Some(Axis::Key),
            Self::Provider | Self::Operation | Self::Endpoint => Some(Axis::Source),
            Self::StatusClass | Self::Status | Self::Stream | Self::Usage => Some(Axis::Kind),
            Self::Weekday | Self::HourOfDay => None,
        }
    }
}

impl Axis {
    /// Numbers in use, from 0 on.
    fn numbers(self, names: &Names) -> usize {
        match self {
            Self::Model => names.models.len(),
            Self::Source => names.sources.len(),
            Self::Kind => names.kinds.len() << FLAG_BITS,
            Self::Key => names.key_numbers(),
        }
    }
}

/// Whether an event is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    No,
    Yes,
    /// That was not kept when it was retired.
    Unknown,
}

impl Pass {
    #[inline]
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// Which rows count, by their number on each axis that is asked about.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions([Option<Vec<Pass>>; AXES.len()]);

impl Conditions {
    /// Of those `filters` that do not ask about the time.
    pub(super) fn new(filters: &[Filter], names: &Names) -> Self {
        let mut conditions = Self::default();
        for filter in filters {
            let Some(axis) = filter.dimension.axis() else { continue };
            let pass = |holds| if holds { Pass::Yes } else { Pass::No };
            if filter.dimension == Dimension::Key {
                let keys = KeyFilter::new(filter);
                conditions.also(axis, names, |number| pass(keys.holds(names, number)));
            } else {
                // Many kinds and sources share a value, but there are few of them.
                conditions.also(axis, names, |number| match names.kinds.get(number as usize >> FLAG_BITS) {
                    _ if is_kept(filter.dimension, number, names) => {
                        pass(filter.holds(value(filter.dimension, number, names).as_deref()))
                    }
                    Some(kind) if filter.dimension == Dimension::Status => of_class(filter, kind.class),
                    _ => Pass::Unknown,
                });
            }
        }
        conditions
    }

    /// The same, of what is only known as aggregates.
    pub(super) fn of_retired(&self, names: &Names) -> Self {
        let mut conditions = self.clone();
        conditions.also(Axis::Kind, names, |number| {
            let kind = names.kinds.get(number as usize >> FLAG_BITS);
            if kind.is_some_and(|kind| kind.is_retired) { Pass::Yes } else { Pass::No }
        });
        conditions
    }

    fn also(&mut self, axis: Axis, names: &Names, pass: impl Fn(u32) -> Pass) {
        let passes = self.0[axis as usize].get_or_insert_with(|| vec![Pass::Yes; axis.numbers(names)]);
        passes.iter_mut().zip(0..).for_each(|(known, number)| *known = known.and(pass(number)));
    }

    /// By number; none if all of them pass.
    pub(super) fn on(&self, axis: Axis) -> Option<&[Pass]> {
        self.0[axis as usize].as_deref()
    }

    /// The numbers that do not fail, if they are not many.
    pub(super) fn few(&self, axis: Axis) -> Option<Vec<u32>> {
        let passes = self.on(axis)?.iter().zip(0..).filter(|(pass, _)| **pass != Pass::No);
        let few = passes.map(|(_, number)| number).take(MANY).collect::<Vec<_>>();
        (few.len() < MANY).then_some(few)
    }

    /// The axes that are asked about.
    pub(super) fn axes(&self) -> impl Iterator<Item = Axis> {
        AXES.into_iter().filter(|axis| self.on(*axis).is_some())
    }
}

/// Numbers that are looked through rather than looked up.
const MANY: usize = 9;

/// A retired event still has the value.
fn is_kept(dimension: Dimension, number: u32, names: &Names) -> bool {
    match dimension {
        Dimension::Operation | Dimension::Endpoint => {
            names.sources.get(number as usize).is_none_or(|source| !source.is_retired)
        }
        Dimension::Status | Dimension::Stream | Dimension::Usage => {
            names.kinds.get(number as usize >> FLAG_BITS).is_none_or(|kind| !kind.is_retired)
        }
        _ => true,
    }
}

/// What a filter by status makes of events of which only the class is known.
fn of_class(filter: &Filter, class: u8) -> Pass {
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| number.to_string() == text);
    let known = u16::from(class);
    let unknown_if = |may_fit| if may_fit { Pass::Unknown } else { Pass::No };
    let fits = |pattern: &Pattern| match pattern {
        Pattern::Absent => Pass::No,
        Pattern::Exact(text) => unknown_if(number(text).is_some_and(|status| names::class(status) == class)),
        Pattern::Prefix(text) => match (number(text), text.len()) {
            (_, 0) => Pass::Yes,
            (Some(digit), 1) if class > 0 && digit == known => Pass::Yes,
            (Some(digits), len @ 2..=3) if class > 0 => unknown_if(digits / [10, 100][len - 2] == known),
            // Numbers that are in no class may begin with anything.
            (first, _) => unknown_if(class == 0 && first.is_some()),
        },
    };
    let any = filter.any_of.iter().map(fits).fold(Pass::No, Pass::or);
    if filter.not { any.not() } else { any }
}

/// A filter by key, which does not write out each of a million hashes.
struct KeyFilter<'a> {
    filter: &'a Filter,
    exact: Vec<KeyHash>,
}

impl<'a> KeyFilter<'a> {
    fn new(filter: &'a Filter) -> Self {
        let exact = filter.any_of.iter().filter_map(|pattern| match pattern {
            // Upper case is another text.
            Pattern::Exact(hex) => hex.parse().ok().filter(|hash: &KeyHash| hash.to_string() == **hex),
            _ => None,
        });
        Self { filter, exact: exact.collect() }
    }

    fn holds(&self, names: &Names, number: u32) -> bool {
        let only_exact = self.filter.any_of.iter().all(|pattern| matches!(pattern, Pattern::Exact(_)));
        match names.keys.get(number.wrapping_sub(names::FIRST_KEY) as usize) {
            Some(hash) if number > OTHER_KEY && only_exact => self.exact.contains(hash) != self.filter.not,
            _ => self.filter.holds(names.key(number).map(|key| key.to_string()).as_deref()),
        }
    }
}

/// The value of `dimension` that a number on its axis stands for.
fn value(dimension: Dimension, number: u32, names: &Names) -> Option<Arc<str>> {
    let source = || names.sources.get(number as usize);
    let kind = || names.kinds.get(number as usize >> FLAG_BITS);
    match dimension {
        Dimension::Model => names.models.get(number as usize).cloned(),
        Dimension::Key => names.key(number).map(|key| key.to_string().into()),
        Dimension::Provider => source()?.provider.clone(),
        Dimension::Operation => source()?.operation.clone(),
        Dimension::Endpoint => source()?.endpoint.clone(),
        Dimension::StatusClass => status_class(kind()?),
        Dimension::Status => kind()?.status.map(|status| status.to_string().into()),
        Dimension::Stream => kind()?.stream.map(|stream| if stream { "true" } else { "false" }.into()),
        Dimension::Usage => kind()?.usage.map(|usage| usage.word().into()),
        Dimension::Weekday | Dimension::HourOfDay => None,
    }
}

fn status_class(kind: &Kind) -> Option<Arc<str>> {
    ["1xx", "2xx", "3xx", "4xx", "5xx"]
        .get(usize::from(kind.class).checked_sub(1)?)
        .map(|text| (*text).into())
}

/// The values of a dimension, numbered.
#[derive(Debug)]
pub(super) struct Values {
    dimension: Dimension,
    pub(super) axis: Axis,
    /// The number of the value, by number on the axis.
    pub(super) of: Vec<u32>,
    /// A number on the axis for each value.
    example: Vec<u32>,
}

impl Values {
    /// None for a dimension that only the time decides.
    pub(super) fn new(dimension: Dimension, names: &Names) -> Option<Self> {
        let axis = dimension.axis()?;
        let numbers = 0..axis.numbers(names) as u32;
        if matches!(dimension, Dimension::Model | Dimension::Key) {
            // Each number is another value.
            return Some(Self { dimension, axis, of: numbers.clone().collect(), example: numbers.collect() });
        }
        let (mut known, mut example) = (HashMap::new(), Vec::new());
        let of = numbers.map(|number| {
            *known.entry(value(dimension, number, names)).or_insert_with(|| {
                example.push(number);
                example.len() as u32 - 1
            })
        });
        Some(Self { dimension, axis, of: of.collect(), example })
    }

    pub(super) fn len(&self) -> usize {
        self.example.len()
    }

    pub(super) fn name(&self, value: usize, names: &Names) -> Option<Arc<str>> {
        self::value(self.dimension, *self.example.get(value)?, names)
    }
}
