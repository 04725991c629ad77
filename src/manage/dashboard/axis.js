// Where a time axis has its marks: at whole hours, days, weeks of the chosen zone, as many as there is room for.

import { time, wall } from "./format.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const STEPS = [HOUR / 4, HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY];

export const LENGTHS = { "15m": HOUR / 4, hour: HOUR, day: DAY, week: 7 * DAY, month: 31 * DAY };

/** Marks among the starts of buckets, at most so many. The server has cut the buckets in the zone already. */
export function marks(starts, interval, zone, most) {
  const every = (n) => starts.filter((_, i) => i % n === 0);
  if (interval === "week" || interval === "month") return every(Math.ceil(starts.length / most));
  const walls = starts.map((start) => wall(start, zone));
  for (const step of STEPS) {
    // 5 January 1970 was a Monday.
    const found = starts.filter((_, i) => (walls[i] - 4 * DAY) % step === 0);
    if (found.length > 0 && found.length <= most) return found;
    if (found.length === 0) break;
  }
  return every(Math.ceil(starts.length / most));
}

/** The word at a mark: the time of day, and at midnight the day. */
export function label(at, interval, zone) {
  if (interval === "month") return time.month(at, zone);
  return wall(at, zone) % DAY === 0 || interval === "week" ? time.day(at, zone) : time.clock(at, zone);
}

/** Whether a bucket is cut by an end of the range, or not over yet. */
export function isPartial(start, interval, { from, to }) {
  return start < from || start + LENGTHS[interval] - (interval === "day" ? HOUR : 0) > to + 1;
}
