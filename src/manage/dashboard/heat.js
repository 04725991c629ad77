// When it is used: weekdays by hours of the day, in the chosen zone.

import { $, el, fill } from "./dom.js";
import { count, exact } from "./format.js";

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const LEVELS = 5;

export function setUpHeat() {
  const button = $("heat-numbers");
  button.addEventListener("click", () => {
    const pressed = $("heat").classList.toggle("numbers");
    button.setAttribute("aria-pressed", String(pressed));
  });
}

export function showHeat(group, measure) {
  const cells = new Map(group.rows.map((counts) => [`${counts.weekday} ${counts.hour_of_day}`, counts[measure]]));
  const most = Math.max(0, ...cells.values());
  const hours = Array.from({ length: 24 }, (_, hour) => hour);
  const two = (hour) => String(hour).padStart(2, "0");
  const rows = DAYS.map((day, i) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", "aria-label": day }, day.slice(0, 3)),
      ...hours.map((hour) => {
        const value = cells.get(`${i + 1} ${hour}`) ?? 0;
        // The square root keeps quiet hours apart from empty ones.
        const level = value > 0 ? Math.max(1, Math.ceil(Math.sqrt(value / most) * LEVELS)) : 0;
        return el("td", { class: `heat-${level}`, title: `${day}, ${two(hour)}–${two(hour + 1)}: ${exact(value)} ${measure}` }, el("span", {}, count(value)));
      }),
    ),
  );
  fill($("heat").querySelector("tbody"), ...rows);
  $("heat-most").textContent = `${count(most)} ${measure}`;
}
