// What is looked at: the range, and which models, providers, keys and outcomes.

import { ask } from "./api.js";
import { $, clean, el, fill, name, wording } from "./dom.js";
import { count, exact, field, instant, time } from "./format.js";
import { DIMENSIONS, INTERVALS, RANGES } from "./state.js";

let onchange;
let state;
/** The range of the last answer, which a custom one starts from. */
let seen;

/** `change(what)` is called with what is to be different. */
export function setUpFilters(change) {
  onchange = change;
  const radio = (value, title) =>
    el("label", {}, el("input", { type: "radio", name: "range", value }), el("span", {}, title));
  $("ranges").append(...Object.entries(RANGES).map(([value, title]) => radio(value, title)), radio("custom", "Custom"));
  $("ranges").addEventListener("change", ({ target }) => {
    if (target.value !== "custom") return onchange({ range: target.value, from: undefined, to: undefined });
    $("custom").hidden = false;
    proposeCustom();
    $("from").focus();
  });
  $("custom").addEventListener("submit", (event) => {
    event.preventDefault();
    const [from, to] = [instant($("from").value, state.zone), instant($("to").value, state.zone)];
    // The last minute counts as a whole.
    const end = to === undefined ? undefined : to + 59_999;
    const valid = from !== undefined && end !== undefined && from <= end;
    $("to").setCustomValidity(valid ? "" : "The end is before the beginning.");
    if ($("custom").reportValidity()) onchange({ range: "custom", from, to: end });
  });
  $("to").addEventListener("input", () => $("to").setCustomValidity(""));
  $("from").addEventListener("input", () => $("to").setCustomValidity(""));

  $("interval").append(...Object.entries(INTERVALS).map(([value, title]) => el("option", { value }, title)));
  $("interval").addEventListener("change", () => onchange({ interval: $("interval").value }));
  $("compare").addEventListener("change", () => onchange({ compare: $("compare").checked }));
  for (const dimension of Object.keys(DIMENSIONS)) setUpChoice(dimension);
}

export function showFilters(now) {
  state = now;
  $("ranges").querySelector(`[value="${state.range}"]`).checked = true;
  $("custom").hidden = state.range !== "custom";
  proposeCustom();
  $("interval").value = state.interval;
  $("compare").checked = state.compare;
  for (const [dimension, title] of Object.entries(DIMENSIONS)) {
    const chosen = state.filters[dimension].length;
    const button = $(`choose-${dimension}`);
    button.classList.toggle("active", chosen > 0);
    fill(button, title, chosen > 0 ? el("span", { class: "badge" }, String(chosen)) : null);
  }
  showChips();
}

export function showRange({ from, to }, zone) {
  seen = { from: Date.parse(from), to: Date.parse(to) };
  $("span").textContent = `${time.minute(seen.from, zone)} – ${time.minute(seen.to, zone)}`;
}

function proposeCustom() {
  const { from, to } = state.range === "custom" ? state : (seen ?? {});
  if (from === undefined) return;
  $("from").value = field(from, state.zone);
  $("to").value = field(to, state.zone);
}

function showChips() {
  const chip = (text, label, onclick) =>
    el("li", {}, el("button", { type: "button", class: "chip", "data-keep": label, onclick }, el("span", { class: "hidden" }, "Remove "), ...text, el("span", { "aria-hidden": "true" }, " ×")));
  const chips = Object.entries(state.filters).flatMap(([dimension, values]) =>
    values.map((value) => {
      const title = DIMENSIONS[dimension];
      const without = () => choose(dimension, values.filter((other) => other !== value));
      return chip([`${title}: `, name(dimension, value)], `${title} ${wording(dimension, value, 300)}`, without);
    }),
  );
  if (state.range === "custom") {
    const words = `${time.minute(state.from, state.zone)} – ${time.minute(state.to, state.zone)}`;
    chips.unshift(chip([words], "this range", () => onchange({ range: "24h", from: undefined, to: undefined })));
  }
  if (chips.length > 1) chips.push(el("li", {}, el("button", { type: "button", class: "plain", onclick: clearFilters }, "Clear all")));
  $("chips").hidden = chips.length === 0;
  fill($("chips"), ...chips);
}

