/**
 * Pages to delete on the remote machine: single pages in a ring of fixed size, whole areas in a short list. Freeing a page
 * only writes a row here; background steps send the commands.
 *
 * Invariants
 * - An entry is removed when its reply has been read. An entry without a reply is sent again; this is safe, because it
 *   names a generation or an epoch that is never reused.
 * - If the ring is full, a page is not queued and its caller counts it.
 */
import { assert } from '../base/assert.ts';
import { type RemotePages, RemoteResult } from './remote-pages.ts';

const ENTRY_BYTES = 12;
const ENDED_AREAS_MAX = 64;

interface EndedArea {
  readonly epoch: number;
  readonly chunks: Int32Array;
  /** Chunks whose reply has been read. */
  done: number;
}

export interface FlushCounts {
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

  /** @param entries size of the ring, a power of two */
  constructor(entries: number) {
    assert(entries > 0 && (entries & (entries - 1)) === 0, 'entries is a power of two');
    this.#mask = entries - 1;
    this.#epoch = new Int32Array(entries);
    this.#offset = new Int32Array(entries);
    this.#generation = new Int32Array(entries);
  }

  static tableBytes(entries: number): number {
    return entries * ENTRY_BYTES;
  }

  get pages(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0 && this.#areas.length === 0;
  }

  /** Queues a page. Returns false if the ring is full. */
  addPage(epoch: number, offset: number, generation: number): boolean {
    if (this.#count > this.#mask) return false;
    const at = (this.#first + this.#count++) & this.#mask;
    this.#epoch[at] = epoch;
    this.#offset[at] = offset;
    this.#generation[at] = generation;
    return true;
  }

  /**
   * Queues the chunks of an area that was switched off. Returns how many chunks of the oldest queued area were dropped
   * to make space.
   * @param touched by chunk: 1 if the remote machine may have pages of it
   */
  addArea(epoch: number, touched: Uint8Array): number {
    const chunks: number[] = [];
    for (let chunk = 0; chunk < touched.length; chunk++) if (touched[chunk]) chunks.push(chunk);
    if (chunks.length === 0) return 0;
    this.#areas.push({ epoch, chunks: Int32Array.from(chunks), done: 0 });
    if (this.#areas.length <= ENDED_AREAS_MAX) return 0;
    const oldest = this.#areas.shift()!;
    return oldest.chunks.length - oldest.done;
  }

  /** Sends one batch, as much as `remote` stages, and reads its replies; adds to `counts`. The connection must be up. */
  flush(remote: RemotePages, counts: FlushCounts): void {
    if (this.#count > 0) this.#flushPages(remote, counts);
    else if (this.#areas.length > 0) this.#flushChunks(remote, this.#areas[0]!, counts);
  }

  #flushPages(remote: RemotePages, counts: FlushCounts): void {
    let staged = 0;
    while (staged < this.#count) {
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
      const reply = remote.readReply();
      if (reply === RemoteResult.down) continue;
      if (reply === RemoteResult.done) counts.pages++;
      else counts.pagesFailed++;
      this.#first = (this.#first + 1) & this.#mask;
      this.#count--;
    }
  }

  #flushChunks(remote: RemotePages, area: EndedArea, counts: FlushCounts): void {
    let staged = 0;
    while (area.done + staged < area.chunks.length) {
      if (!remote.stageUnlink(area.epoch, area.chunks[area.done + staged]!)) break;
      staged++;
    }
    remote.send();
    for (let i = 0; i < staged; i++) {
      const reply = remote.readReply();
      if (reply === RemoteResult.down) continue;
      if (reply === RemoteResult.done) counts.chunks++;
      else counts.chunksFailed++;
      area.done++;
    }
    if (area.done === area.chunks.length) this.#areas.shift();
  }
}
