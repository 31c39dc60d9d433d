// The panel that runs Python and commands in a container. Each run is a cell with its output and pictures.
import { button, field, h, nextId, put, select } from "../parts/dom.js";
import "./cell.js";

const EXAMPLE = "import sys\nprint(\"Python\", sys.version.split()[0])";
const MAX_CELLS = 50;

class BerthRun extends HTMLElement {
  #cell = null;
  #isClosed = false;

  connectedCallback() {
    const title = h("h2", { id: `run-${nextId()}` }, "Run");
    this.language = select([["python", "Python"], ["shell", "Shell command"]]);
    this.session = h("input", { value: "default", maxlength: 64, pattern: "[A-Za-z0-9._\\-]+", spellcheck: "false", autocomplete: "off" });
    this.seconds = h("input", { type: "number", min: 1, value: 60, inputmode: "numeric" });
    this.code = h("textarea", { class: "code", rows: 8, spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
    this.code.value = EXAMPLE;
    this.runButton = button("Run", { symbol: "play", kind: "primary", onclick: () => this.#run() });
    this.stopButton = button("Stop", { symbol: "stop", onclick: () => this.#cell?.stop() });
    this.stopButton.disabled = true;
    this.cells = h("div", { class: "cells" });
    const session = field("Session", this.session, "Keeps variables. Empty: none.");
    this.language.addEventListener("change", () => { session.hidden = this.language.value !== "python"; });
    this.form = h("div", { class: "run-form" },
      h("div", { class: "filters" }, field("Language", this.language), session, field("Timeout in seconds", this.seconds)),
      field("Program", this.code, "Ctrl+Enter runs it. Files are in /mnt/data, where it starts."),
      h("div", { class: "actions start" }, this.runButton, this.stopButton));
    this.code.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.#run(); }
    });
    put(this, h("section", { class: "card", "aria-labelledby": title.id }, h("div", { class: "heading" }, title), this.form, this.cells));
    this.#attach();
  }

  close() {
    this.#isClosed = true;
    this.form.hidden = true;
  }

  // Shows the command that already runs in the container, if there is one.
  async #attach() {
    const { params } = this.source;
    const page = await this.api.call("listContainerExecs", { params, query: { limit: 5 }, quiet: true }).catch(() => null);
    const running = page?.data.find((exec) => exec.status === "running");
    if (running && !this.#cell && this.isConnected) this.#show("a command that was already running", (cell) => cell.follow(running));
  }

  #run() {
    const text = this.code.value;
    if (this.#cell || this.#isClosed || !text.trim() || !this.session.reportValidity()) return;
    const session = this.session.value.trim();
    const body = this.language.value === "python"
      ? { code: { language: "python", source: text, ...(session ? { session } : {}) } } : { command: text };
    if (this.seconds.value) body.timeout_ms = Math.round(Number(this.seconds.value) * 1000);
    this.#show(text, (cell) => cell.run(body));
  }

  // A button that is disabled would lose the focus.
  #swap(used, next) {
    const hasFocus = document.activeElement === used;
    next.disabled = false;
    if (hasFocus) next.focus();
    used.disabled = true;
  }

  async #show(text, start) {
    const cell = h("berth-cell");
    Object.assign(cell, { api: this.api, source: this.source, program: text });
    this.#cell = cell;
    this.#swap(this.runButton, this.stopButton);
    this.cells.prepend(cell);
    while (this.cells.children.length > MAX_CELLS) this.cells.lastChild.remove();
    await start(cell);
    this.#cell = null;
    this.#swap(this.stopButton, this.runButton);
    this.dispatchEvent(new Event("ended"));
  }
}

customElements.define("berth-run", BerthRun);
