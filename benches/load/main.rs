//! How fast a history is loaded, beside what reads JSON Lines fast.
//!
//! ```sh
//! cargo bench --bench load                              # ten million lines: some gigabytes of disk, some minutes
//! cargo bench --bench load -- --lines 1000000 ours      # fewer, and only ours
//! ```
//!
//! A file is made up first, once with the Go original's lines and once with ours. Then the contenders take turns, three
//! times over; the table has the medians. Each reads the same file, which the system has in its memory by then.
//! The ratios can be compared between machines; the times cannot.
//!
//! DuckDB is asked through Python's `duckdb` (`pip install duckdb`), if there is one, and reads into a table in memory.
//! With the schema told it reads the fields and nothing else; `read_json_auto` has to find out what they are.

#[path = "../support/mod.rs"]
mod support;

use std::{
    fs::File,
    hint::black_box,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Deserialize;
use support::{
    Options,
    duckdb::{DuckDb, Reader},
    history::{self, Shape, Written},
    median,
    table::{Table, grouped},
};
use tower_llm_usage::{Config, Usage, bench};

/// Turns that each contender has.
const TURNS: usize = 3;

fn main() -> anyhow::Result<()> {
    let options = Options::of_command_line()?;
    let duckdb = DuckDb::find();
    if duckdb.is_none() {
        println!("DuckDB is left out: there is no Python with `duckdb` (pip install duckdb).\n");
    }
    let (lines, turns) = (options.history(), if options.is_full { TURNS } else { 1 });
    for shape in [Shape::Original, Shape::Ours] {
        if !options.wants(shape.name()) {
            continue;
        }
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let file = place.path().join("usage.json");
        let written = history::write(&file, shape, lines).context("cannot make the file up")?;
        println!(
            "{} lines of {}, {} bytes each\n",
            grouped(lines as f64),
            shape.name(),
            written.bytes / lines
        );
        report(&measure(&file, shape, &written, turns, duckdb.as_ref())?, &written);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    CountLines,
    Parse(usize),
    Index(usize),
    Open,
    SerdeJson,
    DuckDb(Reader, usize),
}

use Contender::{CountLines, Index, Open, Parse, SerdeJson};

const CONTENDERS: [Contender; 11] = [
    CountLines,
    Parse(1),
    Parse(2),
    Index(1),
    Index(2),
    Open,
    SerdeJson,
    Contender::DuckDb(Reader::Schema, 1),
    Contender::DuckDb(Reader::Schema, 2),
    Contender::DuckDb(Reader::Auto, 1),
    Contender::DuckDb(Reader::Auto, 2),
];

impl Contender {
    fn name(self) -> String {
        let threads =
            |threads| if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        match self {
            CountLines => "lines counted, the limit".to_owned(),
            Parse(n) => format!("events parsed and not kept, {}", threads(n)),
            Index(n) => format!("events loaded into the index, {}", threads(n)),
            Open => "`Usage::open`, as many threads as cores".to_owned(),
            SerdeJson => "`serde_json` into a struct of borrowed texts, not kept, 1 thread".to_owned(),
            Self::DuckDb(Reader::Schema, n) => format!("DuckDB, schema told, {}", threads(n)),
            Self::DuckDb(Reader::Auto, n) => format!("DuckDB, `read_json_auto`, {}", threads(n)),
        }
    }
}

/// Events a second of each contender that is there.
fn measure(
    file: &Path,
    shape: Shape,
    written: &Written,
    turns: usize,
    duckdb: Option<&DuckDb>,
) -> anyhow::Result<Vec<(Contender, f64)>> {
    let is_there = |contender: &Contender| !matches!(contender, Contender::DuckDb(..)) || duckdb.is_some();
    let mut times: Vec<_> =
        CONTENDERS.into_iter().filter(is_there).map(|contender| (contender, Vec::new())).collect();
    for _ in 0..turns {
        for (contender, times) in &mut times {
            let (time, events) =
                run(*contender, file, shape, written, duckdb).with_context(|| contender.name())?;
            ensure!(events == written.events, "{} found {events} events", contender.name());
            times.push(time.as_secs_f64());
        }
    }
    let speed = |times: Vec<f64>| written.events as f64 / median(times);
    Ok(times.into_iter().map(|(contender, times)| (contender, speed(times))).collect())
}

/// What one run took, and the events that it found.
fn run(
    contender: Contender,
    file: &Path,
    shape: Shape,
    written: &Written,
    duckdb: Option<&DuckDb>,
) -> anyhow::Result<(Duration, u64)> {
    let start = Instant::now();
    Ok(match contender {
        CountLines => {
            let lines = count_lines(file)?;
            (start.elapsed(), lines)
        }
        Parse(threads) => {
            let events = bench::parse(file, threads)?;
            (start.elapsed(), events)
        }
        Index(threads) => {
            let index = bench::load(file, threads)?;
            // To give the memory back is not part of the load.
            (start.elapsed(), index.events())
        }
        Open => {
            let usage = Usage::open(Config::recording_to(file))?;
            let time = start.elapsed();
            let events = usage.status().events;
            usage.close_blocking()?;
            (time, events)
        }
        SerdeJson => {
            let events = parse_with_serde_json(file)?;
            (start.elapsed(), events)
        }
        Contender::DuckDb(reader, threads) => {
            let loaded = duckdb.context("is not there")?.load(file, shape, reader, threads)?;
            ensure!(loaded.tokens == written.tokens, "found {} tokens", loaded.tokens);
            (loaded.time, loaded.events)
        }
    })
}

fn count_lines(file: &Path) -> anyhow::Result<u64> {
    let mut file = File::open(file)?;
    let mut buffer = vec![0; 128 << 10];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            n => lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
        }
    }
}

