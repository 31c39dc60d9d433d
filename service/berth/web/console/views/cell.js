// One run: the program, its output as it comes, and then its result, files and pictures.
import { announce, errorBox, h, put } from "../parts/dom.js";
import { milliseconds, shortPath, size } from "../parts/format.js";
import { hasPictureName } from "../parts/pictures.js";
import { pictureOf, preview, save } from "../parts/preview.js";

const MAX_SHOWN = 200_000;
const MAX_PICTURES = 12;
const MAX_FILES = 50;
const FOLLOW_TRIES = 20;
const FOLLOW_MS = 1500;
// Colours of terminals and other escapes.
const ESCAPES = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-_])/g;

// The beginning of one at the end of a text, which goes on with the next.
const UNFINISHED = /\u001b(?:\[[0-9;?]*[ -/]*|\][^\u0007\u001b]*\u001b?)?$/;
const MAX_ESCAPE = 256;

class BerthCell extends HTMLElement {
  #pending = [];
  #shown = 0;
  #last = 0;
  #exec = null;
  #result = null;
  #isStopped = false;
  #unfinished = {};
  #leaving = new AbortController();

  connectedCallback() {
    if (this.state) return;
    this.state = h("span", { class: "pill running" }, "starting");
    this.duration = h("span", { class: "soft" });
    this.output = h("pre", { class: "output", role: "log", tabindex: 0, "aria-label": "Output", hidden: true });
    this.rest = h("div", { class: "result" });
    put(this, h("article", { class: "cell" },
      h("details", { class: "program" }, h("summary", {}, h("code", {}, this.program.trim().split("\n")[0])), h("pre", {}, this.program)),
      h("div", { class: "cell-state" }, this.state, this.duration), this.output, this.rest));
  }

