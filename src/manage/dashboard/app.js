// The page at metrics/ui: asks for the numbers, and shows them as they are. What comes from outside (names of models)
// is only ever text to this page.

const STORE = "llm-usage-key";
const REFRESH = 30_000;
// The script lies in metrics/ui/, whatever the prefix.
const METRICS = new URL("../../metrics", import.meta.url);
const HEALTH = new URL("../../health", import.meta.url);

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

let timer;
let asking;

/** A failure that the page can say something about. */
class Refused extends Error {
  constructor(status, body) {
    super(body?.error ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.code;
  }
}

async function ask(url, key, signal) {
  const response = await fetch(url, { headers: { "x-management-key": key }, signal, cache: "no-store" });
  const body = await response.json().catch(() => undefined);
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

function element(name, text, className) {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

/** A number, short where it is long, and exact on hover. */
function count(name, value) {
  const node = element(name, value < 100_000 ? number.format(value) : short.format(value));
  node.title = number.format(value);
  return node;
}

function fillTable(table, first, rows, empty) {
  const columns = [
    ["Requests", "requests"],
    ["Errors", "errors"],
    ["Input", "prompt_tokens"],
    ["Output", "completion_tokens"],
    ["Tokens", "tokens"],
  ];
  const head = document.createElement("thead");
  const titles = head.insertRow();
  for (const title of [first, ...columns.map(([title]) => title)]) {
    const cell = element("th", title);
    cell.scope = "col";
    titles.append(cell);
  }
  const body = document.createElement("tbody");
  for (const { name, counts } of rows) {
    const row = body.insertRow();
    const cell = element("th", name);
    cell.scope = "row";
    cell.title = name;
    row.append(cell, ...columns.map(([, field]) => count("td", counts[field])));
  }
  if (rows.length === 0) {
    const cell = element("td", empty, "empty");
    cell.colSpan = columns.length + 1;
    body.insertRow().append(cell);
  }
  table.replaceChildren(head, body);
}

function show(metrics, health) {
  const { totals, by_model, timeseries } = metrics;
  const cards = [
    ["Requests", totals.requests],
    ["Tokens", totals.tokens],
    ["Input tokens", totals.prompt_tokens],
    ["Output tokens", totals.completion_tokens],
    ["Errors", totals.errors],
    ["Without counts", totals.unknown_usage],
  ];
  $("totals").replaceChildren(
    ...cards.map(([title, value]) => {
      const card = document.createElement("div");
      card.append(element("dt", title), count("dd", value));
      return card;
    }),
  );
  const empty = "Nothing was recorded in this range.";
  fillTable($("models"), "Model", by_model.map((row) => ({ name: row.model, counts: row })), empty);
  const hours = timeseries.map((row) => ({ name: time.format(new Date(row.bucket_start)), counts: row }));
  fillTable($("hours"), "Hour", hours.reverse(), empty);

  const state = [health.recording ? "Recording" : "Recording is off", `updated ${time.format(new Date())}`];
  if (health.dropped > 0) state.push(`${number.format(health.dropped)} events lost`);
  $("state").textContent = state.join(" · ");
  notice(health.status === "degraded" ? `Events cannot be written at the moment: ${health.reason}` : "");
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
}

function askForKey(text) {
  sessionStorage.removeItem(STORE);
  clearTimeout(timer);
  asking?.abort();
  $("usage").hidden = true;
  $("leave").hidden = true;
  $("login").hidden = false;
  $("state").textContent = "";
  notice(text);
  $("key").focus();
}

async function refresh() {
  const key = sessionStorage.getItem(STORE);
  if (!key) return askForKey("");
  clearTimeout(timer);
  asking?.abort();
  const { signal } = (asking = new AbortController());
  const hours = document.querySelector("[name=range]:checked").value;
  const metrics = new URL(METRICS);
  metrics.searchParams.set("from", new Date(Date.now() - hours * 3_600_000).toISOString());
  $("usage").setAttribute("aria-busy", "true");
  let next = REFRESH;
  try {
    const [answer, health] = await Promise.all([ask(metrics, key, signal), ask(HEALTH, key, signal)]);
    $("login").hidden = true;
    $("usage").hidden = false;
    $("leave").hidden = false;
    show(answer, health);
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) return askForKey("That is not the management key.");
    if (error.code === "ip_banned") {
      // Asking on would be no use; a person can reload.
      next = undefined;
    }
    notice(
      error instanceof Refused
        ? `The server says: ${error.message}.`
        : "The server does not answer. The numbers below are from before; this page goes on trying.",
    );
    if ($("usage").hidden) $("login").hidden = false;
  } finally {
    if (!signal.aborted) $("usage").setAttribute("aria-busy", "false");
  }
  if (next && !document.hidden) timer = setTimeout(refresh, next);
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(STORE, $("key").value);
  $("key").value = "";
  refresh();
});
$("leave").addEventListener("click", () => askForKey(""));
$("range").addEventListener("change", refresh);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));

// A key in the address is taken out of it at once, and of the history with it.
const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {
  sessionStorage.setItem(STORE, given);
  history.replaceState(null, "", location.pathname + location.search);
}
refresh();