/// What somebody would write who wants the eight fields, and wants them fast.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read, and not kept")]
struct Line<'a> {
    timestamp: &'a str,
    model: &'a str,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    status: u16,
    request_id: Option<&'a str>,
    api_key_hash: Option<&'a str>,
}

fn parse_with_serde_json(file: &Path) -> anyhow::Result<u64> {
    let mut file = File::open(file)?;
    let mut buffer = vec![0; 128 << 10];
    let (mut kept, mut events) = (0, 0);
    loop {
        let n = file.read(&mut buffer[kept..])?;
        let read = &buffer[..kept + n];
        let end = memchr::memrchr(b'\n', read).map_or(0, |at| at + 1);
        for line in read[..end].split_inclusive(|byte| *byte == b'\n') {
            black_box(serde_json::from_slice::<Line<'_>>(line)?);
            events += 1;
        }
        if n == 0 {
            return Ok(events);
        }
        kept = read.len() - end;
        buffer.copy_within(end..end + kept, 0);
    }
}

fn report(speeds: &[(Contender, f64)], written: &Written) {
    let mut table = Table::new(["", "million events a second", "ns an event", "GB/s"]);
    let events = written.events as f64;
    for (contender, speed) in speeds {
        let gigabytes = speed / events * written.bytes as f64 / 1e9;
        table.row([
            contender.name(),
            format!("{:.2}", speed / 1e6),
            format!("{:.0}", 1e9 / speed),
            format!("{gigabytes:.2}"),
        ]);
    }
    table.print();
    println!();

    let of = |contender| speeds.iter().find(|(other, _)| *other == contender).map(|(_, speed)| speed);
    let mut table = Table::new(["ratio", "seen", "goal"]);
    let duckdb = |threads| Contender::DuckDb(Reader::Schema, threads);
    for (ours, theirs, goal) in [
        (Index(1), duckdb(1), "≥ 2"),
        (Index(2), duckdb(2), "≥ 1.5"),
        (Index(1), Contender::DuckDb(Reader::Auto, 1), ""),
        (Index(1), SerdeJson, ""),
        (Parse(1), SerdeJson, ""),
    ] {
        if let (Some(our_speed), Some(their_speed)) = (of(ours), of(theirs)) {
            let name = format!("{} / {}", ours.name(), theirs.name());
            table.row([name, format!("{:.2}", our_speed / their_speed), goal.to_owned()]);
        }
    }
    table.print();
    println!();
}
