/**
 * The engine's side of the memory that it shares with the native fault path (native/layout.ts): the control block, the
 * regions and sets, the arrivals, and the native thread.
 *
 *   publish   shards of the store as they are created, size classes, the map of pages of zeros
 *   index     regions in order of address: written to the idle index, which then becomes the current one
 *   drain     arrivals in order; the entry says which page to look at
 *
 * Only one thread uses this class; native code on any number of threads reads what it publishes.
 */
import { sizeClasses } from '../arena/size-classes.ts';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import {
  areaStruct,
  type ControlField,
  controlStruct,
  NATIVE_BYTES,
  NativeAt,
  NativeConst,
  type RegionField,
  regionStruct,
  type SetField,
  setStruct,
  shardStruct,
} from '../native/layout.ts';
import { Advice, type Mapping, Protection } from '../os/linux/mapping.ts';
import { Process } from '../os/linux/process.ts';
import { type Linux, Struct } from '../os/linux/system-call.ts';
import type { NativeFaults } from '../os/native-faults.ts';
import type { ShardView } from '../store/image.ts';
import type { FileArea } from './tiers.ts';

const TWO_32 = 0x1_0000_0000;
const ARRIVALS_MASK = NativeConst.ARRIVALS - 1;
const NUMBER_MASK = 0xffff;
const PIDFD_OPEN = 434;
/** fcntl(2): makes a close-on-exec duplicate. */
const F_DUPFD_CLOEXEC = 1030;

/** A region as native code sees it: addresses of its memory and tables. */
export interface NativeRegionParts {
  /** 1 .. REGIONS_MAX - 1. */
  readonly number: number;
  readonly address: number;
  readonly pages: number;
  readonly state: number;
  readonly entry: number;
  /** Number of its set. */
  readonly set: number;
}

export interface NativeControlOptions {
  /** -1: no userfaultfd; regions are memory files. */
  readonly uffd: number;
  /** An eventfd that native code rings for the engine. */
  readonly engineFd: number;
  /** An eventfd that ends the native thread. */
  readonly exitFd: number;
  readonly hasPoison: boolean;
  /** Slots of the swap area in compressed RAM, and its map of pages of zeros. */
  readonly slots: number;
  readonly zeroMap: Uint8Array;
  /** Whether to measure the time that threads wait for pages. */
  readonly isTimed: boolean;
  /** Most mappings of memory files. */
  readonly mapsMax: number;
}

type Arrived = (number: number, page: number, flags: number) => void;

export class NativeControl {
  /** Address of the control block: the first argument of native calls. */
  readonly at: number;
  readonly native: NativeFaults;
  readonly words: Int32Array;
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #zeros: number;
  readonly #pidfd: number;
  readonly #counts: BigUint64Array;
  /** Numbers of regions in order of address. */
  readonly #ordered: number[] = [];
  readonly #zeroMap: Uint8Array;
  /** Swap files that native code reads, with its descriptors. */
  readonly #areas: { readonly area: FileArea; readonly fd: number }[] = [];
  #thread: Struct | null = null;

  constructor(linux: Linux, mapping: Mapping, native: NativeFaults, options: NativeControlOptions) {
    this.native = native;
    this.#linux = linux;
    this.#mapping = mapping;
    this.#zeroMap = options.zeroMap;
    this.at = mapping.reserve(NATIVE_BYTES);
    const view = mapping.viewOf(this.at, NATIVE_BYTES);
    this.words = new Int32Array(view);
    this.#counts = new BigUint64Array(view);
    this.#zeros = mapping.reserve(NativeConst.WINDOW_PAGES * PAGE_BYTES, Protection.read);
    this.#pidfd = linux.systemCall(PIDFD_OPEN, process.pid, 0, 0);
    this.set('version', NativeConst.VERSION);
    this.set('uffd', options.uffd);
    this.set('engineFd', options.engineFd);
    this.set('exitFd', options.exitFd);
    this.set('pidfd', this.#pidfd);
    this.set('pid', process.pid);
    this.set('engineTid', new Process(linux).threadId());
    this.set('hasPoison', options.hasPoison ? 1 : 0);
    this.set('zeroSlots', options.slots);
    this.set('isTimed', options.isTimed ? 1 : 0);
    this.set('mapsMax', options.mapsMax);
    this.#set64(controlStruct.at.clock, clockAddress(linux));
    this.#set64(controlStruct.at.zeroBits, linux.addressOf(options.zeroMap));
    this.#set64(controlStruct.at.arrivals, this.at + NativeAt.arrivals);
    this.#set64(controlStruct.at.indexes, this.at + NativeAt.indexes);
    this.#set64(
      controlStruct.at.indexes + 8,
      this.at + NativeAt.indexes + NativeConst.REGIONS_MAX * 4,
    );
    this.#set64(controlStruct.at.regions, this.at + NativeAt.regions);
    this.#set64(controlStruct.at.workspaceMemory, this.at + NativeAt.workspaces);
    this.#set64(controlStruct.at.zeros, this.#zeros);
    const { count, objectBytes, fullPage } = sizeClasses();
    this.set('classCount', count);
    this.set('fullPage', fullPage);
    new Uint16Array(view, controlStruct.at.classBytes, NativeConst.CLASSES_MAX).set(objectBytes);
  }

