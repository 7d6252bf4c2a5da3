/**
 * A disk with a backing: the cost of writing a page to the backing and reading it back, compared with the backing
 * alone. All pages are incompressible, so all are stored on the backing. With a memory disk as the backing, the
 * difference is the cost of ramzswap; a file shows it next to the cost of the system calls.
 */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Prng } from '../src/base/prng.ts';
import { Bio, BioOp, BioStatus } from '../src/block/bio.ts';
import { FileDisk } from '../src/block/disks/file-disk.ts';
import { openFile } from '../src/block/disks/file-io.ts';
import { MemoryDisk } from '../src/block/disks/memory-disk.ts';
import { Ramzswap } from '../src/block/disks/ramzswap/ramzswap.ts';
import type { Disk } from '../src/block/ops.ts';
import { lz4 } from '../src/codec/lz4.ts';
import { systemPunchHole } from '../src/os/linux/fallocate.ts';
import { type BenchOptions, cpuNs, median, medianRatio, ofRounds, type Table } from './measure.ts';

const SIZE = 16 * 1024 * 1024;
const RUNS = [4096, 16 * 4096, 64 * 4096];

interface Timed {
  readonly writes: number[];
  readonly reads: number[];
}

/** ns of processor time per page, for a pass over the entire disk in bios of `length` bytes. */
function pass(disk: Disk, op: BioOp, data: Uint8Array, length: number): number {
  const start = cpuNs();
  for (let offset = 0; offset < SIZE; offset += length) {
    const bio = new Bio();
    let isDone = false;
    const bioEnd = (): void => {
      isDone = true;
    };
    Object.assign(bio, { op, offset, length, data, at: offset, owner: { bioEnd } });
    disk.submit(bio);
    while (!isDone) disk.tick();
    if (bio.status !== BioStatus.ok) throw new Error(`a bio ended with status ${bio.status}`);
  }
  return ((cpuNs() - start) * 4096) / SIZE;
}

function fileDisk(path: string): FileDisk {
  writeFileSync(path, '', { mode: 0o600 });
  truncateSync(path, SIZE);
  const punchHole = systemPunchHole(process.platform);
  const { io, isDirect } = openFile(path, {
    readOnly: false,
    direct: true,
    punchHole,
    isExclusive: false,
    check: () => undefined,
  });
  return new FileDisk(io, { sizeBytes: SIZE, readOnly: false, isDirect, biosPerTick: 8 });
}

const over = (disk: Disk): Ramzswap =>
  new Ramzswap({
    sizeBytes: SIZE,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
    backing: { disk, showsOldData: false },
  });

export async function backing({ rounds }: BenchOptions): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'backing-bench-'));
  const data = new Uint8Array(SIZE);
  new Prng(1).fill(data);
  const into = new Uint8Array(SIZE);
  const [alone, below] = [fileDisk(join(folder, 'alone')), fileDisk(join(folder, 'below'))];
  const pairs = [
    ['memory', new MemoryDisk(SIZE), over(new MemoryDisk(SIZE))],
    ['file', alone, over(below)],
  ] as const;
  const rows: (string | number)[][] = [];
  for (const [kind, bare, disk] of pairs)
    for (const length of RUNS) {
      const timed = [bare, disk].map((): Timed => ({ writes: [], reads: [] }));
      for (let round = 0; round <= rounds; round++)
        [bare, disk].forEach((one, i) => {
          const write = pass(one, BioOp.write, data, length);
          const read = pass(one, BioOp.read, into, length);
          if (round === 0) return; // round 0 warms up
          timed[i]!.writes.push(write);
          timed[i]!.reads.push(read);
        });
      const [plain, ours] = timed as [Timed, Timed];
      rows.push([
        `${kind}, ${length / 4096} page(s) per bio`,
        median(plain.writes),
        median(ours.writes),
        medianRatio(ours.writes, plain.writes),
        median(plain.reads),
        median(ours.reads),
        medianRatio(ours.reads, plain.reads),
      ]);
    }
  alone[Symbol.dispose]();
  below[Symbol.dispose]();
  rmSync(folder, { recursive: true });
  return {
    title: 'backing: write and read of a page at the backing of a disk, ns of processor time',
    columns: ['backing', 'write alone', 'write', 'median x', 'read alone', 'read', 'median x'],
    rows,
    notes: [
      `Random pages, ${SIZE / 2 ** 20} MiB. ${ofRounds(rounds, 'interleaved')}. A write tries to compress the page first.`,
    ],
  };
}
