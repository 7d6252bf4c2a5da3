/**
 * The arena: an allocator for compressed pages, modelled on zsmalloc. Objects of about 120 size classes live in zspages
 * (runs of 1..12 contiguous pages, page-runs.ts). An empty zspage is freed at once; compaction empties sparse ones.
 *
 * The descriptor of a zspage has eight words, half a cache line:
 *
 *   word 0  next, word 1  prev   list of zspages of the same class and fullness group; 0 = none
 *   word 2  page                 number of the first page
 *   word 3  class << 8 | used    used: allocated objects, 0..128
 *   words 4..7                   bit i: object i is allocated
 *
 * An object of a compressed page begins with its owner word, which only compaction reads. Freeing an object touches
 * the descriptor but not the object, whose cache line is most likely cold. (With the free list inside the objects, as
 * in zsmalloc, a free took 1.5 to 2 times as long.) alloc() takes the lowest free object, so the end of a zspage that
 * never filled is never touched. The full-page class has one object of 4096 bytes and no owner word: these objects
 * never move.
 *
 * A location identifies an object: descriptor << 7 | index. Descriptor 0 is unused, so location 0 means "no object".
 *
 * Each class has four lists, by quarters of fullness; full zspages are in no list. alloc() takes from the fullest
 * zspage with a free object, so sparse ones drain; compact() moves objects from the sparsest into the fullest.
 *
 * Invariants
 * - used equals the number of set bits; the usedObjects of a class is the sum over its zspages.
 * - No zspage has used = 0: its descriptor is in the free list.
 * - A replacement is reserved in the budget before the original is destroyed.
 *
 * Cost: alloc and free O(1), one descriptor each; no JavaScript allocation. Metadata: 32 bytes per zspage, 4 bytes per
 * object. All state is in the memory image, at offsets that the layout fixes.
 *
 * Sources: Linux mm/zsmalloc.c (classes, fullness groups, owner word, compaction).
 */
import { assert } from '../base/assert.ts';
import { popcount } from '../base/bits.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import type { Kernels } from '../codec/kernels.ts';
import type { Budget } from './budget.ts';
import type { ObjectMoved, PageRelease } from './ops.ts';
import { CHUNK_PAGES, PageRuns, pageRunsTableBytes } from './page-runs.ts';
import { OBJECT_BYTES_MAX, type SizeClasses, sizeClasses } from './size-classes.ts';

/** Bytes of the owner word before the payload. */
const OBJECT_HEADER_BYTES = 4;
/** Longest payload in a compressed class, bytes; longer ones take a full page. */
const COMPRESSED_BYTES_MAX: number = OBJECT_BYTES_MAX - OBJECT_HEADER_BYTES;

/** Words of a descriptor. */
const ROW_SHIFT = 3;
const ROW_BYTES = 32;
const NEXT = 0;
const PREV = 1;
const PAGE = 2;
const STATE = 3;
const BITS = 4;
const BIT_WORDS = 4;

const INDEX_SHIFT = 7;
const INDEX_MASK = 0x7f;
const GROUPS = 4;

const classTable: SizeClasses = sizeClasses();

/** Fullness per used object, for each class, in 65536ths of a quarter: exact up to 511 objects. */
const quarterTable: Int32Array = Int32Array.from(classTable.objects, (n) =>
  Math.ceil((GROUPS * 65536) / n),
);

/** Words per class in the image: four list heads, zspages, used objects. */
const CLASS_WORDS = GROUPS + 2;
const ZSPAGES = GROUPS;
const USED_OBJECTS = GROUPS + 1;
/** After the classes: head of the list of free descriptors, number of descriptors ever used. */
const FREE_HEAD = classTable.count * CLASS_WORDS;
const DESCRIPTORS = FREE_HEAD + 1;
/** Number of zspages of all classes. */
const ZSPAGES_ALL = FREE_HEAD + 2;
const CLASS_TABLE_WORDS = FREE_HEAD + 3;
/** An empty arena keeps its descriptors when they are fewer than this: 32 KiB. */
const DESCRIPTORS_KEPT = 1024;

/** Where the tables and pages of an arena are in its memory. Bytes; the table offsets are multiples of 4096. */
export interface ArenaLayout {
  readonly classTable: number;
  readonly runTable: number;
  readonly zspageTable: number;
  readonly firstPage: number;
  readonly pages: number;
  /** First byte after the last page. */
  readonly end: number;
}

