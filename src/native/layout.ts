/**
 * The memory that the native fault path (faults.c) and the engine share: the only definition of its structs and
 * constants. scripts/build-native.mjs writes layout.h from it, which asserts each offset at compile time; the library
 * exports its own offsets, and test/native/layout.test compares them with these.
 *
 *   control block     descriptors, flags, epochs, shards, size classes
 *   arrivals          a ring of (region and flags, page): see docs/design/native-faults.md
 *   indexes           two arrays of region numbers in order of address
 *   regions, sets     a struct each, by number; only those that are used take memory
 *   workspaces        pages to decompress to, claimed by a bit of `workspaces`
 */

/** Bytes of a type, and its name in C. */
const types = {
  u8: [1, 'uint8_t'],
  u16: [2, 'uint16_t'],
  u32: [4, 'uint32_t'],
  i32: [4, 'int32_t'],
  u64: [8, 'uint64_t'],
} as const;
type TypeName = keyof typeof types;

/** A field: its type, and the element count if it is an array. */
type Field = TypeName | readonly [TypeName | NativeStruct<string>, number];

interface NativeField {
  readonly name: string;
  readonly type: string;
  readonly at: number;
  readonly bytes: number;
  /** 0: not an array. */
  readonly count: number;
}

/** A struct: the offset of each field by name, and its size. */
export interface NativeStruct<Name extends string> {
  readonly name: string;
  readonly at: Readonly<Record<Name, number>>;
  readonly bytes: number;
  readonly fields: readonly NativeField[];
}

function struct<Name extends string>(
  name: string,
  shape: Readonly<Record<Name, Field>>,
): NativeStruct<Name> {
  const fields: NativeField[] = [];
  let at = 0;
  let widest = 1;
  for (const [field, spec] of Object.entries<Field>(shape)) {
    const [element, count] = typeof spec === 'string' ? ([spec, 0] as const) : spec;
    const isPlain = typeof element === 'string';
    const unit = isPlain ? types[element][0] : element.bytes;
    const align = isPlain ? unit : 8;
    widest = Math.max(widest, align);
    at = Math.ceil(at / align) * align;
    const type = isPlain ? types[element][1] : `struct ${element.name}`;
    const bytes = unit * Math.max(1, count);
    fields.push({ name: field, type, at, bytes, count });
    at += bytes;
  }
  const offsets = Object.fromEntries(fields.map((f) => [f.name, f.at])) as Record<Name, number>;
  return { name, at: offsets, bytes: Math.ceil(at / widest) * widest, fields };
}

/** Constants of both sides; in C, with the prefix FS_. */
export const NativeConst = {
  VERSION: 3,
  REGIONS_MAX: 16384,
  SHARDS_MAX: 32,
  SHARD_SHIFT: 19,
  CLASSES_MAX: 256,
  /** Arrivals in the ring; a power of two. */
  ARRIVALS: 65536,
  /** Pages decompressed together: one that faulted and those prefetched with it. */
  WINDOW_PAGES: 64,
  WORKSPACES: 16,
  WORKSPACE_PAGES: 68,
  STREAMS: 8,
  HISTORY: 16,
  /** Pages of one native batch. */
  BATCH_PAGES: 512,
  /** Maximum delay of a fault while eviction catches up, ms. */
  THROTTLE_MS: 20,
  GRAVES: 16,
  /** Type of the swap area in compressed RAM, and the bits of a slot in an entry. */
  RAM_AREA: 0,
  OFFSET_BITS: 26,
  AREAS_MAX: 32,
  CALLS: 16,
} as const;

/** System calls that tests can make fail: indexes of failEvery, failErrno and failCalls. */
export const NativeCallName = {
  copy: 0,
  zeropage: 1,
  wake: 2,
  protect: 3,
  poison: 4,
  madvise: 5,
  processMadvise: 6,
  vmReadv: 7,
  pread: 8,
  read: 9,
  poll: 10,
  futex: 11,
  ring: 12,
  mmap: 13,
  pwrite: 14,
  punch: 15,
} as const;

