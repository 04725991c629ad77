//! How fast the index answers, and what it takes to hold a history in memory, beside DuckDB.
//!
//! ```sh
//! cargo bench --bench query                             # ten million lines: six gigabytes of disk, some minutes
//! cargo bench --bench query -- --lines 1000000 'by key' # fewer, and only what has this in its name
//! cargo bench --bench query -- --quick                  # each question once, of a small history
//! ```
//!
//! A usage file is made up and loaded, and each question asked many times: of all there is but for the first and the
//! last minutes, or of 30 days that begin anywhere, to the millisecond. The table has the medians. Questions whose
//! answers lie in sums are the upper ones; the lower ones have to look at each event. One thread asks, and one answers.
//!
//! DuckDB is asked through Python's `duckdb` (`pip install duckdb`), if there is one. It has the same file in a table in
//! memory, sorted by time, and is asked the same for the same range; it is checked that both say the same. The ratios
//! can be compared between machines; the times cannot.

#[path = "../support/mod.rs"]
mod support;

use std::{hint::black_box, path::Path, time::Instant};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::json;
use support::{
    Options,
    duckdb::DuckDb,
    history::{self, DAYS, START, Shape},
    median, nanoseconds,
    table::{Table, grouped},
};
use tower_llm_usage::{
    Timestamp,
    bench::{self, Answer, Index, Question},
};

fn main() -> anyhow::Result<()> {
    let options = Options::of_command_line()?;
    let (lines, turns) = (options.history(), if options.is_full { 101 } else { 1 });
    let questions: Vec<_> = questions().into_iter().filter(|question| options.wants(question.name)).collect();
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = place.path().join("usage.json");
    history::write(&file, Shape::Ours, lines).context("cannot make the file up")?;

    let index = bench::load(&file, 2)?;
    ensure!(index.events() == lines, "only {} of {lines} events were loaded", index.events());
    let bytes = index.heap_bytes() as f64 / lines as f64;
    let mut seen: Vec<_> = questions.iter().map(|question| question.ask(&index, turns)).collect();
    drop(index);
    if let Some(duckdb) = DuckDb::find() {
        let theirs = ask_duckdb(&duckdb, &file, &questions, turns.min(11)).context("DuckDB")?;
        for ((question, seen), theirs) in questions.iter().zip(&mut seen).zip(theirs) {
            let (ours, theirs_said) = (seen.answer, theirs.answer);
            ensure!(ours == theirs_said, "{}: {ours:?}, and by DuckDB {theirs_said:?}", question.name);
            seen.duckdb = Some(theirs.seconds * 1e9);
        }
    } else {
        println!("DuckDB is left out: there is no Python with `duckdb` (pip install duckdb).\n");
    }

    if options.is_json {
        let rows: Vec<_> = questions
            .iter()
            .zip(&seen)
            .map(|(question, seen)| json!({"name": question.name, "ns": seen.ours, "duckdb_ns": seen.duckdb}))
            .collect();
        println!("{:#}", json!({"events": lines, "bytes_per_event": bytes, "questions": rows}));
        return Ok(());
    }
    report(lines, bytes, &questions, &seen);
    Ok(())
}

fn report(lines: u64, bytes: f64, questions: &[Asked], seen: &[Seen]) {
    let mut table =
        Table::new([&*format!("{} events", grouped(lines as f64)), "µs", "goal", "DuckDB", "ratio"]);
    for (question, seen) in questions.iter().zip(seen) {
        let (duckdb, ratio) = match seen.duckdb {
            Some(theirs) => (micros(theirs), grouped(theirs / seen.ours)),
            None => Default::default(),
        };
        table.row([question.name.to_owned(), micros(seen.ours), question.goal.to_owned(), duckdb, ratio]);
    }
    table.print();
    println!("\n{bytes:.1} bytes of memory an event (goal: ≤ 40)");
}

fn micros(nanoseconds: f64) -> String {
    let micros = nanoseconds / 1e3;
    if micros < 100.0 { format!("{micros:.1}") } else { grouped(micros) }
}

/// Nanoseconds, and what was said in the first turn.
struct Seen {
    ours: f64,
    duckdb: Option<f64>,
    answer: Answer,
}