const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** Layout of an arena of `pages` pages (a multiple of 32, below 2^20) that begins at byte `at` (a multiple of 4096). */
export function arenaLayout(at: number, pages: number): ArenaLayout {
  assert(at > 0 && at % PAGE_BYTES === 0, 'at is a multiple of 4096, above 0');
  assert(pages > 0 && pages % CHUNK_PAGES === 0, 'pages is a multiple of 32, above 0');
  const runTable = roundUp(at + CLASS_TABLE_WORDS * 4, PAGE_BYTES);
  const zspageTable = roundUp(runTable + pageRunsTableBytes(pages), PAGE_BYTES);
  const first = roundUp(zspageTable + (pages + 1) * ROW_BYTES, CHUNK_PAGES * PAGE_BYTES);
  return {
    classTable: at,
    runTable,
    zspageTable,
    firstPage: first / PAGE_BYTES,
    pages,
    end: first + pages * PAGE_BYTES,
  };
}

export interface ArenaOptions {
  /** The memory; the tables of `layout` must be zero in a new one. */
  readonly buffer: ArrayBuffer;
  readonly layout: ArenaLayout;
  readonly kernels: Kernels;
  readonly budget: Budget;
  readonly pageRelease: PageRelease;
  /** Called for each object that compact() moves. */
  readonly onMoved: ObjectMoved;
}

export class Arena {
  readonly #classes = classTable;
  readonly #quarter = quarterTable;
  readonly #runs: PageRuns;
  readonly #kernels: Kernels;
  readonly #budget: Budget;
  readonly #pageRelease: PageRelease;
  readonly #onMoved: ObjectMoved;
  /** The whole memory by words, for owner words. */
  readonly #words: Int32Array;
  readonly #class: Int32Array;
  readonly #zspage: Int32Array;
  #compactCursor = 0;
  /** Pages freed by compact() since the start. */
  compactedPages = 0;

  constructor({ buffer, layout, kernels, budget, pageRelease, onMoved }: ArenaOptions) {
    const { runTable: tables, firstPage, pages } = layout;
    this.#kernels = kernels;
    this.#budget = budget;
    this.#pageRelease = pageRelease;
    this.#onMoved = onMoved;
    this.#words = new Int32Array(buffer);
    this.#class = new Int32Array(buffer, layout.classTable, CLASS_TABLE_WORDS);
    this.#zspage = new Int32Array(buffer, layout.zspageTable, (pages + 1) << ROW_SHIFT);
    this.#runs = new PageRuns({ buffer, tables, firstPage, pages, budget, pageRelease });
  }

  /** Free pages that may still be resident: releaseFree() can release them. */
  get dirtyFreePages(): number {
    return this.#runs.dirtyFreePages;
  }

  /** Allocates `length` bytes (1..4096). Returns the location, or 0 when budget or address space is short. */
  alloc(length: number, owner: number): number {
    const cls = this.classOf(length);
    const zspage = this.#fullestPartial(cls) || this.#newZspage(cls);
    if (zspage === 0) return 0;
    return this.#take(zspage, cls, owner);
  }

  /** True when address space is free for `length` bytes: then alloc() can fail only because of the budget. */
  hasSpace(length: number): boolean {
    const cls = this.classOf(length);
    return this.#fullestPartial(cls) !== 0 || this.#runs.hasRun(this.#classes.zspagePages[cls]!);
  }

