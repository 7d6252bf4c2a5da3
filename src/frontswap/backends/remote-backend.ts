/**
 * A frontswap backend with two tiers: pages are stored compressed in the local tier, and the oldest move to a remote peer
 * in the background; a load moves them back. This is what RAMster did, with a peer that speaks the Redis protocol.
 *
 *   store ──▶ local ── remotify(): the oldest, in batches ──────▶ peer
 *               ▲      dropped when the peer acknowledges the put  │
 *               └───── load(): stored locally, then deleted there ─┘
 *
 * Invariants
 * - A page is in exactly one tier. A page being sent is still local. After a load it is local again, and the
 *   generation of the peer's copy is no longer requested.
 * - If the peer has no memory or does not acknowledge, the page stays local and remains the oldest. If the peer
 *   refuses it for another reason, it stays local as the newest, so that it does not block others.
 * - A page that the peer lost, damaged or returns after the deadline is LoadResult.corrupt and counted: never zeros, never
 *   another page. The load may be retried.
 * - store(), invalidatePage() and loads of local pages use no connection, so they work while the peer is unreachable.
 * - The tables (17 bytes per slot) and the connection's buffers are charged to the budget.
 *
 * Cost: remotify sends compressed bytes as stored; a remote load is one round trip, a checksum and a decompression. It
 * allocates one view per page moved.
 * Left out: same-filled pages (12 bytes locally) and incompressible pages (5 KiB on the peer for 4 KiB) stay local;
 * several peers, replicas, and keeping the local copy until a second peer acknowledges are not supported.
 */
import type { Budget } from '../../arena/budget.ts';
import { checkChoice, checkInteger } from '../../base/arguments.ts';
import { assert } from '../../base/assert.ts';
import { Counters } from '../../base/counters.ts';
import { SwapError } from '../../base/errors.ts';
import { checkOptions } from '../../base/options.ts';
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

/** The local tier: a frontswap backend that can read and store compressed pages. */
export type LocalPages = FrontswapBackend &
  Pick<StoreBackend, 'formatOf' | 'compressedBytes' | 'readCompressed' | 'storeCompressed'>;

/** The budget and queue size of a RemoteBackend. */
export interface RemoteBackendOptions {
  /** The budget that tables and buffers are charged to; usually that of the local pages. */
  readonly budget: Budget;
  /** Maximum number of deletes that wait to be sent to the peer, a power of two up to 2^24; default 16,384. */
  readonly flushesMax?: number;
}

/** Pages sent before their results are read. */
const BATCH_PAGES = 32;
const FLUSHES_MAX = 2 ** 24;

/** A frontswap backend with a local and a remote tier: remotify() moves the oldest local pages to the peer. */
export class RemoteBackend implements FrontswapBackend {
  readonly name = 'remote';
  readonly counters: Counters<RemoteCounter> = new Counters(remoteCounters);
  readonly #local: LocalPages;
  readonly #remote: RemotePages;
  readonly #budget: Budget;
  readonly #queue: FlushQueue;
  readonly #areas: (AreaPages | null)[] = new Array<AreaPages | null>(SWAP_AREAS_MAX).fill(null);
  /** Results of a flush, until they are counted. */
  readonly #flushed: FlushCounts = { pages: 0, pagesFailed: 0, chunks: 0, chunksFailed: 0 };
  /** The batch in flight. */
  readonly #sentType = new Int32Array(BATCH_PAGES);
  readonly #sentOffset = new Int32Array(BATCH_PAGES);
  /** 1 if the page does not return to the list of movable pages. */
  readonly #isSettled = new Uint8Array(BATCH_PAGES);
  #epoch = 0;
  /** Stamp of the last page that entered a list; wraps at 2^32. */
  #stamp = 0;