struct Asked {
    name: &'static str,
    /// In microseconds.
    goal: &'static str,
    days: i64,
    ours: fn(Question) -> Question,
    /// What goes between the columns and the table, and what follows the condition on the time.
    sql: (&'static str, String),
}

/// The first millisecond and the last.
type Range = (Timestamp, Timestamp);

const LOOKED_UP: &str = "≤ 200";
const LOOKED_AT: &str = "≤ 40,000";
const EACH_HOUR: &str = "GROUP BY date_trunc('hour', time)";

fn questions() -> Vec<Asked> {
    let ask = |name, goal, days, sql: &str, ours| Asked { name, goal, days, ours, sql: ("", sql.to_owned()) };
    vec![
        ask("totals", "≤ 100", DAYS, "", |q| q),
        ask("totals, 30 days", "≤ 100", 30, "", |q| q),
        ask("by model", LOOKED_UP, DAYS, "GROUP BY model", |q| q.by(&["model"])),
        ask("by model, 30 days", LOOKED_UP, 30, "GROUP BY model", |q| q.by(&["model"])),
        ask("each hour", LOOKED_UP, DAYS, EACH_HOUR, |q| q.each_hour()),
        ask(
            "each hour, of one model",
            LOOKED_UP,
            DAYS,
            &format!("AND model = '{}' {EACH_HOUR}", history::model(7)),
            |q| q.only("model", &history::model(7)).each_hour(),
        ),
        ask(
            "each day in Kolkata",
            LOOKED_UP,
            DAYS,
            "GROUP BY date_trunc('day', time + INTERVAL 330 MINUTE)",
            |q| q.each_day("Asia/Kolkata"),
        ),
        ask("by key", LOOKED_AT, DAYS, "GROUP BY api_key_hash", |q| q.by(&["key"])),
        ask("by key, 30 days", LOOKED_AT, 30, "GROUP BY api_key_hash", |q| q.by(&["key"])),
        ask(
            "each hour, of one key",
            LOOKED_AT,
            DAYS,
            &format!("AND api_key_hash = '{}' {EACH_HOUR}", history::key(7)),
            |q| q.only("key", &history::key(7)).each_hour(),
        ),
        ask("by provider", LOOKED_AT, DAYS, "GROUP BY provider", |q| q.by(&["provider"])),
        ask(
            "by operation, of one provider",
            LOOKED_AT,
            DAYS,
            "AND provider = 'openai' GROUP BY operation",
            |q| q.only("provider", "openai").by(&["operation"]),
        ),
        ask(
            "by endpoint, of one model",
            LOOKED_AT,
            DAYS,
            &format!("AND model = '{}' GROUP BY endpoint", history::model(7)),
            |q| q.only("model", &history::model(7)).by(&["endpoint"]),
        ),
        ask("by status class", LOOKED_AT, DAYS, "GROUP BY status // 100", |q| q.by(&["status class"])),
        ask(
            "each hour, of errors",
            LOOKED_AT,
            DAYS,
            &format!("AND status BETWEEN 400 AND 499 {EACH_HOUR}"),
            |q| q.only("status class", "4xx").each_hour(),
        ),
        ask("by model, of streams", LOOKED_AT, DAYS, "AND stream GROUP BY model", |q| {
            q.only("stream", "true").by(&["model"])
        }),
        ask("by quality of usage", LOOKED_AT, DAYS, "GROUP BY usage", |q| q.by(&["usage"])),
        ask("by weekday and hour", LOOKED_AT, DAYS, "GROUP BY isodow(time), hour(time)", |q| {
            q.by(&["weekday", "hour of day"])
        }),
        ask("by model and key", "", DAYS, "GROUP BY model, api_key_hash", |q| q.by(&["model", "key"])),
        Asked {
            name: "percentiles of durations",
            goal: "",
            days: DAYS,
            ours: Question::durations,
            sql: (
                ", approx_quantile(duration_ms, [0.5, 0.9, 0.95, 0.99]), approx_quantile(ttft_ms, [0.5, 0.9, 0.95, 0.99])",
                String::new(),
            ),
        },
    ]
}

impl Asked {
    fn ask(&self, index: &Index, turns: usize) -> Seen {
        let mut answer = None;
        let times = (0..turns).map(|turn| {
            let (from, to) = self.range(turn);
            let question = (self.ours)(Question::over(from, to));
            let start = Instant::now();
            let said = black_box(index.ask(black_box(&question)));
            let time = nanoseconds(start.elapsed());
            answer.get_or_insert(said);
            time
        });
        let ours = median(times.collect::<Vec<_>>());
        Seen { ours, duckdb: None, answer: answer.expect("there is a turn") }
    }

    /// Another one in each turn, where there is room.
    fn range(&self, turn: usize) -> Range {
        const DAY: i64 = 86_400_000;
        let length = (self.days * DAY).min(DAYS * DAY - 1_000_000);
        let room = DAYS * DAY - length;
        let from = START + (turn as i64 + 1).wrapping_mul(0x1e37_79b9_7f4a_7c15).rem_euclid(room);
        (Timestamp::from_unix_millis(from), Timestamp::from_unix_millis(from + length - 1))
    }

    /// With all counts that the index gives, too.
    fn sql(&self) -> String {
        let (from, to) = self.range(0);
        format!(
            "SELECT count(*), sum(total_tokens), sum(prompt_tokens), sum(completion_tokens), sum(cache_read_tokens), \
             sum(cache_write_tokens), sum(reasoning_tokens), count(*) FILTER (status >= 400){} FROM events \
             WHERE time BETWEEN make_timestamp({}) AND make_timestamp({}) {}",
            self.sql.0,
            from.unix_millis() * 1000,
            to.unix_millis() * 1000,
            self.sql.1
        )
    }
}

#[derive(Deserialize)]
struct Theirs {
    seconds: f64,
    answer: Answer,
}

fn ask_duckdb(
    duckdb: &DuckDb,
    file: &Path,
    questions: &[Asked],
    turns: usize,
) -> anyhow::Result<Vec<Theirs>> {
    let questions: Vec<_> = questions.iter().map(Asked::sql).collect();
    let work = json!({"file": file.to_str().context("the file's path is no text")?, "questions": questions, "turns": turns});
    let theirs: Vec<Theirs> = duckdb.run(include_str!("duckdb.py"), &work)?;
    ensure!(theirs.len() == questions.len(), "{} answers to {} questions", theirs.len(), questions.len());
    Ok(theirs)
}
