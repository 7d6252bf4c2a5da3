/**
 * The virtio block device of a disk. (virtio 1.2, "Block Device".)
 *
 *   chain = header of 16 bytes │ data segments │ status byte      each data segment is one bio over the guest's memory
 *
 * The header and the ranges of a discard are copied before they are checked: the guest may change them at any moment. What the
 * disk reads of data is whatever the guest has there at that moment.
 *
 * Invariants
 * - A request completes once, after all its bios; with a status, unless its queue was stopped meanwhile.
 * - A chain without header and status, or with a broken ring, stops its queue: takeFault() says why.
 * - One call of serve() does at most BUDGET_BYTES of work, or one request.
 * Cost: one bio for each segment; nothing is allocated for a request.
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { type Bio, BioFlag, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';
import type { DeviceCore } from './core.ts';
import type { MappedRegion } from './memory-table.ts';
import type { RingSetup } from './protocol/ops.ts';
import { areaBytes, Ring, RingFault, SEGMENTS_MAX } from './ring.ts';

/** Feature bits (virtio 1.2, 5.2.3 and 6). */
const Feature = {
  segMax: 2,
  readOnly: 5,
  blkSize: 6,
  flush: 9,
  mq: 12,
  discard: 13,
  writeZeroes: 14,
  indirectDesc: 28,
  version1: 32,
} as const;

const RequestType = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const Status = { ok: 0, ioError: 1, unsupported: 2 } as const;

const SECTOR_BYTES = 512;
const BLOCK_BYTES = 4096;
const HEADER_BYTES = 16;
const RANGE_BYTES = 16;
const RANGES_MAX = 32;
/** Sectors of a range at most: 1 GiB. */
const RANGE_SECTORS_MAX = 2 ** 21;
const ID_BYTES = 20;
const CONFIG_BYTES = 60;
const WRITE_ZEROES_UNMAP = 1;
const BUDGET_BYTES = 256 * 1024;
/** Work that a request without data counts as. */
const REQUEST_WORK = 512;

/** QEMU asks for one for each processor of the guest. */
const QUEUES = 16;
const QUEUE_SIZE_MAX = 1024;

/** A request that its disk has not ended. */
class Pending {
  queue = 0;
  head = 0;
  ring: Ring | null = null;
  bios = 0;
  written = 0;
  status: number = Status.ok;
  statusBytes: Uint8Array = new Uint8Array(0);
  statusAt = 0;
}

export interface DiskCoreOptions {
  readonly disk: Disk;
  /** Serial of the disk, at most 20 bytes of ASCII. */
  readonly serial: string;
  /** The last request in flight has ended. */
  readonly onIdle: () => void;
}

export class DiskCore implements DeviceCore, BioOwner {
  readonly features: bigint;
  readonly queueCount: number = QUEUES;
  readonly queueSizeMax: number = QUEUE_SIZE_MAX;
  readonly #options: DiskCoreOptions;
  readonly #disk: Disk;
  readonly #config: Uint8Array;
  readonly #rings: (Ring | null)[] = new Array<Ring | null>(QUEUES).fill(null);
  readonly #areas: (Uint8Array | null)[] = new Array<Uint8Array | null>(QUEUES).fill(null);
  readonly #kicked: boolean[] = new Array<boolean>(QUEUES).fill(false);
  readonly #notify: boolean[] = new Array<boolean>(QUEUES).fill(false);
  /** Of a request: each segment is a bio, and each range of a discard. */
  readonly #bios = new BioPool(4 * SEGMENTS_MAX);
  readonly #pending: readonly Pending[] = Array.from({ length: 256 }, () => new Pending());
  readonly #free: number[] = this.#pending.map((_, i) => i);
  readonly #scratch = new Uint8Array(RANGES_MAX * RANGE_BYTES);
  readonly #view = new DataView(this.#scratch.buffer);
  #regions: readonly MappedRegion[] = [];
  #bytes = 0;
  #fault: string | null = null;
  #isEnded = false;

