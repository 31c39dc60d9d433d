// The last call that a person made: its answer's facts, how long it took, and how to repeat it elsewhere.
import { BASE } from "../api/api.js";
import { OPERATIONS, pathOf } from "../api/operations.js";
import { curl, grpc, python } from "../api/snippets.js";
import { copyButton, field, h, put, select } from "../parts/dom.js";
import { milliseconds } from "../parts/format.js";

const LANGUAGES = [["curl", "curl", curl], ["python", "Python", python], ["grpc", "gRPC", grpc]];

class BerthLastCall extends HTMLElement {
  #call = null;

  connectedCallback() {
    this.summary = h("span", { class: "soft" }, "No call yet");
    this.facts = h("dl", { class: "facts-list" });
    this.extra = h("pre", { class: "snippet", tabindex: 0, "aria-label": "extra_fields" });
    this.snippet = h("pre", { class: "snippet", tabindex: 0, "aria-label": "The call as a program" });
    this.language = select(LANGUAGES.map(([key, name]) => [key, name]));
    this.language.addEventListener("change", () => this.#showSnippet());
    const cacheKey = h("input", { spellcheck: "false", autocomplete: "off", maxlength: 256 });
    cacheKey.addEventListener("change", () => { this.api.cacheKey = cacheKey.value.trim(); });
    put(this, h("details", { class: "last-call" }, h("summary", {}, h("strong", {}, "Last call"), this.summary),
      h("div", { class: "last-call-body" },
        h("div", {}, this.facts, h("h2", {}, "extra_fields"), this.extra,
          field("Cache key", cacheKey, "Sent as x-bf-cache-key with reads, which may then be answered from the cache.")),
        h("div", {}, h("div", { class: "heading" }, field("Repeat it with", this.language), copyButton("Copy", () => this.snippet.textContent)), this.snippet,
          h("p", { class: "soft small" }, "The key is the variable KEY.")))));
    this.api.addEventListener("call", (event) => this.#show(event.detail));
  }

  #show(call) {
    this.#call = call;
    const [method] = OPERATIONS[call.operation];
    const path = `/v1${pathOf(call.operation, call)}`;
    const latency = call.extra?.latency;
    const cache = cacheOf(call.extra);
    this.summary.replaceChildren(
      h("code", {}, `${method} ${path}`), " ", h("span", { class: call.status < 400 ? "good" : "bad" }, call.status), ` · ${milliseconds(call.ms)}`,
      latency === undefined ? "" : ` (service ${milliseconds(latency)})`, call.extra?.cache_debug ? ` · cache ${cache}` : "");
    const facts = [["Operation", call.headers["x-bifrost-request-type"]], ["Provider", call.headers["x-bifrost-provider"]], ["Status", call.status],
      ["Seen here", milliseconds(call.ms)], ["Latency", latency === undefined ? null : milliseconds(latency)],
      ["Provider's latency", call.extra?.upstream_latency === undefined ? null : milliseconds(call.extra.upstream_latency)],
      ["Cache", cache], ["Request id", call.headers["x-request-id"]], ["Requests left", call.headers["x-ratelimit-remaining-requests"]],
      ["Budget left", call.headers["x-budget-remaining-usd"]]];
    this.facts.replaceChildren(...facts.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    this.extra.textContent = call.extra ? JSON.stringify(call.extra, null, 2) : "This answer has none.";
    this.#showSnippet();
  }

  #showSnippet() {
    if (!this.#call) return;
    const [, , make] = LANGUAGES.find(([key]) => key === this.language.value);
    this.snippet.textContent = make(this.#call, BASE);
  }
}

function cacheOf(extra) {
  if (!extra?.cache_debug) return "not used";
  return extra.cache_debug.cache_hit ? "hit" : "miss";
}

customElements.define("berth-last-call", BerthLastCall);
