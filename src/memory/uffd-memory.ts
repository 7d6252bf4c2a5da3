/**
 * Implements the pager's PagedMemory (pager/ops.ts) for memory of this process: a range registered with a userfaultfd,
 * and the frames that its pages are copied through.
 *
 *   install        UFFDIO_COPY, write-protected unless `writable`
 *   installZeros   UFFDIO_COPY of zeros for a write, UFFDIO_ZEROPAGE (the shared zero page) for a read
 *   protect        UFFDIO_WRITEPROTECT
 *   take           copies protected pages, then drops them: a writer in between waits and faults again
 *   drop           collects ranges; flush() drops them all in one process_madvise (advice-batch.ts)
 *
 * Invariants
 * - The fault thread never accesses a page that may be missing: it would wait for itself. It copies only protected pages,
 *   because these are present.
 * - A call allocates nothing.
 *
 * Cost: one system call per run of pages; about 1.7 us to install one page, 1 us per page in runs.
 * Sources: ioctl_userfaultfd(2), madvise(2); mm/userfaultfd.c.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type AdviceBatch, RANGES_MAX } from '../os/linux/advice-batch.ts';
import { Advice, type Mapping, Protection } from '../os/linux/mapping.ts';
import { CopyMode, ProtectMode, UffdFeature, UffdMode } from '../os/linux/uffd-constants.ts';
import { ResolveResult, type Userfaultfd } from '../os/linux/userfaultfd.ts';
import { BATCH_PAGES } from '../pager/evictor.ts';
import { FRAME_COUNT, WINDOW_PAGES } from '../pager/loader.ts';
import { type PagedMemory, type SharedPages, StopReason } from '../pager/ops.ts';

/** The pager's frames, at a fixed address. */
export class UffdFrames {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Address of WINDOW_PAGES pages of zeros to copy from. They are never written and use no memory. */
  readonly zeros: number;
  readonly #mapping: Mapping;

  constructor(mapping: Mapping) {
    this.#mapping = mapping;
    this.address = mapping.reserve(FRAME_COUNT * PAGE_BYTES);
    mapping.advise(this.address, FRAME_COUNT * PAGE_BYTES, Advice.dontFork);
    mapping.advise(this.address, FRAME_COUNT * PAGE_BYTES, Advice.noHugePage);
    this.bytes = new Uint8Array(mapping.viewOf(this.address, FRAME_COUNT * PAGE_BYTES));
    this.zeros = mapping.reserve(WINDOW_PAGES * PAGE_BYTES, Protection.read);
  }

  unmap(): void {
    this.#mapping.unmap(this.address, FRAME_COUNT * PAGE_BYTES);
    this.#mapping.unmap(this.zeros, WINDOW_PAGES * PAGE_BYTES);
  }

  addressOf(frame: number): number {
    return this.address + frame * PAGE_BYTES;
  }
}

export interface UffdMemoryOptions {
  readonly address: number;
  readonly pages: number;
  readonly uffd: Userfaultfd;
  readonly mapping: Mapping;
  readonly frames: UffdFrames;
  /** Collects the ranges to drop. */
  readonly drops: AdviceBatch;
  /** Ends the process: the kernel cannot poison a lost page. */
  readonly abort: () => never;
}

export class UffdMemory implements PagedMemory {
  readonly address: number;
  readonly pages: number;
  readonly shared: SharedPages | null = null;
  stop: StopReason = StopReason.none;
  readonly #uffd: Userfaultfd;
  readonly #mapping: Mapping;
  readonly #frames: UffdFrames;
  readonly #drops: AdviceBatch;
  readonly #canPoison: boolean;
  readonly #abort: () => never;

  /** Registers the range: from now on the pager resolves faults on its missing pages. */
  constructor({ address, pages, uffd, mapping, frames, drops, abort }: UffdMemoryOptions) {
    this.address = address;
    this.pages = pages;
    this.#uffd = uffd;
    this.#mapping = mapping;
    this.#frames = frames;
    this.#drops = drops;
    this.#abort = abort;
    this.#canPoison = (uffd.features & UffdFeature.poison) !== 0;
    const bytes = pages * PAGE_BYTES;
    // A forked child would share the pages, and its faults would not be served. A huge page could not be dropped partially.
    mapping.advise(address, bytes, Advice.dontFork);
    mapping.advise(address, bytes, Advice.noHugePage);
    uffd.register(address, bytes, UffdMode.missing | UffdMode.writeProtect);
  }

