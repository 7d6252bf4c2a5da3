/** The pages that benches run over: a corpus file where there is one, made pages otherwise. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES } from '../src/base/units.ts';
import { kinds, makePage } from '../test/kernels/made-pages.ts';

export interface Pages {
  /** The pages, one behind the other. */
  readonly bytes: Uint8Array;
  readonly classes: readonly string[];
  /** For each page its class, an index of `classes`. */
  readonly classOfPage: Uint8Array;
}

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const usualCorpus = join(root, '../shared/corpus/pages-train.bin');

/** @param corpus a file of pages, with a .json of `classes` and `classOfPage` (digits) beside it */
export function loadPages(corpus?: string): Pages {
  if (corpus !== undefined) return loadCorpus(corpus);
  return existsSync(usualCorpus) ? loadCorpus(usualCorpus) : makeAll(100);
}

interface CorpusFacts {
  readonly classes: readonly string[];
  readonly classOfPage: string;
}

function loadCorpus(path: string): Pages {
  const facts = JSON.parse(readFileSync(path.replace(/\.bin$/, '.json'), 'utf8')) as CorpusFacts;
  return {
    bytes: readFileSync(path),
    classes: facts.classes,
    classOfPage: Uint8Array.from(facts.classOfPage, Number),
  };
}

function makeAll(count: number): Pages {
  const prng = new Prng(1);
  const bytes = new Uint8Array(kinds.length * count * PAGE_BYTES);
  const classOfPage = Uint8Array.from({ length: kinds.length * count }, (_, i) => i % kinds.length);
  for (const [i, kind] of classOfPage.entries())
    bytes.set(makePage(kinds[kind]!, prng), i * PAGE_BYTES);
  return { bytes, classes: kinds, classOfPage };
}
