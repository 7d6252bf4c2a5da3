/**
 * A simulated PagedMemory, with threads that access it while the pager runs, as with userfaultfd.
 *
 *   access ─▶ resident, not protected? ─▶ done: a read is compared, a write is recorded
 *         └──▶ a message is queued and the thread waits; when it is woken it retries
 *
 * Every method of PagedMemory is one atomic step. Before and after it the test lets threads run (`between`, `after`): a page
 * is written between its choice and take(), a message is queued for a page that is being evicted, and so on. A page's bytes
 * are made from a tag; `truth` is the tag of the last write.
 */
import assert from 'node:assert/strict';
import { BATCH_PAGES } from '../../src/pager/evictor.ts';
import { type PagedMemory, StopReason, Touch } from '../../src/pager/ops.ts';

/** A thread and its access in flight. */
export interface SimThread {
  memory: SimMemory | null;
  page: number;
  isWrite: boolean;
  /** The tag that a write stores. */
  tag: number;
  isWaiting: boolean;
}

export const makeThread = (): SimThread => ({
  memory: null,
  page: 0,
  isWrite: false,
  tag: 0,
  isWaiting: false,
});

export interface Message {
  readonly memory: SimMemory;
  readonly page: number;
  readonly touch: number;
  readonly thread: SimThread;
}

/** Injected failures; each function is called for every page. */
export interface SimFailures {
  /** take() stops here with `busy`. */
  isTakeBusy(): boolean;
  /** install() and installZeros() stop here with `busy`. */
  isInstallBusy(): boolean;
}

const noFailures: SimFailures = { isTakeBusy: () => false, isInstallBusy: () => false };

/** State shared by the memories of one simulation: threads, messages, frames, and the hooks between steps. */
export class SimWorld {
  readonly threads: SimThread[] = [];
  /** Messages not yet read. Waking a thread removes its message. */
  readonly unread: Message[] = [];
  /** Messages read and not yet served; they may be stale by then. */
  readonly batch: Message[] = [];
  readonly frames: Uint8Array;
  readonly words: Uint32Array;
  failures: SimFailures = noFailures;
  /** Called before and after each atomic step. */
  between: () => void = () => {};
  after: () => void = () => {};
  /** Pages that take() copied to frames. */
  taken = 0;
  busyStops = 0;
  installed = 0;
  /** Installs that found no memory: of pages put back, and of pages swapped in. */
  goneBack = 0;
  goneIn = 0;

  constructor(frameCount: number, frames: Uint8Array = new Uint8Array(frameCount * 4096)) {
    this.frames = frames;
    this.words = new Uint32Array(this.frames.buffer);
  }

  /** Tries the thread's access once. */
  step(thread: SimThread): void {
    if (thread.memory === null || thread.isWaiting) return;
    thread.memory.touch(thread);
  }

  /** Every waiting thread has a message in flight: otherwise it would wait forever. */
  checkWaiters(): void {
    for (const thread of this.threads) {
      if (!thread.isWaiting) continue;
      const hasMessage =
        this.unread.some((m) => m.thread === thread) || this.batch.some((m) => m.thread === thread);
      assert.ok(hasMessage, `a thread waits for page ${thread.page} without a message`);
    }
  }
}

export class SimMemory implements PagedMemory {
  readonly pages: number;
  readonly shared = null;
  stop: StopReason = StopReason.none;
  readonly world: SimWorld;
  /** Tag of each resident page. */
  readonly tags: Int32Array;
  readonly truth: Int32Array;
  readonly present: Uint8Array;
  readonly isProtected: Uint8Array;
  readonly poisoned: Uint8Array;
  /** Unmapped by the owner. */
  readonly unmapped: Uint8Array;
  /** Reported lost by the pager. */
  readonly lost: Uint8Array;
  /** Dropped by the owner without telling the pager: reads as zeros, or as the copy in its slot. */
  readonly loose: Uint8Array;
  /** The same, and not yet noticed by the pager. */
  readonly behind: Uint8Array;
  /** discard() of these pages is running. */
  discardFrom = 0;
  discardTo = 0;
  /** Accesses that got SIGBUS or SIGSEGV: on poisoned or unmapped pages. */
  deaths = 0;
  reads = 0;
  writes = 0;

