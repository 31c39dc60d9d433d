// The frame of the console: signing in, navigation, colours, and the view that the address names.
import { Api, ApiError } from "./api/api.js";
import "./views/containers.js";
import "./views/container.js";
import "./views/last-call.js";
import "./views/usage.js";
import { announce, button, closeDialogs, errorBox, field, h, icon } from "./parts/dom.js";
import { StoredFiles } from "./api/file-sources.js";
import "./parts/files.js";

const KEY = "berth.key";
const THEME = "berth.theme";
const THEMES = [["system", "Colours of the system"], ["light", "Light colours"], ["dark", "Dark colours"]];
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };
const PAGES = [["containers", "Containers"], ["files", "Files"], ["usage", "Usage"]];

class BerthApp extends HTMLElement {
  connectedCallback() {
    window.addEventListener("hashchange", () => this.#api && this.#show());
    // A file that is dropped beside a panel must not replace the console.
    for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
    const key = stored();
    if (key) this.#open(new Api(key), key);
    else this.#signIn();
  }

  #api = null;

  #signIn(error) {
    this.#api = null;
    document.title = "Sign in – Berth console";
    const key = h("input", { type: "password", name: "key", autocomplete: "off", autocapitalize: "none", spellcheck: "false", required: true });
    const message = h("div", {}, error && errorBox(error));
    const send = h("button", { class: "primary" }, "Sign in");
    const form = h("form", { class: "card sign-in" },
      h("img", { src: "console/icon.svg", alt: "", width: 56, height: 56 }),
      h("h1", {}, "Berth console"),
      h("p", { class: "soft" }, "Containers, and the files and programs in them."),
      message, field("Key", key, "It stays in this tab and is forgotten when the tab is closed."), send,
      h("p", { class: "soft small" }, h("a", { href: "docs" }, "API documentation"), " · ", h("a", { href: "openapi.json" }, "OpenAPI")));
    form.addEventListener("submit", (event) => { event.preventDefault(); this.#tryKey(key, send, message); });
    this.replaceChildren(h("main", { id: "main", class: "centre" }, form, themeSwitch()));
    key.focus();
  }

  async #tryKey(input, send, message) {
    const key = input.value.trim();
    send.disabled = true;
    message.replaceChildren();
    try {
      if (/[^\x21-\x7e]/.test(key)) throw new ApiError("A key has only letters, digits and signs of ASCII.");
      const api = new Api(key);
      await api.call("listContainers", { query: { limit: 1 }, quiet: true });
      remember(key);
      this.#open(api);
    } catch (error) {
      send.disabled = false;
      message.replaceChildren(errorBox(error));
      input.setAttribute("aria-invalid", "true");
      input.select();
    }
  }

  #open(api) {
    this.#api = api;
    api.addEventListener("refused", (event) => this.#api === api && this.#signOut(event.detail));
    const lost = h("div", { class: "banner", role: "status", hidden: true });
    api.addEventListener("lost", () => {
      lost.hidden = false;
      lost.textContent = "Berth cannot be reached. Trying again…";
    });
    api.addEventListener("found", () => {
      lost.hidden = true;
      announce("Berth can be reached again.");
    });
    const lastCall = h("berth-last-call", { role: "complementary", "aria-label": "Last call" });
    lastCall.api = api;
    this.replaceChildren(this.#header(), lost, h("main", { id: "main", tabindex: -1 }), lastCall);
    this.#show({ isFirst: true });
  }

  #header() {
    const links = PAGES.map(([page, title]) => h("a", { href: `#/${page}`, "data-page": page }, title));
    return h("header", { class: "top" },
      h("a", { class: "brand", href: "#/containers" }, h("img", { src: "console/icon.svg", alt: "", width: 28, height: 28 }), h("span", {}, "Berth")),
      h("nav", { "aria-label": "Console" }, links),
      h("div", { class: "tools" }, h("a", { class: "wide", href: "docs" }, "API"), themeSwitch(),
        button("Sign out", { onclick: () => this.#signOut() })));
  }

  #signOut(error) {
    forget();
    closeDialogs();
    this.#signIn(error);
    announce(error ? "The key was refused." : "You are signed out.");
  }

  #show({ isFirst = false } = {}) {
    const [, page = "", id = ""] = location.hash.split("?")[0].split("/");
    const { view, title } = this.#view(page, id);
    for (const link of this.querySelectorAll("nav [data-page]")) {
      if (link.dataset.page === (page || "containers")) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${title} – Berth console`;
    view.api = this.#api;
    const main = this.querySelector("main");
    main.replaceChildren(view);
    if (!isFirst) main.focus();
    window.scrollTo(0, 0);
  }

  #view(page, id) {
    if (page === "containers" && id) {
      const view = h("berth-container");
      view.containerId = decoded(id);
      return { view, title: "Container" };
    }
    if (page === "files") {
      const view = h("berth-files", { class: "page" });
      view.source = new StoredFiles(this.#api);
      return { view, title: "Files" };
    }
    if (page === "usage") return { view: h("berth-usage"), title: "Usage" };
    return { view: h("berth-containers"), title: "Containers" };
  }
}

function decoded(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

// Without storage the key lasts until the page is loaded again.
function remember(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch { /* Storage is blocked. */ }
}

function forget() {
  try {
    sessionStorage.removeItem(KEY);
  } catch { /* Storage is blocked. */ }
}

function themeSwitch() {
  const made = button("Colours", { quiet: true, onclick: turn });
  const now = () => document.documentElement.dataset.theme ?? "system";
  function show() {
    const [, title] = THEMES.find(([name]) => name === now());
    made.setAttribute("aria-label", `${title}; change`);
    made.title = title;
    made.replaceChildren(icon(THEME_ICONS[now()]));
  }
  function turn() {
    const next = THEMES[(THEMES.findIndex(([name]) => name === now()) + 1) % THEMES.length][0];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(THEME, next);
    } catch { /* Storage is blocked: the choice lasts until the page is loaded again. */ }
    show();
    announce(made.title);
  }
  show();
  return made;
}

customElements.define("berth-app", BerthApp);