  /** Frees an object. Its bytes are reusable when this returns. */
  free(location: number): void {
    const zspage = location >>> INDEX_SHIFT;
    const index = location & INDEX_MASK;
    const row = zspage << ROW_SHIFT;
    const word = row + BITS + (index >>> 5);
    const bit = 1 << (index & 31);
    assert((this.#zspage[word]! & bit) !== 0, 'the freed object is allocated');
    this.#zspage[word]! &= ~bit;
    const state = this.#zspage[row + STATE]!;
    const cls = state >>> 8;
    this.#class[cls * CLASS_WORDS + USED_OBJECTS]!--;
    this.#zspage[row + STATE] = state - 1;
    const from = this.#groupOf(cls, state);
    if ((state & 0xff) === 1) {
      if (from < GROUPS) this.#unlink(zspage, cls, from);
      this.#freeZspage(zspage, cls);
    } else this.#regroup(zspage, cls, from, this.#groupOf(cls, state - 1));
  }

  /** Prefetches the descriptor that free() reads into the CPU cache. Returns it so that the read is not optimised away. */
  warm(location: number): number {
    return this.#zspage[((location >>> INDEX_SHIFT) << ROW_SHIFT) + STATE]!;
  }

  /** Class of an object of `length` payload bytes. Objects of equal class can replace each other in place. */
  classOf(length: number): number {
    if (length > COMPRESSED_BYTES_MAX) return this.#classes.fullPage;
    return this.#classes.ofEighths[(length + OBJECT_HEADER_BYTES + 7) >>> 3]!;
  }

  /** Class of the object at `location`. */
  classAt(location: number): number {
    return this.#zspage[((location >>> INDEX_SHIFT) << ROW_SHIFT) + STATE]! >>> 8;
  }

  /** Byte address of the payload as the signed 32 bits that the WebAssembly kernels take: negative above 2 GiB. */
  address(location: number): number {
    const zspage = location >>> INDEX_SHIFT;
    const cls = this.classAt(location);
    if (cls === this.#classes.fullPage)
      return this.#zspage[(zspage << ROW_SHIFT) + PAGE]! << PAGE_SHIFT;
    const at = this.#ownerWord(zspage, cls, location & INDEX_MASK) << 2;
    return (at + OBJECT_HEADER_BYTES) | 0;
  }

  /**
   * Moves up to `movesMax` objects from sparse zspages into fuller ones, class by class, where that empties a zspage.
   * Returns the number of objects moved; fewer than `movesMax` means that no zspage is left to empty.
   */
  compact(movesMax: number): number {
    let moved = 0;
    for (let i = 0; i < this.#classes.fullPage && moved < movesMax; i++) {
      const cls = this.#compactCursor;
      moved += this.#compactClass(cls, movesMax - moved);
      if (moved < movesMax) this.#compactCursor = (cls + 1) % this.#classes.fullPage;
    }
    return moved;
  }

  /** See PageRuns.releaseFree. When keepPages is 0 and no zspage is left, the descriptors are released too. */
  releaseFree(keepPages: number, chunksMax: number): number {
    const released = this.#runs.releaseFree(keepPages, chunksMax);
    return released === 0 && keepPages === 0 ? this.#releaseDescriptors() : released;
  }

  /** Releases the descriptor table of an arena without zspages. Returns the number of pages released. */
  #releaseDescriptors(): number {
    const descriptors = this.#class[DESCRIPTORS]!;
    if (descriptors < DESCRIPTORS_KEPT || this.#class[ZSPAGES_ALL] !== 0) return 0;
    const length = roundUp((descriptors + 1) * ROW_BYTES, PAGE_BYTES);
    if (!this.#pageRelease.release(this.#zspage.byteOffset, length)) return 0;
    this.#class[DESCRIPTORS] = 0;
    this.#class[FREE_HEAD] = 0;
    this.#budget.release(descriptors * ROW_BYTES);
    return length / PAGE_BYTES;
  }

  /** Word index of the owner word. */
  #ownerWord(zspage: number, cls: number, index: number): number {
    const page = this.#zspage[(zspage << ROW_SHIFT) + PAGE]!;
    return (page << (PAGE_SHIFT - 2)) + index * (this.#classes.objectBytes[cls]! >>> 2);
  }

  /** The fullest zspage with a free object, to a quarter; 0 = none. */
  #fullestPartial(cls: number): number {
    const heads = cls * CLASS_WORDS;
    return (
      this.#class[heads + 3]! ||
      this.#class[heads + 2]! ||
      this.#class[heads + 1]! ||
      this.#class[heads]!
    );
  }

  /** Creates an empty zspage in the sparsest list of its class; 0 when budget or address space is short. */
  #newZspage(cls: number): number {
    const zspage = this.#class[FREE_HEAD] || this.#newDescriptor();
    if (zspage === 0) return 0;
    const page = this.#runs.alloc(this.#classes.zspagePages[cls]!);
    if (page === 0) return 0;
    const row = zspage << ROW_SHIFT;
    this.#class[FREE_HEAD] = this.#zspage[row + NEXT]!;
    this.#zspage[row + PAGE] = page;
    this.#zspage[row + STATE] = cls << 8;
    this.#class[cls * CLASS_WORDS + ZSPAGES]!++;
    this.#class[ZSPAGES_ALL]!++;
    this.#link(zspage, cls, 0);
    return zspage;
  }

  /** Puts a never used descriptor into the free list; 0 when the table or the budget is exhausted. */
  #newDescriptor(): number {
    const descriptor = this.#class[DESCRIPTORS]! + 1;
    if (descriptor << ROW_SHIFT >= this.#zspage.length || !this.#runs.reserve(ROW_BYTES)) return 0;
    this.#class[DESCRIPTORS] = descriptor;
    this.#class[FREE_HEAD] = descriptor;
    return descriptor;
  }

  #freeZspage(zspage: number, cls: number): void {
    const row = zspage << ROW_SHIFT;
    this.#runs.free(this.#zspage[row + PAGE]!, this.#classes.zspagePages[cls]!);
    this.#class[cls * CLASS_WORDS + ZSPAGES]!--;
    this.#class[ZSPAGES_ALL]!--;
    this.#zspage[row + PAGE] = 0;
    this.#zspage[row + STATE] = 0;
    this.#zspage[row + NEXT] = this.#class[FREE_HEAD]!;
    this.#class[FREE_HEAD] = zspage;
  }

  /** Allocates the lowest free object of a zspage that has one. */
  #take(zspage: number, cls: number, owner: number): number {
    const row = zspage << ROW_SHIFT;
    let word = row + BITS;
    while (this.#zspage[word] === -1) word++;
    const free = ~this.#zspage[word]!;
    const bit = free & -free;
    const index = ((word - row - BITS) << 5) + 31 - Math.clz32(bit);
    this.#zspage[word]! |= bit;
    if (cls !== this.#classes.fullPage) this.#words[this.#ownerWord(zspage, cls, index)] = owner;
    const state = this.#zspage[row + STATE]!;
    this.#zspage[row + STATE] = state + 1;
    this.#class[cls * CLASS_WORDS + USED_OBJECTS]!++;
    this.#regroup(zspage, cls, this.#groupOf(cls, state), this.#groupOf(cls, state + 1));
    return (zspage << INDEX_SHIFT) | index;
  }

  #regroup(zspage: number, cls: number, from: number, to: number): void {
    if (from === to) return;
    if (from < GROUPS) this.#unlink(zspage, cls, from);
    if (to < GROUPS) this.#link(zspage, cls, to);
  }

  /** Fullness group: quarter 0..3; 4 = full. */
  #groupOf(cls: number, state: number): number {
    return ((state & 0xff) * this.#quarter[cls]!) >>> 16;
  }

  #link(zspage: number, cls: number, group: number): void {
    const at = cls * CLASS_WORDS + group;
    const row = zspage << ROW_SHIFT;
    const head = this.#class[at]!;
    this.#zspage[row + NEXT] = head;
    this.#zspage[row + PREV] = 0;
    if (head !== 0) this.#zspage[(head << ROW_SHIFT) + PREV] = zspage;
    this.#class[at] = zspage;
  }

