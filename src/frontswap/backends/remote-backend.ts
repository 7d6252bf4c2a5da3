/**
 * A frontswap backend in two tiers: pages are stored here, packed, and the oldest move on to another machine in the
 * background, whence a load brings them home. What RAMster did, over a machine that speaks Redis' protocol.
 *
 *   store ──▶ local ── remotify(): the oldest, in batches ──▶ other machine
 *               ▲ the copy here goes when the put is acknowledged │
 *               └──────── load(): home first, then deleted there ─┘
 *
 * Invariants
 * - A page is in exactly one place that counts. One that is being sent is still here; one that came home is here, and what
 *   is left of it there has a generation that nothing asks for any more.
 * - A put that finds no memory there, or is not acknowledged, leaves the page where it was: here, and the oldest. One that
 *   is refused for another reason leaves it here, as the newest: it does not stand in the others' way.
 * - A page that does not come back, comes back as something else, or too late, is Load.corrupt and counted: never zeros,
 *   never another page. It can be asked for again.
 * - store(), invalidatePage() and the load of a page that is here touch no connection: with the other machine dead,
 *   they work as if there were none.
 * - The budget holds the tables, 17 bytes a slot, and the connection's buffers.
 *
 * Cost: remotify moves a page as it lies, packed; a load from there is one round trip, a checksum and an unpack. No garbage
 * but a view a page moved.
 * Left out: pages that are same-filled (they cost 12 bytes here) or do not pack (a machine pays 5 KiB for 4): they stay.
 * Several machines, replicas, and a local copy until a second machine has acknowledged.
 */

import type { Budget } from '../../arena/budget.ts';
import { assert } from '../../base/assert.ts';
import { Counters } from '../../base/counters.ts';
import { SwapError } from '../../base/errors.ts';
import { SWAP_AREAS_MAX } from '../../base/units.ts';
import { PageFormat } from '../../codec/codec.ts';
import { AreaPages, PageLocation } from '../../remote/area-pages.ts';
import { type RemoteCounter, remoteCounters } from '../../remote/counters.ts';
import { type FlushCounts, FlushQueue } from '../../remote/flush-queue.ts';
import {
  CHUNK_SHIFT,
  CHUNK_SLOTS,
  FetchResult,
  type RemotePages,
  RemoteResult,
} from '../../remote/remote-pages.ts';
import { type FrontswapBackend, LoadResult } from '../ops.ts';
import type { StoreBackend } from './store-backend.ts';

/** The tier before this one: a frontswap backend whose compressed pages can be read and stored as they are. */
export type LocalPages = FrontswapBackend &
  Pick<StoreBackend, 'formatOf' | 'compressedBytes' | 'readCompressed' | 'storeCompressed'>;

export interface RemoteBackendOptions {
  /** Ceiling that the tables are under; that of the local pages, usually. */
  readonly budget: Budget;
  /** Pages that may wait to be deleted on the other machine, a power of two; default 16,384. */
  readonly flushesMax?: number;
}

/** Pages sent before their answers are read. */
const BATCH_PAGES = 32;

export class RemoteBackend implements FrontswapBackend {
  readonly name = 'remote';
  readonly counters: Counters<RemoteCounter> = new Counters(remoteCounters);
  readonly #local: LocalPages;
  readonly #remote: RemotePages;
  readonly #budget: Budget;
  readonly #queue: FlushQueue;
  readonly #areas: (AreaPages | null)[] = new Array<AreaPages | null>(SWAP_AREAS_MAX).fill(null);
  /** Answers of a flush, until they are counted. */
  readonly #flushed: FlushCounts = { pages: 0, pagesFailed: 0, chunks: 0, chunksFailed: 0 };
  /** The batch under way. */
  readonly #sentType = new Int32Array(BATCH_PAGES);
  readonly #sentOffset = new Int32Array(BATCH_PAGES);
  /** 1: nothing is to be put back. */
  readonly #isSettled = new Uint8Array(BATCH_PAGES);
  #epoch = 0;
  /** Of the page that entered a list last; goes round. */
  #stamp = 0;

  /** @throws ERR_ARG_VALUE when the budget has no room for the queue and the connection's buffers */
  constructor(local: LocalPages, remote: RemotePages, options: RemoteBackendOptions) {
    const { budget, flushesMax = 16384 } = options;
    this.#local = local;
    this.#remote = remote;
    this.#budget = budget;
    this.#queue = new FlushQueue(flushesMax);
    const bytes = FlushQueue.tableBytes(flushesMax) + remote.memory.length;
    if (budget.reserve(bytes)) return;
    const text = `the budget has no room for the remote tier: it takes ${bytes} bytes`;
    throw new SwapError('ERR_ARG_VALUE', text, { bytes, limitBytes: budget.limitBytes });
  }

