// The dialog that creates a container.
import { button, errorBox, field, h, nextId, select, showDialog } from "../parts/dom.js";
import { PROVIDERS } from "../parts/format.js";

const MEMORY = ["1g", "4g", "16g", "64g"];
const NETWORKS = [["", "not restricted by the request"], ["disabled", "no network"], ["allowlist", "only some domains"]];
const LAST_PROVIDER = "berth.provider";

// Asks for what a container shall be and calls `created` with the new one.
export function createContainer(api, created) {
  const controls = {
    name: h("input", { required: true, maxlength: 256, value: "my-container", autocomplete: "off" }),
    provider: select([["", "default of the service"], ...PROVIDERS.map((name) => [name, name])], sessionStorage.getItem(LAST_PROVIDER) ?? "ollama"),
    memory: select([["", "default"], ...MEMORY.map((name) => [name, name])]),
    minutes: h("input", { type: "number", min: 1, placeholder: "20", inputmode: "numeric" }),
    network: select(NETWORKS),
    domains: h("textarea", { rows: 2, placeholder: "example.org *.example.com", spellcheck: "false" }),
    files: h("input", { placeholder: "file-… file-…", spellcheck: "false", autocomplete: "off" }),
    metadata: h("textarea", { rows: 2, placeholder: "team=research", spellcheck: "false" }),
  };
  const domains = field("Domains", controls.domains, "Separated by blanks or new lines.");
  domains.hidden = true;
  controls.network.addEventListener("change", () => { domains.hidden = controls.network.value !== "allowlist"; });
  const title = h("h2", { id: `create-${nextId()}` }, "New container");
  const message = h("div");
  const send = h("button", { class: "primary" }, "Create");
  const form = h("form", {}, title, message,
    h("div", { class: "grid" }, field("Name", controls.name), field("Provider", controls.provider),
      field("Memory", controls.memory), field("Expires after idle minutes", controls.minutes)),
    h("details", {}, h("summary", {}, "Network, files and metadata"),
      field("Network", controls.network), domains,
      field("Ids of files to copy into it", controls.files, "Files of the page Files."),
      field("Metadata", controls.metadata, "One name=value in a line.")),
    h("div", { class: "actions" }, button("Cancel", { onclick: () => dialog.close() }), send));
  const dialog = h("dialog", { class: "card", "aria-labelledby": title.id }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const container = await api.call("createContainer", { body: bodyOf(controls) });
      sessionStorage.setItem(LAST_PROVIDER, controls.provider.value);
      dialog.close();
      created(container);
    } catch (error) {
      send.disabled = false;
      message.replaceChildren(errorBox(error));
    }
  });
  showDialog(dialog);
  controls.name.select();
}

function bodyOf({ name, provider, memory, minutes, network, domains, files, metadata }) {
  const body = { name: name.value };
  if (provider.value) body.provider = provider.value;
  if (memory.value) body.memory_limit = memory.value;
  if (minutes.value) body.expires_after = { anchor: "last_active_at", minutes: Number(minutes.value) };
  if (network.value) body.network_policy = { type: network.value, ...(network.value === "allowlist" ? { allowed_domains: words(domains.value) } : {}) };
  if (files.value.trim()) body.file_ids = words(files.value);
  const pairs = metadata.value.split("\n").filter((line) => line.trim()).map((line) => line.split("="));
  if (pairs.length) body.metadata = Object.fromEntries(pairs.map(([key, ...rest]) => [key.trim(), rest.join("=").trim()]));
  return body;
}

const words = (text) => text.split(/[\s,]+/).filter(Boolean);
