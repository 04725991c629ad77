//! What a system really does to a usage file: its disk is full or cannot be written, its process is killed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tower_llm_usage::{Config, Status, Timestamp, Usage, UsageEvent};

/// An event that can be told by its input.
fn event(number: u64) -> UsageEvent {
    let at = Timestamp::from_unix_millis(1_770_000_000_250);
    // Few enough models for what is left of all of them.
    let mut event = UsageEvent::new(at, format!("g{}", number / GROUP));
    event.tokens.input = Some(number);
    event
}

const GROUP: u64 = 100;

fn checked(status: Status) -> Status {
    let Status { observed, persisted, queued, dropped, .. } = status;
    assert_eq!(observed, persisted + queued + dropped);
    status
}

/// The numbers of the events in some lines, and how many lines are none.
fn numbers(text: &str) -> (Vec<u64>, u64) {
    let mut numbers = Vec::new();
    let mut bad = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str::<UsageEvent>(line) {
            Ok(event) => numbers.push(event.tokens.input.unwrap()),
            Err(_) => bad += 1,
        }
    }
    (numbers, bad)
}

mod a_disk {
    use super::*;

    const INSIDE: &str = "TOWER_LLM_USAGE_TEST_DISK";

    /// A disk in memory of so many bytes, that only this process sees. `None` outside of the process that has got one:
    /// the test of this name is run there.
    fn of(bytes: u64, test: &str) -> Option<PathBuf> {
        if let Some(place) = env::var_os(INSIDE) {
            let place = PathBuf::from(place);
            mount(&place, &format!("size={bytes}"));
            return Some(place);
        }
        let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
        let is_possible = |way: &&&[&str]| {
            let mount = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
            let tried = Command::new("unshare").args(**way).args(mount).stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let Some(way) = ways.iter().find(is_possible) else {
            assert!(env::var_os("CI").is_none(), "to mount a disk is not permitted here");
            eprintln!("SKIPPED: to mount a disk is not permitted here");
            return None;
        };
        let place = tempfile::tempdir().unwrap();
        let done = Command::new("unshare")
            .args(*way)
            .arg(env::current_exe().unwrap())
            .args(["--exact", &format!("a_disk::{test}"), "--nocapture"])
            .env(INSIDE, place.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success() && String::from_utf8_lossy(&done.stdout).contains("1 passed"),
            "{text}"
        );
        None
    }

    fn mount(place: &Path, options: &str) {
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).status().unwrap();
        assert!(done.success());
    }

    /// All that is in segments and the usage file, as it is without rotation by day: few files, by number.
    fn history(place: &Path) -> String {
        let names =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let number = |name: &String| match name.strip_suffix(".json")?.split('.').collect::<Vec<_>>()[..] {
            ["usage"] => Some(u64::MAX),
            ["usage", _day] => Some(0),
            ["usage", _day, number] => number.parse().ok(),
            _ => None,
        };
        let mut files: Vec<_> = names.filter_map(|name| Some((number(&name)?, name))).collect();
        files.sort();
        files.iter().map(|(_, name)| fs::read_to_string(place.join(name)).unwrap()).collect()
    }

    /// F50, F25, L8
    #[test]
    fn that_is_full_loses_nothing_before_the_backlog_is_full_and_goes_on_to_the_byte() {
        let Some(place) =
            of(256 << 10, "that_is_full_loses_nothing_before_the_backlog_is_full_and_goes_on_to_the_byte")
        else {
            return;
        };
        let ballast = place.join("ballast");
        fs::write(&ballast, vec![0; 128 << 10]).unwrap();
        let mut config = Config::recording_to(place.join("usage.json"));
        config.usage_statistics.backlog_bytes = 16 << 10;
        config.usage_statistics.rotate_bytes = Some(48 << 10);
        let usage = Usage::open(config.clone()).unwrap();
        let mut number = 0;
        let mut record = |usage: &Usage| {
            usage.record(event(number));
            number += 1;
        };
        while checked(usage.status()).error.is_none() {
            record(&usage);
            let _ = usage.flush_blocking();
        }
        let status = checked(usage.status());
        assert!(status.error.unwrap().contains("os error 28"));
        assert_eq!(status.dropped, 0);
        while checked(usage.status()).dropped == 0 {
            record(&usage);
            usage.flush_blocking().unwrap_err();
        }
        let full = checked(usage.status());
        assert_eq!(full.dropped_by.backlog_full, full.dropped);
        // A line has 150 bytes and more.
        assert!(full.queued <= (16 << 10) / 150, "{full:?}");
        // Whole lines, and one that goes on when there is room.
        let (written, torn) = numbers(&history(&place));
        assert_eq!(written, Vec::from_iter(0..full.persisted));
        assert!(torn <= 1);

        fs::remove_file(&ballast).unwrap();
        // Nobody asks for it.
        while usage.status().error.is_some() {
            thread::yield_now();
        }
        let first_lost = full.persisted + full.queued;
        record(&usage);
        usage.close_blocking().unwrap();
        let status = checked(usage.status());
        assert_eq!((status.queued, status.dropped), (0, full.dropped));
        let (numbers, bad) = numbers(&history(&place));
        assert_eq!(bad, 0);
        assert_eq!(numbers, Vec::from_iter((0..first_lost).chain([first_lost + full.dropped])));
        let status = Usage::open(config).unwrap().status();
        assert_eq!((status.events, status.bad_lines), (numbers.len() as u64, 0));
    }

