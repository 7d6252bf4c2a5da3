/**
 * The size classes: which object sizes exist, and how many pages a zspage of each has.
 *
 * A zspage is a run of 1..12 neighbouring pages cut into equal objects; an object of `size` bytes costs
 * pages x 4096 / objects, tail included. Every size that costs less than all larger ones is a candidate;
 * of those that cost nearly the same only the largest stays, because each class keeps one zspage open and
 * a class nobody needs is memory nobody uses.
 *
 *   12 pages: 1.4 % lost to rounding and tails on heap pages; 8 pages: 1.9 %; 4 pages: 5.1 %.
 *   16 pages would save 0.3 % more and keep twice as much open. (zsmalloc chains up to 8 by default.)
 *
 * Runs are contiguous, so an object is one range of bytes: the codec reads it where it lies. The kernel's
 * zsmalloc chains single pages and pays a copy for objects that cross two of them.
 *
 * Source: Linux mm/zsmalloc.c (size classes, pages per zspage by least waste); the choice here is measured.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';

/** Most pages of a zspage. */
export const ZSPAGE_PAGES_MAX = 12;
/** Most objects of a zspage: a descriptor has a bit for each, in four words. */
export const OBJECTS_MAX = 128;
/** Objects begin at multiples of this, bytes. */
const OBJECT_ALIGN = 8;
/** Largest packed object, bytes. Anything longer is a whole page: class `wholePage`. */
export const OBJECT_BYTES_MAX = 3080;
/** The largest shape: the cheapest that holds OBJECT_BYTES_MAX. */
const SHAPE_BYTES_MAX = 3144;
const OBJECT_BYTES_MIN = 32;
/** Two classes are at least this far apart: bytes, and parts of their cost. */
const STEP_BYTES_MIN = 16;
const STEP_SHARE_MIN = 0.007;

export interface SizeClasses {
  readonly count: number;
  /** Bytes of an object, ascending. The last class is the whole page: 1 page, 1 object, no header. */
  readonly objectBytes: Uint16Array;
  /** Pages of a zspage, 1..12. */
  readonly zspagePages: Uint8Array;
  /** Objects of a zspage, 1..128. */
  readonly objects: Uint8Array;
  /** Class of an object of n bytes, at index ceil(n / 8); n is 1..OBJECT_BYTES_MAX. */
  readonly ofEighths: Uint8Array;
  readonly fullPage: number;
}

interface Shape {
  readonly objectBytes: number;
  readonly pages: number;
  readonly objects: number;
  /** Bytes of RAM an object takes: pages x 4096 / objects. */
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

/** Keeps, from the largest down, each shape that is cheaper than the last kept by a step worth a class. */
function worthAClass(shapes: readonly Shape[]): Shape[] {
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

/** Computes the table; the same on every machine, about a millisecond, once a process. */
export function sizeClasses(): SizeClasses {
  const shapes = worthAClass(cheapestShapes());
  const wholePage = shapes.length;
  shapes.push({ objectBytes: PAGE_BYTES, pages: 1, objects: 1, cost: PAGE_BYTES });
  assert(shapes.length <= 256, 'a class number fits a byte');
  const ofEighths = new Uint8Array(OBJECT_BYTES_MAX / OBJECT_ALIGN + 1);
  let at = 0;
  for (let eighths = 0; eighths < ofEighths.length; eighths++) {
    while ((shapes[at]?.objectBytes ?? 0) < eighths * OBJECT_ALIGN) at++;
    ofEighths[eighths] = at;
  }
  assert(at < wholePage, 'every packed size has a class');
  return {
    count: shapes.length,
    objectBytes: Uint16Array.from(shapes, (s) => s.objectBytes),
    zspagePages: Uint8Array.from(shapes, (s) => s.pages),
    objects: Uint8Array.from(shapes, (s) => s.objects),
    ofEighths,
    fullPage: wholePage,
  };
}
