// Raster pictures: recognised by their first bytes, never by a name or a type that somebody gave.

const SIGNATURES = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38, 0x37, 0x61]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38, 0x39, 0x61]],
];
const RIFF = [0x52, 0x49, 0x46, 0x46];
const WEBP = [0x57, 0x45, 0x42, 0x50];
export const SIGNATURE_BYTES = 12;
export const MAX_PICTURE_BYTES = 20_000_000;
export const hasPictureName = (name) => /\.(png|jpe?g|gif|webp)$/i.test(name);

const matches = (bytes, signature, offset = 0) => signature.every((byte, index) => bytes[offset + index] === byte);

// Returns the media type of a raster picture; null for anything else.
export function pictureType(bytes) {
  if (matches(bytes, RIFF) && matches(bytes, WEBP, 8)) return "image/webp";
  return SIGNATURES.find(([, signature]) => matches(bytes, signature))?.[0] ?? null;
}

// Shows `bytes` with the name `label`, if they are a raster picture.
class BerthPicture extends HTMLElement {
  #url = null;

  show(bytes, label) {
    const type = pictureType(bytes);
    if (!type) return false;
    this.#forget();
    this.#url = URL.createObjectURL(new Blob([bytes], { type }));
    const image = document.createElement("img");
    image.alt = label;
    image.decoding = "async";
    image.src = this.#url;
    image.addEventListener("error", () => this.replaceChildren(`${label} is damaged and cannot be shown.`));
    this.replaceChildren(image);
    return true;
  }

  disconnectedCallback() { this.#forget(); }

  #forget() {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
  }
}

customElements.define("berth-picture", BerthPicture);
