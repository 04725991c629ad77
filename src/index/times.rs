//! How long events took, summed up: to be added to, and sealed.

use super::{
    columns::{Columns, Value},
    histogram::{self, Histogram},
    query::{Durations, Timing},
    retired::Spent,
};

/// Times that are being summed up.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    duration: Counted,
    first_byte: Counted,
    /// Tokens of output and milliseconds, of the events that have both.
    output: u64,
    output_millis: u64,
}

impl Times {
    pub(super) fn durations(self) -> Durations {
        let Self { duration, first_byte, output, output_millis } = self;
        Durations { duration: duration.timing(), first_byte: first_byte.timing(), output, output_millis }
    }

    /// Takes in what is only known as sums.
    pub(super) fn add_spent(&mut self, spent: Spent) {
        for (counted, count, sum) in [
            (&mut self.duration, spent.timed, spent.duration),
            (&mut self.first_byte, spent.first_bytes, spent.first_byte),
        ] {
            counted.count = counted.count.saturating_add(count);
            counted.sum = counted.sum.saturating_add(sum);
        }
    }

    pub(super) fn add_sealed(&mut self, sealed: &Sealed) {
        let Sealed { duration, first_byte, output, output_millis } = sealed;
        self.duration.add_sealed(duration);
        self.first_byte.add_sealed(first_byte);
        self.output = self.output.saturating_add(*output);
        self.output_millis = self.output_millis.saturating_add(*output_millis);
    }

    /// Gives out what was summed up, and begins again.
    pub(super) fn seal(&mut self) -> Sealed {
        let Self { duration, first_byte, output, output_millis } = self;
        Sealed {
            duration: duration.seal(),
            first_byte: first_byte.seal(),
            output: std::mem::take(output),
            output_millis: std::mem::take(output_millis),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.duration.count == 0 && self.first_byte.count == 0
    }
}

/// Takes in what `rows` took, each at its place.
pub(super) fn add_rows(times: &mut [Times], columns: &Columns, rows: &[u32], places: &[u32]) {
    let outputs = columns.values(Value::Output);
    columns.values(Value::Duration).each(rows, |i, millis| {
        let times = &mut times[places[i] as usize];
        times.duration.add(millis);
        if let Some(output) = outputs.get(rows[i] as usize) {
            times.output = times.output.saturating_add(output);
            times.output_millis = times.output_millis.saturating_add(millis);
        }
    });
    columns.values(Value::FirstByte).each(rows, |i, millis| times[places[i] as usize].first_byte.add(millis));
}

/// What the rows of a run took, looked up once to be summed up in several ways.
#[derive(Debug, Default)]
pub(super) struct Took {
    durations: Vec<One>,
    first_bytes: Vec<One>,
}

#[derive(Debug)]
struct One {
    row: u32,
    bucket: u16,
    millis: u64,
    output: Option<u64>,
}

impl Took {
    /// Begins again, with all rows of `columns`.
    pub(super) fn look_up(&mut self, columns: &Columns, rows: &[u32]) {
        let Self { durations, first_bytes } = self;
        durations.clear();
        let outputs = columns.values(Value::Output);
        columns.values(Value::Duration).each(rows, |i, millis| {
            let (row, bucket, output) = (rows[i], histogram::bucket(millis), outputs.get(rows[i] as usize));
            durations.push(One { row, bucket, millis, output });
        });
        first_bytes.clear();
        columns.values(Value::FirstByte).each(rows, |i, millis| {
            first_bytes.push(One { row: rows[i], bucket: histogram::bucket(millis), millis, output: None });
        });
    }

    /// Adds each row to the times at `place`.
    #[inline]
    pub(super) fn add(&self, times: &mut [Times], place: impl Fn(usize) -> u32) {
        for One { row, bucket, millis, output } in &self.durations {
            let times = &mut times[place(*row as usize) as usize];
            times.duration.add_to(*bucket, *millis);
            if let Some(output) = output {
                times.output = times.output.saturating_add(*output);
                times.output_millis = times.output_millis.saturating_add(*millis);
            }
        }
        for One { row, bucket, millis, .. } in &self.first_bytes {
            times[place(*row as usize) as usize].first_byte.add_to(*bucket, *millis);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Counted {
    count: u64,
    sum: u64,
    /// By bucket of the histogram; without those that are only known as aggregates.
    buckets: Vec<u32>,
}

impl Counted {
    #[inline]
    fn add(&mut self, millis: u64) {
        self.add_to(histogram::bucket(millis), millis);
    }

    #[inline]
    fn add_to(&mut self, bucket: u16, millis: u64) {
        let count = self.bucket(bucket.into());
        *count = count.saturating_add(1);
        self.count += 1;
        self.sum = self.sum.saturating_add(millis);
    }

    #[inline]
    fn bucket(&mut self, bucket: usize) -> &mut u32 {
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        &mut self.buckets[bucket]
    }

    fn add_sealed(&mut self, sealed: &SealedCounted) {
        self.count = self.count.saturating_add(sealed.count);
        self.sum = self.sum.saturating_add(sealed.sum);
        let (mut at, mut bucket) = (0, 0);
        while at < sealed.buckets.len() {
            bucket += number(&sealed.buckets, &mut at) as usize;
            let more = number(&sealed.buckets, &mut at);
            let count = self.bucket(bucket);
            *count = count.saturating_add(more);
        }
    }

    fn timing(self) -> Timing {
        Timing { count: self.count, sum: self.sum, histogram: Histogram::of(&self.buckets) }
    }

    fn seal(&mut self) -> SealedCounted {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (bucket, count) in self.buckets.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            write(&mut bytes, (bucket - last) as u32);
            write(&mut bytes, std::mem::take(count));
            last = bucket;
        }
        let (count, sum) = (std::mem::take(&mut self.count), std::mem::take(&mut self.sum));
        SealedCounted { count, sum, buckets: bytes.into() }
    }
}

/// [`Times`] that do not change any more, in few bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Sealed {
    duration: SealedCounted,
    first_byte: SealedCounted,
    output: u64,
    output_millis: u64,
}

impl Sealed {
    pub(super) fn heap_bytes(&self) -> usize {
        self.duration.buckets.len() + self.first_byte.buckets.len()
    }
}

#[derive(Clone, Debug, Default)]
struct SealedCounted {
    count: u64,
    sum: u64,
    /// Of each bucket that is not empty, how far it is from the one before and its count: each number in as many bytes
    /// as it needs at seven bits a byte, the lowest first. Mostly two bytes a bucket.
    buckets: Box<[u8]>,
}

fn write(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[inline]
fn number(bytes: &[u8], at: &mut usize) -> u32 {
    let mut number = 0;
    for shift in (0..u32::BITS).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_what_it_was(
            values in prop::collection::vec(prop_oneof![4 => 0..500_u64, 4 => 0..500_000_u64, 1 => any::<u64>()], 0..200),
            many in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let mut counted = Counted::default();
            values.iter().for_each(|value| counted.add(*value));
            // Counts that take all lengths of a number.
            many.iter().enumerate().for_each(|(i, count)| *counted.bucket(4_000 + 200 * i) = *count);
            let expected = counted.clone().timing();
            let sealed = counted.seal();
            prop_assert_eq!(counted.clone().timing(), Timing::default());
            counted.add_sealed(&sealed);
            prop_assert_eq!(counted.timing(), expected);
        }
    }
}
