// What is looked at, as the address has it: back goes back, and a link shows another person the same.

export const BROWSER_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

export const RANGES = { "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d", "30d": "30 d" };
export const INTERVALS = { auto: "Auto", "15m": "15 minutes", hour: "Hour", day: "Day", week: "Week", month: "Month" };
export const DIMENSIONS = { model: "Model", provider: "Provider", key: "Key", status: "Status" };
export const BREAKDOWNS = { model: "Model", key: "Key", provider: "Provider", operation: "Operation", endpoint: "Endpoint", status: "Status" };

/** What is not in the address. */
const PLAIN = { range: "24h", interval: "auto", zone: BROWSER_ZONE, compare: true, measure: "tokens" };

const isZone = (zone) => {
  try {
    return Boolean(new Intl.DateTimeFormat("en", { timeZone: zone }));
  } catch {
    return false;
  }
};

// Only what a key's hash can be: whoever puts the key itself there finds it gone from the address.
const isHash = (text) => /^([0-9a-f]{64}|__other__|)$/.test(text);

export function read(search = location.search) {
  const query = new URLSearchParams(search);
  const pick = (name, known, otherwise) => (Object.hasOwn(known, query.get(name) ?? "") ? query.get(name) : otherwise);
  const moment = (name) => {
    const at = Date.parse(query.get(name) ?? "");
    return Number.isNaN(at) ? undefined : at;
  };
  const state = { range: pick("range", RANGES, PLAIN.range) };
  const [from, to] = [moment("from"), moment("to")];
  if (from !== undefined && to !== undefined && from <= to) Object.assign(state, { range: "custom", from, to });
  state.interval = pick("interval", INTERVALS, PLAIN.interval);
  state.zone = query.has("tz") && isZone(query.get("tz")) ? query.get("tz") : PLAIN.zone;
  state.compare = query.get("compare") !== "none";
  state.measure = query.get("by") === "requests" ? "requests" : PLAIN.measure;
  state.filters = {};
  for (const dimension of Object.keys(DIMENSIONS)) {
    const values = [...new Set(query.getAll(dimension))].slice(0, 50);
    state.filters[dimension] = dimension === "key" ? values.filter(isHash) : values;
  }
  return state;
}

export function write(state) {
  const query = new URLSearchParams();
  if (state.range === "custom") {
    query.set("from", new Date(state.from).toISOString());
    query.set("to", new Date(state.to).toISOString());
  } else if (state.range !== PLAIN.range) query.set("range", state.range);
  if (state.interval !== PLAIN.interval) query.set("interval", state.interval);
  if (state.zone !== PLAIN.zone) query.set("tz", state.zone);
  if (!state.compare) query.set("compare", "none");
  if (state.measure !== PLAIN.measure) query.set("by", state.measure);
  for (const [dimension, value] of filters(state)) query.append(dimension, value);
  return `?${query}`;
}

/** The page as it is looked at, without a key. */
export const address = (state) => location.pathname + write(state).replace(/^\?$/, "");

/** The filters, one by one. No value is that there is none. */
export function filters(state) {
  return Object.entries(state.filters).flatMap(([dimension, values]) => values.map((value) => [dimension, value]));
}

/** The filters as parameters of a question, in which `!` and `*` mean something unless they are escaped. */
export function conditions(state) {
  const pattern = (value) => (value === "" ? "!*" : value.replace(/[\\!*]/g, "\\$&"));
  return filters(state).map(([dimension, value]) => [dimension, pattern(value)]);
}

/** The range as parameters. */
export function range(state) {
  if (state.range !== "custom") return [["range", state.range]];
  return [
    ["from", new Date(state.from).toISOString()],
    ["to", new Date(state.to).toISOString()],
  ];
}
