/**
 * The arena: an allocator for compressed pages, modelled on zsmalloc. Objects of about 120 size classes live in zspages
 * (runs of 1..16 contiguous pages, page-runs.ts). An empty zspage is freed immediately.
 *
 * The descriptor of a zspage has eight words, half a cache line:
 *
 *   word 0  next, word 1  prev   list of zspages of the same class and fullness group; 0 = none
 *   word 2  page                 number of the first page
 *   word 3  class << 8 | used    used: allocated objects, 0..128
 *   words 4..7                   bit i: object i is allocated
 *
 * An object of a compressed page begins with its owner word, which only compaction reads. Freeing an object touches
 * the descriptor but not the object, whose cache line is probably cold. (With the free list inside the objects, as
 * in zsmalloc, freeing took 1.5 to 2 times as long.) alloc() takes the lowest free object, so the end of a zspage
 * that has never been full is never touched. The full-page class has one object of 4096 bytes and no owner word:
 * these objects never move.
 *
 * A location identifies an object: descriptor << 7 | index. Descriptor 0 is unused, so location 0 means "no object".
 *
 * One zspage of each class may be its tail. Its used pages end with its last object, so it grows and shrinks by pages.
 * All pages of the other zspages are used. These are in four lists, by quarters of fullness; full zspages are in no list.
 * alloc() takes from the fullest listed zspage, then from the tail, so holes are filled before memory is added. When a
 * class has holes for some pages, compact() moves the last objects of the tail (or of the sparsest zspage) to them.
 *
 * Invariants
 * - used equals the number of set bits; the usedObjects of a class is the sum over its zspages.
 * - No zspage has used = 0: its descriptor is in the free list.
 * - The tail has a free object and is in no list. Its used pages are those up to its last object.
 * - A replacement is reserved in the budget before the original is destroyed.
 * - compact() copies an object, reports its new location (onMoved), then frees the old one. A reader, even on another
 *   thread, that reads the location, then the object, and finds the location unchanged has read that object.
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
import {
  type ArenaLayout,
  BIT_WORDS,
  BITS,
  CLASS_TABLE_WORDS,
  CLASS_WORDS,
  COMPRESSED_BYTES_MAX,
  classTable,
  DESCRIPTORS,
  FREE_HEAD,
  GROUPS,
  INDEX_MASK,
  INDEX_SHIFT,
  NEXT,
  OBJECT_HEADER_BYTES,
  PAGE,
  PREV,
  ROW_BYTES,
  ROW_SHIFT,
  roundUp,
  STATE,
  TAIL,
  TAIL_END,
  USED_OBJECTS,
  ZSPAGES,
  ZSPAGES_ALL,
} from './layout.ts';
import type { ObjectMoved, PageRelease } from './ops.ts';
import { PageRuns } from './page-runs.ts';
import type { ArenaRebuild } from './rebuild.ts';
import { zeroTail } from './zero-tail.ts';
import { linkZspage, unlinkZspage } from './zspage-lists.ts';
import { endOf, groupOf, holesMax, pagesOf } from './zspage-shape.ts';

/** An empty arena keeps its descriptors if there are fewer than this: 32 KiB. */
const DESCRIPTORS_KEPT = 1024;

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
  readonly #runs: PageRuns;
  readonly #kernels: Kernels;
  readonly #budget: Budget;
  readonly #pageRelease: PageRelease;
  readonly #onMoved: ObjectMoved;
  /** The entire memory as words, for owner words. */
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

  /** Allocates `length` bytes (1..4096). Returns the location, or 0 if the budget or the address space is exhausted. */
  alloc(length: number, owner: number): number {
    const cls = this.classOf(length);
    const listed = this.#fullestPartial(cls);
    if (listed !== 0) return this.#allocFrom(listed, cls, owner);
    const tail = this.#class[cls * CLASS_WORDS + TAIL]!;
    if (tail === 0) {
      const added = this.#newZspage(cls);
      return added === 0 ? 0 : this.#allocFrom(added, cls, owner);
    }
    return this.#growTail(tail, cls) ? this.#allocFrom(tail, cls, owner) : 0;
  }

  /** True if `length` bytes of address space are free; alloc() can then fail only because of the budget. */
  hasSpace(length: number): boolean {
    const cls = this.classOf(length);
    if (this.#fullestPartial(cls) !== 0 || this.#class[cls * CLASS_WORDS + TAIL] !== 0) return true;
    return this.#runs.hasRun(this.#classes.zspagePages[cls]!);
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
    const isTail = this.#class[cls * CLASS_WORDS + TAIL] === zspage;
    const from = isTail ? GROUPS : groupOf(cls, state & 0xff);
    if ((state & 0xff) === 1) {
      if (from < GROUPS) this.#unlink(zspage, cls, from);
      this.#freeZspage(zspage, cls);
    } else if (isTail) {
      if (this.#class[cls * CLASS_WORDS + TAIL_END] === index + 1) this.#shrinkTail(zspage, cls);
    } else this.#regroup(zspage, cls, from, groupOf(cls, (state - 1) & 0xff));
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
   * Moves up to `movesMax` objects from the tails of classes into their holes, class by class, if that frees a page.
   * Returns the number of objects moved; fewer than `movesMax` means that no class has more holes than allowed.
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

  /** The fullest zspage with a free object, to within a quarter; 0 = none. */
  #fullestPartial(cls: number): number {
    const heads = cls * CLASS_WORDS;
    return (
      this.#class[heads + 3]! ||
      this.#class[heads + 2]! ||
      this.#class[heads + 1]! ||
      this.#class[heads]!
    );
  }

  /** Creates an empty zspage, the tail of its class, with the pages of one object; 0 if there is no space. */
  #newZspage(cls: number): number {
    const zspage = this.#class[FREE_HEAD] || this.#newDescriptor();
    if (zspage === 0) return 0;
    const page = this.#runs.alloc(this.#classes.zspagePages[cls]!, pagesOf(cls, 1));
    if (page === 0) return 0;
    const row = zspage << ROW_SHIFT;
    this.#class[FREE_HEAD] = this.#zspage[row + NEXT]!;
    this.#zspage[row + PAGE] = page;
    this.#zspage[row + STATE] = cls << 8;
    this.#class[cls * CLASS_WORDS + ZSPAGES]!++;
    this.#class[ZSPAGES_ALL]!++;
    this.#class[cls * CLASS_WORDS + TAIL] = zspage;
    this.#class[cls * CLASS_WORDS + TAIL_END] = 0;
    return zspage;
  }

  /** Puts an unused descriptor into the free list; 0 if the table or the budget is exhausted. */
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
    if (this.#class[cls * CLASS_WORDS + TAIL] === zspage) this.#class[cls * CLASS_WORDS + TAIL] = 0;
    this.#zspage[row + PAGE] = 0;
    this.#zspage[row + STATE] = 0;
    this.#zspage[row + NEXT] = this.#class[FREE_HEAD]!;
    this.#class[FREE_HEAD] = zspage;
  }

  /** Allocates the lowest free object of a zspage with free objects. */
  #allocFrom(zspage: number, cls: number, owner: number): number {
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
    const at = cls * CLASS_WORDS;
    this.#class[at + USED_OBJECTS]!++;
    const to = groupOf(cls, (state + 1) & 0xff);
    if (this.#class[at + TAIL] !== zspage)
      this.#regroup(zspage, cls, groupOf(cls, state & 0xff), to);
    else if (to === GROUPS) this.#class[at + TAIL] = 0;
    else if (index >= this.#class[at + TAIL_END]!) this.#class[at + TAIL_END] = index + 1;
    return (zspage << INDEX_SHIFT) | index;
  }

  /** Uses the pages of the object that #allocFrom() takes next from the tail; false if the budget is exhausted. */
  #growTail(zspage: number, cls: number): boolean {
    const row = zspage << ROW_SHIFT;
    const used = this.#zspage[row + STATE]! & 0xff;
    if (this.#class[cls * CLASS_WORDS + TAIL_END] !== used) return true; // there is a hole before its last object
    const pages = pagesOf(cls, used);
    const added = pagesOf(cls, used + 1) - pages;
    return added === 0 || this.#runs.use(this.#zspage[row + PAGE]! + pages, added);
  }

  /** Called after the last object of the tail was freed. Unuses the pages after its new end; returns their number. */
  #shrinkTail(zspage: number, cls: number): number {
    const row = zspage << ROW_SHIFT;
    const end = this.#end(row);
    const pages = pagesOf(cls, end);
    const removed = pagesOf(cls, this.#class[cls * CLASS_WORDS + TAIL_END]!) - pages;
    this.#class[cls * CLASS_WORDS + TAIL_END] = end;
    if (removed > 0) this.#runs.unuse(this.#zspage[row + PAGE]! + pages, removed);
    return removed;
  }

  /** Index after the last object of the zspage with this row. */
  #end(row: number): number {
    return endOf(this.#zspage, row + BITS);
  }

  #regroup(zspage: number, cls: number, from: number, to: number): void {
    if (from === to) return;
    if (from < GROUPS) this.#unlink(zspage, cls, from);
    if (to < GROUPS) this.#link(zspage, cls, to);
  }

  #link(zspage: number, cls: number, group: number): void {
    linkZspage(this.#class, this.#zspage, zspage, cls * CLASS_WORDS + group);
  }

  #unlink(zspage: number, cls: number, group: number): void {
    unlinkZspage(this.#class, this.#zspage, zspage, cls * CLASS_WORDS + group);
  }

  #compactClass(cls: number, movesMax: number): number {
    let moved = 0;
    while (moved < movesMax && this.#hasHoles(cls)) {
      const tail = this.#class[cls * CLASS_WORDS + TAIL]! || this.#makeTail(cls);
      moved += this.#drain(tail, cls, movesMax - moved);
    }
    return moved;
  }

  /** True if a class has enough free objects in used pages to be compacted. */
  #hasHoles(cls: number): boolean {
    const at = cls * CLASS_WORDS;
    const objects = this.#classes.objects[cls]!;
    const used = this.#class[at + USED_OBJECTS]!;
    const end = this.#class[at + TAIL] === 0 ? objects : this.#class[at + TAIL_END]!;
    const holes = this.#class[at + ZSPAGES]! * objects - objects + end - used;
    return holes > 1 && holes >= holesMax(cls, used, end);
  }

  /** Makes the sparsest listed zspage the tail of its class, which has holes and no tail. */
  #makeTail(cls: number): number {
    const at = cls * CLASS_WORDS;
    let group = 0;
    while (this.#class[at + group] === 0) group++;
    assert(group < GROUPS, 'a class with holes and no tail has a listed zspage');
    const zspage = this.#class[at + group]!;
    this.#unlink(zspage, cls, group);
    this.#class[at + TAIL] = zspage;
    this.#class[at + TAIL_END] = this.#classes.objects[cls]!;
    this.compactedPages += this.#shrinkTail(zspage, cls);
    return zspage;
  }

  /** Moves the last objects of the tail into holes, until a page is free, no hole is left or `movesMax` is reached. */
  #drain(tail: number, cls: number, movesMax: number): number {
    const row = tail << ROW_SHIFT;
    const payload = this.#classes.objectBytes[cls]! - OBJECT_HEADER_BYTES;
    const pages = pagesOf(cls, this.#class[cls * CLASS_WORDS + TAIL_END]!);
    let moved = 0;
    while (moved < movesMax && this.#class[cls * CLASS_WORDS + TAIL] === tail) {
      const end = this.#class[cls * CLASS_WORDS + TAIL_END]!;
      const hasHole = end > (this.#zspage[row + STATE]! & 0xff);
      const target = this.#fullestPartial(cls) || (hasHole ? tail : 0);
      if (target === 0 || pagesOf(cls, end) < pages) break;
      const from = this.#ownerWord(tail, cls, end - 1);
      const owner = this.#words[from]!;
      const location = this.#allocFrom(target, cls, owner);
      this.#kernels.copy(this.address(location), (from << 2) + OBJECT_HEADER_BYTES, payload);
      this.#onMoved(owner, location);
      this.free((tail << INDEX_SHIFT) | (end - 1));
      moved++;
    }
    this.compactedPages += pages - pagesOf(cls, this.#end(row));
    return moved;
  }

  /**
   * Rebuilds all tables from the objects that the rows of an image name, and releases the free pages. Reserves nothing
   * in the budget.
   * @returns bytes to reserve
   */
  rebuild(image: ArenaRebuild): number {
    const { buffer, byteOffset, byteLength } = this.#zspage;
    const from = byteOffset + (image.descriptors + 1) * ROW_BYTES;
    const end = roundUp(byteOffset + byteLength, PAGE_BYTES); // the table begins on a separate page
    zeroTail(buffer, from, end, this.#pageRelease);
    return this.#runs.rebuild(image.write()) + image.descriptors * ROW_BYTES;
  }

  /**
   * Checks every invariant; throws InvariantError. Cost: all descriptors and owner words.
   * @param locationOf the location in the owner's table
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
      const group = groupOf(cls, state & 0xff);
      const isTail = this.#class[cls * CLASS_WORDS + TAIL] === zspage;
      const list = isTail || group === GROUPS ? undefined : cls * GROUPS + group;
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

  /** Checks the links of every list. Returns the list of each listed zspage. */
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
    const objects = this.#classes.objects[cls]!;
    const isTail = this.#class[cls * CLASS_WORDS + TAIL] === zspage;
    const end = this.#end(row);
    assert(!isTail || used < objects, 'the tail has a free object');
    assert(!isTail || this.#class[cls * CLASS_WORDS + TAIL_END] === end, 'the end of the tail');
    const pages = pagesOf(cls, isTail ? end : objects);
    assert(
      this.#runs.usedPages(this.#zspage[row + PAGE]!, this.#classes.zspagePages[cls]!) ===
        (1 << pages) - 1,
      'all pages of a zspage are used; of the tail, those up to its last object',
    );
    if (cls === this.#classes.fullPage) return used;
    for (let index = 0; index < 32 * BIT_WORDS; index++) {
      const bit = (this.#zspage[row + BITS + (index >>> 5)]! >>> (index & 31)) & 1;
      if (bit === 0) continue;
      assert(index < objects, 'index < objects per zspage');
      const owner = this.#words[this.#ownerWord(zspage, cls, index)]!;
      assert(
        locationOf(owner) === ((zspage << INDEX_SHIFT) | index),
        'locationOf(owner) === location',
      );
    }
    return used;
  }
}
