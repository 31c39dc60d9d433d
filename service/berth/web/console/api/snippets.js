// The last call as a command for curl, a program for OpenAI's SDK, and a command for grpcurl. The key is the variable KEY.
import { OPERATIONS, pathOf } from "./operations.js";

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
const isUpload = (call) => call.file !== undefined;
// A name that programs would take for an option, or for standard input.
const local = (name) => (name.startsWith("-") ? `./${name}` : name);
// In a form of curl, `;` and `,` end a name that is not in quotes, and more may follow, such as files to read.
const formName = (name) => `"${local(name).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
const STREAMS = new Set(["streamContainerExec", "followContainerExec"]);

export function curl(call, base) {
  const [method] = OPERATIONS[call.operation];
  const { operation } = call;
  const lines = [`curl ${STREAMS.has(operation) ? "-N " : ""}${quoted(base + pathOf(operation, call))}`, '-H "Authorization: Bearer $KEY"'];
  if (method === "DELETE") lines.push("-X DELETE");
  if (STREAMS.has(operation)) lines.push("-H 'Accept: application/x-ndjson'");
  if (isUpload(call)) {
    for (const [name, value] of Object.entries(call.form)) lines.push(`--form-string ${quoted(`${name}=${value}`)}`);
    lines.push(`-F ${quoted(`file=@${formName(call.file)}`)}`);
  } else if (call.body) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(call.body))}`);
  else if (method === "POST") lines.push("-X POST");
  if (operation.endsWith("Content")) lines.push("-OJ");
  return lines.join(" \\\n  ");
}

// JSON strings are literals of Python, too; only true, false and null differ.
function literal(value) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, item]) => `${literal(key)}: ${literal(item)}`).join(", ")}}`;
  return JSON.stringify(value);
}

const KNOWN_IN_BODY = new Set(["name", "expires_after", "file_ids", "memory_limit", "purpose"]);
const KNOWN_IN_QUERY = new Set(["limit", "after", "order", "purpose"]);

function split(values, known) {
  const present = Object.entries(values ?? {}).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return [present.filter(([name]) => known.has(name)), Object.fromEntries(present.filter(([name]) => !known.has(name)))];
}

function sdkArguments(call) {
  const { container_id: container, file_id: file } = call.params ?? {};
  const [body, extraBody] = split(call.body, KNOWN_IN_BODY);
  const [query, extraQuery] = split(isUpload(call) ? call.form : call.query, KNOWN_IN_QUERY);
  const made = [file, file ? null : container].filter(Boolean).map(literal);
  if (file && container) made.push(`container_id=${literal(container)}`);
  if (isUpload(call)) made.push(`file=open(${literal(call.file)}, "rb")`);
  for (const [name, value] of [...body, ...query]) made.push(`${name}=${literal(value)}`);
  if (Object.keys(extraBody).length) made.push(`extra_body=${literal(extraBody)}`);
  if (Object.keys(extraQuery).length) made.push(`extra_query=${literal(extraQuery)}`);
  return made;
}

function sdkCall(call) {
  const [method, , , known] = OPERATIONS[call.operation];
  if (known) {
    const made = `client.${known}(${sdkArguments(call).join(", ")})`;
    return call.operation.endsWith("Content") ? `open("download", "wb").write(${made}.content)` : `print(${made})`;
  }
  // The SDK has no streams of lines of JSON: the command is run, and its result printed.
  const path = pathOf(call.operation, call).replace(/\/execs\/stream$/, "/execs");
  if (call.operation === "followContainerExec") {
    return `print(client.get(${literal(path.replace(/\/stream(\?.*)?$/, ""))}, cast_to=object))`;
  }
  const body = method === "POST" ? `, body=${literal(call.body ?? {})}` : "";
  return `print(client.${method.toLowerCase()}(${literal(path)}, cast_to=object${body}))`;
}

export function python(call, base) {
  return ["import os", "", "from openai import OpenAI", "",
    `client = OpenAI(base_url=${literal(base)}, api_key=os.environ["KEY"])`, sdkCall(call)].join("\n");
}

const ENUMS = { provider: "PROVIDER", status: "CONTAINER_STATUS" };
// Lists of which the query has one value.
const LISTS = new Set(["include"]);

function message(call) {
  const fields = { ...call.params, ...call.query, ...call.body, ...call.form };
  const made = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === "" || value === null || value === undefined) continue;
    if (ENUMS[name]) made[name] = `${ENUMS[name]}_${value.toUpperCase()}`;
    else if (LISTS.has(name)) made[name] = [value];
    else if (name === "network_policy") made[name] = { ...value, type: `NETWORK_POLICY_TYPE_${value.type.toUpperCase()}` };
    else made[name] = value;
  }
  if (isUpload(call)) made.filename = call.file.slice(call.file.lastIndexOf("/") + 1);
  return made;
}

// The bytes of a file are in base64, as in all JSON of gRPC.
function uploadPipe(call) {
  const start = JSON.stringify(message(call)).slice(0, -1).replaceAll("\\", "\\\\").replaceAll("%", "%%");
  return `printf ${quoted(`${start},"body":{"contentType":"application/octet-stream","data":"%s"}}`)} "$(base64 -w0 ${quoted(local(call.file))})" |`;
}

export function grpc(call, base) {
  const { protocol, host } = new URL(base);
  const isPlain = protocol !== "https:";
  const lines = [`grpcurl ${isPlain ? "-plaintext " : ""}-H "authorization: Bearer $KEY"`];
  if (isUpload(call)) lines.unshift(uploadPipe(call));
  lines.push(isUpload(call) ? "-d @" : `-d ${quoted(JSON.stringify(message(call)))}`);
  lines.push(`${/:\d+$/.test(host) ? host : host + (isPlain ? ":80" : ":443")} berth.v1.${OPERATIONS[call.operation][2]}`);
  return lines.join(" \\\n  ");
}
