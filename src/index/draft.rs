//! Events on their way to the index, made ready by whoever has read them: only one thread can put them in, and this is
//! what is left for it.

use super::{
    columns::Row,
    names::{Caps, Dictionaries, Translation},
};
use crate::event::EventRef;

/// Some thousand events at most, with numbers of its own for what they repeat. To be used again: what it has learnt stays.
#[derive(Debug)]
pub(crate) struct Draft {
    rows: Vec<Row>,
    names: Dictionaries,
    /// Into the numbers of the index, of which there is but one for all that a draft is used for.
    translation: Translation,
}

impl Default for Draft {
    fn default() -> Self {
        // The index decides what it tells apart.
        let caps = Caps { models: Caps::MOST_MODELS, keys: Caps::MOST_KEYS, ..Caps::default() };
        Self { rows: Vec::new(), names: Dictionaries::new(caps), translation: Translation::default() }
    }
}

impl Draft {
    pub(crate) fn push(&mut self, event: &EventRef<'_>) {
        if self.rows.is_empty() && self.names.is_large() {
            *self = Self::default();
        }
        self.rows.push(Row::of(event, &mut self.names));
    }

    /// Learns the numbers of `names` for what is new.
    pub(super) fn learn(&mut self, names: &mut Dictionaries) {
        self.translation.learn(&self.names, names);
    }

    /// The rows, with the numbers that were learnt.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Row> {
        let Self { rows, translation, .. } = self;
        rows.drain(..).map(|mut row| {
            row.model = translation.model(row.model);
            row.source = translation.source(row.source);
            row.kind = translation.kind(row.kind);
            row.set_key(translation.key(row.key()));
            row
        })
    }
}
