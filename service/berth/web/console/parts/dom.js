// Builds elements. A child that is no element becomes a text node: nothing that the API says is ever read as HTML.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return put(element, ...children);
}

// Appends what is there; null, undefined and false are left out.
export function put(element, ...children) {
  const present = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...present);
  return element;
}

const ICONS = {
  add: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M6 6h7v7H6zM3 10V3h7",
  download: "M8 2.500v8M4.500 7.500L8 11l3.500-3.500M3 13.500h10",
  remove: "M3 4.500h10M6.500 4.500V3h3v1.500M4.500 4.500l.6 8.500h5.800l.6-8.500M6.700 7v3.500M9.300 7v3.500",
  play: "M5 3.500l7.500 4.500L5 12.500z",
  stop: "M4.500 4.500h7v7h-7z",
  back: "M10 3L5 8l5 5",
  next: "M6 3l5 5-5 5",
  refresh: "M13 8a5 5 0 1 1-1.500-3.500L13 6M13 2.500V6H9.500",
  upload: "M8 11V3M4.500 6L8 2.500 11.500 6M3 13.500h10",
  sun: "M8 5.200a2.800 2.800 0 1 0 0 5.600a2.800 2.800 0 1 0 0-5.600M8 1.500v1.600M8 12.900v1.600M1.500 8h1.600M12.900 8h1.600M3.400 3.400l1.100 1.100M11.500 11.500l1.100 1.100M12.600 3.400l-1.100 1.100M4.500 11.500l-1.100 1.100",
  moon: "M13 9.600A5.500 5.500 0 0 1 6.400 3a5.500 5.500 0 1 0 6.600 6.600z",
  system: "M2 3h12v8H2zM6 14h4M8 11v3",
};

// Returns a picture that readers of screens skip.
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of [["viewBox", "0 0 16 16"], ["class", "icon"], ["aria-hidden", "true"]]) svg.setAttribute(key, value);
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// Returns a button with an icon; `label` is its name, and its text unless it is `quiet`.
export function button(label, { symbol, quiet = false, kind = "", onclick, ...attributes } = {}) {
  return h("button", { type: "button", class: `${kind}${quiet ? " bare" : ""}`.trim() || null, title: quiet ? label : null,
    "aria-label": quiet ? label : null, onclick, ...attributes }, symbol && icon(symbol), quiet ? null : h("span", {}, label));
}

// Returns a label with its control. `hint` explains it.
export function field(label, control, hint) {
  control.id ||= `field-${nextId()}`;
  const note = hint && h("small", { id: `${control.id}-hint` }, hint);
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note);
}

export function select(options, value = options[0][0], attributes = {}) {
  const made = h("select", attributes, options.map(([key, text]) => h("option", { value: key }, text)));
  made.value = value;
  return made;
}

const WIDE = matchMedia("(min-width: 44rem)");

// Returns a form of filters. A phone shows it on demand.
export function filterForm(...fields) {
  const form = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, fields);
  const box = h("details", { class: "filter-box", open: WIDE.matches }, h("summary", {}, "Filters"), form);
  WIDE.addEventListener("change", () => { box.open = WIDE.matches; });
  return box;
}

// Parts of a table. On narrow screens they are shown as blocks, which takes their roles away unless these are given.
export const row = (...cells) => h("tr", { role: "row" }, cells);
export const heading = (...content) => h("th", { scope: "row", role: "rowheader" }, content);
export const cell = (label, ...content) => h("td", { role: "cell", "data-label": label }, content);
export const actions = (...buttons) => h("td", { role: "cell", class: "row-actions" }, buttons);

// Returns a table with these columns, filled through `body`.
export function table(columns, body, attributes) {
  const head = h("tr", { role: "row" }, columns.map((name) => h("th", { scope: "col", role: "columnheader" }, name)));
  body.setAttribute("role", "rowgroup");
  return h("table", { role: "table", ...attributes }, h("thead", { role: "rowgroup" }, head), body);
}

let lastId = 0;
export const nextId = () => ++lastId;

// Says something to readers of screens.
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = live.textContent === text ? `${text} ` : text;
}

// Returns an error of the API with its code and the id of the request.
export function errorBox(error, ...more) {
  const facts = [error.code ? ["code", error.code] : error.type && ["type", error.type], error.status && ["status", error.status], error.requestId && ["request", error.requestId]];
  return h("div", { class: "alert", role: "alert" }, h("p", {}, error.message || String(error)),
    h("p", { class: "facts" }, facts.filter(Boolean).map(([name, value]) => h("span", {}, `${name} `, h("code", {}, value)))), more);
}

// Copies a text and says so on the button.
export function copyButton(label, text) {
  const made = button(label, { symbol: "copy", kind: "small", onclick: copy });
  async function copy() {
    const done = await written(text());
    made.lastChild.textContent = done ? "Copied" : "Copying is not allowed";
    announce(made.lastChild.textContent);
    setTimeout(() => { made.lastChild.textContent = label; }, 1500);
  }
  return made;
}

// Writes to the clipboard. Without TLS browsers have only the old way.
async function written(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = h("textarea", { class: "unseen", "aria-hidden": "true" }, text);
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// Asks whether to do something. Resolves to true or false; the focus returns to where it was.
export function confirmed(question, detail, action) {
  return new Promise((resolve) => {
    const title = h("h2", { id: `title-${nextId()}` }, question);
    const dialog = h("dialog", { class: "card", "aria-labelledby": title.id }, title, h("p", {}, detail),
      h("div", { class: "actions" },
        button("Cancel", { onclick: () => dialog.close() }),
        button(action, { kind: "danger", onclick: () => dialog.close("yes") })));
    showDialog(dialog, () => resolve(dialog.returnValue === "yes"));
  });
}

// Shows a modal dialog and removes it when it is closed.
export function showDialog(dialog, closed = () => {}) {
  dialog.addEventListener("close", () => { dialog.remove(); closed(); });
  document.body.append(dialog);
  dialog.showModal();
}

// Closes all dialogs, as if their person had cancelled them.
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}
