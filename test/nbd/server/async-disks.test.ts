/** A real server with an asynchronous disk: which clients wait, and clients that disconnect meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Prng } from '../../../src/base/prng.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { Counter } from '../../../src/nbd/protocol/state.ts';
import { Command, WireError } from '../../../src/nbd/protocol/wire.ts';
import type { NbdServerOptions } from '../../../src/nbd/server/server-options.ts';
import { ShuffledDisk } from '../../support/fakes/shuffled-disk.ts';
import { request } from '../../support/fixtures/nbd-client.ts';
import { noisePage as noise } from '../../support/fixtures/pages.ts';
import { until } from '../../support/fixtures/until.ts';
import { type Client, type Rig, rig } from './server-rig.ts';

const MIB = 1024 * 1024;
/** A watchdog: it ends a test in which a client is not served. */
const timeout = 60_000;

/** A disk that holds its bios until they are released; they end in any order. */
class HeldDisk extends ShuffledDisk {
  isHolding = true;
  override tick(): number {
    return this.isHolding ? 0 : super.tick();
  }
}

/** A server with the asynchronous disk `slow` and the synchronous disk `disk`. */
async function slowRig(
  body: (rig: Rig & { slow: Ramzswap; backing: HeldDisk }) => Promise<void>,
  options: Partial<NbdServerOptions> = {},
): Promise<void> {
  const backing = new HeldDisk(4 * MIB, new Prng(7));
  const slow = new Ramzswap({
    sizeBytes: 4 * MIB,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
    backing: { disk: backing, showsOldData: false, bioCount: 16 },
  });
  const exports = new Map([
    ['disk', { name: 'disk', description: '', disk: new MemoryDisk(MIB) }],
    ['slow', { name: 'slow', description: '', disk: slow }],
  ]);
  await rig({ exports, ...options }, async (made) => await body({ ...made, slow, backing }));
}

const writeOf = (page: number, seed: number): Uint8Array =>
  request({ type: Command.write, cookie: page, offset: page * 4096, data: noise(seed) });
const readOf = (page: number): Uint8Array =>
  request({ type: Command.read, cookie: page, offset: page * 4096, length: 4096 });

test('an asynchronous disk serves many clients with many requests, and replies after the bios have ended', async () => {
  await slowRig(async ({ client, backing, slow }) => {
    backing.isHolding = false;
    const clients = await Promise.all([0, 1, 2].map(() => client().go('slow')));
    await Promise.all(
      clients.map(async (one, n) => {
        const pages = Array.from({ length: 100 }, (_, i) => n * 200 + i);
        one.say(...pages.map((page) => writeOf(page, page)));
        const replies = await one.hear(16 * pages.length);
        for (let i = 0; i < pages.length; i++) assert.equal(replies.readUInt32BE(16 * i + 4), 0);
        one.say(...pages.map(readOf));
        for (const page of pages) {
          const reply = await one.hear(16 + 4096);
          assert.equal(reply.readUInt32BE(12), page, 'simple replies are in order');
          assert.ok(reply.subarray(16).equals(noise(page)), `page ${page}`);
        }
      }),
    );
    assert.equal(slow.stats().backingBytes, 300 * 4096);
    assert.ok(backing.inFlightMax > 4, `${backing.inFlightMax} bios in flight`);
  });
});

test('a client that waits for an asynchronous disk does not delay others', {
  timeout,
}, async () => {
  await slowRig(async ({ client, backing }) => {
    const waiting = await client().go('slow');
    waiting.say(writeOf(1, 1));
    const other = await client().go('disk');
    for (let i = 0; i < 3; i++) assert.equal(await other.flush(), 0);
    const same = await client().go('slow');
    assert.equal(await same.flush(), 0, 'a client of the same disk is not delayed');
    while (backing.inFlight.length === 0) await other.flush();
    backing.isHolding = false;
    assert.equal((await waiting.hear(16)).readUInt32BE(4), 0);
  });
});

test('a client with hundreds of requests to an asynchronous disk does not delay others', {
  timeout,
}, async () => {
  await slowRig(async ({ client, backing, server }) => {
    backing.isHolding = false;
    const greedy = await client().go('slow');
    greedy.say(writeOf(1, 1));
    await greedy.hear(16);
    backing.isHolding = true;
    const bytes = Array.from({ length: 512 }, (_, i) =>
      request({ type: Command.read, cookie: i, offset: 4096 + i, length: 1 }),
    );
    greedy.say(...bytes);
    await until('a read', () => server.stats.counters[Counter.reads]! > 0);
    const other = await client().go('disk');
    const same = await client().go('slow');
    for (const one of [other, same])
      assert.equal(await one.flush(), 0, 'served while the greedy client waits');
    backing.isHolding = false;
    const replies = await greedy.hear(512 * 17);
    for (let i = 0; i < 512; i++) {
      assert.equal(replies.readUInt32BE(17 * i + 4), 0);
      assert.equal(replies.readUInt32BE(17 * i + 12), i);
      assert.equal(replies[17 * i + 16], noise(1)[i]);
    }
  });
});

