//! DuckDB, asked through Python.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::history::Shape;

/// A Python that has `duckdb`.
pub(crate) struct DuckDb {
    python: &'static str,
}

/// How DuckDB learns what the fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Schema,
    Auto,
}

/// What DuckDB has in its table.
pub(crate) struct Loaded {
    pub(crate) time: Duration,
    pub(crate) events: u64,
    pub(crate) tokens: u64,
}

#[derive(Deserialize)]
struct Answer {
    seconds: f64,
    events: u64,
    tokens: u64,
}

/// Times the load alone: neither the start of Python nor what is asked of the table afterwards.
const SCRIPT: &str = r#"
import duckdb, json, sys, time
query, threads = sys.argv[1], int(sys.argv[2])
database = duckdb.connect(config={"threads": threads})
database.execute("set enable_progress_bar = false")
start = time.perf_counter()
database.execute("create table events as select * from " + query)
seconds = time.perf_counter() - start
events, tokens = database.execute("select count(*), sum(total_tokens)::ubigint from events").fetchone()
print(json.dumps({"seconds": seconds, "events": events, "tokens": tokens}))
"#;

impl DuckDb {
    pub(crate) fn find() -> Option<Self> {
        let has_it = |python: &&str| {
            let check = Command::new(python).args(["-c", "import duckdb"]).output();
            check.is_ok_and(|output| output.status.success())
        };
        let python = ["python3", "python"].into_iter().find(has_it)?;
        Some(Self { python })
    }

    /// Loads `file` into a table.
    pub(crate) fn load(
        &self,
        file: &Path,
        shape: Shape,
        reader: Reader,
        threads: usize,
    ) -> anyhow::Result<Loaded> {
        let file = file.to_str().context("the file's path is no text")?.replace('\'', "''");
        let query = match reader {
            Reader::Auto => format!("read_json_auto('{file}')"),
            Reader::Schema => {
                let columns = columns(shape)
                    .map(|(name, kind)| format!("{name}: '{kind}'"))
                    .collect::<Vec<_>>()
                    .join(", ");
                format!("read_json('{file}', format = 'newline_delimited', columns = {{{columns}}})")
            }
        };
        let output = Command::new(self.python).args(["-c", SCRIPT, &query, &threads.to_string()]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let Answer { seconds, events, tokens } = serde_json::from_slice(&output.stdout)?;
        Ok(Loaded { time: Duration::from_secs_f64(seconds), events, tokens })
    }
}

/// The fields of a line, with the narrowest type that holds what a line may have.
fn columns(shape: Shape) -> impl Iterator<Item = (&'static str, &'static str)> {
    let original = [
        ("timestamp", "TIMESTAMP_MS"),
        ("model", "VARCHAR"),
        ("prompt_tokens", "UBIGINT"),
        ("completion_tokens", "UBIGINT"),
        ("total_tokens", "UBIGINT"),
        ("status", "USMALLINT"),
        ("request_id", "VARCHAR"),
        ("api_key_hash", "VARCHAR"),
    ];
    let ours = [
        ("v", "UTINYINT"),
        ("id", "VARCHAR"),
        ("provider", "VARCHAR"),
        ("operation", "VARCHAR"),
        ("endpoint", "VARCHAR"),
        ("stream", "BOOLEAN"),
        ("cache_read_tokens", "UBIGINT"),
        ("cache_write_tokens", "UBIGINT"),
        ("reasoning_tokens", "UBIGINT"),
        ("usage", "VARCHAR"),
        ("\"end\"", "VARCHAR"),
        ("duration_ms", "DOUBLE"),
        ("ttft_ms", "DOUBLE"),
    ];
    original.into_iter().chain(ours.into_iter().filter(move |_| shape == Shape::Ours))
}
