/**
 * A memory manager of 32 page frames that works on 1,000 pages: cold pages go to frontswap, and to the disk when frontswap
 * refuses them. Each page is checked when it is swapped in.
 *
 *   node build/examples/swap.js
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { MemoryDisk } from 'frontswap/block';
import { keepPages, lz4 } from 'frontswap/store';
import {
  Budget,
  Frontswap,
  type MemoryManager,
  NO_ENTRY,
  Swap,
  type SwapEntry,
  SwapInResult,
  SwapOutResult,
  storeBackend,
  swapOn,
  writeHeader,
} from 'frontswap/swap';

const PAGE_BYTES = 4096;
const FRAMES = 32;
const PAGES = 1000;

/** Owns the frames. The disks here are synchronous, so readDone() and writeDone() are never called. */
class Frames implements MemoryManager {
  readonly memory = new Uint8Array(FRAMES * PAGE_BYTES);
  readonly #free = Array.from({ length: FRAMES }, (_, frame) => frame);

  allocFrame(ahead: boolean): number {
    return ahead && this.#free.length < 4 ? -1 : (this.#free.pop() ?? -1);
  }
  freeFrame(frame: number): void {
    this.#free.push(frame);
  }
  removedFromCache(frame: number): void {
    this.#free.push(frame);
  }
  readDone(): void {}
  writeDone(): void {}
  unuse(): void {}
}

const frames = new Frames();
const front = new Frontswap();
const compressed = storeBackend(new Budget(2 ** 20), lz4, keepPages);
compressed.payloadMax = PAGE_BYTES / 2; // a page that does not compress to half its size goes to the disk
front.register(compressed);
const swap = new Swap(front, frames);
const header = new Uint8Array(PAGE_BYTES);
writeHeader({ lastPage: PAGES, badPages: [], uuid: randomUUID(), label: 'example' }, header);
swapOn(swap, new MemoryDisk(4 * 2 ** 20), header);

/** Every fourth page is incompressible. */
const pages = Array.from({ length: PAGES }, (_, n) =>
  n % 4 === 0
    ? randomBytes(PAGE_BYTES)
    : Buffer.from(`page ${n}, `.repeat(600).slice(0, PAGE_BYTES)),
);
const entries: SwapEntry[] = [];
for (let n = 0; n < PAGES; n++) {
  const frame = frames.allocFrame(false);
  frames.memory.set(pages[n]!, frame * PAGE_BYTES);
  const entry = swap.addToSwap(frame);
  if (entry === NO_ENTRY) throw new Error('the swap area is full');
  swap.duplicate(entry); // one reference: ours
  if (swap.swapOut(frame) !== SwapOutResult.done) throw new Error(`page ${n} was not written`);
  swap.dropFromCache(frame);
  frames.freeFrame(frame);
  entries.push(entry);
}
console.log(
  `${front.currPages()} pages in compressed RAM, ${PAGES - front.currPages()} on the disk`,
);

for (const [n, entry] of entries.entries()) {
  if (swap.swapIn(entry) !== SwapInResult.done) throw new Error(`page ${n} was not read`);
  const at = swap.frame * PAGE_BYTES;
  const page = frames.memory.subarray(at, at + PAGE_BYTES);
  if (Buffer.compare(page, pages[n]!) !== 0)
    throw new Error(`page ${n} is not the page that was swapped out`);
  swap.free(entry); // the last reference: frees the slot and its compressed page
  frames.freeFrame(swap.frame);
}
console.log('every page was swapped in unchanged, and its slot is free');
console.log(`${front.currPages()} pages are left in compressed RAM`);
