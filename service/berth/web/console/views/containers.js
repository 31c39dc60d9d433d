// The list of containers. It is live: the page that is shown is loaded again every few seconds.
import { actions, announce, button, cell, confirmed, errorBox, field, filterForm, h, heading, put, row, select, table } from "../parts/dom.js";
import { isUsable, moment, PROVIDERS, size, timeLeft } from "../parts/format.js";
import { Pager } from "../parts/pager.js";
import { createContainer } from "./create-container.js";

const LIVE_MS = 4000;
const TICK_MS = 1000;
const COLUMNS = ["Name", "Provider", "Status", "Time left", "Size", "Memory", "Created", "Actions"];

export const statusPill = (status) => h("span", { class: `pill ${/^\w+$/.test(status ?? "") ? status : "unknown"}` }, status ?? "unknown");

class BerthContainers extends HTMLElement {
  #rows = new Map();
  #timers = [];

  connectedCallback() {
    const wanted = new URLSearchParams(location.hash.split("?")[1]);
    this.controls = {
      provider: select([["", "All providers"], ...PROVIDERS.map((name) => [name, name])], wanted.get("provider") ?? ""),
      status: select([["", "All statuses"], ["running", "running"], ["expired", "expired"]], wanted.get("status") ?? ""),
      name: h("input", { type: "search", value: wanted.get("name"), placeholder: "exact name", maxlength: 256 }),
      order: select([["desc", "Newest first"], ["asc", "Oldest first"]], wanted.get("order") ?? "desc"),
    };
    const limit = select([["25", "25"], ["50", "50"], ["100", "100"]], "25");
    limit.addEventListener("change", () => { this.pager.limit = Number(limit.value); this.pager.first(); });
    this.pager = new Pager((query) => this.#load(query), (containers) => this.#show(containers), 25);
    this.message = h("div");
    this.body = h("tbody");
    this.empty = h("div", { class: "empty", hidden: true });
    this.table = table(COLUMNS, this.body, { "aria-label": "Containers" });
    put(this,
      h("div", { class: "heading" }, h("h1", { tabindex: -1 }, "Containers"),
        h("span", { class: "wide" }, button("Refresh", { symbol: "refresh", quiet: true, onclick: () => this.pager.reload() })),
        button("New container", { symbol: "add", kind: "primary", onclick: () => this.#create() })),
      h("section", { class: "card", "aria-label": "List of containers" },
        this.#filterForm(field("Per page", limit)), this.message, h("div", { class: "listing" }, this.table), this.empty, this.pager.element));
    this.pager.reload();
    // A tab that comes back to the front shows at once what is new.
    this.whenSeen = () => this.#refresh();
    document.addEventListener("visibilitychange", this.whenSeen);
    this.#timers = [setInterval(() => this.#refresh(), LIVE_MS), setInterval(() => this.#tick(), TICK_MS)];
  }

  disconnectedCallback() {
    this.#timers.forEach(clearInterval);
    document.removeEventListener("visibilitychange", this.whenSeen);
  }

  #filterForm(limit) {
    const { provider, status, name, order } = this.controls;
    const form = filterForm(field("Provider", provider), field("Status", status), field("Name", name), field("Order", order), limit);
    const change = () => {
      const chosen = Object.entries(this.#filters()).filter(([key, value]) => value && value !== "desc" && key);
      history.replaceState(null, "", `#/containers${chosen.length ? `?${new URLSearchParams(chosen)}` : ""}`);
      this.pager.first();
    };
    for (const control of Object.values(this.controls)) control.addEventListener("change", change);
    return form;
  }

  #filters() {
    return Object.fromEntries(Object.entries(this.controls).map(([name, control]) => [name, control.value.trim()]));
  }

  async #refresh() {
    if (document.hidden || this.isRefreshing) return;
    this.isRefreshing = true;
    await this.pager.reload(true);
    this.isRefreshing = false;
  }

  async #load({ quiet, ...query }) {
    try {
      const page = await this.api.call("listContainers", { query: { ...query, ...this.#filters(), include: "bytes" }, quiet });
      this.message.replaceChildren();
      return page;
    } catch (error) {
      // A refresh that fails again says nothing new.
      if (!quiet || !(error.isNetwork || this.message.hasChildNodes())) this.message.replaceChildren(errorBox(error));
      return null;
    }
  }

  // Rows that stay keep their elements, so that a refresh moves neither the focus nor a selection.
  #show(containers) {
    const now = this.api.now();
    const rows = new Map();
    containers.forEach((container, index) => {
      const row = this.#rows.get(container.id) ?? this.#row(container);
      row.show(container, now);
      if (this.body.children[index] !== row.element) this.body.insertBefore(row.element, this.body.children[index] ?? null);
      rows.set(container.id, row);
    });
    for (const [id, row] of this.#rows) if (!rows.has(id)) row.element.remove();
    this.#rows = rows;
    this.table.hidden = containers.length === 0;
    this.empty.hidden = containers.length > 0;
    if (!containers.length) this.#showEmpty();
  }

  #showEmpty() {
    const isFiltered = Object.entries(this.#filters()).some(([name, value]) => value && name !== "order");
    this.empty.replaceChildren(h("p", {}, isFiltered ? "No container matches these filters." : "There are no containers yet."),
      isFiltered || this.pager.page > 1 ? "" : button("New container", { symbol: "add", onclick: () => this.#create() }));
  }

  #row(container) {
    const link = h("a", { href: `#/containers/${encodeURIComponent(container.id)}` }, container.name);
    const parts = Object.fromEntries(["provider", "status", "left", "size", "memory", "created"].map((name) => [name, h("span")]));
    const remove = button(`Delete ${container.name}`, { symbol: "remove", quiet: true, onclick: () => this.#delete(container) });
    const element = row(heading(link, h("small", { class: "soft id" }, container.id)),
      cell("Provider", parts.provider), cell("Status", parts.status), cell("Time left", parts.left),
      cell("Size", parts.size), cell("Memory", parts.memory), cell("Created", parts.created), actions(remove));
    let shown = {};
    const made = {
      element,
      show(fresh, now) {
        if (fresh.status !== shown.status || !parts.status.hasChildNodes()) parts.status.replaceChildren(statusPill(fresh.status));
        shown = fresh;
        write(link, fresh.name);
        write(parts.provider, fresh.provider ?? "–");
        write(parts.size, fresh.bytes === undefined ? "–" : size(fresh.bytes));
        write(parts.memory, fresh.memory_limit ?? "–");
        write(parts.created, moment(fresh.created_at));
        element.classList.toggle("ended", !isUsable(fresh));
        made.tick(now);
      },
      tick: (now) => write(parts.left, timeLeft(shown, now)),
    };
    return made;
  }

  #tick() {
    const now = this.api.now();
    for (const row of this.#rows.values()) row.tick(now);
  }

  #create() {
    createContainer(this.api, (container) => {
      announce(`${container.name} is created.`);
      location.hash = `#/containers/${encodeURIComponent(container.id)}`;
    });
  }

  async #delete(container) {
    if (!await confirmed(`Delete ${container.name}?`, "The container and all files in it are deleted. They cannot be restored.", "Delete")) return;
    try {
      await this.api.call("deleteContainer", { params: { container_id: container.id } });
      announce(`${container.name} is deleted.`);
    } catch (error) {
      this.message.replaceChildren(errorBox(error));
      return;
    }
    await this.pager.reload(true);
    this.querySelector("h1").focus();
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

customElements.define("berth-containers", BerthContainers);
