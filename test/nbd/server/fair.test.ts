/** What one client can cost the others of a server: turns, memory, and work for a client that has gone. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Secret } from '../../../src/base/secret.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import type { Disk } from '../../../src/block/ops.ts';
import { Counter } from '../../../src/nbd/protocol/state.ts';
import { Command, CommandFlag, Option } from '../../../src/nbd/protocol/wire.ts';
import { ExportGate } from '../../../src/nbd/server/export-gate.ts';
import { NbdServer } from '../../../src/nbd/server/server.ts';
import type { TlsServerOptions } from '../../../src/nbd/server/tls-upgrade.ts';
import { systemHasHungUp } from '../../../src/os/linux/hang-up.ts';
import { infoData, join, option, request } from '../../support/fixtures/nbd-client.ts';
import { until } from '../../support/fixtures/until.ts';
import { Client, newPath, type Rig, rig, secure } from './server-rig.ts';

const MIB = 1024 * 1024;
const timeout = 60_000;
const hasHungUp = systemHasHungUp(process.platform);

/** A disk that counts the bytes of its bios. */
function counted(sizeBytes: number): { readonly disk: Disk; readonly moved: () => number } {
  const next = new MemoryDisk(sizeBytes);
  let moved = 0;
  const disk: Disk = {
    sizeBytes: next.sizeBytes,
    limits: next.limits,
    readOnly: false,
    synchronous: true,
    submit: (bio) => {
      moved += bio.length;
      next.submit(bio);
    },
    tick: () => next.tick(),
    extents: (offset, length, sink) => next.extents(offset, length, sink),
  };
  return { disk, moved: () => moved };
}

async function twoDisks(
  body: (made: {
    server: NbdServer;
    open: (name: string) => Client;
    moved: () => number;
    log: string[];
  }) => Promise<void>,
): Promise<void> {
  const log: string[] = [];
  const { disk, moved } = counted(64 * MIB);
  const exports = new Map([
    ['busy', { name: 'busy', description: '', disk }],
    ['calm', { name: 'calm', description: '', disk: new MemoryDisk(MIB) }],
  ]);
  const server = new NbdServer({ exports, log: (line) => log.push(line), hasHungUp });
  const path = newPath();
  await server.listenUnix(path);
  const clients: Client[] = [];
  const open = (): Client => {
    const client = new Client({ path });
    clients.push(client);
    return client;
  };
  try {
    await body({ server, open, moved, log });
  } finally {
    for (const client of clients) client.socket.destroy();
    await server.close();
  }
}

const zeroAll = request({
  type: Command.writeZeroes,
  length: 64 * MIB,
  flags: CommandFlag.noHole,
});

for (const [what, requests] of [
  ['write-zeroes of the whole disk', Array.from({ length: 100 }, () => zeroAll)],
  [
    'trims of the whole disk',
    [
      zeroAll,
      ...Array.from({ length: 3 }, () => request({ type: Command.trim, length: 64 * MIB })),
      ...Array.from({ length: 100 }, () => zeroAll),
    ],
  ],
  [
    'reads of 32 MiB',
    Array.from({ length: 100 }, () => request({ type: Command.read, length: 32 * MIB })),
  ],
] as const)
  test(`between two replies to a client the server does little work for another client: ${what}`, {
    timeout,
  }, async () => {
    await twoDisks(async ({ open, moved }) => {
      const busy = await open('busy').go('busy');
      busy.socket.on('data', () => {}); // also read
      busy.say(join(...requests));
      const calm = await open('calm').go('calm');
      await calm.flush();
      await until('the busy client is served', () => moved() > 8 * MIB);
      const done: number[] = [];
      for (let i = 0; i < 40; i++) {
        const before = moved();
        assert.equal(await calm.flush(), 0);
        done.push(moved() - before);
      }
      done.sort((a, b) => a - b);
      // A reply takes some turns of the server, which is in this process. A turn is 256 KiB of a range.
      assert.ok(done[20]! <= 4 * MIB, `median: ${done[20]} bytes between two replies`);
    });
  });

