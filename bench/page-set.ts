/** Pages with their classes, and views of them. */
import { PAGE_BYTES } from '../src/base/units.ts';

export interface PageSet {
  /** count x 4096 bytes. */
  readonly bytes: Uint8Array;
  readonly classes: readonly string[];
  /** One entry a page: an index of `classes`. */
  readonly classOfPage: Uint8Array;
  /** Where they come from, for the table's note. */
  readonly origin: string;
}

/** Each page as an array of its own, as a caller of the store would hold it. */
export function pageViews(pages: PageSet): Uint8Array[] {
  return Array.from(pages.classOfPage, (_, i) =>
    pages.bytes.slice(i * PAGE_BYTES, (i + 1) * PAGE_BYTES),
  );
}
