/**
 * Rebuilds the tables of an arena from the objects that the rows of an image name.
 *
 *   problemOf(), claim() for each object ▶ write(): choose the tails ▶ used pages ▶ descriptors, lists and counts
 *
 * Nothing in the image is trusted: a location may name any descriptor, and a descriptor any class and page. The tables
 * that follow from the rows (bits, lists, tails, counts, used pages) are not read.
 *
 * The image does not say which zspage of a class was its tail. The one that saves most becomes the tail: its objects
 * end on the earliest page. At most as many pages are then used as before the kill, when at most one zspage of the
 * class had unused pages.
 *
 * Invariants
 * - Before write(), nothing changes but owner words of objects that rows name; no two of these objects overlap.
 * - write() reads only first pages, classes and DESCRIPTORS, and keeps them while rows need them, so it can be killed
 *   and repeated.
 *
 * Cost: 16 bytes per descriptor until the rebuild ends; a few instructions per object.
 */
import { popcount } from '../base/bits.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import {
  type ArenaLayout,
  BIT_WORDS,
  BITS,
  CLASS_TABLE_WORDS,
  CLASS_WORDS,
  classTable,
  DESCRIPTORS,
  FREE_HEAD,
  GROUPS,
  INDEX_MASK,
  INDEX_SHIFT,
  NEXT,
  OBJECT_HEADER_BYTES,
  PAGE,
  ROW_SHIFT,
  STATE,
  TAIL,
  TAIL_END,
  USED_OBJECTS,
  ZSPAGES,
  ZSPAGES_ALL,
} from './layout.ts';
import { CHUNK_PAGES, CHUNK_SHIFT, type RunPages } from './page-runs.ts';
import { linkZspage } from './zspage-lists.ts';
import { endOf, groupOf, pagesOf } from './zspage-shape.ts';

export class ArenaRebuild {
  /** Descriptors in use; -1: the image has an impossible number. */
  readonly descriptors: number;
  /** BIT_WORDS words for each descriptor: the objects that rows name. */
  readonly #bits: Int32Array;
  /** One word per chunk: the pages of runs whose zspage has a claimed object. */
  readonly #run: Int32Array;
  readonly #layout: ArenaLayout;
  readonly #class: Int32Array;
  readonly #zspage: Int32Array;
  readonly #words: Int32Array;

  constructor(buffer: ArrayBuffer, layout: ArenaLayout) {
    this.#layout = layout;
    this.#class = new Int32Array(buffer, layout.classTable, CLASS_TABLE_WORDS);
    const found = this.#class[DESCRIPTORS]!;
    this.descriptors = found >= 0 && found <= layout.pages ? found : -1;
    this.#bits = new Int32Array((Math.max(0, this.descriptors) + 1) * BIT_WORDS);
    this.#run = new Int32Array(layout.pages >>> CHUNK_SHIFT);
    this.#zspage = new Int32Array(buffer, layout.zspageTable, (layout.pages + 1) << ROW_SHIFT);
    this.#words = new Int32Array(buffer);
  }

  /** Returns why the location cannot be an object of `length` payload bytes; empty if it can. */
  problemOf(location: number, length: number): string {
    const zspage = location >>> INDEX_SHIFT;
    if (zspage === 0 || zspage > this.descriptors)
      return `names zspage ${zspage}, which does not exist`;
    const page = this.#zspage[(zspage << ROW_SHIFT) + PAGE]!;
    const cls = this.#classOf(zspage);
    if (cls >= classTable.count) return `names zspage ${zspage} of the unknown class ${cls}`;
    const { firstPage, pages } = this.#layout;
    if (page < firstPage || page + classTable.zspagePages[cls]! > firstPage + pages)
      return `names zspage ${zspage} outside the arena`;
    const index = location & INDEX_MASK;
    if (index >= classTable.objects[cls]!)
      return `names object ${index} of zspage ${zspage}, which has fewer`;
    const isFull = cls === classTable.fullPage;
    const most = isFull ? PAGE_BYTES : classTable.objectBytes[cls]! - OBJECT_HEADER_BYTES;
    return length > most ? `has ${length} bytes in an object of ${most}` : '';
  }

