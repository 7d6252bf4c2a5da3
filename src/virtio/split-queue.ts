/**
 * The device side of a split virtqueue. (virtio 1.2, 2.7.)
 *
 *   take()  available entry ─▶ in flight ─▶ chain of descriptors, direct or indirect ─▶ pieces of guest memory
 *   put()   head and length ─▶ used entry ─▶ index published ─▶ no longer in flight
 *
 * The driver may change every byte at any moment: each field is loaded once into a local, then checked, then used. If a driver
 * breaks a rule of the rings, the queue stops: `fault` has the reason, and take() returns BROKEN until the next start(). The
 * device does not answer with a used entry, because the driver would read the status byte of the request from memory, where an
 * old value can mean success.
 *
 * Order of loads and stores: the four indexes and the flags of the rings are loaded and stored with Atomics, which V8 compiles
 * to sequentially consistent instructions on x86 and arm64, even in memory that is not a SharedArrayBuffer. So entries are
 * visible before their index, and an index or flag that the device stores is visible before it loads the driver's index: it
 * cannot happen that one side sleeps while the other waits for it.
 *
 * Invariants
 * - A chain has at most `size` direct descriptors, then at most DESCRIPTORS_MAX in one indirect table: no loop is longer.
 * - A head is in flight at most once, so at most `size` chains are in flight. The driver makes at most `size` entries
 *   available.
 * - After a start with an in-flight table (inflight-table.ts), the chains in flight are taken again, oldest first.
 * - Rings and indirect tables are inside one region; data may continue in the next region.
 * Cost: some loads for each descriptor; take() and put() allocate nothing. The rings are little-endian, so this machine must
 * be, too.
 */
import { assert } from '../base/assert.ts';
import type { GuestMemory } from './guest-memory.ts';
import { InflightTable, inflightBytes } from './inflight-table.ts';
import { Pieces } from './pieces.ts';

export const QUEUE_SIZE_MAX = 1024;
/** Maximum number of entries of an indirect table. */
export const DESCRIPTORS_MAX = 256;

/** Results of take(). */
export const EMPTY = -1;
export const BROKEN = -2;

/** Why a queue is stopped. */
export const QueueFault = {
  none: 0,
  availableCount: 1,
  headOutside: 2,
  headInFlight: 3,
  nextOutside: 4,
  chainTooLong: 5,
  outsideMemory: 6,
  indirectTable: 7,
  writableFirst: 8,
  framing: 9,
} as const;
export type QueueFault = (typeof QueueFault)[keyof typeof QueueFault];

const faultTexts: Readonly<Record<QueueFault, string>> = {
  [QueueFault.none]: 'none',
  [QueueFault.availableCount]: 'more entries are available than the queue has',
  [QueueFault.headOutside]: 'an available entry names a descriptor outside the table',
  [QueueFault.headInFlight]: 'an available entry names a chain that is in flight',
  [QueueFault.nextOutside]: 'the next descriptor of a chain is outside the table',
  [QueueFault.chainTooLong]: 'a chain is a loop or too long',
  [QueueFault.outsideMemory]: 'a descriptor is outside the memory',
  [QueueFault.indirectTable]:
    'an indirect table is nested, chained, not negotiated or of the wrong size',
  [QueueFault.writableFirst]: 'a readable descriptor follows a writable one',
  [QueueFault.framing]: 'a chain has no header or no status byte',
};
export const faultText = (fault: QueueFault): string => faultTexts[fault];

const Desc = { length: 8, flags: 12, next: 14, bytes: 16 } as const;
const DescFlag = { next: 1, write: 2, indirect: 4 } as const;
const AVAIL_NO_INTERRUPT = 1;
const USED_NO_NOTIFY = 1;
const USED_ENTRY_BYTES = 8;
const TWO_32 = 0x1_0000_0000;
/** Index in the rings, viewed as arrays of 16-bit words. */
const FLAGS = 0;
const INDEX = 1;
const RING = 2;

const noWords = new Uint16Array(0);
const noView = new DataView(new ArrayBuffer(0));

export class SplitQueue {
  /** The chain of the last take(). */
  readonly pieces: Pieces = new Pieces();
  #memory: GuestMemory | null = null;
  #size = 0;
  #hasEventIndex = false;
  #hasIndirect = false;
  #desc: DataView = noView;
  #used: DataView = noView;
  #availWords: Uint16Array = noWords;
  #usedWords: Uint16Array = noWords;
  #area: Uint8Array | null = null;
  #table: InflightTable | null = null;
  readonly #isInFlight = new Uint8Array(QUEUE_SIZE_MAX);
  /** Heads to take again, starting at #againAt. */
  #again: readonly number[] = [];
  #againAt = 0;
  #next = 0;
  #usedIndex = 0;
  #notifiedIndex = 0;
  #mustNotify = false;
  #isRunning = false;
  #inFlight = 0;
  #fault: QueueFault = QueueFault.none;

