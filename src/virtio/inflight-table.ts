/**
 * The chains that a queue has taken and not returned, in memory that outlives the process: after a kill, a new device takes
 * them again. (QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking", split virtqueue.)
 *
 *   header: features 8 │ version 2 │ desc_num 2 │ last_batch_head 2 │ used_idx 2
 *   entry of a descriptor: inflight 1 │ padding 5 │ next 2 │ counter 8
 *
 *   take(head):  counter, then inflight = 1
 *   return:      begin(head): last_batch_head ─▶ index of the used ring ─▶ end(head): inflight = 0 ─▶ used_idx
 *
 * A kill happens between two stores, and all earlier stores are in the memory. If used_idx differs from the index of the used
 * ring, the chains from last_batch_head on are already in the used ring: open() clears them. If they are equal, last_batch_head
 * has no meaning, and a chain that was about to be returned is taken again: its request is executed twice, but never lost.
 *
 * Invariants
 * - Entries taken from the available ring = index of the used ring + number of chains in flight: so the next entry needs no
 *   field.
 * - The version of a table is 1 only when everything else is initialised. The front-end can write the memory, too, so open()
 *   checks what it reads.
 */
import { assert } from '../base/assert.ts';

const Header = { version: 8, count: 10, lastHead: 12, usedIndex: 14, bytes: 16 } as const;
const Entry = { inFlight: 0, next: 6, counter: 8, bytes: 16 } as const;
const VERSION = 1;
const TWO_32 = 0x1_0000_0000;

/** Size of the table of a queue, bytes. */
export const inflightBytes = (queueSize: number): number => Header.bytes + queueSize * Entry.bytes;

export class InflightTable {
  readonly #view: DataView;
  readonly #size: number;
  #counter = 0;

  /** @param area at least inflightBytes(size) long */
  constructor(area: Uint8Array, size: number) {
    assert(area.length >= inflightBytes(size), 'the area has room for the table');
    this.#view = new DataView(area.buffer, area.byteOffset, inflightBytes(size));
    this.#size = size;
  }

  /**
   * Initialises a new table, or finds the chains in flight in an existing one.
   * @returns the heads in flight, oldest first; null: the table belongs to a queue of another size or layout
   */
  open(usedIndex: number): number[] | null {
    const view = this.#view;
    const version = view.getUint16(Header.version, true);
    if (version === 0) {
      for (let head = 0; head < this.#size; head++) view.setUint8(entryAt(head), 0);
      view.setUint16(Header.count, this.#size, true);
      view.setUint16(Header.usedIndex, usedIndex, true);
      view.setUint16(Header.version, VERSION, true);
      return [];
    }
    if (version !== VERSION || view.getUint16(Header.count, true) !== this.#size) return null;
    const batch = (usedIndex - view.getUint16(Header.usedIndex, true)) & 0xffff;
    if (batch > this.#size) return null;
    let head = view.getUint16(Header.lastHead, true);
    for (let left = batch; left > 0; left--) {
      if (head >= this.#size) return null;
      view.setUint8(entryAt(head) + Entry.inFlight, 0);
      head = view.getUint16(entryAt(head) + Entry.next, true);
    }
    view.setUint16(Header.usedIndex, usedIndex, true);
    const heads: number[] = [];
    for (let i = 0; i < this.#size; i++)
      if (view.getUint8(entryAt(i) + Entry.inFlight) !== 0) heads.push(i);
    heads.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
    this.#counter = heads.length === 0 ? 0 : this.#counterOf(heads.at(-1)!) + 1;
    return heads;
  }

  take(head: number): void {
    const at = entryAt(head);
    this.#view.setUint32(at + Entry.counter, this.#counter >>> 0, true);
    this.#view.setUint32(at + Entry.counter + 4, Math.floor(this.#counter / TWO_32), true);
    this.#view.setUint8(at + Entry.inFlight, 1);
    this.#counter++;
  }

  /** Call before the index of the used ring is published. */
  begin(head: number): void {
    const view = this.#view;
    view.setUint16(entryAt(head) + Entry.next, view.getUint16(Header.lastHead, true), true);
    view.setUint16(Header.lastHead, head, true);
  }

  /** Call after it is published. */
  end(head: number, usedIndex: number): void {
    this.#view.setUint8(entryAt(head) + Entry.inFlight, 0);
    this.#view.setUint16(Header.usedIndex, usedIndex, true);
  }

  #counterOf(head: number): number {
    const at = entryAt(head) + Entry.counter;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * TWO_32;
  }
}

const entryAt = (head: number): number => Header.bytes + head * Entry.bytes;
