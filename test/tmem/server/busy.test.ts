/** Requests that the server receives without the event loop, and replies that it sends without the stream. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Prng } from '../../../src/base/prng.ts';
import { BusyPoll } from '../../../src/os/linux/busy-poll.ts';
import { type DirectIo, systemDirectIo } from '../../../src/os/linux/direct-io.ts';
import { OUTPUT_BYTES, TmemOutput } from '../../../src/tmem/protocol/output.ts';
import { RequestWriter } from '../../../src/tmem/protocol/requests.ts';
import { TmemSession } from '../../../src/tmem/protocol/session.ts';
import { Op, PAGES_MAX } from '../../../src/tmem/protocol/wire.ts';
import { TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import { SERVED_MAX } from '../../../src/tmem/server/busy-reader.ts';
import { ClientTable } from '../../../src/tmem/server/client-table.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../../support/fakes/fake-store.ts';
import { until } from '../../support/fixtures/until.ts';
import { tmemRig } from './tmem-rig.ts';

const real = systemDirectIo(process.platform);
const options = { timeout: 60_000, skip: real === null ? 'no foreign calls here' : false };
const oid = new Uint32Array(6);

/** The request that the fake receiver repeats: flushes of one page. */
function flushRequest(): Uint8Array {
  const bytes = new Uint8Array(64);
  const writer = new RequestWriter(bytes, 0, bytes.length);
  writer.head(Op.flushPage, 0, 1, 1);
  writer.oid(oid, 0);
  writer.index(1);
  return bytes.subarray(0, writer.writtenBytes);
}

test(
  'a client that always has a request ready waits for the event loop after eight of them',
  options,
  async () => {
    const request = flushRequest();
    let isEndless = false;
    let received = 0;
    const directIo: DirectIo = {
      ...{ sender: real!.sender, busyPoll: new BusyPoll(() => 0) },
      receiver: (into) => () => {
        if (!isEndless) return -1;
        received++;
        into.set(request);
        return request.length;
      },
    };
    await using rig = await tmemRig({ server: { directIo } });
    const client = await rig.connect();
    const pool = await client.newPool({ persistent: true });
    for (let i = 0; i < 3; i++) await pool.flushPage(oid, 0);
    const before = rig.server.stats.bytesIn;
    isEndless = true;
    // The reply of the first polled request has an unexpected id, which ends the client.
    await assert.rejects(async () => {
      for (;;) await pool.flushPage(oid, 0);
    });
    isEndless = false;
    for (let i = 0; i < 10; i++) await nextTurn();
    assert.ok(received >= 1);
    const events = (rig.server.stats.bytesIn - before) / request.length - received;
    assert.ok(received <= events * SERVED_MAX, `${received} after ${events} events`);
  },
);

test('a polled request of a client that has gone is not executed', options, async () => {
  const request = flushRequest();
  let isGone = false;
  let given = 0;
  const directIo: DirectIo = {
    ...{ sender: real!.sender, busyPoll: new BusyPoll(() => 0) },
    receiver: (into) => () => {
      if (!isGone) return -1;
      given++;
      into.set(request);
      return request.length;
    },
  };
  await using rig = await tmemRig({ server: { directIo, hasHungUp: () => isGone && given > 0 } });
  const client = await rig.connect();
  const pool = await client.newPool({ persistent: true });
  assert.equal(await pool.put(oid, 1, new Uint8Array(4096).fill(7), 0), TmemPutResult.stored);
  for (let i = 0; i < 1100; i++) await pool.flushPage(oid, 0); // the longest pause without polling
  isGone = true;
  await assert.rejects(async () => {
    for (;;) await pool.flushPage(oid, 0);
  });
  assert.equal(given, 1);
  await until('its pool has ended', () => rig.tmem.index.counters.get('pages') === 0);
  assert.deepEqual(rig.log, []);
});

