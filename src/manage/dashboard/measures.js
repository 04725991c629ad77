// What is measured, and what of it is good.

import { average, count, duration, percent } from "./format.js";

const ratio = (part, of) => (of > 0 ? part / of : null);

/** The cards. `better` is the direction that is good news; without it a change is only a change. */
export const CARDS = [
  { title: "Requests", value: (c) => c.requests, format: count },
  { title: "Tokens", value: (c) => c.tokens, format: count },
  { title: "Tokens per request", value: (c) => ratio(c.tokens, c.requests), format: average },
  { title: "Success rate", value: (c) => ratio(c.requests - c.errors, c.requests), format: percent, share: true, better: "up" },
  { title: "Cache hit rate", value: (c) => ratio(c.cache_read_tokens, c.prompt_tokens), format: percent, share: true, better: "up", hint: "Input tokens that were read from a provider's cache" },
  { title: "Duration, p95", value: (c) => c.duration_p95_ms, format: duration, better: "down", hint: "95 of 100 requests took no longer" },
  { title: "First byte, p50", value: (c) => c.ttft_p50_ms, format: duration, better: "down", hint: "Half of the requests had their first byte of an answer sooner" },
  { title: "Without usage", value: (c) => c.unknown_usage, format: count, better: "down", hint: "Requests whose token counts are missing or incomplete" },
];

/** What tokens are made of. Each has a look of its own, by colour and by texture: `app.css`. */
export const PARTS = {
  tokens: [
    ["input", "Uncached input", (c) => c.prompt_tokens - c.cache_read_tokens - c.cache_write_tokens],
    ["cache-read", "Cache read", (c) => c.cache_read_tokens],
    ["cache-write", "Cache write", (c) => c.cache_write_tokens],
    ["output", "Output", (c) => c.completion_tokens - c.reasoning_tokens],
    ["reasoning", "Reasoning", (c) => c.reasoning_tokens],
    ["rest", "Not told apart", (c) => c.tokens - c.prompt_tokens - c.completion_tokens],
  ],
  requests: [
    ["good", "Succeeded", (c) => c.requests - c.errors],
    ["failed", "Failed", (c) => c.errors],
  ],
};

/** The columns of the breakdown, by the server's names. It sorts by sums, not by what is measured. */
export const COLUMNS = [
  { title: "Requests", id: "requests", format: count },
  { title: "Errors", id: "errors", format: count },
  { title: "Input", id: "prompt_tokens", format: count },
  { title: "Cache read", id: "cache_read_tokens", format: count },
  { title: "Cache write", id: "cache_write_tokens", format: count },
  { title: "Output", id: "completion_tokens", format: count },
  { title: "Reasoning", id: "reasoning_tokens", format: count },
  { title: "Tokens", id: "tokens", format: count },
  { title: "p95", id: "duration_p95_ms", measured: true, format: duration },
  { title: "First byte", id: "ttft_p50_ms", measured: true, format: duration },
  { title: "Tokens/s", id: "tokens_per_second", measured: true, format: average },
];

/** Why counts are missing, by the file's word for it. */
export const REASONS = {
  missing: "not sent by the provider",
  partial: "broken off before the last count",
  inconsistent: "contradict each other",
  overflow: "too large",
  malformed: "not readable",
  unsupported: "in an encoding that is not supported",
};
