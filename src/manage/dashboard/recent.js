// The requests themselves, newest first, page by page.

import { $, el, fill, name, clean } from "./dom.js";
import { nothing } from "./bars.js";
import { duration, exact, number, time } from "./format.js";
import { requests } from "./question.js";

const ENDS = { complete: "", client_closed: "client left", upstream_error: "broke off", stream_error: "error in stream" };
const KINDS = {
  all: [],
  failed: [["status", "4xx"], ["status", "5xx"]],
  unknown: [["usage", "!complete"]],
};

/** The cursors of the pages before this one; the last is this page's. */
let trail = [""];
let open = new Set();

export const isFirstPage = () => trail.length === 1;

export function setUpRecent(onchange) {
  $("recent-kind").addEventListener("change", () => {
    toFirstPage();
    onchange();
  });
  $("newer").addEventListener("click", () => {
    trail.pop();
    onchange();
  });
  $("older").addEventListener("click", () => {
    trail.push($("older").dataset.cursor);
    onchange();
  });
}

export function toFirstPage() {
  trail = [""];
  open = new Set();
}

export const question = (state) => requests(state, trail.at(-1), KINDS[$("recent-kind").value]);

export function showRecent({ events, next }, zone) {
  const rows = events.flatMap((event, i) => showEvent(event, zone, `${event.timestamp} ${i}`));
  fill($("recent").querySelector("tbody"), ...(rows.length > 0 ? rows : [nothing(9)]));
  $("newer").disabled = isFirstPage();
  $("older").disabled = !next;
  $("older").dataset.cursor = next ?? "";
  $("recent-page").textContent = rows.length > 0 ? `Page ${trail.length}` : "";
}

function showEvent(event, zone, id) {
  const at = Date.parse(event.timestamp);
  const failed = event.status >= 400;
  const ending = ENDS[event.end] ?? clean(event.end ?? "", 30);
  const counts = event.usage && event.usage !== "complete";
  const details = el("tr", { class: "details", hidden: true }, el("td", { colspan: "9" }));
  const unfold = () => {
    // Made when somebody wants it.
    if (!details.firstChild.hasChildNodes()) details.firstChild.append(describe(event, zone));
    details.hidden = false;
  };
  if (open.has(id)) unfold();
  const button = el("button", { type: "button", class: "more", "aria-expanded": String(open.has(id)), "data-keep": id, "aria-label": `Details of ${time.second(at, zone)}` }, "›");
  button.addEventListener("click", () => {
    if (open.delete(id)) details.hidden = true;
    else {
      open.add(id);
      unfold();
    }
    button.setAttribute("aria-expanded", String(open.has(id)));
  });
  const tokens = (value) => (value == null ? el("td", { class: "quiet", title: "not reported" }, "?") : number("td", value));
  return [
    el(
      "tr",
      {},
      el("td", { class: "opener" }, button),
      el("th", { scope: "row", title: time.full(at, zone) }, time.second(at, zone)),
      el("td", { class: "text" }, name("model", event.model)),
      el("td", { class: "text" }, name("key", event.api_key_hash)),
      el("td", { class: "text" }, el("span", { class: failed ? "status failed" : "status" }, failed ? `✕ ${event.status}` : String(event.status)), ending ? el("span", { class: "quiet" }, ` ${ending}`) : null),
      tokens(event.prompt_tokens ?? (counts ? null : 0)),
      tokens(event.completion_tokens ?? (counts ? null : 0)),
      el("td", {}, duration(event.ttft_ms)),
      el("td", {}, duration(event.duration_ms)),
    ),
    details,
  ];
}

const WORDS = {
  provider: "Provider", operation: "Operation", endpoint: "Endpoint", api_key_hash: "Key, SHA-256", stream: "Stream", usage: "Counts", end: "End", total_tokens: "Total tokens",
  cache_read_tokens: "Cache read", cache_write_tokens: "Cache write", cache_write_1h_tokens: "Cache write, 1 h", reasoning_tokens: "Reasoning",
};

/** All that is known of it. A field that this page has no word for keeps its own. */
function describe(event, zone) {
  const beside = new Set(["timestamp", "model", "status", "prompt_tokens", "completion_tokens", "duration_ms", "ttft_ms"]);
  const facts = Object.entries(event).filter(([field, value]) => !beside.has(field) && value != null);
  const show = (field, value) => {
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value === "number") return exact(value);
    return el("bdi", {}, clean(value, 300));
  };
  return el(
    "dl",
    {},
    el("div", {}, el("dt", {}, "Time"), el("dd", {}, time.full(Date.parse(event.timestamp), zone))),
    el("div", {}, el("dt", {}, "Model"), el("dd", {}, el("bdi", {}, clean(event.model, 300)))),
    ...facts.map(([field, value]) => el("div", {}, el("dt", {}, WORDS[field] ?? clean(field, 40)), el("dd", {}, show(field, value)))),
  );
}
