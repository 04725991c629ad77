//! What goes wrong in the field, built by hand. The numbers are those of the list of failures.

use super::*;

/// Input, output, total.
type Counts = (Option<u64>, Option<u64>, Option<u64>);

fn counts(facts: &Facts<'_>) -> Counts {
    (facts.tokens.input, facts.tokens.output, facts.tokens.total)
}

/// Events as a provider sends them; an event of Anthropic's or of Responses' has its type as its name, too.
fn sse(documents: &[&str]) -> String {
    documents.iter().map(|document| format!("data: {document}\n\n")).collect()
}

fn read_sse(body: &str) -> Extractor {
    assert_same_however_cut(Format::EventStream, None, body.as_bytes(), body);
    read(Format::EventStream, None, [body])
}

fn read_json(body: &str) -> Extractor {
    assert_same_however_cut(Format::Json, None, body.as_bytes(), body);
    read(Format::Json, None, [body])
}

const CHUNK: &str = r#"{"object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#;
const USAGE_CHUNK: &str = r#"{"object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
const MESSAGE_START: &str = r#"{"type":"message_start","message":{"type":"message","model":"claude-sonnet-4-5","usage":{"input_tokens":25,"cache_read_input_tokens":100,"cache_creation_input_tokens":7,"output_tokens":1}}}"#;
const MESSAGE_TEXT: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#;
const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;

mod anthropic {
    use super::*;

    /// F4, F6
    #[test]
    fn running_totals_take_the_place_of_the_beginning() {
        let delta =
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":42}}"#;
        let stream = read_sse(&sse(&[MESSAGE_START, MESSAGE_TEXT, MESSAGE_TEXT, delta, MESSAGE_STOP]));
        let facts = stream.facts(true);
        assert_eq!(counts(&facts), (Some(132), Some(42), Some(174)));
        assert_eq!((facts.tokens.cache_read, facts.tokens.cache_write), (Some(100), Some(7)));
        assert_eq!(facts.model, b"claude-sonnet-4-5");
        assert_eq!(facts.quality, UsageQuality::Complete);
        assert!(stream.is_terminal());
    }

    /// F2: the `output_tokens: 1` of `message_start` is no count.
    #[test]
    fn a_stream_that_breaks_off_gives_its_input_and_no_output() {
        let stream = read_sse(&sse(&[MESSAGE_START, MESSAGE_TEXT, MESSAGE_TEXT]));
        let facts = stream.facts(false);
        assert_eq!(counts(&facts), (Some(132), None, None));
        assert_eq!(facts.quality, UsageQuality::Partial);
        assert!(!stream.is_terminal());
    }

    /// F5
    #[test]
    fn a_zero_behind_the_beginning_does_not_wipe_the_input() {
        let delta = r#"{"type":"message_delta","usage":{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":3}}"#;
        let facts = read_sse(&sse(&[MESSAGE_START, delta, MESSAGE_STOP]));
        assert_eq!(counts(&facts.facts(true)), (Some(132), Some(3), Some(135)));
    }

    /// F6
    #[test]
    fn an_input_that_comes_only_at_the_end_is_taken() {
        let start = r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":0,"output_tokens":0}}}"#;
        let delta = r#"{"type":"message_delta","usage":{"input_tokens":32,"output_tokens":9}}"#;
        let facts = read_sse(&sse(&[start, MESSAGE_TEXT, delta, MESSAGE_STOP]));
        assert_eq!(counts(&facts.facts(true)), (Some(32), Some(9), Some(41)));
    }

    #[test]
    fn cache_writes_are_told_apart_by_their_lifetime_and_not_added_twice() {
        let body = r#"{"type":"message","model":"m","usage":{"input_tokens":1,"cache_creation_input_tokens":30,
            "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":4}}"#;
        let tokens = read_json(body).facts(true).tokens;
        assert_eq!((tokens.input, tokens.cache_write, tokens.cache_write_1h), (Some(31), Some(30), Some(20)));
        let parts_only = body.replace(r#""cache_creation_input_tokens":30,"#, "");
        assert_eq!(read_json(&parts_only).facts(true).tokens, tokens);
    }

    /// F18
    #[test]
    fn an_error_within_the_stream_is_a_failure_with_what_was_counted_before() {
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let stream =
            read_sse(&format!("{}event: error\ndata: {error}\n\n", sse(&[MESSAGE_START, MESSAGE_TEXT])));
        let facts = stream.facts(false);
        assert!(stream.is_error());
        assert_eq!(facts.error_type, b"overloaded_error");
        assert_eq!((facts.tokens.input, facts.quality), (Some(132), UsageQuality::Partial));
    }
}

