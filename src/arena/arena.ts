/**
 * The arena: memory for packed pages, in zsmalloc's line. Objects of about 120 size classes live in zspages
 * (runs of 1..12 neighbouring pages, page-runs.ts); emptied zspages go back at once, sparse ones are
 * emptied by compaction.
 *
 * A zspage's row, three words at its first page's number:
 *
 *   word 0  next           neighbours in the list of zspages of this class that are about as full,
 *   word 1  prev           as page numbers; 0 = none
 *   word 2  31    24 23    16 15     8 7      0
 *          ┌────────┬────────┬────────┬────────┐   free:  first free object, 255 = none
 *          │  free  │  made  │  used  │  class │   made:  objects from here on were never handed out
 *          └────────┴────────┴────────┴────────┘   used:  objects handed out now
 *
 * An object begins with one word: owner << 1 | 1 while it is used, next free object << 1 while it is free.
 * `made` grows as objects are first needed, so pages of a new zspage that nobody filled are never touched.
 * The whole-page class has one object of 4096 bytes and no word: such objects never move.
 *
 * A location names an object for its owner: first page << 8 | index. Page 0 is never an arena's, so 0 is
 * "no object".
 *
 * Lists: for each class four, by quarters of fullness; full zspages are in none. alloc() takes from the fullest
 * that has room, so the sparse ones drain; compact() empties the sparsest into the fullest.
 *
 * Invariants
 * - The sum of used over the zspages of a class is its usedObjects; zspages x objects - that is what is free.
 * - A zspage with used = 0 does not exist.
 * - Nothing is destroyed before what replaces it is reserved (Budget).
 *
 * Cost: alloc and free O(1), under 30 ns, two cache lines; nothing is allocated in JavaScript. Metadata: 12 bytes
 * a zspage page, 4 bytes an object. All state is in the memory's image, at offsets that the geometry fixes.
 *
 * Sources: Linux mm/zsmalloc.c (classes, fullness groups, tag bit in the object header, compaction).
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Budget } from './budget.ts';
import type { ObjectMoved, PageReturn } from './ops.ts';
import { CHUNK_PAGES, PageRuns, pageRunsTableBytes } from './page-runs.ts';
import { OBJECT_BYTES_MAX, type SizeClasses, sizeClasses } from './size-classes.ts';

/** Bytes of the word before a packed object's payload. */
export const OBJECT_HEADER_BYTES = 4;
/** Longest payload that is packed; longer ones take a whole page. */
export const PACKED_BYTES_MAX: number = OBJECT_BYTES_MAX - OBJECT_HEADER_BYTES;

const ROW = 3;
const NEXT = 0;
const PREV = 1;
const STATE = 2;
const NO_OBJECT = 255;
const GROUPS = 4;

const USED_ONE = 1 << 8;
const MADE_ONE = 1 << 16;

const classTable: SizeClasses = sizeClasses();

/** Words in the image for a class: four list heads, zspages, used objects. */
const CLASS_WORDS = GROUPS + 2;
const ZSPAGES = GROUPS;
const USED_OBJECTS = GROUPS + 1;

/** Where an arena's tables and pages lie in its memory. Bytes; the table offsets are multiples of 4096. */
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

/** Lays out an arena of `pages` pages (a multiple of 32) from byte `at` (a multiple of 4096) on. */
export function arenaLayout(at: number, pages: number): ArenaLayout {
  assert(at > 0 && at % PAGE_BYTES === 0, 'an arena begins at a page that is not 0');
  assert(pages > 0 && pages % CHUNK_PAGES === 0, 'an arena is whole chunks');
  const runTable = roundUp(at + classTable.count * CLASS_WORDS * 4, PAGE_BYTES);
  const zspageTable = roundUp(runTable + pageRunsTableBytes(pages), PAGE_BYTES);
  const first = roundUp(zspageTable + pages * ROW * 4, CHUNK_PAGES * PAGE_BYTES);
  return {
    classTable: at,
    runTable,
    zspageTable,
    firstPage: first / PAGE_BYTES,
    pages,
    end: first + pages * PAGE_BYTES,
  };
}

export class Arena {
  readonly #classes = classTable;
  readonly #runs: PageRuns;
  readonly #kernels: Kernels;
  readonly #moved: ObjectMoved;
  /** All of the memory by words: object headers. */
  readonly #words: Int32Array;
  readonly #class: Int32Array;
  readonly #zspage: Int32Array;
  readonly #firstPage: number;
  #compactCursor = 0;

