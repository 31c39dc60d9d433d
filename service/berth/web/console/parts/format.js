// Texts for numbers and times, and the names of the contract.

export const PROVIDERS = [
  "openai", "azure", "anthropic", "bedrock", "cohere", "vertex", "vllm", "mistral", "ollama", "groq", "sgl", "parasail",
  "perplexity", "replicate", "cerebras", "gemini", "openrouter", "elevenlabs", "huggingface", "nebius", "xai", "runway", "fireworks",
];
export const PURPOSES = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];
export const ROOT = "/mnt/data/";

const SIZES = ["B", "kB", "MB", "GB", "TB"];

export function size(bytes) {
  let [value, step] = [Number(bytes) || 0, 0];
  while (value >= 1000 && step < SIZES.length - 1) [value, step] = [value / 1000, step + 1];
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 && step ? 1 : 0 })} ${SIZES[step]}`;
}

export const count = (number) => Number(number || 0).toLocaleString("en", { maximumFractionDigits: 2 });
export const money = (usd) => `$${Number(usd || 0).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`;

// Returns a span of time in its two largest units.
export function span(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].reduce(
    ([texts, rest], [unit, name]) => (rest >= unit || (texts.length && texts.length < 2)
      ? [texts.length < 2 ? [...texts, `${Math.floor(rest / unit)} ${name}`] : texts, rest % unit] : [texts, rest]), [[], left]);
  return parts[0].filter((text) => !text.startsWith("0 ")).join(" ") || "0 s";
}

export const milliseconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`);

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

export function moment(seconds) {
  if (!seconds) return "–";
  const date = new Date(seconds * 1000);
  return date.toDateString() === new Date().toDateString() ? `today, ${TIME.format(date)}` : MOMENT.format(date);
}

// Returns the second at which a container expires if it stays idle; null if that is unknown.
export function expiry(container) {
  const minutes = container.expires_after?.minutes;
  return minutes && container.last_active_at ? container.last_active_at + minutes * 60 : null;
}

export const isUsable = (container) => container.status !== "expired" && container.status !== "deleted";

// Returns what is left of a container's time.
export function timeLeft(container, now) {
  const end = expiry(container);
  if (!isUsable(container) || end === null) return "–";
  return end > now ? span(end - now) : "about to expire";
}

export const shortPath = (path) => (path.startsWith(ROOT) ? path.slice(ROOT.length) : path);
export const baseName = (path) => path.slice(path.lastIndexOf("/") + 1) || "file";
