// The page at metrics/ui: asks for the numbers, and shows them as they are.

import { ask, key, save, tell } from "./api.js";
import { showBars, showKeyToParts } from "./bars.js";
import * as breakdown from "./breakdown.js";
import { showCards } from "./cards.js";
import { $, announce, clean, el } from "./dom.js";
import { answer, takeKey } from "./first.js";
import { choose, clearFilters, place, setUpFilters, showFilters, showRange } from "./filters.js";
import { bytes, exact, span, time } from "./format.js";
import { setUpHeat, showHeat } from "./heat.js";
import * as question from "./question.js";
import * as recent from "./recent.js";
import { banner, hideScreen, meaning, showBan, showEmpty, showFirstRun, showQuestion, showRefusal } from "./screens.js";
import { BROWSER_ZONE, address, conditions, filters, range, read, write } from "./state.js";
import { draw, setUpTimeline, showTimeline } from "./timeline.js";

const SLOWEST = 300_000;

let state = read();
let asking;
let timer;
let shown;
/** When the numbers came, and when they are asked for again. */
let updated;
let due;
let failures = 0;
let ban;

/** Chart.js is run behind this module, while the first answer is under way. */
const drawable = new Promise((resolve) => addEventListener("DOMContentLoaded", resolve, { once: true }));

const every = () => Number($("every").value) * 1000;

/** Asks for all that is shown, and shows it. `why` is `poll`, or what a person did. */
async function load(why = "change") {
  clearTimeout(timer);
  clearInterval(ban);
  due = undefined;
  asking?.abort();
  if (!key.read()) return logIn();
  const { signal } = (asking = new AbortController());
  // The numbers from before stay, and are dimmed when somebody waits for others.
  $("content").setAttribute("aria-busy", String(why !== "poll"));
  const get = why === "start" ? answer : ask;
  const extra = breakdown.isUsual() ? undefined : ask("metrics", question.table(state, breakdown.parameters()), signal);
  let answers;
  try {
    answers = await Promise.all([
      get("metrics", question.usage(state), signal),
      get("status", [], signal),
      get("events", recent.question(state), signal),
      extra,
    ]);
  } catch (error) {
    return signal.aborted ? undefined : fail(error);
  } finally {
    if (!signal.aborted) $("content").setAttribute("aria-busy", "false");
  }
  if (signal.aborted) return;
  failures = 0;
  show(...answers, why, signal);
}

/** When what was shown so far can be seen. Nobody looks at a hidden page, and it has no frames. */
const frame = () => (document.hidden ? undefined : new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0))));

function plan(wait) {
  clearTimeout(timer);
  due = wait > 0 ? Date.now() + wait : undefined;
  if (wait > 0 && !document.hidden) timer = setTimeout(() => load("poll"), wait);
}

async function show(metrics, status, events, table, why, signal) {
  shown = { metrics, table };
  updated = Date.now();
  $("signed-in").hidden = false;
  $("frame").hidden = false;
  showStatus(status);
  showRange(metrics.meta, state.zone);
  const { totals } = metrics;
  const isFiltered = filters(state).length > 0;
  $("content").hidden = totals.requests === 0;
  if (totals.requests > 0) {
    hideScreen();
    showCards(metrics);
    // The sums are there at once, the rest a moment later; of new numbers all come together.
    await Promise.all([why === "start" ? frame() : undefined, drawable]);
    if (signal.aborted) return;
    showUse();
    showTable();
    recent.showRecent(events, state.zone);
    // Last, for it asks how much room there is: the page is laid out once.
    showTimeline(metrics, state.zone);
  } else if (status.index.events === 0) showFirstRun(status.recording);
  else {
    const at = (moment) => (moment ? time.minute(Date.parse(moment), state.zone) : "earlier");
    const longer = () => change({ range: "30d", from: undefined, to: undefined });
    showEmpty({ first: at(status.index.first), last: at(status.index.last) }, isFiltered, { longer, clear: clearFilters });
  }
  if (why !== "poll") announce(`${exact(totals.requests)} requests, ${exact(totals.tokens)} tokens, ${exact(totals.errors)} errors.`);
  banner("away", "");
  plan(every());
  tick();
  offerZones();
}

