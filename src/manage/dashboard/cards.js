// The numbers at the top, each with its change and a small line.

import { $, el, fill, svg } from "./dom.js";
import { NOTHING, count, duration, exact, number, percent } from "./format.js";
import { CARDS, REASONS } from "./measures.js";

export function showCards({ totals, timeseries, previous, groups }) {
  fill($("cards"), ...CARDS.map((card) => showCard(card, totals, previous?.totals, timeseries)));
  showUnknown(totals, groups?.find(({ by }) => by.join() === "usage")?.rows ?? []);
}

function showCard({ title, hint, value, format, share, better }, totals, before, timeseries) {
  const now = value(totals);
  const figure = number("dd", now, format, { class: "figure" });
  // Of a ratio or a duration the short form is all there is to say.
  if (format !== count) figure.removeAttribute("title");
  return el(
    "div",
    { class: "card" },
    el("dt", { title: hint }, title),
    figure,
    before ? el("dd", { class: "change" }, ...change(now, value(before), format, share, better)) : null,
    el("dd", { class: "line", "aria-hidden": "true" }, spark(timeseries.map(value))),
  );
}

/** An arrow, a number, and for those who do not see the arrow a word. */
function change(now, before, format, share, better) {
  if (now == null || before == null) return [el("span", { class: "quiet" }, now == null ? NOTHING : "nothing before")];
  const difference = now - before;
  const relative = share ? difference : difference / before;
  if (Math.abs(relative) < 0.0005 || difference === 0) return [el("span", { class: "quiet" }, "unchanged")];
  const direction = difference > 0 ? "up" : "down";
  const judged = better ? (direction === better ? "good" : "bad") : "quiet";
  let size = percent(Math.abs(relative));
  if (share) size = `${(Math.abs(difference) * 100).toFixed(1)} pp`;
  else if (before === 0) size = "from 0";
  else if (relative > 9.99) size = `×${(now / before).toFixed(now / before < 100 ? 1 : 0)}`;
  const was = format === duration ? duration(before) : format === count ? exact(before) : format(before);
  return [
    el(
      "span",
      { class: judged, title: `Previous period: ${was}` },
      el("span", { "aria-hidden": "true" }, direction === "up" ? "▲ " : "▼ "),
      el("span", { class: "hidden" }, `${direction} by `),
      size,
    ),
  ];
}

/** A line without axes, that only says how it went. Where nothing was measured it has a gap. */
function spark(values) {
  const known = values.filter((value) => value != null);
  const drawing = svg("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", focusable: "false" });
  if (known.length < 2) return drawing;
  const [low, high] = [Math.min(0, ...known), Math.max(...known)];
  const x = (i) => ((i / (values.length - 1)) * 100).toFixed(2);
  const y = (value) => (high > low ? 23 - ((value - low) / (high - low)) * 22 : 23).toFixed(2);
  let path = "";
  values.forEach((value, i) => {
    if (value == null) return;
    // A point alone between gaps gets a dash, to be seen at all.
    const starts = i === 0 || values[i - 1] == null;
    const alone = starts && (i === values.length - 1 || values[i + 1] == null);
    path += `${starts ? "M" : "L"}${x(i)} ${y(value)}${alone ? "h0.5" : ""}`;
  });
  drawing.append(svg("path", { d: path, "vector-effect": "non-scaling-stroke" }));
  return drawing;
}

function showUnknown({ requests, unknown_usage: unknown }, rows) {
  const note = $("unknown");
  note.hidden = !unknown;
  if (!unknown) return;
  const reasons = rows
    .filter(({ usage }) => Object.hasOwn(REASONS, usage))
    .map(({ usage, requests }) => `${exact(requests)} ${REASONS[usage]}`);
  fill(
    note,
    el("strong", {}, `${exact(unknown)} of ${exact(requests)} requests have no complete token counts`),
    reasons.length > 0 ? ` (${reasons.join(", ")})` : "",
    ", so the sums are too low. Failed requests have none. A stream of an OpenAI-like provider has them when the client asks: ",
    el("code", {}, '"stream_options": {"include_usage": true}'),
    ".",
  );
}
