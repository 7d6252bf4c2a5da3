/**
 * Where each page of one swap area is, and in which order those that may move on came.
 *
 *   place        none, local (in the list), stays (local, not in it), remote      1 byte a slot
 *   generation   how often the slot's page was sent                               4 bytes
 *   next, prev   the list of pages that may move on, oldest first; slot + 1       8 bytes
 *   stamp        when it entered the list: areas share one clock of stamps        4 bytes
 *
 * Generations go round at 2^32 sends of one slot; by then whatever was under way for it has arrived.
 * Cost: 17 bytes a slot, all operations O(1) without garbage.
 */
import { assert } from '../base/assert.ts';

export const PageLocation = { none: 0, local: 1, stays: 2, remote: 3 } as const;
export type PageLocation = (typeof PageLocation)[keyof typeof PageLocation];

const ROW_BYTES = 17;

export class AreaPages {
  /** Of the area's life, from 1: never used again by this boot. */
  readonly epoch: number;
  readonly slots: number;
  /** Pages in the list. */
  listed = 0;
  /** Pages on the other machine. */
  remotePages = 0;
  /** Chunks that may have something on the other machine. */
  readonly touched: Uint8Array;
  readonly #place: Uint8Array;
  readonly #generation: Int32Array;
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  readonly #stamp: Int32Array;
  /** Slot + 1; 0: the list is empty. */
  #head = 0;
  #tail = 0;

  constructor(epoch: number, slots: number, chunks: number) {
    this.epoch = epoch;
    this.slots = slots;
    this.touched = new Uint8Array(chunks);
    this.#place = new Uint8Array(slots);
    this.#generation = new Int32Array(slots);
    this.#next = new Int32Array(slots);
    this.#prev = new Int32Array(slots);
    this.#stamp = new Int32Array(slots);
  }

  static tableBytes(slots: number, chunks: number): number {
    return slots * ROW_BYTES + chunks;
  }

  placeOf(offset: number): PageLocation {
    assert(offset >= 0 && offset < this.slots, 'a slot is inside its area');
    return this.#place[offset]! as PageLocation;
  }

  generationOf(offset: number): number {
    return this.#generation[offset]!;
  }

  /** The slot's page is about to be sent: the number that this sending goes by. */
  nextGeneration(offset: number): number {
    const generation = (this.#generation[offset]! + 1) | 0;
    this.#generation[offset] = generation;
    return generation;
  }

  /** Slot that has been in the list longest; -1: there is none. */
  get oldest(): number {
    return this.#head - 1;
  }

  stampOf(offset: number): number {
    return this.#stamp[offset]!;
  }

  /** The page is there but for now: in none of the lists. */
  set(
    offset: number,
    place: typeof PageLocation.none | typeof PageLocation.stays | typeof PageLocation.remote,
  ): void {
    const before = this.placeOf(offset);
    if (before === PageLocation.local) this.#unlink(offset);
    if (before === PageLocation.remote) this.remotePages--;
    if (place === PageLocation.remote) this.remotePages++;
    this.#place[offset] = place;
  }

  /** The page is local and may move on, as the newest. */
  append(offset: number, stamp: number): void {
    this.set(offset, PageLocation.none);
    this.#place[offset] = PageLocation.local;
    this.#stamp[offset] = stamp;
    this.#next[offset] = 0;
    this.#prev[offset] = this.#tail;
    if (this.#tail === 0) this.#head = offset + 1;
    else this.#next[this.#tail - 1] = offset + 1;
    this.#tail = offset + 1;
    this.listed++;
  }

  /** Back to the front of the list, with the stamp that it had. */
  putBack(offset: number): void {
    this.set(offset, PageLocation.none);
    this.#place[offset] = PageLocation.local;
    this.#prev[offset] = 0;
    this.#next[offset] = this.#head;
    if (this.#head === 0) this.#tail = offset + 1;
    else this.#prev[this.#head - 1] = offset + 1;
    this.#head = offset + 1;
    this.listed++;
  }

  /** Checks the list and the counts; throws InvariantError. */
  verify(): void {
    let listed = 0;
    let before = 0;
    for (let at = this.#head; at !== 0; at = this.#next[at - 1]!) {
      assert(
        this.#place[at - 1] === PageLocation.local,
        'only pages that may move on are in the list',
      );
      assert(this.#prev[at - 1] === before, 'the list goes back as it goes forth');
      before = at;
      listed++;
      assert(listed <= this.listed, 'the list has an end');
    }
    assert(before === this.#tail, 'the list ends at its tail');
    assert(listed === this.listed, 'the list is counted');
    let local = 0;
    let remote = 0;
    for (const place of this.#place) {
      if (place === PageLocation.local) local++;
      if (place === PageLocation.remote) remote++;
    }
    assert(local === listed, 'all pages that may move on are in the list');
    assert(remote === this.remotePages, 'remote pages are counted');
  }

  #unlink(offset: number): void {
    const next = this.#next[offset]!;
    const prev = this.#prev[offset]!;
    if (prev === 0) this.#head = next;
    else this.#next[prev - 1] = next;
    if (next === 0) this.#tail = prev;
    else this.#prev[next - 1] = prev;
    this.listed--;
  }
}
