//! What several benches need.
#![allow(dead_code, unreachable_pub, reason = "not every bench needs all of it, and none is needed beyond")]

pub mod bodies;
pub mod copy;
pub mod duckdb;
pub mod heads;
pub mod history;
pub mod least;
pub mod observe;
pub mod search;
pub mod table;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use anyhow::bail;
use lexopt::{Arg, Parser, ValueExt as _};

/// How a bench was called.
pub struct Options {
    /// Measures in earnest. Without it, all that is there to measure runs once, as `cargo test --benches` wants it.
    pub is_full: bool,
    /// Prints data in place of a table.
    pub is_json: bool,
    /// Only what has this in its name.
    pub filter: String,
    /// Where to draw what was measured.
    pub svg: Option<String>,
    /// Runs one workload this often and measures nothing: for a profiler.
    pub requests: Option<usize>,
    /// Has servers started this often, if not as often as usual.
    pub starts: Option<usize>,
    /// As large a history, if it is not to be as large as usual.
    pub lines: Option<u64>,
}

impl Options {
    /// `cargo bench` says `--bench`, `cargo test` does not; the rest is what the caller says.
    pub fn of_command_line() -> anyhow::Result<Self> {
        let mut options = Self {
            is_full: false,
            is_json: false,
            filter: String::new(),
            svg: None,
            requests: None,
            starts: None,
            lines: None,
        };
        let mut arguments = Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("bench") => options.is_full = true,
                Arg::Long("quick") => options.is_full = false,
                Arg::Long("json") => options.is_json = true,
                Arg::Long("svg") => options.svg = Some(arguments.value()?.string()?),
                Arg::Long("requests") => options.requests = Some(arguments.value()?.parse()?),
                Arg::Long("starts") => {
                    options.starts = Some(arguments.value()?.parse::<NonZeroUsize>()?.get());
                }
                Arg::Long("lines") => options.lines = Some(arguments.value()?.parse::<NonZeroU64>()?.get()),
                Arg::Value(filter) => options.filter = filter.string()?,
                other => bail!(
                    "{}. These are known: a part of a workload's name, --quick, --json, --svg FILE, --requests N, --starts N, --lines N",
                    other.unexpected()
                ),
            }
        }
        Ok(options)
    }

    /// Events of the history that is made up.
    pub fn history(&self) -> u64 {
        self.lines.unwrap_or(if self.is_full { 10_000_000 } else { 20_000 })
    }

    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }
}

/// The middle one, which a busy neighbour moves least. Zero of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The least first.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

pub fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
