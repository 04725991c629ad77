//! What it costs a proxy to have its calls watched: time, allocations and memory, with everything on that a user has
//! on, the file included, beside what one might do instead.
//!
//! ```sh
//! cargo bench --bench overhead                          # all of it
//! cargo bench --bench overhead -- stream --json         # what has `stream` in its name, as data
//! cargo bench --bench overhead -- --svg frames.svg      # and a picture of what a frame costs
//! ```
//!
//! One thread calls a service in memory, so that there is no network whose noise would hide what is measured. The
//! contenders take turns, some requests each, some hundred times; the table has the medians. *Added* is what a
//! contender takes beyond the bare service **in the same turn**, so that a busy neighbour slows both. The ratios can be
//! compared between machines; the times cannot.
//!
//! *Least of a recorder* is what no recorder can be spared, without any reading of what a call says; with *the heads* it
//! knows by which name a call is found and whether its answer can be read. Beside that, with *a search for names*, it says
//! the model and the tokens of a chat completion, and gets them wrong as soon as an answer speaks of such names; or with
//! *a copy*, which it takes of short ones, another thread has what it takes to read them. A goal below the lesser of these
//! two is one that nobody reaches on this machine.
//!
//! A thread that does nothing but call has code and data at hand. One that serves a network does not: other code runs
//! between two calls. *Nothing in the caches* is the short answer under such circumstances.
//!
//! Every allocation of the calling thread is counted, which costs each contender some nanoseconds an allocation.

#[path = "../support/mod.rs"]
mod support;

mod cold;
mod contenders;
mod plot;
mod service;

use std::{fmt, fs};

use anyhow::Context as _;
use contenders::{COPY, Contender, HEADS, LAYER, LEAST, Memory, NO_OP, SEARCH, TRACE, VALUE};
use serde_json::{Value, json};
use support::{
    Options,
    bodies::{self, Workload},
    median, nanoseconds,
    table::{Table, grouped},
};

/// Turns that each contender has.
const TURNS: usize = 200;

/// About how long a turn is, in nanoseconds.
const TURN: f64 = 200_000.0;

/// Requests in a turn at most: far fewer than the queue has room for.
const MAX_REQUESTS: usize = 256;

fn main() -> anyhow::Result<()> {
    let options = Options::of_command_line()?;
    let mut rows = Vec::new();
    for workload in bodies::workloads().into_iter().filter(|workload| options.wants(workload.name)) {
        match options.requests {
            Some(requests) => {
                contenders::Layer::new(&workload)?.run(requests);
            }
            None => rows.push(Row::of(&workload, options.is_full)?),
        }
    }
    if options.requests.is_some() {
        return Ok(());
    }
    if let Some(file) = &options.svg {
        let plot = plot::draw(&rows).context("no stream was measured, so there is nothing to draw")?;
        fs::write(file, plot).with_context(|| format!("{file} cannot be written"))?;
    }
    if options.is_json {
        println!("{:#}", rows.iter().map(Row::to_json).collect::<Value>());
    } else {
        print(&rows);
    }
    Ok(())
}

/// What was measured with one workload.
struct Row {
    name: &'static str,
    /// Pieces that the client took.
    frames: usize,
    bytes: usize,
    /// What the bare service takes for one request, in nanoseconds.
    bare: f64,
    added: Vec<Cost>,
    goal: Option<Goal>,
}

/// What one contender costs beyond the bare service, for one request.
struct Cost {
    name: &'static str,
    nanoseconds: f64,
    memory: Memory,
}

/// How little it shall be.
#[derive(Clone, Copy)]
enum Goal {
    /// At most so many times what tower-http's `TraceLayer` adds.
    Trace(f64),
    /// At most so much of what buffering and parsing adds.
    Value(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(ratio) => write!(f, "≤ {ratio} × TraceLayer"),
            Self::Value(ratio) => write!(f, "≤ Value / {:.0}", 1.0 / ratio),
        }
    }
}

fn goal(workload: &str) -> Option<Goal> {
    Some(match workload {
        bodies::CHAT_1_5_KB => Goal::Trace(1.5),
        bodies::CHAT_50_KB => Goal::Value(1.0 / 15.0),
        bodies::OPENAI => Goal::Trace(0.35),
        bodies::OPENAI_NULL => Goal::Trace(0.5),
        bodies::ANTHROPIC => Goal::Trace(0.3),
        bodies::RESPONSES => Goal::Trace(0.6),
        bodies::GEMINI => Goal::Trace(2.2),
        _ => return None,
    })
}

