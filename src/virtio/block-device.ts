/**
 * The virtio block device of a disk: queues in, bios out. (virtio 1.2, 5.2.)
 *
 *   take ─▶ parse ─▶ bios over the memory of the guest ─▶ disk ─ tick() ─▶ status byte ─▶ put
 *
 * Data is copied once, between the guest and the disk. The data of a write to an asynchronous disk is copied twice, because the
 * guest could change or unmap it before the disk reads it. A request that is not allowed ends with an error status. If the
 * driver breaks a ring, or a chain has no header and status byte, the queue is stopped, and takeFault() returns the reason.
 *
 * Invariants
 * - A request completes once, after all its bios. If its queue was stopped before that, nothing is written for it.
 * - One call of serve() does at most its budget of work, plus the rest of one request.
 * - `length` of a used entry counts only bytes that were certainly written, from the first writable byte on: a failed read has
 *   0.
 * - Memory, rings and in-flight areas change only while no request is in flight.
 * - Writes that wait for an asynchronous disk have at most BUFFERED_BYTES_MAX in buffers, plus those of one request.
 * Cost: one bio for each piece of data; nothing is allocated for a request, except a write above 64 KiB to an asynchronous disk.
 */
import { assert } from '../base/assert.ts';
import { Counters, counted, mustStayZero } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { type Bio, BioFlag, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';
import { configOf, EVENT_INDEX, featuresOf, INDIRECT, REQUEST_BYTES_MAX } from './block-config.ts';
import { GuestMemory, type GuestRegion } from './guest-memory.ts';
import { inflightBytes } from './inflight-table.ts';
import { PIECES_MAX } from './pieces.ts';
import { HEADER_BYTES, ID_BYTES, Request, RequestType, Status } from './request.ts';
import { EMPTY, faultText, QUEUE_SIZE_MAX, QueueFault, SplitQueue } from './split-queue.ts';

/** A virtqueue to start; its addresses are those of the front-end. */
export interface QueueSetup {
  readonly index: number;
  readonly size: number;
  /** Next available entry. */
  readonly base: number;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
}

export interface BlockDeviceOptions {
  readonly disk: Disk;
  /** At most 20 bytes of ASCII. */
  readonly serial: string;
  readonly queues: number;
  /** Called when the last request in flight of an asynchronous disk has ended. */
  readonly onIdle: () => void;
}

export type BlockDeviceCounter =
  | 'reads'
  | 'readBytes'
  | 'writes'
  | 'writtenBytes'
  | 'flushes'
  | 'discards'
  | 'writeZeroes'
  | 'ids'
  | 'refused'
  | 'failed'
  | 'brokenQueues';

/** Maximum number of requests in flight, of all queues. */
const REQUESTS_MAX = 256;
const TRANSFER_BYTES_MIN = 65536;
/** Maximum number of bios of one request: one for each piece, and for each part of a piece that is too long for the disk. */
const BIOS_MAX: number = PIECES_MAX + REQUEST_BYTES_MAX / TRANSFER_BYTES_MIN;
/** Work of a request, and of a bio, which may be a part of a page; bytes. */
const REQUEST_WORK = 512;
const BIO_WORK_MIN = 4096;
/** Maximum data of unfinished writes to an asynchronous disk, and maximum size of a buffer that is reused. */
const BUFFERED_BYTES_MAX = 8 * 1024 * 1024;
const BUFFER_KEPT_BYTES = 65536;
const noBytes = new Uint8Array(0);

/** A request that the disk has not finished. */
class Pending {
  queue = 0;
  /** The generation of the queue when the request was taken. */
  starts = 0;
  head = 0;
  bios = 0;
  status: Status = Status.ok;
  /** Writable bytes before the status byte, and whether a successful request fills them. */
  dataBytes = 0;
  isFilled = false;
  statusView: Uint8Array = noBytes;
  statusAt = 0;
  /** Holds the data of a write to an asynchronous disk: `bufferedBytes`. */
  buffer: Uint8Array = noBytes;
  bufferedBytes = 0;

  bufferFor(length: number): Uint8Array {
    if (this.buffer.length < length)
      this.buffer = new Uint8Array(Math.max(length, BUFFER_KEPT_BYTES));
    this.bufferedBytes = length;
    return this.buffer;
  }

  dropBuffer(): void {
    if (this.buffer.length > BUFFER_KEPT_BYTES) this.buffer = noBytes;
    this.bufferedBytes = 0;
  }
}

export class BlockDevice implements BioOwner, Disposable {
  readonly features: bigint;
  readonly queueCount: number;
  readonly queueSizeMax: number = QUEUE_SIZE_MAX;
  readonly counters: Counters<BlockDeviceCounter> = new Counters<BlockDeviceCounter>({
    reads: counted('requests', 'reads'),
    readBytes: counted('bytes', 'data of reads'),
    writes: counted('requests', 'writes'),
    writtenBytes: counted('bytes', 'data of writes'),
    flushes: counted('requests', 'flushes'),
    discards: counted('requests', 'discards'),
    writeZeroes: counted('requests', 'write-zeroes'),
    ids: counted('requests', 'reads of the serial'),
    refused: counted('requests', 'requests that are not allowed'),
    failed: mustStayZero('requests', 'requests that failed on the disk'),
    brokenQueues: counted('queues', 'queues stopped because the driver broke them'),
  });
  readonly #disk: Disk;
  readonly #onIdle: () => void;
  readonly #config: Uint8Array;
  readonly #id = new Uint8Array(ID_BYTES);
  readonly #queues: readonly SplitQueue[];
  /** Number of starts and stops per queue. */
  readonly #starts: Float64Array;
  readonly #isKicked: Uint8Array;
  readonly #request = new Request();
  readonly #bios = new BioPool(2 * BIOS_MAX);
  readonly #pending: readonly Pending[] = Array.from({ length: REQUESTS_MAX }, () => new Pending());
  /** Stack of the tags of free requests. */
  readonly #free: Uint16Array = Uint16Array.from({ length: REQUESTS_MAX }, (_, i) => i);
  #freeCount = REQUESTS_MAX;
  #memory: GuestMemory = new GuestMemory([]);
  #negotiated = 0n;
  #bytes = 0;
  #bufferedBytes = 0;
  #work = 0;
  /** The queue that serve() starts with, so that each gets its turn. */
  #turn = 0;
  #fault: string | null = null;

  constructor({ disk, serial, queues, onIdle }: BlockDeviceOptions) {
    assert(queues > 0 && queues <= 256, '0 < queues <= 256');
    assert(disk.limits.maxTransferBytes >= TRANSFER_BYTES_MIN, 'a bio may have 64 KiB');
    this.#disk = disk;
    this.#onIdle = onIdle;
    this.queueCount = queues;
    this.features = featuresOf(disk);
    this.#config = configOf(disk, queues);
    new TextEncoder().encodeInto(serial, this.#id);
    this.#queues = Array.from({ length: queues }, () => new SplitQueue());
    this.#starts = new Float64Array(queues);
    this.#isKicked = new Uint8Array(queues);
  }

  /** Requests that the disk has not finished. */
  get inFlight(): number {
    return REQUESTS_MAX - this.#freeCount;
  }

  /** Takes effect at the next start of a queue. */
  setFeatures(features: bigint): void {
    this.#negotiated = features & this.features;
  }

  /** Fills `out` from `offset` on; bytes past the end of the configuration space read as zeros. */
  readConfig(offset: number, out: Uint8Array): boolean {
    out.fill(0);
    out.set(this.#config.subarray(offset, offset + out.length));
    return true;
  }

  /** No field can be written. */
  writeConfig(): boolean {
    return false;
  }

  /** No queue may run. @throws SwapError ERR_PEER_PROTOCOL */
  setMemory(regions: readonly GuestRegion[]): void {
    assert(
      this.#queues.every(({ isRunning }) => !isRunning),
      'no queue runs',
    );
    this.#memory = new GuestMemory(regions);
  }

  inflightBytes(queueSize: number): number {
    return inflightBytes(queueSize);
  }

  setInflight(index: number, area: Uint8Array | null): void {
    this.#queues[index]!.setInflight(area);
  }

  /** @throws SwapError ERR_PEER_PROTOCOL: the size, an address or the in-flight area is wrong */
  start({ index, size, base, desc, avail, used }: QueueSetup): void {
    const queue = this.#queues[index]!;
    if (!queue.setSize(size))
      throw refuse(
        `queue ${index} has ${size} entries, not a power of two up to ${QUEUE_SIZE_MAX}`,
      );
    queue.setFeatures(
      (this.#negotiated & EVENT_INDEX) !== 0n,
      (this.#negotiated & INDIRECT) !== 0n,
    );
    if (!queue.setAddresses(this.#memory, desc, avail, used))
      throw refuse(`queue ${index}: a ring is not aligned, or not in the memory`);
    if (!queue.start(base))
      throw refuse(`queue ${index}: the in-flight area is not that of a queue of ${size}`);
    this.#starts[index]!++;
    this.#isKicked[index] = 1; // entries may already be available
  }

  /** @returns the index of the next available entry */
  stop(index: number): number {
    this.#starts[index]!++;
    this.#isKicked[index] = 0;
    return this.#queues[index]!.stop();
  }

  /**
   * Called when the driver has made requests available. It has no effect on a queue that does not run: start() checks for
   * requests.
   */
  kicked(index: number): void {
    if (this.#queues[index]!.isRunning) this.#isKicked[index] = 1;
  }

  /** Serves requests of all queues. @returns whether there is more to do, or the disk has bios in flight */
  serve(requests = 256, bytes: number = 256 * 1024): boolean {
    if (this.inFlight > 0) this.#disk.tick();
    this.#work = 0;
    let left = requests;
    let isMore = false;
    for (let n = 0; n < this.queueCount; n++) {
      const index = (this.#turn + n) % this.queueCount;
      if (this.#isKicked[index] === 0) continue;
      const queue = this.#queues[index]!;
      queue.ignoreKicks();
      let head = 0;
      for (; left > 0 && this.#work < bytes && this.#hasRoom; left--) {
        head = queue.take();
        if (head < 0) break;
        this.#begin(index, queue, head);
        if (!queue.isRunning) break;
      }
      if (this.inFlight > 0) this.#disk.tick();
      if (!queue.isRunning) this.#broken(index, queue);
      else if (head === EMPTY) {
        if (queue.wantKicks()) isMore = true;
        else this.#isKicked[index] = 0;
      } else isMore = true;
    }
    this.#turn = (this.#turn + 1) % this.queueCount;
    return isMore || this.inFlight > 0;
  }

  /** Bytes of data moved since the last call. */
  takeBytes(): number {
    const bytes = this.#bytes;
    this.#bytes = 0;
    return bytes;
  }

  /** Whether the driver of the queue must be notified of used entries since the last call. */
  takeNotify(index: number): boolean {
    const queue = this.#queues[index]!;
    return queue.isRunning && queue.shouldNotify();
  }

  /** Which rule the driver broke since the last call, as text; null: none. */
  takeFault(): string | null {
    const fault = this.#fault;
    this.#fault = null;
    return fault;
  }

  bioEnd(bio: Bio): void {
    const { tag, status } = bio;
    this.#bios.free(bio);
    const pending = this.#pending[tag]!;
    if (status !== BioStatus.ok && pending.status === Status.ok) {
      pending.status = status === BioStatus.notSupported ? Status.unsupported : Status.ioError;
      this.#count('failed', 1);
    }
    if (--pending.bios === 0) this.#complete(pending, tag);
  }

  /** Requests in flight then end without an answer. */
  [Symbol.dispose](): void {
    for (let index = 0; index < this.queueCount; index++) this.stop(index);
    if (this.inFlight > 0) this.#disk.tick();
  }

  get #hasRoom(): boolean {
    const hasFree = this.#freeCount > 0 && this.#bios.freeCount >= BIOS_MAX;
    return hasFree && this.#bufferedBytes < BUFFERED_BYTES_MAX;
  }

  #count(name: BlockDeviceCounter, count: number): void {
    this.counters.values[this.counters.index[name]]! += count;
  }

  #broken(index: number, queue: SplitQueue): void {
    this.#isKicked[index] = 0;
    this.#starts[index]!++;
    this.#count('brokenQueues', 1);
    this.#fault = `queue ${index} is stopped: ${faultText(queue.fault)}`;
  }

  #begin(index: number, queue: SplitQueue, head: number): void {
    const { pieces } = queue;
    if (!Request.isFramed(pieces)) {
      queue.break(QueueFault.framing);
      return;
    }
    this.#freeCount--;
    const tag = this.#free[this.#freeCount]!;
    const pending = this.#pending[tag]!;
    const last = pieces.count - 1;
    pending.queue = index;
    pending.starts = this.#starts[index]!;
    pending.head = head;
    pending.dataBytes = pieces.writableBytes - 1;
    pending.isFilled = false;
    pending.statusView = pieces.views[last]!;
    pending.statusAt = pieces.at[last]! + pieces.lengths[last]! - 1;
    pending.bios = 1; // until all bios are submitted
    pending.status = this.#request.parse(pieces, this.#disk);
    this.#work += REQUEST_WORK;
    if (pending.status === Status.ok) this.#submitAll(queue, pending, tag);
    else this.#count('refused', 1);
    if (--pending.bios === 0) this.#complete(pending, tag);
  }

  #submitAll(queue: SplitQueue, pending: Pending, tag: number): void {
    const { type, length } = this.#request;
    switch (type) {
      case RequestType.in:
        this.#count('reads', 1);
        this.#count('readBytes', length);
        pending.isFilled = true;
        this.#transfer(queue, pending, tag, BioOp.read);
        return;
      case RequestType.out:
        this.#count('writes', 1);
        this.#count('writtenBytes', length);
        if (this.#disk.synchronous) this.#transfer(queue, pending, tag, BioOp.write);
        else this.#writeBuffered(queue, pending, tag);
        return;
      case RequestType.flush:
        this.#count('flushes', 1);
        this.#disk.submit(this.#bio(pending, tag, BioOp.flush));
        return;
      case RequestType.getId:
        this.#count('ids', 1);
        pending.isFilled = true;
        this.#writeId(queue);
        return;
      case RequestType.discard:
        this.#count('discards', 1);
        this.#ranges(pending, tag, BioOp.discard);
        return;
      default:
        this.#count('writeZeroes', 1);
        this.#ranges(pending, tag, BioOp.writeZeroes);
    }
  }

  /** Submits a bio for each piece of the data, which is after the header or before the status byte. */
  #transfer(queue: SplitQueue, pending: Pending, tag: number, op: BioOp): void {
    const { pieces } = queue;
    const { length } = this.#request;
    let i = op === BioOp.read ? pieces.readable : 0;
    let skip = op === BioOp.read ? 0 : HEADER_BYTES;
    for (let done = 0; done < length; i++) {
      const pieceBytes = pieces.lengths[i]!;
      const end = Math.min(pieceBytes, skip + length - done);
      for (let at = Math.min(skip, pieceBytes); at < end; ) {
        const part = this.#move(
          pending,
          tag,
          op,
          done,
          end - at,
          pieces.views[i]!,
          pieces.at[i]! + at,
        );
        at += part;
        done += part;
      }
      skip = Math.max(0, skip - pieceBytes);
    }
    this.#bytes += length;
  }

  /** Copies the data of a write, and submits the copy. */
  #writeBuffered({ pieces }: SplitQueue, pending: Pending, tag: number): void {
    const { length } = this.#request;
    const buffer = pending.bufferFor(length);
    this.#bufferedBytes += length;
    pieces.copyReadable(HEADER_BYTES, length, buffer);
    for (let done = 0; done < length; )
      done += this.#move(pending, tag, BioOp.write, done, length - done, buffer, done);
    this.#bytes += length;
  }

  /** Submits a bio for the request from byte `done` on, with at most `most` bytes at `at` in `data`. @returns its bytes */
  #move(
    pending: Pending,
    tag: number,
    op: BioOp,
    done: number,
    most: number,
    data: Uint8Array,
    at: number,
  ): number {
    const part = Math.min(most, this.#disk.limits.maxTransferBytes);
    const bio = this.#bio(pending, tag, op);
    bio.offset = this.#request.offset + done;
    bio.length = part;
    bio.data = data;
    bio.at = at;
    this.#work += Math.max(part, BIO_WORK_MIN);
    this.#disk.submit(bio);
    return part;
  }

  #ranges(pending: Pending, tag: number, op: BioOp): void {
    const { rangeCount, rangeOffsets, rangeLengths, rangeKeeps } = this.#request;
    for (let i = 0; i < rangeCount; i++) {
      const length = rangeLengths[i]!;
      if (length === 0) continue;
      const bio = this.#bio(pending, tag, op);
      bio.offset = rangeOffsets[i]!;
      bio.length = length;
      bio.flags = rangeKeeps[i] === 1 ? BioFlag.noUnmap : 0;
      this.#work += length / 4; // the same as an NBD trim
      this.#disk.submit(bio);
    }
  }

  #writeId({ pieces }: SplitQueue): void {
    for (let i = pieces.readable, done = 0; done < ID_BYTES; i++) {
      const view = pieces.views[i]!;
      const at = pieces.at[i]!;
      for (let j = 0; j < pieces.lengths[i]! && done < ID_BYTES; j++)
        view[at + j] = this.#id[done++]!;
    }
  }

  #bio(pending: Pending, tag: number, op: BioOp): Bio {
    const bio = this.#bios.alloc();
    assert(bio !== null, 'a bio is left');
    bio.op = op;
    bio.owner = this;
    bio.tag = tag;
    pending.bios++;
    return bio;
  }

  #complete(pending: Pending, tag: number): void {
    const { queue: index, statusView, statusAt, status, dataBytes } = pending;
    pending.statusView = noBytes;
    this.#bufferedBytes -= pending.bufferedBytes;
    pending.dropBuffer();
    this.#free[this.#freeCount] = tag;
    this.#freeCount++;
    const queue = this.#queues[index]!;
    if (queue.isRunning && this.#starts[index] === pending.starts) {
      statusView[statusAt] = status;
      const isFilled = pending.isFilled && status === Status.ok;
      queue.put(pending.head, isFilled || dataBytes === 0 ? dataBytes + 1 : 0);
    }
    if (this.inFlight === 0 && !this.#disk.synchronous) this.#onIdle();
  }
}

const refuse = (what: string): SwapError => new SwapError('ERR_PEER_PROTOCOL', what);
