//! What callers may rely on about the usage file, from outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{error::Error as _, fs, path::PathBuf, thread, time::Duration};

use tower_llm_usage::{Config, Fsync, Timestamp, Usage, UsageEvent, UsageStatistics};

const KEY: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

const ORIGINAL: &str = r#"{"timestamp":"2026-01-02T03:04:05.678901234+02:00","model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"status":200,"request_id":"r1"}"#;

/// A directory of its own, and the place of a usage file in it.
struct Place {
    directory: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("usage.json");
    Place { directory, file }
}

fn place_with(content: &str) -> Place {
    let place = place();
    fs::write(&place.file, content).unwrap();
    place
}

impl Place {
    fn config(&self) -> Config {
        Config::recording_to(&self.file)
    }

    fn open(&self) -> Usage {
        Usage::open(self.config()).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

fn event(model: &'static str) -> UsageEvent {
    UsageEvent::new(Timestamp::from_unix_millis(1_770_000_000_250), model)
}

fn models(text: &str) -> Vec<String> {
    text.lines().map(|line| serde_json::from_str::<UsageEvent>(line).unwrap().model.into_owned()).collect()
}

mod a_line {
    use super::*;

    /// L1
    #[test]
    fn has_the_original_names_and_leaves_out_what_is_empty() {
        let place = place();
        let usage = place.open();
        let mut event = event("gpt-4o");
        (event.tokens.input, event.tokens.output, event.tokens.total) = (Some(9), Some(12), Some(21));
        event.id = Some("e1".into());
        usage.record(event.clone());
        event.request_id = Some("r1".into());
        event.key = Some(KEY.parse().unwrap());
        usage.record(event);
        usage.close_blocking().unwrap();
        let counts = r#""timestamp":"2026-02-02T02:40:00.250Z","model":"gpt-4o","prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"status":200"#;
        assert_eq!(
            place.text().lines().collect::<Vec<_>>(),
            [
                format!(r#"{{{counts},"v":2,"id":"e1"}}"#),
                format!(r#"{{{counts},"request_id":"r1","api_key_hash":"{KEY}","v":2,"id":"e1"}}"#),
            ]
        );
    }

    /// L3
    #[test]
    fn says_that_a_count_is_unknown_rather_than_nought() {
        let place = place();
        let usage = place.open();
        usage.record(event("gpt-4o"));
        usage.close_blocking().unwrap();
        let line: serde_json::Value = serde_json::from_str(place.text().trim()).unwrap();
        assert!(line["prompt_tokens"].is_null() && line["total_tokens"].is_null());
        assert_eq!(line.get("cache_read_tokens"), None);
    }

    /// L11
    #[test]
    fn names_an_empty_model_unknown() {
        let place = place();
        let usage = place.open();
        usage.record(event(""));
        let mut emptied = event("gpt-4o");
        emptied.model = "".into();
        usage.record(emptied);
        usage.close_blocking().unwrap();
        assert_eq!(models(&place.text()), ["unknown", "unknown"]);
    }
}

mod a_file_that_is_there {
    use super::*;

    /// L2, L3: original lines, ours, and ours of a later version, in one file.
    #[test]
    fn is_loaded_whoever_wrote_it_and_left_as_it_is() {
        let ours = serde_json::to_string(&event("claude")).unwrap();
        let later = ours.replacen('{', r#"{"cost":{"usd":[1]},"#, 1);
        let content = [ORIGINAL, &ours, &later, ""].join("\n");
        let place = place_with(&content);
        let usage = place.open();
        let status = usage.status();
        assert_eq!((status.events, status.bad_lines, status.observed), (3, 0, 0));
        assert_eq!(status.file_bytes, content.len() as u64);
        usage.record(event("gemini"));
        usage.close_blocking().unwrap();
        assert_eq!(models(place.text().strip_prefix(&content).unwrap()), ["gemini"]);
        assert_eq!(place.open().status().events, 4);
    }

    /// L4, F29. Was: one line over 64 KiB broke every query.
    #[test]
    fn may_hold_blank_bad_and_endless_lines() {
        let endless = "x".repeat(5 << 20);
        let content = ["", ORIGINAL, "nonsense", " \t\r", &endless, ORIGINAL, ""].join("\n");
        let place = place_with(&content);
        let usage = place.open();
        let status = usage.status();
        assert_eq!((status.events, status.bad_lines), (2, 2));
        assert_eq!(status.bad_line_numbers, [3, 5]);
        usage.close_blocking().unwrap();
        assert!(place.text() == content);
    }

    #[test]
    fn may_come_from_windows() {
        let place = place_with(&format!("\u{feff}{ORIGINAL}\r\n{ORIGINAL}\r\n"));
        let status = place.open().status();
        assert_eq!((status.events, status.bad_lines), (2, 0));
    }

    /// L5, F28
    #[test]
    fn is_healed_before_the_first_append_if_its_last_line_is_torn() {
        let before = format!("{ORIGINAL}\n{}", &ORIGINAL[..40]);
        let place = place_with(&before);
        let usage = place.open();
        assert_eq!((usage.status().events, usage.status().bad_line_numbers), (1, vec![2]));
        assert!(place.text() == before, "only when there is something to append");
        usage.record(event("a"));
        usage.flush_blocking().unwrap();
        usage.record(event("b"));
        usage.close_blocking().unwrap();
        let text = place.text();
        let appended = text.strip_prefix(&before).unwrap();
        assert_eq!(models(appended.strip_prefix('\n').unwrap()), ["a", "b"]);
        assert_eq!(usage.status().file_bytes, text.len() as u64);
        assert_eq!(place.open().status().events, 3);
    }

    /// L5
    #[test]
    fn counts_a_last_line_that_lacks_nothing_but_its_end() {
        let place = place_with(ORIGINAL);
        let usage = place.open();
        assert_eq!((usage.status().events, usage.status().bad_lines), (1, 0));
        usage.record(event("a"));
        usage.close_blocking().unwrap();
        assert_eq!(models(&place.text()), ["gpt-4o", "a"]);
    }

    /// F30
    #[test]
    fn keeps_events_apart_that_share_a_request_id_or_have_an_empty_one() {
        let place = place();
        let usage = place.open();
        for id in ["r", "r", "", ""] {
            let mut event = event("a");
            event.request_id = Some(id.into());
            usage.record(event);
        }
        usage.close_blocking().unwrap();
        assert_eq!(place.open().status().events, 4);
    }
}

mod a_file_that_is_missing {
    use super::*;

    /// L6
    #[test]
    fn is_an_empty_history_and_made_with_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a/b/usage.json");
        let usage = Usage::open(Config::recording_to(&file)).unwrap();
        assert_eq!((usage.status().events, usage.status().file_bytes), (0, 0));
        assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    }

    /// L6
    #[cfg(unix)]
    #[test]
    fn is_made_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let _usage = Usage::open(Config::recording_to(directory.path().join("a/b/usage.json"))).unwrap();
        let mode = |path| fs::metadata(directory.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(["a/b/usage.json", "a/b/usage.json.lock"].map(mode), [0o600; 2]);
        assert_eq!(["a/b", "a"].map(mode), [0o700; 2]);
    }
}

mod a_file_that_cannot_be_used {
    use super::*;

    #[test]
    fn is_one_clear_error() {
        let place = place();
        fs::create_dir(&place.file).unwrap();
        let error = Usage::open(place.config()).unwrap_err();
        assert!(error.is_file());
        assert_eq!(error.to_string(), format!("cannot use as the usage file {}", place.file.display()));
        assert_eq!(error.source().unwrap().to_string(), "it is a directory");

        let below_a_file = place_with("");
        let error = Usage::open(Config::recording_to(below_a_file.file.join("usage.json"))).unwrap_err();
        assert!(error.is_file() && error.to_string().contains("directory"));
    }

    /// To open a pipe or to read a device could take for ever.
    #[cfg(unix)]
    #[test]
    fn is_one_that_is_no_regular_file() {
        let place = place();
        let _listener = std::os::unix::net::UnixListener::bind(&place.file).unwrap();
        assert!(Usage::open(place.config()).unwrap_err().is_file());
        assert!(Usage::open(Config::recording_to("/dev/null")).unwrap_err().is_file());
    }

    #[test]
    fn is_one_that_another_writer_holds() {
        let place = place();
        let usage = place.open();
        let error = Usage::open(place.config()).unwrap_err();
        assert!(error.is_locked());
        let text = error.to_string();
        assert!(text.contains("usage.json"));
        if cfg!(unix) {
            assert!(text.contains(&std::process::id().to_string()), "{text}");
        }
        usage.close_blocking().unwrap();
        place.open();
    }

    #[cfg(unix)]
    #[test]
    fn is_the_same_by_whatever_path_it_is_reached() {
        let place = place();
        let link = place.directory.path().join("link.json");
        std::os::unix::fs::symlink(&place.file, &link).unwrap();
        let _usage = place.open();
        assert!(Usage::open(Config::recording_to(link)).unwrap_err().is_locked());
    }

    #[test]
    fn is_not_one_whose_lock_file_was_left_over() {
        let place = place();
        fs::write(place.directory.path().join("usage.json.lock"), "1\n").unwrap();
        place.open();
    }
}

/// Names lead to other files than before, while the writer runs.
#[cfg(unix)]
mod a_file_that_is_taken_away {
    use super::*;

    fn record(usage: &Usage, model: &'static str) {
        usage.record(event(model));
        usage.flush_blocking().unwrap();
        let status = usage.status();
        assert_eq!((status.error, status.dropped), (None, 0));
        assert_eq!(status.observed, status.persisted);
    }

    #[test]
    fn by_deleting_it_is_begun_anew_and_nothing_that_comes_later_is_lost() {
        let place = place();
        let usage = place.open();
        record(&usage, "a");
        fs::remove_file(&place.file).unwrap();
        record(&usage, "b");
        assert_eq!(models(&place.text()), ["b"]);
        assert_eq!(usage.status().file_bytes, place.text().len() as u64);
    }

    #[test]
    fn together_with_its_directory_is_made_with_that_and_locked_again() {
        let place = place();
        let file = place.directory.path().join("a/b/usage.json");
        let usage = Usage::open(Config::recording_to(&file)).unwrap();
        record(&usage, "a");
        fs::remove_dir_all(place.directory.path().join("a")).unwrap();
        record(&usage, "b");
        assert_eq!(models(&fs::read_to_string(&file).unwrap()), ["b"]);
        assert!(Usage::open(Config::recording_to(&file)).unwrap_err().is_locked());
    }

    /// As logrotate does it.
    #[test]
    fn by_renaming_it_is_begun_anew_and_the_other_left_alone() {
        let place = place();
        let usage = place.open();
        record(&usage, "a");
        let other = place.directory.path().join("usage.json.1");
        fs::rename(&place.file, &other).unwrap();
        record(&usage, "b");
        assert_eq!(models(&fs::read_to_string(other).unwrap()), ["a"]);
        assert_eq!(models(&place.text()), ["b"]);
    }

    #[test]
    fn and_replaced_is_gone_on_with_after_healing() {
        let place = place();
        let usage = place.open();
        record(&usage, "a");
        fs::remove_file(&place.file).unwrap();
        fs::write(&place.file, ORIGINAL).unwrap();
        record(&usage, "b");
        assert_eq!(models(&place.text()), ["gpt-4o", "b"]);
    }

    #[test]
    fn to_where_it_cannot_be_made_is_degraded_until_it_can() {
        let place = place();
        let directory = place.directory.path().join("a");
        let file = directory.join("usage.json");
        let usage = Usage::open(Config::recording_to(&file)).unwrap();
        record(&usage, "a");
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "no directory").unwrap();
        usage.record(event("b"));
        usage.flush_blocking().unwrap_err();
        let status = usage.status();
        assert!(status.error.unwrap().starts_with("cannot write to the usage file"));
        assert_eq!((status.persisted, status.queued, status.dropped), (1, 1, 0));
        fs::remove_file(&directory).unwrap();
        record(&usage, "c");
        assert_eq!(models(&fs::read_to_string(&file).unwrap()), ["b", "c"]);
    }

    /// Whoever deletes a lock file that is in use lets a second writer in; the first one finds out and waits.
    #[test]
    fn by_another_writer_is_waited_for() {
        let place = place();
        let usage = place.open();
        record(&usage, "a");
        fs::remove_file(place.directory.path().join("usage.json.lock")).unwrap();
        let other = place.open();
        usage.record(event("b"));
        usage.flush_blocking().unwrap_err();
        let text = usage.status().error.unwrap();
        assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
        other.close_blocking().unwrap();
        record(&usage, "c");
        assert_eq!(models(&place.text()), ["a", "b", "c"]);
        assert!(Usage::open(place.config()).unwrap_err().is_locked());
    }
}

mod segments {
    use super::*;

    /// Every event is a segment of its own.
    fn tiny(place: &Place) -> Config {
        let mut config = place.config();
        config.usage_statistics.rotate_bytes = Some(1);
        config
    }

    fn names(place: &Place) -> Vec<String> {
        let entries = fs::read_dir(place.directory.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn write_three(place: &Place) {
        let usage = Usage::open(tiny(place)).unwrap();
        for model in ["a", "b", "c"] {
            usage.record(event(model));
        }
        usage.close_blocking().unwrap();
        assert_eq!(models(&place.text()), ["c"]);
        let status = usage.status();
        assert_eq!((status.persisted, status.dropped, status.error), (3, 0, None));
    }

    #[test]
    fn and_the_usage_file_are_one_history() {
        let place = place();
        write_three(&place);
        assert_eq!(names(&place).len(), 4, "two segments, the file and its lock");
        let status = place.open().status();
        assert_eq!((status.events, status.segments, status.bad_lines), (3, 2, 0));
        assert_eq!(status.file_bytes, place.text().len() as u64);
        assert_eq!(status.segment_bytes, 2 * status.file_bytes);
    }

    #[test]
    fn are_not_made_unless_asked_for() {
        let place = place_with(&format!("{ORIGINAL}\n").repeat(1000));
        let usage = place.open();
        usage.record(event("a"));
        usage.close_blocking().unwrap();
        assert_eq!(names(&place), ["usage.json", "usage.json.lock"]);
    }

    /// A file of the year before, say, under a name that puts it where it belongs.
    #[test]
    fn may_be_old_files_that_somebody_named_like_them() {
        let place = place_with(&format!("{ORIGINAL}\n"));
        fs::write(place.directory.path().join("usage.2025-12-31.json"), format!("{ORIGINAL}\nbad\n"))
            .unwrap();
        fs::write(place.directory.path().join("usage.old.json"), format!("{ORIGINAL}\n")).unwrap();
        let status = place.open().status();
        assert_eq!((status.events, status.segments, status.bad_lines), (2, 1, 1));
    }

    #[test]
    fn that_are_copies_of_one_another_count_once() {
        let place = place();
        write_three(&place);
        fs::copy(&place.file, place.directory.path().join("usage.2026-01-01.json")).unwrap();
        assert_eq!(place.open().status().events, 3);
    }

    #[cfg(feature = "decompression-zstd")]
    #[test]
    fn are_compressed_behind_the_writers_back() {
        let place = place();
        write_three(&place);
        let mut config = tiny(&place);
        config.usage_statistics.compress = tower_llm_usage::Compression::Zstd;
        let usage = Usage::open(config).unwrap();
        while names(&place).iter().filter(|name| name.ends_with(".json.zst")).count() < 2 {
            thread::yield_now();
        }
        usage.record(event("d"));
        usage.flush_blocking().unwrap();
        while names(&place).iter().filter(|name| name.ends_with(".json.zst")).count() < 3 {
            thread::yield_now();
        }
        usage.close_blocking().unwrap();
        let status = place.open().status();
        assert_eq!((status.events, status.segments), (4, 3));
    }

    /// The names of segments are beside the file that a link leads to, where two ways to it meet.
    #[cfg(unix)]
    #[test]
    fn lie_where_a_link_leads_to() {
        let place = place();
        let link = tempfile::tempdir().unwrap();
        let mut config = Config::recording_to(link.path().join("link.json"));
        config.usage_statistics.rotate_bytes = Some(1);
        fs::write(&place.file, "").unwrap();
        std::os::unix::fs::symlink(&place.file, link.path().join("link.json")).unwrap();
        let usage = Usage::open(config).unwrap();
        usage.record(event("a"));
        usage.record(event("b"));
        usage.close_blocking().unwrap();
        assert_eq!(names(&place).len(), 3);
        assert_eq!(place.open().status().events, 2);
    }

    #[cfg(unix)]
    #[test]
    fn are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;

        let place = place();
        write_three(&place);
        for name in names(&place) {
            let metadata = fs::metadata(place.directory.path().join(&name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
}

mod recording {
    use super::*;

    #[test]
    fn obeys_the_switch() {
        let place = place();
        let mut config = place.config();
        config.usage_statistics_enabled = false;
        let usage = Usage::open(config).unwrap();
        assert!(!usage.is_recording() && !usage.status().recording);
        usage.record(event("off"));
        usage.set_recording(true);
        usage.clone().record(event("on"));
        usage.set_recording(false);
        usage.record(event("off"));
        usage.close_blocking().unwrap();
        assert_eq!(models(&place.text()), ["on"]);
        assert_eq!(usage.status().observed, 1);
    }

    /// L7, L9
    #[test]
    fn is_written_on_flush() {
        let place = place();
        let usage = place.open();
        usage.record(event("a"));
        usage.flush_blocking().unwrap();
        assert_eq!(models(&place.text()), ["a"]);
        let status = usage.status();
        assert_eq!((status.observed, status.persisted, status.queued), (1, 1, 0));
    }

    /// L7: nobody asks, and nobody drops.
    #[test]
    fn is_written_when_enough_events_wait() {
        let place = place();
        let mut config = place.config();
        config.usage_statistics.flush_events = 2;
        config.usage_statistics.flush_interval = Duration::from_secs(3600);
        let usage = Usage::open(config).unwrap();
        usage.record(event("a"));
        usage.record(event("b"));
        while usage.status().persisted < 2 {
            thread::yield_now();
        }
        assert_eq!(models(&place.text()), ["a", "b"]);
    }

    /// L7
    #[test]
    fn is_written_when_an_event_has_waited_long_enough() {
        let place = place();
        let mut config = place.config();
        config.usage_statistics.flush_interval = Duration::from_millis(1);
        let usage = Usage::open(config).unwrap();
        usage.record(event("a"));
        while usage.status().persisted < 1 {
            thread::yield_now();
        }
        assert_eq!(models(&place.text()), ["a"]);
    }

    /// L7, L9
    #[tokio::test]
    async fn ends_with_close_after_which_events_are_dropped_and_counted() {
        let place = place();
        let usage = place.open();
        usage.record(event("a"));
        usage.close().await.unwrap();
        usage.record(event("b"));
        usage.close().await.unwrap();
        assert!(usage.flush().await.unwrap_err().is_closed());
        let status = usage.status();
        assert_eq!((status.observed, status.persisted, status.queued, status.dropped), (2, 1, 0, 1));
        assert_eq!(models(&place.text()), ["a"]);
    }

    /// L10, F27
    #[test]
    fn is_written_when_the_last_handle_goes() {
        let place = place();
        let usage = place.open();
        let other = usage.clone();
        usage.record(event("a"));
        drop(usage);
        other.record(event("b"));
        drop(other);
        assert_eq!(models(&place.text()), ["a", "b"]);
        // And the lock is gone with it.
        place.open();
    }

    /// L10, F27
    #[test]
    fn is_written_when_a_runtime_takes_the_last_handle_with_it() {
        let place = place();
        let usage = place.open();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (recorded, is_recorded) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            usage.record(event("a"));
            recorded.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(usage);
        });
        runtime.block_on(is_recorded).unwrap();
        drop(runtime);
        assert_eq!(models(&place.text()), ["a"]);
    }

    /// L9
    #[test]
    fn from_many_threads_while_closing_leaves_exactly_what_is_counted() {
        const THREADS: u64 = 4;
        const EACH: u64 = 2_000;
        let place = place();
        let usage = place.open();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..EACH).for_each(|_| usage.record(event("a"))));
            }
            scope.spawn(|| {
                while usage.status().observed < EACH {
                    thread::yield_now();
                }
                usage.close_blocking().unwrap();
            });
        });
        let status = usage.status();
        assert_eq!((status.observed, status.queued), (THREADS * EACH, 0));
        assert_eq!(status.observed, status.persisted + status.dropped);
        assert_eq!(models(&place.text()).len() as u64, status.persisted);
        assert_eq!(place.open().status().events, status.persisted);
    }
}

mod settings {
    use super::*;

