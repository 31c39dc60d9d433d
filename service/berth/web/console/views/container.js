// One container: what it is, how long it lives, its files, and a panel that runs programs in it.
import { announce, button, confirmed, copyButton, errorBox, h, put } from "../parts/dom.js";
import { expiry, isUsable, moment, timeLeft } from "../parts/format.js";
import { ContainerFiles } from "../api/file-sources.js";
import { statusPill } from "./containers.js";
import "./run.js";

const TICK_MS = 1000;
const LIVE_TICKS = 10;

class BerthContainer extends HTMLElement {
  #container = null;
  #timer = null;
  #ticks = 0;

  async connectedCallback() {
    this.message = h("div");
    this.heading = h("h1", { tabindex: -1 }, "Container");
    this.pill = h("span");
    this.facts = h("dl", { class: "facts-list" });
    this.left = h("dd");
    this.bar = h("progress", { class: "life", max: 1, value: 1, "aria-label": "Time left" });
    this.notice = h("div");
    put(this,
      h("a", { class: "up", href: "#/containers" }, "‹ All containers"),
      h("div", { class: "heading" }, h("div", { class: "named" }, this.heading, this.pill),
        copyButton("Copy id", () => this.containerId),
        button("Delete", { symbol: "remove", kind: "danger", onclick: () => this.#delete() })),
      this.message, this.notice);
    this.addEventListener("failed", (event) => this.#settle(event.detail));
    await this.#retrieve();
    if (!this.#container || !this.isConnected) return;
    this.#fill();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  disconnectedCallback() { clearInterval(this.#timer); }

  async #retrieve() {
    try {
      this.#container = await this.api.call("retrieveContainer", { params: { container_id: this.containerId } });
    } catch (error) {
      this.message.replaceChildren(errorBox(error,
        error.status === 404 && h("p", {}, "It was deleted, or it belongs to somebody else.")));
    }
  }

  #fill() {
    this.files = h("berth-files");
    this.files.isPart = true;
    this.files.source = new ContainerFiles(this.api, this.containerId);
    this.run = h("berth-run");
    Object.assign(this.run, { api: this.api, containerId: this.containerId, source: this.files.source });
    this.run.addEventListener("ended", () => this.files.reload({ quiet: true }));
    put(this, h("section", { class: "card summary", "aria-label": "Facts" }, this.facts, this.bar),
      h("div", { class: "columns" }, this.run, this.files));
    this.#show();
  }

  #show() {
    const container = this.#container;
    document.title = `${container.name} – Berth console`;
    this.heading.textContent = container.name;
    this.pill.replaceChildren(statusPill(container.status));
    const facts = [["Provider", container.provider ?? "–"], ["Memory", container.memory_limit ?? "–"], ["Created", moment(container.created_at)],
      ["Last used", moment(container.last_active_at)], ["Network", networkOf(container)],
      ...Object.entries(container.metadata ?? {})];
    this.facts.replaceChildren(h("div", {}, h("dt", {}, "Time left"), this.left), h("div", {}, h("dt", {}, "Id"), h("dd", {}, h("code", {}, container.id))),
      ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    this.#showTime();
    if (!isUsable(container)) this.#close();
  }

  #showTime() {
    const [container, now] = [this.#container, this.api.now()];
    this.left.textContent = timeLeft(container, now);
    const end = expiry(container);
    this.bar.hidden = !isUsable(container) || end === null;
    if (end !== null) this.bar.value = Math.min(1, Math.max(0, (end - now) / (container.expires_after.minutes * 60)));
  }

  #close() {
    if (this.notice.hasChildNodes()) return;
    this.notice.replaceChildren(h("p", { class: "banner", role: "status" },
      `This container is ${this.#container.status}: its files are deleted, and nothing can run in it. Create another one.`));
    this.run.close();
    this.files.close();
  }

  // Looks at the list: retrieving the container would keep it alive.
  async #tick() {
    this.#showTime();
    this.#ticks += 1;
    if (this.#ticks % LIVE_TICKS || document.hidden || !isUsable(this.#container)) return;
    const query = { name: this.#container.name, provider: this.#container.provider, limit: 100 };
    const page = await this.api.call("listContainers", { query, quiet: true }).catch(() => null);
    const fresh = page?.data.find((container) => container.id === this.containerId);
    if (fresh && this.isConnected) this.#update(fresh);
  }

  #update(container) {
    const old = this.#container;
    this.#container = { ...old, ...container };
    if (old.status !== container.status || old.last_active_at !== container.last_active_at) this.#show();
  }

  // After a refusal the container may have expired, or be gone.
  async #settle(error) {
    if (![400, 404].includes(error.status) || !isUsable(this.#container)) return;
    await this.#retrieve();
    this.#show();
  }

  async #delete() {
    const { name } = this.#container ?? { name: this.containerId };
    if (!await confirmed(`Delete ${name}?`, "The container and all files in it are deleted. They cannot be restored.", "Delete")) return;
    try {
      await this.api.call("deleteContainer", { params: { container_id: this.containerId } });
      announce(`${name} is deleted.`);
      location.hash = "#/containers";
    } catch (error) {
      this.message.replaceChildren(errorBox(error));
    }
  }
}

function networkOf({ network_policy: policy }) {
  if (!policy) return "–";
  if (policy.type === "disabled") return "none";
  return (policy.allowed_domains ?? []).join(", ");
}

customElements.define("berth-container", BerthContainer);
