/**
 * A split virtqueue in the memory of a guest, as its device sees it. (virtio 1.2, "Split Virtqueues"; the in-flight area is that of
 * QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking".)
 *
 *   pop()   available entry ─▶ chain of segments, direct or indirect ─▶ marked in flight
 *   push()  head and length ─▶ used ring ─▶ no longer in flight
 *
 * The guest may change every byte at any moment: a value is read once, and checked before it is used. A chain that is not valid
 * throws RingFault: the queue is stopped, nothing else.
 *
 * Invariants
 * - A chain has at most `size` descriptors in the table that has its segments, each inside a region; so no loop is longer.
 * - At most `size` chains are in flight: more available entries are a fault.
 * - After a restart with an in-flight area, chains in flight are popped again, the oldest first, and no other chain twice.
 * Cost: some loads for each descriptor; nothing is allocated for a chain.
 */
import { assert } from '../base/assert.ts';
import type { MappedRegion } from './memory-table.ts';
import type { RingSetup } from './protocol/ops.ts';

/** The driver broke its queue. */
export class RingFault extends Error {
  override readonly name: string = 'RingFault';
}

const Desc = { address: 0, length: 8, flags: 12, next: 14, bytes: 16 } as const;
const DescFlag = { next: 1, write: 2, indirect: 4 } as const;
/** Of the available ring: the driver needs no notification. */
const AVAIL_NO_INTERRUPT = 1;
/** Of the used ring: the device needs no kick. */
const USED_NO_NOTIFY = 1;

/** The in-flight area of a queue: a header, then 16 bytes for each descriptor. */
const Area = { version: 8, count: 10, lastHead: 12, usedIndex: 14, entries: 16 } as const;
const AreaEntry = { inFlight: 0, counter: 8, bytes: 16 } as const;
const AREA_VERSION = 1;

/** Segments of a chain at most: those of a request, its header and its status. */
export const SEGMENTS_MAX = 128;
const TWO_32 = 0x1_0000_0000;

export const areaBytes = (size: number): number => Area.entries + size * AreaEntry.bytes;

/** A full memory barrier: an operation on shared memory. */
const barrierWord = new Int32Array(new SharedArrayBuffer(8));
const barrier = (): void => {
  Atomics.add(barrierWord, 0, 1);
};

export class Ring {
  readonly size: number;
  /** The last chain: its segments in order. `bytes[i][at[i] .. at[i] + lengths[i])`. */
  readonly bytes: Uint8Array[] = new Array<Uint8Array>(SEGMENTS_MAX);
  readonly at: Float64Array = new Float64Array(SEGMENTS_MAX);
  readonly lengths: Float64Array = new Float64Array(SEGMENTS_MAX);
  readonly writable: Uint8Array = new Uint8Array(SEGMENTS_MAX);
  count = 0;
  readonly #regions: readonly MappedRegion[];
  readonly #views: readonly DataView[];
  readonly #desc: DataView;
  readonly #avail: DataView;
  readonly #used: DataView;
  readonly #area: DataView | null;
  /** Heads to pop again. */
  readonly #again: number[] = [];
  #next: number;
  #usedIndex: number;
  #inFlight = 0;
  #counter = 0;
  #region = 0;
  #tableView: DataView;
  #tableAt = 0;