/** PageState of pager/region.ts, and states that only native code uses. */
export const NativePage = {
  absent: 0,
  dirty: 1,
  clean: 2,
  stored: 3,
  lost: 4,
  evicting: 5,
  busy: 6,
  asked: 7,
} as const;
export type NativePage = (typeof NativePage)[keyof typeof NativePage];

/** Where the native thread runs: placement.h. */
export const NativePlacement = {
  /** Where the kernel puts it; repeated faults of one thread are handed over, where that is faster. */
  measured: 0,
  /** On the processor of the faulting thread, which the program has pinned. */
  follows: 1,
  /** Every fault is handed over, for tests. */
  handsOver: 2,
} as const;

/** Flags of an arrival, above the region's number. */
export const ArrivalFlag = { prefetched: 0x1_0000, wrote: 0x2_0000 } as const;

export type ShardField =
  | 'base'
  | 'bytes'
  | 'rows'
  | 'zspages'
  | 'zspageCount'
  | 'slots'
  | 'isReady';
export const shardStruct: NativeStruct<ShardField> = struct('fs_shard', {
  base: 'u64',
  bytes: 'u64',
  rows: 'u32',
  zspages: 'u32',
  zspageCount: 'u32',
  slots: 'u32',
  /** Written last: the other fields are valid. */
  isReady: 'u32',
});

export type AreaField = 'sums' | 'zeroBits' | 'fd' | 'slots' | 'isReady' | 'spare';
/** A swap file. The engine owns its tables (checksum-disk.ts, bit-map.ts): an entry per slot. */
export const areaStruct: NativeStruct<AreaField> = struct('fs_area', {
  sums: 'u64',
  zeroBits: 'u64',
  /** A file descriptor of the process, not of the engine's worker. */
  fd: 'i32',
  slots: 'u32',
  /** Written last. */
  isReady: 'u32',
  spare: 'u32',
});

export type SetField =
  | 'resident'
  | 'high'
  | 'ceiling'
  | 'evictions'
  | 'waiters'
  | 'isStuck'
  | 'spare';
export const setStruct: NativeStruct<SetField> = struct('fs_set', {
  resident: 'i32',
  high: 'i32',
  ceiling: 'i32',
  /** Incremented after pages were evicted; a throttled fault waits on it. */
  evictions: 'u32',
  waiters: 'u32',
  /** The last pass should have evicted pages but evicted none: faults do not wait for eviction. */
  isStuck: 'u32',
  spare: ['u32', 2],
});

export type RegionField =
  | 'address'
  | 'state'
  | 'entry'
  | 'set'
  | 'mapped'
  | 'pinned'
  | 'fd'
  | 'accessible'
  | 'thinAt'
  | 'pages'
  | 'number'
  | 'rescan'
  | 'isWritable'
  | 'hand'
  | 'writeAt'
  | 'writeWindow'
  | 'streamNext'
  | 'historyAt'
  | 'expected'
  | 'strides'
  | 'windows'
  | 'history'
  | 'faults'
  | 'swapInFaults'
  | 'zeroFillFaults'
  | 'writeFaults'
  | 'spuriousFaults'
  | 'lostFaults'
  | 'pagesIn'
  | 'pagesPrefetched'
  | 'zerosPrefetched'
  | 'pagesDropped'
  | 'throttled';
export const regionStruct: NativeStruct<RegionField> = struct('fs_region', {
  address: 'u64',
  state: 'u64',
  entry: 'u64',
  set: 'u64',
  /**
   * Pages of a memory file (memfd.h): a bit per page that is mapped, approximately; 0 for a region of the userfaultfd.
   */
  mapped: 'u64',
  /** A bit per page that is pinned: it stays mapped. */
  pinned: 'u64',
  fd: 'i32',
  /** Pages below this may be mapped: the program can access them. */
  accessible: 'u32',
  /** Where unmapping of resident pages continues. */
  thinAt: 'u32',
  pages: 'u32',
  number: 'u32',
  /** The ring was full: JavaScript must check every page. */
  rescan: 'u32',
  /** Pages are brought in writable, because copies of this region are not worth their cost. */
  isWritable: 'u32',
  /** Where the scan for clean pages continues. */
  hand: 'u32',
  writeAt: 'u32',
  writeWindow: 'u32',
  streamNext: 'u32',
  historyAt: 'u32',
  expected: ['i32', NativeConst.STREAMS],
  strides: ['i32', NativeConst.STREAMS],
  windows: ['i32', NativeConst.STREAMS],
  history: ['i32', NativeConst.HISTORY],
  faults: 'u64',
  swapInFaults: 'u64',
  zeroFillFaults: 'u64',
  writeFaults: 'u64',
  spuriousFaults: 'u64',
  lostFaults: 'u64',
  pagesIn: 'u64',
  pagesPrefetched: 'u64',
  zerosPrefetched: 'u64',
  pagesDropped: 'u64',
  throttled: 'u64',
});

