// How the page reaches its sidecar: addresses, the token, and errors as they come.

const ROOT = new URL("..", import.meta.url);
const KEY = "asrproxy.token";
let memory = "";

/** An answer that is an error. code: the contract's word or one of the page's own. error: the contract's object, where there was one. */
export class Problem extends Error {
  constructor(code, { error = {}, status = 0, retryAfter = null } = {}) {
    super(error.message ?? code);
    this.code = code;
    this.error = error;
    this.status = status;
    this.retryAfter = error.retry_after ?? retryAfter;
    this.at = Date.now();
  }
}

/** Where the sidecar serves `path` (`v1/status`). */
export function address(path, parameters = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(parameters)) if (value) url.searchParams.set(name, value);
  return url;
}

/** The token, in this tab only; "": none. */
export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return memory;
  }
}

/** Keeps a token until the tab is closed; "" forgets it. */
export function useToken(value) {
  memory = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is off: it is in memory.
  }
}

/** The header that carries the token, where there is one: its UTF-8 bytes, a character for each, as a header may hold them. */
export function authorization() {
  return token() ? { Authorization: `Bearer ${inBytes(token())}` } : {};
}

/** What a WebSocket says in place of that header, which a browser cannot set. Never in an address: those are logged. */
export function subprotocols() {
  if (!token()) return ["asrproxy.v1"];
  const text = btoa(inBytes(token())).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ["asrproxy.v1", `asrproxy.bearer.${text}`];
}

function inBytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

/** A JSON answer. Throws Problem. */
export async function get(path, { timeout = 10_000 } = {}) {
  let answer;
  let text;
  try {
    answer = await fetch(address(path), { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(timeout) });
    text = await answer.text();
    if (answer.ok) return JSON.parse(text);
  } catch {
    throw new Problem("unreachable_error"); // nobody answers, or somebody in the sidecar's place
  }
  throw problemOf(answer.status, text, answer.headers.get("Retry-After"));
}

/** The error in an answer that is not 200. */
export function problemOf(status, text, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // Something between us and the sidecar answered in its place.
  }
  return new Problem(error.code ?? (status === 401 ? "unauthorized" : "unreachable_error"), {
    error,
    status,
    retryAfter: Number(retryAfter) || null,
  });
}
