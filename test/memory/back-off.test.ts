/**
 * When no tier takes pages, the pager stops trying for a while. The tests count wasted compressions instead of
 * measuring time: each put to the store compresses one page.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { type TestContext, test } from 'node:test';
import { FrameMemory } from '../../src/memory/frame-memory.ts';
import type { DeviceOptions } from '../../src/memory/swap-file.ts';
import { Tiers } from '../../src/memory/tiers.ts';
import { FRAME_COUNT } from '../../src/pager/loader.ts';
import { Touch } from '../../src/pager/ops.ts';
import type { Region } from '../../src/pager/region.ts';
import { ResidentSet } from '../../src/pager/resident-set.ts';
import { CounterAt } from '../../src/store/results.ts';
import { isNoise, noise } from './noise.ts';

const PAGE = 4096;
const PAGES = 4096; // more than the pager scans for pages that need no compression
const LIMIT = 512;
const ROUNDS = 10 * PAGES;
type Content = (page: number) => Uint8Array;

/** Compresses to a few hundred bytes. */
const text: Content = (page) =>
  Uint8Array.from({ length: PAGE }, (_, i) => (i % 16 === 0 ? page * 31 + i : page));
/** Compresses to a third: a store accepts some three thousand of them per 4 MiB. */
const third: Content = (page) => noise(page).fill(0, 1365);

/** A region whose memory has a frame for every page, over the tiers of a program. */
class Rig {
  readonly tiers: Tiers;
  readonly region: Region;
  readonly #memory: FrameMemory;
  readonly #bytes: Uint8Array;

  constructor(limitBytes: number, devices: readonly DeviceOptions[] = []) {
    const frames = new Uint8Array(FRAME_COUNT * PAGE);
    this.tiers = new Tiers({ limitBytes, devices }, { frames }, true);
    this.#memory = new FrameMemory(PAGES, PAGES + 64, frames);
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.region = this.tiers.pager.add(this.#memory, new ResidentSet(LIMIT));
  }

  /** One step of the fault thread: a fault, if the page is not resident, and one pass of background work. */
  touch(page: number, content: Content | null): void {
    const isHere = this.#memory.frameOf[page] !== 0;
    const isWrite = content !== null;
    if (!isHere || (isWrite && this.#memory.writable[page] === 0)) {
      const touch = isHere ? Touch.write | Touch.protected : isWrite ? Touch.write : Touch.read;
      this.tiers.pager.fault(this.region, page, touch);
    }
    if (content !== null) this.bytes(page).set(content(page));
    this.tiers.pager.background();
    this.tiers.maintain(1);
  }

  bytes(page: number): Uint8Array {
    const at = (this.#memory.frameOf[page]! - 1) * PAGE;
    return this.#bytes.subarray(at, at + PAGE);
  }

  fill(content: Content): void {
    for (let page = 0; page < PAGES; page++) this.touch(page, content);
  }

  /** Reads pages at random; returns the number of faults. */
  churn(rounds: number, content: Content | null = null): number {
    const before = this.tiers.pager.counters.get('faults');
    let state = 1;
    for (let i = 0; i < rounds; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      this.touch(state % PAGES, content);
    }
    return this.tiers.pager.counters.get('faults') - before;
  }

  /** Compressions whose page was refused. */
  get refused(): number {
    return (
      this.tiers.counter(CounterAt.refusedIncompressible) +
      this.tiers.counter(CounterAt.refusedByLimit)
    );
  }

  /** All compressions, those of accepted pages included. */
  get packed(): number {
    return this.refused + this.tiers.pager.counters.get('pagesOut');
  }
}

function file(t: TestContext, sizeBytes: number): DeviceOptions {
  const folder = mkdtempSync(`${tmpdir()}/frontswap-back-off-`);
  t.after(() => rmSync(folder, { recursive: true }));
  return { kind: 'file', path: `${folder}/swap`, sizeBytes };
}

test('incompressible pages are compressed once, and few of them are retried', () => {
  const rig = new Rig(0);
  const half: Content = (page) => (page % 2 === 0 ? text(page) : noise(page));
  rig.fill(half);
  rig.churn(PAGES);
  const once = rig.packed;
  assert.ok(once <= 2 * PAGES, `${once} compressions for ${PAGES} pages`);
  const faults = rig.churn(ROUNDS);
  assert.ok(faults > PAGES, `${faults} faults`);
  assert.ok(rig.packed - once < PAGES / 4, `${rig.packed - once} more in ${faults} faults`);
  assert.ok(rig.region.resident < LIMIT + PAGES / 2, `${rig.region.resident} stayed`);
  for (let page = 1; page < PAGES; page += 2) assert.ok(isNoise(rig.bytes(page), page));
  rig.tiers.pager.verify();
});

test('incompressible pages are evicted once they compress', () => {
  const rig = new Rig(0);
  rig.fill(noise);
  assert.ok(rig.region.resident > PAGES - 8, 'all of them stay resident');
  for (let page = 0; page < PAGES; page++) rig.bytes(page).set(text(page));
  for (let i = 0; i < 2000; i++) rig.tiers.pager.background(true);
  assert.ok(rig.region.resident <= LIMIT, `${rig.region.resident} are still resident`);
  rig.tiers.pager.verify();
});

test('over a full store that is only read, compression attempts stop', () => {
  const rig = new Rig(2 ** 21);
  rig.fill(third);
  rig.churn(PAGES);
  const once = rig.packed;
  const { resident } = rig.region;
  assert.ok(once <= 2 * PAGES, `${once} compressions for ${PAGES} pages`);
  const faults = rig.churn(ROUNDS);
  assert.ok(faults > PAGES, `${faults} faults`);
  assert.ok(rig.packed - once < PAGES / 4, `${rig.packed - once} more in ${faults} faults`);
  const grown = rig.region.resident - resident;
  assert.ok(grown < 64, `stored pages stay stored: ${grown} more in memory`);
  rig.tiers.pager.verify();
});

test('over a full store that is written, nearly all compressed pages are accepted', () => {
  const rig = new Rig(2 ** 21);
  rig.fill(third);
  rig.churn(ROUNDS, third);
  const { refused, packed } = rig;
  assert.ok(packed > 2 * PAGES, 'freed slots are used');
  assert.ok(refused < PAGES / 8 + packed / 8, `${refused} of ${packed} were refused`);
  rig.tiers.pager.verify();
});

test('over a full store and a full file, compression attempts stop', (t) => {
  const rig = new Rig(2 ** 20, [file(t, 2 ** 20)]);
  using _tiers = rig.tiers;
  rig.fill(third);
  rig.churn(PAGES);
  const once = rig.refused;
  const faults = rig.churn(ROUNDS);
  assert.ok(faults > PAGES, `${faults} faults`);
  assert.ok(rig.refused - once < PAGES / 2, `${rig.refused - once} refused in ${faults} faults`);
  rig.tiers.pager.verify();
});

test('a store that was full is tried again as soon as it has free space', () => {
  const rig = new Rig(2 ** 21);
  rig.fill(third);
  rig.churn(ROUNDS);
  const { region, tiers } = rig;
  for (let page = 0; page < PAGES; page++)
    if (!region.isResident(page)) tiers.pager.discard(region, page, page + 1);
  const before = tiers.pager.counters.get('pagesOut');
  for (let i = 0; i < 64; i++) tiers.pager.background();
  assert.ok(tiers.pager.counters.get('pagesOut') - before > 100, 'pages are swapped out again');
  tiers.pager.verify();
});
