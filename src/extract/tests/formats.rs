//! Wire formats that no recording at hand shows, or shows whole, built by hand from their documentation.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

/// Input, output, total, cache reads, cache writes, cache writes for an hour, reasoning.
type Counts = [Option<u64>; 7];

const NOTHING: Counts = [None; 7];

fn counts(tokens: &Tokens) -> Counts {
    let Tokens { input, output, total, cache_read, cache_write, cache_write_1h, reasoning } = *tokens;
    [input, output, total, cache_read, cache_write, cache_write_1h, reasoning]
}

fn sse(documents: &[&str]) -> String {
    documents.iter().map(|document| format!("data: {document}\n\n")).collect()
}

/// Reads a body with and without the hint of its endpoint, and asserts that it makes no difference to the counts.
fn read_both(format: Format, hint: Dialect, body: impl AsRef<[u8]>) -> Extractor {
    let body = body.as_ref();
    assert_same_however_cut(format, Some(hint), body, &String::from_utf8_lossy(body));
    let blind = read(format, None, [body]);
    let told = read(format, Some(hint), [body]);
    assert_eq!(told.facts(true).tokens, blind.facts(true).tokens, "{}", String::from_utf8_lossy(body));
    told
}

fn json(hint: Dialect, body: &str) -> Extractor {
    read_both(Format::Json, hint, body)
}

fn stream(hint: Dialect, documents: &[&str]) -> Extractor {
    read_both(Format::EventStream, hint, sse(documents))
}

fn assert_counts(extractor: &Extractor, expected: Counts) {
    let facts = extractor.facts(true);
    assert_eq!(counts(&facts.tokens), expected, "{facts:?}");
    let quality = if expected == NOTHING { UsageQuality::Missing } else { UsageQuality::Complete };
    assert_eq!(facts.quality, quality, "{facts:?}");
}

fn event(kind: &str, payload: &str) -> Vec<u8> {
    check::event(kind, payload.as_bytes())
}