  constructor(options: DiskCoreOptions) {
    const { disk } = options;
    this.#options = options;
    this.#disk = disk;
    const bits: number[] = [Feature.segMax, Feature.blkSize, Feature.flush];
    bits.push(Feature.mq, Feature.indirectDesc, Feature.version1);
    if (disk.readOnly) bits.push(Feature.readOnly);
    else bits.push(Feature.discard, Feature.writeZeroes);
    this.features = bits.reduce((all, bit) => all | (1n << BigInt(bit)), 0n);
    this.#config = configOf(disk);
  }

  get inFlight(): number {
    return this.#pending.length - this.#free.length;
  }

  setFeatures(): void {
    // Every driver may use every feature; VERSION_1 only changes what the drivers of old devices do.
  }

  readConfig(offset: number, out: Uint8Array): boolean {
    // Front-ends ask for the whole structure of their version: what is behind ours is zero.
    out.set(this.#config.subarray(offset, offset + out.length));
    return true;
  }

  writeConfig(): boolean {
    return false;
  }

  setMemory(regions: readonly MappedRegion[]): void {
    assert(
      this.#rings.every((ring) => ring === null),
      'no queue runs',
    );
    this.#regions = regions;
  }

  inflightBytes(queueSize: number): number {
    return areaBytes(queueSize);
  }

  setInflight(index: number, area: Uint8Array | null): void {
    this.#areas[index] = area;
  }

  start(setup: RingSetup): void {
    const { index, size } = setup;
    const area = this.#areas[index] ?? null;
    if (area !== null && area.length < areaBytes(size))
      throw broken(`the in-flight area of queue ${index} is too small for ${size} descriptors`);
    try {
      this.#rings[index] = new Ring(setup, this.#regions, area);
    } catch (error) {
      if (!(error instanceof RingFault)) throw error;
      throw broken(`queue ${index}: ${error.message}`);
    }
  }

  stop(index: number): number {
    const next = this.#rings[index]?.next ?? 0;
    this.#rings[index] = null;
    this.#kicked[index] = false;
    return next;
  }

  kicked(index: number): void {
    this.#kicked[index] = true;
  }

  serve(): boolean {
    if (this.inFlight > 0) this.#disk.tick();
    let isMore = this.inFlight > 0; // a disk that works on its own is asked again
    for (let index = 0; index < QUEUES; index++) {
      const ring = this.#rings[index];
      if (ring === null || ring === undefined || this.#kicked[index] !== true) continue;
      try {
        if (this.#serveRing(index, ring)) isMore = true;
        else this.#kicked[index] = false;
      } catch (error) {
        if (!(error instanceof RingFault)) throw error;
        this.#disk.tick();
        this.#rings[index] = null;
        this.#fault = `queue ${index} is stopped: ${error.message}`;
      }
    }
    return isMore || this.inFlight > 0;
  }

  takeBytes(): number {
    const bytes = this.#bytes;
    this.#bytes = 0;
    return bytes;
  }

  takeNotify(index: number): boolean {
    if (this.#notify[index] !== true) return false;
    this.#notify[index] = false;
    return this.#rings[index]?.wantsNotify === true;
  }

  takeFault(): string | null {
    const fault = this.#fault;
    this.#fault = null;
    return fault;
  }

  bioEnd(bio: Bio): void {
    const { tag, status } = bio;
    this.#bios.free(bio);
    const request = this.#pending[tag]!;
    if (status !== BioStatus.ok)
      request.status = status === BioStatus.notSupported ? Status.unsupported : Status.ioError;
    if (--request.bios === 0) this.#complete(request, tag);
  }

  /** Requests in flight end without an answer. */
  [Symbol.dispose](): void {
    this.#isEnded = true;
    this.#rings.fill(null);
    if (this.inFlight > 0) this.#disk.tick();
  }

  /** @returns whether there is more to serve now */
  #serveRing(index: number, ring: Ring): boolean {
    ring.ignoreKicks();
    for (let work = 0; work < BUDGET_BYTES; ) {
      const isFull = this.#free.length === 0 || this.#bios.freeCount < SEGMENTS_MAX;
      if (isFull) break;
      const head = ring.pop();
      if (head === -1) {
        this.#disk.tick();
        return ring.wantKicks();
      }
      work += REQUEST_WORK + this.#begin(index, ring, head);
    }
    this.#disk.tick();
    return true;
  }

  /** Starts a request. @returns bytes of its data */
  #begin(index: number, ring: Ring, head: number): number {
    const last = ring.count - 1;
    const isFramed =
      last > 0 &&
      ring.lengths[0] === HEADER_BYTES &&
      ring.writable[0] === 0 &&
      ring.lengths[last] === 1 &&
      ring.writable[last] === 1;
    if (!isFramed) throw new RingFault(`chain ${head} has no header or no status`);
    const tag = this.#free.pop()!;
    const request = this.#pending[tag]!;
    request.queue = index;
    request.head = head;
    request.ring = ring;
    request.written = 0;
    request.status = Status.ok;
    request.statusBytes = ring.bytes[last]!;
    request.statusAt = ring.at[last]!;
    request.bios = 1; // until all are submitted
    const at = ring.at[0]!;
    copy(this.#scratch, 0, ring.bytes[0]!, at, HEADER_BYTES);
    const type = this.#view.getUint32(0, true);
    const sector = this.#view.getUint32(8, true) + this.#view.getUint32(12, true) * 0x1_0000_0000;
    const bytes = this.#submitAll(ring, request, tag, type, sector);
    this.#bytes += bytes;
    if (--request.bios === 0) this.#complete(request, tag);
    return bytes;
  }

  #submitAll(ring: Ring, request: Pending, tag: number, type: number, sector: number): number {
    switch (type) {
      case RequestType.in:
        return this.#transfer(ring, request, tag, BioOp.read, sector);
      case RequestType.out:
        return this.#transfer(ring, request, tag, BioOp.write, sector);
      case RequestType.flush:
        this.#submit(request, tag, BioOp.flush, 0, 0);
        return 0;
      case RequestType.getId:
        this.#writeId(ring, request);
        return 0;
      case RequestType.discard:
        return this.#ranges(ring, request, tag, BioOp.discard);
      case RequestType.writeZeroes:
        return this.#ranges(ring, request, tag, BioOp.writeZeroes);
      default:
        request.status = Status.unsupported;
        return 0;
    }
  }

  #transfer(ring: Ring, request: Pending, tag: number, op: BioOp, sector: number): number {
    const direction = op === BioOp.read ? 1 : 0;
    let total = 0;
    for (let i = 1; i < ring.count - 1; i++) {
      if (ring.writable[i] !== direction) {
        request.status = Status.ioError;
        return 0;
      }
      total += ring.lengths[i]!;
    }
    const offset = sector * SECTOR_BYTES;
    const isValid = total > 0 && total % SECTOR_BYTES === 0 && this.#isInside(offset, total);
    if (!isValid || (op === BioOp.write && this.#disk.readOnly)) {
      request.status = Status.ioError;
      return 0;
    }
    if (op === BioOp.read) request.written = total;
    let from = offset;
    for (let i = 1; i < ring.count - 1; i++) {
      const length = ring.lengths[i]!;
      const bio = this.#submit(request, tag, op, from, length);
      bio.data = ring.bytes[i]!;
      bio.at = ring.at[i]!;
      this.#disk.submit(bio);
      from += length;
    }
    return total;
  }

  #ranges(ring: Ring, request: Pending, tag: number, op: BioOp): number {
    let total = 0;
    for (let i = 1; i < ring.count - 1; i++) {
      const length = ring.lengths[i]!;
      if (ring.writable[i] !== 0 || total + length > this.#scratch.length) {
        request.status = Status.unsupported;
        return 0;
      }
      copy(this.#scratch, total, ring.bytes[i]!, ring.at[i]!, length);
      total += length;
    }
    if (total === 0 || total % RANGE_BYTES !== 0 || this.#disk.readOnly) {
      request.status = Status.ioError;
      return 0;
    }
    const view = this.#view;
    for (let at = 0; at < total; at += RANGE_BYTES) {
      const high = view.getUint32(at + 4, true);
      const offset = (view.getUint32(at, true) + high * 0x1_0000_0000) * SECTOR_BYTES;
      const sectors = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      const allowed = op === BioOp.writeZeroes ? WRITE_ZEROES_UNMAP : 0;
      const isUnknown = (flags & ~allowed) !== 0;
      const isValid =
        sectors <= RANGE_SECTORS_MAX && this.#isInside(offset, sectors * SECTOR_BYTES);
      if (isUnknown) request.status = Status.unsupported;
      else if (!isValid) request.status = Status.ioError;
      else if (sectors > 0) {
        const bio = this.#submit(request, tag, op, offset, sectors * SECTOR_BYTES);
        if (op === BioOp.writeZeroes && (flags & WRITE_ZEROES_UNMAP) === 0)
          bio.flags = BioFlag.noUnmap;
        this.#disk.submit(bio);
      }
    }
    return 0;
  }

  #writeId(ring: Ring, request: Pending): void {
    const fits = ring.count === 3 && ring.writable[1] === 1 && ring.lengths[1]! >= ID_BYTES;
    if (!fits) {
      request.status = Status.ioError;
      return;
    }
    const id = new Uint8Array(ID_BYTES);
    new TextEncoder().encodeInto(this.#options.serial, id);
    ring.bytes[1]!.set(id, ring.at[1]!);
    request.written = ID_BYTES;
  }

  /** A bio of the request; a flush is submitted already. */
  #submit(request: Pending, tag: number, op: BioOp, offset: number, length: number): Bio {
    const bio = this.#bios.alloc();
    assert(bio !== null, 'a bio is left');
    bio.op = op;
    bio.offset = offset;
    bio.length = length;
    bio.owner = this;
    bio.tag = tag;
    request.bios++;
    if (op === BioOp.flush) this.#disk.submit(bio);
    return bio;
  }

  #isInside(offset: number, bytes: number): boolean {
    return Number.isSafeInteger(offset) && offset + bytes <= this.#disk.sizeBytes;
  }