  constructor(world: SimWorld, pages: number) {
    this.world = world;
    this.pages = pages;
    this.tags = new Int32Array(pages);
    this.truth = new Int32Array(pages);
    this.present = new Uint8Array(pages);
    this.isProtected = new Uint8Array(pages);
    this.poisoned = new Uint8Array(pages);
    this.unmapped = new Uint8Array(pages);
    this.lost = new Uint8Array(pages);
    this.loose = new Uint8Array(pages);
    this.behind = new Uint8Array(pages);
  }

  touch(thread: SimThread): void {
    const { page, isWrite } = thread;
    if (this.unmapped[page] === 1 || this.poisoned[page] === 1) {
      this.deaths++;
      thread.memory = null;
    } else if (this.present[page] === 0) {
      this.#queueFault(thread, isWrite ? Touch.write : Touch.read);
    } else if (isWrite && this.isProtected[page] === 1) {
      this.#queueFault(thread, Touch.write | Touch.protected);
    } else {
      if (isWrite) this.write(page, thread.tag);
      else this.read(page);
      thread.memory = null;
    }
  }

  read(page: number): void {
    this.reads++;
    const tag = this.tags[page]!;
    if (this.loose[page] === 1) assert.ok(tag === 0 || tag === this.truth[page]);
    else assert.equal(tag, this.truth[page], `page ${page} reads as it was written last`);
    this.loose[page] = 0;
    this.truth[page] = tag;
  }

  write(page: number, tag: number): void {
    this.writes++;
    this.loose[page] = 0;
    this.tags[page] = tag;
    this.truth[page] = tag;
  }

  /** The owner drops a page without telling the pager, as madvise() does. */
  dropByOwner(page: number): void {
    if (this.present[page] === 0) return;
    this.present[page] = 0;
    this.behind[page] = 1;
    if (this.isProtected[page] === 1) this.loose[page] = 1;
    else this.truth[page] = 0;
  }

  /** The owner unmaps a page: threads that wait for it get SIGSEGV. */
  unmap(page: number): void {
    this.present[page] = 0;
    this.behind[page] = 1;
    this.unmapped[page] = 1;
    this.#wakeRange(page, 1);
  }

  // PagedMemory

