/** The control socket from both sides, with clients that misbehave. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Counters } from '../../src/base/counters.ts';
import { SwapError } from '../../src/base/errors.ts';
import { askDisks, askReload, askReset, askStop } from '../../src/host/control-client.ts';
import type { ControlHandlers } from '../../src/host/control-routes.ts';
import { ControlServer } from '../../src/host/control-server.ts';
import { type HostCounter, hostCounters } from '../../src/host/counters.ts';
import { HostEvents } from '../../src/host/events.ts';
import { listDocument } from '../../src/host/list-document.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { until } from '../support/fixtures/until.ts';

/** A watchdog. */
const timeout = 60_000;

interface Rig {
  readonly path: string;
  readonly counters: Counters<HostCounter>;
  readonly stops: { count: number; isInUse: boolean };
  readonly events: HostEvents;
  readonly control: ControlServer;
}

async function rig(
  t: TestContext,
  clientMsMax?: number,
  document: object = listDocument([]),
): Promise<Rig> {
  const path = join(testFolder(t), 'c');
  const counters = hostCounters();
  const stops = { count: 0, isInUse: false };
  const events = new HostEvents();
  const unused = (): never => {
    throw new Error('this test does not call it');
  };
  const handlers: ControlHandlers = {
    disk: unused,
    events,
    metrics: new Map(),
    add: unused,
    tmem: () => null,
    reload: unused,
    remove: unused,
    set: unused,
    freeze: unused,
    thaw: unused,
    flush: unused,
    disks: () => document,
    health: () => ({ status: 'ok' }),
    reset: async (disk: string, force: boolean) => {
      if (disk === 'bug') throw new TypeError('not a refusal');
      if (disk === 'none') throw new SwapError('ERR_ARG_UNKNOWN', 'the host has no such disk');
      if (!force) throw new SwapError('ERR_IO_IN_USE', 'it has clients');
      return 4096;
    },
    checkStop: (force: boolean) => {
      if (!force && stops.isInUse) throw new SwapError('ERR_IO_IN_USE', 'clients would lose pages');
    },
    stop: () => {
      stops.count++;
    },
  };
  const control = await ControlServer.listen(path, handlers, counters, clientMsMax);
  t.after(() => control.close());
  return { path, counters, stops, events, control };
}

