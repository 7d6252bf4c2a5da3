/**
 * A compressed RAM disk under a checksum filter, a statistics filter and a request queue: writes 2,000 pages, reads them
 * back, discards half of them.
 *
 *   node build/examples/block.js
 */
import {
  type Bio,
  BioOp,
  type BioOwner,
  BioPool,
  BioStatus,
  checksumDisk,
  type Disk,
  queuedDisk,
  Ramzswap,
  statsDisk,
} from 'frontswap/block';

const PAGE_BYTES = 4096;
const MiB = 2 ** 20;
const clock = { nowNs: () => Number(process.hrtime.bigint()) };

using ram = new Ramzswap({ sizeBytes: 64 * MiB, limitBytes: 8 * MiB });
const stats = statsDisk(checksumDisk(ram, { unknown: 'fail' }), clock);
const disk = queuedDisk(stats, { requests: 64, depth: 16, mergeBytes: 128 * 1024 });

/** Submits one bio after the other and waits for the end of each. */
class Requests implements BioOwner {
  readonly #disk: Disk;
  readonly #pool = new BioPool(1);
  #status: BioStatus | null = null;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  bioEnd(bio: Bio): void {
    this.#status = bio.status;
    this.#pool.free(bio);
  }

  run(op: BioOp, offset: number, length: number, data: Uint8Array): void {
    const bio = this.#pool.alloc()!;
    bio.op = op;
    bio.offset = offset;
    bio.length = length;
    bio.data = data;
    bio.owner = this;
    this.#status = null;
    this.#disk.submit(bio);
    while (this.#status === null) this.#disk.tick();
    if (this.#status !== BioStatus.ok) throw new Error(`bio at ${offset}: status ${this.#status}`);
  }
}

const pageOf = (n: number): Uint8Array =>
  Buffer.from(`line ${n} of a log file\n`.repeat(250).slice(0, PAGE_BYTES).padEnd(PAGE_BYTES));

const requests = new Requests(disk);
const count = 2000;
for (let n = 0; n < count; n++) requests.run(BioOp.write, n * PAGE_BYTES, PAGE_BYTES, pageOf(n));
const into = new Uint8Array(PAGE_BYTES);
for (let n = 0; n < count; n++) {
  requests.run(BioOp.read, n * PAGE_BYTES, PAGE_BYTES, into);
  if (Buffer.compare(into, pageOf(n)) !== 0) throw new Error(`page ${n} differs`);
}
const before = ram.stats();
requests.run(BioOp.discard, 0, (count / 2) * PAGE_BYTES, new Uint8Array(0));
const after = ram.stats();
console.log(`${before.dataBytes} bytes of pages in ${before.compressedBytes} compressed bytes`);
console.log(
  `after the discard: ${after.storedPages} pages, ${after.usedBytes} bytes of RAM in use`,
);
const p99 = stats.latency(BioOp.read).quantile(0.99);
console.log(`${stats.counters.get('reads')} reads, 99 % of them within ${p99} ns`);
