// The files of a container or of the Files API: uploads with progress, previews, downloads, deletes. `source` says where.
import { actions, announce, button, cell, confirmed, errorBox, field, filterForm, h, heading, nextId, put, row, select, table } from "./dom.js";
import { moment, PROVIDERS, size } from "./format.js";
import { Pager } from "./pager.js";
import { preview, save } from "./preview.js";

const PAGE = 50;
const AT_ONCE = 3;

class BerthFiles extends HTMLElement {
  #files = new Map();
  #waiting = [];
  #running = 0;
  #isClosed = false;
  #choices = () => ({});

  connectedCallback() {
    const title = h(this.isPart ? "h2" : "h1", { id: `files-${nextId()}` }, this.source.title);
    this.body = h("tbody");
    this.message = h("div");
    this.uploads = h("ul", { class: "uploads", "aria-label": "Uploads" });
    this.empty = h("p", { class: "soft empty", hidden: true }, this.source.emptyText);
    this.summary = h("span", { class: "soft" });
    this.pager = new Pager((query) => this.#load(query), (files) => this.#show(files), PAGE);
    const head = h("div", { class: "heading" }, title, this.summary, button("Refresh", { symbol: "refresh", quiet: true, onclick: () => this.reload() }));
    put(this, !this.isPart && head, h("section", { class: "card", "aria-labelledby": title.id }, this.isPart && head,
      this.source.purposes && this.#filters(), this.#dropZone(), this.uploads, this.message,
      h("div", { class: "listing" }, table(["Name", "Size", "Created", "Actions"], this.body, { "aria-labelledby": title.id })), this.empty, this.pager.element));
    this.reload();
  }

  disconnectedCallback() {
    this.#isClosed = true;
    for (const item of this.uploads.children) item.controller.abort();
  }

  // Nothing can be added any more.
  close() {
    this.#isClosed = true;
    this.zone.hidden = true;
    this.empty.textContent = "The files of this container are deleted.";
    this.message.replaceChildren();
    this.#show([]);
  }

  reload({ quiet = false } = {}) { return this.#isClosed ? Promise.resolve() : this.pager.reload(quiet); }

  async #load({ quiet, ...query }) {
    try {
      const page = await this.source.list({ ...query, ...this.filters?.() }, quiet);
      this.message.replaceChildren();
      return page;
    } catch (error) {
      if (!this.#isClosed) this.#fail(error);
      return null;
    }
  }

  #show(files) {
    this.#files = new Map(files.map((file) => [file.path ?? file.id, file]));
    this.body.replaceChildren(...files.map((file) => this.#row(file)));
    this.empty.hidden = files.length > 0;
    this.body.parentElement.hidden = files.length === 0;
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    this.summary.textContent = files.length ? `${files.length} on this page, ${size(bytes)}` : "";
  }

  #row(file) {
    const name = this.source.nameOf(file);
    const act = (action) => () => action().catch((error) => this.#fail(error));
    return row(
      heading(h("button", { type: "button", class: "link", onclick: act(() => preview(this.source, file)) }, name),
        h("small", { class: "soft" }, this.source.factsOf(file).join(" · "))),
      cell("Size", size(file.bytes)), cell("Created", moment(file.created_at)),
      actions(button(`Download ${name}`, { symbol: "download", quiet: true, onclick: act(() => save(this.source, file)) }),
        button(`Delete ${name}`, { symbol: "remove", quiet: true, onclick: act(() => this.#remove(file, name)) })));
  }

  async #remove(file, name) {
    if (!await confirmed(`Delete ${name}?`, "The file cannot be restored.", "Delete")) return;
    await this.source.remove(file);
    announce(`${name} is deleted.`);
    await this.reload({ quiet: true });
    this.querySelector("h1, h2").setAttribute("tabindex", "-1");
    this.querySelector("h1, h2").focus();
  }

  #fail(error) {
    if (error.name === "AbortError") return;
    this.message.replaceChildren(errorBox(error));
    this.dispatchEvent(new CustomEvent("failed", { detail: error, bubbles: true }));
  }

  #filters() {
    const purpose = select([["", "All purposes"], ...this.source.purposes.map((name) => [name, name])]);
    const provider = select([["", "All providers"], ...PROVIDERS.map((name) => [name, name])]);
    this.filters = () => ({ purpose: purpose.value, provider: provider.value });
    for (const control of [purpose, provider]) control.addEventListener("change", () => this.pager.first());
    return filterForm(field("Purpose", purpose), field("Provider", provider));
  }

  #dropZone() {
    const input = h("input", { type: "file", multiple: true, class: "unseen", tabindex: -1, "aria-hidden": "true" });
    input.addEventListener("change", () => { this.#add(input.files); input.value = ""; });
    const zone = h("div", { class: "drop" }, button("Choose files", { symbol: "upload", onclick: () => input.click() }), input,
      h("span", { class: "soft" }, "or drop them here"));
    if (this.source.purposes) put(zone, this.#uploadChoices());
    let depth = 0;
    const mark = (change) => {
      depth = change === 0 ? 0 : depth + change;
      this.classList.toggle("dropping", depth > 0);
    };
    this.addEventListener("dragenter", () => mark(1));
    this.addEventListener("dragleave", () => mark(-1));
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      mark(0);
      this.#add(event.dataTransfer.files);
    });
    this.zone = zone;
    return zone;
  }

  #uploadChoices() {
    const purpose = select(this.source.purposes.map((name) => [name, name]), "user_data");
    const provider = select([["", "default"], ...PROVIDERS.map((name) => [name, name])]);
    this.#choices = () => ({ purpose: purpose.value, provider: provider.value });
    return h("div", { class: "choices" }, field("Purpose of uploads", purpose), field("Provider of uploads", provider));
  }

  #add(files) {
    if (this.#isClosed) return;
    for (const file of files) this.#waiting.push(this.#item(file));
    this.#next();
  }

  #item(file) {
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const state = h("span", { class: "soft" }, "waiting");
    const item = h("li", {}, h("span", { class: "name" }, file.name), bar, state,
      button(`Cancel the upload of ${file.name}`, { symbol: "close", quiet: true, onclick: () => { item.controller.abort(); item.remove(); } }));
    Object.assign(item, { file, bar, state, controller: new AbortController(), choices: this.#choices() });
    this.uploads.append(item);
    return item;
  }

  async #next() {
    while (this.#running < AT_ONCE && this.#waiting.length) {
      const item = this.#waiting.shift();
      if (item.controller.signal.aborted) continue;
      this.#running += 1;
      this.#send(item).finally(() => { this.#running -= 1; this.#next(); });
    }
  }

  async #send(item) {
    try {
      await readable(item.file);
      if (!await this.#mayReplace(item)) return item.remove();
      const onprogress = (part) => {
        item.bar.value = part;
        item.state.textContent = part < 1 ? `${Math.floor(part * 100)} %` : "storing";
      };
      await this.source.upload(item.file, { onprogress, signal: item.controller.signal, choices: item.choices });
      item.remove();
      announce(`${item.file.name} is uploaded.`);
      await this.reload({ quiet: true });
    } catch (error) {
      if (error.name === "AbortError") return item.remove();
      item.bar.remove();
      item.state.replaceWith(errorBox(error));
      this.dispatchEvent(new CustomEvent("failed", { detail: error, bubbles: true }));
    }
    return undefined;
  }

  // A path exists once: the file that has it is deleted first, if the person wants that.
  async #mayReplace({ file }) {
    const old = this.#files.get(`/mnt/data/${file.name}`);
    if (!old) return true;
    if (!await confirmed(`Replace ${file.name}?`, "The container has a file with this name. It is deleted before the upload.", "Replace")) return false;
    await this.source.remove(old);
    return true;
  }
}

// A folder, or a file that is gone, would look like a lost network.
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error("It cannot be read. Folders cannot be uploaded.");
  }
}

customElements.define("berth-files", BerthFiles);
