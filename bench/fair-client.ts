/**
 * The clients of the fairness bench, each in a separate process (fairness.ts forks this file):
 *
 *   normal SOCKET            three clients, 4 KiB reads and writes in random order, at depth 1, 4 and 8; the message
 *                            { ms } measures for that long and is answered with Latencies
 *   hostile SOCKET KIND      one hostile client, until it is killed; sends 'ready' when it starts
 */
import type { HostileKind, Latencies } from './fairness.ts';
import { NbdPipe } from './nbd-pipe.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const NORMAL_BYTES = 64 * MIB;
const HOSTILE_BYTES = 2048 * MIB;
const [role = '', socket = '', kind = ''] = process.argv.slice(2);
const Command = { read: 0, write: 1, trim: 4, writeZeroes: 6, blockStatus: 7 } as const;
const NO_HOLE = 2;

/** A page that compresses to about 60 %. */
function samplePage(seed: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  for (let i = 0; i < PAGE; i++) page[i] = i % 8 < 4 ? Math.imul(i + seed, 0x9e37_79b1) >>> 24 : 7;
  return page;
}
const pages = Array.from({ length: 64 }, (_, seed) => samplePage(seed));

/** Latencies of one client, us. */
class NormalClient {
  readonly #pipe: NbdPipe;
  readonly #depth: number;
  latencies: number[] = [];
  #resolve: (() => void) | null = null;
  #endMs = 0;
  #inFlight = 0;

  constructor(pipe: NbdPipe, depth: number) {
    this.#pipe = pipe;
    this.#depth = depth;
  }

  async fill(): Promise<void> {
    for (let at = 0; at < NORMAL_BYTES; at += PAGE)
      await this.#pipe.ask(
        Command.write,
        at,
        pages[(at / PAGE) % 64]!.length,
        pages[(at / PAGE) % 64],
      );
  }

  async measure(ms: number): Promise<number[]> {
    this.latencies = [];
    this.#endMs = performance.now() + ms;
    const ended = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    for (let i = 0; i < this.#depth; i++) this.#next();
    await ended;
    return this.latencies;
  }

  #next(): void {
    const startMs = performance.now();
    if (startMs >= this.#endMs) {
      if (this.#inFlight === 0) this.#resolve?.();
      return;
    }
    const offset = Math.floor((Math.random() * NORMAL_BYTES) / PAGE) * PAGE;
    const isRead = Math.random() < 0.5;
    this.#inFlight++;
    const done = (): void => {
      this.#inFlight--;
      this.latencies.push((performance.now() - startMs) * 1000);
      this.#next();
    };
    if (isRead) this.#pipe.send(Command.read, offset, PAGE, done);
    else this.#pipe.send(Command.write, offset, PAGE, done, pages[offset % 61]!);
  }
}

function latenciesOf(all: number[]): Latencies {
  const sorted = Float64Array.from(all).sort();
  const at = (q: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!;
  return { p50us: at(0.5), p99us: at(0.99), count: sorted.length };
}

async function normal(): Promise<void> {
  const clients: NormalClient[] = [];
  for (const [name, depth] of [
    ['a', 1],
    ['b', 4],
    ['c', 8],
  ] as const) {
    const client = new NormalClient(await NbdPipe.open(socket, name), depth);
    await client.fill();
    clients.push(client);
  }
  process.on('message', ({ ms }: { ms: number }) => {
    void Promise.all(clients.map((client) => client.measure(ms))).then((all) =>
      process.send?.(latenciesOf(all.flat())),
    );
  });
  process.send?.('ready');
}

const open = (): Promise<NbdPipe> => NbdPipe.open(socket, 'hostile');

/** Keeps `depth` requests in flight, one after another of `make`. */
function keepBusy(depth: number, make: (done: () => void) => void): void {
  const next = (): void => make(next);
  for (let i = 0; i < depth; i++) next();
}

/** Every second page of the disk has data: as many extents as possible. */
async function fragment(pipe: NbdPipe): Promise<void> {
  for (let at = 0; at < HOSTILE_BYTES / 4; at += 2 * PAGE)
    await pipe.ask(Command.writeZeroes, at, PAGE, undefined, NO_HOLE);
}

const randomOffset = (length: number): number =>
  Math.floor((Math.random() * (HOSTILE_BYTES - length)) / PAGE) * PAGE;

const hostiles: Readonly<Record<HostileKind, () => Promise<void>>> = {
  'reads, never read': async () => {
    const pipe = await open();
    pipe.stopReading();
    for (let i = 0; i < 4096; i++)
      pipe.send(Command.read, randomOffset(32 * MIB), 32 * MIB, () => {});
  },
  'reads of 32 MiB': async () => {
    const pipe = await open();
    await pipe.ask(Command.writeZeroes, 0, HOSTILE_BYTES / 4, undefined, NO_HOLE);
    keepBusy(16, (done) =>
      pipe.send(Command.read, Math.floor(Math.random() * 400) * MIB, 32 * MIB, done),
    );
  },
  'trims of the disk': async () => {
    const pipe = await open();
    keepBusy(4, (done) => {
      // Fills a part first: an empty disk is trimmed at once.
      const offset = randomOffset(256 * MIB);
      pipe.send(Command.writeZeroes, offset, 256 * MIB, () => {}, undefined, NO_HOLE);
      pipe.send(Command.trim, 0, HOSTILE_BYTES, done);
    });
  },
  'write-zeroes of the disk': async () => {
    const pipe = await open();
    keepBusy(4, (done) =>
      pipe.send(Command.writeZeroes, 0, HOSTILE_BYTES, done, undefined, NO_HOLE),
    );
  },
  'connection storm': async () => {
    const again = (): void => {
      // Half of them leave in the middle of the negotiation.
      NbdPipe.open(socket, 'hostile', Math.random() < 0.5).then(
        (pipe) => {
          pipe.close();
          setImmediate(again);
        },
        () => setTimeout(again, 1),
      );
    };
    for (let i = 0; i < 64; i++) again();
  },
  'block status of the disk': async () => {
    const pipe = await NbdPipe.openStructured(socket, 'hostile');
    await fragment(pipe);
    keepBusy(16, (done) => pipe.send(Command.blockStatus, 0, HOSTILE_BYTES, done));
  },
  '1,024 small requests': async () => {
    const pipe = await open();
    for (let at = 0; at < 16 * MIB; at += PAGE)
      await pipe.ask(Command.write, at, PAGE, pages[(at / PAGE) % 64]);
    keepBusy(1024, (done) =>
      pipe.send(Command.read, Math.floor(Math.random() * 4096) * PAGE, PAGE, done),
    );
  },
};

async function hostile(): Promise<void> {
  const start = hostiles[kind as HostileKind];
  await start();
  process.send?.('ready');
}

process.on('disconnect', () => process.exit());
await (role === 'normal' ? normal() : hostile());
