// The server's API: where it is, the key that opens it, and errors that say what to do.

const BASE = new URL("./", document.baseURI);
const KEY = "ixmodal.key";

/** An answer that is not a success, or no answer (status 0). */
export class ApiError extends Error {
  constructor(status, message, { code = null, param = null, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfter = retryAfter;
  }

  /** The error that a body tells: OpenAI's envelope, or whatever a proxy wrote. */
  static of(status, body, retryAfter = null) {
    const told = body?.error;
    const message = told?.message ?? `The server answered with status ${status}.`;
    return new ApiError(status, message, { code: told?.code, param: told?.param, retryAfter });
  }

  /** What the reader can do about it; empty where the message says it all. */
  get advice() {
    if (this.status === 0) return "Check that the server is running and that this device is online, then try again.";
    const known = ADVICE[this.code] ?? ADVICE[this.status];
    return known ? known(this) : "";
  }
}

const later = (error) => (error.retryAfter ? `Try again in ${error.retryAfter} seconds.` : "Try again in a moment.");
const ADVICE = {
  401: () => "Enter a valid API key in the settings.",
  403: () => "This key may not do that. Use another one, or ask whoever runs the server.",
  model_not_found: () => "Choose another model, or a key that may use this one.",
  context_length_exceeded: () =>
    "Start a new chat, shorten the message, or let the settings leave out the oldest messages.",
  server_busy: later,
  429: later,
  insufficient_memory: () => "Unload another model on the status page, or choose a smaller one.",
  insufficient_vram: () => "Unload another model on the status page, or choose a smaller one.",
  503: later,
  504: () => "Ask for a shorter answer, or try again when the server is less busy.",
  413: () => "Shorten the message or start a new chat.",
};

function read(name) {
  try {
    return window[name].getItem(KEY);
  } catch {
    return null;
  }
}

let remembered = read("sessionStorage") ?? read("localStorage") ?? "";

/** The API key: kept for this tab, or in the browser if its user says so. */
export const apiKey = {
  get value() {
    return remembered;
  },
  get isKept() {
    return Boolean(read("localStorage"));
  },
  set(value, { keep = false } = {}) {
    remembered = value.trim();
    try {
      sessionStorage.removeItem(KEY);
      localStorage.removeItem(KEY);
      if (remembered) (keep ? localStorage : sessionStorage).setItem(KEY, remembered);
    } catch {
      // storage is forbidden: the key holds until the page is left
    }
  },
};

/** Send a request; `body` goes as JSON. Returns the response of a success; throws `ApiError` or an `AbortError`. */
export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (remembered) headers.authorization = `Bearer ${remembered}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    const content = body === undefined ? undefined : JSON.stringify(body);
    response = await fetch(new URL(path, BASE), { method, headers, body: content, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
    const isKey = remembered && !/^[\x21-\x7e]+$/.test(remembered);
    if (isKey) throw new ApiError(401, "The API key holds characters that no key has.");
    throw new ApiError(0, "The server can't be reached.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw ApiError.of(response.status, told, response.headers.get("retry-after"));
}

/** The JSON of a successful answer. */
export async function getJson(path, options) {
  return (await request(path, options)).json();
}