test('work for a disconnected client stops, and its requests are dropped', {
  timeout,
}, async () => {
  await twoDisks(async ({ server, open, moved, log }) => {
    const busy = await open('busy').go('busy');
    busy.say(join(...Array.from({ length: 1000 }, () => zeroAll)));
    await until('the request is served', () => moved() > MIB);
    busy.socket.destroy();
    await until('it has gone', () => server.stats.connectionCount === 0);
    const stopped = moved();
    assert.ok(stopped < 32 * 1000 * MIB, 'before all requests were processed');
    for (let i = 0; i < 100; i++) await nextTurn();
    assert.equal(moved(), stopped);
    assert.match(log.join('\n'), /client disconnected while its requests were waiting/);
  });
});

test('a write of a client that left while its disk was frozen has no effect after the thaw', {
  timeout,
}, async () => {
  const { disk, moved } = counted(MIB);
  const gate = new ExportGate();
  const exports = new Map([['disk', { name: 'disk', description: '', disk, gate }]]);
  await rig({ exports, hasHungUp }, async ({ server, client }) => {
    const gone = await client().go();
    gate.isFrozen = true;
    const before = server.stats.bytesIn;
    gone.say(request({ type: Command.write, data: new Uint8Array(4096).fill(1) }));
    await until('the write has arrived', () => server.stats.bytesIn >= before + 28 + 4096);
    gone.socket.destroy();
    await gone.hangUp();
    await nextTurn();
    gate.isFrozen = false;
    server.resume('disk');
    await until('it has gone', () => server.stats.connectionCount === 0);
    assert.equal(moved(), 0);
  });
});

test('a client that disconnects in order after a long request causes no log line', {
  timeout,
}, async () => {
  await twoDisks(async ({ server, open, log }) => {
    const busy = await open('busy').go('busy');
    busy.say(zeroAll, zeroAll, zeroAll, request({ type: Command.disc }));
    await until('the requests are served', () => server.stats.counters[Counter.writeZeroes]! > 0);
    busy.socket.destroy();
    await until('it has gone', () => server.stats.connectionCount === 0);
    assert.deepEqual(log, []);
  });
});

/** Bytes that clients make the server keep: it sends what the socket accepts, and then stops. */
async function unread({ server, client }: Rig, length: number): Promise<number> {
  const first = await client().go();
  first.socket.pause();
  first.say(join(...Array.from({ length: 500 }, () => request({ type: Command.read, length }))));
  await until('replies', () => server.stats.counters[Counter.reads]! > 0);
  for (let turns = 0, last = -1; turns < 50; turns++) {
    if (server.stats.bytesOut !== last) turns = 0;
    last = server.stats.bytesOut;
    await nextTurn();
  }
  return server.stats.bytesOut;
}

for (const outputBytes of [128 * 1024, 1024 * 1024])
  test(`an output of ${outputBytes} bytes limits what a client that does not read costs`, {
    timeout,
  }, async () => {
    await rig({ outputBytes }, async (made) => {
      const bytes = await unread(made, 32 * MIB);
      // One output, and what the socket of the kernel accepts.
      assert.ok(bytes <= outputBytes + MIB, `${bytes} bytes`);
      const { buffers } = made.server;
      assert.equal(buffers.out.capacity, outputBytes);
    });
  });

test('requests in progress are limited by requestsMax', { timeout }, async () => {
  for (const requestsMax of [1, 7]) {
    const next = new MemoryDisk(MIB);
    let [flying, most] = [0, 0];
    const disk: Disk = {
      ...counted(MIB).disk,
      submit: (bio) => {
        most = Math.max(most, ++flying);
        next.submit(bio);
      },
      tick: () => {
        flying = 0;
        return next.tick();
      },
    };
    const exports = new Map([['disk', { name: 'disk', description: '', disk }]]);
    await rig({ exports, requestsMax }, async ({ client }) => {
      const one = await client().go();
      const read = request({ type: Command.read, length: 512 });
      one.say(join(...Array.from({ length: 100 }, () => read)));
      assert.equal((await one.hear(100 * (512 + 16))).length, 100 * (512 + 16));
    });
    assert.equal(most, requestsMax);
  }
});