  #complete(request: Pending, tag: number): void {
    const { ring, queue } = request;
    request.ring = null;
    this.#free.push(tag);
    if (!this.#isEnded && ring !== null && this.#rings[queue] === ring) {
      request.statusBytes[request.statusAt] = request.status;
      ring.push(request.head, request.written + 1);
      this.#notify[queue] = true;
    }
    if (this.inFlight === 0 && !this.#disk.synchronous) this.#options.onIdle();
  }
}

const broken = (what: string): SwapError => new SwapError('ERR_PEER_PROTOCOL', what);

function copy(to: Uint8Array, toAt: number, from: Uint8Array, at: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) to[toAt + i] = from[at + i]!;
}

/** struct virtio_blk_config. */
function configOf(disk: Disk): Uint8Array {
  const view = new DataView(new ArrayBuffer(CONFIG_BYTES));
  view.setBigUint64(0, BigInt(Math.floor(disk.sizeBytes / SECTOR_BYTES)), true);
  view.setUint32(12, SEGMENTS_MAX - 2, true);
  view.setUint32(20, BLOCK_BYTES, true);
  view.setUint16(34, QUEUES, true);
  view.setUint32(36, RANGE_SECTORS_MAX, true);
  view.setUint32(40, RANGES_MAX, true);
  view.setUint32(44, disk.limits.discardGranularityBytes / SECTOR_BYTES, true);
  view.setUint32(48, RANGE_SECTORS_MAX, true);
  view.setUint32(52, RANGES_MAX, true);
  view.setUint8(56, 1);
  return new Uint8Array(view.buffer);
}
