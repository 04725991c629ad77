// Asks the routes beside this page, whatever prefix they lie at, with a key that lives as long as the tab.

// The modules lie in metrics/ui/VERSION/.
const BASE = new URL("../../../", import.meta.url);
const STORE = "llm-usage-key";

export const key = {
  read: () => sessionStorage.getItem(STORE),
  keep: (key) => sessionStorage.setItem(STORE, key),
  forget: () => sessionStorage.clear(),
};

/** An answer that is none. `code` is the server's word for it; without a `status` there was no answer at all. */
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body?.error ?? (status ? `status ${status}` : "no answer"));
    this.status = status;
    this.code = body?.code;
    this.param = body?.param;
    this.retryAfter = retryAfter;
  }
}

async function send(path, parameters, options) {
  const url = new URL(path, BASE);
  for (const [name, value] of parameters) url.searchParams.append(name, value);
  const headers = { "x-management-key": key.read() ?? "", ...options.headers };
  let response;
  try {
    response = await fetch(url, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => undefined);
    throw new Refused(response.status, body, Number(response.headers.get("retry-after")) || undefined);
  }
  return response;
}

export async function ask(path, parameters = [], signal) {
  const response = await send(path, parameters, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
}

export async function tell(path, body) {
  const headers = { "content-type": "application/json" };
  return (await send(path, [], { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/** Saves an answer as a file. */
export async function save(path, parameters, filename) {
  const blob = await (await send(path, parameters, {})).blob();
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = filename;
  link.click();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