test('new connections above the limit of negotiations wait, and established ones are served', {
  timeout,
}, async () => {
  await rig({ negotiatingMax: 2, negotiationMs: 60_000 }, async ({ server, client, log }) => {
    const established = await client().go();
    const silent = [client(), client(), client(), client(), client(), client()];
    await Promise.all([silent[0]!.hear(18), silent[1]!.hear(18)]);
    assert.equal(await established.flush(), 0);
    // The oldest negotiations end for those that wait; two of the six found no place to wait.
    const late = await client();
    await until('one more', () => server.stats.refused >= 1);
    late.socket.destroy();
    await until('negotiations end', () => log.some((line) => /other clients wait/.test(line)));
    assert.equal(await established.flush(), 0);
  });
});

/** The most that `moved` rises in a turn of the event loop, until `isOver`. */
async function mostInTurn(moved: () => number, isOver: () => boolean): Promise<number> {
  let most = 0;
  for (let before = moved(); !isOver(); before = moved()) {
    await nextTurn();
    most = Math.max(most, moved() - before);
  }
  return most;
}

test('a client with many connections that drain at once does one turn of work, not one for each', {
  timeout,
}, async () => {
  await twoDisks(async ({ server, open, moved }) => {
    const reads = Array.from({ length: 4 }, () =>
      request({ type: Command.read, length: 32 * MIB }),
    );
    const calm = await open('calm').go('calm');
    const busy = await Promise.all(Array.from({ length: 64 }, () => open('busy').go('busy')));
    for (const { socket } of busy) socket.pause();
    for (const client of busy) client.say(join(...reads));
    for (let last = -1; server.stats.bytesOut !== last; ) {
      last = server.stats.bytesOut;
      for (let i = 0; i < 20; i++) await calm.flush();
      last += 20 * 16; // its replies
    }
    for (const { socket } of busy) socket.resume();
    let isOver = false;
    const flushes = (async (): Promise<void> => {
      for (let i = 0; i < 100; i++) await calm.flush();
      isOver = true;
    })();
    const most = await mostInTurn(moved, () => isOver);
    await flushes;
    // The quantum, what a step exceeds it by, and a turn that starts within a turn of the event loop.
    assert.ok(most <= MIB / 2, `${most} bytes in a turn`);
  });
});

/** Passes bytes on to a socket; while it is corked it keeps what is written. */
class Corked extends Duplex {
  isCorked = false;
  readonly #socket: Socket;
  #kept: Buffer[] = [];

  constructor(socket: Socket) {
    super();
    this.#socket = socket;
    socket.on('data', (chunk) => this.push(chunk));
    socket.on('close', () => this.destroy());
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#kept.push(Buffer.from(chunk));
    if (!this.isCorked) this.release();
    done();
  }

  release(): void {
    this.#socket.write(Buffer.concat(this.#kept));
    this.#kept = [];
    this.isCorked = false;
  }
}

test('a TLS client that sends each request in its own record does not get a turn for each', {
  timeout,
}, async () => {
  const { disk, moved } = counted(64 * MIB);
  const exports = new Map([['disk', { name: 'disk', description: '', disk }]]);
  const key = randomBytes(32);
  const tls: TlsServerOptions = {
    mode: 'require',
    credentials: { kind: 'psk', keys: new Secret(new Map([['alice', key]])) },
  };
  await rig({ tls, exports }, async ({ client }) => {
    let corked: Corked | null = null;
    const secured = await secure(
      client(),
      {
        ciphers: 'ECDHE-PSK-CHACHA20-POLY1305',
        maxVersion: 'TLSv1.2',
        pskCallback: () => ({ psk: key, identity: 'alice' }),
        checkServerIdentity: () => undefined,
      },
      (socket) => {
        corked = new Corked(socket);
        return corked;
      },
    );
    assert.ok(corked !== null);
    const through: Corked = corked;
    secured.say(option(Option.go, infoData('disk')));
    await secured.hear(20 + 12 + 20);
    const length = 128 * 1024;
    const zero = request({ type: Command.writeZeroes, length, flags: CommandFlag.noHole });
    const count = 1000;
    through.isCorked = true;
    for (let i = 0; i < count; i++)
      await new Promise<unknown>((written) => secured.socket.write(zero, written));
    through.release();
    const most = await mostInTurn(moved, () => moved() >= count * length);
    // A turn of a client alone is 1 MiB of work, that is, 4 MiB of zeros.
    assert.ok(most <= 10 * MIB, `${most} bytes in a turn`);
  });
});