const group = (answer, by) => answer.groups.find((group) => group.by.join() === by) ?? { rows: [], other: null };

/** What depends on whether tokens or requests are looked at. */
function showUse() {
  const { metrics } = shown;
  for (const dimension of question.BARS) showBars(dimension, group(metrics, dimension), metrics.totals, state.measure, (dimension, value) => choose(dimension, [value ?? ""]));
  showHeat(group(metrics, "weekday,hour_of_day"), state.measure);
  showKeyToParts(state.measure);
  document.querySelector(`[name=measure][value=${state.measure}]`).checked = true;
}

function showTable() {
  const { metrics, table } = shown;
  breakdown.showBreakdown(group(table ?? metrics, breakdown.view.dimension), metrics.totals);
}

function showStatus(status) {
  $("recording").dataset.on = String(status.recording);
  $("recording").textContent = status.recording ? "Recording" : "Recording off";
  const turnOn = el("button", { type: "button", onclick: () => record(true) }, "Turn recording on");
  banner("recording", status.recording ? "" : "Recording is off: calls pass unseen, and the numbers below do not grow.", turnOn);
  const troubles = [];
  if (status.reason) troubles.push(`Events cannot be written at the moment: ${clean(status.reason, 200)}.`);
  if (status.dropped > 0) troubles.push(`${exact(status.dropped)} events were lost.`);
  banner("trouble", troubles.join(" "));
  const { index, bad_lines: bad } = status;
  $("since").textContent = index.first ? `Data since ${time.minute(Date.parse(index.first), state.zone)}` : "No data yet";
  const unread = bad > 0 ? `, ${exact(bad)} lines that cannot be read` : "";
  $("size").textContent = `${exact(index.events)} events, ${bytes(status.file_bytes + status.segment_bytes)} on disk, ${bytes(index.bytes)} in memory${unread}`;
  $("version").textContent = `tower-llm-usage ${clean(status.version ?? "", 20)}`;
}

async function record(enabled) {
  try {
    await tell("recording", { enabled });
  } catch (error) {
    if (meaning(error) !== "away") return fail(error);
  }
  load();
}

function fail(error) {
  switch (meaning(error)) {
    case "login":
      key.forget();
      return logIn(error.code === "missing_management_key" ? "" : "That is not the management key.");
    case "banned": {
      leave();
      const until = Date.now() + (error.retryAfter ?? 60) * 1000;
      ban = showBan(until, () => load());
      return;
    }
    case "screen":
      $("content").hidden = true;
      plan(0);
      return showRefusal(error, () => load());
    case "question":
      $("content").hidden = true;
      plan(0);
      return showQuestion(error, () => change(read("")));
    default: {
      failures += 1;
      const wait = Math.min(SLOWEST, (error.retryAfter ?? 0) * 1000 || 1000 * 2 ** Math.min(failures, 9));
      plan(wait);
      $("signed-in").hidden = false;
      tick(error);
    }
  }
}

let trouble;

/** Once a second: how old the numbers are, and when they are asked for again. */
function tick(error = trouble) {
  trouble = failures > 0 ? error : undefined;
  $("updated").textContent = updated ? `Updated ${span((Date.now() - updated) / 1000)} ago` : "";
  if (failures === 0) return;
  const what = trouble?.status ? `The server answers with an error (${clean(trouble.message, 120)}).` : "The server does not answer.";
  const old = updated ? " The numbers below are from before." : "";
  const next = due ? ` Next try in ${span(Math.max(0, due - Date.now()) / 1000)}.` : "";
  const again = el("button", { type: "button", "data-keep": "again", onclick: () => load() }, "Try now");
  banner("away", `${what}${old}${next}`, again);
}

/** Changes what is looked at, and the address with it. */
function change(what) {
  const before = write(state);
  state = { ...state, ...what };
  if (write(state) !== before) {
    history.pushState(null, "", address(state));
    recent.toFirstPage();
  }
  showFilters(state);
  showZone();
  load();
}