  /** Marks a checked location and writes its owner word. Returns why that is impossible; empty if it succeeded. */
  claim(location: number, owner: number): string {
    const zspage = location >>> INDEX_SHIFT;
    const index = location & INDEX_MASK;
    const word = zspage * BIT_WORDS + (index >>> 5);
    const bit = 1 << (index & 31);
    if ((this.#bits[word]! & bit) !== 0) return 'shares its object with another slot';
    if (this.#end(zspage) === 0 && !this.#claimRun(zspage))
      return `is in zspage ${zspage}, which has the same memory page as another, or crosses chunks`;
    this.#bits[word]! |= bit;
    const cls = this.#classOf(zspage);
    if (cls === classTable.fullPage) return '';
    const words = classTable.objectBytes[cls]! >>> 2;
    const page = this.#zspage[(zspage << ROW_SHIFT) + PAGE]!;
    const at = (page << (PAGE_SHIFT - 2)) + index * words;
    if (this.#words[at] !== owner) this.#words[at] = owner;
    return '';
  }

  /**
   * Rebuilds the tables of the zspages and classes; every unclaimed object is free.
   * @returns the pages of the zspages
   */
  write(): RunPages {
    const tails = this.#tails();
    const used = this.#usedPages(tails);
    // A kill in this method must not lower DESCRIPTORS: the next rebuild reads it.
    this.#class.fill(0, 0, FREE_HEAD);
    this.#class[FREE_HEAD] = 0;
    this.#class[ZSPAGES_ALL] = 0;
    for (let zspage = this.descriptors; zspage > 0; zspage--) this.#write(zspage, tails);
    return { run: this.#run, used };
  }

  #classOf(zspage: number): number {
    return this.#zspage[(zspage << ROW_SHIFT) + STATE]! >>> 8;
  }

  /** Index after the last claimed object of a zspage; 0 = none. */
  #end(zspage: number): number {
    return endOf(this.#bits, zspage * BIT_WORDS);
  }

  /** For each class the zspage whose objects end on the earliest page, if that is not its last page; 0 = none. */
  #tails(): Int32Array {
    const tails = new Int32Array(classTable.count);
    const fewest = Uint8Array.from(classTable.zspagePages);
    for (let zspage = 1; zspage <= this.descriptors; zspage++) {
      const end = this.#end(zspage);
      if (end === 0) continue;
      const cls = this.#classOf(zspage);
      const pages = pagesOf(cls, end);
      if (pages >= fewest[cls]!) continue;
      fewest[cls] = pages;
      tails[cls] = zspage;
    }
    return tails;
  }

  /** Reserves the run of a zspage; false if it shares a page with another zspage, or crosses chunks. */
  #claimRun(zspage: number): boolean {
    const index = this.#zspage[(zspage << ROW_SHIFT) + PAGE]! - this.#layout.firstPage;
    const chunk = index >>> CHUNK_SHIFT;
    const at = index & (CHUNK_PAGES - 1);
    const length = classTable.zspagePages[this.#classOf(zspage)]!;
    const run = ((1 << length) - 1) << at;
    if (at + length > CHUNK_PAGES || (this.#run[chunk]! & run) !== 0) return false;
    this.#run[chunk]! |= run;
    return true;
  }

  #usedPages(tails: Int32Array): Int32Array {
    const { firstPage, pages } = this.#layout;
    const used = new Int32Array(pages >>> CHUNK_SHIFT);
    for (let zspage = 1; zspage <= this.descriptors; zspage++) {
      const end = this.#end(zspage);
      if (end === 0) continue;
      const cls = this.#classOf(zspage);
      const index = this.#zspage[(zspage << ROW_SHIFT) + PAGE]! - firstPage;
      const chunk = index >>> CHUNK_SHIFT;
      const at = index & (CHUNK_PAGES - 1);
      const usedLength = tails[cls] === zspage ? pagesOf(cls, end) : classTable.zspagePages[cls]!;
      used[chunk]! |= ((1 << usedLength) - 1) << at;
    }
    return used;
  }

  #write(zspage: number, tails: Int32Array): void {
    const row = zspage << ROW_SHIFT;
    let used = 0;
    for (let word = 0; word < BIT_WORDS; word++) {
      const set = this.#bits[zspage * BIT_WORDS + word]!;
      this.#zspage[row + BITS + word] = set;
      used += popcount(set);
    }
    if (used === 0) {
      this.#zspage[row + PAGE] = 0;
      this.#zspage[row + STATE] = 0;
      this.#zspage[row + NEXT] = this.#class[FREE_HEAD]!;
      this.#class[FREE_HEAD] = zspage;
      return;
    }
    const cls = this.#classOf(zspage);
    const at = cls * CLASS_WORDS;
    this.#zspage[row + STATE] = (cls << 8) | used;
    this.#class[at + ZSPAGES]!++;
    this.#class[at + USED_OBJECTS]! += used;
    this.#class[ZSPAGES_ALL]!++;
    const group = groupOf(cls, used);
    if (tails[cls] === zspage) {
      this.#class[at + TAIL] = zspage;
      this.#class[at + TAIL_END] = this.#end(zspage);
    } else if (group < GROUPS) linkZspage(this.#class, this.#zspage, zspage, at + group);
  }
}
