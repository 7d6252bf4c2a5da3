/**
 * The cost of a store whose memory is a file on tmpfs (--persist), compared with one in anonymous memory: the same commands on both, in
 * turns. The first puts touch new memory; later ones reuse it. And how long it takes to adopt an image.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Budget } from '../src/arena/budget.ts';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES, slot as slotOf } from '../src/base/units.ts';
import { DiskImage } from '../src/host/disk-image.ts';
import { systemPageRelease } from '../src/os/linux/page-release.ts';
import { Store } from '../src/store/store.ts';
import { madePage, type PageKind } from '../test/support/fixtures/pages.ts';
import { type BenchOptions, cpuNs, median, medianRatio, ofRounds, type Table } from './measure.ts';

const SLOTS = 16_384;
const kinds: readonly PageKind[] = ['text', 'records', 'cut', 'int12', 'random'];
const pages = Array.from({ length: 256 }, (_, n) => madePage(kinds[n % kinds.length]!, n));
const words = Array.from({ length: 256 }, (_, n) => madePage('word64', n));
const target = new Uint8Array(PAGE_BYTES);

const commands: readonly [name: string, run: (store: Store, round: number) => void][] = [
  ['put, new memory', (store) => each((n) => store.put(slotOf(n), pages[n % 256]!, 0))],
  ['get', (store) => each((n) => store.get(slotOf(n), target, 0))],
  [
    'put, other pages',
    (store, round) => each((n) => store.put(slotOf(n), pages[(n * 7 + round) % 256]!, 0)),
  ],
  ['put, one word', (store) => each((n) => store.put(slotOf(n), words[n % 256]!, 0))],
  ['put, used memory', (store) => each((n) => store.put(slotOf(n), pages[n % 256]!, 0))],
  ['drop', (store) => each((n) => store.drop(slotOf(n)))],
  ['release, per page put', (store) => store.releaseAll()],
];

/** Runs a command for each slot, in random order. */
const order = Int32Array.from({ length: SLOTS }, (_, n) => n);
const prng = new Prng(1);
for (let n = SLOTS - 1; n > 0; n--) {
  const other = prng.below(n + 1);
  [order[n], order[other]] = [order[other]!, order[n]!];
}
function each(run: (slot: number) => void): void {
  for (let n = 0; n < SLOTS; n++) run(order[n]!);
}

function timed(run: () => void): number {
  const start = cpuNs();
  run();
  return (cpuNs() - start) / SLOTS;
}

export async function persist({ rounds }: BenchOptions): Promise<Table[]> {
  const folder = mkdtempSync('/dev/shm/frontswap-bench-');
  const path = join(folder, 'a.img');
  const header = {
    sizeBytes: SLOTS * PAGE_BYTES,
    generation: '00000000',
    settings: '',
    backing: '',
  };
  const image = DiskImage.create(path, header);
  const release = systemPageRelease(process.platform);
  const open = (images?: DiskImage): Store =>
    new Store({ slots: SLOTS, budget: new Budget(0), release, images });
  const stores = [open(), open(image)];
  const times = commands.map(() => [[], []] as [number[], number[]]);
  for (let round = 0; round <= rounds; round++)
    commands.forEach(([, run], i) => {
      const turn = round % 2 === 0 ? [0, 1] : [1, 0];
      for (const which of turn) {
        const ns = timed(() => run(stores[which]!, round));
        if (round > 0) times[i]![which]!.push(ns); // round 0 warms up
      }
    });
  const rows = commands.map(([name], i) => {
    const [anonymous, file] = times[i]!;
    return [name, median(anonymous), median(file), medianRatio(file, anonymous)];
  });
  stores[1]!.dropRange(slotOf(0), SLOTS);
  each((n) => stores[1]!.put(slotOf(n), pages[n % 256]!, 0));
  image[Symbol.dispose]();
  const adoptions: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    using again = DiskImage.open(path, true);
    const ns = timed(() => open(again));
    if (round > 0) adoptions.push(ns);
  }
  rmSync(folder, { recursive: true });
  return [
    {
      title: 'persist: a store in a file on tmpfs, ns of processor time per page',
      columns: ['command', 'anonymous memory', 'file', 'median x'],
      rows,
      notes: [
        `${SLOTS} pages of text, records, noise and numbers, in random order. ${ofRounds(rounds, 'interleaved')}.`,
      ],
    },
    {
      title: 'persist: adopting an image, ns of processor time per page',
      columns: ['pages', 'ns per page'],
      rows: [[String(SLOTS), median(adoptions)]],
      notes: ['With the checksum of every page, and verify().'],
    },
  ];
}