mod openai {
    use super::*;

    /// F14
    #[test]
    fn null_in_every_chunk_does_not_hide_the_counts_nor_take_them_back() {
        let stream = read_sse(&sse(&[CHUNK, CHUNK, USAGE_CHUNK, CHUNK, "[DONE]"]));
        assert_eq!(counts(&stream.facts(true)), (Some(9), Some(12), Some(21)));
        assert!(stream.is_terminal());
    }

    /// F14
    #[test]
    fn a_stream_without_counts_is_missing_them_and_not_zero() {
        let facts = read_sse(&sse(&[CHUNK, CHUNK, "[DONE]"]));
        let facts = facts.facts(true);
        assert_eq!(facts.tokens, Tokens::default());
        assert_eq!((facts.quality, facts.model), (UsageQuality::Missing, &b"gpt-4o-mini"[..]));
    }

    /// F17: nothing is estimated beside what the provider has counted.
    #[test]
    fn the_text_of_an_answer_adds_nothing_to_its_counts() {
        let short = read_sse(&sse(&[CHUNK, USAGE_CHUNK, "[DONE]"]));
        let long = [&[CHUNK; 500][..], &[USAGE_CHUNK, "[DONE]"]].concat();
        assert_eq!(read_sse(&sse(&long)).facts(true), short.facts(true));
        assert_eq!(counts(&short.facts(true)), (Some(9), Some(12), Some(21)));
    }

    /// F3
    #[test]
    fn an_explicit_zero_is_a_count() {
        let body = r#"{"object":"chat.completion","model":"m","usage":{"prompt_tokens":5,"completion_tokens":0,"total_tokens":5}}"#;
        let facts = read_json(body);
        assert_eq!(counts(&facts.facts(true)), (Some(5), Some(0), Some(5)));
        assert_eq!(facts.facts(true).quality, UsageQuality::Complete);
    }

    /// F7: vLLM with continuous usage, Groq's two objects.
    #[test]
    fn repeated_running_totals_are_never_summed() {
        let chunk = |n: u32| {
            format!(
                r#"{{"model":"m","choices":[{{}}],"usage":{{"prompt_tokens":7,"completion_tokens":{n},"total_tokens":{}}},"x_groq":{{"usage":{{"prompt_tokens":7,"completion_tokens":{n},"total_tokens":{}}}}}}}"#,
                n + 7,
                n + 7
            )
        };
        let chunks = [1, 2, 3].map(chunk);
        let facts = read_sse(&sse(&[&chunks[0], &chunks[1], &chunks[2], "[DONE]"]));
        assert_eq!(counts(&facts.facts(true)), (Some(7), Some(3), Some(10)));
    }