export type ControlField =
  | 'version'
  | 'uffd'
  | 'engineFd'
  | 'exitFd'
  | 'pidfd'
  | 'pid'
  | 'engineTid'
  | 'hasPoison'
  | 'isGuarded'
  | 'isFrozen'
  | 'isRung'
  | 'epoch'
  | 'readers'
  | 'index'
  | 'regionCount'
  | 'workspaces'
  | 'head'
  | 'tail'
  | 'threadTid'
  | 'hasEnded'
  | 'placement'
  | 'spinUs'
  | 'classCount'
  | 'fullPage'
  | 'zeroSlots'
  | 'zeroBits'
  | 'arrivals'
  | 'indexes'
  | 'regions'
  | 'workspaceMemory'
  | 'zeros'
  | 'graves'
  | 'buried'
  | 'graveNext'
  | 'classBytes'
  | 'shards'
  | 'areas'
  | 'clock'
  | 'waiting'
  | 'waitedNs'
  | 'isTimed'
  | 'maps'
  | 'mapsMax'
  | 'isThinning'
  | 'handed'
  | 'failEvery'
  | 'failErrno'
  | 'failCalls';
export const controlStruct: NativeStruct<ControlField> = struct('fs_control', {
  version: 'u32',
  uffd: 'i32',
  /**
   * Eventfd that wakes the engine; eventfd that ends the native thread; pidfd of this process, for process_madvise(2).
   */
  engineFd: 'i32',
  exitFd: 'i32',
  pidfd: 'i32',
  pid: 'i32',
  /** The engine's thread; if it has ended, no request is answered. */
  engineTid: 'i32',
  hasPoison: 'u32',
  isGuarded: 'u32',
  /** Nothing is dropped, because memory may be unmapped at any moment. */
  isFrozen: 'u32',
  /** The engine has been woken and has not checked yet. */
  isRung: 'u32',
  epoch: 'u32',
  readers: ['u32', 2],
  index: 'u32',
  regionCount: ['u32', 2],
  workspaces: 'u32',
  /** Arrivals appended, and taken. */
  head: 'u32',
  tail: 'u32',
  /** Thread mode: the native thread, and 1 when it has ended. */
  threadTid: 'i32',
  hasEnded: 'u32',
  /** Where the native thread runs (NativePlacement); it spins so many us for the next fault. */
  placement: 'u32',
  spinUs: 'u32',
  classCount: 'u32',
  fullPage: 'u32',
  zeroSlots: 'u32',
  zeroBits: 'u64',
  arrivals: 'u64',
  indexes: ['u64', 2],
  regions: 'u64',
  workspaceMemory: 'u64',
  /** Pages of zeros, never written. */
  zeros: 'u64',
  /** Ranges of regions that have ended: start, end, and time (CLOCK_MONOTONIC, ns). */
  graves: ['u64', 2 * 16],
  buried: ['u64', 16],
  graveNext: 'u32',
  classBytes: ['u16', NativeConst.CLASSES_MAX],
  shards: [shardStruct, NativeConst.SHARDS_MAX],
  /** Swap files, by type; the one of RAM is unused. */
  areas: [areaStruct, NativeConst.AREAS_MAX],
  /** Address of clock_gettime(3); 0: use the system call. */
  clock: 'u64',
  /** Number of threads that wait for pages, and since when; the time for which at least one did: see calls.h. */
  waiting: 'u64',
  waitedNs: 'u64',
  /** Whether the time is measured. */
  isTimed: 'u32',
  /** Memory files: upper bound of the mappings in use; their limit; whether a thread is reducing them. */
  maps: 'u32',
  mapsMax: 'u32',
  isThinning: 'u32',
  /** Faults whose thread was woken on the processor of the native thread: placement.h. */
  handed: 'u32',
  /** For tests, by NativeCallName: one in this many calls fails (0: none) with this errno; calls so far. */
  failEvery: ['u32', NativeConst.CALLS],
  failErrno: ['u32', NativeConst.CALLS],
  failCalls: ['u32', NativeConst.CALLS],
});