test(
  'a socket that accepts part of the replies gets the rest through its stream, in order',
  options,
  async () => {
    let calls = 0;
    const directIo: DirectIo = {
      ...real!,
      sender: (from) => {
        const send = real!.sender(from);
        const lengths = [0, 1, 10, 4000, 1 << 20];
        return (fd, length) => {
          const most = lengths[calls++ % lengths.length]!;
          return most === 0 ? -1 : send(fd, Math.min(most, length));
        };
      },
    };
    await using rig = await tmemRig({ server: { directIo } });
    const client = await rig.connect();
    const pool = await client.newPool({ persistent: true });
    const target = new Uint8Array(4096);
    for (let i = 0; i < 200; i++) {
      const page = new Uint8Array(4096).map((_, at) => at * i);
      assert.equal(await pool.put(oid, i, page), TmemPutResult.stored);
      const gets = [pool.get(oid, i, target), pool.get(oid, i + 1, new Uint8Array(4096))];
      assert.deepEqual(await Promise.all(gets), [TmemGetResult.found, TmemGetResult.absent]);
      assert.deepEqual(target, page);
    }
    assert.ok(calls > 400);
  },
);

/** Puts, gets and flushes of 1 to 32 pages in one pool. */
function requests(prng: Prng): Uint8Array {
  const bytes = new Uint8Array(3_000_000);
  const writer = new RequestWriter(bytes, 0, bytes.length);
  writer.hello();
  writer.newPool(0, 1, 0, '');
  for (let id = 1; id < 120; id++) {
    const op = [Op.put, Op.get, Op.flushPage][prng.below(3)]!;
    const count = 1 + prng.below(prng.oneIn(3) ? PAGES_MAX : 2);
    writer.head(op, 0, count, id);
    for (let i = 0; i < count; i++) {
      writer.oid(oid, 0);
      writer.index(prng.below(40));
      if (op === Op.put) writer.page(pageOf(prng.below(1000)), 0);
    }
  }
  return bytes.subarray(0, writer.writtenBytes);
}

/** The replies to a stream that arrives as a whole. */
function repliesTo(stream: Uint8Array): Buffer {
  const tmem = new Tmem({ store: new FakeStore(60, 100_000), dedup: 'off', sharedPools: 64 });
  const table = new ClientTable({ tmem, nowMs: () => 0, cap: 0, onDoomed: () => {} });
  const session = new TmemSession(table.connect(table.user(1000)!));
  const input = { bytes: stream, view: new DataView(stream.buffer, 0, stream.length) };
  const out = new TmemOutput(new Uint8Array(OUTPUT_BYTES));
  const replies: Buffer[] = [];
  for (let at = 0; at < stream.length; ) {
    at = session.receive(input, at, stream.length, out, Number.POSITIVE_INFINITY);
    assert.equal(session.fault, '');
    replies.push(Buffer.from(out.bytes.subarray(0, out.length)));
    out.clear();
  }
  return Buffer.concat(replies);
}

test(
  'requests that arrive in pieces, by events and by polling, get the replies of one piece',
  options,
  async () => {
    const seed = Number(process.env['SEED'] ?? randomBytes(3).readUIntBE(0, 3));
    const prng = new Prng(seed);
    const stream = requests(prng);
    const expected = repliesTo(stream);
    let [fed, limit, polled] = [0, 0, 0];
    const piece = (): Uint8Array => {
      const most = 1 + prng.below(prng.oneIn(3) ? 60 : 20_000);
      return stream.subarray(fed, Math.min(fed + most, stream.length));
    };
    const directIo: DirectIo = {
      ...{
        sender: real!.sender,
        busyPoll: Object.assign(new BusyPoll(() => 0), { begins: () => true }),
      },
      receiver: (into) => () => {
        if (fed >= limit) return -1;
        const part = piece();
        into.set(part);
        fed += part.length;
        polled++;
        return part.length;
      },
    };
    const store = new FakeStore(60, 100_000);
    await using rig = await tmemRig({ tmem: { store, sharedPools: 64 }, server: { directIo } });
    const socket = connect(rig.path);
    const replies: Buffer[] = [];
    let length = 0;
    socket.on('data', (part: Buffer) => {
      replies.push(part);
      length += part.length;
    });
    await once(socket, 'connect');
    while (fed < stream.length) {
      const part = piece();
      fed += part.length;
      limit = Math.min(stream.length, fed + prng.below(100_000));
      socket.write(part);
      // The server has polled during the event that delivered the part.
      await until(`SEED=${seed} ${fed} bytes`, () => rig.server.stats.bytesIn === fed);
    }
    await until(`SEED=${seed} all replies`, () => length >= expected.length);
    socket.destroy();
    assert.equal(Buffer.compare(Buffer.concat(replies), expected), 0, `SEED=${seed}`);
    assert.ok(polled > 5, `SEED=${seed} polled ${polled} times`);
  },
);
