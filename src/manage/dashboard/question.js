// What the page asks for: one question that most of it is the answer to, and two small ones.

import { conditions, range } from "./state.js";

/** What is shown as bars, each by the ten that are used most. */
export const BARS = ["model", "key", "provider"];

/** What is shown of each: half of what there is. */
const METRICS =
  "tokens,requests,errors,unknown_usage,prompt_tokens,completion_tokens,cache_read_tokens,cache_write_tokens,reasoning_tokens,duration_p95_ms,ttft_p50_ms,tokens_per_second";

const PAGE = 25;

/** What every question is about. */
export const scope = (state) => [...range(state), ...conditions(state), ["tz", state.zone]];

export const usage = (state) => [
  ...scope(state),
  ["interval", state.interval],
  ["fill", "zero"],
  ["metrics", METRICS],
  ...BARS.map((dimension) => ["group_by", dimension]),
  ["group_by", "weekday,hour_of_day"],
  ["group_by", "usage"],
  ["limit", "10"],
  ["sort", "tokens"],
  ...(state.compare ? [["compare", "previous"]] : []),
];

/** The table, where it is of something else than the bars. */
export const table = (state, parameters) => [...scope(state), ["interval", "none"], ["metrics", METRICS], ...parameters];

/** A page of the requests; without a cursor the newest. */
export const requests = (state, cursor = "", kind = []) => [...scope(state), ["limit", String(PAGE)], ...(cursor ? [["cursor", cursor]] : []), ...kind];