    /// Azure names no model in its first chunk, Moonshot puts the usage into a choice.
    #[test]
    fn dialects_of_the_same_api_are_read() {
        let filter =
            r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{}]}"#;
        assert_eq!(read_sse(&sse(&[filter, CHUNK, USAGE_CHUNK, "[DONE]"])).facts(true).model, b"gpt-4o-mini");

        let moonshot = r#"{"model":"kimi","choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10,"cached_tokens":4}}]}"#;
        let facts = read_sse(&sse(&[moonshot, "[DONE]"]));
        assert_eq!(counts(&facts.facts(true)), (Some(8), Some(2), Some(10)));
        assert_eq!(facts.facts(true).tokens.cache_read, Some(4));
    }

    #[test]
    fn reasoning_or_audio_that_only_the_total_includes_is_added() {
        let xai = r#"{"object":"chat.completion","usage":{"prompt_tokens":16,"completion_tokens":100,"total_tokens":595,"completion_tokens_details":{"reasoning_tokens":479}}}"#;
        assert_eq!(counts(&read_json(xai).facts(true)), (Some(16), Some(579), Some(595)));
        let mistral = r#"{"object":"chat.completion","usage":{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}}"#;
        assert_eq!(counts(&read_json(mistral).facts(true)), (Some(386), Some(15), Some(401)));
    }

    /// F12, and a stream that ends in `response.incomplete`.
    #[test]
    fn the_counts_of_responses_stand_one_level_down() {
        let created = r#"{"type":"response.created","response":{"model":"gpt-5","usage":null,"error":null,"max_output_tokens":50}}"#;
        let delta = r#"{"type":"response.output_text.delta","delta":"\"usage\":{\"input_tokens\":99}"}"#;
        for (kind, is_error) in [("completed", false), ("incomplete", false), ("failed", true)] {
            let last = format!(
                r#"{{"type":"response.{kind}","response":{{"model":"gpt-5-2026","error":null,"usage":{{"input_tokens":20,"input_tokens_details":{{"cached_tokens":5}},"output_tokens":30,"output_tokens_details":{{"reasoning_tokens":10}},"total_tokens":50}}}}}}"#
            );
            let stream = read_sse(&sse(&[created, delta, &last]));
            let facts = stream.facts(true);
            assert_eq!(counts(&facts), (Some(20), Some(30), Some(50)), "{kind}");
            assert_eq!((facts.tokens.cache_read, facts.tokens.reasoning), (Some(5), Some(10)));
            assert_eq!(facts.model, b"gpt-5-2026");
            assert!(stream.is_terminal());
            assert_eq!(stream.is_error(), is_error, "{kind}");
        }
    }

    /// F18
    #[test]
    fn an_error_in_a_chunk_or_as_its_finish_reason_is_a_failure() {
        for chunk in [
            r#"{"error":{"message":"Provider disconnected","code":"server_error"},"choices":[]}"#,
            r#"{"id":"gen-1","choices":[{"delta":{},"finish_reason":"error"}]}"#,
        ] {
            assert!(read_sse(&sse(&[CHUNK, chunk])).is_error(), "{chunk}");
        }
        assert!(!read_sse(&sse(&[CHUNK, r#"{"error":null,"choices":[]}"#])).is_error());
    }
}

mod gemini {
    use super::*;

    fn chunk(usage: &str, finish: &str) -> String {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"x"}}]}}{finish}}}],"usageMetadata":{usage},"modelVersion":"gemini-2.5-pro"}}"#
        )
    }

    /// F7, and a last object that lacks what an earlier one had.
    #[test]
    fn the_last_object_counts_whole() {
        let chunks = [
            chunk(
                r#"{"promptTokenCount":87,"candidatesTokenCount":30,"thoughtsTokenCount":9,"totalTokenCount":126}"#,
                "",
            ),
            chunk(
                r#"{"promptTokenCount":87,"candidatesTokenCount":78,"totalTokenCount":165}"#,
                r#","finishReason":"STOP""#,
            ),
        ];
        let stream = read_sse(&sse(&[&chunks[0], &chunks[1]]).replace('\n', "\r\n"));
        assert_eq!(counts(&stream.facts(true)), (Some(87), Some(78), Some(165)));
        assert_eq!(stream.facts(true).tokens.reasoning, None);
        assert!(stream.is_terminal());

        let array = format!("[{},\r\n{}\r\n]", chunks[0], chunks[1]);
        let array = read_json(&array);
        assert_eq!(array.facts(true), stream.facts(true));
        assert!(array.is_stream());
    }

    #[test]
    fn thoughts_and_tool_prompts_are_added_unless_the_total_says_that_they_are_in() {
        let beside = chunk(
            r#"{"promptTokenCount":10,"candidatesTokenCount":20,"thoughtsTokenCount":30,"toolUsePromptTokenCount":5,"totalTokenCount":65}"#,
            "",
        );
        assert_eq!(counts(&read_json(&beside).facts(true)), (Some(15), Some(50), Some(65)));
        let inside = chunk(
            r#"{"promptTokenCount":10,"candidatesTokenCount":50,"thoughtsTokenCount":30,"totalTokenCount":60}"#,
            "",
        );
        let inside = read_json(&inside);
        assert_eq!(counts(&inside.facts(true)), (Some(10), Some(50), Some(60)));
        assert_eq!(inside.facts(true).quality, UsageQuality::Complete);
    }

    /// F13
    #[test]
    fn the_envelope_of_the_command_line_tool_is_opened() {
        let body = format!(
            r#"{{"response":{},"traceId":"t"}}"#,
            chunk(
                r#"{"promptTokenCount":1,"candidatesTokenCount":2,"totalTokenCount":3}"#,
                r#","finishReason":"STOP""#
            )
        );
        let facts = read_json(&body);
        assert_eq!(counts(&facts.facts(true)), (Some(1), Some(2), Some(3)));
        assert_eq!(facts.facts(true).model, b"gemini-2.5-pro");
        assert!(read_sse(&sse(&[&body])).is_terminal());
    }
}