  /** @throws SwapError ERR_ARG_UNKNOWN; ERR_ARG_VALUE: also if the budget has no space for queue and buffers */
  constructor(local: LocalPages, remote: RemotePages, options: RemoteBackendOptions) {
    checkOptions(options, 'RemoteBackend(options)', ['budget', 'flushesMax']);
    const { budget, flushesMax = 16384 } = options;
    checkInteger('flushesMax', flushesMax, 1, FLUSHES_MAX);
    checkChoice('flushesMax', flushesMax, [2 ** Math.ceil(Math.log2(flushesMax))]);
    this.#local = local;
    this.#remote = remote;
    this.#budget = budget;
    this.#queue = new FlushQueue(flushesMax);
    const bytes = FlushQueue.tableBytes(flushesMax) + remote.memory.length;
    if (budget.reserve(bytes)) return;
    const text = `the budget has no space for the remote tier, which needs ${bytes} bytes; raise its limit`;
    throw new SwapError('ERR_ARG_VALUE', text, { bytes, limitBytes: budget.limitBytes });
  }

  /** Pages on the peer. */
  get remotePages(): number {
    let sum = 0;
    for (const area of this.#areas) if (area !== null) sum += area.remotePages;
    return sum;
  }

  /** Local pages that may be moved to the peer. */
  get movablePages(): number {
    let sum = 0;
    for (const area of this.#areas) if (area !== null) sum += area.listed;
    return sum;
  }

  /** Deletes that wait to be sent to the peer. */
  get waitingFlushes(): number {
    return this.#queue.pages;
  }

  init(type: number, slots: number): void {
    assert(this.#areas[type] === null, 'the area is off');
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
    this.#drop(area, type, offset);
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
    if (area) this.#drop(area, type, offset);
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
   * A background step: moves up to `pagesMax` of the oldest pages to the peer; returns how many. Ends early if the
   * peer is down or full. Blocks for at most one deadline per batch of 32 and one to connect.
   */
  remotify(pagesMax: number): number {
    this.maintain();
    if (!this.#remote.isUp || !this.#remote.hasLease) {
      this.counters.add('remotifyStopped', 1);
      return 0;
    }
    let moved = 0;
    for (let left = pagesMax; left > 0; ) {
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

  /**
   * Other background work: connection, lease, clean-up after earlier boots, queued deletes. Returns true while more is
   * due.
   */
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
        assert(
          isHere === isLocal,
          'the local tier has the page if and only if its location is local',
        );
      }
    }
    const left = counters.get('pagesRepatriated') + counters.get('remotePagesFreed');
    assert(
      this.remotePages === counters.get('pers_pages_remoted') - left,
      'remote pages = moved - moved back - freed',
    );
    const failed = counters.get('remote_pers_pages_unsucc_get') + counters.get('remoteLate');
    assert(counters.get('remoteLost') === failed, 'remoteLost = missing or damaged + late');
  }

  /** Records a local page; lists it if it may be moved to the peer. */
  #enter(area: AreaPages, type: number, offset: number): void {
    if (!this.#remote.keeps(this.#local.formatOf(type, offset))) {
      area.set(offset, PageLocation.unmovable);
      return;
    }
    this.#stamp = (this.#stamp + 1) | 0;
    area.append(offset, this.#stamp);
  }

  /** Drops the slot's page from its tier. */
  #drop(area: AreaPages, type: number, offset: number): void {
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

  /** Queues the slot's page for deletion on the peer. */
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

  /** Stages up to `pagesMax` pages, oldest first, and removes them from their lists; returns how many. */
  #stage(pagesMax: number): number {
    let staged = 0;
    // Pages found not to be movable are unlisted. At most 2 x `pagesMax` pages are checked.
    for (let left = 2 * pagesMax; staged < pagesMax && left > 0; left--) {
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

  /** Reads the batch's results: drops acknowledged pages locally, relists the others; returns how many were acknowledged. */
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
      // The peer may or may not have stored it: delete it.
      if (answer === RemoteResult.down) this.#forget(area, this.#sentOffset[i]!);
      if (answer !== RemoteResult.refused) continue;
      // The peer may refuse only this key: relist the page as the newest, so that others are tried first.
      this.#isSettled[i] = 1;
      this.#enter(area, this.#sentType[i]!, this.#sentOffset[i]!);
    }
    counters.add('pers_pages_remoted', acknowledged);
    for (let i = staged - 1; i >= 0; i--)
      if (this.#isSettled[i] === 0) this.#areas[this.#sentType[i]!]!.putBack(this.#sentOffset[i]!);
    return acknowledged;
  }

  /** The area with the oldest movable page; -1 if there is none. */
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
