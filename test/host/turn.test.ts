/** The host's own work on disks leaves turns of the event loop to others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import { type Disk, Extent } from '../../src/block/ops.ts';
import { copyPages, hasStored } from '../../src/host/copy-pages.ts';
import type { SwapDisk } from '../../src/host/parts.ts';
import { compactForTurn, emptyDisk } from '../../src/host/turn.ts';

const MIB = 1024 * 1024;
const timeout = 30_000;
/** Work of one call, ms: longer than a turn. */
const SLOW_MS = 2;

function work(): void {
  const endMs = performance.now() + SLOW_MS;
  while (performance.now() < endMs);
}

/** Counts the turns of the event loop until `run` has ended. */
async function turnsDuring(run: Promise<unknown>): Promise<number> {
  let isOver = false;
  const ended = run.finally(() => {
    isOver = true;
  });
  let turns = 0;
  while (!isOver) {
    await nextTurn();
    turns++;
  }
  await ended;
  return turns;
}

/** A disk that is all of one kind, and whose every search for pages is slow. */
function slowSearches(
  sizeBytes: number,
  kind: Extent,
): { readonly disk: Disk; readonly searches: () => number } {
  const next = new MemoryDisk(sizeBytes);
  let searches = 0;
  const disk: Disk = {
    sizeBytes: next.sizeBytes,
    limits: next.limits,
    readOnly: false,
    synchronous: true,
    submit: (bio) => next.submit(bio),
    tick: () => next.tick(),
    extents: (_offset, length, sink) => {
      searches++;
      work();
      sink(kind, length);
    },
  };
  return { disk, searches: () => searches };
}

test('a search for pages is divided into turns', { timeout }, async () => {
  const { disk, searches } = slowSearches(256 * MIB, Extent.hole);
  let found: boolean | null = null;
  const turns = await turnsDuring(
    hasStored(disk, 64 * MIB).then((isFound) => {
      found = isFound;
    }),
  );
  assert.equal(found, false);
  assert.ok(searches() > 4, `${searches()} searches`);
  assert.ok(turns >= searches() - 1, `${turns} turns of ${searches()} searches`);
});

test('a copy of pages is divided into turns', { timeout }, async () => {
  const { disk, searches } = slowSearches(MIB, Extent.data);
  const target = new MemoryDisk(MIB);
  const turns = await turnsDuring(copyPages(disk, target, () => false));
  assert.ok(searches() > 8, `${searches()} searches`);
  assert.ok(turns >= searches() / 2 - 1, `${turns} turns of ${searches()} searches`);
});

test('a disk is emptied and compacted in turns', { timeout }, async () => {
  let [drops, compactions] = [0, 0];
  const disk = {
    sizeBytes: 64 * MIB,
    dropPages: () => {
      drops++;
      work();
    },
    compactIdle: () => {
      compactions++;
      work();
      return compactions < 8;
    },
  } as unknown as SwapDisk;
  const turns = await turnsDuring(emptyDisk(disk));
  assert.ok(drops > 8, `${drops} drops`);
  assert.ok(turns >= drops + compactions - 2, `${turns} turns, ${drops} drops`);
  compactions = 0;
  assert.equal(compactForTurn(disk), true);
  assert.equal(compactions, 1);
});