  /** Pages on the other machine now. */
  get remotePages(): number {
    let sum = 0;
    for (const area of this.#areas) if (area !== null) sum += area.remotePages;
    return sum;
  }

  /** Pages here that may move on. */
  get movablePages(): number {
    let sum = 0;
    for (const area of this.#areas) if (area !== null) sum += area.listed;
    return sum;
  }

  /** Pages that wait to be deleted on the other machine. */
  get waitingFlushes(): number {
    return this.#queue.pages;
  }

  init(type: number, slots: number): void {
    assert(type >= 0 && type < SWAP_AREAS_MAX, 'a swap area has a number from 0 to 31');
    assert(this.#areas[type] === null, 'an area is switched on once');
    const chunks = Math.ceil(slots / CHUNK_SLOTS);
    if (!this.#budget.reserve(AreaPages.tableBytes(slots, chunks))) {
      this.counters.add('areasRefused', 1);
      return;
    }
    this.#local.init(type, slots);
    this.#areas[type] = new AreaPages(++this.#epoch, slots, chunks);
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    const area = this.#areas[type];
    if (!area) return false;
    this.#give(area, type, offset);
    if (!this.#local.store(type, offset, page, at)) return false;
    this.#enter(area, type, offset);
    return true;
  }

  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const area = this.#areas[type];
    if (!area) return LoadResult.absent;
    switch (area.locationOf(offset)) {
      case PageLocation.none:
        return LoadResult.absent;
      case PageLocation.remote:
        return this.#fetch(area, type, offset, page, at);
      default:
        return this.#local.load(type, offset, page, at);
    }
  }

  invalidatePage(type: number, offset: number): void {
    const area = this.#areas[type];
    if (area) this.#give(area, type, offset);
  }

  invalidateArea(type: number): void {
    const area = this.#areas[type];
    if (!area) return;
    this.#areas[type] = null;
    this.#local.invalidateArea(type);
    this.counters.add('remotePagesFreed', area.remotePages);
    const failed = this.#queue.addArea(area.epoch, area.touched);
    this.counters.add('remote_object_flushes_failed', failed);
    this.#budget.release(AreaPages.tableBytes(area.slots, area.touched.length));
  }

  /**
   * A step of the background: moves up to `most` of the oldest pages to the other machine; how many went. It ends early
   * when the machine is down or full. Blocks for a deadline a batch of 32 at the most, and when it has to connect.
   */
  remotify(most: number): number {
    this.maintain();
    if (!this.#remote.isUp || !this.#remote.hasLease) {
      this.counters.add('remotifyStopped', 1);
      return 0;
    }
    let moved = 0;
    for (let left = most; left > 0; ) {
      const staged = this.#stage(Math.min(left, BATCH_PAGES));
      if (staged === 0) break;
      this.#remote.send();
      const acknowledged = this.#acknowledge(staged);
      moved += acknowledged;
      left -= staged;
      if (acknowledged < staged) break;
    }
    return moved;
  }

  /** A step of the rest: connection, lease, clean-up of older boots, and what waits to be deleted. True: there is more. */
  maintain(): boolean {
    if (!this.#remote.ready()) return false;
    const isMore = this.#remote.maintain();
    if (!this.#remote.isUp) return false;
    if (!this.#queue.isEmpty) this.#flush();
    return this.#remote.isUp && (isMore || !this.#queue.isEmpty);
  }

  /** Checks every invariant; throws InvariantError. Cost: all slots. */
  verify(): void {
    const { counters } = this;
    for (let type = 0; type < SWAP_AREAS_MAX; type++) {
      const area = this.#areas[type];
      if (!area) continue;
      area.verify();
      for (let offset = 0; offset < area.slots; offset++) {
        const place = area.locationOf(offset);
        const isHere = this.#local.formatOf(type, offset) !== PageFormat.none;
        const isLocal = place === PageLocation.local || place === PageLocation.unmovable;
        assert(isHere === isLocal, 'a page lies here exactly when its place says so');
      }
    }
    const left = counters.get('pagesRepatriated') + counters.get('remotePagesFreed');
    assert(
      this.remotePages === counters.get('pers_pages_remoted') - left,
      'pages there are those that went, less those that came home or were freed',
    );
    const failed = counters.get('remote_pers_pages_unsucc_get') + counters.get('remoteLate');
    assert(counters.get('remoteLost') === failed, 'a lost page has a reason');
  }

  /** A page is here: in the list when it may move on. */
  #enter(area: AreaPages, type: number, offset: number): void {
    if (!this.#remote.keeps(this.#local.formatOf(type, offset))) {
      area.set(offset, PageLocation.unmovable);
      return;
    }
    this.#stamp = (this.#stamp + 1) | 0;
    area.append(offset, this.#stamp);
  }

  /** Gives up the slot's page, wherever it is. */
  #give(area: AreaPages, type: number, offset: number): void {
    const place = area.locationOf(offset);
    if (place === PageLocation.none) return;
    area.set(offset, PageLocation.none);
    if (place !== PageLocation.remote) {
      this.#local.invalidatePage(type, offset);
      return;
    }
    this.counters.add('remotePagesFreed', 1);
    this.#forget(area, offset);
  }

  /** What the other machine has of the slot is to be deleted. */
  #forget(area: AreaPages, offset: number): void {
    if (this.#queue.addPage(area.epoch, offset, area.generationOf(offset))) return;
    this.counters.add('remote_page_flushes_failed', 1);
  }

  #fetch(area: AreaPages, type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const remote = this.#remote;
    const { counters } = this;
    const answer = remote.fetch(area.epoch, offset, area.generationOf(offset), page, at);
    if (answer !== FetchResult.found) {
      counters.add('remoteLost', 1);
      counters.add(answer === FetchResult.late ? 'remoteLate' : 'remote_pers_pages_unsucc_get', 1);
      if (answer === FetchResult.damaged) counters.add('remoteDamaged', 1);
      return LoadResult.corrupt;
    }
    counters.add('remote_pers_pages_succ_get', 1);
    const { fetchedFormat, memory, fetchedAt, fetchedBytes } = remote;
    if (
      !this.#local.storeCompressed(type, offset, fetchedFormat, memory, fetchedAt, fetchedBytes)
    ) {
      counters.add('repatriationsRefused', 1);
      return LoadResult.loaded;
    }
    counters.add('pagesRepatriated', 1);
    this.#enter(area, type, offset);
    this.#forget(area, offset);
    return LoadResult.loaded;
  }

  /** Stages up to `most` pages, oldest first, each out of its list; how many. */
  #stage(most: number): number {
    let staged = 0;
    // Pages that turn out not to be movable cost a look each: as many as pages that are.
    for (let looks = 2 * most; staged < most && looks > 0; looks--) {
      const type = this.#oldestArea();
      if (type < 0) break;
      const area = this.#areas[type]!;
      const offset = area.oldest;
      if (!this.#stagePage(area, type, offset)) {
        if (area.oldest === offset) break; // the batch is full
        continue;
      }
      this.#sentType[staged] = type;
      this.#sentOffset[staged] = offset;
      staged++;
    }
    return staged;
  }

  #stagePage(area: AreaPages, type: number, offset: number): boolean {
    const local = this.#local;
    const remote = this.#remote;
    const length = local.compressedBytes(type, offset);
    const format = local.formatOf(type, offset);
    if (!remote.keeps(format) || length === 0) {
      area.set(offset, PageLocation.unmovable);
      return false;
    }
    const generation = area.nextGeneration(offset);
    const at = remote.stagePut(area.epoch, offset, generation, length);
    if (at < 0) return false;
    if (local.readCompressed(type, offset, remote.memory, at) !== length) {
      remote.unstage();
      this.counters.add('localDamaged', 1);
      area.set(offset, PageLocation.unmovable);
      return false;
    }
    remote.sealPut(format, length);
    area.touched[offset >>> CHUNK_SHIFT] = 1;
    area.set(offset, PageLocation.unmovable);
    return true;
  }

  /** Reads the batch's answers: acknowledged pages leave, the others go back to where they were. How many left. */
  #acknowledge(staged: number): number {
    const { counters } = this;
    let acknowledged = 0;
    for (let i = 0; i < staged; i++) {
      const answer = this.#remote.readReply();
      this.#isSettled[i] = answer === RemoteResult.done ? 1 : 0;
      const area = this.#areas[this.#sentType[i]!]!;
      if (answer === RemoteResult.done) {
        acknowledged++;
        this.#local.invalidatePage(this.#sentType[i]!, this.#sentOffset[i]!);
        area.set(this.#sentOffset[i]!, PageLocation.remote);
        continue;
      }
      counters.add('pers_pages_remote_failed', 1);
      if (answer === RemoteResult.noMemory) counters.add('pers_pages_remote_nomem', 1);
      // Nobody knows whether it is there: what may be has to go.
      if (answer === RemoteResult.down) this.#forget(area, this.#sentOffset[i]!);
      if (answer !== RemoteResult.refused) continue;
      // It may be this page's key that the machine objects to: the others are tried first.
      this.#isSettled[i] = 1;
      this.#enter(area, this.#sentType[i]!, this.#sentOffset[i]!);
    }
    counters.add('pers_pages_remoted', acknowledged);
    for (let i = staged - 1; i >= 0; i--)
      if (this.#isSettled[i] === 0) this.#areas[this.#sentType[i]!]!.putBack(this.#sentOffset[i]!);
    return acknowledged;
  }

  /** The area whose oldest page is the oldest of all; -1: no page may move on. */
  #oldestArea(): number {
    let found = -1;
    let stamp = 0;
    for (let type = 0; type < SWAP_AREAS_MAX; type++) {
      const area = this.#areas[type];
      if (!area || area.oldest < 0) continue;
      const own = area.stampOf(area.oldest);
      if (found >= 0 && ((own - stamp) | 0) > 0) continue;
      found = type;
      stamp = own;
    }
    return found;
  }

  #flush(): void {
    const flushed = this.#flushed;
    flushed.pages = 0;
    flushed.pagesFailed = 0;
    flushed.chunks = 0;
    flushed.chunksFailed = 0;
    this.#queue.flush(this.#remote, flushed);
    this.counters.add('remote_pages_flushed', flushed.pages);
    this.counters.add('remote_page_flushes_failed', flushed.pagesFailed);
    this.counters.add('remote_objects_flushed', flushed.chunks);
    this.counters.add('remote_object_flushes_failed', flushed.chunksFailed);
  }
}