/// A piece of InvokeModel's stream.
fn chunk(document: &str) -> Vec<u8> {
    event("chunk", &format!(r#"{{"bytes":"{}","p":"abcd"}}"#, STANDARD.encode(document)))
}

fn messages(messages: &[Vec<u8>]) -> Extractor {
    read_both(Format::EventMessages, Dialect::Bedrock, messages.concat())
}

mod openai {
    use super::*;

    /// A run's steps have counts, and so has the run: the same ones.
    #[test]
    fn the_steps_of_a_run_are_parts_of_it() {
        let step = r#"{"object":"thread.run.step","run_id":"run_1","usage":{"prompt_tokens":20,"completion_tokens":11,"total_tokens":31}}"#;
        let waiting = r#"{"object":"thread.run","model":"gpt-4o","status":"requires_action","usage":null,"last_error":null}"#;
        let run = r#"{"object":"thread.run","model":"gpt-4o","status":"completed","usage":{"prompt_tokens":50,"completion_tokens":16,"total_tokens":66,"prompt_token_details":{"cached_tokens":3}}}"#;
        let facts = stream(Dialect::OpenAi, &[step, run, "[DONE]"]);
        assert_counts(&facts, [Some(50), Some(16), Some(66), Some(3), None, None, None]);
        // The counts of a run that waits for a tool come with the request that brings the tool's result.
        assert_counts(&stream(Dialect::OpenAi, &[step, waiting, "[DONE]"]), NOTHING);
    }

    /// F18
    #[test]
    fn a_failed_run_is_a_failure() {
        let run = r#"{"object":"thread.run","model":"gpt-4o","status":"failed","usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1},"last_error":{"code":"rate_limit_exceeded","message":"x"}}"#;
        let facts = stream(Dialect::OpenAi, &[run, "[DONE]"]);
        assert!(facts.is_error());
        assert_eq!(facts.facts(false).error_type, b"rate_limit_exceeded");
    }

    #[test]
    fn a_transcription_is_counted_in_tokens_or_not_at_all() {
        let tokens = r#"{"text":"Hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}"#;
        assert_counts(
            &json(Dialect::Responses, tokens),
            [Some(14), Some(45), Some(59), None, None, None, None],
        );
        let duration = r#"{"text":"Hi","usage":{"type":"duration","seconds":3}}"#;
        assert_counts(&json(Dialect::Responses, duration), NOTHING);
        let done = tokens.replacen('{', r#"{"type":"transcript.text.done","#, 1);
        let events = stream(Dialect::Responses, &[r#"{"type":"transcript.text.delta","delta":"H"}"#, &done]);
        assert_counts(&events, [Some(14), Some(45), Some(59), None, None, None, None]);
        assert!(events.is_terminal());
    }

    #[test]
    fn images_are_counted_behind_their_pixels() {
        let pixels = "iVBORw0KGgo".repeat(20_000);
        let usage = r#""usage":{"input_tokens":50,"output_tokens":4160,"total_tokens":4210,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}"#;
        let expected = [Some(50), Some(4160), Some(4210), None, None, None, None];
        let body = format!(r#"{{"created":1,"data":[{{"b64_json":"{pixels}"}}],{usage}}}"#);
        assert_counts(&json(Dialect::Responses, &body), expected);
        let partial = format!(
            r#"{{"type":"image_generation.partial_image","b64_json":"{pixels}","partial_image_index":0}}"#
        );
        let last = format!(r#"{{"type":"image_generation.completed","b64_json":"{pixels}",{usage}}}"#);
        let events = stream(Dialect::Responses, &[&partial, &last]);
        assert_counts(&events, expected);
        assert!(events.is_terminal());
    }

    #[test]
    fn an_answer_in_the_background_has_no_counts_yet() {
        let queued =
            r#"{"id":"resp_1","object":"response","status":"queued","model":"o3","usage":null,"error":null}"#;
        assert_counts(&json(Dialect::Responses, queued), NOTHING);
    }

    /// F18
    #[test]
    fn an_error_event_of_responses_names_its_code() {
        let error =
            r#"{"type":"error","code":"server_error","message":"x","param":null,"sequence_number":3}"#;
        let facts =
            stream(Dialect::Responses, &[r#"{"type":"response.created","response":{"model":"o3"}}"#, error]);
        assert!(facts.is_error() && facts.is_terminal());
        assert_eq!(facts.facts(false).error_type, b"server_error");
    }
}

/// Those who speak like OpenAI, each with a word of their own.
mod compatible {
    use super::*;

    /// Usage as one provider sends it, and what it means.
    #[test]
    fn names_of_their_own_are_known() {
        for (provider, usage, expected) in [
            (
                "DeepSeek",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2,"completion_tokens_details":{"reasoning_tokens":3}}"#,
                [Some(10), Some(5), Some(15), Some(8), None, None, Some(3)],
            ),
            (
                "Together",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cached_tokens":4}"#,
                [Some(10), Some(5), Some(15), Some(4), None, None, None],
            ),
            (
                "Fireworks",
                r#"{"prompt_tokens":10,"total_tokens":15,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":2}}"#,
                [Some(10), Some(5), Some(15), Some(2), None, None, None],
            ),
            (
                "DashScope, compatible, with a cache that was asked for",
                r#"{"prompt_tokens":2605,"completion_tokens":5,"total_tokens":2610,"prompt_tokens_details":{"cached_tokens":0,"cache_creation_input_tokens":1605,"cache_creation":{"ephemeral_5m_input_tokens":1605},"cache_type":"ephemeral"}}"#,
                [Some(2605), Some(5), Some(2610), Some(0), Some(1605), None, None],
            ),
            (
                "OpenRouter",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cost":0.01,"is_byok":false,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":3,"audio_tokens":0,"video_tokens":0},"cost_details":{"upstream_inference_cost":null},"completion_tokens_details":{"reasoning_tokens":2}}"#,
                [Some(10), Some(5), Some(15), Some(4), Some(3), None, Some(2)],
            ),
            (
                "Venice",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cache_read_input_tokens":4,"cache_creation_input_tokens":1}"#,
                [Some(10), Some(5), Some(15), Some(4), Some(1), None, None],
            ),
            (
                "Copilot",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"reasoning_tokens":2,"completion_tokens_details":{"accepted_prediction_tokens":0}}"#,
                [Some(10), Some(5), Some(15), None, None, None, Some(2)],
            ),
            (
                "Mistral, with a null beside the details",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"num_cached_tokens":4,"prompt_tokens_details":{"cached_tokens":4},"prompt_token_details":null,"prompt_audio_seconds":{}}"#,
                [Some(10), Some(5), Some(15), Some(4), None, None, None],
            ),
            (
                "Jina",
                r#"{"total_tokens":12,"prompt_tokens":12}"#,
                [Some(12), None, Some(12), None, None, None, None],
            ),
            ("Voyage", r#"{"total_tokens":12}"#, [None, None, Some(12), None, None, None, None]),
            (
                "mistral.rs",
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"avg_tok_per_sec":37.25,"total_time_sec":0.4}"#,
                [Some(10), Some(5), Some(15), None, None, None, None],
            ),
        ] {
            let body = format!(r#"{{"object":"chat.completion","model":"m","usage":{usage}}}"#);
            println!("{provider}");
            assert_counts(&json(Dialect::OpenAi, &body), expected);
        }
    }

    #[test]
    fn deep_research_bills_its_sources_and_its_reasoning_beside_the_completion() {
        let body = r#"{"object":"chat.completion","model":"sonar-deep-research","usage":{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"citation_tokens":19028,"num_search_queries":25,"reasoning_tokens":67891,"cost":{"total_cost":0.8}}}"#;
        let output = 7163 + 19028 + 67891;
        assert_counts(
            &json(Dialect::OpenAi, body),
            [Some(33), Some(output), Some(33 + output), None, None, None, Some(67891)],
        );
    }

    #[test]
    fn perplexitys_responses_have_a_name_of_their_own_for_cache_reads() {
        let body = r#"{"object":"response","model":"xai/grok","usage":{"input_tokens":40,"input_tokens_details":{"cache_read_input_tokens":30},"output_tokens":5,"total_tokens":45,"cost":{"currency":"USD"}}}"#;
        assert_counts(
            &json(Dialect::Responses, body),
            [Some(40), Some(5), Some(45), Some(30), None, None, None],
        );
    }

    #[test]
    fn cloudflares_envelope_is_opened() {
        let usage = r#""usage":{"prompt_tokens":26,"completion_tokens":14,"total_tokens":40}"#;
        let expected = [Some(26), Some(14), Some(40), None, None, None, None];
        let body =
            format!(r#"{{"result":{{"response":"Hi",{usage}}},"success":true,"errors":[],"messages":[]}}"#);
        let facts = json(Dialect::OpenAi, &body);
        assert_counts(&facts, expected);
        assert!(!facts.is_error());
        let last = format!(r#"{{"response":"",{usage}}}"#);
        assert_counts(&stream(Dialect::OpenAi, &[r#"{"response":"Hi"}"#, &last, "[DONE]"]), expected);
        let failed = r#"{"result":null,"success":false,"errors":[{"code":5007,"message":"No such model"}]}"#;
        let failed = json(Dialect::OpenAi, failed);
        assert!(failed.is_error());
        assert_eq!(failed.facts(true).error_type, b"5007");
    }

    /// F15, F18
    #[test]
    fn an_error_under_the_status_of_a_success_is_a_failure() {
        let minimax = r#"{"id":"1","choices":null,"model":"MiniMax-M1","usage":{"total_tokens":0},"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#;
        let facts = json(Dialect::OpenAi, minimax);
        assert!(facts.is_error());
        assert_eq!(facts.facts(true).error_type, b"1008");
        assert!(!json(Dialect::OpenAi, &minimax.replace("1008", "0")).is_error());
        let groq = r#"{"choices":[],"x_groq":{"id":"req_1","error":"over capacity"}}"#;
        assert!(stream(Dialect::OpenAi, &[groq]).is_error());
        let vllm = r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#;
        assert!(stream(Dialect::OpenAi, &[vllm]).is_error());
    }

    /// F15: MiniMax, Kimi and Vertex have all sent it.
    #[test]
    fn nothing_at_all_is_no_count_of_an_answer() {
        let body = r#"{"object":"chat.completion","model":"m","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#;
        let facts = json(Dialect::OpenAi, body);
        assert_eq!(facts.facts(true).tokens.total, Some(0), "kept as given");
        assert_eq!(facts.facts(true).quality, UsageQuality::Inconsistent);
    }
}

mod anthropic {
    use super::*;

    /// What a compaction cost is billed, and is not part of the counts beside it.
    #[test]
    fn iterations_are_the_whole() {
        let body = r#"{"type":"message","model":"m","usage":{"input_tokens":10,"output_tokens":4,"cache_read_input_tokens":100,"cache_creation_input_tokens":0,
            "iterations":[
                {"type":"compaction","input_tokens":1000,"output_tokens":50,"cache_read_input_tokens":0,"cache_creation_input_tokens":200,"cache_creation":{"ephemeral_5m_input_tokens":50,"ephemeral_1h_input_tokens":150}},
                {"type":"message","model":"m","input_tokens":10,"output_tokens":4,"cache_read_input_tokens":100,"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}}
            ]}}"#;
        let expected = [Some(1310), Some(54), Some(1364), Some(100), Some(200), Some(150), None];
        assert_counts(&json(Dialect::Anthropic, body), expected);
    }

    /// A key that comes again counts instead of the first, also where elements add up.
    #[test]
    fn iterations_that_come_twice_count_once() {
        let body = r#"{"type":"message","usage":{"iterations":[{"input_tokens":1,"output_tokens":1},{"input_tokens":2,"output_tokens":2}],"input_tokens":9,"output_tokens":9,"iterations":[{"input_tokens":4,"output_tokens":5}]}}"#;
        assert_counts(&json(Dialect::Anthropic, body), [Some(4), Some(5), Some(9), None, None, None, None]);
    }

    #[test]
    fn the_model_that_stood_in_is_the_one_that_answered() {
        let start = r#"{"type":"message_start","message":{"type":"message","model":"first","usage":{"input_tokens":5,"output_tokens":1}}}"#;
        let fallback = r#"{"type":"content_block_start","index":0,"content_block":{"type":"fallback","from":{"model":"first"},"to":{"model":"second"}}}"#;
        let delta = r#"{"type":"message_delta","usage":{"output_tokens":3}}"#;
        assert_eq!(stream(Dialect::Anthropic, &[start, fallback, delta]).facts(true).model, b"second");
    }

    #[test]
    fn completions_have_a_model_an_end_and_no_counts() {
        let event = |stop: &str| {
            format!(r#"{{"type":"completion","completion":" Hi","stop_reason":{stop},"model":"claude-2.1"}}"#)
        };
        let body = sse(&[&event("null"), &event("\"stop_sequence\"")]).replace('\n', "\r\n");
        let facts = read(Format::EventStream, None, [body]);
        assert_counts(&facts, NOTHING);
        assert_eq!(facts.facts(true).model, b"claude-2.1");
        assert!(facts.is_terminal());
        assert!(!read(Format::EventStream, None, [sse(&[&event("null")])]).is_terminal());
    }
}

mod google {
    use super::*;

    /// The prompt of an answer that was blocked is all that there is.
    #[test]
    fn a_blocked_prompt_is_at_its_end() {
        let body = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7},"modelVersion":"gemini-2.5-flash"}"#;
        let facts = stream(Dialect::Gemini, &[body]);
        assert_counts(&facts, [Some(7), None, Some(7), None, None, None, None]);
        assert!(facts.is_terminal());
    }

    #[test]
    fn embeddings_have_an_input_only() {
        let body = r#"{"embeddings":[{"values":[0.1,-2e-3]}],"usageMetadata":{"promptTokenCount":4,"promptTokenDetails":[{"modality":"TEXT","tokenCount":4}]}}"#;
        assert_counts(&json(Dialect::Gemini, body), [Some(4), None, None, None, None, None, None]);
        let vertex = r#"{"predictions":[{"embeddings":{"values":[0.1],"statistics":{"truncated":false,"token_count":4}}},{"embeddings":{"values":[0.2],"statistics":{"token_count":6.0}}}]}"#;
        assert_counts(&json(Dialect::Flat, vertex), [Some(10), None, None, None, None, None, None]);
    }

    #[test]
    fn the_compatible_route_leaves_thoughts_out_of_the_completion() {
        let body = r#"{"object":"chat.completion","model":"gemini-2.5-flash","usage":{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}}"#;
        let facts = read(Format::Json, Some(Dialect::GeminiOpenAi), [body]);
        assert_counts(&facts, [Some(35), Some(74), Some(109), None, None, None, Some(62)]);
        // A chunk that says it is OpenAI's is read by the route that it came on, all the same.
        let body = body.replace("chat.completion", "chat.completion.chunk");
        let facts = read(Format::EventStream, Some(Dialect::GeminiOpenAi), [sse(&[&body, "[DONE]"])]);
        assert_counts(&facts, [Some(35), Some(74), Some(109), None, None, None, Some(62)]);
    }

    #[test]
    fn interactions_add_thoughts_and_tools() {
        let usage = r#"{"total_input_tokens":50,"total_output_tokens":3,"total_thought_tokens":56,"total_tool_use_tokens":0,"total_cached_tokens":20,"total_tokens":109}"#;
        let expected = [Some(50), Some(59), Some(109), Some(20), None, None, Some(56)];
        let body = format!(r#"{{"model":"gemini-2.5-flash","status":"completed","usage":{usage}}}"#);
        assert_counts(&json(Dialect::Interactions, &body), expected);
        for word in ["interaction.complete", "interaction.completed"] {
            let last = format!(r#"{{"event_type":"{word}","interaction":{{"model":"g","usage":{usage}}}}}"#);
            let events = stream(Dialect::Interactions, &[r#"{"event_type":"content.delta"}"#, &last]);
            assert_counts(&events, expected);
            assert!(events.is_terminal());
        }
    }
}

mod bedrock {
    use super::*;

    #[test]
    fn cache_writes_are_told_apart_by_their_lifetime() {
        let usage = |details: &str| {
            format!(
                r#"{{"usage":{{"inputTokens":3,"outputTokens":4,"totalTokens":47,"cacheReadInputTokens":10,"cacheReadInputTokenCount":10,"cacheWriteInputTokens":30,"cacheWriteInputTokenCount":30,"cacheDetails":[{details}]}}}}"#
            )
        };
        for details in [
            r#"{"ttl":"5m","inputTokens":10},{"ttl":"1h","inputTokens":20}"#,
            r#"{"inputTokens":20,"ttl":"1h"},{"inputTokens":10,"ttl":"5m"}"#,
            r#"{"inputTokens":5,"ttl":"1h"},{"inputTokens":15,"ttl":"1h"},{"ttl":"1d","inputTokens":9},{"inputTokens":7}"#,
        ] {
            let expected = [Some(43), Some(4), Some(47), Some(10), Some(30), Some(20), None];
            assert_counts(&json(Dialect::Bedrock, &usage(details)), expected);
            let events = messages(&[event("messageStop", "{}"), event("metadata", &usage(details))]);
            assert_counts(&events, expected);
            assert!(events.is_terminal());
        }
    }

    /// The same tokens three times over, and some of them only inside. F40: where they differ, it is said.
    #[test]
    fn the_answer_says_more_than_the_envelope_around_it() {
        let start = r#"{"type":"message_start","message":{"type":"message","model":"claude","usage":{"input_tokens":5,"cache_creation_input_tokens":30,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}}}"#;
        let delta = r#"{"type":"message_delta","usage":{"output_tokens":9,"output_tokens_details":{"thinking_tokens":6}}}"#;
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":9,"invocationLatency":606,"firstByteLatency":605,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":30}}"#;
        let events = messages(&[chunk(start), chunk(delta), chunk(stop)]);
        assert_counts(&events, [Some(35), Some(9), Some(44), Some(0), Some(30), Some(20), Some(6)]);
        assert_eq!(events.facts(true).model, b"claude");
        assert!(events.is_terminal());
        let other = stop.replace(r#""outputTokenCount":9"#, r#""outputTokenCount":7"#);
        let events = messages(&[chunk(start), chunk(delta), chunk(&other)]);
        assert_eq!(events.facts(true).tokens.output, Some(9));
        assert_eq!(events.facts(true).quality, UsageQuality::Inconsistent);
        // A beginning alone is no match for it.
        let events = messages(&[chunk(start), chunk(stop)]);
        assert_counts(&events, [Some(35), Some(9), Some(44), Some(0), Some(30), None, None]);
    }

    /// F18
    #[test]
    fn an_exception_in_the_stream_is_a_failure() {
        let exception = check::message(
            &[(":exception-type", "throttlingException"), (":message-type", "exception")],
            br#"{"message":"Too many tokens"}"#,
        );
        let events = messages(&[event("messageStart", r#"{"role":"assistant"}"#), exception]);
        assert!(events.is_error());
        assert_eq!(events.facts(false).error_type, b"throttlingException");
    }

    /// A wrong sum is no reason to believe what stands behind it, nor a broken length.
    #[test]
    fn a_message_that_is_damaged_is_malformed() {
        let usage = event("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#);
        let start = event("messageStart", "{}");
        for at in 0..usage.len() {
            let mut damaged = usage.clone();
            damaged[at] ^= 0x11;
            let body = [&start[..], &damaged, &start].concat();
            let facts = read(Format::EventMessages, None, [&body]);
            assert_eq!(facts.facts(true).quality, UsageQuality::Malformed, "at {at}");
            assert_eq!(counts(&facts.facts(true).tokens), NOTHING, "at {at}");
        }
        for len in 1..usage.len() {
            let facts = read(Format::EventMessages, None, [&usage[..len]]);
            assert_eq!(facts.facts(true).quality, UsageQuality::Malformed, "{len} bytes");
        }
    }

    /// Was: the model of a message that its sum gave the lie to; and of base64 with a wrong digit in it as much was read
    /// as there was in the piece before.
    #[test]
    fn nothing_in_a_message_that_is_damaged_is_believed() {
        let start = r#"{"type":"message_start","message":{"type":"message","model":"claude","usage":{"input_tokens":5,"output_tokens":1}}}"#;
        let mut damaged = chunk(start);
        let at = damaged.len() - 8;
        damaged[at] ^= 0x01;
        let payload = format!(r#"{{"bytes":"{}\u0000"}}"#, STANDARD.encode(start));
        for message in [damaged, event("chunk", &payload)] {
            assert_same_however_cut(Format::EventMessages, None, &message, "a damaged message");
            let extractor = messages(&[message]);
            assert_eq!(extractor.facts(true).model, b"");
            assert_eq!(counts(&extractor.facts(true).tokens), NOTHING);
            assert_eq!(extractor.facts(true).quality, UsageQuality::Malformed);
        }
    }

    /// Was: thoughts were the output until a damaged message came, and no part of it from then on.
    #[test]
    fn what_was_counted_before_a_damaged_message_stands() {
        let document =
            r#"{"usageMetadata":{"promptTokenCount":85,"thoughtsTokenCount":73,"totalTokenCount":158}}"#;
        let good = event("chunk", &format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(document)));
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let extractor = messages(&[good.clone(), damaged]);
        let facts = extractor.facts(true);
        assert_eq!(facts.quality, UsageQuality::Malformed);
        assert_eq!(facts.tokens.output, Some(73));
        assert_eq!(facts.tokens, messages(&[good]).facts(true).tokens);
    }

    #[test]
    fn models_of_others_have_counts_of_their_own() {
        for (body, expected) in [
            (
                r#"{"generation":"Hi","prompt_token_count":11,"generation_token_count":4,"stop_reason":"stop"}"#,
                [Some(11), Some(4), Some(15), None, None, None, None],
            ),
            (
                r#"{"inputTextTokenCount":28.0,"results":[{"tokenCount":190.0,"outputText":"x","completionReason":"FINISH"},{"tokenCount":7}]}"#,
                [Some(28), Some(197), Some(225), None, None, None, None],
            ),
            (
                r#"{"output":{"message":{"content":[{"text":"{\"usage\":{\"inputTokens\":99}}"}]}},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":0}}"#,
                [Some(3), Some(4), Some(7), Some(0), Some(0), None, None],
            ),
            (r#"{"outputs":[{"text":"Hi","stop_reason":"stop"}]}"#, NOTHING),
        ] {
            assert_counts(&json(Dialect::Bedrock, body), expected);
        }
    }

    #[test]
    fn a_router_names_the_model_that_it_chose() {
        let body = r#"{"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7},"trace":{"promptRouter":{"invokedModelId":"arn:aws:bedrock:us-east-1::inference-profile/us.m"}}}"#;
        let model = json(Dialect::Bedrock, body).facts(true).model.to_owned();
        assert_eq!(model, b"arn:aws:bedrock:us-east-1::inference-profile/us.m");
    }
}

/// Formats of one provider each.
mod others {
    use super::*;

    #[test]
    fn cohere_tells_what_is_billed() {
        let usage = r#"{"billed_units":{"input_tokens":11.0,"output_tokens":3.0,"search_units":1},"tokens":{"input_tokens":506.0,"output_tokens":4.0},"cached_tokens":448}"#;
        let expected = [Some(11), Some(3), Some(14), None, None, None, None];
        let v2 =
            format!(r#"{{"type":"message-end","delta":{{"finish_reason":"COMPLETE","usage":{usage}}}}}"#);
        let events = stream(Dialect::Cohere, &[r#"{"type":"content-delta"}"#, &v2]);
        assert_counts(&events, expected);
        assert!(events.is_terminal() && !events.is_error());
        let v1 = format!(
            "{{\"event_type\":\"text-generation\",\"text\":\"x\"}}\n{{\"event_type\":\"stream-end\",\"finish_reason\":\"COMPLETE\",\"response\":{{\"meta\":{usage}}}}}\n"
        );
        let lines = read_both(Format::Lines, Dialect::Cohere, v1);
        assert_counts(&lines, expected);
        assert!(lines.is_terminal());
        let used = r#"{"usage":{"tokens":{"input_tokens":506,"output_tokens":4},"cached_tokens":448}}"#;
        assert_counts(
            &json(Dialect::Cohere, used),
            [Some(506), Some(4), Some(510), Some(448), None, None, None],
        );
        let embed = r#"{"embeddings":[[0.1]],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":6}}}"#;
        assert_counts(&json(Dialect::Cohere, embed), [Some(6), None, None, None, None, None, None]);
        let rerank =
            r#"{"results":[{"index":0,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}"#;
        assert_counts(&json(Dialect::Cohere, rerank), NOTHING);
    }

    /// F18
    #[test]
    fn cohere_says_in_the_last_event_that_it_failed() {
        let v2 = r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"Internal","usage":{}}}"#;
        assert!(stream(Dialect::Cohere, &[v2]).is_error());
        let v1 = "{\"event_type\":\"stream-end\",\"finish_reason\":\"ERROR_TOXIC\",\"response\":{}}\n";
        assert!(read_both(Format::Lines, Dialect::Cohere, v1).is_error());
    }

    #[test]
    fn dashscope_repeats_running_totals_and_names_no_model() {
        let event = |output: u32, total: u32| {
            format!(
                "id:{output}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"finish_reason\":\"null\"}},\"usage\":{{\"total_tokens\":{total},\"input_tokens\":22,\"output_tokens\":{output},\"prompt_tokens_details\":{{\"cached_tokens\":0}}}},\"request_id\":\"r\"}}\n\n"
            )
        };
        let body = [event(1, 23), event(5, 27), event(17, 39)].concat();
        let facts = read_both(Format::EventStream, Dialect::DashScope, body);
        assert_counts(&facts, [Some(22), Some(17), Some(39), Some(0), None, None, None]);
        assert_eq!(facts.facts(true).model, b"");
    }

    /// F18
    #[test]
    fn dashscope_has_a_code_for_an_error_and_no_more() {
        let body = "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"DataInspectionFailed\",\"message\":\"x\",\"request_id\":\"r\"}\n\n";
        let facts = read_both(Format::EventStream, Dialect::DashScope, body);
        assert!(facts.is_error());
        assert_eq!(facts.facts(false).error_type, b"DataInspectionFailed");
        // Elsewhere a code may be anything.
        assert!(!json(Dialect::OpenAi, r#"{"code":"200","choices":[]}"#).is_error());
    }

    #[test]
    fn watsonx_tells_its_input_once() {
        let event = |input: u32, output: u32| {
            format!(
                r#"{{"model_id":"ibm/granite","results":[{{"generated_text":"x","generated_token_count":{output},"input_token_count":{input},"stop_reason":"NOT_FINISHED"}}]}}"#
            )
        };
        let events = [event(9, 0), event(0, 4), event(0, 12)];
        let events = stream(Dialect::Watsonx, &[&events[0], &events[1], &events[2]]);
        assert_counts(&events, [Some(9), Some(12), Some(21), None, None, None, None]);
        assert_eq!(events.facts(true).model, b"ibm/granite");
        let failed =
            r#"{"errors":[{"code":"token_quota_reached","message":"x"}],"trace":"t","status_code":403}"#;
        let failed = json(Dialect::Watsonx, failed);
        assert!(failed.is_error());
        assert_eq!(failed.facts(true).error_type, b"token_quota_reached");
    }

    #[test]
    fn replicate_counts_when_it_is_done() {
        let starting = r#"{"id":"p","model":"meta/llama","status":"starting","error":null,"metrics":{}}"#;
        assert_counts(&json(Dialect::Replicate, starting), NOTHING);
        let done = r#"{"id":"p","model":"meta/llama","status":"succeeded","error":null,"metrics":{"input_token_count":4,"output_token_count":80,"predict_time":1.25}}"#;
        assert_counts(&json(Dialect::Replicate, done), [Some(4), Some(80), Some(84), None, None, None, None]);
    }

    #[test]
    fn servers_that_people_run_themselves_count_beside_the_answer() {
        let llama = [
            r#"{"content":"H","stop":false,"tokens_predicted":1,"tokens_evaluated":12}"#,
            r#"{"content":"","stop":true,"stop_type":"eos","model":"m","tokens_predicted":6,"tokens_evaluated":12,"timings":{"prompt_n":12,"predicted_n":6}}"#,
        ];
        let events = stream(Dialect::Flat, &llama);
        assert_counts(&events, [Some(12), Some(6), Some(18), None, None, None, None]);
        assert!(events.is_terminal());
        assert!(!stream(Dialect::Flat, &llama[..1]).is_terminal());

        let token = r#"{"index":1,"token":{"id":9,"text":" H"},"generated_text":null,"details":null}"#;
        let last = r#"{"index":2,"token":{"id":2,"text":"</s>","special":true},"generated_text":" Hi","details":{"finish_reason":"eos_token","generated_tokens":2,"input_length":5,"seed":null}}"#;
        let body = format!("data:{token}\n\ndata:{last}\n\n");
        let events = read_both(Format::EventStream, Dialect::Flat, body);
        assert_counts(&events, [Some(5), Some(2), Some(7), None, None, None, None]);
        assert!(events.is_terminal());
        let array = r#"[{"generated_text":"Hi","details":{"generated_tokens":2,"prefill":[{"id":1,"text":"a","logprob":null},{"id":2,"text":"b","logprob":-1.5},{"id":3}],"tokens":[{"id":7},{"id":8}]}}]"#;
        assert_counts(&json(Dialect::Flat, array), [Some(3), Some(2), Some(5), None, None, None, None]);
        let failed = r#"{"error":"Model is overloaded","error_type":"overloaded"}"#;
        let failed = stream(Dialect::Flat, &[failed]);
        assert!(failed.is_error());
        assert_eq!(failed.facts(false).error_type, b"overloaded");

        let sglang = r#"{"text":"Hi","meta_info":{"id":"1","finish_reason":{"type":"stop"},"prompt_tokens":5,"completion_tokens":2,"cached_tokens":3}}"#;
        let events = stream(Dialect::Flat, &[sglang, "[DONE]"]);
        assert_counts(&events, [Some(5), Some(2), Some(7), Some(3), None, None, None]);
        let aleph = r#"{"completions":[],"model_version":"2022-04","num_tokens_prompt_total":9,"num_tokens_generated":100}"#;
        assert_counts(&json(Dialect::Flat, aleph), [Some(9), Some(100), Some(109), None, None, None, None]);
    }
}
