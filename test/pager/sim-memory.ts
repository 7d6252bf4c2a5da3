/**
 * A paged memory with threads that touch it while the pager works, as userfaultfd has it.
 *
 *   thread ─touch─▶ resident, not protected? ─▶ done: a read is compared, a write recorded
 *              └──▶ a message is queued, the thread waits; who wakes it has it touch again
 *
 * Every method of PagedMemory is one atomic step with a `between` before and after it, in which the test lets threads run:
 * so a page is written between its choice and take(), a message is queued for a page on its way out, and so on.
 * A page's bytes are made from a tag; `truth` is the tag that the last write left.
 */
import assert from 'node:assert/strict';
import { BATCH_PAGES } from '../../src/pager/evictor.ts';
import { type PagedMemory, StopReason, Touch } from '../../src/pager/ops.ts';

/** An access under way. */
export interface SimThread {
  memory: SimMemory | null;
  page: number;
  isWrite: boolean;
  /** What it writes. */
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

/** What goes wrong; asked each time. */
export interface SimTrouble {
  /** take() stops here: busy. */
  isBusy(): boolean;
  /** install() and installZeros() stop here: busy. */
  isShort(): boolean;
}

const noTrouble: SimTrouble = { isBusy: () => false, isShort: () => false };

/** What all memories of a world share: threads, messages, frames, and the moments between two steps. */
export class SimWorld {
  readonly threads: SimThread[] = [];
  /** Messages nobody has read. Whoever is woken before takes its own with it. */
  readonly unread: Message[] = [];
  /** Messages read and not yet served: they may be stale when they are. */
  readonly batch: Message[] = [];
  readonly frames: Uint8Array;
  readonly words: Uint32Array;
  trouble: SimTrouble = noTrouble;
  /** Before each atomic step, and after it. */
  between: () => void = () => {};
  after: () => void = () => {};
  /** Pages that take() moved to frames. */
  taken = 0;
  busyStops = 0;
  installed = 0;
  /** Installs that found no memory: of pages that were on their way out, and of those that came. */
  goneBack = 0;
  goneIn = 0;

  constructor(frameCount: number, frames: Uint8Array = new Uint8Array(frameCount * 4096)) {
    this.frames = frames;
    this.words = new Uint32Array(this.frames.buffer);
  }

  /** One try of a thread's access. */
  step(thread: SimThread): void {
    if (thread.memory === null || thread.isWaiting) return;
    thread.memory.touch(thread);
  }

  /** Every thread that waits has a message under way, or it would wait for ever. */
  checkWaiters(): void {
    for (const thread of this.threads) {
      if (!thread.isWaiting) continue;
      const isHeard =
        this.unread.some((m) => m.thread === thread) || this.batch.some((m) => m.thread === thread);
      assert.ok(isHeard, `a thread waits for page ${thread.page} and nobody knows`);
    }
  }
}

export class SimMemory implements PagedMemory {
  readonly pages: number;
  stop: StopReason = StopReason.none;
  readonly world: SimWorld;
  /** Tag by page that is resident. */
  readonly tags: Int32Array;
  readonly truth: Int32Array;
  readonly present: Uint8Array;
  readonly isProtected: Uint8Array;
  readonly poisoned: Uint8Array;
  /** Not memory any more. */
  readonly unmapped: Uint8Array;
  /** The pager has said that the page is lost. */
  readonly lost: Uint8Array;
  /** Given up behind the pager's back: zeros, or what a slot has still. */
  readonly loose: Uint8Array;
  /** The same, and the pager has not seen it yet. */
  readonly behind: Uint8Array;
  /** A discard() of these pages is under way. */
  discardFrom = 0;
  discardTo = 0;
  /** Threads that died of an access: `lost` or `unmapped` pages only. */
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
      this.#ask(thread, isWrite ? Touch.write : Touch.read);
    } else if (isWrite && this.isProtected[page] === 1) {
      this.#ask(thread, Touch.write | Touch.protected);
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
    else assert.equal(tag, this.truth[page], `page ${page} reads as what was written last`);
    this.loose[page] = 0;
    this.truth[page] = tag;
  }

