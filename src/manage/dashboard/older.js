// Answers of a server that knows no groups and no single requests yet, in the form that the page expects.

import { ask } from "./api.js";
import { $ } from "./dom.js";

const HOUR = 3_600_000;
const LENGTHS = { "1h": HOUR, "6h": 6 * HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR };

export async function everything(state, signal) {
  for (const id of ["by-key", "by-provider", "heat-panel", "breakdown", "recent"]) $(id).hidden = true;
  for (const id of ["choose-model", "choose-provider", "choose-key", "choose-status"]) $(id).hidden = true;
  $("interval").parentNode.hidden = $("compare").parentNode.hidden = true;
  const to = state.range === "custom" ? state.to : Date.now();
  const from = state.range === "custom" ? state.from : to - LENGTHS[state.range];
  const range = [["from", new Date(from).toISOString()], ["to", new Date(to).toISOString()]];
  const [metrics, status] = await Promise.all([ask("metrics", range, signal), ask("health", [], signal)]);
  const nothing = Object.fromEntries(Object.keys(metrics.totals).map((name) => [name, 0]));
  const known = new Map(metrics.timeseries.map((bucket) => [Date.parse(bucket.bucket_start), bucket]));
  metrics.timeseries = [];
  for (let at = Math.floor(from / HOUR) * HOUR; at <= to; at += HOUR) {
    metrics.timeseries.push(known.get(at) ?? { ...nothing, bucket_start: new Date(at).toISOString() });
  }
  metrics.meta = { from: metrics.from, to: metrics.to, interval: "hour" };
  metrics.groups = [{ by: ["model"], rows: metrics.by_model.slice(0, 50), other: null }];
  return [metrics, status, { events: [], next: null }];
}