  /** Makes the range ordinary memory; pages that are not resident read as zeros. */
  unregister(_accessible?: number): void {
    this.#uffd.unregister(this.address, this.pages * PAGE_BYTES);
    this.#mapping.advise(this.address, this.pages * PAGE_BYTES, Advice.doFork);
  }

  /** Ends the registration of memory that may have been unmapped or reused. Does not access it. */
  unregisterFreed(): void {
    const bytes = this.pages * PAGE_BYTES;
    if (this.#uffd.tryUnregister(this.address, bytes))
      this.#mapping.advise(this.address, bytes, Advice.doFork);
  }

  install(page: number, frame: number, count: number, writable: boolean): number {
    const mode = writable ? CopyMode.wake : CopyMode.writeProtect;
    const from = this.#frames.addressOf(frame);
    let done = 0;
    do {
      const at = done * PAGE_BYTES;
      const left = count * PAGE_BYTES - at;
      this.#noteResult(
        this.#uffd.copy(this.address + page * PAGE_BYTES + at, from + at, left, mode),
      );
      done += this.#uffd.bytesDone / PAGE_BYTES;
    } while (this.#isAgain && done < count);
    // The kernel refuses a run that is not entirely in one mapping; its first page may still be installable.
    return done === 0 && this.stop === StopReason.gone && count > 1
      ? this.install(page, frame, 1, writable)
      : done;
  }

  installZeros(page: number, count: number, areWritten: boolean): number {
    let done = 0;
    do {
      const at = this.address + (page + done) * PAGE_BYTES;
      const left = (count - done) * PAGE_BYTES;
      const result = areWritten
        ? this.#uffd.copy(at, this.#frames.zeros, left, CopyMode.wake)
        : this.#uffd.zeroPage(at, left, CopyMode.wake);
      this.#noteResult(result);
      done += this.#uffd.bytesDone / PAGE_BYTES;
    } while (this.#isAgain && done < count);
    return done === 0 && this.stop === StopReason.gone && count > 1
      ? this.installZeros(page, 1, areWritten)
      : done;
  }

  protect(page: number, count: number): void {
    this.#protect(page, count, ProtectMode.protect);
  }

  makeWritable(page: number, count: number): void {
    this.#protect(page, count, ProtectMode.lift);
  }

  take(page: number, count: number, frame: number): number {
    this.copyOut(page, count, frame);
    this.drop(page, count);
    this.stop = StopReason.none;
    return count;
  }

  /** Copies pages to the frames `frame` .. */
  copyOut(page: number, count: number, frame: number): void {
    assert(frame + count <= BATCH_PAGES, 'frame + count <= BATCH_PAGES');
    const from = this.address + page * PAGE_BYTES;
    this.#mapping.copy(this.#frames.addressOf(frame), from, count * PAGE_BYTES);
  }

  drop(page: number, count: number): void {
    if (this.#drops.count === RANGES_MAX) this.flush();
    this.#drops.add(this.address + page * PAGE_BYTES, count * PAGE_BYTES);
  }

  flush(): void {
    this.#drops.apply(Advice.dontNeed);
  }

  freeFrames(): void {}

  wake(page: number, count: number): void {
    this.#uffd.wake(this.address + page * PAGE_BYTES, count * PAGE_BYTES);
  }

  poison(page: number): void {
    if (!this.#canPoison) this.#abort();
    const at = this.address + page * PAGE_BYTES;
    if (this.#uffd.poison(at, PAGE_BYTES, CopyMode.wake) === ResolveResult.exists)
      this.wake(page, 1);
  }

  #protect(page: number, count: number, mode: number): void {
    const at = this.address + page * PAGE_BYTES;
    while (this.#uffd.writeProtect(at, count * PAGE_BYTES, mode) === ResolveResult.again);
  }

  #isAgain = false;

  /** Sets `stop` and #isAgain from the result of an ioctl. */
  #noteResult(result: ResolveResult): void {
    this.#isAgain = result === ResolveResult.again;
    if (result === ResolveResult.done || this.#isAgain) this.stop = StopReason.none;
    else if (result === ResolveResult.exists) this.stop = StopReason.resident;
    else this.stop = result === ResolveResult.gone ? StopReason.gone : StopReason.busy;
  }
}