    #[test]
    fn that_cannot_be_used_are_refused_by_name() {
        let refused = |change: fn(&mut Config)| {
            let place = place();
            let mut config = place.config();
            change(&mut config);
            let error = Usage::open(config).unwrap_err();
            assert!(error.is_config() && !place.file.exists());
            error.to_string()
        };
        assert!(refused(|c| c.usage_statistics.flush_events = 0).starts_with("flush-events"));
        assert!(refused(|c| c.usage_statistics.flush_interval = Duration::ZERO).starts_with("flush-seconds"));
        assert!(refused(|c| c.usage_statistics.queue_capacity = 49).starts_with("queue-capacity (49)"));
        assert!(refused(|c| c.usage_statistics.rotate_bytes = Some(0)).starts_with("rotate-bytes"));
        assert!(refused(|c| c.usage_statistics.keep_days = Some(30)).contains("rotate-daily"));
        assert!(refused(|c| c.usage_statistics.keep_bytes = Some(1 << 30)).contains("rotate-daily"));
        assert!(refused(|c| c.usage_statistics.queue_capacity = usize::MAX).starts_with("queue-capacity"));
        assert!(refused(|c| c.usage_statistics.max_models = 65_535).starts_with("max-models (65535)"));
        assert!(refused(|c| c.usage_statistics.max_keys = usize::MAX).starts_with("max-keys"));
    }

