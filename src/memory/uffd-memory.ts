/**
 * Memory of this process as a pager wants it (pager/ops.ts): a range registered with a userfaultfd, and frames to bring
 * its pages through.
 *
 *   install   UFFDIO_COPY, write-protected where asked
 *   zeros     UFFDIO_COPY of zeros to pages that are written, UFFDIO_ZEROPAGE (the shared zero page) to those read
 *   protect   UFFDIO_WRITEPROTECT
 *   take      copy ▶ drop, of protected pages: a writer in between waits, and faults again
 *   drop      gathered until flush(), then one madvise(DONTNEED) for all (advice-batch.ts)
 *
 * Invariants
 * - This thread never touches a page that may be missing: it would wait for itself. What it copies out is protected,
 *   and so is there.
 * - Nothing is allocated by a call.
 *
 * Cost: one system call a run of pages; about 1.7 us for one page that is installed, 1 us a page in runs.
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
import { type PagedMemory, StopReason } from '../pager/ops.ts';

/** The pager's frames, at an address. */
export class UffdFrames {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Zeros to copy from: WINDOW_PAGES pages that are never written and take no memory. */
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

export class UffdMemory implements PagedMemory {
  readonly address: number;
  readonly pages: number;
  stop: StopReason = StopReason.none;
  readonly #uffd: Userfaultfd;
  readonly #mapping: Mapping;
  readonly #frames: UffdFrames;
  readonly #drops: AdviceBatch;
  readonly #canPoison: boolean;
  readonly #onPoison: () => never;

  /**
   * Registers the range: from now on its missing pages are the pager's.
   * @param onPoison where the kernel cannot poison a page: ends the process
   */
  constructor(
    address: number,
    pages: number,
    uffd: Userfaultfd,
    mapping: Mapping,
    frames: UffdFrames,
    drops: AdviceBatch,
    onPoison: () => never,
  ) {
    this.address = address;
    this.pages = pages;
    this.#uffd = uffd;
    this.#mapping = mapping;
    this.#frames = frames;
    this.#drops = drops;
    this.#onPoison = onPoison;
    this.#canPoison = (uffd.features & UffdFeature.poison) !== 0;
    const bytes = pages * PAGE_BYTES;
    // A child of fork() does not get the range (it would share the pages and could not fault), nor do huge pages.
    mapping.advise(address, bytes, Advice.dontFork);
    mapping.advise(address, bytes, Advice.noHugePage);
    uffd.register(address, bytes, UffdMode.missing | UffdMode.writeProtect);
  }

  /** The range is ordinary memory again; what is not resident reads as zeros. */
  unregister(): void {
    this.#uffd.unregister(this.address, this.pages * PAGE_BYTES);
    this.#mapping.advise(this.address, this.pages * PAGE_BYTES, Advice.doFork);
  }

  install(page: number, frame: number, count: number, writable: boolean): number {
    const mode = writable ? CopyMode.wake : CopyMode.writeProtect;
    const from = this.#frames.addressOf(frame);
    let done = 0;
    do {
      const at = done * PAGE_BYTES;
      const left = count * PAGE_BYTES - at;
      this.#note(this.#uffd.copy(this.address + page * PAGE_BYTES + at, from + at, left, mode));
      done += this.#uffd.bytesDone / PAGE_BYTES;
    } while (this.#isAgain && done < count);
    // A run that ends outside of one mapping is refused whole: what is said of it need not be true of its first page.
    return done === 0 && this.stop === StopReason.gone && count > 1
      ? this.install(page, frame, 1, writable)
      : done;
  }

  installZeros(page: number, count: number, areWritten: boolean): number {
    let done = 0;
    do {
      const at = this.address + (page + done) * PAGE_BYTES;
      const left = (count - done) * PAGE_BYTES;
      const answer = areWritten
        ? this.#uffd.copy(at, this.#frames.zeros, left, CopyMode.wake)
        : this.#uffd.zeroPage(at, left, CopyMode.wake);
      this.#note(answer);
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
    assert(frame + count <= BATCH_PAGES, 'pages leave through the frames for it');
    const from = this.address + page * PAGE_BYTES;
    this.#mapping.copy(this.#frames.addressOf(frame), from, count * PAGE_BYTES);
    this.drop(page, count);
    this.stop = StopReason.none;
    return count;
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
    if (!this.#canPoison) this.#onPoison();
    const at = this.address + page * PAGE_BYTES;
    if (this.#uffd.poison(at, PAGE_BYTES, CopyMode.wake) === ResolveResult.exists)
      this.wake(page, 1);
  }

  #protect(page: number, count: number, mode: number): void {
    const at = this.address + page * PAGE_BYTES;
    while (this.#uffd.writeProtect(at, count * PAGE_BYTES, mode) === ResolveResult.again);
  }

  #isAgain = false;

  #note(answer: ResolveResult): void {
    this.#isAgain = answer === ResolveResult.again;
    if (answer === ResolveResult.done || this.#isAgain) this.stop = StopReason.none;
    else if (answer === ResolveResult.exists) this.stop = StopReason.resident;
    else this.stop = answer === ResolveResult.gone ? StopReason.gone : StopReason.busy;
  }
}
