// Calls Berth with the official OpenAI SDK for Node.
//
// Reads OPENAI_BASE_URL and OPENAI_API_KEY, as the SDK does, prints one line of
// JSON, and ends with a message and status 1 at the first answer that is not as
// expected.

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError, toFile } from 'openai';

const STREAMED_BYTES = 3_000_000;
const TIMEOUT_MS = 30_000;

const client = new OpenAI({ maxRetries: 0, timeout: TIMEOUT_MS });
const name = `my box ${randomUUID()}`;

/** Create two containers of the same name and return the second. */
async function createContainers() {
  const first = await client.containers.create({ name });
  const second = await client.containers.create({
    name,
    expires_after: { anchor: 'last_active_at', minutes: 5 },
    memory_limit: '4g',
    provider: 'groq', // a field that the SDK does not know
  });
  assert.equal(second.object, 'container');
  assert.equal(second.name, name);
  assert.equal(second.status, 'running');
  assert.equal(second.memory_limit, '4g');
  assert.deepEqual(second.expires_after, { anchor: 'last_active_at', minutes: 5 });
  assert.equal(second.extra_fields.provider, 'groq');
  const retrieved = await client.containers.retrieve(second.id);
  assert.deepEqual({ ...retrieved, extra_fields: null }, { ...second, extra_fields: null });
  await listContainers([second.id, first.id]);
  await client.containers.delete(first.id);
  return second;
}

/** Check that paging one by one returns the containers of this tour, newest first. */
async function listContainers(expected) {
  const page = await client.containers.list({ name, limit: 1 });
  assert.deepEqual([page.data.length, page.has_more, page.hasNextPage()], [1, true, true]);
  const ids = [];
  for await (const container of page) ids.push(container.id);
  assert.deepEqual(ids, expected);
}

/** Upload from memory, from a stream and by reference; return the three files. */
async function uploadFiles(container) {
  const memory = Buffer.from('a,b\n1,2\n');
  const file = await toFile(memory, 'report final.csv', { type: 'text/csv' });
  const first = await client.containers.files.create(container, { file });
  const streamed = randomBytes(STREAMED_BYTES);
  const second = await client.containers.files.create(container, { file: await stream(streamed) });
  const origin = await client.files.create({ file: await toFile(memory, 'origin.csv'), purpose: 'assistants' });
  const third = await client.containers.files.create(container, { file_id: origin.id });
  await client.files.delete(origin.id);
  checkFile(first, container, 'report final.csv', memory.length);
  checkFile(second, container, 'streamed.bin', STREAMED_BYTES);
  checkFile(third, container, 'origin.csv', memory.length);
  await checkContent(first, memory, 'text/csv');
  await checkContent(second, streamed, 'application/octet-stream');
  await checkContent(third, memory);
  return [first, second, third];
}

/** Return a stream of a file with this content. */
async function stream(content) {
  const folder = await mkdtemp(join(tmpdir(), 'tour-'));
  const path = join(folder, 'streamed.bin');
  await writeFile(path, content);
  const opened = createReadStream(path);
  opened.on('close', () => rm(folder, { recursive: true }));
  return opened;
}

function checkFile(file, container, filename, bytes) {
  assert.equal(file.object, 'container.file');
  assert.equal(file.container_id, container);
  assert.equal(file.source, 'user');
  assert.equal(file.bytes, bytes);
  assert.ok(file.path.startsWith('/mnt/data/') && file.path.endsWith(`-${filename}`), file.path);
}

async function checkContent(file, content, type) {
  const response = await client.containers.files.content.retrieve(file.id, { container_id: file.container_id });
  assert.ok(Buffer.from(await response.arrayBuffer()).equals(content), 'the content differs from what was uploaded');
  if (type) assert.equal(response.headers.get('content-type'), type);
}

/** List, retrieve and delete what was uploaded. */
async function listFiles(container, files) {
  const ids = [];
  for await (const file of client.containers.files.list(container, { limit: 1, order: 'asc' })) ids.push(file.id);
  assert.deepEqual(ids, files.map((file) => file.id));
  const where = { container_id: container };
  const retrieved = await client.containers.files.retrieve(files[0].id, where);
  assert.deepEqual([retrieved.id, retrieved.path], [files[0].id, files[0].path]);
  await client.containers.files.delete(files[0].id, where);
  await refusal(NotFoundError, client.containers.files.retrieve(files[0].id, where));
}

/** Return what is known about the error that `promise` must be rejected with. */
async function refusal(expected, promise) {
  const error = await promise.then(() => assert.fail(`expected ${expected.name}`), (reason) => reason);
  assert.ok(error instanceof expected, `expected ${expected.name}, got ${error}`);
  assert.ok(error.requestID, 'the error has no request id');
  const { status, code, param, type, message } = error;
  return { class: expected.name, status, code, param, type, message };
}

async function tour() {
  const container = await createContainers();
  const files = await uploadFiles(container.id);
  await listFiles(container.id, files);
  await client.containers.delete(container.id);
  const stranger = new OpenAI({ apiKey: 'sk-bf-wrong', maxRetries: 0, timeout: TIMEOUT_MS });
  return {
    container: container.id,
    bytes: files.map((file) => file.bytes),
    errors: [
      await refusal(NotFoundError, client.containers.retrieve(container.id)),
      await refusal(AuthenticationError, stranger.containers.list()),
      await refusal(BadRequestError, client.containers.create({ name, memory_limit: '3g' })),
    ],
  };
}

console.log(JSON.stringify(await tour()));
