/**
 * Pages of numbers: a store with filters before LZ4 compared with one without, on pages of numbers and, to measure the
 * cost of the filters for other data, on the pages of the other benches; then each filter by itself.
 *
 * The store without filters has the same LZ4 engine, declared as another format, for which there are no filters.
 */
import { Budget } from '../src/arena/budget.ts';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES, slot } from '../src/base/units.ts';
import { type CodecFactory, PageFormat } from '../src/codec/codec.ts';
import { KERNEL_SCRATCH_BYTES, loadKernels, PLANES } from '../src/codec/kernels.ts';
import { createMemory } from '../src/codec/linear-memory.ts';
import { lz4 } from '../src/codec/lz4.ts';
import { CounterAt } from '../src/store/results.ts';
import { Store } from '../src/store/store.ts';
import { makeNumericPage, numericKinds } from '../test/support/fixtures/numeric-pages.ts';
import {
  type BenchOptions,
  cpuNs,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import { type PageSet, pageViews } from './page-set.ts';
import { loadPages } from './pages.ts';

/** Pages of each kind of numbers. */
const PAGES = 100;
/** Minimum visits of a class per round: enough for a clock with a resolution of 1 us. */
const VISITS = 2000;
const FILTERS = [1, 2, 3, 4];
const LIMIT = 3072;

const plainLz4: CodecFactory = (memory, kernels) => ({
  ...lz4(memory, kernels),
  format: PageFormat.zstd,
});

/** Pages of one class, and the slots that they have in both stores. */
interface Group {
  readonly name: string;
  readonly pages: readonly Uint8Array[];
  readonly first: number;
}

/** One store's figures of one class: a value per round. */
interface Figures {
  readonly put: number[];
  readonly get: number[];
  kept: number;
  filtered: number;
}

function numericGroups(): Group[] {
  return numericKinds.map((name, k) => ({
    name,
    first: k * PAGES,
    pages: Array.from({ length: PAGES }, (_, n) => {
      const page = new Uint8Array(PAGE_BYTES);
      makeNumericPage(name, new Prng(n), page);
      return page;
    }),
  }));
}

function corpusGroups(corpus: PageSet): Group[] {
  const views = pageViews(corpus);
  let first = 0;
  return corpus.classes.map((name, c) => {
    const group = { name, first, pages: views.filter((_, i) => corpus.classOfPage[i] === c) };
    first += group.pages.length;
    return group;
  });
}

const slotsOf = (groups: readonly Group[]): number =>
  groups.reduce((sum, { pages }) => sum + pages.length, 0);

/** ns per page of `visit` over a group, several times. */
function pass({ pages, first }: Group, visit: (n: number, page: Uint8Array) => void): number {
  const turns = Math.ceil(VISITS / pages.length);
  const start = cpuNs();
  for (let turn = 0; turn < turns; turn++)
    for (let i = 0; i < pages.length; i++) visit(first + i, pages[i]!);
  return (cpuNs() - start) / (turns * pages.length);
}

function measure(store: Store, group: Group, into: Uint8Array, figures: Figures): void {
  for (let i = 0; i < group.pages.length; i++) store.drop(slot(group.first + i));
  const empty = store.counter(CounterAt.storedBytes);
  const filteredEmpty = store.counter(CounterAt.filteredPages);
  figures.put.push(pass(group, (n, page) => void store.put(slot(n), page, 0)));
  figures.get.push(pass(group, (n) => void store.get(slot(n), into, 0)));
  const bytes = group.pages.length * PAGE_BYTES;
  figures.kept = (store.counter(CounterAt.storedBytes) - empty) / bytes;
  figures.filtered = (store.counter(CounterAt.filteredPages) - filteredEmpty) / group.pages.length;
}

function sideBySide(title: string, groups: readonly Group[], options: BenchOptions): Table {
  const stores = [plainLz4, lz4].map(
    (codec) => new Store({ slots: slotsOf(groups), budget: new Budget(0), codec }),
  );
  const figures = stores.map(() =>
    groups.map((): Figures => ({ put: [], get: [], kept: 0, filtered: 0 })),
  );
  const into = new Uint8Array(PAGE_BYTES);
  for (let round = 0; round <= options.rounds; round++) {
    for (const [g, group] of groups.entries())
      for (let k = 0; k < stores.length; k++) {
        const s = (k + round) % stores.length;
        measure(stores[s]!, group, into, figures[s]![g]!);
      }
    // Round 0 warms up.
    if (round === 0)
      for (const { put, get } of figures.flat()) {
        put.length = 0;
        get.length = 0;
      }
  }
  for (const store of stores) store.verify();
  const [plain, own] = figures as [Figures[], Figures[]];
  return {
    title,
    columns: ['pages', 'filtered', 'kept', 'by LZ4', 'put', 'median x', 'get', 'median x '],
    rows: groups.map(({ name }, g) => [
      name,
      own[g]!.filtered.toFixed(2),
      own[g]!.kept.toFixed(3),
      plain[g]!.kept.toFixed(3),
      Math.round(median(own[g]!.put)),
      medianRatio(own[g]!.put, plain[g]!.put),
      Math.round(median(own[g]!.get)),
      medianRatio(own[g]!.get, plain[g]!.get),
    ]),
    notes: [
      `«filtered»: of all pages; «kept»: payload of the pages' bytes. ${ofRounds(options.rounds, 'interleaved')}.`,
      medianRatioNote('a store without filters'),
    ],
  };
}

/** Compressed size and time of LZ4 after each filter, for each kind of page, whichever filter would be picked. */
function oneByOne(options: BenchOptions): Table {
  const memory = createMemory(4 * KERNEL_SCRATCH_BYTES);
  const bytes = new Uint8Array(memory.buffer);
  const kernels = loadKernels(memory);
  const from = KERNEL_SCRATCH_BYTES;
  const block = from + 3 * PAGE_BYTES;
  const rows = numericGroups().map((group) => {
    const cells = [0, ...FILTERS].map((filter) => {
      let kept = 0;
      const lengths: number[] = [];
      const blocks = group.pages.map((page) => {
        bytes.set(page, from);
        if (filter !== 0) kernels.toPlanes(filter, from, PLANES);
        const length = kernels.lz4Compress(filter === 0 ? from : PLANES, block, PAGE_BYTES);
        kept += length || PAGE_BYTES;
        lengths.push(length);
        return bytes.slice(block, block + length);
      });
      const ratio = (kept / PAGES / PAGE_BYTES).toFixed(3);
      const compress: number[] = [];
      const decompress: number[] = [];
      for (let round = 0; round <= options.rounds; round++) {
        compress.push(
          pass(group, (_, page) => {
            bytes.set(page, from);
            if (filter !== 0) kernels.toPlanes(filter, from, PLANES);
            kernels.lz4Compress(filter === 0 ? from : PLANES, block, LIMIT);
          }),
        );
        decompress.push(
          pass(group, (n) => {
            const i = n - group.first;
            bytes.set(blocks[i]!, block);
            kernels.lz4Decompress(block, lengths[i]!, filter === 0 ? from : PLANES);
            if (filter !== 0) kernels.fromPlanes(filter, PLANES, from);
          }),
        );
      }
      const ns = `${Math.round(median(compress.slice(1)))}/${Math.round(median(decompress.slice(1)))}`;
      return kept >= LIMIT * PAGES ? ratio : `${ratio} ${ns}`;
    });
    const picked = FILTERS.map(() => 0);
    for (const page of group.pages) {
      bytes.set(page, from);
      const filter = kernels.pickFilter(from, LIMIT);
      if (filter !== 0) picked[filter - 1]!++;
    }
    return [group.name, ...cells, picked.join(' ')];
  });
  return {
    title: 'numeric: LZ4 after each filter, bytes stored per page, ns to compress/decompress',
    columns: ['pages', 'none', '1 planes 4', '2 planes 8', '3 delta 4', '4 delta 8', 'picked'],
    rows,
    notes: [
      `Without times: more than ${LIMIT} bytes, so it would be stored raw. «picked»: number of the ${PAGES} pages for which filter 1, 2, 3, 4 is picked, with a limit of ${LIMIT} bytes.`,
      `${ofRounds(options.rounds)}. Times include copying the page or block to the memory.`,
    ],
  };
}

export async function numeric(options: BenchOptions): Promise<readonly Table[]> {
  const corpus = await loadPages(options.corpus);
  const others = sideBySide(
    'numeric: other pages, with and without filters',
    corpusGroups(corpus),
    options,
  );
  return [
    sideBySide(
      'numeric: pages of numbers, with and without filters before LZ4',
      numericGroups(),
      options,
    ),
    { ...others, notes: [`Pages: ${corpus.origin}.`, ...(others.notes ?? [])] },
    oneByOne(options),
  ];
}
