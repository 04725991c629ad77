//! Sums over events, of all and by model.

use std::ops::AddAssign;

/// Sums over events. A count that an event does not have adds nothing; a sum too large for its type is the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums<T = u64> {
    pub(crate) requests: T,
    /// `UsageEvent::is_error`.
    pub(crate) errors: T,
    /// `UsageEvent::is_aborted`.
    pub(crate) aborted: T,
    /// Events without any count, so that the sums below are known to be too low.
    pub(crate) unknown: T,
    pub(crate) input: T,
    pub(crate) output: T,
    pub(crate) total: T,
    pub(crate) cache_read: T,
    pub(crate) cache_write: T,
    pub(crate) cache_write_1h: T,
    pub(crate) reasoning: T,
}

impl<T> Sums<T> {
    /// `f` of each pair of fields.
    #[inline]
    pub(super) fn zip<U, V>(self, other: Sums<U>, f: impl Fn(T, U) -> V) -> Sums<V> {
        Sums {
            requests: f(self.requests, other.requests),
            errors: f(self.errors, other.errors),
            aborted: f(self.aborted, other.aborted),
            unknown: f(self.unknown, other.unknown),
            input: f(self.input, other.input),
            output: f(self.output, other.output),
            total: f(self.total, other.total),
            cache_read: f(self.cache_read, other.cache_read),
            cache_write: f(self.cache_write, other.cache_write),
            cache_write_1h: f(self.cache_write_1h, other.cache_write_1h),
            reasoning: f(self.reasoning, other.reasoning),
        }
    }
}

impl AddAssign for Sums {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, u64::saturating_add);
    }
}

/// The sums of some events, and the same by model.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    pub(super) all: Sums,
    /// Rising. Apart from the sums, so that a search touches few lines of cache.
    models: Vec<u16>,
    by_model: Vec<Sums>,
}

impl Cells {
    pub(super) fn add(&mut self, model: u16, sums: Sums) {
        self.all += sums;
        match self.find(model) {
            Ok(at) => self.by_model[at] += sums,
            Err(at) => {
                insert(&mut self.models, at, model);
                insert(&mut self.by_model, at, sums);
            }
        }
    }

    pub(super) fn by_model(&self) -> impl Iterator<Item = (u16, &Sums)> {
        self.models.iter().copied().zip(&self.by_model)
    }

    pub(super) fn of(&self, model: u16) -> Option<&Sums> {
        self.find(model).ok().map(|at| &self.by_model[at])
    }

    /// Where `model` is, or where it belongs.
    fn find(&self, model: u16) -> Result<usize, usize> {
        // On a busy day each model is there, at the place that its number says.
        match self.models.get(usize::from(model)) {
            Some(&there) if there == model => Ok(usize::from(model)),
            _ => self.models.binary_search(&model),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.models.capacity() * size_of::<u16>() + self.by_model.capacity() * size_of::<Sums>()
    }
}

/// `Vec::insert` that grows as [`reserve`] does.
pub(super) fn insert<T>(vec: &mut Vec<T>, at: usize, value: T) {
    reserve(vec, 1);
    vec.insert(at, value);
}

/// `Vec::reserve` that grows by an eighth: there are many small vectors that stop growing after their quarter of an
/// hour, and what they hold in reserve then stays.
pub(super) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8));
    }
}