    /// A start must not fail for a disk that may have room again.
    #[test]
    fn that_is_full_can_be_started_with() {
        let Some(place) = of(256 << 10, "that_is_full_can_be_started_with") else { return };
        let config = Config::recording_to(place.join("usage.json"));
        let usage = Usage::open(config.clone()).unwrap();
        usage.record(event(0));
        usage.close_blocking().unwrap();
        let ballast = place.join("ballast");
        fs::write(&ballast, vec![0; 1 << 20]).unwrap_err();
        let usage = Usage::open(config).unwrap();
        for number in 1..100 {
            usage.record(event(number));
        }
        usage.flush_blocking().unwrap_err();
        assert!(checked(usage.status()).queued > 0);
        fs::remove_file(&ballast).unwrap();
        usage.close_blocking().unwrap();
        assert_eq!(numbers(&history(&place)), (Vec::from_iter(0..100), 0));
    }

    #[test]
    fn that_cannot_be_written_is_one_clear_error() {
        let Some(place) = of(256 << 10, "that_cannot_be_written_is_one_clear_error") else { return };
        mount(&place, "remount,ro");
        let error = Usage::open(Config::recording_to(place.join("usage.json"))).unwrap_err();
        assert!(error.is_file());
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("os error 30"), "{cause}");
    }
}

mod a_process_that_is_killed {
    use std::{
        collections::{BTreeMap, HashSet},
        io::{BufRead, BufReader},
        os::unix::process::ExitStatusExt,
        sync::mpsc,
    };

    use super::*;

    const PLACE: &str = "TOWER_LLM_USAGE_TEST_PLACE";
    const FIRST: &str = "TOWER_LLM_USAGE_TEST_FIRST";
    const TIMES: u64 = 200;

    /// Small segments, of which the last few are kept, compressed where this build can do it.
    fn config(place: &Path) -> Config {
        let mut config = Config::recording_to(place.join("usage.json"));
        let settings = &mut config.usage_statistics;
        settings.flush_events = 5;
        settings.rotate_bytes = Some(6000);
        settings.keep_bytes = Some(12_000);
        if cfg!(feature = "decompression-zstd") {
            settings.compress = tower_llm_usage::Compression::Zstd;
        }
        config
    }

    /// What a directory holds, read in the plainest way.
    #[derive(Debug, Default)]
    struct Found {
        numbers: HashSet<u64>,
        /// Events, and the sum of their numbers, by group; of events that are summed up only.
        sums: BTreeMap<u64, (u64, u64)>,
        bad_lines: u64,
    }

