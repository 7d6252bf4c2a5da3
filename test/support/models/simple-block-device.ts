/**
 * The naive model of a virtio block device: one pass over each queue, no batches, no indirect descriptors, no event index. For
 * tests of what is around a device.
 */
import { SwapError } from '../../../src/base/errors.ts';
import type { DeviceCore } from '../../../src/vhost-user/core.ts';
import type { MappedRegion } from '../../../src/vhost-user/memory-table.ts';
import type { RingSetup } from '../../../src/vhost-user/protocol/ops.ts';

interface Queue {
  setup: RingSetup;
  next: number;
  isKicked: boolean;
}

interface Segment {
  readonly bytes: Uint8Array;
  readonly isWritable: boolean;
}

/** RO-less features: SEG_MAX, BLK_SIZE, FLUSH, MQ, DISCARD, WRITE_ZEROES, VERSION_1. */
const FEATURES = [2, 6, 9, 12, 13, 14, 32].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

export class SimpleBlockDevice implements DeviceCore {
  readonly features: bigint = FEATURES;
  readonly queueSizeMax = 1024;
  readonly queueCount: number;
  readonly disk: Uint8Array;
  inFlight = 0;
  discards = 0;
  accepted = 0n;
  disposed = 0;
  #regions: readonly MappedRegion[] = [];
  readonly #queues: (Queue | null)[];
  readonly #notify: boolean[];
  #fault: string | null = null;

  constructor(disk: Uint8Array, queueCount = 1) {
    this.disk = disk;
    this.queueCount = queueCount;
    this.#queues = Array.from({ length: queueCount }, () => null);
    this.#notify = Array.from({ length: queueCount }, () => false);
  }

  get running(): number {
    return this.#queues.filter((queue) => queue !== null).length;
  }

  setFeatures(features: bigint): void {
    this.accepted = features;
  }

  readConfig(offset: number, out: Uint8Array): boolean {
    const config = new DataView(new ArrayBuffer(256));
    config.setBigUint64(0, BigInt(this.disk.length / 512), true);
    config.setUint32(12, 126, true); // seg_max
    config.setUint32(20, 512, true); // blk_size
    config.setUint16(34, this.queueCount, true);
    config.setUint32(36, 0x400000, true); // max_discard_sectors
    config.setUint32(40, 1, true);
    config.setUint32(44, 8, true);
    config.setUint32(48, 0x400000, true);
    config.setUint32(52, 1, true);
    config.setUint8(56, 1);
    if (offset + out.length > 256) return false;
    out.set(new Uint8Array(config.buffer, offset, out.length));
    return true;
  }

  writeConfig(): boolean {
    return false;
  }

  setMemory(regions: readonly MappedRegion[]): void {
    if (this.running > 0) throw new Error('a queue runs');
    this.#regions = regions;
  }

  inflightBytes(queueSize: number): number {
    return 16 + queueSize * 16;
  }

  setInflight(): void {}

  start(setup: RingSetup): void {
    this.#user(setup.desc, setup.size * 16);
    this.#user(setup.avail, 4 + setup.size * 2);
    this.#user(setup.used, 4 + setup.size * 8);
    this.#queues[setup.index] = { setup, next: setup.base, isKicked: true };
  }

  stop(index: number): number {
    const { next } = this.#queues[index]!;
    this.#queues[index] = null;
    return next;
  }

  kicked(index: number): void {
    const queue = this.#queues[index];
    if (queue) queue.isKicked = true;
  }

  serve(): boolean {
    for (const [i, queue] of this.#queues.entries()) {
      if (queue === null || queue === undefined || !queue.isKicked) continue;
      queue.isKicked = false;
      try {
        this.#serve(i, queue);
      } catch (error) {
        this.#queues[i] = null;
        this.#fault = `queue ${i}: ${(error as Error).message}`;
      }
    }
    return false;
  }

  #serve(i: number, queue: Queue): void {
    const { size, avail, used, desc } = queue.setup;
    const ring = this.#user(avail, 4 + size * 2);
    const done = this.#user(used, 4 + size * 8);
    const end = ring.getUint16(2, true);
    for (let left = size; queue.next !== end; left--) {
      if (left === 0) throw new Error('more is available than fits');
      const head = ring.getUint16(4 + (queue.next % size) * 2, true);
      queue.next = (queue.next + 1) & 0xffff;
      const written = this.#request(this.#chain(this.#user(desc, size * 16), size, head));
      const at = done.getUint16(2, true);
      done.setUint32(4 + (at % size) * 8, head, true);
      done.setUint32(8 + (at % size) * 8, written, true);
      done.setUint16(2, at + 1, true);
      this.#notify[i] = true;
    }
  }

  #chain(table: DataView, size: number, head: number): Segment[] {
    const found: Segment[] = [];
    for (let i = head, left = size; ; left--) {
      if (i >= size || left === 0) throw new Error('the chain has no end');
      const flags = table.getUint16(i * 16 + 12, true);
      const address = Number(table.getBigUint64(i * 16, true));
      const view = this.#find('guestAddress', address, table.getUint32(i * 16 + 8, true));
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      found.push({ bytes, isWritable: (flags & 2) !== 0 });
      if ((flags & 1) === 0) return found;
      i = table.getUint16(i * 16 + 14, true);
    }
  }

  #request(chain: Segment[]): number {
    const [header, ...rest] = chain;
    const status = rest.pop();
    if (header === undefined || header.bytes.length !== 16 || status?.bytes.length !== 1)
      throw new Error('the request has no header or no status');
    const view = new DataView(header.bytes.buffer, header.bytes.byteOffset, 16);
    let at = Number(view.getBigUint64(8, true)) * 512;
    let written = 1;
    const type = view.getUint32(0, true);
    status.bytes[0] = 0;
    for (const { bytes, isWritable } of rest) {
      if (type === 0 && isWritable && at + bytes.length <= this.disk.length) {
        bytes.set(this.disk.subarray(at, at + bytes.length));
        written += bytes.length;
      } else if (type === 1 && !isWritable && at + bytes.length <= this.disk.length)
        this.disk.set(bytes, at);
      else if (type === 11 || type === 13) this.#discard(bytes);
      else if (type !== 8) status.bytes[0] = 1;
      at += bytes.length;
    }
    return written;
  }

  #discard(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at + 16 <= bytes.length; at += 16) {
      const from = Number(view.getBigUint64(at, true)) * 512;
      this.disk.fill(0, from, from + view.getUint32(at + 8, true) * 512);
      this.discards++;
    }
  }

  takeBytes(): number {
    return 0;
  }

  takeNotify(index: number): boolean {
    const is = this.#notify[index] === true;
    this.#notify[index] = false;
    return is;
  }

  takeFault(): string | null {
    const fault = this.#fault;
    this.#fault = null;
    return fault;
  }

  [Symbol.dispose](): void {
    this.disposed++;
    this.#regions = [];
  }

  #user(address: number, bytes: number): DataView {
    return this.#find('userAddress', address, bytes);
  }

  #find(key: 'userAddress' | 'guestAddress', address: number, bytes: number): DataView {
    for (const region of this.#regions) {
      const at = address - region[key];
      if (at < 0 || at + bytes > region.bytes) continue;
      return new DataView(region.view.buffer, region.view.byteOffset + at, bytes);
    }
    throw new SwapError('ERR_PEER_PROTOCOL', `0x${address.toString(16)} is not in the memory`);
  }
}