test('outputs that wait for an asynchronous disk do not count as stalled', async () => {
  await slowRig(
    async ({ client, backing, server, log }) => {
      const waiting: Client[] = [];
      for (let i = 0; i < 3; i++) {
        waiting.push(await client().go('slow'));
        waiting[i]!.say(writeOf(i, i));
      }
      await until('three writes', () => backing.inFlight.length === 3);
      const late = await client().go('disk');
      late.socket.pause();
      const reads = Array.from({ length: 8 }, () => request({ type: Command.read, length: MIB }));
      late.say(...reads);
      await until('a read', () => server.stats.counters[Counter.reads]! > 0);
      const other = await client().go('disk');
      for (let i = 0; i < 20; i++) assert.equal(await other.flush(), 0);
      late.socket.resume();
      assert.equal((await late.hear(8 * (16 + MIB))).length, 8 * (16 + MIB));
      backing.isHolding = false;
      for (const one of waiting) assert.equal((await one.hear(16)).readUInt32BE(4), 0);
      assert.deepEqual(log, []);
    },
    { stalledCountMax: 1 },
  );
});

for (const isDropped of [false, true])
  test(`a client that ${isDropped ? 'is dropped' : 'disconnects'} while its bios are in flight does not harm the disk`, async () => {
    await slowRig(async ({ client, backing, server }) => {
      const gone = await client().go('slow');
      gone.say(writeOf(1, 1), readOf(1), writeOf(2, 2));
      const other = await client().go('disk');
      while (backing.inFlight.length < 2) await other.flush();
      if (isDropped) server.disconnect('slow');
      else gone.socket.destroy();
      await gone.hangUp();
      const next = await client().go('slow');
      next.say(readOf(1), readOf(2));
      assert.equal(backing.inFlight.length, 2, 'the bios stay in flight');
      backing.isHolding = false;
      for (const page of [1, 2])
        assert.ok((await next.hear(16 + 4096)).subarray(16).equals(noise(page)));
      while (server.stats.connectionCount > 2) await other.flush();
    });
  });

test('close() waits for the bios of a client that was disconnected', { timeout }, async () => {
  await slowRig(async ({ client, backing, server }) => {
    const gone = await client().go('slow');
    gone.say(writeOf(1, 1));
    await until('a bio', () => backing.inFlight.length === 1);
    server.disconnect('slow');
    await until('no connection', () => server.stats.connectionCount === 0);
    let isClosed = false;
    const closed = server.close().then(() => {
      isClosed = true;
    });
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(isClosed, false, 'the bio is in flight');
    backing.isHolding = false;
    await closed;
    assert.equal(backing.inFlight.length, 0);
  });
});

test('close() returns although a disk does not complete its bios, and stops ticking the disk', {
  timeout,
}, async () => {
  await slowRig(
    async ({ client, backing, server, slow }) => {
      const gone = await client().go('slow');
      gone.say(writeOf(1, 1));
      await until('a bio', () => backing.inFlight.length === 1);
      server.disconnect('slow');
      await server.close();
      const tick = slow.tick.bind(slow);
      let ticks = 0;
      slow.tick = () => {
        ticks++;
        return tick();
      };
      for (let i = 0; i < 20; i++) await turn();
      assert.equal(ticks, 0);
    },
    { closeMs: 20 },
  );
});

test('only the client of a failed bio gets the error of an asynchronous disk', async () => {
  await slowRig(async ({ client, backing, server }) => {
    backing.isHolding = false;
    const one = await client().go('slow');
    one.say(writeOf(1, 1));
    await one.hear(16);
    backing.isGone = true;
    const flat = new Uint8Array(4096).fill(1);
    one.say(readOf(1), request({ type: Command.write, offset: 8192, data: flat }), writeOf(3, 3));
    const errors: number[] = [];
    for (let i = 0; i < 3; i++) errors.push((await one.hear(16)).readUInt32BE(4));
    assert.deepEqual(errors, [WireError.io, 0, WireError.io]);
    assert.equal(server.stats.counters[Counter.failures], 2);
    backing.isGone = false;
    one.say(readOf(1));
    assert.ok((await one.hear(16 + 4096)).subarray(16).equals(noise(1)));
  });
});

test('a write of 4 MiB to an asynchronous disk is staged in pieces', async () => {
  await slowRig(async ({ client, backing }) => {
    backing.isHolding = false;
    const one = await client().go('slow');
    const data = new Uint8Array(4 * MIB);
    new Prng(9).fill(data);
    one.say(request({ type: Command.write, data }));
    assert.equal((await one.hear(16)).readUInt32BE(4), 0);
    one.say(request({ type: Command.read, length: 4 * MIB }));
    assert.ok((await one.hear(16 + 4 * MIB)).subarray(16).equals(data));
  });
});
