/**
 * The size classes: the object sizes, and the number of pages in a zspage of each.
 *
 * A zspage is a run of 1..16 contiguous pages divided into equal objects; an object of `size` bytes costs
 * pages x 4096 / objects, tail included. Every size that costs less than all larger ones is a candidate. Of candidates
 * with nearly equal costs, only the largest is kept, because each class has a tail whose last page is partly used.
 *
 *   12 pages: 1.5 % lost to rounding and unused bytes after the last object on heap pages; 16 pages: 1.4 %; 8 pages: 2.0 %.
 *   (zsmalloc chains up to 8 by default.)
 *
 * Runs are contiguous, so an object is one byte range that the codec reads in place. The kernel's zsmalloc chains
 * single pages and copies objects that cross a page boundary.
 *
 * Source: Linux mm/zsmalloc.c (size classes, pages per zspage by least waste); the classes here are measured.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';

/** Maximum pages per zspage. */
export const ZSPAGE_PAGES_MAX = 16;
/** Maximum objects per zspage: a descriptor has a bit for each, in four words. */
export const OBJECTS_MAX = 128;
/** Objects begin at multiples of this, bytes. */
const OBJECT_ALIGN = 8;
/** Largest object of a compressed page, bytes. Longer ones are stored as full pages, class `fullPage`. */
export const OBJECT_BYTES_MAX = 3080;
/** Largest shape, bytes: the cheapest one with space for OBJECT_BYTES_MAX. */
const SHAPE_BYTES_MAX = 3120;
const OBJECT_BYTES_MIN = 32;
/** Minimum distance of two classes: bytes, and share of the cost. */
const STEP_BYTES_MIN = 16;
const STEP_SHARE_MIN = 0.009;

export interface SizeClasses {
  readonly count: number;
  /** Object size, bytes, ascending. The last class is the full page: 1 page, 1 object, no header. */
  readonly objectBytes: Uint16Array;
  /** Pages per zspage, 1..16. */
  readonly zspagePages: Uint8Array;
  /** Objects per zspage, 1..128. */
  readonly objects: Uint8Array;
  /** Class of an object of n bytes at index ceil(n / 8), n = 1..OBJECT_BYTES_MAX. */
  readonly ofEighths: Uint8Array;
  /** The last class: full pages. */
  readonly fullPage: number;
}

interface Shape {
  readonly objectBytes: number;
  readonly pages: number;
  readonly objects: number;
  /** Bytes of RAM per object: pages x 4096 / objects. */
  readonly cost: number;
}

/** The cheapest shape for each object size, ascending by size. */
function cheapestShapes(): Shape[] {
  const bySize = new Map<number, Shape>();
  for (let pages = 1; pages <= ZSPAGE_PAGES_MAX; pages++) {
    const zspageBytes = pages * PAGE_BYTES;
    for (let objects = 1; objects <= OBJECTS_MAX; objects++) {
      const objectBytes = Math.floor(zspageBytes / objects / OBJECT_ALIGN) * OBJECT_ALIGN;
      if (objectBytes < OBJECT_BYTES_MIN) break;
      if (objectBytes > SHAPE_BYTES_MAX) continue;
      const cost = zspageBytes / objects;
      const known = bySize.get(objectBytes);
      if (known === undefined || cost < known.cost)
        bySize.set(objectBytes, { objectBytes, pages, objects, cost });
    }
  }
  return [...bySize.values()].sort((a, b) => a.objectBytes - b.objectBytes);
}

/** Selects classes from the largest shape down; each must be cheaper than the previous one by the minimum distance. */
function selectClasses(shapes: readonly Shape[]): Shape[] {
  const kept: Shape[] = [];
  let last = Number.POSITIVE_INFINITY;
  for (const shape of [...shapes].reverse()) {
    const step = Math.max(STEP_BYTES_MIN, STEP_SHARE_MIN * shape.cost);
    if (kept.length > 0 && last - shape.cost < step) continue;
    kept.push(shape);
    last = shape.cost;
  }
  return kept.reverse();
}

/** Computes the table, the same on every machine. Cost: about 1 ms, once per process. */
export function sizeClasses(): SizeClasses {
  const shapes = selectClasses(cheapestShapes());
  const fullPage = shapes.length;
  shapes.push({ objectBytes: PAGE_BYTES, pages: 1, objects: 1, cost: PAGE_BYTES });
  assert(shapes.length <= 256, 'classes <= 256');
  const ofEighths = new Uint8Array(OBJECT_BYTES_MAX / OBJECT_ALIGN + 1);
  let at = 0;
  for (let eighths = 0; eighths < ofEighths.length; eighths++) {
    while ((shapes[at]?.objectBytes ?? 0) < eighths * OBJECT_ALIGN) at++;
    ofEighths[eighths] = at;
  }
  assert(at < fullPage, 'every compressed size has a class below fullPage');
  return {
    count: shapes.length,
    objectBytes: Uint16Array.from(shapes, (s) => s.objectBytes),
    zspagePages: Uint8Array.from(shapes, (s) => s.pages),
    objects: Uint8Array.from(shapes, (s) => s.objects),
    ofEighths,
    fullPage,
  };
}
