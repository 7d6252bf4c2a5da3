/**
 * Connections between two servers: one with listeners, one that owns the disk. They are in one thread here, and the messages
 * between them are delivered when the test says so; test/host/workers has real threads.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { nullDisk } from '../../../src/block/disks/null-disk.ts';
import type { NbdExport } from '../../../src/nbd/protocol/exports.ts';
import { ExportGate } from '../../../src/nbd/server/export-gate.ts';
import { NbdServer } from '../../../src/nbd/server/server.ts';
import { AwayConnections, type HandedOver } from '../../../src/nbd/server/visits.ts';
import { systemDuplicate } from '../../../src/os/linux/descriptors.ts';
import { systemHasHungUp } from '../../../src/os/linux/hang-up.ts';
import { testFolder } from '../../support/fixtures/folder.ts';
import { command, goOption, RawClient, requestBytes } from '../../support/fixtures/raw-client.ts';
import { until } from '../../support/fixtures/until.ts';

const options = { timeout: 60_000 };
const duplicate = systemDuplicate(process.platform);
const hasHungUp = systemHasHungUp(process.platform);
const flags = Buffer.from([0, 0, 0, 3]);
const PAGE = 4096;
/** NBD_OPT_LIST: IHAVEOPT, its number, no data. */
const list: Buffer = Buffer.from('49484156454f50540000000300000000', 'hex');

interface Rig {
  readonly path: string;
  readonly front: NbdServer;
  readonly back: NbdServer;
  readonly gate: ExportGate;
  /** Exports of the thread of the disk. */
  readonly owned: Map<string, NbdExport>;
  /** Connections on the way to that thread. */
  readonly leaving: HandedOver[];
  readonly lines: string[];
  /** Delivers to `back` from now on, at once. */
  deliver(): void;
}

async function rig(t: TestContext, copy = duplicate): Promise<Rig> {
  const path = join(testFolder(t), 's');
  const gate = new ExportGate();
  const owned = new Map<string, NbdExport>([
    ['away', { name: 'away', description: '', disk: new MemoryDisk(64 * PAGE), gate }],
  ]);
  const leaving: HandedOver[] = [];
  const lines: string[] = [];
  let isDelivering = false;
  const log = (line: string): number => lines.push(line);
  const back: NbdServer = new NbdServer({
    exports: owned,
    ...{ log, hasHungUp, duplicate: copy },
    visits: {
      handOver: (connection) => front.adopt(connection, false),
      opened: (id, name) => front.openedAway(id, name),
      closed: (id) => front.closedAway(id),
    },
  });
  const away: NbdExport = {
    ...{ name: 'away', description: 'd'.repeat(2000), disk: nullDisk(64 * PAGE) },
    isElsewhere: true,
  };
  const here: NbdExport = { name: 'here', description: '', disk: new MemoryDisk(PAGE) };
  const front: NbdServer = new NbdServer({
    exports: new Map([away, here].map((one) => [one.name, one])),
    ...{ log, hasHungUp, duplicate: copy },
    visits: {
      handOver: (connection) => {
        if (isDelivering) back.adopt(connection, true);
        else leaving.push(connection);
      },
      opened: () => undefined,
      closed: () => undefined,
    },
  });
  await front.listenUnix(path);
  t.after(async () => {
    await front.close();
    await back.close();
  });
  const deliver = (): void => {
    isDelivering = true;
    for (const connection of leaving.splice(0)) back.adopt(connection, true);
  };
  return { path, front, back, gate, owned, leaving, lines, deliver };
}

/** Type of the final reply to an option, and the number of replies before it. */
async function replyTo(client: RawClient): Promise<number> {
  for (;;) {
    const head = await client.read(20);
    await client.read(head.readUInt32BE(16));
    const type = head.readUInt32BE(12);
    if (type !== 3) return type;
  }
}

test('requests that arrive with the option are served by the other thread', options, async (t) => {
  const { path, front, back, deliver } = await rig(t);
  deliver();
  using client = await RawClient.connect(path);
  await client.read(18);
  const page = Buffer.alloc(PAGE, 7);
  client.socket.write(
    Buffer.concat([
      ...[flags, goOption('away'), requestBytes(command.write, 0, PAGE), page],
      requestBytes(command.read, 0, PAGE),
    ]),
  );
  assert.equal(await replyTo(client), 1);
  assert.equal((await client.read(16)).readUInt32BE(4), 0, 'the write');
  assert.equal((await client.read(16)).readUInt32BE(4), 0, 'the read');
  assert.deepEqual(await client.read(PAGE), page);
  assert.deepEqual([front.connections('away'), back.connections('away')], [1, 1]);
  assert.equal(front.stats.connectionCount, 1);
  client[Symbol.dispose]();
  await until('both have noticed', () => front.stats.connectionCount === 0);
  assert.deepEqual([front.connections('away'), back.stats.connectionCount], [0, 0]);
});

test('an option is handed over once, however it is split', options, async (t) => {
  const { path, leaving, deliver } = await rig(t);
  using client = await RawClient.connect(path);
  await client.read(18);
  for (const byte of Buffer.concat([flags, goOption('away')])) {
    assert.equal(leaving.length, 0);
    client.socket.write(Buffer.of(byte));
    await sleep(1);
  }
  await until('the connection leaves', () => leaving.length === 1);
  assert.deepEqual(Buffer.from(leaving[0]!.input), goOption('away'));
  client.socket.write(requestBytes(command.flush, 0, 0)); // stays in the socket
  deliver();
  assert.equal(await replyTo(client), 1);
  assert.equal((await client.read(16)).readUInt32BE(4), 0);
});

