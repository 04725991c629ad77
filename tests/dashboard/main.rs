//! The dashboard, in a real browser.
#![cfg(all(unix, feature = "dashboard"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of a test have nobody beyond it")]

mod browser;
mod servers;

use std::{env, fs, path::PathBuf, process::Command};

use browser::{Browser, Look, Page, chromium};
use serde_json::{Value, json};
use servers::{HOSTILE, KEY, Proxy, Stage, history};
use tower_llm_usage::{Timestamp, UsageEvent};

/// Numbers are on the page.
const SHOWN: &str = "!document.getElementById('content').hidden && document.getElementById('content').ariaBusy !== 'true' \
    && document.querySelector('#recent tbody tr')";
/// A page that says something else is.
const SCREEN: &str = "!document.getElementById('screen').hidden";
const LOGIN: &str = "document.getElementById('login').open";

fn screen(title: &str) -> String {
    format!("{SCREEN} && document.querySelector('#screen h2').textContent === {title:?}")
}

fn hours_ago(hours: i64) -> Timestamp {
    Timestamp::from_unix_millis(Timestamp::now().unix_millis() - hours * 3_600_000)
}

/// An event that nothing is special about.
fn event(model: &'static str, at: Timestamp) -> UsageEvent {
    let mut event = UsageEvent::new(at, model);
    event.status = 200;
    event.tokens.input = Some(90);
    event.tokens.output = Some(10);
    event.tokens.total = Some(100);
    event
}

/// A page with numbers on it.
async fn opened(browser: &Browser, address: &str) -> Page {
    let page = browser.page(Look::DESKTOP).await;
    page.open(address).await;
    page.wait(SHOWN).await;
    page
}

/// Does something and waits for the numbers that it leads to.
async fn changing(page: &Page, action: impl Future<Output = ()>) -> String {
    let before = page.asked("/metrics?", 0).await.len();
    action.await;
    let asked = page.asked("/metrics?", before + 1).await;
    page.wait(SHOWN).await;
    asked[before].clone()
}

/// Asks what the page has asked, as a script would.
async fn answer(page: &Page, url: &str) -> Value {
    page.eval(&format!(
        "fetch({url:?}, {{ headers: {{ 'x-management-key': {KEY:?} }} }}).then((r) => r.json())"
    ))
    .await
}

