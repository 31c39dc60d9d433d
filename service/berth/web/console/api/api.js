// Calls the API with the key of this tab. The key goes into a header and nowhere else.
import { OPERATIONS, pathOf } from "./operations.js";

const ROOT = location.pathname.replace(/\/console\/?$/, "");
export const BASE = `${location.origin}${ROOT}/v1`;
const HEALTH = `${ROOT}/healthz`;
const CALL_MS = 60_000;
const RETRY_MS = 1500;

export class ApiError extends Error {
  constructor(message, { status = 0, code = null, type = null, requestId = null } = {}) {
    super(message);
    Object.assign(this, { status, code, type, requestId });
  }

  get isNetwork() { return this.code === "network"; }
}

// Emits "call" after each call that a person made, "refused" on a 401, and "lost" and "found" for the network.
export class Api extends EventTarget {
  #key;
  #isLost = false;
  #offset = 0;
  cacheKey = "";

  constructor(key) {
    super();
    this.#key = key;
  }

  // The clock of the service, in seconds.
  now() { return Date.now() / 1000 + this.#offset; }

  // Makes a call. Returns its JSON, or the Response if `raw`. A `quiet` call is not shown as the last call.
  async call(operation, { raw = false, signal, headers = {}, ...call } = {}) {
    const [method] = OPERATIONS[operation];
    const started = performance.now();
    const request = {
      method, signal: signal ?? AbortSignal.timeout(CALL_MS), headers: { ...this.#headers(method), ...headers },
      cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    };
    if (call.body) {
      request.headers["content-type"] = "application/json";
      request.body = JSON.stringify(call.body);
    }
    const response = await this.#fetched(BASE + pathOf(operation, call), request);
    const headersOf = (name) => response.headers.get(name);
    if (!response.ok) throw this.#failed({ operation, ...call }, response.status, await text(response), headersOf, started);
    const answer = raw ? null : await json(response);
    this.#tell({ operation, ...call, status: response.status, ms: performance.now() - started, answer }, headersOf);
    return raw ? response : answer;
  }

  // Uploads a form with a file, and reports progress from 0 to 1: only XMLHttpRequest knows it.
  upload(operation, { params, form, file, signal, onprogress }) {
    const call = { operation, params, form, file: file.name };
    const body = new FormData();
    for (const [name, value] of Object.entries(form)) body.append(name, value);
    body.append("file", file, file.name);
    const started = performance.now();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", BASE + pathOf(operation, { params }));
      for (const [name, value] of Object.entries(this.#headers("POST"))) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total);
      request.onerror = () => reject(this.#lost());
      request.onabort = () => reject(new DOMException("The upload was cancelled.", "AbortError"));
      request.onload = () => {
        const headersOf = (name) => request.getResponseHeader(name);
        if (request.status >= 300) return reject(this.#failed(call, request.status, request.responseText, headersOf, started));
        const answer = parsed(request.responseText);
        this.#tell({ ...call, status: request.status, ms: performance.now() - started, answer }, headersOf);
        return resolve(answer);
      };
      signal?.addEventListener("abort", () => request.abort());
      request.send(body);
    });
  }

  // Yields the events of a command, from its start or after the event `after`.
  async* events(operation, options) {
    const response = await this.call(operation, { ...options, raw: true, headers: { accept: "application/x-ndjson" } });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.trim()) yield JSON.parse(line);
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw this.#lost();
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  #headers(method) {
    const headers = { authorization: `Bearer ${this.#key}` };
    if (method === "GET" && this.cacheKey) headers["x-bf-cache-key"] = this.cacheKey;
    return headers;
  }

  async #fetched(url, request) {
    try {
      const response = await fetch(url, request);
      this.#found();
      return response;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw error.name === "TimeoutError" ? new ApiError("Berth did not answer in time.", { code: "timeout" }) : this.#lost();
    }
  }

  #failed(call, status, body, headersOf, started) {
    const answer = parsed(body);
    const said = answer?.error ?? {};
    const requestId = headersOf("x-request-id");
    const error = new ApiError(said.message || `The answer has the status ${status}.`, { status, code: said.code, type: said.type, requestId });
    this.#tell({ ...call, status, ms: performance.now() - started, answer }, headersOf);
    if (status === 401) this.dispatchEvent(new CustomEvent("refused", { detail: error }));
    return error;
  }

  #tell(call, headersOf) {
    const date = Date.parse(headersOf("date"));
    if (date) this.#offset = (date - Date.now()) / 1000;
    if (call.quiet) return;
    const names = ["x-request-id", "x-bifrost-request-type", "x-bifrost-provider", "x-budget-remaining-usd", "x-ratelimit-remaining-requests"];
    const headers = Object.fromEntries(names.map((name) => [name, headersOf(name)]).filter(([, value]) => value));
    this.dispatchEvent(new CustomEvent("call", { detail: { ...call, headers, extra: call.answer?.extra_fields } }));
  }

  #lost() {
    if (!this.#isLost) {
      this.#isLost = true;
      this.dispatchEvent(new Event("lost"));
      this.#lookAgain();
    }
    return new ApiError("Berth cannot be reached. The console tries again by itself.", { code: "network" });
  }

  async #lookAgain() {
    while (this.#isLost) {
      await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
      const answers = await fetch(HEALTH, { cache: "no-store", credentials: "omit" }).then((response) => response.ok, () => false);
      if (answers) this.#found();
    }
  }

  #found() {
    if (!this.#isLost) return;
    this.#isLost = false;
    this.dispatchEvent(new Event("found"));
  }
}

const text = (response) => response.text().catch(() => "");

async function json(response) {
  const answer = parsed(await text(response));
  if (answer === null) throw new ApiError("The answer is no JSON.", { status: response.status, requestId: response.headers.get("x-request-id") });
  return answer;
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
