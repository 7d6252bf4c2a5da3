/** The blocking socket with a listener in another thread, because a blocked caller cannot serve itself. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { InvariantError } from '../../../src/base/assert.ts';
import { type StreamAddress, streamSockets } from '../../../src/os/linux/stream-socket.ts';
import { TemporaryFolder } from '../../support/fixtures/processes.ts';

const run = promisify(execFile);
const open = streamSockets(process.platform);
const skip = open === null ? 'no blocking sockets here' : false;

/** Sends "hi", echoes input reversed, closes on "x", and reads nothing more after "s". */
const server = `
  const { createServer } = require('node:net');
  const { parentPort, workerData } = require('node:worker_threads');
  const serve = (socket) => {
    socket.on('error', () => {});
    socket.write('hi');
    socket.on('data', (bytes) => {
      if (bytes[0] === 120) socket.destroy();
      else if (bytes[0] !== 115) socket.write(Buffer.from(bytes).reverse());
      else socket.pause();
    });
  };
  const listen = (where) => new Promise((done) => {
    const server = createServer(serve).listen(where, () => done(server.address()));
    server.on('error', () => done(null));
  });
  Promise.all([
    listen({ path: workerData }),
    listen({ host: '127.0.0.1', port: 0 }),
    listen({ host: '::1', port: 0 }),
  ]).then((all) => parentPort.postMessage(all.map((a) => a === null ? 0 : a.port ?? 0)));
`;

const folder = new TemporaryFolder();
const path = folder.file('socket');
let worker: Worker;
const addresses: Record<string, StreamAddress> = { Unix: { path } };

before(async () => {
  worker = new Worker(server, { eval: true, workerData: path });
  const ports = await new Promise<number[]>((done) => worker.once('message', done));
  addresses['IPv4'] = { host: '127.0.0.1', port: ports[1]! };
  if (ports[2] !== 0) addresses['IPv6'] = { host: '::1', port: ports[2]! };
});

after(async () => {
  await worker.terminate();
  folder[Symbol.dispose]();
});

for (const family of ['Unix', 'IPv4', 'IPv6'])
  test(`${family}: bytes are sent and received at any position of the memory`, { skip }, (t) => {
    const address = addresses[family];
    if (address === undefined) return t.skip('no such addresses here');
    const memory = new Uint8Array(1000).fill(7);
    using socket = open!(address, memory, 1000);
    assert.equal(socket.receive(990, 10, 1000), 2);
    assert.deepEqual([...memory.subarray(988)], [7, 7, 104, 105, ...new Array(8).fill(7)]);
    memory.set([1, 2, 3], 500);
    assert.equal(socket.send(500, 3, 1000), 3);
    assert.equal(socket.receive(0, 1000, 1000), 3);
    assert.deepEqual([...memory.subarray(0, 4)], [3, 2, 1, 7]);
  });

test('a wait times out, and the next one has its own timeout', { skip }, () => {
  const memory = new Uint8Array(100);
  const patienceMs = 60_000;
  using socket = open!({ path }, memory, patienceMs);
  assert.equal(socket.receive(0, 10, patienceMs), 2);
  for (const ms of [30, 90]) {
    const start = performance.now();
    assert.equal(socket.receive(0, 10, ms), -1);
    const took = performance.now() - start;
    assert.ok(took >= ms - 12 && took < patienceMs / 2, `${took} ms of ${ms}`);
  }
});

test('a wait that signals interrupt all the time times out', {
  skip,
  timeout: 60_000,
}, async () => {
  const quiet = folder.file('quiet');
  const listener = createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((done) => listener.listen(quiet, done));
  const child = fileURLToPath(new URL('./stream-socket-child.js', import.meta.url));
  try {
    const { stdout } = await run(process.execPath, [child, quiet], { timeout: 20_000 });
    assert.deepEqual(JSON.parse(stdout), { result: -1, isInterrupted: true });
  } finally {
    listener.close();
  }
});

test('send() times out when the peer does not read and the buffers are full', { skip }, () => {
  const memory = new Uint8Array(2 ** 20).fill(115);
  using socket = open!({ path }, memory, 1000);
  let sent = 0;
  for (let i = 0; i < 1000; i++) {
    const n = socket.send(0, memory.length, 30);
    if (n === -1) break;
    assert.ok(n > 0);
    sent += n;
  }
  assert.ok(sent > 0 && sent < 500 * memory.length);
  assert.equal(socket.send(0, 10, 30), -1);
});

test('a closed connection is a result, not an error', { skip }, () => {
  const memory = new Uint8Array(100).fill(120);
  using socket = open!({ path }, memory, 1000);
  assert.equal(socket.receive(50, 10, 1000), 2);
  assert.equal(socket.send(0, 1, 1000), 1);
  assert.equal(socket.receive(50, 10, 1000), 0);
  let last = 1;
  for (let i = 0; i < 10 && last > 0; i++) last = socket.send(0, 1, 1000);
  assert.equal(last, 0);
});

test('a failed connect is an error with its errno', { skip }, () => {
  const memory = new Uint8Array(100);
  const at = (address: StreamAddress) => (): unknown => open!(address, memory, 500);
  const errno = (name: string): object => ({
    code: 'ERR_IO_SYSTEM',
    facts: { call: 'connect', errno: name },
  });
  assert.throws(at({ path: `${path}-not` }), errno('ENOENT'));
  assert.throws(at({ host: '127.0.0.1', port: 1 }), errno('ECONNREFUSED'));
  for (const address of [
    { path: '' },
    { path: 'x'.repeat(108) },
    { path: 'a\0b' },
    { host: 'localhost', port: 1 },
    { host: '127.0.0.1', port: 0 },
    { host: '127.0.0.1', port: 65536 },
    { host: 'fe80::1%eth0', port: 1 },
    { host: '::ffff:127.0.0.1', port: 1 },
  ])
    assert.throws(at(address), { code: 'ERR_ARG_VALUE' }, JSON.stringify(address));
});

test('ranges outside the memory and a closed socket are an InvariantError', { skip }, () => {
  const socket = open!({ path }, new Uint8Array(100), 1000);
  assert.throws(() => socket.receive(91, 10, 1000), InvariantError);
  assert.throws(() => socket.send(-1, 10, 1000), InvariantError);
  assert.throws(() => socket.send(0, 0, 1000), InvariantError);
  assert.throws(() => socket.send(0, 1, 0), InvariantError);
  socket[Symbol.dispose]();
  socket[Symbol.dispose]();
  assert.throws(() => socket.receive(0, 10, 1000), InvariantError);
});
