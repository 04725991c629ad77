// Requests, tokens and errors over time.

import { LENGTHS, isPartial, label, marks } from "./axis.js";
import { $, el, fill } from "./dom.js";
import { bucket, count, exact, number, time } from "./format.js";

const SERIES = [
  { id: "requests", title: "Requests" },
  { id: "tokens", title: "Tokens" },
  { id: "errors", title: "Errors" },
];

const COLOURS = ["requests", "tokens", "area", "failed", "line", "quiet", "text", "card"];

let chart;
let shown;
const hidden = new Set();

/** `onzoom(from, to)` is called with the range that was drawn over. */
export function setUpTimeline(onzoom) {
  for (const button of $("legend").querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const id = button.dataset.series;
      hidden.has(id) ? hidden.delete(id) : hidden.add(id);
      button.setAttribute("aria-pressed", String(!hidden.has(id)));
      draw();
    });
  }
  $("timeline-table").addEventListener("toggle", fillTable);
  setUpZoom(onzoom);
}

export function showTimeline(answer, zone) {
  const interval = answer.meta.interval;
  const range = { from: Date.parse(answer.meta.from), to: Date.parse(answer.meta.to) };
  const buckets = answer.timeseries.map((counts) => ({ ...counts, start: Date.parse(counts.bucket_start) }));
  const before = answer.previous?.timeseries ?? [];
  shown = { interval, range, zone, buckets, before };
  draw();
  fillTable();
  const { requests, tokens, errors } = answer.totals;
  $("timeline").setAttribute(
    "aria-label",
    `Line chart: ${exact(requests)} requests, ${exact(tokens)} tokens and ${exact(errors)} errors from ` +
      `${time.minute(range.from, zone)} to ${time.minute(range.to, zone)}. A table with all numbers follows.`,
  );
}

/** Draws again what is shown: after a change of the theme. */
export function draw() {
  if (!shown) return;
  const { interval, range, zone, buckets, before } = shown;
  const look = colours();
  const points = (id) => buckets.map(({ start, [id]: value }) => ({ x: start, y: value }));
  // What was before lies under what is now, bucket by bucket.
  const earlier = (id) =>
    buckets.slice(0, before.length).map(({ start }, i) => ({ x: start, y: before[i][id] }));
  const partial = buckets.map(({ start }) => isPartial(start, interval, range));
  const dashed = { borderDash: ({ p0DataIndex: a, p1DataIndex: b }) => (partial[a] && a === 0) || (partial[b] && b === buckets.length - 1) ? [4, 4] : undefined };
  const radius = buckets.length <= 2 ? 4 : 0;
  const line = (id, axis, colour, rest = {}) => ({
    id, label: SERIES.find((series) => series.id === id).title, data: points(id), yAxisID: axis, hidden: hidden.has(id),
    borderColor: colour, backgroundColor: colour, borderWidth: 2, pointRadius: radius, pointHoverRadius: 4, segment: dashed, ...rest,
  });
  const ghost = (id, axis, colour) => ({
    id: `previous-${id}`, label: `${SERIES.find((series) => series.id === id).title}, before`, data: earlier(id), yAxisID: axis,
    hidden: hidden.has(id), borderColor: colour, backgroundColor: colour, borderWidth: 1, borderDash: [1, 3], pointRadius: 0, pointHoverRadius: 0,
  });
  const datasets = [
    { ...line("errors", "requests", look.failed), type: "bar", minBarLength: 2, maxBarThickness: 10, segment: undefined,
      data: points("errors").filter(({ y }) => y > 0) },
    line("requests", "requests", look.requests),
    line("tokens", "tokens", look.tokens, { fill: "origin", backgroundColor: look.area }),
  ];
  if (before.length > 0) datasets.push(ghost("requests", "requests", look.requests), ghost("tokens", "tokens", look.tokens));

  const starts = buckets.map(({ start }) => start);
  const half = LENGTHS[interval] / 2;
  const [min, max] = starts.length > 1 ? [starts[0], starts.at(-1)] : [(starts[0] ?? 0) - half, (starts[0] ?? 0) + half];
  const grid = { color: look.line, drawTicks: false };
  const ticks = { color: look.quiet, font: { size: 12, family: look.font } };
  // Where it is narrow the legend says which line is which.
  const isWide = $("timeline").parentNode.clientWidth > 560;
  const axis = (id, position, colour) => ({
    position, beginAtZero: true, suggestedMax: 4, border: { display: false }, display: !hidden.has(id),
    grid: id === "requests" ? grid : { drawOnChartArea: hidden.has("requests"), drawTicks: false, color: look.line },
    ticks: { ...ticks, precision: 0, padding: 8, maxTicksLimit: 6, callback: (value) => count(value) },
    title: { display: isWide, text: id === "requests" ? "Requests" : "Tokens", color: colour, font: { size: 12, family: look.font, weight: 600 } },
  });
  const options = {
    animation: false, responsive: true, maintainAspectRatio: false, parsing: false, normalized: true,
    interaction: { mode: "nearest", axis: "x", intersect: false },
    layout: { padding: { right: 4, top: 4 } },
    scales: {
      x: {
        type: "linear", offset: false, min, max, grid: { ...grid, drawOnChartArea: false }, border: { color: look.line },
        afterBuildTicks: (scale) => {
          scale.ticks = marks(starts, interval, zone, Math.max(2, Math.floor(scale.chart.width / 80))).map((value) => ({ value }));
        },
        ticks: { ...ticks, padding: 8, maxRotation: 0, autoSkip: false, callback: (at) => label(at, interval, zone) },
      },
      requests: axis("requests", "left", look.requests),
      tokens: axis("tokens", "right", look.tokens),
    },
    plugins: {
      legend: { display: false },
      tooltip: {
        animation: false, backgroundColor: look.card, borderColor: look.line, borderWidth: 1, titleColor: look.text, bodyColor: look.text,
        padding: 12, cornerRadius: 6, boxPadding: 4, usePointStyle: true, titleFont: { family: look.font }, bodyFont: { family: look.font },
        callbacks: {
          title: ([item]) => item && bucket(item.parsed.x, interval, zone) + (partial[starts.indexOf(item.parsed.x)] ? " (not whole)" : ""),
          label: ({ dataset, parsed }) => `${dataset.label}: ${exact(parsed.y)}`,
        },
      },
    },
  };
  if (chart) {
    Object.assign(chart, { options });
    chart.data.datasets = datasets;
    chart.update("none");
  } else {
    chart = new Chart($("timeline"), { type: "line", data: { datasets }, options });
  }
}

