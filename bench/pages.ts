/** The pages of the benches: a corpus file with its classes, or pages taken from live heaps. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { heapPages } from './heap-pages.ts';
import type { PageSet } from './page-set.ts';

const PAGE_BYTES = 4096;

/**
 * Loads a corpus: FILE has full pages; FILE with .json instead of .bin has `{classes, classOfPage}`, one digit per page.
 * Without a corpus it starts processes and reads their heaps, and generates the other classes.
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