    #[test]
    fn of_the_sync_are_a_word_or_seconds() {
        let fsync = |value| {
            let text = format!(r#"{{"fsync":{value}}}"#);
            serde_json::from_str::<UsageStatistics>(&text).map(|settings| settings.fsync)
        };
        assert_eq!(UsageStatistics::default().fsync, Fsync::Flush);
        assert_eq!(fsync(r#""flush""#).unwrap(), Fsync::Flush);
        assert_eq!(fsync(r#""none""#).unwrap(), Fsync::None);
        assert_eq!(fsync("5").unwrap(), Fsync::Interval(Duration::from_secs(5)));
        for wrong in [r#""off""#, "-1", "null", "true", "1e300"] {
            fsync(wrong).unwrap_err();
        }
        let error = fsync("true").unwrap_err().to_string();
        assert!(error.contains(r#""flush", "none", or a number of seconds"#), "{error}");
    }

    #[test]
    fn at_their_ends_can_be_used() {
        let place = place();
        let mut config = place.config();
        config.usage_statistics.flush_events = 1;
        config.usage_statistics.queue_capacity = 1;
        config.usage_statistics.flush_interval = Duration::MAX;
        config.usage_statistics.drop_deadline = Duration::MAX;
        config.usage_statistics.backlog_bytes = 0;
        config.usage_statistics.fsync = Fsync::Interval(Duration::ZERO);
        let usage = Usage::open(config).unwrap();
        usage.record(event("a"));
        usage.flush_blocking().unwrap();
        usage.record(event("b"));
        drop(usage);
        assert_eq!(models(&place.text()), ["a", "b"]);
    }
}
