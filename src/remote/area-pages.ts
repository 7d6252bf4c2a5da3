/**
 * Where each page of one swap area is, and the order in which local pages were stored.
 *
 *   location     none, local (in the list), unmovable (local, not in the list), remote      1 byte per slot
 *   generation   how often the slot's page was sent                                         4 bytes
 *   next, prev   list of movable pages, oldest first, as slot + 1                           8 bytes
 *   stamp        when the page entered the list, on a clock shared by all areas             4 bytes
 *
 * A generation wraps after 2^32 sends of one slot; no command from the previous round is in flight by then.
 * Cost: 17 bytes per slot; every operation is O(1) and allocates nothing.
 */
import { assert } from '../base/assert.ts';

export const PageLocation = { none: 0, local: 1, unmovable: 2, remote: 3 } as const;
export type PageLocation = (typeof PageLocation)[keyof typeof PageLocation];

const ROW_BYTES = 17;

export class AreaPages {
  /** Number that identifies this use of the area, from swapon to swapoff; 1 or more, never reused within a boot. */
  readonly epoch: number;
  readonly slots: number;
  /** Length of the list. */
  listed = 0;
  /** Pages on the remote machine. */
  remotePages = 0;
  /** By chunk: 1 if the remote machine may have pages of it. */
  readonly touched: Uint8Array;
  readonly #location: Uint8Array;
  readonly #generation: Int32Array;
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  readonly #stamp: Int32Array;
  /** Slot + 1; 0 if the list is empty. */
  #head = 0;
  #tail = 0;

  constructor(epoch: number, slots: number, chunks: number) {
    this.epoch = epoch;
    this.slots = slots;
    this.touched = new Uint8Array(chunks);
    this.#location = new Uint8Array(slots);
    this.#generation = new Int32Array(slots);
    this.#next = new Int32Array(slots);
    this.#prev = new Int32Array(slots);
    this.#stamp = new Int32Array(slots);
  }

  static tableBytes(slots: number, chunks: number): number {
    return slots * ROW_BYTES + chunks;
  }

  locationOf(offset: number): PageLocation {
    assert(offset >= 0 && offset < this.slots, '0 <= offset < slots');
    return this.#location[offset]! as PageLocation;
  }

  generationOf(offset: number): number {
    return this.#generation[offset]!;
  }

  /** Starts a new generation for a page that is about to be sent, and returns it. */
  nextGeneration(offset: number): number {
    const generation = (this.#generation[offset]! + 1) | 0;
    this.#generation[offset] = generation;
    return generation;
  }

  /** Slot of the oldest page in the list, or -1. */
  get oldest(): number {
    return this.#head - 1;
  }

  stampOf(offset: number): number {
    return this.#stamp[offset]!;
  }

  /** Moves the page to a location outside the list. */
  set(
    offset: number,
    location: typeof PageLocation.none | typeof PageLocation.unmovable | typeof PageLocation.remote,
  ): void {
    const before = this.locationOf(offset);
    if (before === PageLocation.local) this.#unlink(offset);
    if (before === PageLocation.remote) this.remotePages--;
    if (location === PageLocation.remote) this.remotePages++;
    this.#location[offset] = location;
  }

  /** Makes the page local and the newest in the list. */
  append(offset: number, stamp: number): void {
    this.set(offset, PageLocation.none);
    this.#location[offset] = PageLocation.local;
    this.#stamp[offset] = stamp;
    this.#next[offset] = 0;
    this.#prev[offset] = this.#tail;
    if (this.#tail === 0) this.#head = offset + 1;
    else this.#next[this.#tail - 1] = offset + 1;
    this.#tail = offset + 1;
    this.listed++;
  }

  /** Puts the page back as the oldest in the list, with its old stamp. */
  putBack(offset: number): void {
    this.set(offset, PageLocation.none);
    this.#location[offset] = PageLocation.local;
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
      assert(this.#location[at - 1] === PageLocation.local, 'a listed page is local');
      assert(this.#prev[at - 1] === before, 'prev is the inverse of next');
      before = at;
      listed++;
      assert(listed <= this.listed, 'the list has no loop');
    }
    assert(before === this.#tail, 'the last page is the tail');
    assert(listed === this.listed, 'listed = length of the list');
    let local = 0;
    let remote = 0;
    for (const location of this.#location) {
      if (location === PageLocation.local) local++;
      if (location === PageLocation.remote) remote++;
    }
    assert(local === listed, 'each local page is in the list');
    assert(remote === this.remotePages, 'remotePages = pages in that location');
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