  get(field: ControlField): number {
    return Atomics.load(this.words, controlStruct.at[field] >>> 2);
  }

  set(field: ControlField, value: number): void {
    Atomics.store(this.words, controlStruct.at[field] >>> 2, value);
  }

  /** A shard of the store was created. */
  addShard(number: number, { buffer, slots, rows, zspages, zspageCount }: ShardView): void {
    assert(number < NativeConst.SHARDS_MAX, 'number < SHARDS_MAX');
    const at = controlStruct.at.shards + number * shardStruct.bytes;
    this.#set64(at + shardStruct.at.bytes, buffer.byteLength);
    this.words[(at + shardStruct.at.rows) >>> 2] = rows;
    this.words[(at + shardStruct.at.zspages) >>> 2] = zspages;
    this.words[(at + shardStruct.at.zspageCount) >>> 2] = zspageCount;
    this.words[(at + shardStruct.at.slots) >>> 2] = slots;
    this.#set64(at + shardStruct.at.base, this.#linux.addressOf(new Uint8Array(buffer, 0, 1)));
    Atomics.store(this.words, (at + shardStruct.at.isReady) >>> 2, 1);
  }

  /**
   * Publishes an opened swap file. Native code gets its own descriptor: Node closes a worker's descriptors with the worker, and
   * the number might then belong to another file.
   */
  addArea(area: FileArea): void {
    const { type, slots, sums, zero } = area;
    assert(type < NativeConst.AREAS_MAX, 'type < AREAS_MAX');
    const duplicate = this.#linux.bind('int fcntl(int fd, int command, int argument)');
    const fd = duplicate(area.fd, F_DUPFD_CLOEXEC, 0);
    if (fd === -1) this.#linux.fail('fcntl', { fd: area.fd });
    this.#areas.push({ area, fd });
    const at = controlStruct.at.areas + type * areaStruct.bytes;
    this.#set64(at + areaStruct.at.sums, this.#linux.addressOf(sums));
    this.#set64(at + areaStruct.at.zeroBits, this.#linux.addressOf(zero));
    this.words[(at + areaStruct.at.fd) >>> 2] = fd;
    this.words[(at + areaStruct.at.slots) >>> 2] = slots;
    Atomics.store(this.words, (at + areaStruct.at.isReady) >>> 2, 1);
  }

