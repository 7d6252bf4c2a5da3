/**
 * A guest: its memory, with bytes around each region that must not change, and a driver of one split virtqueue that keeps
 * its descriptors in a free list, as that of Linux does.
 */
import assert from 'node:assert/strict';
import type { QueueSetup } from '../../../src/virtio/block-device.ts';
import type { GuestRegion } from '../../../src/virtio/guest-memory.ts';

const USER_BASE = 0x7f00_0000_0000;
const CANARY = 0xa5;
const GAP_BYTES = 4096;

/** Where the guest has memory: two adjacent regions, and one far away. */
export const LOW = 0x10000;
const LOW_BYTES = 0x20000;
export const MIDDLE: number = LOW + LOW_BYTES;
export const MIDDLE_BYTES = 0x40000;
export const HIGH: number = 2 ** 40;
export const HIGH_BYTES = 0x10000;
const PLACES = [
  [LOW, LOW_BYTES],
  [MIDDLE, MIDDLE_BYTES],
  [HIGH, HIGH_BYTES],
] as const;

export class Guest {
  readonly regions: readonly GuestRegion[];
  /** All of it, canaries too. */
  readonly all: Uint8Array;

  constructor(
    buffer: ArrayBufferLike = new ArrayBuffer(
      PLACES.reduce((sum, [, bytes]) => sum + bytes + GAP_BYTES, GAP_BYTES),
    ),
  ) {
    this.all = new Uint8Array(buffer).fill(CANARY);
    let from = GAP_BYTES;
    this.regions = PLACES.map(([guestAddress, bytes]) => {
      const view = new Uint8Array(buffer, from, bytes).fill(0);
      const region = { guestAddress, userAddress: USER_BASE + 2 * from, bytes, view };
      from += bytes + GAP_BYTES;
      return region;
    });
  }

  /** The bytes around the regions are as they were. */
  checkCanaries(): void {
    let from = 0;
    for (const { view } of this.regions) {
      assert.ok(this.all.subarray(from, view.byteOffset).every((byte) => byte === CANARY));
      from = view.byteOffset + view.length;
    }
    assert.ok(this.all.subarray(from).every((byte) => byte === CANARY));
  }

  view(address: number, bytes: number): DataView {
    const { guestAddress, view } = this.#regionOf(address);
    return new DataView(view.buffer, view.byteOffset + address - guestAddress, bytes);
  }

  read(address: number, bytes: number): Uint8Array {
    return Uint8Array.from({ length: bytes }, (_, i) => this.view(address + i, 1).getUint8(0));
  }

  write(address: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) this.view(address + i, 1).setUint8(0, bytes[i]!);
  }

  toUser(address: number): number {
    const { guestAddress, userAddress } = this.#regionOf(address);
    return userAddress + address - guestAddress;
  }

  #regionOf(address: number): GuestRegion {
    const region = this.regions.find(
      ({ guestAddress, bytes }) => address >= guestAddress && address < guestAddress + bytes,
    );
    assert.ok(region !== undefined, 'the guest uses its own memory');
    return region;
  }
}

export interface Segment {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

export const DESC: number = LOW + 0x0;
export const AVAIL: number = LOW + 0x4000;
export const USED: number = LOW + 0x5000;
/** Indirect tables, 4096 bytes for each head: a queue of at most 16. */
export const TABLES: number = LOW + 0x8000;
const TABLE_BYTES = 0x1000;

export class Driver {
  readonly guest: Guest;
  readonly size: number;
  readonly #hasEventIndex: boolean;
  readonly #free: number[];
  readonly #chains = new Map<number, number[]>();
  available = 0;
  used = 0;

  constructor(guest: Guest, size: number, hasEventIndex: boolean, start = 0) {
    this.guest = guest;
    this.size = size;
    this.#hasEventIndex = hasEventIndex;
    this.#free = Array.from({ length: size }, (_, i) => i);
    this.available = start & 0xffff;
    this.used = start & 0xffff;
    guest.view(AVAIL + 2, 2).setUint16(0, start & 0xffff, true);
    guest.view(USED + 2, 2).setUint16(0, start & 0xffff, true);
  }

  /** The queue from the next entry on that was not returned. */
  get setup(): QueueSetup {
    const { guest, size, used: base } = this;
    const at = (address: number): number => guest.toUser(address);
    return { index: 0, size: size, base: base, desc: at(DESC), avail: at(AVAIL), used: at(USED) };
  }

  /** @returns the head; -1: too few descriptors are free */
  add(segments: readonly Segment[], isIndirect: boolean): number {
    const count = isIndirect ? 1 : segments.length;
    if (this.#free.length < count) return -1;
    const chain = this.#free.splice(0, count);
    const head = chain[0]!;
    this.#chains.set(head, chain);
    const table = isIndirect ? TABLES + head * TABLE_BYTES : DESC;
    segments.forEach((segment, i) => {
      const isLast = i === segments.length - 1;
      const index = isIndirect ? i : chain[i]!;
      const next = isIndirect ? i + 1 : chain[i + 1]!;
      this.describe(table, index, segment, isLast ? -1 : next);
    });
    if (isIndirect) {
      const length = segments.length * 16;
      this.describe(DESC, head, { address: table, length, writable: false }, -1, 4);
    }
    this.offer(head);
    return head;
  }

  describe(table: number, index: number, segment: Segment, next: number, more = 0): void {
    const view = this.guest.view(table + index * 16, 16);
    view.setBigUint64(0, BigInt(segment.address), true);
    view.setUint32(8, segment.length, true);
    view.setUint16(12, more | (segment.writable ? 2 : 0) | (next === -1 ? 0 : 1), true);
    view.setUint16(14, next === -1 ? 0 : next, true);
  }

  offer(head: number): void {
    const slot = AVAIL + 4 + (this.available % this.size) * 2;
    this.guest.view(slot, 2).setUint16(0, head, true);
    this.available = (this.available + 1) & 0xffff;
    this.guest.view(AVAIL + 2, 2).setUint16(0, this.available, true);
  }

  /** Whether the device wants a kick for the entries from `before` on. */
  needsKick(before: number): boolean {
    if (!this.#hasEventIndex) return this.guest.view(USED, 2).getUint16(0, true) === 0;
    const event = this.guest.view(USED + 4 + 8 * this.size, 2).getUint16(0, true);
    // The event is one of before .. available - 1.
    for (let at = before; at !== this.available; at = (at + 1) & 0xffff)
      if (at === event) return true;
    return false;
  }

  /** Asks to be notified when `used` reaches `event` + 1. */
  setUsedEvent(event: number): void {
    this.guest.view(AVAIL + 4 + 2 * this.size, 2).setUint16(0, event & 0xffff, true);
  }

  /** The next chain that was returned, if any. */
  reap(): { readonly head: number; readonly length: number } | null {
    const index = this.guest.view(USED + 2, 2).getUint16(0, true);
    if (index === this.used) return null;
    const view = this.guest.view(USED + 4 + (this.used % this.size) * 8, 8);
    const head = view.getUint32(0, true);
    this.used = (this.used + 1) & 0xffff;
    const chain = this.#chains.get(head);
    assert.ok(chain !== undefined, 'what is returned was made available');
    this.#chains.delete(head);
    this.#free.push(...chain);
    return { head, length: view.getUint32(4, true) };
  }
}
