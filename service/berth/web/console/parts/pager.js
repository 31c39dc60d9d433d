// Pages of a list. Only the page that is shown is kept, so a list may be of any length.
import { button, h } from "./dom.js";

export class Pager {
  #starts = [""];
  #next = null;
  #wish = 0;
  #load;
  #display;
  #loading = Promise.resolve();

  // `load` gets the query of a page and returns the page, or null if it failed; `display` shows it.
  constructor(load, display, limit) {
    this.#load = load;
    this.#display = display;
    this.limit = limit;
    this.place = h("span", { class: "soft" });
    this.buttons = {
      first: button("First", { onclick: () => this.first() }),
      previous: button("Previous", { symbol: "back", onclick: () => this.#turn(-1) }),
      next: button("Next", { symbol: "next", onclick: () => this.#turn(1) }),
    };
    this.element = h("nav", { class: "pager", "aria-label": "Pages", hidden: true },
      this.buttons.first, this.buttons.previous, this.place, this.buttons.next);
  }

  get page() { return this.#starts.length; }

  first() {
    this.#starts = [""];
    return this.#go();
  }

  // Loads the page again. One load runs at a time.
  reload(quiet = false) {
    this.#loading = this.#loading.then(() => this.#show(quiet));
    return this.#loading;
  }

  async #turn(step) {
    if (step > 0 && this.#next) this.#starts.push(this.#next);
    if (step < 0 && this.#starts.length > 1) this.#starts.pop();
    await this.#go();
    const { previous, next } = this.buttons;
    if (document.activeElement === document.body) (next.disabled ? previous : next).focus();
  }

  // Loads another page. What is loading now is not shown any more.
  #go() {
    this.#wish += 1;
    for (const control of Object.values(this.buttons)) control.disabled = true;
    return this.reload();
  }

  async #show(quiet) {
    const wish = this.#wish;
    const loaded = await this.#load({ limit: this.limit, after: this.#starts.at(-1), quiet });
    if (wish !== this.#wish) return;
    if (loaded) {
      this.#display(loaded.data);
      this.#next = loaded.has_more ? loaded.last_id : null;
      const before = (this.page - 1) * this.limit;
      this.place.textContent = loaded.data.length ? `Page ${this.page} · ${before + 1}–${before + loaded.data.length}` : `Page ${this.page}`;
      this.element.hidden = this.page === 1 && !this.#next;
    }
    this.buttons.first.disabled = this.page === 1;
    this.buttons.previous.disabled = this.page === 1;
    this.buttons.next.disabled = !this.#next;
  }
}