  // The program goes on, but nothing is asked with the key of somebody who has signed out or looks at something else.
  disconnectedCallback() { this.#leaving.abort(); }

  // Runs what `body` describes and shows it until its end.
  async run(body) {
    const { params } = this.source;
    await this.#guarded(() => this.#read("streamContainerExec", { params, body }));
  }

  // Shows a command that already runs.
  async follow(exec) {
    this.#started(exec);
    await this.#guarded(() => this.#continue());
  }

  async stop() {
    this.#isStopped = true;
    if (!this.#exec) return;
    const params = { ...this.source.params, exec_id: this.#exec.id };
    await this.api.call("cancelContainerExec", { params }).catch((error) => this.rest.append(errorBox(error)));
  }

  async #guarded(read) {
    try {
      await read();
      if (!this.#result) await this.#continue();
    } catch (error) {
      if (this.#leaving.signal.aborted) return;
      this.#flush();
      this.#setState("failed", error.isNetwork ? "unknown" : "not run");
      this.rest.append(errorBox(error));
      this.dispatchEvent(new CustomEvent("failed", { detail: error, bubbles: true }));
      return;
    }
    await this.#end();
  }

  // A stream without its end is continued from the last event, also after the network was lost.
  async #continue() {
    for (let tries = 0; !this.#result; tries += 1) {
      const params = { ...this.source.params, exec_id: this.#exec?.id };
      try {
        await this.#read("followContainerExec", { params, query: { after: this.#last || "" }, quiet: true });
      } catch (error) {
        if (!error.isNetwork || tries >= FOLLOW_TRIES || !this.isConnected) throw error;
      }
      if (this.#result) return;
      await new Promise((resolve) => { setTimeout(resolve, FOLLOW_MS); });
      this.#leaving.signal.throwIfAborted();
    }
  }

  async #read(operation, call) {
    // A command may take longer than any other call: its own timeout ends it.
    const { signal } = this.#leaving;
    try {
      for await (const event of this.api.events(operation, { ...call, signal })) this.#take(event);
    } catch (error) {
      if (!error.isNetwork || !this.#exec) throw error;
    }
  }

  #take(event) {
    this.#last = Math.max(this.#last, event.sequence);
    if (event.type === "started") this.#started(event.exec);
    if (event.stdout) this.#write(event.stdout, "");
    if (event.stderr) this.#write(event.stderr, "stderr");
    if (event.type === "ended") this.#result = event.exec;
  }

  #started(exec) {
    this.#exec = exec;
    this.#setState("running", "running");
    if (exec.session_restarted) this.#note("The session was started anew: its variables are gone.");
    if (this.#isStopped) this.stop();
  }

  // Output is added once for each picture of the screen, however much comes.
  #write(added, kind) {
    const text = (this.#unfinished[kind] ?? "") + added;
    const [cut] = text.slice(-MAX_ESCAPE).match(UNFINISHED) ?? [""];
    this.#unfinished[kind] = cut;
    this.#pending.push([text.slice(0, text.length - cut.length), kind]);
    if (this.#pending.length === 1) setTimeout(() => this.#flush(), 16);
  }

  #flush() {
    const pending = this.#pending.splice(0);
    if (!pending.length) return;
    this.output.hidden = false;
    const isAtEnd = this.output.scrollTop + this.output.clientHeight >= this.output.scrollHeight - 4;
    for (const [text, kind] of pending) this.#append(text.replace(ESCAPES, ""), kind);
    if (isAtEnd) this.output.scrollTop = this.output.scrollHeight;
  }

  #append(text, kind) {
    if (this.#shown >= MAX_SHOWN) return;
    const part = text.slice(0, MAX_SHOWN - this.#shown);
    this.#shown += text.length;
    const last = this.output.lastChild;
    if (last && last.className === kind) last.firstChild.appendData(part);
    else this.output.append(h("span", { class: kind || null }, part));
    if (this.#shown > MAX_SHOWN) this.#note(`Only the first ${size(MAX_SHOWN)} of the output are shown.`);
  }

  async #end() {
    this.#flush();
    const exec = this.#result;
    const { type, exit_code: code } = exec.outcome;
    const text = type === "exit" ? `exit ${code}` : type;
    this.#setState(type === "exit" && code === 0 ? "ok" : "failed", text);
    this.duration.textContent = milliseconds(exec.duration_ms ?? 0);
    announce(`The program has ended: ${text}.`);
    if (exec.truncated) this.#note("The program wrote more than is kept.");
    if (!this.#shown && type === "exit") this.#note("No output.");
    for (const { path, reason } of exec.skipped_files.slice(0, MAX_FILES)) this.#note(`${shortPath(path)} is left out: ${reason}`);
    if (exec.network_refusals.length) this.#note(`The network policy refused ${exec.network_refusals.join(", ")}.`);
    const pictures = h("div", { class: "pictures" });
    this.rest.append(pictures);
    this.#showFiles(exec.files);
    await this.#showPictures(exec, pictures);
  }

  #showFiles(files) {
    if (!files.length) return;
    const act = (action) => () => action().catch((error) => this.rest.append(errorBox(error)));
    const items = files.slice(0, MAX_FILES).map((file) => h("li", {},
      h("button", { type: "button", class: "link", onclick: act(() => preview(this.source, file)) }, shortPath(file.path)),
      h("span", { class: "soft" }, ` ${size(file.bytes)} `),
      h("button", { type: "button", class: "link", "aria-label": `Download ${shortPath(file.path)}`, onclick: act(() => save(this.source, file)) }, "download")));
    this.rest.append(h("p", { class: "soft" }, "New and changed files:"), h("ul", { class: "made" }, items));
  }

  async #showPictures(exec, place) {
    const displayed = new Set(exec.displays.map((display) => display.file_id));
    const files = exec.files.filter((file) => displayed.has(file.id) || hasPictureName(file.path)).slice(0, MAX_PICTURES);
    for (const file of files) {
      const picture = await pictureOf(this.source, file, shortPath(file.path)).catch(() => null);
      if (picture) place.append(h("figure", {}, picture, h("figcaption", {}, shortPath(file.path))));
    }
  }

  #note(text) { this.rest.append(h("p", { class: "soft note" }, text)); }

  #setState(kind, text) {
    this.state.className = `pill ${kind}`;
    this.state.textContent = text;
  }
}

customElements.define("berth-cell", BerthCell);
