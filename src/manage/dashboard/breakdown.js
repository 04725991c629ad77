// The table of all measures by one dimension: sorted by the server, with a row of sums that equals the cards.

import { $, el, fill, name } from "./dom.js";
import { nothing } from "./bars.js";
import { number } from "./format.js";
import { COLUMNS } from "./measures.js";
import { BREAKDOWNS } from "./state.js";

const FEW = 10;
const MANY = 1000;

/** What the table shows, and which question that takes. */
export const view = { dimension: "model", sort: "tokens", reversed: false, all: false };

export const parameters = () => [
  ["group_by", view.dimension],
  ["sort", view.sort],
  ["limit", String(view.all ? MANY : FEW)],
];

/** Whether what the page asks anyway has it already. */
export const isUsual = () => ["model", "key", "provider"].includes(view.dimension) && view.sort === "tokens" && !view.all;

export function setUpBreakdown(onchange, onsave) {
  const choice = $("breakdown-by");
  choice.append(...Object.entries(BREAKDOWNS).map(([value, title]) => el("option", { value }, title)));
  choice.addEventListener("change", () => {
    view.dimension = choice.value;
    onchange();
  });
  $("breakdown-all").addEventListener("click", () => {
    view.all = !view.all;
    onchange();
  });
  $("breakdown-csv").addEventListener("click", onsave);
  $("breakdown").querySelector("thead tr").append(
    el("th", { scope: "col" }),
    ...COLUMNS.map(({ title, id, measured }) => {
      if (measured) return el("th", { scope: "col" }, title);
      const choose = () => {
        view.reversed = view.sort === id && !view.reversed;
        view.sort = id;
        onchange();
      };
      return el("th", { scope: "col" }, el("button", { type: "button", onclick: choose, "data-sort": id }, title));
    }),
  );
}

export function showBreakdown(group, totals) {
  const head = $("breakdown").querySelector("thead tr");
  head.firstChild.textContent = BREAKDOWNS[view.dimension];
  // Upside down only where nothing is folded away: the smallest of the largest are not the smallest.
  const upward = view.reversed && !group.other;
  for (const button of head.querySelectorAll("button")) {
    const order = button.dataset.sort === view.sort ? (upward ? "ascending" : "descending") : null;
    order ? button.parentNode.setAttribute("aria-sort", order) : button.parentNode.removeAttribute("aria-sort");
  }
  const cells = (counts) => COLUMNS.map(({ id, format }) => number("td", counts[id], format));
  const rows = group.rows.map((counts) => el("tr", {}, el("th", { scope: "row" }, name(view.dimension, counts[view.dimension])), ...cells(counts)));
  if (upward) rows.reverse();
  if (group.other) {
    rows.push(el("tr", {}, el("th", { scope: "row", class: "quiet" }, `${group.other.values} others`), ...cells(group.other)));
  }
  fill($("breakdown").querySelector("tbody"), ...(rows.length > 0 ? rows : [nothing(COLUMNS.length + 1)]));
  fill($("breakdown").querySelector("tfoot"), el("tr", {}, el("th", { scope: "row" }, "Total"), ...cells(totals)));
  const more = $("breakdown-all");
  more.hidden = !group.other && !view.all;
  more.textContent = view.all ? `Only the first ${FEW}` : "Show all";
}