const nativeStructs: readonly NativeStruct<string>[] = [
  shardStruct,
  areaStruct,
  setStruct,
  regionStruct,
  controlStruct,
];

const roundUp = (bytes: number): number => Math.ceil(bytes / 4096) * 4096;

/** Where each part is in the shared memory, bytes. */
export interface NativeParts {
  readonly arrivals: number;
  readonly indexes: number;
  readonly regions: number;
  readonly sets: number;
  readonly workspaces: number;
  readonly zeros: number;
}

export const NativeAt: NativeParts = (() => {
  const arrivals = roundUp(controlStruct.bytes);
  const indexes = arrivals + NativeConst.ARRIVALS * 8;
  const regions = indexes + 2 * NativeConst.REGIONS_MAX * 4;
  const sets = regions + roundUp(NativeConst.REGIONS_MAX * regionStruct.bytes);
  const workspaces = sets + roundUp((NativeConst.REGIONS_MAX + 1) * setStruct.bytes);
  const zeros = workspaces + NativeConst.WORKSPACES * NativeConst.WORKSPACE_PAGES * 4096;
  return { arrivals, indexes, regions, sets, workspaces, zeros };
})();
/** Bytes of the shared memory; the pages of zeros are after it, read-only. */
export const NATIVE_BYTES: number = NativeAt.zeros;

const upper = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase();

/** The text of layout.h. */
export function layoutHeader(): string {
  const lines = ['/* Generated from layout.ts by scripts/build-native.mjs: do not edit. */'];
  const define = (name: string, value: number): void => {
    lines.push(`#define FS_${name} ${value}`);
  };
  for (const [name, value] of Object.entries(NativeConst)) define(name, value);
  for (const [name, value] of Object.entries(NativePage)) define(`PAGE_${upper(name)}`, value);
  for (const [name, value] of Object.entries(NativePlacement))
    define(`PLACEMENT_${upper(name)}`, value);
  for (const [name, value] of Object.entries(ArrivalFlag)) define(`ARRIVAL_${upper(name)}`, value);
  for (const [name, value] of Object.entries(NativeCallName)) define(`CALL_${upper(name)}`, value);
  for (const { name, fields, bytes } of nativeStructs) {
    lines.push('', `struct ${name} {`);
    for (const { type, name: field, count } of fields)
      lines.push(`  ${type} ${field}${count === 0 ? '' : `[${count}]`};`);
    lines.push('};');
    for (const { name: field, at } of fields)
      lines.push(
        `_Static_assert(__builtin_offsetof(struct ${name}, ${field}) == ${at}, "${field}");`,
      );
    lines.push(`_Static_assert(sizeof(struct ${name}) == ${bytes}, "${name}");`);
  }
  lines.push('', '#define FS_OFFSETS \\');
  const rows = nativeStructs.flatMap(({ name, fields }) => [
    ...fields.map((f) => `  __builtin_offsetof(struct ${name}, ${f.name})`),
    `  sizeof(struct ${name})`,
  ]);
  lines.push(rows.join(', \\\n'), '');
  return lines.join('\n');
}

/** The offsets and sizes in the order of FS_OFFSETS. */
export const layoutOffsets: readonly number[] = nativeStructs.flatMap(({ fields, bytes }) => [
  ...fields.map((f) => f.at),
  bytes,
]);
