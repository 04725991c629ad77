// Making elements. Text goes in as text nodes and nothing else: names of models and keys are a stranger's words.

export const $ = (id) => document.getElementById(id);

/** An element with attributes (`on…` are listeners, `true` and `false` are presence) and children. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Fills `parent` anew, and puts the focus back on the control that had it, by its `data-keep`. */
export function fill(parent, ...children) {
  const kept = parent.contains(document.activeElement) ? document.activeElement.dataset.keep : undefined;
  parent.replaceChildren(...children.filter((child) => child != null));
  if (kept) [...parent.querySelectorAll("[data-keep]")].find((node) => node.dataset.keep === kept)?.focus();
}

/** Says something to those who listen rather than look. */
export function announce(text) {
  $("announce").textContent = text;
}

// What orders text from right to left, hides, or breaks lines, shows itself instead of working.
const ODD = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu;

/** A stranger's text, harmless to look at and no longer than `most`. */
export function clean(text, most = 80) {
  const points = [...String(text).slice(0, most * 4).replace(ODD, "\u{fffd}")];
  return points.length > most ? `${points.slice(0, most - 1).join("")}…` : points.join("");
}

/** The words for a value of a dimension, in full and at most so long. */
export function wording(dimension, value, most) {
  if (value == null || value === "") return dimension === "key" ? "no key" : "not known";
  if (value === "__other__") return "beyond the limit of names";
  if (dimension === "key") return `${clean(value, 400).slice(0, 10)}…`;
  return clean(value, most);
}

/** A value of a dimension: isolated from the text around it, in full on hover. */
export function name(dimension, value) {
  const known = value != null && value !== "" && value !== "__other__";
  const classes = ["name", dimension === "key" && known ? "hash" : "", known ? "" : "quiet"];
  const title = known ? clean(value, 300) : undefined;
  return el("bdi", { class: classes.join(" ").trim(), title }, wording(dimension, value));
}
