/**
 * What is to be given up on the other machine: single pages in a ring of a fixed size, whole areas in a short list. A free
 * only writes a row here; the background's steps send.
 *
 * Invariants
 * - An entry leaves when its answer has come: an entry that was sent and not answered is sent again, which harms nothing,
 *   for it names a generation or an epoch that is never used again.
 * - A page that finds the ring full is not queued, and its caller counts it.
 */
import { assert } from '../base/assert.ts';
import { BATCH_MAX, type RemotePages, RemoteResult } from './remote-pages.ts';

const ENTRY_BYTES = 12;
const ENDED_AREAS_MAX = 64;

interface EndedArea {
  readonly epoch: number;
  readonly chunks: Int32Array;
  /** Chunks answered for. */
  done: number;
}

export interface Flushed {
  pages: number;
  pagesFailed: number;
  chunks: number;
  chunksFailed: number;
}

export class FlushQueue {
  readonly #mask: number;
  readonly #epoch: Int32Array;
  readonly #offset: Int32Array;
  readonly #generation: Int32Array;
  #first = 0;
  #count = 0;
  readonly #areas: EndedArea[] = [];

  /** @param room entries, a power of two */
  constructor(room: number) {
    assert(room > 0 && (room & (room - 1)) === 0, 'a ring has a power of two of entries');
    this.#mask = room - 1;
    this.#epoch = new Int32Array(room);
    this.#offset = new Int32Array(room);
    this.#generation = new Int32Array(room);
  }

  static tableBytes(room: number): number {
    return room * ENTRY_BYTES;
  }

  get pages(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0 && this.#areas.length === 0;
  }

  /** False: the ring is full. */
  addPage(epoch: number, offset: number, generation: number): boolean {
    if (this.#count > this.#mask) return false;
    const at = (this.#first + this.#count++) & this.#mask;
    this.#epoch[at] = epoch;
    this.#offset[at] = offset;
    this.#generation[at] = generation;
    return true;
  }

  /** An area has ended; `touched` says by chunk what may be there. Returns chunks of an older one that had to make room. */
  addArea(epoch: number, touched: Uint8Array): number {
    const chunks: number[] = [];
    for (let chunk = 0; chunk < touched.length; chunk++) if (touched[chunk]) chunks.push(chunk);
    if (chunks.length === 0) return 0;
    this.#areas.push({ epoch, chunks: Int32Array.from(chunks), done: 0 });
    if (this.#areas.length <= ENDED_AREAS_MAX) return 0;
    const oldest = this.#areas.shift()!;
    return oldest.chunks.length - oldest.done;
  }

  /** Sends one batch and reads its answers, adding to `flushed`. The connection is up. */
  flush(remote: RemotePages, flushed: Flushed): void {
    if (this.#count > 0) this.#flushPages(remote, flushed);
    else if (this.#areas.length > 0) this.#flushChunks(remote, this.#areas[0]!, flushed);
  }

  #flushPages(remote: RemotePages, flushed: Flushed): void {
    const most = Math.min(this.#count, BATCH_MAX);
    let staged = 0;
    while (staged < most) {
      const at = (this.#first + staged) & this.#mask;
      const isStaged = remote.stageDelete(
        this.#epoch[at]!,
        this.#offset[at]!,
        this.#generation[at]!,
      );
      if (!isStaged) break;
      staged++;
    }
    remote.send();
    for (let i = 0; i < staged; i++) {
      const answer = remote.answer();
      if (answer === RemoteResult.down) continue;
      if (answer === RemoteResult.done) flushed.pages++;
      else flushed.pagesFailed++;
      this.#first = (this.#first + 1) & this.#mask;
      this.#count--;
    }
  }

  #flushChunks(remote: RemotePages, area: EndedArea, flushed: Flushed): void {
    let staged = 0;
    while (staged < BATCH_MAX && area.done + staged < area.chunks.length) {
      if (!remote.stageUnlink(area.epoch, area.chunks[area.done + staged]!)) break;
      staged++;
    }
    remote.send();
    for (let i = 0; i < staged; i++) {
      const answer = remote.answer();
      if (answer === RemoteResult.down) continue;
      if (answer === RemoteResult.done) flushed.chunks++;
      else flushed.chunksFailed++;
      area.done++;
    }
    if (area.done === area.chunks.length) this.#areas.shift();
  }
}