  /**
   * @param buffer the memory; the tables of `layout` must be zero in a new one
   * @param moved told for each object that compact() moves
   */
  constructor(
    buffer: ArrayBuffer,
    layout: ArenaLayout,
    kernels: Kernels,
    budget: Budget,
    pageReturn: PageReturn,
    moved: ObjectMoved,
  ) {
    this.#kernels = kernels;
    this.#moved = moved;
    this.#words = new Int32Array(buffer);
    this.#class = new Int32Array(buffer, layout.classTable, classTable.count * CLASS_WORDS);
    this.#zspage = new Int32Array(buffer, layout.zspageTable, layout.pages * ROW);
    this.#firstPage = layout.firstPage;
    const rows = CHUNK_PAGES * ROW * 4;
    this.#runs = new PageRuns(
      buffer,
      layout.runTable,
      layout.firstPage,
      layout.pages,
      rows,
      budget,
      pageReturn,
    );
  }

  /** Pages that are free but may still be resident: what giveBack() can return. */
  get dirtyFreePages(): number {
    return this.#runs.dirtyFreePages;
  }

  /** Hands out room for `length` bytes (1..4096); its location, or 0 when budget or address space is short. */
  alloc(length: number, owner: number): number {
    const cls = this.classOf(length);
    const page = this.#fullestWithRoom(cls) || this.#newZspage(cls);
    if (page === 0) return 0;
    return this.#take(page, cls, owner);
  }

  /** Gives up an object. Its bytes are reusable when this returns. */
  free(location: number): void {
    const page = location >>> 8;
    const index = location & 0xff;
    const state = this.#zspage[(page - this.#firstPage) * ROW + STATE]!;
    const cls = state & 0xff;
    if (cls !== this.#classes.wholePage) {
      const header = this.#headerAt(page, cls, index);
      assert((this.#words[header]! & 1) === 1, 'an object is freed once');
      this.#words[header] = (state >>> 24) << 1;
    }
    this.#class[cls * CLASS_WORDS + USED_OBJECTS]!--;
    this.#setState(page, cls, state, ((state & 0xff_ffff) | (index << 24)) - USED_ONE);
  }

  /** Class of an object of `length` payload bytes: equal classes mean that one can replace the other in place. */
  classOf(length: number): number {
    if (length > PACKED_BYTES_MAX) return this.#classes.wholePage;
    return this.#classes.ofEighths[(length + OBJECT_HEADER_BYTES + 7) >>> 3]!;
  }

  /** Class of the object at `location`. */
  classAt(location: number): number {
    return this.#zspage[((location >>> 8) - this.#firstPage) * ROW + STATE]! & 0xff;
  }

  /** Byte address of the object's payload, as the 32 bits that a kernel takes: negative above 2 GiB. */
  address(location: number): number {
    const page = location >>> 8;
    const cls = this.classAt(location);
    if (cls === this.#classes.wholePage) return (page << PAGE_SHIFT) | 0;
    return ((this.#headerAt(page, cls, location & 0xff) << 2) + OBJECT_HEADER_BYTES) | 0;
  }

  /**
   * Moves up to `movesMax` objects out of sparse zspages into fuller ones, class after class, where that
   * empties a zspage. Returns the objects moved; fewer than asked means there is nothing more to gain.
   */
  compact(movesMax: number): number {
    let moved = 0;
    for (let i = 0; i < this.#classes.wholePage && moved < movesMax; i++) {
      const cls = this.#compactCursor;
      moved += this.#compactClass(cls, movesMax - moved);
      if (moved < movesMax) this.#compactCursor = (cls + 1) % this.#classes.wholePage;
    }
    return moved;
  }

  /** See PageRuns.giveBack. */
  giveBack(keepPages: number, chunksMax: number): number {
    return this.#runs.giveBack(keepPages, chunksMax);
  }

  /** Word index of the object's header. */
  #headerAt(page: number, cls: number, index: number): number {
    return page * (PAGE_BYTES >>> 2) + index * (this.#classes.objectBytes[cls]! >>> 2);
  }

  #fullestWithRoom(cls: number): number {
    const heads = cls * CLASS_WORDS;
    return (
      this.#class[heads + 3]! ||
      this.#class[heads + 2]! ||
      this.#class[heads + 1]! ||
      this.#class[heads]!
    );
  }

  #newZspage(cls: number): number {
    const page = this.#runs.alloc(this.#classes.zspagePages[cls]!);
    if (page === 0) return 0;
    const row = (page - this.#firstPage) * ROW;
    this.#zspage[row + STATE] = cls | (NO_OBJECT << 24);
    this.#class[cls * CLASS_WORDS + ZSPAGES]!++;
    this.#link(page, cls, 0);
    return page;
  }

  /** Hands out one object of a zspage that has room and is in a list. */
  #take(page: number, cls: number, owner: number): number {
    const row = (page - this.#firstPage) * ROW;
    const state = this.#zspage[row + STATE]!;
    let index = state >>> 24;
    let next: number;
    if (index === NO_OBJECT) {
      index = (state >>> 16) & 0xff;
      next = state + USED_ONE + MADE_ONE;
    } else {
      next = state + USED_ONE;
    }
    if (cls !== this.#classes.wholePage) {
      const header = this.#headerAt(page, cls, index);
      if (state >>> 24 !== NO_OBJECT)
        next = (next & 0xff_ffff) | ((this.#words[header]! >>> 1) << 24);
      this.#words[header] = (owner << 1) | 1;
    }
    this.#class[cls * CLASS_WORDS + USED_OBJECTS]!++;
    this.#setState(page, cls, state, next);
    return (page << 8) | index;
  }

  /** Stores a zspage's new state and moves it to the list of its new fullness; an empty one goes back. */
  #setState(page: number, cls: number, before: number, after: number): void {
    const from = this.#groupOf(cls, before);
    const to = this.#groupOf(cls, after);
    const row = (page - this.#firstPage) * ROW;
    this.#zspage[row + STATE] = after;
    if (((after >>> 8) & 0xff) === 0) {
      this.#zspage[row + STATE] = 0;
      if (from < GROUPS) this.#unlink(page, cls, from);
      this.#class[cls * CLASS_WORDS + ZSPAGES]!--;
      this.#runs.free(page, this.#classes.zspagePages[cls]!);
    } else if (from !== to) {
      if (from < GROUPS) this.#unlink(page, cls, from);
      if (to < GROUPS) this.#link(page, cls, to);
    }
  }

  /** Quarter of fullness, 0..3; 4 = full. */
  #groupOf(cls: number, state: number): number {
    return ((((state >>> 8) & 0xff) * GROUPS) / this.#classes.objects[cls]!) | 0;
  }

  #link(page: number, cls: number, group: number): void {
    const at = cls * CLASS_WORDS + group;
    const row = (page - this.#firstPage) * ROW;
    const head = this.#class[at]!;
    this.#zspage[row + NEXT] = head;
    this.#zspage[row + PREV] = 0;
    if (head !== 0) this.#zspage[(head - this.#firstPage) * ROW + PREV] = page;
    this.#class[at] = page;
  }

  #unlink(page: number, cls: number, group: number): void {
    const row = (page - this.#firstPage) * ROW;
    const next = this.#zspage[row + NEXT]!;
    const prev = this.#zspage[row + PREV]!;
    if (prev === 0) this.#class[cls * CLASS_WORDS + group] = next;
    else this.#zspage[(prev - this.#firstPage) * ROW + NEXT] = next;
    if (next !== 0) this.#zspage[(next - this.#firstPage) * ROW + PREV] = prev;
  }

  #compactClass(cls: number, movesMax: number): number {
    const objects = this.#classes.objects[cls]!;
    let moved = 0;
    while (moved < movesMax) {
      const row = cls * CLASS_WORDS;
      const free = this.#class[row + ZSPAGES]! * objects - this.#class[row + USED_OBJECTS]!;
      if (free < objects) break; // not a zspage's worth of holes: nothing to gain
      const source = this.#sparsest(cls);
      if (source === 0) break;
      const done = this.#drain(source, cls, movesMax - moved);
      if (done === 0) break;
      moved += done;
    }
    return moved;
  }

  #sparsest(cls: number): number {
    const heads = cls * CLASS_WORDS;
    return (
      this.#class[heads]! ||
      this.#class[heads + 1]! ||
      this.#class[heads + 2]! ||
      this.#class[heads + 3]!
    );
  }

  /** Moves objects of `source` into fuller zspages of its class until it is empty or `movesMax` is reached. */
  #drain(source: number, cls: number, movesMax: number): number {
    const words = this.#classes.objectBytes[cls]! >>> 2;
    let moved = 0;
    for (let index = 0; index < this.#classes.objects[cls]! && moved < movesMax; index++) {
      const state = this.#zspage[(source - this.#firstPage) * ROW + STATE]!;
      if (index >= ((state >>> 16) & 0xff)) break;
      const header = this.#headerAt(source, cls, index);
      const tag = this.#words[header]!;
      if ((tag & 1) === 0) continue;
      const group = this.#groupOf(cls, state);
      // Out of its list for the moment, so that it is not its own target.
      this.#unlink(source, cls, group);
      const target = this.#fullestWithRoom(cls);
      this.#link(source, cls, group);
      if (target === 0) break;
      const location = this.#take(target, cls, tag >>> 1);
      const to = this.#headerAt(target, cls, location & 0xff);
      this.#kernels.copy((to + 1) << 2, (header + 1) << 2, (words - 1) << 2);
      this.#moved(tag >>> 1, location);
      const last = ((state >>> 8) & 0xff) === 1;
      this.free((source << 8) | index);
      moved++;
      if (last) break;
    }
    return moved;
  }

  /** Bytes in use by objects and the holes between them: pages handed out, not what is free or given back. */
  get usedBytes(): number {
    let pages = 0;
    for (let cls = 0; cls < this.#classes.count; cls++)
      pages += this.#class[cls * CLASS_WORDS + ZSPAGES]! * this.#classes.zspagePages[cls]!;
    return pages * PAGE_BYTES;
  }

  /**
   * Checks every invariant; throws Bug. Cost: all rows.
   * @param ownerAt the location an owner's table holds, which must be where the object says it is
   * @returns bytes that the budget holds for the arena
   */
  verify(ownerAt: (owner: number) => number): number {
    const listed = new Map<number, number>();
    for (let cls = 0; cls < this.#classes.count; cls++) {
      for (let group = 0; group < GROUPS; group++) {
        let prev = 0;
        for (let page = this.#class[cls * CLASS_WORDS + group]!; page !== 0; ) {
          const row = (page - this.#firstPage) * ROW;
          assert(this.#zspage[row + PREV] === prev, 'zspage lists are linked both ways');
          assert(!listed.has(page), 'a zspage is in one list');
          listed.set(page, cls * (GROUPS + 1) + group);
          prev = page;
          page = this.#zspage[row + NEXT]!;
        }
      }
    }
    const zspages = new Uint32Array(this.#classes.count);
    const used = new Uint32Array(this.#classes.count);
    for (let row = 0; row < this.#zspage.length; row += ROW) {
      const state = this.#zspage[row + STATE]!;
      if (state === 0) continue;
      const page = this.#firstPage + row / ROW;
      const cls = state & 0xff;
      const group = this.#groupOf(cls, state);
      const list = group === GROUPS ? undefined : cls * (GROUPS + 1) + group;
      assert(listed.get(page) === list, 'a zspage is in the list of its fullness');
      zspages[cls]! += 1;
      used[cls]! += this.#verifyZspage(page, cls, state, ownerAt);
    }
    for (let cls = 0; cls < this.#classes.count; cls++) {
      assert(this.#class[cls * CLASS_WORDS + ZSPAGES] === zspages[cls], 'zspages are counted');
      assert(this.#class[cls * CLASS_WORDS + USED_OBJECTS] === used[cls], 'objects are counted');
    }
    return this.#runs.verify();
  }

  #verifyZspage(
    page: number,
    cls: number,
    state: number,
    ownerAt: (owner: number) => number,
  ): number {
    const used = (state >>> 8) & 0xff;
    if (cls === this.#classes.wholePage) return used;
    const made = (state >>> 16) & 0xff;
    let found = 0;
    for (let index = 0; index < made; index++) {
      const tag = this.#words[this.#headerAt(page, cls, index)]!;
      if ((tag & 1) === 0) continue;
      assert(ownerAt(tag >>> 1) === ((page << 8) | index), 'an object knows its owner');
      found++;
    }
    let free = 0;
    for (
      let i = state >>> 24;
      i !== NO_OBJECT;
      i = this.#words[this.#headerAt(page, cls, i)]! >>> 1
    ) {
      assert(i < made && free < made, 'the free list stays in its zspage');
      free++;
    }
    assert(found === used && found + free === made, 'used and free objects are all there are');
    return used;
  }
}
