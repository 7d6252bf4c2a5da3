/** A host with engine workers: real threads, disks, clients, and the control socket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import {
  askAdd,
  askDisk,
  askDisks,
  askGate,
  askRemove,
  askReset,
} from '../../../src/host/control-client.ts';
import type { RawClient } from '../../support/fixtures/raw-client.ts';
import { until } from '../../support/fixtures/until.ts';
import { check, fill, leave, live, MiB, options, PAGE, somePages } from '../live-rig.ts';

const two = { workers: 2 };

test('each disk keeps its pages, whichever worker has it', options, async (t) => {
  const { control, host, open } = await live(t, { ...two, disk: ['a=8M', 'b=8M', 'c=8M'] });
  const clients = [await open('a'), await open('b'), await open('c')];
  for (const [i, client] of clients.entries()) await fill(client, somePages(16, i + 1));
  for (const [i, client] of clients.entries()) await check(client, somePages(16, i + 1));
  const { disks } = await askDisks(control);
  assert.deepEqual(
    disks.map(({ name, storedPages, connections }) => [name, storedPages, connections]),
    ['a', 'b', 'c'].map((name) => [name, 16, 1]),
  );
  assert.deepEqual([host.totals().requests > 0, host.totals().connections], [true, 3]);
});

test(
  'a disk in a worker has one client at a time, also after that client has reconnected',
  options,
  async (t) => {
    const { control, open } = await live(t, { ...two, disk: ['a=8M', 'b=8M'] });
    const first = await open('b');
    await fill(first, somePages(4));
    await leave(control, 'b', first);
    const again = await open('b');
    await check(again, somePages(4));
    await assert.rejects(askRemove(control, 'b', false), { code: 'ERR_IO_IN_USE' });
    await assert.rejects(askReset(control, 'b', false), { code: 'ERR_IO_IN_USE' });
    await check(again, somePages(4));
  },
);

test('a frozen disk of one worker does not delay the other', options, async (t) => {
  const { control, open } = await live(t, { ...two, disk: ['a=8M', 'b=8M'] });
  const [a, b] = [await open('a'), await open('b')];
  await askGate(control, 'b', 'freeze');
  const waiting = b.write(0, Buffer.alloc(PAGE, 1));
  await fill(a, somePages(8));
  assert.equal((await askDisk(control, 'b')).isFrozen, true);
  assert.equal((await askDisk(control, 'b')).storedPages, 0);
  await askGate(control, 'b', 'thaw');
  assert.equal(await waiting, 0);
});

test('the total limit holds for all workers together', options, async (t) => {
  const { control, open } = await live(t, {
    ...{ ...two, disk: ['a=16M', 'b=16M'] },
    'total-limit': '4M',
  });
  const [a, b] = [await open('a'), await open('b')];
  let refused = 0;
  for (const [i, page] of somePages(4000).entries())
    if ((await (i % 2 === 0 ? a : b).write(i * PAGE, page)) !== 0) refused++;
  assert.ok(refused > 0, 'the limit is reached');
  const { disks } = await askDisks(control);
  const used = disks.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
  assert.ok(used > 2 * MiB && used <= 4 * MiB, `${used} bytes used`);
  assert.ok(disks.every(({ storedPages }) => storedPages > 0));
});

test('disks are added and removed while clients connect', { timeout: 120_000 }, async (t) => {
  const { control, open } = await live(t, { ...two, disk: ['a=8M'] });
  const a = await open('a');
  await fill(a, somePages(16));
  let isDone = false;
  const results = { opened: 0, refused: 0 };
  const connect = async (): Promise<void> => {
    while (!isDone) {
      try {
        const client = await open('b');
        results.opened++;
        // A forced remove may end it at any time.
        await client.write(0, somePages(1)[0]!).catch(() => undefined);
        client[Symbol.dispose]();
      } catch (error) {
        assert.match((error as Error).message, /refuses 'b'|ended the connection/);
        results.refused++;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const connecting = Promise.all([connect(), connect()]);
  try {
    for (let round = 0; round < 15; round++) {
      await askAdd(control, { name: 'b', size: '4M' });
      await new Promise((resolve) => setTimeout(resolve, 30));
      await askRemove(control, 'b', true);
    }
  } finally {
    isDone = true;
    await connecting;
  }
  await check(a, somePages(16));
  assert.ok(results.opened > 0 && results.refused > 0, JSON.stringify(results));
  assert.deepEqual(
    (await askDisks(control)).disks.map(({ name }) => name),
    ['a'],
  );
});

test('a worker that ends is reported with its disks, and nothing hangs', options, async (t) => {
  const threads: Worker[] = [];
  const note = (worker: Worker): number => threads.push(worker);
  process.on('worker', note);
  const lines: string[] = [];
  let lost = 0;
  const { control, host, open } = await live(t, { ...two, disk: ['a=8M', 'b=8M'] }, () => ({
    logError: (line) => lines.push(line),
    onLost: () => lost++,
  }));
  process.off('worker', note);
  assert.equal(threads.length, 2);
  const b = await open('b');
  await fill(b, somePages(4));
  await threads[1]!.terminate();
  await b.ended();
  await until('it is reported', () => lost === 1);
  assert.match(lines.join('\n'), /^engine worker 2 has ended: the pages of b are lost: /m);
  await assert.rejects(askRemove(control, 'b', true), { code: 'ERR_IO_ENDED' });
  await host.stop();
});

test('a stop disconnects the clients of all workers', options, async (t) => {
  const { host, open } = await live(t, { ...two, disk: ['a=8M', 'b=8M'] });
  const clients: RawClient[] = [await open('a'), await open('b')];
  await host.stop();
  await Promise.all(clients.map((client) => client.ended()));
});
