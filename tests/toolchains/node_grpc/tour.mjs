// Calls Berth over gRPC through stubs that were generated from proto/ into gen/.
//
// Reads BERTH_ADDRESS and BERTH_KEY, prints one line of JSON, and ends with a
// message and status 1 at the first answer that is not as expected.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { create, equals } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ContainerSchema, ContainerStatus } from './gen/berth/v1/container_pb.js';
import { ContainerFileService } from './gen/berth/v1/container_file_service_pb.js';
import { ContainerService } from './gen/berth/v1/container_service_pb.js';
import { Provider } from './gen/berth/v1/provider_pb.js';
import { ErrorInfoSchema } from './gen/google/rpc/error_details_pb.js';

const PIECE_BYTES = 300_000;
const TIMEOUT_MS = 30_000;

const authenticate = (next) => (request) => {
  request.header.set('authorization', `Bearer ${process.env.BERTH_KEY}`);
  return next(request);
};
const transport = createGrpcTransport({
  baseUrl: `http://${process.env.BERTH_ADDRESS}`,
  interceptors: [authenticate],
  defaultTimeoutMs: TIMEOUT_MS,
});
const containers = createClient(ContainerService, transport);
const files = createClient(ContainerFileService, transport);

/** Create a container and return its id. */
async function createContainer() {
  const created = await containers.createContainer({
    provider: Provider.GROQ,
    name: 'node stubs',
    expiresAfter: { anchor: 'last_active_at', minutes: 5 },
    memoryLimit: '4g',
    metadata: { tour: 'node' },
  });
  assert.deepEqual([created.name, created.memoryLimit, created.metadata.tour], ['node stubs', '4g', 'node']);
  assert.deepEqual([created.expiresAfter.anchor, created.expiresAfter.minutes], ['last_active_at', 5]);
  assert.deepEqual([created.provider, created.status], [Provider.GROQ, ContainerStatus.RUNNING]);
  const retrieved = await containers.retrieveContainer({ containerId: created.id });
  const [before, after] = [created, retrieved].map((container) =>
    create(ContainerSchema, { ...container, extraFields: undefined }));
  assert.ok(equals(ContainerSchema, before, after), 'the container that was retrieved differs');
  return created.id;
}

/** Upload `content` in two messages and return the file. */
async function upload(containerId, content) {
  async function* messages() {
    const first = { contentType: 'application/x-data', data: content.subarray(0, PIECE_BYTES) };
    yield { containerId, filePath: 'in/data.bin', body: first };
    yield { body: { data: content.subarray(PIECE_BYTES) } };
  }
  const file = await files.createContainerFile(messages());
  assert.deepEqual([file.containerId, file.path], [containerId, '/mnt/data/in/data.bin']);
  assert.equal(file.bytes, BigInt(content.length));
  return file;
}

/** Compare the content of a file; return how many messages it came in, and its type. */
async function download(file, content) {
  const parts = [];
  for await (const part of files.retrieveContainerFileContent({ containerId: file.containerId, fileId: file.id })) {
    parts.push(part);
  }
  const received = Buffer.concat(parts.map((part) => part.data));
  assert.ok(received.equals(content), 'the content differs from what was uploaded');
  return { messages: parts.length, content_type: parts[0].contentType };
}

/** Return what is known about the error of a container that does not exist. */
async function notFound(containerId) {
  const missing = containers.retrieveContainer({ containerId });
  const error = await missing.then(() => assert.fail('expected NotFound'), (reason) => reason);
  assert.ok(error instanceof ConnectError, `expected ConnectError, got ${error}`);
  const [info] = error.findDetails(ErrorInfoSchema);
  assert.ok(info, 'the error has no ErrorInfo');
  return { code: Code[error.code], message: error.rawMessage, reason: info.reason, domain: info.domain };
}

async function tour() {
  const containerId = await createContainer();
  const content = randomBytes(2 * PIECE_BYTES);
  const file = await upload(containerId, content);
  const page = await files.listContainerFiles({ containerId });
  assert.deepEqual([page.data.map(({ id }) => id), page.firstId, page.hasMore], [[file.id], file.id, false]);
  const downloaded = await download(file, content);
  const gone = await files.deleteContainerFile({ containerId, fileId: file.id });
  assert.deepEqual([gone.id, gone.deleted], [file.id, true]);
  const deleted = await containers.deleteContainer({ containerId });
  assert.deepEqual([deleted.id, deleted.deleted], [containerId, true]);
  return { bytes: Number(file.bytes), ...downloaded, ...(await notFound(containerId)) };
}

console.log(JSON.stringify(await tour()));
