// Shows the beginning of a file as text or as a raster picture, and saves files.
import { button, errorBox, h, nextId, put, showDialog } from "./dom.js";
import { size } from "./format.js";
import { MAX_PICTURE_BYTES, pictureType, SIGNATURE_BYTES } from "./pictures.js";

const TEXT_BYTES = 262_144;
const DOWNLOAD_MS = 3_600_000;

// Opens a dialog with the content of a file.
export async function preview(source, file) {
  const name = source.nameOf(file);
  const closing = new AbortController();
  const title = h("h2", { id: `preview-${nextId()}` }, name);
  const content = h("div", { class: "preview", role: "region", tabindex: 0, "aria-label": `Content of ${name}` }, h("p", { class: "soft" }, "Loading…"));
  const failed = (error) => content.replaceChildren(errorBox(error));
  const dialog = h("dialog", { class: "card large", "aria-labelledby": title.id },
    h("div", { class: "heading" }, title, h("span", { class: "soft" }, size(file.bytes)),
      button("Download", { symbol: "download", onclick: () => save(source, file).catch(failed) }),
      button("Close", { symbol: "close", quiet: true, onclick: () => dialog.close() })), content);
  showDialog(dialog, () => closing.abort());
  try {
    content.replaceChildren(...await shown(source, file, name, closing.signal));
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
  }
}

async function shown(source, file, name, signal) {
  if (!file.bytes) return [h("p", { class: "soft" }, "The file is empty.")];
  const beginning = await bytesOf(source, file, { offset: 0, length: Math.min(file.bytes, TEXT_BYTES) }, signal);
  if (pictureType(beginning)) {
    if (file.bytes > MAX_PICTURE_BYTES) return [h("p", { class: "soft" }, "The picture is too large to be shown. Download it.")];
    const picture = h("berth-picture");
    picture.show(file.bytes > beginning.length ? await bytesOf(source, file, {}, signal) : beginning, name);
    return [picture];
  }
  const text = asText(beginning, beginning.length < file.bytes);
  if (text === null) return [h("p", { class: "soft" }, "This is neither text nor a picture that can be shown. Download it.")];
  const cut = beginning.length < file.bytes && h("p", { class: "soft" }, `The first ${size(beginning.length)} of ${size(file.bytes)}.`);
  return put(h("div"), cut, h("pre", {}, text)).childNodes;
}

// Returns UTF-8 as text; null for anything else. A character may be cut off at the end.
function asText(bytes, isCut) {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: isCut });
  } catch {
    return null;
  }
}

async function bytesOf(source, file, query, signal, quiet = false) {
  const response = await source.read(file, query, { signal, quiet });
  return new Uint8Array(await response.arrayBuffer());
}

// Returns an element with the picture in a file; null if the file is none.
export async function pictureOf(source, file, name) {
  if (file.bytes > MAX_PICTURE_BYTES || file.bytes < SIGNATURE_BYTES) return null;
  const picture = h("berth-picture");
  return picture.show(await bytesOf(source, file, {}, undefined, true), name) ? picture : null;
}

// Saves a file. Its type is always the one of unknown bytes, so that no browser ever runs it in the console's origin.
export async function save(source, file) {
  const response = await source.read(file, {}, { signal: AbortSignal.timeout(DOWNLOAD_MS) });
  const url = URL.createObjectURL(new Blob([await response.blob()], { type: "application/octet-stream" }));
  const link = h("a", { href: url, download: source.saveAs(file), hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