    impl Found {
        fn read(place: &Path) -> Self {
            let mut found = Self::default();
            let mut gone = HashSet::new();
            for line in fs::read_to_string(place.join("usage.aggregates.json")).unwrap_or_default().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                if let Some(segment) = line["segment"].as_str() {
                    gone.insert(segment.to_owned());
                    found.bad_lines += line["bad_lines"].as_u64().unwrap();
                } else {
                    let group = line["model"].as_str().unwrap()[1..].parse().unwrap();
                    let sum = (line["requests"].as_u64().unwrap(), line["prompt_tokens"].as_u64().unwrap());
                    assert_eq!(found.sums.insert(group, sum), None);
                }
            }
            for entry in fs::read_dir(place).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                let plain = name.strip_suffix(".zst").unwrap_or(name);
                assert!(!name.ends_with(".tmp"), "left over");
                if ["usage.aggregates.json", "usage.json.lock"].contains(&name) || gone.contains(plain) {
                    continue;
                }
                let file = fs::read(&path).unwrap();
                let text = if plain == name { file } else { zstd::decode_all(&*file).unwrap() };
                let (numbers, bad) = numbers(std::str::from_utf8(&text).unwrap());
                for number in numbers {
                    assert!(found.numbers.insert(number), "{number} is there twice");
                }
                found.bad_lines += bad;
            }
            found
        }

        fn events(&self) -> u64 {
            self.numbers.len() as u64 + self.sums.values().map(|(events, _)| events).sum::<u64>()
        }

        /// Each event from 0 on is there, and once.
        fn check(&self) {
            let mut groups = self.sums.clone();
            for number in &self.numbers {
                let (events, sum) = groups.entry(number / GROUP).or_default();
                *events += 1;
                *sum += number;
            }
            let events = self.events();
            let expected = (0..events.div_ceil(GROUP)).map(|group| {
                let numbers = group * GROUP..events.min((group + 1) * GROUP);
                (group, (numbers.end - numbers.start, numbers.sum()))
            });
            assert_eq!(groups, expected.collect::<BTreeMap<_, _>>());
        }
    }

    /// L5, L8, F28: what was flushed is there, and whatever else is there is whole, and nothing is there twice.
    #[test]
    fn loses_at_most_what_it_had_not_flushed() {
        let place = tempfile::tempdir().unwrap();
        let mut events = 0;
        let mut lost_something = 0;
        for time in 0..TIMES {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "a_process_that_is_killed::writes_as_fast_as_it_can"])
                .args(["--include-ignored", "--nocapture"])
                .env(PLACE, place.path())
                .env(FIRST, events.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let (told, tells) = mpsc::channel();
            let listener = thread::spawn(move || {
                let text = |line: std::io::Result<String>| line.unwrap_or_default();
                let number = |line: String| line.strip_prefix("flushed ")?.parse::<u64>().ok();
                let tell = |_: &u64| told.send(()).unwrap_or_default();
                stdout.lines().map(text).filter_map(number).inspect(tell).last()
            });
            // Before it has opened the file, while it does, or while it is busy.
            if time % 4 > 0 {
                tells.recv().expect("it flushes something");
            }
            let until = Instant::now() + Duration::from_micros(getrandom::u64().unwrap() % 15_000);
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                let told = tells.recv_timeout(left);
                assert_ne!(told, Err(mpsc::RecvTimeoutError::Disconnected), "it has failed");
            }
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(9));
            let flushed = listener.join().unwrap().map_or(events, |number| number + 1);

            // Puts in order what was left half done, and does nothing else.
            let usage = Usage::open(Config::recording_to(place.path().join("usage.json"))).unwrap();
            let status = usage.status();
            usage.close_blocking().unwrap();
            let found = Found::read(place.path());
            found.check();
            assert!(found.bad_lines <= time + 1, "{found:?}");
            let summed_up: u64 = found.sums.values().map(|(events, _)| events).sum();
            assert_eq!(status.events + summed_up, found.events());
            assert!(found.events() >= flushed, "{} of {flushed} are left", found.events());
            lost_something += u64::from(found.events() > flushed);
            events = found.events();
        }
        println!("{events} events, {lost_something} of {TIMES} times more than was known to be flushed");
        assert!(events > TIMES, "hardly anything was written");
    }

    #[test]
    #[ignore = "what the test above starts and kills"]
    fn writes_as_fast_as_it_can() {
        let (Some(place), Ok(first)) = (env::var_os(PLACE), env::var(FIRST)) else { return };
        let usage = Usage::open(config(Path::new(&place))).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    checked(usage.status());
                    thread::yield_now();
                }
            });
            for number in first.parse::<u64>().unwrap().. {
                usage.record(event(number));
                if number % 7 == 0 {
                    usage.flush_blocking().unwrap();
                    let status = checked(usage.status());
                    assert_eq!((status.dropped, status.queued), (0, 0));
                    println!("flushed {number}");
                }
            }
        });
    }
}
