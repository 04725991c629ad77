//! DuckDB, asked through Python.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::history::Shape;

/// A Python that has `duckdb`.
pub struct DuckDb {
    python: &'static str,
}

/// How DuckDB learns what the fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Schema,
    Auto,
}

/// What DuckDB has in its table.
pub struct Loaded {
    pub time: Duration,
    pub events: u64,
    pub tokens: u64,
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
query, threads = json.load(sys.stdin)
database = duckdb.connect(config={"threads": threads})
database.execute("set enable_progress_bar = false")
start = time.perf_counter()
database.execute("create table events as select * from " + query)
seconds = time.perf_counter() - start
events, tokens = database.execute("select count(*), sum(total_tokens)::ubigint from events").fetchone()
print(json.dumps({"seconds": seconds, "events": events, "tokens": tokens}))
"#;

impl DuckDb {
    pub fn find() -> Option<Self> {
        let has_it = |python: &&str| {
            let check = Command::new(python).args(["-c", "import duckdb"]).output();
            check.is_ok_and(|output| output.status.success())
        };
        let python = ["python3", "python"].into_iter().find(has_it)?;
        Some(Self { python })
    }

    /// Loads `file` into a table.
    pub fn load(&self, file: &Path, shape: Shape, reader: Reader, threads: usize) -> anyhow::Result<Loaded> {
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
        let Answer { seconds, events, tokens } = self.run(SCRIPT, &(query, threads))?;
        Ok(Loaded { time: Duration::from_secs_f64(seconds), events, tokens })
    }

    /// What `script` prints when it is given `input`, both as JSON.
    pub fn run<T: DeserializeOwned>(&self, script: &str, input: &impl Serialize) -> anyhow::Result<T> {
        let mut child = Command::new(self.python)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let input = serde_json::to_vec(input)?;
        child.stdin.take().context("no standard input")?.write_all(&input)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
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
