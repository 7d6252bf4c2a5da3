/** The pages that benches work on: a corpus file with its classes, or pages made on the spot. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { heapPages } from './heap-pages.ts';

const PAGE_BYTES = 4096;

export interface Pages {
  /** count x 4096 bytes. */
  readonly bytes: Uint8Array;
  readonly classes: readonly string[];
  /** One entry a page: an index of `classes`. */
  readonly classOfPage: Uint8Array;
  /** Where they come from, for the table's note. */
  readonly origin: string;
}

/** Each page as an array of its own, as a caller of the store would hold it. */
export function pageViews(pages: Pages): Uint8Array[] {
  return Array.from(pages.classOfPage, (_, i) =>
    pages.bytes.slice(i * PAGE_BYTES, (i + 1) * PAGE_BYTES),
  );
}

/**
 * Loads a corpus: FILE of whole pages beside FILE's name with .json, `{classes, classOfPage}` (a digit a page).
 * Without one, pages are taken from the heaps of processes started for that, and made for the other classes.
 */
export async function loadPages(file?: string): Promise<Pages> {
  const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
  const path = file ?? join(root, '../shared/corpus/pages-train.bin');
  if (!existsSync(path)) {
    if (file !== undefined) throw new Error(`no corpus at ${file}`);
    return await heapPages();
  }
  const bytes = new Uint8Array(readFileSync(path));
  const described = path.replace(/\.bin$/, '.json');
  const count = Math.floor(bytes.length / PAGE_BYTES);
  if (!existsSync(described)) {
    const classOfPage = new Uint8Array(count);
    return { bytes, classes: ['file'], classOfPage, origin: `${count} pages of a file` };
  }
  const { classes, classOfPage } = JSON.parse(readFileSync(described, 'utf8')) as {
    classes: string[];
    classOfPage: string;
  };
  return {
    bytes,
    classes,
    classOfPage: Uint8Array.from(classOfPage, (digit) => Number(digit)),
    origin: `a corpus of ${count} pages`,
  };
}
