/** Requests that the server receives without the event loop, and replies that it sends without the stream. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BusyPoll } from '../../../src/os/linux/busy-poll.ts';
import { type DirectIo, systemDirectIo } from '../../../src/os/linux/direct-io.ts';
import { RequestWriter } from '../../../src/tmem/protocol/requests.ts';
import { Op } from '../../../src/tmem/protocol/wire.ts';
import { TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import { SERVED_MAX } from '../../../src/tmem/server/busy-reader.ts';
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