  get size(): number {
    return this.#size;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get fault(): QueueFault {
    return this.#fault;
  }

  /** False: not a power of two from 1 to QUEUE_SIZE_MAX. */
  setSize(size: number): boolean {
    assert(!this.#isRunning, 'the queue is stopped');
    if (!Number.isInteger(size) || size < 1 || size > QUEUE_SIZE_MAX || (size & (size - 1)) !== 0)
      return false;
    this.#size = size;
    return true;
  }

  setFeatures(hasEventIndex: boolean, hasIndirect: boolean): void {
    assert(!this.#isRunning, 'the queue is stopped');
    this.#hasEventIndex = hasEventIndex;
    this.#hasIndirect = hasIndirect;
  }

  /** Addresses of the front-end. False: not aligned, or not inside one region. Call setSize() first. */
  setAddresses(memory: GuestMemory, desc: number, avail: number, used: number): boolean {
    assert(!this.#isRunning, 'the queue is stopped');
    assert(this.#size > 0, 'the size is set');
    const availBytes = 6 + 2 * this.#size;
    const usedBytes = 6 + USED_ENTRY_BYTES * this.#size;
    const descView = viewOf(memory, desc, Desc.bytes * this.#size, 16);
    const availView = viewOf(memory, avail, availBytes, 2);
    const usedView = viewOf(memory, used, usedBytes, 4);
    if (descView === null || availView === null || usedView === null) return false;
    this.#memory = memory;
    this.#desc = descView;
    this.#used = usedView;
    this.#availWords = wordsOf(availView);
    this.#usedWords = wordsOf(usedView);
    return true;
  }

  /** Where chains in flight are recorded; null: nowhere. */
  setInflight(area: Uint8Array | null): void {
    assert(!this.#isRunning, 'the queue is stopped');
    this.#area = area;
  }

  /**
   * Starts the queue. With an in-flight area, `nextAvail` is ignored: the used ring and the area determine the next entry.
   * False: the area belongs to a queue of another size, or is too small.
   */
  start(nextAvail: number): boolean {
    assert(!this.#isRunning, 'the queue is stopped');
    assert(this.#memory !== null, 'the addresses are set');
    this.#usedIndex = Atomics.load(this.#usedWords, INDEX);
    this.#again = [];
    this.#againAt = 0;
    this.#isInFlight.fill(0);
    this.#table = null;
    this.#next = nextAvail & 0xffff;
    if (this.#area !== null) {
      if (this.#area.length < inflightBytes(this.#size)) return false;
      const table = new InflightTable(this.#area, this.#size);
      const again = table.open(this.#usedIndex);
      if (again === null) return false;
      this.#table = table;
      this.#again = again;
      for (const head of again) this.#isInFlight[head] = 1;
      this.#next = (this.#usedIndex + again.length) & 0xffff;
    }
    this.#inFlight = this.#again.length;
    this.#notifiedIndex = this.#usedIndex;
    this.#mustNotify = true; // a killed device may have put an entry without notifying the driver
    this.#fault = QueueFault.none;
    this.#isRunning = true;
    Atomics.store(this.#usedWords, FLAGS, 0);
    return true;
  }

  /**
   * Stops the queue. This object forgets the chains in flight; the in-flight table keeps them. @returns the next available
   * entry
   */
  stop(): number {
    this.#isRunning = false;
    this.#inFlight = 0;
    this.#table = null;
    return this.#next;
  }

  /** Stops the queue because of a fault of the driver. */
  break(fault: QueueFault): number {
    this.#fault = fault;
    this.stop();
    return BROKEN;
  }

  /** Takes the next chain into `pieces`. @returns its head, EMPTY or BROKEN */
  take(): number {
    if (!this.#isRunning) return BROKEN;
    let head: number;
    if (this.#againAt < this.#again.length) head = this.#again[this.#againAt++]!;
    else {
      const ready = (Atomics.load(this.#availWords, INDEX) - this.#next) & 0xffff;
      if (ready === 0) return EMPTY;
      if (ready > this.#size) return this.break(QueueFault.availableCount);
      head = this.#availWords[RING + (this.#next & (this.#size - 1))]!;
      if (head >= this.#size) return this.break(QueueFault.headOutside);
      if (this.#isInFlight[head] !== 0) return this.break(QueueFault.headInFlight);
      this.#isInFlight[head] = 1;
      this.#inFlight++;
      this.#table?.take(head);
      this.#next = (this.#next + 1) & 0xffff;
    }
    const fault = this.#walk(head);
    return fault === QueueFault.none ? head : this.break(fault);
  }

  /** Returns a chain to the driver. @param written bytes written, from its first writable byte on */
  put(head: number, written: number): void {
    assert(this.#isRunning && this.#isInFlight[head] === 1, 'the chain is in flight');
    const at = 4 + (this.#usedIndex & (this.#size - 1)) * USED_ENTRY_BYTES;
    this.#used.setUint32(at, head, true);
    this.#used.setUint32(at + 4, written, true);
    this.#table?.begin(head);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    Atomics.store(this.#usedWords, INDEX, this.#usedIndex);
    this.#table?.end(head, this.#usedIndex);
    this.#isInFlight[head] = 0;
    this.#inFlight--;
  }

  /** Whether the driver asked to be notified of entries put since the last call; true once after a start. */
  shouldNotify(): boolean {
    const now = this.#usedIndex;
    const before = this.#notifiedIndex;
    this.#notifiedIndex = now;
    if (this.#mustNotify) {
      this.#mustNotify = false;
      return true;
    }
    if (now === before) return false;
    if (!this.#hasEventIndex)
      return (Atomics.load(this.#availWords, FLAGS) & AVAIL_NO_INTERRUPT) === 0;
    const event = Atomics.load(this.#availWords, RING + this.#size);
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  /**
   * Tells the driver that it need not kick. With event indexes nothing is needed: leaving the index unchanged has that meaning.
   */
  ignoreKicks(): void {
    if (!this.#hasEventIndex) Atomics.store(this.#usedWords, FLAGS, USED_NO_NOTIFY);
  }

  /** Tells the driver to kick for the next entry. @returns whether entries are already available */
  wantKicks(): boolean {
    if (this.#hasEventIndex) Atomics.store(this.#usedWords, RING + 4 * this.#size, this.#next);
    else Atomics.store(this.#usedWords, FLAGS, 0);
    return (
      this.#againAt < this.#again.length || Atomics.load(this.#availWords, INDEX) !== this.#next
    );
  }

  #walk(head: number): QueueFault {
    const { pieces } = this;
    const memory = this.#memory!;
    pieces.clear();
    let table = this.#desc;
    let tableAt = 0;
    let entries = this.#size;
    let left = this.#size;
    let isIndirect = false;
    for (let index = head; ; ) {
      if (index >= entries) return QueueFault.nextOutside;
      if (left === 0) return QueueFault.chainTooLong;
      left--;
      const at = tableAt + index * Desc.bytes;
      memory.wanted[0] = table.getUint32(at, true) + table.getUint32(at + 4, true) * TWO_32;
      const length = table.getUint32(at + Desc.length, true);
      const flags = table.getUint16(at + Desc.flags, true);
      const next = table.getUint16(at + Desc.next, true);
      if ((flags & DescFlag.indirect) !== 0) {
        const isTable = length >= Desc.bytes && length % Desc.bytes === 0;
        if (isIndirect || !isTable || !this.#hasIndirect || (flags & DescFlag.next) !== 0)
          return QueueFault.indirectTable;
        if (!memory.reach() || memory.left < length) return QueueFault.outsideMemory;
        isIndirect = true;
        table = memory.dataViews[memory.region]!;
        tableAt = memory.at;
        entries = length / Desc.bytes;
        left = DESCRIPTORS_MAX;
        index = 0;
        continue;
      }
      const isWritable = (flags & DescFlag.write) !== 0;
      if (!isWritable && pieces.isWriting) return QueueFault.writableFirst;
      const fault = this.#add(length, isWritable);
      if (fault !== QueueFault.none) return fault;
      if ((flags & DescFlag.next) === 0) return QueueFault.none;
      index = next;
    }
  }

  /** Adds the range of a descriptor, which starts at `wanted`; it becomes several pieces if it continues in the next region. */
  #add(length: number, isWritable: boolean): QueueFault {
    const memory = this.#memory!;
    if (isWritable) this.pieces.isWriting = true;
    for (let left = length; left > 0; ) {
      if (!memory.reach()) return QueueFault.outsideMemory;
      const part = Math.min(left, memory.left);
      if (!this.pieces.add(memory, part)) return QueueFault.chainTooLong;
      memory.wanted[0]! += part;
      left -= part;
    }
    return QueueFault.none;
  }
}

function viewOf(
  memory: GuestMemory,
  address: number,
  bytes: number,
  alignment: number,
): DataView | null {
  if (address % alignment !== 0 || !memory.reachUser(address) || memory.left < bytes) return null;
  const { view } = memory.regions[memory.region]!;
  const from = view.byteOffset + memory.at;
  return from % alignment === 0 ? new DataView(view.buffer, from, bytes) : null;
}

const wordsOf = ({ buffer, byteOffset, byteLength }: DataView): Uint16Array =>
  new Uint16Array(buffer, byteOffset, byteLength / 2);