  #unlink(zspage: number, cls: number, group: number): void {
    const row = zspage << ROW_SHIFT;
    const next = this.#zspage[row + NEXT]!;
    const prev = this.#zspage[row + PREV]!;
    if (prev === 0) this.#class[cls * CLASS_WORDS + group] = next;
    else this.#zspage[(prev << ROW_SHIFT) + NEXT] = next;
    if (next !== 0) this.#zspage[(next << ROW_SHIFT) + PREV] = prev;
  }

  #compactClass(cls: number, movesMax: number): number {
    const heads = cls * CLASS_WORDS;
    const objects = this.#classes.objects[cls]!;
    let moved = 0;
    while (moved < movesMax) {
      const free = this.#class[heads + ZSPAGES]! * objects - this.#class[heads + USED_OBJECTS]!;
      if (free < objects) break; // too few free objects to empty a zspage
      const group = this.#sparsestGroup(heads);
      moved += this.#drain(this.#class[heads + group]!, cls, group, movesMax - moved);
    }
    return moved;
  }

  /** The sparsest list that is not empty; the caller has checked that there is one. */
  #sparsestGroup(heads: number): number {
    let group = 0;
    while (this.#class[heads + group] === 0) group++;
    assert(group < GROUPS, 'a class with free objects has a partial zspage');
    return group;
  }

  /**
   * Moves objects of `source` into fuller zspages of its class until it is empty or `movesMax` is reached.
   * The others have enough free objects: the class has at least as many as a zspage holds.
   */
  #drain(source: number, cls: number, group: number, movesMax: number): number {
    const row = source << ROW_SHIFT;
    const payload = this.#classes.objectBytes[cls]! - OBJECT_HEADER_BYTES;
    this.#unlink(source, cls, group); // or it could be its own target
    let moved = 0;
    for (let word = 0; word < BIT_WORDS && moved < movesMax; word++) {
      let bits = this.#zspage[row + BITS + word]!;
      for (; bits !== 0 && moved < movesMax; bits &= bits - 1) {
        const index = (word << 5) + 31 - Math.clz32(bits & -bits);
        const from = this.#ownerWord(source, cls, index);
        const owner = this.#words[from]!;
        const location = this.#take(this.#fullestPartial(cls), cls, owner);
        this.#kernels.copy(this.address(location), (from << 2) + OBJECT_HEADER_BYTES, payload);
        this.#onMoved(owner, location);
        moved++;
      }
      this.#zspage[row + BITS + word] = bits;
    }
    const state = this.#zspage[row + STATE]! - moved;
    this.#zspage[row + STATE] = state;
    this.#class[cls * CLASS_WORDS + USED_OBJECTS]! -= moved;
    if ((state & 0xff) === 0) {
      this.#freeZspage(source, cls);
      this.compactedPages += this.#classes.zspagePages[cls]!;
    } else this.#link(source, cls, this.#groupOf(cls, state));
    return moved;
  }

  /**
   * Checks every invariant; throws InvariantError. Cost: all descriptors and owner words.
   * @param locationOf the location that the owner's table holds
   * @returns bytes reserved in the budget for the arena
   */
  verify(locationOf: (owner: number) => number): number {
    const listed = this.#verifyLists();
    const zspages = new Uint32Array(this.#classes.count);
    const used = new Uint32Array(this.#classes.count);
    const descriptors = this.#class[DESCRIPTORS]!;
    let unlistedFree = 0;
    for (let zspage = 1; zspage <= descriptors; zspage++) {
      const row = zspage << ROW_SHIFT;
      if (this.#zspage[row + PAGE] === 0) {
        unlistedFree++;
        continue;
      }
      const state = this.#zspage[row + STATE]!;
      const cls = state >>> 8;
      const group = this.#groupOf(cls, state);
      const list = group === GROUPS ? undefined : cls * GROUPS + group;
      assert(listed.get(zspage) === list, 'list === class and fullness group');
      zspages[cls]! += 1;
      used[cls]! += this.#verifyZspage(zspage, cls, locationOf);
    }
    for (let free = this.#class[FREE_HEAD]!; free !== 0; unlistedFree--)
      free = this.#zspage[(free << ROW_SHIFT) + NEXT]!;
    assert(unlistedFree === 0, 'every free descriptor is in the free list');
    for (let cls = 0; cls < this.#classes.count; cls++) {
      assert(
        this.#class[cls * CLASS_WORDS + ZSPAGES] === zspages[cls],
        'zspage count of the class matches',
      );
      assert(
        this.#class[cls * CLASS_WORDS + USED_OBJECTS] === used[cls],
        'used objects of the class match',
      );
    }
    return this.#runs.verify() + descriptors * ROW_BYTES;
  }

  /** Walks every list. Returns the list of each zspage that is in one. */
  #verifyLists(): Map<number, number> {
    const listed = new Map<number, number>();
    for (let cls = 0; cls < this.#classes.count; cls++) {
      for (let group = 0; group < GROUPS; group++) {
        let prev = 0;
        for (let zspage = this.#class[cls * CLASS_WORDS + group]!; zspage !== 0; ) {
          const row = zspage << ROW_SHIFT;
          assert(this.#zspage[row + PREV] === prev, 'prev matches the previous zspage');
          assert(!listed.has(zspage), 'the zspage is in one list only');
          listed.set(zspage, cls * GROUPS + group);
          prev = zspage;
          zspage = this.#zspage[row + NEXT]!;
        }
      }
    }
    return listed;
  }

  #verifyZspage(zspage: number, cls: number, locationOf: (owner: number) => number): number {
    const row = zspage << ROW_SHIFT;
    let used = 0;
    for (let word = 0; word < BIT_WORDS; word++) used += popcount(this.#zspage[row + BITS + word]!);
    assert(used > 0 && used === (this.#zspage[row + STATE]! & 0xff), 'used === set bits, above 0');
    if (cls === this.#classes.fullPage) return used;
    for (let index = 0; index < 32 * BIT_WORDS; index++) {
      const bit = (this.#zspage[row + BITS + (index >>> 5)]! >>> (index & 31)) & 1;
      if (bit === 0) continue;
      assert(index < this.#classes.objects[cls]!, 'index < objects per zspage');
      const owner = this.#words[this.#ownerWord(zspage, cls, index)]!;
      assert(
        locationOf(owner) === ((zspage << INDEX_SHIFT) | index),
        'locationOf(owner) === location',
      );
    }
    return used;
  }
}