mod ollama {
    use super::*;

    #[test]
    fn the_last_line_has_the_counts() {
        let body = concat!(
            "{\"model\":\"llama3\",\"message\":{\"content\":\"a\"},\"done\":false}\n",
            "{\"model\":\"llama3\",\"done\":true,\"total_duration\":123456789012,\"prompt_eval_count\":8,\"eval_count\":5}\n",
        );
        for format in [Format::Lines, Format::Json, Format::Unknown] {
            assert_same_however_cut(format, None, body.as_bytes(), "ollama");
            let lines = read(format, None, [body]);
            assert_eq!(counts(&lines.facts(true)), (Some(8), Some(5), Some(13)));
            assert!(lines.is_terminal() && lines.is_stream());
        }
    }

    /// A prompt that was cached is not counted by older servers.
    #[test]
    fn an_absent_count_stays_absent() {
        let facts = read_json(r#"{"model":"llama3","done":true,"eval_count":5}"#);
        assert_eq!(counts(&facts.facts(true)), (None, Some(5), None));
    }

    /// F29
    #[test]
    fn a_broken_line_does_not_spoil_the_next() {
        let body =
            "{\"model\":\"m\",}}\n{\"model\":\"m\",\"done\":true,\"eval_count\":5,\"prompt_eval_count\":1}\n";
        assert_same_however_cut(Format::Lines, None, body.as_bytes(), body);
        assert_eq!(counts(&read(Format::Lines, None, [body]).facts(true)), (Some(1), Some(5), Some(6)));
    }
}

mod framing {
    use super::*;

    const EVENT: &str = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

    /// F9
    #[test]
    fn every_spelling_of_an_event_is_read() {
        for body in [
            format!("data:{EVENT}\n\n"),
            format!("\u{FEFF}data: {EVENT}\n\n"),
            format!(": OPENROUTER PROCESSING\n\n: again\n\ndata: {EVENT}\n\n"),
            format!("id: 1\nevent: result\n:HTTP_STATUS/200\ndata:{EVENT}\nretry: 5\n\n"),
            "data: {\"usage\":\ndata: {\"prompt_tokens\":1,\"completion_tokens\":2,\ndata:\ndata: \"total_tokens\":3}}\n\n"
                .to_owned(),
            format!("data: {EVENT}"),
            format!("data: {EVENT}\n"),
            format!("\n\n\ndata: {EVENT}\n\n\n\n"),
            format!("datax: {{}}\ndata : {{}}\ndata: {EVENT}\n\n"),
        ] {
            for body in [body.clone(), body.replace('\n', "\r\n"), body.replace('\n', "\r")] {
                assert_eq!(counts(&read_sse(&body).facts(true)), (Some(1), Some(2), Some(3)), "{body:?}");
            }
        }
    }

    #[test]
    fn the_body_has_the_last_word_on_what_it_is() {
        let event = format!("data: {EVENT}\n\n");
        for format in [Format::EventStream, Format::Lines, Format::Json, Format::Unknown] {
            for body in [&*event, EVENT] {
                assert_eq!(
                    counts(&read(format, None, [body]).facts(true)),
                    (Some(1), Some(2), Some(3)),
                    "{format:?}"
                );
            }
        }
    }

    #[test]
    fn the_end_of_a_stream_is_seen_however_it_comes() {
        for body in [
            "data: [DONE]\n\n",
            "data:[DONE]\n\n",
            "data: [DONE]",
            "data: [DONE]\n\n: bye\n\n",
            "data: [DONE] \n",
        ] {
            let body = format!("{}{body}", sse(&[CHUNK]));
            assert!(read_sse(&body).is_terminal(), "{body}");
        }
        for body in
            [sse(&[CHUNK]), sse(&["[DONE]", CHUNK]), sse(&[CHUNK, "[DONE", "[]"]), sse(&["\"[DONE]\""])]
        {
            assert!(!read_sse(&body).is_terminal(), "{body}");
        }
    }

