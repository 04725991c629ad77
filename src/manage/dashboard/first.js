// Runs as soon as it is there, when most of the page is not: the answers are on their way while the rest is loaded.

import { ask, key } from "./api.js";
import { requests, usage } from "./question.js";
import { address, read } from "./state.js";

const asked = new Map();

const id = (path, parameters) => JSON.stringify([path, parameters]);

/** Takes a key that is in the address out of it, and of the history with it. */
export function takeKey(state) {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) key.keep(given);
  history.replaceState(null, "", address(state));
}

/** The answer to what was asked for here. Another question is asked now. */
export function answer(path, parameters, signal) {
  const early = asked.get(id(path, parameters));
  if (!early) return ask(path, parameters, signal);
  signal.addEventListener("abort", () => early.asking.abort());
  return early.answer;
}

function askAhead(path, parameters = []) {
  const asking = new AbortController();
  const answer = ask(path, parameters, asking.signal);
  // Whoever waits for it is told.
  answer.catch(() => {});
  asked.set(id(path, parameters), { asking, answer });
}

const state = read();
takeKey(state);
if (key.read()) {
  askAhead("metrics", usage(state));
  askAhead("status");
  askAhead("events", requests(state));
}