  write(page: number, tag: number): void {
    this.writes++;
    this.loose[page] = 0;
    this.tags[page] = tag;
    this.truth[page] = tag;
  }

  /** The owner gives a page up behind the pager's back, as madvise() does. */
  giveUp(page: number): void {
    if (this.present[page] === 0) return;
    this.present[page] = 0;
    this.behind[page] = 1;
    if (this.isProtected[page] === 1) this.loose[page] = 1;
    else this.truth[page] = 0;
  }

  /** The owner unmaps a page: who waits for it dies. */
  unmap(page: number): void {
    this.present[page] = 0;
    this.behind[page] = 1;
    this.unmapped[page] = 1;
    this.#wakeRange(page, 1);
  }

  // PagedMemory

  install(page: number, frame: number, count: number, writable: boolean): number {
    this.world.between();
    assert.ok(frame + count <= BATCH_PAGES || frame >= BATCH_PAGES, 'one way or the other');
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
    assert.ok(frame >= 0 && frame + count <= BATCH_PAGES, 'pages leave through the first frames');
    this.stop = StopReason.none;
    let done = 0;
    for (; done < count && this.stop === StopReason.none; done++) {
      const at = page + done;
      if (this.present[at] === 0) this.stop = StopReason.gone;
      else if (this.world.trouble.isBusy()) this.stop = StopReason.busy;
      else {
        assert.equal(this.isProtected[at], 1, 'what is taken cannot be written');
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
      const isWanted = i < this.discardFrom || i >= this.discardTo;
      if (!isWanted) this.truth[i] = 0;
      else if (this.present[i] === 1) assert.equal(this.isProtected[i], 1, 'a write may be lost');
      if (!isWanted) this.poisoned[i] = 0;
      this.present[i] = 0;
    }
    this.world.after();
  }

  flush(): void {}

  freeFrames(frame: number, count: number): void {
    assert.ok(
      frame >= 0 && frame + count <= BATCH_PAGES,
      'only frames of pages that leave are given back',
    );
    this.world.words.fill(0xeeeeeeee, frame * 1024, (frame + count) * 1024);
  }

  wake(page: number, count: number): void {
    this.world.between();
    this.#check(page, count);
    this.#wakeRange(page, count);
    this.world.after();
  }

  poison(page: number): void {
    assert.equal(this.lost[page], 1, 'only a page that was told lost is poisoned');
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
      else if (this.world.trouble.isShort()) this.stop = StopReason.busy;
      if (this.stop !== StopReason.none) break;
      put(done);
      this.present[at] = 1;
      this.behind[at] = 0;
    }
    this.world.installed += done;
    this.#wakeRange(page, done);
    return done;
  }

  #ask(thread: SimThread, touch: number): void {
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
    assert.ok(count > 0 && page >= 0 && page + count <= this.pages, 'a range inside the memory');
  }

  #fill(frame: number, tag: number): void {
    for (let i = 0; i < 1024; i++) this.world.words[frame * 1024 + i] = wordOf(tag, i);
  }

  #tagOf(frame: number): number {
    const { words } = this.world;
    const tag = words[frame * 1024]!;
    for (let i = 1; i < 1024; i++)
      if (words[frame * 1024 + i] !== wordOf(tag, i))
        assert.fail(`frame ${frame}, word ${i} is not of tag ${tag}`);
    return tag;
  }
}

/** One word repeated, half noise, or noise, by tag; the first word is the tag. 0: zeros. */
function wordOf(tag: number, at: number): number {
  if (tag === 0 || at === 0 || tag % 3 === 1) return tag;
  if (tag % 3 === 2 && at < 512) return tag;
  return (Math.imul(tag, 0x9e3779b1) ^ Math.imul(at, 0x85ebca6b) ^ (at >>> 3)) >>> 0;
}
