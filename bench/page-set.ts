/** A set of pages, each with its class. */
import { PAGE_BYTES } from '../src/base/units.ts';

export interface PageSet {
  /** count x 4096 bytes. */
  readonly bytes: Uint8Array;
  readonly classes: readonly string[];
  /** By page: index into `classes`. */
  readonly classOfPage: Uint8Array;
  /** Their source, for the note of a table. */
  readonly origin: string;
}

/** One array per page, as a caller of the store passes it. */
export function pageViews(pages: PageSet): Uint8Array[] {
  return Array.from(pages.classOfPage, (_, i) =>
    pages.bytes.slice(i * PAGE_BYTES, (i + 1) * PAGE_BYTES),
  );
}
