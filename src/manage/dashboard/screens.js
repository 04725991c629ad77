// What to say when there are no numbers to show, or not the ones that were asked for.

import { $, clean, el, fill } from "./dom.js";
import { span } from "./format.js";

const yaml = (...lines) => el("pre", {}, el("code", {}, lines.join("\n")));

/** Refusals that hold until somebody changes the server's settings, by the server's word for them. */
const REFUSALS = {
  not_found: [
    "Management is off",
    () => ["The server answers no questions about usage: it has no management key. Set one in its configuration, and start it again.", yaml("remote-management:", '  secret-key: "…"')],
  ],
  management_key_not_set: [
    "No management key is set",
    () => ["Management is on, but nobody can have the right key. Set one in the server's configuration, and start it again.", yaml("remote-management:", '  secret-key: "…"')],
  ],
  remote_management_disabled: [
    "Only this machine may ask",
    () => ["You look from another machine, and remote management is off. Open this page on the server itself, through a tunnel, or allow it:", yaml("remote-management:", "  allow-remote: true")],
  ],
  host_not_local: [
    "This name is not allowed",
    () => [`While remote management is off, the page answers at localhost and 127.0.0.1 only, not at ${clean(location.host)}. Use one of these, or allow it:`, yaml("remote-management:", "  allow-remote: true")],
  ],
};

/**
 * What a failure means for the page: `login` asks for the key, `banned` waits for the end of a ban, `screen` says what is
 * to be changed first, `question` is one that the server does not understand, `away` is tried again.
 */
export function meaning(error) {
  if (error.status === 401) return "login";
  if (error.code === "ip_banned") return "banned";
  if (error.status === 404 && error.code !== "not_found") return "away";
  if (Object.hasOwn(REFUSALS, error.code)) return "screen";
  if (error.status === 400) return "question";
  return "away";
}

function show(title, children, actions = []) {
  const heading = el("h2", { tabindex: "-1" }, title);
  fill($("screen"), heading, ...children.map((child) => (typeof child === "string" ? el("p", {}, child) : child)), el("div", { class: "row" }, ...actions));
  $("screen").hidden = false;
  return heading;
}

const action = (text, onclick) => el("button", { type: "button", class: "main", onclick }, text);

export function hideScreen() {
  $("screen").hidden = true;
}

export function showRefusal(error, again) {
  const [title, children] = REFUSALS[error.code];
  show(title, children(), [action("Try again", again)]).focus();
}

export function showBan(until, again) {
  show("Too many wrong keys", [
    "This address is banned for a while. Nothing is asked until then.",
    el("p", {}, "Try again in ", el("strong", { id: "ban" }, span((until - Date.now()) / 1000)), "."),
  ]).focus();
  const tick = setInterval(() => {
    const left = (until - Date.now()) / 1000;
    if (!$("ban")) return clearInterval(tick);
    $("ban").textContent = span(left);
    if (left > 0) return;
    clearInterval(tick);
    again();
  }, 1000);
  return tick;
}

export function showFirstRun(recording) {
  const call = `curl ${location.origin}/v1/chat/completions \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello!"}]}'`;
  const copy = action("Copy", async () => {
    await navigator.clipboard?.writeText(call);
    copy.textContent = "Copied";
  });
  show(
    "Nothing has been recorded yet",
    [
      recording ? "Send a call to a model through the proxy, and it appears here:" : "Recording is off. Turn it on above, then send a call to a model through the proxy:",
      el("pre", { tabindex: "0" }, el("code", {}, call)),
    ],
    navigator.clipboard ? [copy] : [],
  );
}

export function showEmpty({ first, last }, isFiltered, { longer, clear }) {
  show(
    "Nothing in this range",
    [isFiltered ? "No request fits the range and the filters." : `There are requests from ${first} to ${last}, but none in this range.`],
    [...(isFiltered ? [action("Clear filters", clear)] : []), action("Show 30 days", longer)],
  );
}

export function showQuestion(error, reset) {
  show("The server does not understand the question", [`It says: ${clean(error.message, 300)}`], [action("Start over", reset)]).focus();
}

/** A line above the numbers: what is wrong, and perhaps what to do about it. */
export function banner(id, text, button) {
  const line = $(`banner-${id}`);
  line.hidden = !text;
  if (text) fill(line, el("span", {}, text), button);
}