    /// F10, F19: what is held stays within its bound, whatever the sizes of events and pieces.
    #[test]
    fn an_event_of_any_size_is_held_within_bounds() {
        for len in [1, 30 << 10, 59 << 10, 60 << 10, 61 << 10, 65 << 10, 200 << 10] {
            let body = sse(&[&format!(r#"{{"delta":"{}"}}"#, "y".repeat(len)), USAGE_CHUNK, "[DONE]"]);
            for size in [1, 700, 16 << 10, 59 << 10, 300 << 10] {
                for hint in [None, Some(Dialect::OpenAi)] {
                    let stream = read(Format::EventStream, hint, body.as_bytes().chunks(size));
                    assert_eq!(counts(&stream.facts(true)), (Some(9), Some(12), Some(21)), "{len} by {size}");
                }
            }
        }
    }

    /// F10, F11
    #[test]
    fn counts_inside_an_event_too_large_to_be_held_are_found() {
        let text = "x\\\"usage\\\":{\\\"input_tokens\\\":9},".repeat(8 << 10);
        let last = format!(
            r#"{{"type":"response.completed","response":{{"output":[{{"text":"{text}"}}],"usage":{{"input_tokens":1,"output_tokens":2,"total_tokens":3}},"model":"m"}}}}"#
        );
        let body = sse(&[&last, r#"{"type":"later"}"#]);
        assert!(body.len() > 200 << 10);
        for size in [1 << 10, 16 << 10, 300 << 10] {
            let stream = read(Format::EventStream, None, body.as_bytes().chunks(size));
            assert_eq!(counts(&stream.facts(true)), (Some(1), Some(2), Some(3)));
            assert!(stream.is_terminal());
        }
    }

    /// F10
    #[test]
    fn an_event_too_large_to_be_held_does_not_end_the_counting() {
        let huge = format!(r#"{{"delta":"{}"}}"#, "y".repeat(200 << 10));
        let body = sse(&[CHUNK, &huge, USAGE_CHUNK, "[DONE]"]);
        for size in [1 << 10, 16 << 10, 300 << 10] {
            let stream = read(Format::EventStream, None, body.as_bytes().chunks(size));
            assert_eq!(counts(&stream.facts(true)), (Some(9), Some(12), Some(21)));
        }
    }
}

mod distrust {
    use super::*;

    /// F48
    #[test]
    fn counts_in_text_or_at_another_path_are_not_read() {
        for body in [
            r#"{"choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":9}}"}}]}"#,
            r#"{"choices":[{"message":{"usage":{"prompt_tokens":9}}}]}"#,
            r#"{"output":{"usage":{"prompt_tokens":9}}}"#,
            r#"{"tools":[{"usage":{"input_tokens":9}}],"metadata":{"usage":{"input_tokens":9}}}"#,
            r#"{"usage":[{"prompt_tokens":9}]}"#,
            r#"{"usage":"{\"prompt_tokens\":9}"}"#,
            r#"{"usage":{"server_tool_use":{"input_tokens":9},"details":{"prompt_tokens":9}}}"#,
            r#"[[{"usage":{"prompt_tokens":9}}]]"#,
        ] {
            assert_eq!(read_json(body).facts(true).tokens, Tokens::default(), "{body}");
            assert_eq!(read_sse(&sse(&[CHUNK, body])).facts(true).tokens, Tokens::default(), "{body}");
        }
    }

    #[test]
    fn a_number_that_is_no_count_is_said_to_be_none() {
        for (number, quality) in [
            ("-1", UsageQuality::Malformed),
            ("1.5", UsageQuality::Malformed),
            ("\"12\"", UsageQuality::Malformed),
            ("true", UsageQuality::Malformed),
            ("{}", UsageQuality::Malformed),
            ("4294967296", UsageQuality::Overflow),
            ("1e400", UsageQuality::Overflow),
        ] {
            let body = format!(r#"{{"usage":{{"prompt_tokens":{number},"completion_tokens":3}}}}"#);
            let facts = read_json(&body);
            assert_eq!(counts(&facts.facts(true)), (None, Some(3), None), "{body}");
            assert_eq!(facts.facts(true).quality, quality, "{body}");
        }
    }

    /// F38, F40
    #[test]
    fn counts_that_contradict_each_other_are_kept_and_marked() {
        for usage in [
            r#"{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":9}}"#,
            r#"{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6,"completion_tokens_details":{"reasoning_tokens":9}}"#,
            r#"{"prompt_tokens":5,"completion_tokens":1,"total_tokens":9}"#,
        ] {
            let facts = read_json(&format!(r#"{{"object":"chat.completion","usage":{usage}}}"#));
            assert_eq!(counts(&facts.facts(true)), (Some(5), Some(1), Some(6)), "{usage}");
            assert_eq!(facts.facts(true).quality, UsageQuality::Inconsistent, "{usage}");
        }
    }

    /// F39
    #[test]
    fn the_format_decides_the_arithmetic_and_not_the_path() {
        let anthropic =
            r#"{"type":"message","usage":{"input_tokens":3,"cache_read_input_tokens":10,"output_tokens":1}}"#;
        for hint in [None, Some(Dialect::OpenAi), Some(Dialect::Responses), Some(Dialect::Anthropic)] {
            assert_eq!(read(Format::Json, hint, [anthropic]).facts(true).tokens.input, Some(13), "{hint:?}");
        }
        let openai = r#"{"usage":{"prompt_tokens":13,"cache_read_input_tokens":10,"completion_tokens":1}}"#;
        for hint in [None, Some(Dialect::OpenAi), Some(Dialect::Anthropic)] {
            assert_eq!(read(Format::Json, hint, [openai]).facts(true).tokens.input, Some(13), "{hint:?}");
        }
    }

    #[test]
    fn a_document_that_is_none_is_malformed() {
        for body in
            [r#"{"usage":}"#, "{]", r#"{"a":1,}"#, r#"{"model":"m""#, "[{},", "{\"a\" 1}", "{\"a\":nul}"]
        {
            assert_eq!(read_json(body).facts(true).quality, UsageQuality::Malformed, "{body}");
        }
        assert_eq!(
            read_json(r#"{"model":"m""#).facts(false).quality,
            UsageQuality::Partial,
            "cut, and said to be"
        );
        for body in ["<html>502</html>", "Bad gateway", "\u{0}\u{1}"] {
            assert_eq!(
                read(Format::Json, None, [body]).facts(true).quality,
                UsageQuality::Unsupported,
                "{body}"
            );
        }
        assert_eq!(read(Format::Json, None, [""]).facts(true).quality, UsageQuality::Missing);
    }

    /// Counts that stand before the place where a body breaks off are better than none, and not final.
    #[test]
    fn counts_before_a_break_are_partial() {
        let body = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"choices":[{"mess"#;
        let facts = read_json(body);
        assert_eq!(counts(&facts.facts(false)), (Some(1), Some(2), Some(3)));
        assert_eq!(facts.facts(false).quality, UsageQuality::Partial);
    }

    #[test]
    fn depth_and_length_cost_nothing() {
        let deep = format!(
            "{{\"x\":{}{},\"usage\":{{\"prompt_tokens\":4}}}}",
            "[".repeat(1 << 20),
            "]".repeat(1 << 20)
        );
        let long = format!("{{\"x\":\"{}\",\"usage\":{{\"prompt_tokens\":4}}}}", "z".repeat(1 << 20));
        let long_key = format!("{{\"{}\":1,\"usage\":{{\"prompt_tokens\":4}}}}", "k".repeat(1 << 20));
        let long_number = format!("{{\"x\":{},\"usage\":{{\"prompt_tokens\":4}}}}", "1".repeat(1 << 20));
        for body in [deep, long, long_key, long_number] {
            let facts = read(Format::Json, None, body.as_bytes().chunks(1000));
            assert_eq!(facts.facts(true).tokens.input, Some(4));
        }
        let endless_model = format!("{{\"model\":\"{}\"}}", "m".repeat(1 << 20));
        assert_eq!(
            read(Format::Json, None, endless_model.as_bytes().chunks(1000)).facts(true).model.len(),
            200
        );
    }
}
