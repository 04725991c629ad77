// Numbers and times as people read them. Numbers are short, and exact on hover; times are of the chosen zone.

import { el } from "./dom.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const NOTHING = "–";

export const exact = (value) => (value == null ? NOTHING : whole.format(value));

export function count(value) {
  if (value == null) return NOTHING;
  return Math.abs(value) < 10_000 ? whole.format(value) : short.format(value);
}

export function average(value) {
  if (value == null) return NOTHING;
  return value < 100 ? fine.format(value) : count(value);
}

/** A share of one. Neither all nor nothing is said unless it is so. */
export function percent(share) {
  if (share == null) return NOTHING;
  let value = share * 100;
  if (share < 1 && value > 99.9) value = 99.9;
  if (share > 0 && value < 0.1) return "<0.1%";
  return `${fine.format(value)}%`;
}

export function duration(ms) {
  if (ms == null) return NOTHING;
  if (ms < 1000) return `${whole.format(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  return seconds < 3600
    ? `${Math.floor(seconds / 60)} min ${seconds % 60} s`
    : `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

export function bytes(value) {
  if (value == null) return NOTHING;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${fine.format(value)} ${units[unit]}`;
}

/** How long ago, or how long still. */
export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A cell or any other element with a number: short, and exact on hover where that says more. */
export function number(tag, value, format = count, attributes = {}) {
  const text = format(value);
  const all = exact(value);
  return el(tag, { ...attributes, title: value == null || all === text ? undefined : all }, text);
}

const made = new Map();

function formatter(zone, options) {
  const id = `${zone} ${JSON.stringify(options)}`;
  if (!made.has(id)) made.set(id, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options }));
  return made.get(id);
}

const DAY = { day: "numeric", month: "short" };
const CLOCK = { hour: "2-digit", minute: "2-digit" };

export const time = {
  clock: (at, zone) => formatter(zone, CLOCK).format(at),
  day: (at, zone) => formatter(zone, DAY).format(at),
  month: (at, zone) => formatter(zone, { month: "short", year: "numeric" }).format(at),
  minute: (at, zone) => formatter(zone, { ...DAY, ...CLOCK }).format(at),
  second: (at, zone) => formatter(zone, { ...DAY, ...CLOCK, second: "2-digit" }).format(at),
  full: (at, zone) =>
    formatter(zone, { weekday: "short", ...DAY, year: "numeric", ...CLOCK, second: "2-digit", timeZoneName: "short" }).format(at),
};

/** The name of a bucket: the hour it begins with, the day it is, … */
export function bucket(at, interval, zone) {
  if (interval === "month") return time.month(at, zone);
  if (interval === "day") return formatter(zone, { weekday: "short", ...DAY }).format(at);
  if (interval === "week") return `week of ${time.day(at, zone)}`;
  return time.minute(at, zone);
}

/** What a clock on the wall shows there and then, as if it were UTC. */
export function wall(at, zone) {
  const options = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" };
  const part = {};
  for (const { type, value } of formatter(zone, options).formatToParts(at)) part[type] = Number(value);
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
}

/** The moment when the clock on the wall shows `text` (`2026-03-01T10:00`). */
export function instant(text, zone) {
  const shown = Date.parse(`${text}Z`);
  if (Number.isNaN(shown)) return undefined;
  // Twice, for the offset of the guess may be that of the other side of a change of the clock.
  const guess = shown - (wall(shown, zone) - shown);
  return shown - (wall(guess, zone) - guess);
}

/** The other way: for a field that asks for a time. */
export const field = (at, zone) => new Date(wall(at, zone)).toISOString().slice(0, 16);