export function clearFilters() {
  const filters = Object.fromEntries(Object.keys(DIMENSIONS).map((dimension) => [dimension, []]));
  onchange({ filters, ...(state.range === "custom" ? { range: "24h", from: undefined, to: undefined } : {}) });
}

/** Looks at these values of a dimension alone, or at all if there are none. */
export function choose(dimension, values) {
  onchange({ filters: { ...state.filters, [dimension]: values } });
}

/** A list to choose several from, with how often each was used, and a field to search it. */
function setUpChoice(dimension) {
  const button = $(`choose-${dimension}`);
  const panel = $(`choice-${dimension}`);
  const title = DIMENSIONS[dimension];
  const search = el("input", { type: "search", placeholder: `Find a ${title.toLowerCase()}`, "aria-label": `Find a ${title.toLowerCase()}`, autocomplete: "off", spellcheck: "false", maxlength: "200" });
  const list = el("fieldset", { "aria-busy": "true" });
  const clear = el("button", { type: "button", class: "plain", onclick: () => choose(dimension, []) }, "Clear");
  panel.append(...(dimension === "status" ? [] : [search]), list, clear);

  let asking;
  const load = async () => {
    asking?.abort();
    const { signal } = (asking = new AbortController());
    list.setAttribute("aria-busy", "true");
    try {
      const query = search.value.trim();
      const answer = await ask("dimensions", [["dimension", dimension], ["from", new Date(seen.from).toISOString()], ["to", new Date(seen.to).toISOString()], ["limit", "50"], ...(query ? [["q", query]] : [])], signal);
      showChoices(answer);
    } catch (error) {
      if (!signal.aborted) fill(list, el("p", { class: "quiet" }, `The list cannot be had: ${clean(error.message)}.`));
    } finally {
      if (!signal.aborted) list.setAttribute("aria-busy", "false");
    }
  };
  const showChoices = ({ values, more }) => {
    const chosen = state.filters[dimension];
    // What is chosen can be taken back, also where it does not occur.
    const missing = search.value.trim() ? [] : chosen.filter((value) => !values.some((known) => (known.value ?? "") === value));
    const rows = [...missing.map((value) => ({ value, requests: 0 })), ...values].map(({ value, requests }) => {
      const own = value ?? "";
      const box = el("input", { type: "checkbox" });
      box.checked = chosen.includes(own);
      box.addEventListener("change", () => {
        const others = state.filters[dimension].filter((other) => other !== own);
        choose(dimension, box.checked ? [...others, own] : others);
      });
      return el("label", {}, box, name(dimension, value), el("span", { class: "uses", title: `${exact(requests)} requests` }, count(requests)));
    });
    const rest = more > 0 ? el("p", { class: "quiet" }, `${exact(more)} more: search to find them.`) : null;
    fill(list, el("legend", { class: "hidden" }, title), ...(rows.length > 0 ? rows : [el("p", { class: "quiet" }, "Nothing found.")]), rest);
  };

  let pause;
  search.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(load, 150);
  });
  panel.addEventListener("toggle", ({ newState }) => {
    button.setAttribute("aria-expanded", String(newState === "open"));
    if (newState !== "open") return;
    place(panel, button);
    search.value = "";
    load();
    (dimension === "status" ? list : search).focus();
  });
}

/** Puts what opens below what opens it, within the window. */
export function place(panel, button) {
  const { left, bottom } = button.getBoundingClientRect();
  const room = document.documentElement.clientWidth - panel.offsetWidth - 8;
  panel.style.left = `${Math.max(8, Math.min(left, room))}px`;
  panel.style.top = `${bottom + 4}px`;
  panel.style.maxHeight = `${Math.max(200, window.innerHeight - bottom - 16)}px`;
}
