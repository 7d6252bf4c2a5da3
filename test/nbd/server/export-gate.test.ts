/** The gate of an export: a frozen export serves nothing, and a rate holds on average. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import type { NbdExport, RequestGate } from '../../../src/nbd/protocol/exports.ts';
import { ExportGate } from '../../../src/nbd/server/export-gate.ts';
import { until } from '../../support/fixtures/until.ts';
import { rig } from './server-rig.ts';

test('a gate without freeze or rate never waits; a frozen gate waits without limit', () => {
  const gate = new ExportGate();
  gate.charge(1e12);
  assert.equal(gate.waitMs(0), 0);
  gate.isFrozen = true;
  assert.equal(gate.waitMs(1e9), Number.POSITIVE_INFINITY);
  gate.isFrozen = false;
  assert.equal(gate.waitMs(0), 0);
});

test('batches of any size are delayed to the rate; an idle export saves up a tenth of a second', () => {
  const gate = new ExportGate();
  const rate = 1_000_000;
  for (const batch of [1000, 50_000, 2_000_000]) {
    let nowMs = 5000;
    let moved = 0;
    gate.setRate(rate, nowMs);
    while (moved < 20 * rate) {
      const wait = gate.waitMs(nowMs);
      nowMs += wait;
      if (wait > 0) continue;
      gate.charge(batch);
      moved += batch;
    }
    const seconds = (nowMs - 5000) / 1000;
    const most = seconds * rate + rate / 10 + batch;
    assert.ok(moved <= most, `${moved} bytes in ${seconds} s`);
    assert.ok(moved >= seconds * rate * 0.9, `${moved} bytes in ${seconds} s`);
  }
  gate.setRate(rate, 0);
  gate.charge(rate / 10 + 1);
  assert.ok(gate.waitMs(0) > 0);
  gate.waitMs(1e6); // a long idle time
  gate.charge(rate / 10 + 1);
  assert.ok(gate.waitMs(1e6) > 0, 'no more than a tenth of a second was saved up');
});

const exportsWith = (gate: RequestGate): Map<string, NbdExport> =>
  new Map([['disk', { name: 'disk', description: '', disk: new MemoryDisk(1 << 20), gate }]]);

test('requests to a frozen export wait, and are served in order when it is resumed', async () => {
  const gate = new ExportGate();
  await rig({ exports: exportsWith(gate) }, async ({ server, client }) => {
    const before = await client().go();
    assert.equal(await before.flush(), 0);
    gate.isFrozen = true;
    const during = await client().go(); // negotiation is not delayed
    let served = 0;
    const both = [before, during].map((one) => one.flush().then(() => served++));
    await sleep(50);
    assert.equal(served, 0);
    server.resume('other');
    server.resume('disk'); // still frozen
    await sleep(20);
    assert.equal(served, 0);
    gate.isFrozen = false;
    server.resume('disk');
    await Promise.all(both);
    assert.equal(served, 2);
  });
});

test('a held connection asks its gate again after the wait, at most a second, or at a resume', async (t) => {
  const waits = [5000, 777, 20];
  let asked = 0;
  const gate: RequestGate = {
    isOpen: false,
    waitMs: () => waits[asked++] ?? 0,
    charge: () => undefined,
  };
  const started = t.mock.method(globalThis, 'setTimeout');
  const cleared = t.mock.method(globalThis, 'clearTimeout');
  const holds = () => started.mock.calls.filter(({ arguments: [, ms] }) => holdMs.has(ms ?? 0));
  const holdMs = new Set([1000, ...waits]);
  await rig({ exports: exportsWith(gate) }, async ({ server, client }) => {
    const one = await client().go();
    const reply = one.flush();
    for (const count of [1, 2]) {
      await until('it is held', () => holds().length >= count);
      server.resume('disk');
    }
    assert.equal(await reply, 0); // after the wait of 20 ms, which nothing ends
  });
  assert.deepEqual(
    holds().map(({ arguments: [, ms] }) => ms),
    [1000, 777, 20],
  );
  // A timer that goes on would serve a connection that is held again.
  const ended = cleared.mock.calls.map(({ arguments: [timer] }) => timer);
  for (const { result } of holds()) assert.ok(ended.includes(result));
});

test('a server with a frozen export can be closed, and a client of that export disconnected', async () => {
  const gate = new ExportGate();
  await rig({ exports: exportsWith(gate), closeMs: 60_000 }, async ({ server, client }) => {
    const [one, two] = [await client().go(), await client().go()];
    gate.isFrozen = true;
    const { bytesIn } = server.stats;
    const replies = Promise.all([one.flush(), two.flush()]);
    await until('both requests wait', () => server.stats.bytesIn === bytesIn + 2 * 28);
    await server.close();
    assert.deepEqual(await replies, [-1, -1], 'waiting requests get no reply');
  });
  const other = new ExportGate();
  await rig({ exports: exportsWith(other) }, async ({ server, client }) => {
    const one = await client().go();
    other.isFrozen = true;
    const reply = one.flush();
    await sleep(20);
    assert.equal(server.disconnect('disk'), 1);
    assert.equal(await reply, -1, 'it gets no reply');
  });
});

test('a rate slows down its export and no other', { timeout: 60_000 }, async () => {
  const gate = new ExportGate();
  const exports = exportsWith(gate);
  const fast = { name: 'fast', description: '', disk: new MemoryDisk(1 << 20) };
  exports.set('fast', fast);
  gate.setRate(64 * 1024, performance.now());
  await rig({ exports }, async ({ client }) => {
    const slow = await client().go();
    const other = await client().go('fast');
    let slowDone = 0;
    const all = (async () => {
      for (; slowDone < 2000; slowDone++) await slow.flush(); // 44 bytes each: 88,000 bytes
    })();
    for (let i = 0; i < 50; i++) await other.flush();
    assert.ok(slowDone < 2000, 'the other export is done first');
    await all;
  });
});
