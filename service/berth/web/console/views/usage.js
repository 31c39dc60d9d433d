// What the tenant has used, by day, key and provider, with an estimate of its cost.
import { button, errorBox, field, filterForm, h, heading, put, row, select, table } from "../parts/dom.js";
import { count, money, PROVIDERS, size } from "../parts/format.js";

const PAGE = 100;
const MAX_PAGES = 10;
const DAYS = 30;
const DAY_MS = 86_400_000;
const COLUMNS = ["Day", "Key", "Provider", "Containers", "Minutes", "Commands", "Run time", "Calls", "In", "Out", "Cost"];

class BerthUsage extends HTMLElement {
  connectedCallback() {
    this.controls = {
      since: h("input", { type: "date", value: day(Date.now() - DAYS * DAY_MS) }),
      until: h("input", { type: "date" }),
      provider: select([["", "All providers"], ...PROVIDERS.map((name) => [name, name])]),
      key: h("input", { type: "search", spellcheck: "false", placeholder: "name of a key" }),
    };
    this.message = h("div");
    this.totals = h("div", { class: "totals" });
    this.days = h("div", { class: "days" });
    this.body = h("tbody");
    this.note = h("p", { class: "soft small" });
    const { since, until, provider, key } = this.controls;
    const form = filterForm(field("Since", since), field("Until", until), field("Provider", provider), field("Key", key));
    form.addEventListener("change", () => this.#load());
    put(this, h("div", { class: "heading" }, h("h1", { tabindex: -1 }, "Usage"), button("Refresh", { symbol: "refresh", quiet: true, onclick: () => this.#load() })),
      h("section", { class: "card", "aria-label": "Usage" }, form, this.message, this.totals,
        h("p", { class: "soft small chart-title" }, "Calls per day"), this.days,
        h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Table of usage" },
          table(COLUMNS, this.body, { class: "usage", "aria-label": "Usage" })),
        this.note));
    this.#load();
  }

  async #load() {
    const query = Object.fromEntries(Object.entries(this.controls).map(([name, control]) => [name, control.value.trim()]));
    const rows = [];
    let page = { has_more: true, last_id: "" };
    try {
      for (let number = 0; page.has_more && number < MAX_PAGES; number += 1) {
        page = await this.api.call("listUsage", { query: { ...query, limit: PAGE, after: page.last_id }, quiet: number > 0 });
        rows.push(...page.data);
      }
    } catch (error) {
      this.message.replaceChildren(errorBox(error));
      return;
    }
    this.message.replaceChildren();
    this.#show(rows, page);
  }

  #show(rows, page) {
    const sum = (value) => rows.reduce((total, row) => total + value(row), 0);
    const totals = [["Containers", count(sum((row) => row.containers))], ["Container minutes", count(sum(minutesOf))],
      ["Commands", count(sum((row) => row.execs))], ["Calls", count(sum((row) => row.calls))],
      ["Stored", `${size(sum((row) => row.stored_byte_hours))}·h`], ["Estimated cost", money(sum((row) => row.estimated_cost_usd))]];
    this.totals.replaceChildren(...totals.map(([name, value]) => h("div", { class: "total" }, h("span", { class: "soft" }, name), h("strong", {}, value))));
    this.days.replaceChildren(...chart(rows, this.controls.since.value, this.controls.until.value));
    this.body.replaceChildren(...rows.map((used) => row(cellsOf(used).map((text, index) => (index ? h("td", { role: "cell" }, text) : heading(text))))));
    this.note.textContent = `${rows.length ? `Prices as of ${page.prices_as_of}.` : "Nothing was used on these days."}${page.has_more ? " There is more: choose fewer days." : ""}`;
  }
}

// Calls of each day as bars; the table has the figures.
function chart(rows, since, until) {
  const last = until ? Date.parse(until) : Date.now();
  const first = Math.max(since ? Date.parse(since) : 0, last - DAYS * DAY_MS);
  const calls = new Map();
  for (let time = first; time <= last; time += DAY_MS) calls.set(day(time), 0);
  for (const row of rows) if (calls.has(row.day)) calls.set(row.day, calls.get(row.day) + row.calls);
  const most = Math.max(1, ...calls.values());
  return [...calls].map(([date, number]) => {
    const bar = h("span", { class: "bar" });
    bar.style.blockSize = `${(number / most) * 100}%`;
    return h("div", { class: "day", title: `${date}: ${count(number)} calls`, "aria-hidden": "true" }, bar, h("span", {}, date.slice(8)));
  });
}

const minutesOf = (row) => row.container_minutes.reduce((total, { minutes }) => total + minutes, 0);
const day = (ms) => new Date(ms).toISOString().slice(0, 10);

function cellsOf(row) {
  return [row.day, row.key || "–", row.provider ?? "–", count(row.containers), count(minutesOf(row)), count(row.execs),
    `${count(row.exec_seconds)} s`, count(row.calls), size(row.bytes_in), size(row.bytes_out), money(row.estimated_cost_usd)];
}

customElements.define("berth-usage", BerthUsage);