/** Sends bytes and returns the complete reply. */
function exchange(path: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(path, () => socket.write(bytes));
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

const ask = (path: string, method: string, url: string, more = ''): Promise<string> =>
  exchange(path, `${method} ${url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${more}\r\n`);
const statusOf = (answer: string): number => Number(answer.split(' ')[1]);
const bodyOf = (answer: string): unknown => JSON.parse(answer.split('\r\n\r\n')[1] ?? '');

test('only the owner can use the socket, whatever the umask', async (t) => {
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const { path } = await rig(t);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(process.umask(), 0);
});

test('disks and health are sent as JSON', async (t) => {
  const { path, counters } = await rig(t);
  const disks = await ask(path, 'GET', '/v1/disks');
  assert.equal(statusOf(disks), 200);
  assert.match(disks, /content-type: application\/json/);
  assert.deepEqual(bodyOf(disks), { schemaVersion: 1, disks: [] });
  assert.deepEqual(bodyOf(await ask(path, 'GET', '/v1/health?x=1')), { status: 'ok' });
  assert.equal(counters.get('controlRequests'), 2);
});

test('stop replies before it stops the host', async (t) => {
  const { path, stops } = await rig(t);
  const answer = await ask(path, 'POST', '/v1/stop');
  assert.equal(statusOf(answer), 202);
  assert.deepEqual(bodyOf(answer), { schemaVersion: 1, pid: process.pid });
  assert.equal(stops.count, 1);
});

test('a stop that would lose pages gets 409, unless forced', async (t) => {
  const { path, stops } = await rig(t);
  stops.isInUse = true;
  const answer = await ask(path, 'POST', '/v1/stop');
  assert.equal(statusOf(answer), 409);
  assert.match(JSON.stringify(bodyOf(answer)), /ERR_IO_IN_USE.*would lose pages/);
  assert.equal(stops.count, 0);
  assert.equal(statusOf(await ask(path, 'POST', '/v1/stop?force=1')), 202);
  assert.equal(stops.count, 1);
});

test('an unknown path gets 404, a wrong method 405 with the allowed one; neither stops the host', async (t) => {
  const { path, counters, stops } = await rig(t);
  const unknown = await ask(path, 'GET', '/v2/disks');
  assert.equal(statusOf(unknown), 404);
  assert.match(JSON.stringify(bodyOf(unknown)), /ERR_ARG_UNKNOWN.*\/v1\/disks/);
  const wrong = await ask(path, 'GET', '/v1/stop');
  assert.equal(statusOf(wrong), 405);
  assert.match(wrong, /allow: POST/);
  assert.equal(statusOf(await ask(path, 'DELETE', '/v1/disks')), 405);
  assert.equal(stops.count, 0);
  assert.equal(counters.get('controlRefusals'), 3);
});

test('a reader of events that does not read is disconnected, and others get every event', {
  timeout,
}, async (t) => {
  const { path, events, control } = await rig(t);
  events.emit('log', null, 'early');
  const read = exchange(path, 'GET /v1/events HTTP/1.0\r\n\r\n');
  const silent = connect(path, () => silent.write('GET /v1/events HTTP/1.0\r\n\r\n'));
  t.after(() => silent.destroy());
  await once(silent, 'data'); // its stream has begun
  silent.pause();
  const line = 'x'.repeat(64 * 1024);
  for (let i = 0; i < 100; i++) {
    events.emit('log', null, line);
    await new Promise((resolve) => setImmediate(resolve));
  }
  let bytes = 0;
  silent.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await new Promise((resolve) => silent.once('close', resolve).resume());
  assert.ok(bytes < 90 * line.length, `${bytes} bytes were kept for it`);
  events.emit('log', null, 'late');
  await control.close();
  const all = (await read).split('\r\n\r\n')[1]?.trimEnd().split('\n') ?? [];
  assert.equal(all.length, 102);
  assert.match(all[0] ?? '', /"early"/);
  assert.match(all[101] ?? '', /"late"/);
});

test('a header that is too long gets 431, bytes that are not HTTP get 400', async (t) => {
  const { path, counters } = await rig(t);
  const long = await ask(path, 'GET', '/v1/disks', `x: ${'a'.repeat(5000)}\r\n`);
  assert.equal(statusOf(long), 431);
  assert.match(JSON.stringify(bodyOf(long)), /4096 bytes/);
  const noise = await exchange(path, '\x00\x01\x02 hello\r\n\r\n');
  assert.equal(statusOf(noise), 400);
  assert.equal(counters.get('controlRefusals'), 2);
});

test('a body that is too long gets 413 and does not stop the host', async (t) => {
  const { path, stops } = await rig(t);
  const body = 'x'.repeat(9000);
  const answer = await ask(path, 'POST', '/v1/stop', `content-length: 9000\r\n\r\n${body}`);
  assert.equal(statusOf(answer), 413);
  assert.equal(stops.count, 0);
});

test('a body of 8192 bytes is read, one of 8193 is refused', async (t) => {
  for (const [length, status] of [
    [8192, 202],
    [8193, 413],
  ] as const) {
    const { path, stops } = await rig(t);
    const body = '{}'.padEnd(length);
    const more = `content-length: ${length}\r\n\r\n${body}`;
    assert.equal(statusOf(await ask(path, 'POST', '/v1/stop', more)), status);
    assert.equal(stops.count, status === 202 ? 1 : 0);
  }
});

test('32 clients are served at the same time, and one more is disconnected', async (t) => {
  for (const silent of [31, 32]) {
    const { path } = await rig(t);
    for (let i = 0; i < silent; i++) {
      const socket = connect(path);
      t.after(() => socket.destroy());
      await new Promise((resolve) => socket.once('connect', resolve));
    }
    const answer = await ask(path, 'GET', '/v1/health').catch(() => '');
    assert.equal(answer !== '', silent === 31, `with ${silent} other clients`);
  }
});

test('close does not wait for an idle client', async (t) => {
  const { path, control } = await rig(t);
  const silent = connect(path);
  await new Promise((resolve) => silent.once('connect', resolve));
  const gone = new Promise((resolve) => silent.once('close', resolve));
  silent.on('error', () => undefined);
  await control.close();
  await gone;
});

test('a request that no host answers is ERR_IO_NOT_REACHABLE, with advice', async (t) => {
  const path = join(testFolder(t), 'nothing');
  await assert.rejects(askDisks(path), {
    code: 'ERR_IO_NOT_REACHABLE',
    message: /no host answers on .*nothing \(ENOENT\); start one with 'frontswap host'/,
  });
});

const strangers: readonly [string, number, string][] = [
  ['a status that is not 200', 500, '{"schemaVersion":1,"disks":[]}'],
  ['not JSON', 200, 'hello'],
  ['JSON that is not a list', 200, '{"schemaVersion":1}'],
  ['a list of another version', 200, '{"schemaVersion":9,"disks":[]}'],
];
for (const [what, status, body] of strangers)
  test(`${what} is ERR_PEER_PROTOCOL`, async (t) => {
    const path = join(testFolder(t), 'c');
    const server = createHttpServer((_, response) => response.writeHead(status).end(body));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    t.after(() => server.close());
    await assert.rejects(askDisks(path), { code: 'ERR_PEER_PROTOCOL' });
  });

test('a reply may have up to 16 MiB', async (t) => {
  for (const more of [0, 1]) {
    const path = join(testFolder(t), 'c');
    const list = '{"schemaVersion":1,"disks":[]}';
    const body = list.padEnd(16 * 1024 * 1024 + more);
    const server = createHttpServer((_, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    t.after(() => server.close());
    if (more === 0) assert.deepEqual((await askDisks(path)).disks, []);
    else
      await assert.rejects(askDisks(path), {
        code: 'ERR_PEER_PROTOCOL',
        message: /more than 16777216 bytes/,
      });
  }
});

test('a server that is not HTTP is ERR_PEER_PROTOCOL', async (t) => {
  const path = join(testFolder(t), 'c');
  const server = createServer((socket) => socket.end('NBDMAGIC nonsense'));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  await assert.rejects(askDisks(path), { code: 'ERR_PEER_PROTOCOL' });
});

test('a reset is a POST, and its client gets code and message of a refusal', async (t) => {
  const { path } = await rig(t);
  assert.equal(await askReset(path, 'a', true), 4096);
  await assert.rejects(askReset(path, 'a', false), {
    code: 'ERR_IO_IN_USE',
    message: 'it has clients',
  });
  await assert.rejects(askReset(path, 'none', true), { code: 'ERR_ARG_UNKNOWN' });
  assert.equal(statusOf(await ask(path, 'POST', '/v1/disks/none/reset')), 404);
  assert.equal(statusOf(await ask(path, 'POST', '/v1/disks/a/reset')), 409);
  assert.equal(statusOf(await ask(path, 'GET', '/v1/disks/a/reset?force=1')), 405);
});

test('a bug of the host is reported as 500, not as a refusal', async (t) => {
  const { path } = await rig(t);
  assert.equal(statusOf(await ask(path, 'POST', '/v1/disks/bug/reset')), 500);
  await assert.rejects(askReset(path, 'bug', false), { code: 'ERR_PEER_PROTOCOL' });
});

test('a stop takes effect although its client disconnects', { timeout }, async (t) => {
  const { path, stops } = await rig(t);
  const socket = connect(path, () => {
    socket.write('POST /v1/stop HTTP/1.1\r\nhost: x\r\n\r\n');
    socket.destroy();
  });
  await until('a stop', () => stops.count === 1);
});

test('clients that do not read their replies are disconnected for others', {
  timeout,
}, async (t) => {
  const { path } = await rig(t, 50, { text: 'x'.repeat(4 * 1024 * 1024) });
  const stuck = Array.from({ length: 32 }, () => connect(path));
  t.after(() => {
    for (const socket of stuck) socket.destroy();
  });
  for (const socket of stuck) {
    socket.on('error', () => undefined);
    socket.pause();
    socket.write('GET /v1/disks HTTP/1.1\r\nhost: x\r\n\r\n');
  }
  // On a busy machine this client, too, can be too slow for 50 ms: 408.
  let status = 0;
  while (status !== 200) status = statusOf(await ask(path, 'GET', '/v1/health').catch(() => ''));
});

/** A server that is not a host: `reply` gets each connection. */
async function stranger(t: TestContext, reply: (socket: Socket) => void): Promise<string> {
  const path = join(testFolder(t), 'c');
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    reply(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  return path;
}
const head = 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{';

test('a reply that arrives byte by byte has the same deadline as one that never arrives', {
  timeout,
}, async (t) => {
  const path = await stranger(t, (socket) => {
    socket.write(head);
    const timer = setInterval(() => socket.write(' '), 5);
    socket.on('close', () => clearInterval(timer));
  });
  await assert.rejects(askDisks(path, 100), {
    code: 'ERR_IO_NOT_REACHABLE',
    message: /no complete reply within 100 ms/,
  });
});

test('a reply that is cut off is ERR_PEER_PROTOCOL', { timeout }, async (t) => {
  const path = await stranger(t, (socket) => socket.end(head));
  await assert.rejects(askDisks(path), {
    code: 'ERR_PEER_PROTOCOL',
    message: /the reply is incomplete/,
  });
});

test('a reply with a bad number is ERR_PEER_PROTOCOL', { timeout }, async (t) => {
  for (const body of ['{"pid":-1}', '{"pid":1.5}', '{"pid":0}', '{"droppedBytes":-1}', 'null']) {
    const path = await stranger(t, (socket) =>
      socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`),
    );
    await assert.rejects(askStop(path, false), { code: 'ERR_PEER_PROTOCOL' });
    await assert.rejects(askReset(path, 'a', false), { code: 'ERR_PEER_PROTOCOL' });
  }
});

test('control characters in the text of a host are escaped or refused', { timeout }, async (t) => {
  const error = JSON.stringify({ error: { code: 'ERR_IO_IN_USE', message: 'a\x1b[2Jb\nc' } });
  const path = await stranger(t, (socket) =>
    socket.end(`HTTP/1.1 409 No\r\ncontent-length: ${error.length}\r\n\r\n${error}`),
  );
  await assert.rejects(askStop(path, false), { message: 'a\\x1b[2Jb\\x0ac' });
  const many = '2 errors in the configuration:\n  a\x07\nfrontswap: forged';
  const text = JSON.stringify({ error: { code: 'ERR_ARG_VALUE', message: many } });
  const configured = await stranger(t, (socket) =>
    socket.end(`HTTP/1.1 400 No\r\ncontent-length: ${text.length}\r\n\r\n${text}`),
  );
  await assert.rejects(askReload(configured), {
    message: '2 errors in the configuration:\n  a\\x07\n  frontswap: forged',
  });
  const version = JSON.stringify({ schemaVersion: '\x1b]0;x\x07', disks: [] });
  const other = await stranger(t, (socket) =>
    socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${version.length}\r\n\r\n${version}`),
  );
  await assert.rejects(askDisks(other), { message: /version \\x1b\]0;x\\x07/ });
});