  /** @throws RingFault: a part is not in the memory, or not aligned */
  constructor(setup: RingSetup, regions: readonly MappedRegion[], area: Uint8Array | null) {
    const { size, base } = setup;
    assert(size > 0 && size <= 32768, '0 < size <= 32768');
    this.size = size;
    this.#regions = regions;
    this.#views = regions.map(({ view }) => viewOf(view));
    this.#desc = this.#ofUser(setup.desc, size * Desc.bytes, 16);
    this.#avail = this.#ofUser(setup.avail, 6 + size * 2, 2);
    this.#used = this.#ofUser(setup.used, 6 + size * 8, 4);
    this.#tableView = this.#desc;
    this.#next = base;
    this.#usedIndex = this.#used.getUint16(2, true);
    this.#area = area === null ? null : viewOf(area);
    if (this.#area !== null) this.#recover(this.#area);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get next(): number {
    return this.#next;
  }

  /** Takes the next chain. @returns its head; -1: none is available. @throws RingFault */
  pop(): number {
    const again = this.#again.shift();
    if (again !== undefined) {
      this.#walk(again);
      return again;
    }
    const ready = (this.#avail.getUint16(2, true) - this.#next) & 0xffff;
    if (ready === 0) return -1;
    if (ready > this.size || this.#inFlight >= this.size)
      throw new RingFault(`${ready} entries are available and ${this.#inFlight} in flight`);
    const head = this.#avail.getUint16(4 + (this.#next % this.size) * 2, true);
    if (head >= this.size) throw new RingFault(`descriptor ${head} of ${this.size} is available`);
    if (this.#area !== null) {
      const at = Area.entries + head * AreaEntry.bytes;
      if (this.#area.getUint8(at) !== 0) throw new RingFault(`chain ${head} is in flight already`);
      this.#area.setUint32(at + AreaEntry.counter, ++this.#counter, true);
      this.#area.setUint32(at + AreaEntry.counter + 4, 0, true);
      this.#area.setUint8(at, 1);
    }
    this.#next = (this.#next + 1) & 0xffff;
    this.#inFlight++;
    this.#walk(head);
    return head;
  }

  /** Returns a chain. @param written bytes written to it */
  push(head: number, written: number): void {
    const area = this.#area;
    const used = this.#used;
    const at = 4 + (this.#usedIndex % this.size) * 8;
    used.setUint32(at, head, true);
    used.setUint32(at + 4, written, true);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    area?.setUint16(Area.lastHead, head, true);
    used.setUint16(2, this.#usedIndex, true);
    this.#inFlight--;
    if (area === null) return;
    area.setUint8(Area.entries + head * AreaEntry.bytes, 0);
    area.setUint16(Area.usedIndex, this.#usedIndex, true);
  }

  /** Whether the driver wants to be notified of what was pushed. */
  get wantsNotify(): boolean {
    barrier();
    return (this.#avail.getUint16(0, true) & AVAIL_NO_INTERRUPT) === 0;
  }

  /** Tells the driver that it need not kick. */
  ignoreKicks(): void {
    this.#used.setUint16(0, USED_NO_NOTIFY, true);
  }

  /** Tells the driver to kick. @returns whether entries have become available before */
  wantKicks(): boolean {
    this.#used.setUint16(0, 0, true);
    barrier();
    return this.#again.length > 0 || this.#avail.getUint16(2, true) !== this.#next;
  }

  #walk(head: number): void {
    this.count = 0;
    this.#tableView = this.#desc;
    this.#tableAt = 0;
    let tableSize = this.size;
    let isIndirect = false;
    for (let index = head, left = this.size; ; left--) {
      if (left === 0 || index >= tableSize) throw new RingFault(`chain ${head} has no valid end`);
      const at = this.#tableAt + index * Desc.bytes;
      const table = this.#tableView;
      const address = table.getUint32(at, true) + table.getUint32(at + 4, true) * TWO_32;
      const length = table.getUint32(at + Desc.length, true);
      const flags = table.getUint16(at + Desc.flags, true);
      const next = table.getUint16(at + Desc.next, true);
      if ((flags & DescFlag.indirect) !== 0) {
        if (isIndirect || (flags & DescFlag.next) !== 0 || length === 0 || length % 16 !== 0)
          throw new RingFault(`chain ${head} has a table of ${length} bytes in the wrong place`);
        isIndirect = true;
        tableSize = Math.min(length / Desc.bytes, this.size);
        this.#find(address, length, head);
        this.#tableView = this.#views[this.#region]!;
        this.#tableAt = address - this.#regions[this.#region]!.guestAddress;
        index = 0;
        left = tableSize + 1; // the loop subtracts the entry that names the table
        continue;
      }
      this.#add(address, length, (flags & DescFlag.write) === 0 ? 0 : 1, head);
      if ((flags & DescFlag.next) === 0) return;
      index = next;
    }
  }

  /** Adds a segment, in parts if it continues in the next piece of memory. */
  #add(address: number, length: number, isWritable: number, head: number): void {
    let from = address;
    for (let left = length; left > 0; ) {
      if (this.count === SEGMENTS_MAX) throw new RingFault(`chain ${head} has too many segments`);
      this.#find(from, 1, head);
      const region = this.#regions[this.#region]!;
      const at = from - region.guestAddress;
      const part = Math.min(left, region.bytes - at);
      this.bytes[this.count] = region.view;
      this.at[this.count] = at;
      this.lengths[this.count] = part;
      this.writable[this.count] = isWritable;
      this.count++;
      from += part;
      left -= part;
    }
  }

  /** Finds the region that has the range. */
  #find(address: number, length: number, head: number): void {
    const regions = this.#regions;
    let { guestAddress, bytes } = regions[this.#region]!;
    if (address >= guestAddress && address + length <= guestAddress + bytes) return;
    for (let i = 0; i < regions.length; i++) {
      ({ guestAddress, bytes } = regions[i]!);
      if (address < guestAddress || address + length > guestAddress + bytes) continue;
      this.#region = i;
      return;
    }
    throw new RingFault(`chain ${head} has address 0x${address.toString(16)} outside the memory`);
  }

  #ofUser(address: number, bytes: number, alignment: number): DataView {
    const found = this.#regions.findIndex(
      (region) =>
        address >= region.userAddress && address + bytes <= region.userAddress + region.bytes,
    );
    if (found === -1 || address % alignment !== 0)
      throw new RingFault(`a part of the queue at 0x${address.toString(16)} is not in the memory`);
    const { userAddress, view } = this.#regions[found]!;
    return new DataView(view.buffer, view.byteOffset + address - userAddress, bytes);
  }

  /** Finds what a device that ended has left in flight. */
  #recover(area: DataView): void {
    const { size } = this;
    if (area.getUint16(Area.version, true) !== AREA_VERSION) {
      new Uint8Array(area.buffer, area.byteOffset, areaBytes(size)).fill(0);
      area.setUint16(Area.version, AREA_VERSION, true);
      area.setUint16(Area.count, size, true);
      area.setUint16(Area.usedIndex, this.#usedIndex, true);
      return;
    }
    // It ended between the update of the used ring and that of the area: the last chain is done.
    const last = area.getUint16(Area.lastHead, true);
    if (area.getUint16(Area.usedIndex, true) !== this.#usedIndex && last < size)
      area.setUint8(Area.entries + last * AreaEntry.bytes, 0);
    area.setUint16(Area.usedIndex, this.#usedIndex, true);
    const counterOf = (head: number): number =>
      area.getUint32(Area.entries + head * AreaEntry.bytes + AreaEntry.counter, true);
    for (let head = 0; head < size; head++)
      if (area.getUint8(Area.entries + head * AreaEntry.bytes) !== 0) this.#again.push(head);
    this.#again.sort((a, b) => counterOf(a) - counterOf(b));
    this.#counter = this.#again.reduce((most, head) => Math.max(most, counterOf(head)), 0);
    this.#inFlight = this.#again.length;
    this.#next = (this.#usedIndex + this.#inFlight) & 0xffff;
  }
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);
