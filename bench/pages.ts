/** The pages that benches work on: a corpus file with its classes, or pages made on the spot. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { heapPages } from './heap-pages.ts';
import type { PageSet } from './page-set.ts';

const PAGE_BYTES = 4096;

/**
 * Loads a corpus: FILE of whole pages beside FILE's name with .json, `{classes, classOfPage}` (a digit a page).
 * Without one, pages are taken from the heaps of processes started for that, and made for the other classes.
 */
export async function loadPages(file?: string): Promise<PageSet> {
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