function showZone() {
  const choice = $("zone");
  if (![...choice.options].some(({ value }) => value === state.zone)) choice.append(el("option", { value: state.zone }, state.zone));
  choice.value = state.zone;
}

/** Asks for the key; what was seen with another is gone. */
function logIn(problem = "") {
  leave();
  hideScreen();
  $("problem").textContent = problem;
  $("problem").hidden = problem === "";
  $("key").setAttribute("aria-invalid", String(problem !== ""));
  if (!$("login").open) $("login").showModal();
  $("key").focus();
}

function leave() {
  clearTimeout(timer);
  asking?.abort();
  due = updated = shown = trouble = undefined;
  failures = 0;
  $("content").hidden = $("signed-in").hidden = $("frame").hidden = true;
  for (const id of ["away", "recording", "trouble"]) banner(id, "");
  $("updated").textContent = "";
}

/** There are hundreds: they come behind the numbers. */
function offerZones() {
  if ($("zone").options.length > 2) return;
  const known = new Set([BROWSER_ZONE, "UTC", ...Intl.supportedValuesOf("timeZone"), state.zone]);
  $("zone").replaceChildren(...[...known].map((zone) => el("option", { value: zone }, zone.replaceAll("_", " "))));
  showZone();
}

function setUpHeader() {
  $("zone").addEventListener("change", () => change({ zone: $("zone").value }));

  $("theme").value = document.documentElement.dataset.theme ?? "auto";
  $("theme").addEventListener("change", () => {
    const theme = $("theme").value;
    if (theme === "auto") {
      delete document.documentElement.dataset.theme;
      sessionStorage.removeItem("llm-usage-theme");
    } else {
      document.documentElement.dataset.theme = theme;
      sessionStorage.setItem("llm-usage-theme", theme);
    }
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  $("every").value = sessionStorage.getItem("llm-usage-every") ?? "30";
  $("every").addEventListener("change", () => {
    sessionStorage.setItem("llm-usage-every", $("every").value);
    plan(every());
  });
  $("refresh").addEventListener("click", () => load());
  $("leave").addEventListener("click", () => {
    key.forget();
    delete document.documentElement.dataset.theme;
    $("theme").value = "auto";
    logIn();
  });
  $("settings").addEventListener("toggle", ({ newState }) => newState === "open" && place($("settings"), $("settings-button")));
}

function setUp() {
  setUpHeader();
  setUpFilters(change);
  setUpTimeline((from, to) => change({ range: "custom", from, to }));
  setUpHeat();
  recent.setUpRecent(() => load());
  const whole = () => [...question.scope(state), ["interval", "none"], ["metrics", "all"], ["group_by", breakdown.view.dimension], ["format", "csv"]];
  breakdown.setUpBreakdown(
    () => load(),
    () => save("metrics", whole(), `usage-by-${breakdown.view.dimension}.csv`).catch(fail),
  );
  $("recent-csv").addEventListener("click", () => save("export", [...range(state), ...conditions(state), ["format", "csv"]], "usage.csv").catch(fail));
  $("measure").addEventListener("change", ({ target }) => {
    state = { ...state, measure: target.value };
    history.replaceState(null, "", address(state));
    if (shown) showUse();
  });
  $("login-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key.keep($("key").value);
    $("key").value = "";
    $("login").close();
    load();
  });
  // There is nothing behind it to go back to.
  $("login").addEventListener("close", () => key.read() || logIn($("problem").textContent));
  addEventListener("popstate", () => {
    state = read();
    // Of a `#key=` that is followed to from the page itself.
    takeKey(state);
    recent.toFirstPage();
    showFilters(state);
    showZone();
    load();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (due) (due > Date.now() ? plan(due - Date.now()) : load("poll"));
  });
  setInterval(tick, 1000);
}

// Asked for first: what is set up until there is an answer takes nobody's time.
load("start");
setUp();
showFilters(state);
showZone();
