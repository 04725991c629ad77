// Usage by model, key and provider: stacked bars in a table, so that every name is text and every number can be read.

import { $, el, fill, name, wording } from "./dom.js";
import { count, exact, number, percent } from "./format.js";
import { PARTS } from "./measures.js";

/** `onpick(dimension, value)` is called with the row that somebody wants to see alone. */
export function showBars(dimension, group, totals, measure, onpick) {
  const rows = group.rows.map((counts) => ({ counts, value: counts[dimension], known: true }));
  if (group.other) rows.push({ counts: group.other, value: `${exact(group.other.values)} others`, known: false });
  const most = Math.max(1, ...rows.map(({ counts }) => counts[measure]));
  const body = rows.map(({ counts, value, known }) => {
    const title = known
      ? el("button", { type: "button", class: "pick", "data-keep": wording(dimension, value, 300), onclick: () => onpick(dimension, value) }, el("span", { class: "hidden" }, "Only "), name(dimension, value))
      : el("span", { class: "quiet" }, value);
    const share = totals[measure] > 0 ? percent(counts[measure] / totals[measure]) : "";
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, title),
      el("td", { class: "track" }, bar(counts, measure, most)),
      number("td", counts[measure]),
      el("td", { class: "share" }, share),
    );
  });
  fill($(`by-${dimension}`).querySelector("tbody"), ...(body.length > 0 ? body : [nothing(4)]));
}

export const nothing = (columns) =>
  el("tr", {}, el("td", { colspan: String(columns), class: "nothing" }, "Nothing was recorded here."));

function bar(counts, measure, most) {
  const parts = PARTS[measure].map(([id, title, of]) => ({ id, title, value: Math.max(0, of(counts)) })).filter(({ value }) => value > 0);
  const words = parts.map(({ title, value }) => `${title} ${count(value)}`).join(", ") || "none";
  const stack = el("div", { class: "stack", role: "img", "aria-label": words });
  stack.style.width = `${(counts[measure] / most) * 100}%`;
  for (const { id, title, value } of parts) {
    const part = el("span", { class: `part ${id}`, title: `${title}: ${exact(value)}` });
    part.style.flexGrow = String(value);
    stack.append(part);
  }
  return stack;
}

/** What the looks of the parts mean. */
export function showKeyToParts(measure) {
  const parts = PARTS[measure].filter(([id]) => id !== "rest");
  fill($("parts"), ...parts.map(([id, title]) => el("li", {}, el("span", { class: `part ${id}` }), title)));
}