test('a refused client returns to its thread, and may open another disk', options, async (t) => {
  const { path, front, back, owned, deliver } = await rig(t);
  deliver();
  owned.clear(); // removed meanwhile
  using client = await RawClient.connect(path);
  await client.read(18);
  client.socket.write(Buffer.concat([flags, goOption('away'), goOption('away')]));
  assert.equal(await replyTo(client), 0x8000_0006);
  assert.equal(await replyTo(client), 0x8000_0006);
  assert.deepEqual([front.stats.connectionCount, back.stats.connectionCount], [1, 0]);
  client.socket.write(goOption('here'));
  assert.equal(await replyTo(client), 1);
  client.socket.write(requestBytes(command.read, 0, 1));
  assert.equal((await client.read(17)).readUInt32BE(4), 0);
  assert.deepEqual([front.connections('here'), front.connections('away')], [1, 0]);
});

test(
  'a client that does not read its refusal does not stay with the other thread',
  options,
  async (t) => {
    const { path, front, back, owned, lines, deliver } = await rig(t);
    deliver();
    owned.clear();
    const clients: RawClient[] = [];
    // Replies to LIST fill the socket: with some number of them only the refusal finds no space.
    for (let lists = 0; lists <= 120; lists++) {
      const client = await RawClient.connect(path);
      client.socket.pause();
      client.socket.write(
        Buffer.concat([flags, ...Array.from({ length: lists }, () => list), goOption('away')]),
      );
      clients.push(client);
    }
    await until('one is dropped', () => lines.join().includes('does not read its replies'));
    assert.equal(back.stats.connectionCount, 0);
    for (const client of clients) client[Symbol.dispose]();
    await until('forgotten', () => front.stats.connectionCount === 0);
  },
);

test(
  'a client that disconnects during the handover is removed from both threads',
  options,
  async (t) => {
    const { path, front, back, leaving, deliver } = await rig(t);
    const client = await RawClient.connect(path);
    await client.read(18);
    client.socket.write(Buffer.concat([flags, goOption('away')]));
    await until('the connection leaves', () => leaving.length === 1);
    assert.equal(front.stats.connectionCount, 1, 'it still counts');
    client[Symbol.dispose]();
    await once(client.socket, 'close');
    deliver();
    await until('forgotten', () => front.stats.connectionCount === 0);
    assert.deepEqual([back.stats.connectionCount, front.connections('away')], [0, 0]);
  },
);

test(
  "a pending request of a disconnected client is not executed after a later client's",
  options,
  async (t) => {
    const { path, back, gate, deliver } = await rig(t);
    deliver();
    const first = await RawClient.open(path, 'away');
    gate.isFrozen = true;
    first.socket.write(
      Buffer.concat([requestBytes(command.write, 0, PAGE), Buffer.alloc(PAGE, 0xaa)]),
    );
    await sleep(50); // the request waits at the gate
    first[Symbol.dispose]();
    await once(first.socket, 'close');
    using later = await RawClient.open(path, 'away');
    gate.isFrozen = false;
    back.resume('away');
    const page = await later.pread(0, PAGE);
    assert.ok(page.every((byte) => byte === 0));
  },
);

test('a disk that is frozen during the handover holds the first request', options, async (t) => {
  const { path, back, gate, leaving, deliver } = await rig(t);
  using client = await RawClient.connect(path);
  await client.read(18);
  const request = requestBytes(command.read, 0, 1);
  client.socket.write(Buffer.concat([flags, goOption('away'), request]));
  await until('the connection leaves', () => leaving.length === 1);
  gate.isFrozen = true;
  deliver();
  assert.equal(await replyTo(client), 1, 'the option is answered');
  const reply = client.read(17);
  assert.equal(await Promise.race([reply.then(() => 'reply'), sleep(100, 'held')]), 'held');
  gate.isFrozen = false;
  back.resume('away');
  assert.equal((await reply).readUInt32BE(4), 0);
});

test('a shutdown ends connections during the handover', options, async (t) => {
  const { path, front, back, leaving, deliver } = await rig(t);
  const client = await RawClient.connect(path);
  await client.read(18);
  client.socket.write(Buffer.concat([flags, goOption('away')]));
  await until('the connection leaves', () => leaving.length === 1);
  await front.close();
  await back.close();
  deliver();
  await client.ended();
  await until('forgotten', () => back.stats.connectionCount === 0);
  assert.equal(front.stats.connectionCount, 0);
});

test(
  'without a free descriptor the client is dropped, and nothing is left behind',
  options,
  async (t) => {
    const { path, front, lines, deliver } = await rig(t, () => -1);
    deliver();
    const client = await RawClient.connect(path);
    await client.read(18);
    client.socket.write(Buffer.concat([flags, goOption('away')]));
    await client.ended();
    await until('forgotten', () => front.stats.connectionCount === 0);
    assert.match(lines.join('\n'), /no descriptor is left/);
  },
);

test('AwayConnections counts by export', () => {
  const away = new AwayConnections();
  away.left(1);
  away.left(2);
  assert.deepEqual([away.opened(1, 'a'), away.opened(3, 'a'), away.count], [true, false, 2]);
  assert.deepEqual([...away.byExport], [['a', 1]]);
  assert.deepEqual([away.ended(2), away.ended(1), away.ended(1)], [true, false, false]);
  assert.deepEqual([away.count, [...away.byExport]], [0, []]);
});
