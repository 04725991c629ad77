//! What a response costs in memory while it passes, by a counting allocator, and what is said of one that is not what
//! it claims to be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use serde_json::Value;
use support::{Recording, Script, data, post};
use tower::{Layer, Service, service_fn};
use tower_llm_usage::UsageLayer;

/// Most that is held of a response, in bytes.
const MAX_HELD: u64 = 64 << 10;

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const MESSAGES: &str = "application/vnd.amazon.eventstream";

/// Sends a response through the layer, and gives the most bytes that were held of it at once.
fn pass(layer: &UsageLayer, path: &str, content_type: &str, coding: &str, body: &[u8], size: usize) -> u64 {
    // Held beyond the measuring: what is freed within it would be taken off what is held.
    let whole = Bytes::copy_from_slice(body);
    let frames = (0..body.len()).step_by(size).map(|at| whole.slice(at..body.len().min(at + size)));
    let script = Script::new(frames.map(data));
    let mut response = Response::builder().header("content-type", content_type);
    if !coding.is_empty() {
        response = response.header("content-encoding", coding);
    }
    let mut response = Some(response.body(script).unwrap());
    let mut service =
        layer.layer(service_fn(move |_| std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))));
    let request = post(path);
    let mut seen = 0;
    let mut cx = Context::from_waker(Waker::noop());
    let held = measure(|| {
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else { panic!("pending") };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
            seen += frame.unwrap().into_data().unwrap().len();
        }
    });
    assert_eq!(seen, body.len(), "the client got something else");
    held.bytes_max
}

/// Bodies that nobody should send, with what may be said of their counts: there are none, or no more than a part.
fn bad() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let usage = r#""usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}"#;
    let long = "x".repeat(100 << 10);
    let text = |text: String| text.into_bytes();
    vec![
        ("nothing", JSON, vec![]),
        ("white space", JSON, vec![b' '; 100 << 10]),
        ("zeros", MESSAGES, vec![0; 100 << 10]),
        ("noise", JSON, (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("a page", JSON, text(format!("<html>{long}</html>"))),
        ("an event without an end", EVENTS, text(format!("data: {long}"))),
        (
            "an event just small enough to be held",
            EVENTS,
            text(format!("data: {{\"a\":\"{}", "x".repeat(60_000))),
        ),
        ("names without an end", EVENTS, text(long.clone())),
        ("comments without an end", EVENTS, text(format!(":{long}"))),
        ("lines of data that are none", EVENTS, text("data: {\"a\":\n".repeat(10_000))),
        ("arrays in arrays", JSON, text(format!("{{\"a\":{}", "[".repeat(100 << 10)))),
        ("objects in objects", JSON, text("{\"usage\":".repeat(10_000))),
        ("choices in choices", JSON, text("{\"choices\":[".repeat(10_000))),
        ("a key without an end", JSON, text(format!("{{\"{long}"))),
        ("a model without an end", JSON, text(format!("{{\"model\":\"{long}"))),
        ("an error without an end", JSON, text(format!("{{\"error\":{{\"type\":\"{long}"))),
        (
            "a number without an end",
            JSON,
            text(format!("{{\"usage\":{{\"prompt_tokens\":{}", "9".repeat(100 << 10))),
        ),
        (
            "a count beyond all counts",
            JSON,
            text(usage.replace('7', &"7".repeat(9_999)).replace("\"usage", "{\"usage") + "}"),
        ),
        ("escapes without an end", JSON, text(format!("{{\"model\":\"{}", "\\u0041".repeat(20_000)))),
        ("lines that are none", LINES, text("{\"a\":}\n".repeat(15_000))),
        ("counts cut off", JSON, text(format!("{{{}", usage.trim_end_matches("9}")))),
        (
            "counts of text",
            JSON,
            text("{\"usage\":{\"prompt_tokens\":\"7\",\"completion_tokens\":[2]}}".to_owned()),
        ),
        (
            "a message longer than all messages",
            MESSAGES,
            [&[0, 255, 255, 255][..], &[255; 100 << 10]].concat(),
        ),
    ]
}

/// F10, F19: of bodies of every bad kind never a wrong number, never more than 64 KiB, and every byte for the client.
#[tokio::test]
async fn a_bad_body_gives_no_counts_and_holds_no_more_than_it_may() {
    let recording = Recording::start();
    let layer = recording.layer();
    // What is allocated once, like the table of paths, is not held of a response.
    pass(&layer, "/v1/chat/completions", EVENTS, "", b"data: {}\n\n", 100);
    let mut names = vec!["warm".to_owned()];
    let mut most = (0, String::new());
    for path in ["/v1/chat/completions", "/model/m/invoke-with-response-stream"] {
        for (name, content_type, body) in bad() {
            for size in [7, 1460, 1 << 20] {
                for content_type in [content_type, EVENTS] {
                    let name = format!("{name} as {content_type} at {path} by {size}");
                    let held = pass(&layer, path, content_type, "", &body, size);
                    assert!(held <= MAX_HELD, "{held} bytes are held of {name}");
                    most = most.max((held, name.clone()));
                    names.push(name);
                }
            }
            recording.usage.flush().await.unwrap();
        }
    }
    println!("{} bytes at most: {}", most.0, most.1);
    let lines = recording.lines().await;
    assert_eq!(lines.len(), names.len());
    for (line, name) in lines.iter().zip(&names) {
        let usage = line["usage"].as_str().unwrap();
        assert_ne!(usage, "complete", "{name}: {line}");
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            // Of counts that are cut off, or of which one is none, those are left that were whole.
            let right = match count {
                "prompt_tokens" => Value::from(7),
                "completion_tokens" => Value::from(2),
                _ => Value::from(9),
            };
            let is_doubtful = ["malformed", "overflow", "partial"].contains(&usage);
            assert!(line[count].is_null() || is_doubtful && line[count] == right, "{name}: {line}");
        }
    }
}

/// F20, F21: behind gzip and deflate the same, with their window beside it; and what is made to grow is given up.
#[cfg(all(feature = "decompression-gzip", feature = "decompression-deflate"))]
#[tokio::test]
async fn an_encoded_body_holds_a_window_more() {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    /// What gzip and deflate need: a window of 32 KiB, as much for what comes out, and their tables.
    const MAX_INFLATE: u64 = 80 << 10;

    let recording = Recording::start();
    let layer = recording.layer();
    pass(&layer, "/v1/chat/completions", EVENTS, "", b"data: {}\n\n", 100);
    let mut most = (0, String::new());
    let bomb = ("a bomb", EVENTS, [b"data: ".to_vec(), vec![b'x'; 24 << 20]].concat());
    for (name, content_type, body) in bad().into_iter().chain([bomb]) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&body).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(&body).unwrap();
        for (coding, encoded) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap())] {
            for size in [7, 1 << 20] {
                let held = pass(&layer, "/v1/chat/completions", content_type, coding, &encoded, size);
                assert!(
                    held <= MAX_HELD + MAX_INFLATE,
                    "{held} bytes are held of {name} in {coding} by {size}"
                );
                most = most.max((held, format!("{name} in {coding} by {size}")));
            }
        }
    }
    println!("{} bytes at most: {}", most.0, most.1);
    let lines = recording.lines().await;
    assert!(lines.iter().all(|line| line["usage"] != "complete"), "{lines:#?}");
    assert_eq!(lines.last().unwrap()["usage"], "overflow");
}