  install(page: number, frame: number, count: number, writable: boolean): number {
    this.world.between();
    assert.ok(
      frame + count <= BATCH_PAGES || frame >= BATCH_PAGES,
      'the frames are all for eviction, or all for page-in',
    );
    const done = this.#installRun(page, count, (i) => {
      this.tags[page + i] = this.#tagOf(frame + i);
      this.isProtected[page + i] = writable ? 0 : 1;
    });
    if (this.stop === StopReason.gone) this.world[frame < BATCH_PAGES ? 'goneBack' : 'goneIn']++;
    this.world.after();
    return done;
  }

  installZeros(page: number, count: number, _areWritten: boolean): number {
    this.world.between();
    const done = this.#installRun(page, count, (i) => {
      this.tags[page + i] = 0;
      this.isProtected[page + i] = 0;
    });
    this.world.after();
    return done;
  }

  protect(page: number, count: number): void {
    this.world.between();
    this.#check(page, count);
    for (let i = page; i < page + count; i++) if (this.present[i] === 1) this.isProtected[i] = 1;
    this.world.after();
  }

  makeWritable(page: number, count: number): void {
    this.world.between();
    this.#check(page, count);
    for (let i = page; i < page + count; i++) this.isProtected[i] = 0;
    this.#wakeRange(page, count);
    this.world.after();
  }

  take(page: number, count: number, frame: number): number {
    this.world.between();
    this.#check(page, count);
    assert.ok(frame >= 0 && frame + count <= BATCH_PAGES, 'evicted pages go to the first frames');
    this.stop = StopReason.none;
    let done = 0;
    for (; done < count && this.stop === StopReason.none; done++) {
      const at = page + done;
      if (this.present[at] === 0) this.stop = StopReason.gone;
      else if (this.world.failures.isTakeBusy()) this.stop = StopReason.busy;
      else {
        assert.equal(this.isProtected[at], 1, 'a taken page is protected');
        this.#fill(frame + done, this.tags[at]!);
        this.present[at] = 0;
      }
    }
    if (this.stop !== StopReason.none) done--;
    if (this.stop === StopReason.busy) this.world.busyStops++;
    this.world.taken += done;
    this.world.after();
    return done;
  }

  drop(page: number, count: number): void {
    this.world.between();
    this.#check(page, count);
    for (let i = page; i < page + count; i++) {
      const isDiscarded = i >= this.discardFrom && i < this.discardTo;
      if (isDiscarded) this.truth[i] = 0;
      else if (this.present[i] === 1)
        assert.equal(
          this.isProtected[i],
          1,
          'a dropped page is protected, or a write could be lost',
        );
      if (isDiscarded) this.poisoned[i] = 0;
      this.present[i] = 0;
    }
    this.world.after();
  }

  flush(): void {}

  freeFrames(frame: number, count: number): void {
    assert.ok(frame >= 0 && frame + count <= BATCH_PAGES, 'only eviction frames are freed');
    this.world.words.fill(0xeeeeeeee, frame * 1024, (frame + count) * 1024);
  }

  wake(page: number, count: number): void {
    this.world.between();
    this.#check(page, count);
    this.#wakeRange(page, count);
    this.world.after();
  }

  poison(page: number): void {
    assert.equal(this.lost[page], 1, 'only a page that was reported lost is poisoned');
    this.present[page] = 0;
    this.poisoned[page] = 1;
    this.#wakeRange(page, 1);
  }

  #installRun(page: number, count: number, put: (i: number) => void): number {
    this.#check(page, count);
    this.stop = StopReason.none;
    let done = 0;
    for (; done < count; done++) {
      const at = page + done;
      if (this.unmapped[at] === 1) this.stop = StopReason.gone;
      else if (this.present[at] === 1) this.stop = StopReason.resident;
      else if (this.world.failures.isInstallBusy()) this.stop = StopReason.busy;
      if (this.stop !== StopReason.none) break;
      put(done);
      this.present[at] = 1;
      this.behind[at] = 0;
    }
    this.world.installed += done;
    this.#wakeRange(page, done);
    return done;
  }

  #queueFault(thread: SimThread, touch: number): void {
    thread.isWaiting = true;
    this.world.unread.push({ memory: this, page: thread.page, touch, thread });
  }

  #wakeRange(page: number, count: number): void {
    const { unread, threads } = this.world;
    for (const thread of threads) {
      const { memory, isWaiting } = thread;
      if (memory !== this || !isWaiting || thread.page < page || thread.page >= page + count)
        continue;
      thread.isWaiting = false;
      const at = unread.findIndex((message) => message.thread === thread);
      if (at !== -1) unread.splice(at, 1);
    }
  }

  #check(page: number, count: number): void {
    assert.ok(
      count > 0 && page >= 0 && page + count <= this.pages,
      'the range is inside the memory',
    );
  }

  #fill(frame: number, tag: number): void {
    for (let i = 0; i < 1024; i++) this.world.words[frame * 1024 + i] = wordOf(tag, i);
  }

  #tagOf(frame: number): number {
    const { words } = this.world;
    const tag = words[frame * 1024]!;
    for (let i = 1; i < 1024; i++)
      if (words[frame * 1024 + i] !== wordOf(tag, i))
        assert.fail(`frame ${frame}, word ${i} does not match tag ${tag}`);
    return tag;
  }
}

/** Words of a page: by tag one word repeated, half noise, or all noise; the first word is the tag. Tag 0: zeros. */
function wordOf(tag: number, at: number): number {
  if (tag === 0 || at === 0 || tag % 3 === 1) return tag;
  if (tag % 3 === 2 && at < 512) return tag;
  return (Math.imul(tag, 0x9e3779b1) ^ Math.imul(at, 0x85ebca6b) ^ (at >>> 3)) >>> 0;
}