impl Row {
    fn of(workload: &Workload, is_full: bool) -> anyhow::Result<Self> {
        let mut contenders = contenders::all(workload)?;
        let mut requests = Vec::new();
        for contender in &mut contenders {
            requests.push(if is_full { fitting(&mut **contender)? } else { 1 });
        }
        let turns = if is_full { TURNS } else { 1 };
        let mut times = vec![vec![0.0; turns]; contenders.len()];
        for turn in 0..turns {
            for at in 0..contenders.len() {
                // Nobody always comes behind the same one: neither step has a divisor in common with their number.
                let at = (at * [1, 5][turn % 2] + turn / 2) % contenders.len();
                let contender = &mut contenders[at];
                contender.run(1);
                times[at][turn] = nanoseconds(contender.run(requests[at])) / requests[at] as f64;
                contender.rest()?;
            }
        }
        let memory: Vec<_> = contenders.iter_mut().map(|contender| contender.memory()).collect();
        contenders.iter_mut().try_for_each(|contender| contender.check())?;
        let added = (1..contenders.len()).map(|at| Cost {
            name: contenders[at].name(),
            nanoseconds: median(times[at].iter().zip(&times[0]).map(|(with, bare)| with - bare)),
            memory: Memory {
                allocations: memory[at].allocations - memory[0].allocations,
                held: memory[at].held - memory[0].held,
                peak: memory[at].peak - memory[0].peak,
            },
        });
        Ok(Self {
            name: workload.name,
            frames: workload.taken,
            bytes: workload.bytes(),
            bare: median(times[0].iter().copied()),
            added: added.collect(),
            goal: goal(workload.name),
        })
    }

    fn cost(&self, name: &str) -> &Cost {
        self.cost_if_any(name).expect("every contender is measured")
    }

    /// For those that are not there for all workloads.
    fn cost_if_any(&self, name: &str) -> Option<&Cost> {
        self.added.iter().find(|cost| cost.name == name)
    }

    fn times(&self, other: &str) -> f64 {
        self.cost(LAYER).nanoseconds / self.cost(other).nanoseconds
    }

    fn is_reached(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::Trace(ratio) => self.times(TRACE) <= ratio,
            Goal::Value(ratio) => self.times(VALUE) <= ratio,
        })
    }

    fn to_json(&self) -> Value {
        let added = self.added.iter().map(|Cost { name, nanoseconds, memory }| {
            json!({
                "contender": name, "ns": nanoseconds, "ns_per_frame": nanoseconds / self.frames as f64,
                "allocations": memory.allocations, "bytes_held": memory.held, "bytes_peak": memory.peak,
            })
        });
        json!({
            "workload": self.name, "frames": self.frames, "bytes": self.bytes, "bare_ns": self.bare,
            "added": added.collect::<Value>(), "goal": self.goal.map(|goal| goal.to_string()),
            "is_reached": self.is_reached(),
        })
    }
}

/// How many requests make a turn.
fn fitting(contender: &mut dyn Contender) -> anyhow::Result<usize> {
    contender.run(8);
    let time = nanoseconds(contender.run(8)) / 8.0;
    contender.rest()?;
    Ok(((TURN / time) as usize).clamp(1, MAX_REQUESTS))
}

fn print(rows: &[Row]) {
    let mut time = Table::new([
        "added ns a request",
        "(bare)",
        NO_OP,
        TRACE,
        VALUE,
        LEAST,
        HEADS,
        SEARCH,
        COPY,
        LAYER,
        "a frame",
        "× TraceLayer",
        "Value ÷ this",
        "goal",
    ]);
    let mut memory = Table::new([
        "added memory",
        "allocations",
        "bytes held",
        "at most",
        "Value's allocations",
        "at most",
    ]);
    for row in rows {
        let ns = |name| grouped(row.cost(name).nanoseconds);
        let if_any = |name| row.cost_if_any(name).map_or_else(String::new, |cost| grouped(cost.nanoseconds));
        let mark = row.is_reached().map_or("", |is_reached| if is_reached { " ✓" } else { " ✗" });
        time.row([
            row.name.to_owned(),
            grouped(row.bare),
            ns(NO_OP),
            ns(TRACE),
            ns(VALUE),
            ns(LEAST),
            if_any(HEADS),
            if_any(SEARCH),
            if_any(COPY),
            ns(LAYER),
            format!("{:.1}", row.cost(LAYER).nanoseconds / row.frames as f64),
            format!("{:.2}", row.times(TRACE)),
            format!("{:.0}", 1.0 / row.times(VALUE)),
            row.goal.map_or_else(String::new, |goal| format!("{goal}{mark}")),
        ]);
        let (layer, value) = (row.cost(LAYER).memory, row.cost(VALUE).memory);
        memory.row([
            row.name.to_owned(),
            layer.allocations.to_string(),
            grouped(layer.held as f64),
            grouped(layer.peak as f64),
            grouped(value.allocations as f64),
            grouped(value.peak as f64),
        ]);
    }
    time.print();
    println!();
    memory.print();
}