/// What a page shows of a row: each cell's number, exactly.
async fn rows(page: &Page, selector: &str) -> Vec<Vec<String>> {
    let cells = page
        .eval(&format!(
            "[...document.querySelectorAll({selector:?})].map((row) => [...row.cells].map((cell) => \
             cell.title || cell.querySelector('[title]')?.title || cell.textContent))"
        ))
        .await;
    serde_json::from_value(cells).unwrap()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn number(counts: &Value, name: &str) -> String {
    grouped(counts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counts}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_on_the_page_are_those_of_the_answer() {
    let Some(chromium) = chromium() else { return };
    let now = Timestamp::now();
    let proxy = Proxy::start(&history(3000, now));
    let browser = Browser::start(chromium).await;
    let page = browser.page(Look::DESKTOP).await;
    // A range that stays, so that both see the same.
    let from = Timestamp::from_unix_millis(now.unix_millis() - 20 * 24 * 3_600_000);
    page.open(&format!("{}?from={from}&to={now}#key={KEY}", proxy.page())).await;
    page.wait(SHOWN).await;

    let asked = page.asked("/metrics?", 1).await;
    let metrics = answer(&page, &asked[0]).await;
    let totals = &metrics["totals"];
    for (card, name) in [(1, "requests"), (2, "tokens"), (8, "unknown_usage")] {
        let shown = page
            .eval(&format!("(({{ title, textContent }}) => title || textContent)(document.querySelector('#cards > :nth-child({card}) .figure'))"))
            .await;
        assert_eq!(shown, json!(number(totals, name)), "{name}");
    }
    let success = page.text("#cards > :nth-child(4) .figure").await;
    let share = 100.0 - 100.0 * totals["errors"].as_f64().unwrap() / totals["requests"].as_f64().unwrap();
    assert!(
        (success.trim_end_matches('%').parse::<f64>().unwrap() - share).abs() < 0.051,
        "{success}, {share}"
    );

    let group = |by: &[&str]| {
        let groups = metrics["groups"].as_array().unwrap();
        groups.iter().find(|group| group["by"] == json!(by)).unwrap_or_else(|| panic!("no {by:?}")).clone()
    };
    for dimension in ["model", "key", "provider"] {
        let group = group(&[dimension]);
        let shown = rows(&page, &format!("#by-{dimension} tbody tr")).await;
        let mut expected: Vec<_> =
            group["rows"].as_array().unwrap().iter().map(|row| number(row, "tokens")).collect();
        expected.extend((!group["other"].is_null()).then(|| number(&group["other"], "tokens")));
        assert_eq!(shown.iter().map(|row| row[2].clone()).collect::<Vec<_>>(), expected, "{dimension}");
    }

    let breakdown = rows(&page, "#breakdown tbody tr").await;
    let models = group(&["model"]);
    let names = [
        "requests",
        "errors",
        "prompt_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "completion_tokens",
    ];
    for (shown, row) in breakdown.iter().zip(models["rows"].as_array().unwrap()) {
        for (cell, name) in shown[1..].iter().zip(names) {
            assert_eq!(*cell, number(row, name), "{name} of {}", shown[0]);
        }
    }
    let sums = &rows(&page, "#breakdown tfoot tr").await[0];
    for (cell, name) in sums[1..].iter().zip(names) {
        assert_eq!(*cell, number(totals, name), "{name}");
    }
    // The rows are all there is, `others` with them.
    let requests: u64 = breakdown.iter().map(|row| row[1].replace(',', "").parse::<u64>().unwrap()).sum();
    assert_eq!(requests, totals["requests"].as_u64().unwrap());

    page.click("#timeline-table summary").await;
    page.wait("document.querySelector('#timeline-table tbody tr')").await;
    let series = rows(&page, "#timeline-table tbody tr").await;
    let buckets = metrics["timeseries"].as_array().unwrap();
    assert_eq!(series.len(), buckets.len());
    for (row, bucket) in series.iter().rev().zip(buckets) {
        let names = ["requests", "tokens", "errors"];
        assert_eq!(row[1..], names.map(|name| number(bucket, name)), "{bucket}");
    }

    let heat = group(&["weekday", "hour_of_day"]);
    let cells = page.eval("[...document.querySelectorAll('#heat tbody td')].map((cell) => cell.title)").await;
    for row in heat["rows"].as_array().unwrap() {
        let at = (row["weekday"].as_u64().unwrap() - 1) * 24 + row["hour_of_day"].as_u64().unwrap();
        let title = cells[at as usize].as_str().unwrap();
        assert!(title.ends_with(&format!(": {} tokens", number(row, "tokens"))), "{title}: {row}");
    }

    let asked = page.asked("/events?", 1).await;
    let events = answer(&page, &asked[0]).await["events"].clone();
    let shown = rows(&page, "#recent tbody tr:not(.details)").await;
    assert_eq!(shown.len(), events.as_array().unwrap().len());
    for (row, event) in shown.iter().zip(events.as_array().unwrap()) {
        assert!(row[4].contains(&event["status"].to_string()), "{row:?}: {event}");
        let input = event["prompt_tokens"].as_u64().map_or("not reported".into(), grouped);
        assert!(row[5] == input || event["usage"] != "complete", "{row:?}: {event}");
    }
    assert_eq!(page.complaints(), [""; 0]);
}

/// F44, and that a key goes nowhere but into the header and the tab's own memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_words_do_nothing_and_the_key_is_nowhere() {
    let Some(chromium) = chromium() else { return };
    let proxy = Proxy::start(&history(500, Timestamp::now()));
    let browser = Browser::start(chromium).await;
    let page = browser.page(Look::DESKTOP).await;
    page.open(&format!("{}/?range=30d&key={KEY}&model=#key={KEY}", proxy.page())).await;
    page.wait("document.querySelector('#screen:not([hidden]), #content:not([hidden])')").await;
    page.open("about:blank").await;
    page.open(&format!("{}?range=30d#key={KEY}", proxy.page())).await;
    page.wait(SHOWN).await;

    // It is among what is shown, as text that neither runs nor turns around what stands beside it.
    page.wait("document.body.textContent.includes('<img src=x onerror=')").await;
    assert_eq!(page.eval("document.title").await, json!("LLM usage"));
    assert_eq!(page.eval("document.querySelectorAll('main img, body script').length").await, json!(0));
    assert_eq!(
        page.eval(r"/[\u202a-\u202e\u2066-\u2069]/.test(document.documentElement.outerHTML)").await,
        json!(false)
    );
    let pick =
        "[...document.querySelectorAll('#by-model .pick')].find((pick) => pick.textContent.includes('img'))";
    let url = changing(&page, async {
        page.eval(&format!("{pick}.click()")).await;
    })
    .await;
    let filter = page.eval(&format!("new URL({url:?}).searchParams.get('model')")).await;
    assert_eq!(filter, json!(HOSTILE), "what is asked for is the name as it is");
    page.wait("document.querySelectorAll('#by-model tbody tr').length === 1").await;
    assert_eq!(page.eval("document.title").await, json!("LLM usage"));

    let everywhere = "JSON.stringify([location.href, document.cookie, { ...localStorage }, history.state, document.documentElement.outerHTML])";
    let seen = page.eval(everywhere).await;
    assert!(!seen.as_str().unwrap().contains(KEY), "{seen}");
    assert!(
        page.requests().iter().filter(|url| url.contains("/qs/metrics?") || url.contains("/events")).count()
            > 0
    );
    for url in page.requests() {
        // The first address was written by a person.
        assert!(!url.contains(KEY) || url.contains("/metrics/ui/?range=30d&key="), "{url}");
    }
    assert_eq!(page.eval("Object.values(sessionStorage)").await, json!([KEY]));
    assert_eq!(page.complaints(), [""; 0]);

    page.choose("#every", "60").await;
    page.click("#leave").await;
    page.wait(LOGIN).await;
    assert_eq!(page.eval("sessionStorage.length").await, json!(0));
    assert_eq!(page.eval("document.getElementById('content').hidden").await, json!(true));
    assert!(!proxy.file().contains(KEY));
    for output in proxy.stop() {
        let lines: Vec<_> = output.lines().filter(|line| line.contains(KEY)).collect();
        // The greeting shows the key that it was started with, and nothing does after it.
        assert!(
            lines.iter().all(|line| line.contains("dashboard    ")
                || line.contains("key    ")
                || line.starts_with("curl ")),
            "{lines:?}"
        );
    }
}

mod controls {
    use super::*;

    async fn parameters(page: &Page, url: &str, name: &str) -> Value {
        page.eval(&format!("new URL({url:?}).searchParams.getAll({name:?})")).await
    }

    /// The address shares what is looked at, and nothing else.
    async fn address(page: &Page) -> String {
        page.eval("location.search + location.hash").await.as_str().unwrap().to_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn change_the_question_and_the_address() {
        let Some(chromium) = chromium() else { return };
        let proxy = Proxy::start(&history(3000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}#key={KEY}", proxy.page())).await;
        assert_eq!(address(&page).await, "");

        for range in ["1h", "6h", "7d", "30d"] {
            let url = changing(&page, page.click(&format!("#ranges label:has([value='{range}'])"))).await;
            assert_eq!(parameters(&page, &url, "range").await, json!([range]));
            assert_eq!(address(&page).await, format!("?range={range}"));
        }
        for interval in ["day", "week", "month", "auto"] {
            let url = changing(&page, page.choose("#interval", interval)).await;
            assert_eq!(parameters(&page, &url, "interval").await, json!([interval]));
        }
        let url = changing(&page, page.choose("#zone", "Asia/Katmandu")).await;
        assert_eq!(parameters(&page, &url, "tz").await, json!(["Asia/Katmandu"]));
        assert_eq!(address(&page).await, "?range=30d&tz=Asia%2FKatmandu");
        let url = changing(&page, page.click("#compare")).await;
        assert_eq!(parameters(&page, &url, "compare").await, json!([]));
        assert_eq!(page.eval("document.querySelectorAll('.change').length").await, json!(0));
        changing(&page, page.click("#compare")).await;
        assert_eq!(page.eval("document.querySelectorAll('.change').length").await, json!(8));

        // Back, and there again.
        page.eval("history.go(-3)").await;
        page.wait("location.search === '?range=30d'").await;
        page.wait(SHOWN).await;
        assert_eq!(page.eval("document.getElementById('zone').value").await, json!("Europe/Berlin"));

        page.click("#measure label:has([value='requests'])").await;
        page.wait("document.querySelector('#heat-most').textContent.includes('requests')").await;
        assert_eq!(address(&page).await, "?range=30d&by=requests");
        page.click("#measure label:has([value='tokens'])").await;
        page.wait("document.querySelector('#heat-most').textContent.includes('tokens')").await;

        page.click("[data-series='tokens']").await;
        page.wait("document.querySelector(\"[data-series='tokens']\").ariaPressed === 'false'").await;
        page.click("[data-series='tokens']").await;
        page.click("#heat-numbers").await;
        page.wait("document.getElementById('heat').classList.contains('numbers')").await;

        page.choose("#theme", "dark").await;
        page.wait("document.documentElement.dataset.theme === 'dark'").await;
        let dark = page.eval("getComputedStyle(document.body).backgroundColor").await;
        page.choose("#theme", "light").await;
        assert_ne!(page.eval("getComputedStyle(document.body).backgroundColor").await, dark);
        changing(&page, page.click("#refresh")).await;
        assert_eq!(page.complaints(), [""; 0]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn choose_among_what_was_used() {
        let Some(chromium) = chromium() else { return };
        let proxy = Proxy::start(&history(3000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}?range=30d#key={KEY}", proxy.page())).await;

        page.click("#choose-model").await;
        page.wait("document.querySelectorAll('#choice-model label').length === 13").await;
        page.write("claude").await;
        page.wait("document.querySelectorAll('#choice-model label').length === 2").await;
        let url = changing(&page, page.click("#choice-model label:first-of-type")).await;
        assert_eq!(parameters(&page, &url, "model").await, json!(["claude-sonnet-4-5-20250929"]));
        let url = changing(&page, page.click("#choice-model label:last-of-type")).await;
        assert_eq!(
            parameters(&page, &url, "model").await,
            json!(["claude-sonnet-4-5-20250929", "claude-opus-4-1"])
        );
        page.press("Escape").await;
        page.wait("!document.querySelector('#choice-model:popover-open')").await;
        assert_eq!(rows(&page, "#by-model tbody tr").await.len(), 2);
        assert_eq!(page.text("#choose-model .badge").await, "2");
        let address = address(&page).await;
        assert_eq!(address, "?range=30d&model=claude-sonnet-4-5-20250929&model=claude-opus-4-1");

        changing(&page, page.click("#chips li:first-child button")).await;
        assert_eq!(rows(&page, "#by-model tbody tr").await.len(), 1);
        changing(&page, page.click("#chips li:first-child button")).await;
        page.wait("document.getElementById('chips').hidden").await;

        for dimension in ["provider", "key", "status"] {
            page.click(&format!("#choose-{dimension}")).await;
            page.wait(&format!("document.querySelector('#choice-{dimension} label')")).await;
            let url = changing(&page, page.click(&format!("#choice-{dimension} label:first-of-type"))).await;
            assert_eq!(parameters(&page, &url, dimension).await.as_array().unwrap().len(), 1, "{url}");
            page.press("Escape").await;
        }
        page.click("#chips li:last-child button").await;
        page.wait("document.getElementById('chips').hidden").await;
        page.wait(SHOWN).await;

        let url = changing(&page, page.click("#by-key tbody .pick")).await;
        assert_eq!(parameters(&page, &url, "key").await[0].as_str().unwrap().len(), 64);
        assert_eq!(page.complaints(), [""; 0]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn look_closer() {
        let Some(chromium) = chromium() else { return };
        let proxy = Proxy::start(&history(3000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}?range=30d#key={KEY}", proxy.page())).await;

        page.eval("document.getElementById('timeline').scrollIntoView({ block: 'center' })").await;
        let place = page.eval("document.getElementById('timeline').getBoundingClientRect().toJSON()").await;
        let at = |part: f64| json!(place["x"].as_f64().unwrap() + place["width"].as_f64().unwrap() * part);
        let y = json!(place["y"].as_f64().unwrap() + 80.0);
        let url = changing(&page, async {
            page.mouse("mousePressed", &at(0.3), &y).await;
            page.mouse("mouseMoved", &at(0.4), &y).await;
            page.mouse("mouseMoved", &at(0.5), &y).await;
            page.wait("!document.getElementById('veil').hidden").await;
            page.mouse("mouseReleased", &at(0.5), &y).await;
        })
        .await;
        let days = page
            .eval(&format!("(({{ searchParams: q }}) => (Date.parse(q.get('to')) - Date.parse(q.get('from'))) / 864e5)(new URL({url:?}))"))
            .await;
        assert!((4.0..10.0).contains(&days.as_f64().unwrap()), "{days} days of 30");
        assert!(address(&page).await.starts_with("?from="));
        page.wait("!document.getElementById('custom').hidden").await;
        page.eval("history.back()").await;
        page.wait("location.search === '?range=30d'").await;
        page.wait(SHOWN).await;

        // By hand: the clock on the wall in Kathmandu is 5:45 ahead.
        changing(&page, page.choose("#zone", "Asia/Katmandu")).await;
        page.click("#ranges label:has([value='custom'])").await;
        page.wait("!document.getElementById('custom').hidden && document.getElementById('from').value").await;
        let day = page.eval("document.getElementById('to').value.slice(0, 10)").await;
        let day = day.as_str().unwrap();
        page.eval(&format!("document.getElementById('from').value = '{day}T00:00'")).await;
        page.eval(&format!("document.getElementById('to').value = '{day}T00:59'")).await;
        let before = page.requests().len();
        page.eval("document.getElementById('from').value = '2999-01-01T00:00'").await;
        page.click("#custom button").await;
        page.wait("!document.getElementById('to').validity.valid").await;
        assert_eq!(page.requests().len(), before, "an end before the beginning is not asked for");
        page.eval(&format!("document.getElementById('from').value = '{day}T00:00'")).await;
        page.eval("document.getElementById('from').dispatchEvent(new Event('input'))").await;
        page.click("#custom button").await;
        let url = page.asked("T18%3A15%3A00.000Z", 1).await[0].clone();
        let to = parameters(&page, &url, "to").await;
        assert!(to[0].as_str().unwrap().ends_with("T19:14:59.999Z"), "{to}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn take_a_table_apart() {
        let Some(chromium) = chromium() else { return };
        let proxy = Proxy::start(&history(3000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}?range=30d#key={KEY}", proxy.page())).await;

        page.click("#breakdown [data-sort='errors']").await;
        page.wait("document.querySelector('#breakdown [aria-sort]')?.textContent === 'Errors'").await;
        let errors = |rows: Vec<Vec<String>>| -> Vec<u64> {
            rows.iter().map(|row| row[2].replace(',', "").parse().unwrap()).collect()
        };
        let shown = errors(rows(&page, "#breakdown tbody tr:not(:last-child)").await);
        assert!(shown.is_sorted_by(|a, b| a >= b), "{shown:?}");
        page.click("#breakdown-all").await;
        page.wait("document.querySelectorAll('#breakdown tbody tr').length === 13").await;
        page.click("#breakdown [data-sort='errors']").await;
        page.wait("document.querySelector('#breakdown [aria-sort=ascending]')").await;
        let shown = errors(rows(&page, "#breakdown tbody tr").await);
        assert!(shown.is_sorted(), "{shown:?}");
        for dimension in ["key", "provider", "operation", "endpoint", "status", "model"] {
            page.choose("#breakdown-by", dimension).await;
            let title = page
                .eval(&format!("document.querySelector('#breakdown-by [value={dimension}]').textContent"))
                .await;
            page.wait(&format!(
                "document.querySelector('#breakdown thead th').textContent === {title} && {SHOWN}"
            ))
            .await;
            assert!(!rows(&page, "#breakdown tbody tr").await.is_empty());
        }

        let folder = tempfile::tempdir().unwrap();
        let allow = json!({ "behavior": "allow", "downloadPath": folder.path() });
        page.send("Page.setDownloadBehavior", allow).await;
        for (button, name, lines) in
            [("#breakdown-csv", "usage-by-model.csv", 14), ("#recent-csv", "usage.csv", 3000)]
        {
            page.click(button).await;
            page.happens("Page.downloadWillBegin", |event| event["suggestedFilename"] == name).await;
            let done = |event: &Value| event["state"] == "completed";
            page.happens("Page.downloadProgress", done).await;
            page.forget("Page.downloadProgress");
            let csv = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(
                csv.starts_with(if lines == 14 { "model,tokens,requests," } else { "timestamp,model," }),
                "{csv}"
            );
            assert!(csv.lines().count() >= lines, "{name}: {}", csv.lines().count());
        }

        page.choose("#recent-kind", "failed").await;
        page.wait("[...document.querySelectorAll('#recent .status')].every((status) => status.classList.contains('failed'))").await;
        page.choose("#recent-kind", "unknown").await;
        page.wait(&format!("document.querySelector('#recent .status:not(.failed)') && {SHOWN}")).await;
        page.choose("#recent-kind", "all").await;
        page.wait(SHOWN).await;
        let first = rows(&page, "#recent tbody tr:not(.details)").await;
        page.click("#older").await;
        page.wait("document.getElementById('recent-page').textContent === 'Page 2'").await;
        let second = rows(&page, "#recent tbody tr:not(.details)").await;
        assert!(first.iter().all(|row| !second.contains(row)));
        page.click("#newer").await;
        page.wait("document.getElementById('recent-page').textContent === 'Page 1'").await;
        assert_eq!(rows(&page, "#recent tbody tr:not(.details)").await, first);
        page.click("#recent tbody tr:first-child .more").await;
        page.wait("!document.querySelector('#recent .details').hidden").await;
        let details = page.text("#recent .details").await;
        assert!(
            details.contains("POST /v1/chat/completions") && details.contains("Total tokens"),
            "{details}"
        );
        assert_eq!(page.complaints(), [""; 0]);
    }
}

mod states {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn have_each_their_own_screen() {
        let Some(chromium) = chromium() else { return };
        let stage = Stage::set_up(|_| {}).await;
        let browser = Browser::start(chromium).await;
        let page = browser.page(Look::DESKTOP).await;

        // No key, a wrong one, the right one.
        page.open(&stage.page()).await;
        page.wait(LOGIN).await;
        page.press("Escape").await;
        page.wait(LOGIN).await;
        page.wait("document.activeElement.id === 'key'").await;
        page.write("wrong").await;
        page.press("Enter").await;
        page.wait(&format!(
            "{LOGIN} && document.getElementById('problem').textContent.includes('not the management key')"
        ))
        .await;
        assert_eq!(page.eval("sessionStorage.length").await, json!(0));
        page.write(KEY).await;
        page.press("Enter").await;

        // Nothing was ever recorded: how to begin, and what happens then.
        page.wait(&screen("Nothing has been recorded yet")).await;
        assert!(page.text("#screen pre").await.contains("/v1/chat/completions"));
        page.picture("first-run").await;
        stage.usage().record(event("m", hours_ago(100)));
        page.click("#refresh").await;
        page.wait(&screen("Nothing in this range")).await;
        page.picture("empty-range").await;
        page.click("#screen .main").await;
        page.wait(SHOWN).await;
        page.eval("history.back()").await;
        page.wait(&screen("Nothing in this range")).await;
        let mut uncounted = event("n", hours_ago(1));
        uncounted.tokens = tower_llm_usage::Tokens::default();
        uncounted.usage = Some(tower_llm_usage::UsageQuality::Missing);
        stage.usage().record(uncounted);
        page.click("#refresh").await;
        page.wait(SHOWN).await;
        let note = page.text("#unknown").await;
        assert!(note.contains("1 of 1 requests") && note.contains("include_usage"), "{note}");

        // A filter that nothing fits.
        page.open("about:blank").await;
        page.open(&format!("{}?model=nobody#key={KEY}", stage.page())).await;
        page.wait(&screen("Nothing in this range")).await;
        changing(&page, page.click("#screen .main")).await;

        // Recording off, and on again.
        stage.usage().set_recording(false);
        page.click("#refresh").await;
        page.wait("document.getElementById('recording').dataset.on === 'false'").await;
        page.click("#banner-recording button").await;
        page.wait("document.getElementById('recording').dataset.on === 'true'").await;
        assert!(stage.usage().status().recording);
        page.wait("document.getElementById('banner-recording').hidden").await;

        // What is asked for in vain is not asked for at once again, and what was there stays.
        stage.go_down(true);
        page.click("#refresh").await;
        page.wait("document.getElementById('banner-away').textContent.includes('does not answer')").await;
        page.wait("document.getElementById('banner-away').textContent.includes('Next try in')").await;
        assert_eq!(page.eval("document.getElementById('content').hidden").await, json!(false));
        page.picture("away").await;
        stage.go_down(false);
        page.click("#banner-away button").await;
        page.wait(&format!("document.getElementById('banner-away').hidden && {SHOWN}")).await;

        // While somebody waits, the old numbers are there, dimmed.
        stage.hold(true);
        page.click("#ranges label:has([value='7d'])").await;
        page.wait("document.getElementById('content').ariaBusy === 'true'").await;
        page.wait("Number(getComputedStyle(document.getElementById('content')).opacity) < 1").await;
        assert_eq!(page.eval("document.getElementById('content').hidden").await, json!(false));
        stage.hold(false);
        page.wait(SHOWN).await;
    }

    /// The settings of a server that is started again; the page was loaded before.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_the_server_are_told_apart() {
        let Some(chromium) = chromium() else { return };
        let stage = Stage::set_up(|_| {}).await;
        stage.usage().record(event("m", hours_ago(1)));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}#key={KEY}", stage.page())).await;

        stage.ask_from([203, 0, 113, 9]);
        page.click("#refresh").await;
        page.wait(&screen("Only this machine may ask")).await;
        stage.ask_from([127, 0, 0, 1]);
        page.click("#screen .main").await;
        page.wait(SHOWN).await;

        stage.restart(|config| config.remote_management.enabled = Some(false));
        page.click("#refresh").await;
        page.wait(&screen("Management is off")).await;
        page.picture("management-off").await;
        stage.restart(|config| {
            config.remote_management.enabled = Some(true);
            config.remote_management.secret_key = "".into();
        });
        page.click("#screen .main").await;
        page.wait(&screen("No management key is set")).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_a_ban_end_by_themselves() {
        let Some(chromium) = chromium() else { return };
        let stage = Stage::set_up(|config| {
            config.remote_management.max_failures = 2;
            config.remote_management.ban = std::time::Duration::from_secs(3);
        })
        .await;
        stage.usage().record(event("m", hours_ago(1)));
        let browser = Browser::start(chromium).await;
        let page = browser.page(Look::DESKTOP).await;
        page.open(&stage.page()).await;
        page.wait(LOGIN).await;
        for key in ["wrong", "wrong as well"] {
            page.wait(&format!("{LOGIN} && document.activeElement.id === 'key'")).await;
            page.write(key).await;
            page.press("Enter").await;
            page.wait(&format!("({LOGIN} && !document.getElementById('problem').hidden) || {SCREEN}")).await;
        }
        if page.eval(LOGIN).await == json!(true) {
            page.write(KEY).await;
            page.press("Enter").await;
        }
        page.wait(&screen("Too many wrong keys")).await;
        let asked = page.requests().len();
        page.wait("document.getElementById('ban').textContent === '1 s'").await;
        assert_eq!(page.requests().len(), asked, "nothing is asked meanwhile");
        // It asks again when it is over; which key was right is not known yet.
        page.wait(&format!("{LOGIN} || {SHOWN}")).await;
    }

    /// The clock that polls is not asked to hurry: the test only looks at what it would do.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_a_hidden_tab_ask_nothing() {
        let Some(chromium) = chromium() else { return };
        let stage = Stage::set_up(|_| {}).await;
        stage.usage().record(event("m", hours_ago(1)));
        let browser = Browser::start(chromium).await;
        let page = browser.page(Look::DESKTOP).await;
        // Before any of its scripts: a clock that a test can turn, and a tab that it can hide.
        let clock = "window.timers = new Map(); const real = setTimeout; let id = 0;
            window.setTimeout = (call, wait, ...rest) => wait < 5000 ? real(call, wait, ...rest) : (timers.set(++id, { call, wait }), -id);
            const clear = clearTimeout; window.clearTimeout = (id) => id < 0 ? timers.delete(-id) : clear(id);
            Object.defineProperty(document, 'hidden', { get: () => Boolean(window.away) });";
        page.send("Page.addScriptToEvaluateOnNewDocument", json!({ "source": clock })).await;
        page.open(&format!("{}#key={KEY}", stage.page())).await;
        page.wait(SHOWN).await;
        page.wait("[...timers.values()].some(({ wait }) => wait === 30000)").await;
        page.eval("window.away = true; document.dispatchEvent(new Event('visibilitychange'))").await;
        assert_eq!(page.eval("timers.size").await, json!(0));
        page.eval("window.away = false; document.dispatchEvent(new Event('visibilitychange'))").await;
        page.wait("timers.size === 1").await;

        // A poll does not dim anything.
        stage.usage().record(event("m", hours_ago(1)));
        page.eval("[...timers.values()][0].call()").await;
        page.wait("document.querySelector('#cards .figure').textContent === '2'").await;
        for (choice, wait) in [("0", None), ("10", Some(10_000)), ("300", Some(300_000))] {
            page.choose("#every", choice).await;
            let waits = page.eval("[...timers.values()].map(({ wait }) => wait)").await;
            assert_eq!(waits, json!(wait.into_iter().collect::<Vec<u32>>()));
        }
        // Failures are tried again later and later.
        stage.go_down(true);
        page.eval("[...timers.values()][0].call()").await;
        page.wait("document.getElementById('banner-away').textContent.includes('Next try')").await;
        let mut waits = Vec::new();
        for _ in 0..5 {
            page.click("#banner-away button").await;
            let before = waits.last().copied().unwrap_or(0);
            page.wait(&format!("[...timers.values()].some(({{ wait }}) => wait > {before})")).await;
            waits.push(page.eval("[...timers.values()].at(-1).wait").await.as_u64().unwrap());
        }
        assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
    }
}

mod everybody {
    use super::*;

    const WIDTHS: [u32; 2] = [360, 1440];

    /// The rules of axe-core, by itself and not part of what is built: from the registry into the target directory.
    fn axe() -> Option<String> {
        const VERSION: &str = "4.14.1";
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("axe-core-{VERSION}"));
        let script = folder.join("node_modules/axe-core/axe.min.js");
        if !script.exists() {
            fs::create_dir_all(&folder).unwrap();
            let installed = Command::new("npm")
                .args([
                    "install",
                    "--no-save",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--loglevel=error",
                    "--prefix",
                ])
                .arg(&folder)
                .arg(format!("axe-core@{VERSION}"))
                .status();
            if !installed.is_ok_and(|status| status.success()) {
                assert!(env::var_os("CI").is_none(), "axe-core cannot be had: npm is needed");
                eprintln!("\n*** SKIPPED: no axe-core, and no npm to get it ***\n");
                return None;
            }
        }
        Some(fs::read_to_string(script).unwrap())
    }

    async fn violations(page: &Page, axe: &str) -> Value {
        page.eval(axe).await;
        page.eval(
            "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, help, nodes }) => \
             [id, help, nodes.slice(0, 3).map(({ html, any }) => [html.slice(0, 200), any[0]?.message])]))",
        )
        .await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn finds_nothing_in_the_way() {
        let Some(chromium) = chromium() else { return };
        let Some(axe) = axe() else { return };
        let proxy = Proxy::start(&history(1000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        for width in WIDTHS {
            for dark in [false, true] {
                let page = browser.page(Look { width, dark }).await;
                page.open(&proxy.page()).await;
                page.wait(LOGIN).await;
                assert_eq!(violations(&page, &axe).await, json!([]), "the dialog, {width} px, dark: {dark}");
                page.open("about:blank").await;
                page.open(&format!("{}?range=30d&provider=openai#key={KEY}", proxy.page())).await;
                page.wait(SHOWN).await;
                page.click("#timeline-table summary").await;
                page.click("#heat-numbers").await;
                page.click("#recent tbody .more").await;
                page.picture(&format!("{width}-{}", if dark { "dark" } else { "light" })).await;
                assert_eq!(violations(&page, &axe).await, json!([]), "{width} px, dark: {dark}");
                page.click("#choose-model").await;
                page.wait("document.querySelector('#choice-model label')").await;
                assert_eq!(violations(&page, &axe).await, json!([]), "a choice, {width} px, dark: {dark}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_scrolls_sideways() {
        let Some(chromium) = chromium() else { return };
        let stage = Stage::set_up(|_| {}).await;
        for i in 0..50 {
            let name = format!("{i}-{}", "a-model-with-a-long-name-".repeat(8));
            stage.usage().record(event(name.leak(), hours_ago(i % 20)));
        }
        let browser = Browser::start(chromium).await;
        // 720 px is what is left of 1440 at 200 %.
        for width in [320, 360, 720, 768, 1024, 1440] {
            let page = browser.page(Look { width, dark: false }).await;
            page.open(&format!("{}?provider=nobody&model=m#key={KEY}", stage.page())).await;
            page.wait(SCREEN).await;
            page.picture(&format!("empty-{width}")).await;
            changing(&page, page.click("#screen .main")).await;
            page.picture(&format!("long-{width}")).await;
            assert_eq!(page.eval("document.documentElement.scrollWidth").await, json!(width));
        }
    }

    /// Every control is reached with the Tab key, in order, and is seen to be.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn gets_along_with_the_keyboard() {
        let Some(chromium) = chromium() else { return };
        let stage = Stage::set_up(|_| {}).await;
        stage.usage().record(event("m", hours_ago(1)));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}#key={KEY}", stage.page())).await;
        let mut reached = Vec::new();
        for _ in 0..80 {
            page.press("Tab").await;
            let at = page
                .eval(
                    "(() => {
                        const node = document.activeElement;
                        const seen = node.matches('.segments input') ? node.nextElementSibling : node;
                        const { outlineStyle, outlineWidth } = getComputedStyle(seen);
                        return [node.id || node.name || node.textContent, outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2, node.localName];
                    })()",
                )
                .await;
            if at[2] == "body" {
                break;
            }
            assert_eq!(at[1], json!(true), "{} has no focus ring", at[0]);
            reached.push(at[0].as_str().unwrap().to_owned());
        }
        for control in [
            "refresh",
            "every",
            "zone",
            "theme",
            "leave",
            "range",
            "interval",
            "choose-model",
            "choose-provider",
            "choose-key",
            "choose-status",
            "compare",
            "Requests",
            "measure",
            "heat-numbers",
            "breakdown-by",
            "breakdown-csv",
            "recent-kind",
        ] {
            assert!(reached.iter().any(|name| name == control), "{control} is not among {reached:?}");
        }
        // A choice opens with the keyboard, takes it, and gives it back.
        page.eval("document.getElementById('choose-model').focus()").await;
        page.press("Enter").await;
        page.wait("document.activeElement.type === 'search'").await;
        page.wait("document.querySelector('#choice-model label')").await;
        page.press("Tab").await;
        page.wait("document.activeElement.type === 'checkbox'").await;
        changing(&page, page.press(" ")).await;
        page.press("Escape").await;
        page.wait("document.activeElement.id === 'choose-model'").await;
        page.wait("document.getElementById('announce').textContent.includes('1 requests')").await;
    }
}

mod weight {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn is_little_and_comes_from_one_place() {
        let Some(chromium) = chromium() else { return };
        let proxy = Proxy::start(&history(3000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        let page = opened(&browser, &format!("{}?range=30d#key={KEY}", proxy.page())).await;
        let origin = proxy.page().split("/v0/").next().unwrap().to_owned();
        for url in page.requests() {
            assert!(url.starts_with(&origin) || url.starts_with("data:image/"), "{url}");
        }
        let questions: Vec<_> = page
            .requests()
            .into_iter()
            .filter(|url| url.starts_with(&origin) && !url.contains("/ui"))
            .collect();
        assert!(questions.len() <= 3, "{questions:?}");
        let bytes = page.transferred();
        println!("{bytes} bytes for the page, all it loads and its numbers");
        assert!(bytes < 120_000, "{bytes} bytes");
        assert_eq!(page.complaints(), [""; 0]);
    }

    /// Against what is built for use: `PROXY_EXAMPLE` names it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "measures; wants the proxy as a release build"]
    async fn of_a_million_events_is_not_felt() {
        let Some(chromium) = chromium() else { return };
        assert!(env::var_os("PROXY_EXAMPLE").is_some(), "name the proxy, built for release");
        let proxy = Proxy::start(&history(1_000_000, Timestamp::now()));
        let browser = Browser::start(chromium).await;
        // When the browser itself says that it has painted them: the first sum, and the first name among the bars,
        // which comes with the chart and everything below it.
        let watch = "window.painted = {};
            new PerformanceObserver((list) => {
                for (const { identifier, renderTime } of list.getEntries()) painted[identifier] = renderTime;
            }).observe({ type: 'element' });
            new MutationObserver(() => {
                document.querySelector('#cards .figure')?.setAttribute('elementtiming', 'sums');
                document.querySelector('#by-model bdi')?.setAttribute('elementtiming', 'all');
            }).observe(document, { childList: true, subtree: true });";
        let mut sums = Vec::new();
        let mut all = Vec::new();
        for _ in 0..12 {
            let page = browser.page(Look::DESKTOP).await;
            page.send("Page.addScriptToEvaluateOnNewDocument", json!({ "source": watch })).await;
            page.open(&format!("{}?range=30d#key={KEY}", proxy.page())).await;
            page.wait("painted.sums && painted.all").await;
            sums.push(page.eval("painted.sums").await.as_f64().unwrap());
            all.push(page.eval("painted.all").await.as_f64().unwrap());
            // It would go on asking.
            page.open("about:blank").await;
        }
        sums.sort_by(f64::total_cmp);
        all.sort_by(f64::total_cmp);
        println!("1,000,000 events, ms until the sums are painted: {sums:.0?}, and all the rest: {all:.0?}");
        // Not the median, which is what other things that the machine does make it; and where it may do a lot, in CI,
        // it is held to what it must never come to.
        let room = if env::var_os("CI").is_some() { 2.0 } else { 1.0 };
        assert!(sums[2] < room * 300.0 && all[2] < room * 500.0, "{sums:.0?} and {all:.0?} ms");
    }
}