  /** Total time during which at least one thread waited for a page, up to the last moment when no thread waited; ms. */
  get waitedMs(): number {
    return Number(Atomics.load(this.#counts, controlStruct.at.waitedNs >>> 3)) / 1e6;
  }

  /** Index of the set's words. */
  setWord(set: number, field: SetField): number {
    return (NativeAt.sets + set * setStruct.bytes + setStruct.at[field]) >>> 2;
  }

  /** Initialises the set of a new region: nothing is resident. */
  clearSet(set: number): void {
    const at = (NativeAt.sets + set * setStruct.bytes) >>> 2;
    this.words.fill(0, at, at + (setStruct.bytes >>> 2));
  }

  regionWord(number: number, field: RegionField): number {
    return (NativeAt.regions + number * regionStruct.bytes + regionStruct.at[field]) >>> 2;
  }

  /** A counter of a region. */
  count(number: number, field: RegionField): number {
    return Number(this.#counts[this.regionWord(number, field) >>> 1]!);
  }

  addRegion(parts: NativeRegionParts): void {
    const at = NativeAt.regions + parts.number * regionStruct.bytes;
    this.words.fill(0, at >>> 2, (at + regionStruct.bytes) >>> 2);
    this.#set64(at + regionStruct.at.address, parts.address);
    this.#set64(at + regionStruct.at.state, parts.state);
    this.#set64(at + regionStruct.at.entry, parts.entry);
    this.#set64(at + regionStruct.at.set, this.at + NativeAt.sets + parts.set * setStruct.bytes);
    this.words[this.regionWord(parts.number, 'pages')] = parts.pages;
    this.words[this.regionWord(parts.number, 'number')] = parts.number;
    const none = -1;
    const expected = this.regionWord(parts.number, 'expected');
    this.words.fill(none, expected, expected + NativeConst.STREAMS);
    const history = this.regionWord(parts.number, 'history');
    this.words.fill(none, history, history + NativeConst.HISTORY);
    let place = 0;
    while (place < this.#ordered.length && this.#addressOf(this.#ordered[place]!) < parts.address)
      place++;
    this.#ordered.splice(place, 0, parts.number);
    this.#publish();
  }

  /** The region's memory is a file. @param marks, pins addresses of bitmaps with one bit per page, all zeros */
  setFile(number: number, fd: number, marks: number, pins: number): void {
    this.words[this.regionWord(number, 'fd')] = fd;
    const at = NativeAt.regions + number * regionStruct.bytes;
    this.#set64(at + regionStruct.at.pinned, pins);
    this.#set64(at + regionStruct.at.mapped, marks);
  }

  /** When this returns, no native code uses the region. */
  removeRegion(number: number): void {
    const place = this.#ordered.indexOf(number);
    assert(place !== -1, 'the region is in the index');
    this.#ordered.splice(place, 1);
    this.#publish();
  }

  /** Calls `arrived` for each arrival so far. */
  drain(arrived: Arrived): void {
    this.set('isRung', 0);
    const ring = NativeAt.arrivals >>> 2;
    for (let tail = this.get('tail'); ; ) {
      const slot = ring + (tail & ARRIVALS_MASK) * 2;
      const first = Atomics.load(this.words, slot);
      if (first === 0) return;
      const page = this.words[slot + 1]!;
      Atomics.store(this.words, slot, 0);
      tail = (tail + 1) | 0;
      this.set('tail', tail);
      arrived(first & NUMBER_MASK, page, first & ~NUMBER_MASK);
    }
  }

  /** True once after the ring was too full for an arrival of the region: every page must then be checked. */
  takeRescan(number: number): boolean {
    const word = this.regionWord(number, 'rescan');
    return this.words[word] !== 0 && Atomics.exchange(this.words, word, 0) !== 0;
  }

  /** Starts the native thread. */
  startThread(): void {
    assert(this.#thread === null, 'the native thread is not running');
    const create = this.#linux.bind(
      'int pthread_create(uintptr_t thread, uintptr_t attributes, uintptr_t start, uintptr_t argument)',
    );
    const thread = new Struct(this.#linux, 8);
    const errno = create(thread.address, 0, this.native.threadStart(), this.at);
    if (errno !== 0) throw new Error(`pthread_create failed: errno ${errno}`);
    this.#thread = thread;
  }

  /** Waits for the native thread to end after its exit eventfd was rung. */
  joinThread(): void {
    if (this.#thread === null) return;
    const join = this.#linux.bind('int pthread_join(uintptr_t thread, uintptr_t value)');
    join(this.#thread.get64(0), 0);
    this.#thread = null;
  }

  /** Unmaps everything; no native code may run. */
  close(): void {
    assert(this.#thread === null, 'the native thread has ended');
    assert(this.#zeroMap.length > 0, 'the zero map is referenced until here');
    this.#linux.close(this.#pidfd);
    for (const { fd } of this.#areas.splice(0)) this.#linux.close(fd);
    this.#mapping.unmap(this.#zeros, NativeConst.WINDOW_PAGES * PAGE_BYTES);
    // A handler that has just started may still read the range; it must find no region. So the range stays mapped, as zeros.
    this.#mapping.advise(this.at, NATIVE_BYTES, Advice.dontNeed);
  }

  #publish(): void {
    const idle = 1 - this.get('index');
    const at = (NativeAt.indexes + idle * NativeConst.REGIONS_MAX * 4) >>> 2;
    this.words.set(this.#ordered, at);
    const counts = controlStruct.at.regionCount >>> 2;
    Atomics.store(this.words, counts + idle, this.#ordered.length);
    this.set('index', idle);
    this.native.synchronize(this.at);
  }

  #addressOf(number: number): number {
    const word = this.regionWord(number, 'address');
    return (this.words[word]! >>> 0) + this.words[word + 1]! * TWO_32;
  }

  #set64(at: number, value: number): void {
    this.words[at >>> 2] = value | 0;
    this.words[(at >>> 2) + 1] = value / TWO_32;
  }
}

/** RTLD_DEFAULT of dlsym(3). */
const EVERYWHERE = 0;

/** Address of clock_gettime(3), which reads the clock without a system call; 0: not found. */
function clockAddress(linux: Linux): number {
  const name = new TextEncoder().encode('clock_gettime\0');
  try {
    const find = linux.bind('uintptr_t dlsym(uintptr_t library, uintptr_t name)');
    return find(EVERYWHERE, linux.addressOf(name));
  } catch {
    return 0; // a C library without dlsym(3)
  }
}