/** The colours of the style sheet, as the theme has them. They are written once, and read together: between a reading and a writing the whole page would be styled. */
function colours() {
  const probe = $("probe");
  if (!probe.hasChildNodes()) {
    for (const name of COLOURS) {
      probe.append(el("span"));
      probe.lastChild.style.color = `var(--${name})`;
    }
  }
  const resolved = COLOURS.map((name, i) => [name, getComputedStyle(probe.children[i]).color]);
  return { ...Object.fromEntries(resolved), font: getComputedStyle(document.body).fontFamily };
}

/** The numbers behind the chart, made when somebody wants them. */
function fillTable() {
  const details = $("timeline-table");
  if (!shown || !details.open) return;
  const { buckets, interval, zone } = shown;
  const rows = buckets.map((counts) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", title: time.full(counts.start, zone) }, bucket(counts.start, interval, zone)),
      ...SERIES.map(({ id }) => number("td", counts[id], exact)),
    ),
  );
  fill(details.querySelector("tbody"), ...rows.reverse());
}

/** Drawing over the chart with the mouse, a pen or a finger looks closer at that part. */
function setUpZoom(onzoom) {
  const canvas = $("timeline");
  const veil = $("veil");
  let from;
  const within = (event) => {
    const { left, right } = chart.chartArea;
    return Math.min(right, Math.max(left, event.clientX - canvas.getBoundingClientRect().left));
  };
  const finish = () => {
    from = undefined;
    veil.hidden = true;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!chart || event.button !== 0) return;
    from = within(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (from === undefined) return;
    const to = within(event);
    veil.hidden = Math.abs(to - from) < 4;
    veil.style.left = `${Math.min(from, to)}px`;
    veil.style.width = `${Math.abs(to - from)}px`;
  });
  canvas.addEventListener("pointercancel", finish);
  canvas.addEventListener("pointerup", (event) => {
    if (from === undefined) return;
    const [a, b] = [from, within(event)].sort((a, b) => a - b);
    finish();
    if (b - a < 8) return;
    // Whole buckets, and no more than was looked at.
    const { buckets, interval, range } = shown;
    const at = (x) => chart.scales.x.getValueForPixel(x);
    const first = buckets.findLast(({ start }) => start <= at(a)) ?? buckets[0];
    const last = buckets.findLast(({ start }) => start <= at(b)) ?? buckets[0];
    const next = buckets[buckets.indexOf(last) + 1]?.start ?? last.start + LENGTHS[interval];
    onzoom(Math.max(first.start, range.from), Math.min(next - 1, range.to));
  });
}
