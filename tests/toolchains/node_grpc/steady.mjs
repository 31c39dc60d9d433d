// Calls Berth until its input ends, with the settings that docs/grpc-clients.md recommends.
//
// Reads BERTH_ADDRESS, BERTH_KEY and, encoded in Base64, the requests BERTH_LIST and BERTH_CREATE.
// Prints a line after the first calls, and at the end one line of JSON.

import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';

const SERVICE = 'berth.v1.ContainerService';
const CALLERS = 8;

const serviceConfig = {
  loadBalancingConfig: [],
  methodConfig: [{
    name: [{ service: SERVICE }],
    retryPolicy: {
      maxAttempts: 5, initialBackoff: '0.2s', maxBackoff: '2s', backoffMultiplier: 2,
      retryableStatusCodes: ['UNAVAILABLE', 'CANCELLED'],
    },
  }],
};
const client = new grpc.Client(process.env.BERTH_ADDRESS, grpc.credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify(serviceConfig),
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 2000,
});

/** Call a method with an encoded request; resolve to its error, or to null. */
function call(method, request, headers = {}) {
  const metadata = new grpc.Metadata({ waitForReady: true });
  metadata.set('authorization', `Bearer ${process.env.BERTH_KEY}`);
  Object.entries(headers).forEach(([name, value]) => metadata.set(name, value));
  const asIs = (bytes) => bytes;
  const message = Buffer.from(process.env[request], 'base64');
  const options = { deadline: Date.now() + 20_000 };
  return new Promise((resolve) => {
    client.makeUnaryRequest(`/${SERVICE}/${method}`, asIs, asIs, message, metadata, options, resolve);
  });
}

const seen = { created: 0, failures: [] };
let isRunning = true;
process.stdin.on('data', () => { isRunning = false; });

/** List and create a container. */
async function round() {
  const listing = await call('ListContainers', 'BERTH_LIST');
  const creating = await call('CreateContainer', 'BERTH_CREATE', { 'idempotency-key': randomUUID() });
  seen.created += creating ? 0 : 1;
  seen.failures.push(...[listing, creating].filter(Boolean).map((error) => error.message));
}

async function repeat() {
  while (isRunning) {
    await round();
    await setTimeout(10);
  }
}

await round();
console.log('started');
await Promise.all(Array.from({ length: CALLERS }, repeat));
process.stdin.destroy();
client.close();
console.log(JSON.stringify(seen));
