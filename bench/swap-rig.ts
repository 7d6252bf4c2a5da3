/** Shared parts of the swap benches: frames, disks with and without the slot-free callback, heap measurement. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Budget } from '../src/arena/budget.ts';
import type { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES } from '../src/base/units.ts';
import { nullDisk } from '../src/block/disks/null-disk.ts';
import { Ramzswap } from '../src/block/disks/ramzswap/ramzswap.ts';
import { passThrough } from '../src/block/filters/pass-through.ts';
import type { Disk } from '../src/block/ops.ts';
import type { QueuedDisk } from '../src/block/queued-disk.ts';
import { lz4 } from '../src/codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../src/frontswap/backends/store-backend.ts';
import type { FrontswapBackend } from '../src/frontswap/ops.ts';
import { systemPageRelease } from '../src/os/linux/page-release.ts';
import type { AreaOptions } from '../src/swap/areas.ts';
import { writeHeader } from '../src/swap/header.ts';
import type { MemoryManager, SwapDisk } from '../src/swap/ops.ts';
import { median } from './measure.ts';

/** Calls per heap sample, few enough that most samples contain no scavenge. */
const SLICE = 1024;
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Page frames, allocated in the order they were freed. The bench tracks which page uses which. */
export class Frames implements MemoryManager {
  readonly memory: Uint8Array;
  readonly #ring: Int32Array;
  #head = 0;
  #count = 0;

  constructor(frames: number) {
    this.memory = new Uint8Array(frames * PAGE_BYTES);
    this.#ring = new Int32Array(frames);
  }

  /** Frees all frames from `first` on; the others are in use. */
  reset(first: number): void {
    this.#head = 0;
    this.#count = 0;
    for (let frame = first; frame < this.#ring.length; frame++) this.freeFrame(frame);
  }

  allocFrame(): number {
    if (this.#count === 0) return -1;
    const frame = this.#ring[this.#head]!;
    this.#head = (this.#head + 1) % this.#ring.length;
    this.#count--;
    return frame;
  }

  freeFrame(frame: number): void {
    this.#ring[(this.#head + this.#count) % this.#ring.length] = frame;
    this.#count++;
  }

  removedFromCache(): void {}
  readDone(): void {}
  writeDone(): void {}
  unuse(): void {}
}

export function headerPage(slots: number): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  const uuid = '01234567-89ab-cdef-0123-456789abcdef';
  writeHeader({ lastPage: slots - 1, badPages: [], uuid, label: '' }, page);
  return page;
}

export function shuffled(count: number, prng: Prng): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = prng.below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

const returns = systemPageRelease(process.platform);

export const ramzswap = (slots: number): Ramzswap =>
  new Ramzswap({
    sizeBytes: slots * PAGE_BYTES,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
    release: returns,
  });

/** The disk behind a pass-through filter, with its slot-free callback or without. */
export function withCallback(disk: Disk, callback: boolean): SwapDisk {
  const { slotFree, ...rest } = passThrough(disk);
  return callback && slotFree !== undefined ? { ...rest, slotFree } : rest;
}

export interface Parts {
  readonly disk: SwapDisk;
  readonly backend?: FrontswapBackend;
  readonly store?: StoreBackend;
  readonly queue?: QueuedDisk;
  /** Idle maintenance; true while there is more. */
  readonly compact?: () => boolean;
  readonly options?: AreaOptions;
  /** False: the disk does not keep data. */
  readonly storesData: boolean;
}

/** Frontswap over the store; the disk behind it is a null disk. */
export function direct(slots: number): Parts & { readonly store: StoreBackend } {
  const store = storeBackend(new Budget(0), lz4, returns);
  return {
    disk: nullDisk(slots * PAGE_BYTES),
    backend: store,
    store,
    compact: () => store.compactIdle(),
    storesData: true,
  };
}

/** Bytes of JavaScript heap that `work` allocates per operation: the median sample. */
export function heapPerOperation(work: (from: number, to: number) => void, count: number): number {
  collect();
  const slices: number[] = [];
  for (let from = 0; from < count; from += SLICE) {
    const to = Math.min(from + SLICE, count);
    const first = process.memoryUsage().heapUsed;
    const second = process.memoryUsage().heapUsed; // the cost of a sample
    work(from, to);
    const third = process.memoryUsage().heapUsed;
    // A decrease means that garbage was collected.
    if (first <= second && second <= third)
      slices.push((third - second - (second - first)) / (to - from));
  }
  return Math.max(0, median(slices));
}
