/**
 * The native calls that begin and end an eviction, on real memory: whichever pages of a batch are refused, each page that
 * is evicting is protected from writes before it is copied, and each that stays can be written.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NativePage } from '../../src/native/layout.ts';
import { NativeResult } from '../../src/os/native-faults.ts';
import { PAGES, Rig, skipUnlessNative } from './rig.ts';

const batches: readonly (readonly [string, readonly number[]])[] = [
  ['neighbours', [0, 1, 2, 3, 4, 5, 6, 7]],
  ['runs', [0, 1, 2, 5, 6, 9, 10, 11, 13]],
  ['every second page', [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]],
];

for (const [name, pages] of batches)
  test(`${name}: whichever pages are refused, the others are protected`, {
    skip: skipUnlessNative,
    timeout: 120_000,
  }, () => {
    const { busy, dirty, evicting } = NativePage;
    const rig = new Rig();
    try {
      for (let round = 0; round < 2 << pages.length; round++) {
        const refused = pages.filter((_, i) => (round >>> (i + 1)) & 1);
        rig.states.fill(dirty);
        for (const page of refused) rig.states[page] = busy; // a fault holds it
        const results = rig.begin(pages, (round & 1) === 1);
        const areProtected = rig.protectedPages();
        const what = `${refused} of ${pages} are held`;
        pages.forEach((page, i) => {
          const isDone = !refused.includes(page);
          assert.equal(results[i], isDone ? NativeResult.done : NativeResult.refused, what);
          assert.equal(rig.states[page], isDone ? evicting : busy, what);
          if (isDone) assert.ok(areProtected[page], `page ${page} is protected; ${what}`);
        });
        for (let page = 0; page < PAGES; page++)
          if (!pages.includes(page))
            assert.ok(!areProtected[page], `page ${page} can be written; ${what}`);
        for (const page of refused) rig.states[page] = dirty; // the fault has been served
        rig.putBack(pages);
        const areStillProtected = rig.protectedPages();
        for (const page of pages) {
          assert.equal(rig.states[page], dirty, 'it stays');
          if (!refused.includes(page))
            assert.ok(!areStillProtected[page], `page ${page} is lifted`);
        }
        rig.lift();
      }
    } finally {
      rig[Symbol.dispose]();
    }
  });

for (const maySpan of [false, true])
  test(`a page that cannot be protected is refused, the pages after it are not; spans: ${maySpan}`, {
    skip: skipUnlessNative,
    timeout: 60_000,
  }, () => {
    const { dirty, evicting } = NativePage;
    const rig = new Rig();
    try {
      // Runs of two pages, and one run of many: eight runs or more are protected as a span.
      for (const pages of [range(0, 12), range(0, 24).filter((page) => page % 3 !== 2)]) {
        rig.states.fill(dirty);
        rig.mapOver(6); // it is not registered any more: the kernel stops there
        const results = rig.begin(pages, maySpan);
        const areProtected = rig.protectedPages();
        pages.forEach((page, i) => {
          assert.equal(results[i], page === 6 ? NativeResult.refused : NativeResult.done);
          assert.equal(rig.states[page], page === 6 ? dirty : evicting);
          assert.equal(areProtected[page], page !== 6, `page ${page}`);
        });
        rig.putBack(pages);
        const areStill = rig.protectedPages();
        for (const page of pages) assert.ok(!areStill[page], `page ${page} can be written`);
      }
    } finally {
      rig[Symbol.dispose]();
    }
  });

test('a write to clean pages lifts the protection of each, whatever lies between them', {
  skip: skipUnlessNative,
  timeout: 60_000,
}, () => {
  const { clean, dirty } = NativePage;
  const rig = new Rig();
  try {
    rig.mapOver(6);
    rig.states.fill(dirty);
    rig.begin(range(0, 6), false);
    rig.begin(range(7, 12), false);
    rig.states.fill(clean, 0, 12);
    rig.setRegionWord('writeAt', 0);
    rig.setRegionWord('writeWindow', 8); // a sequential writer: 16 pages from here
    rig.writeFault(0);
    const areProtected = rig.protectedPages();
    for (let page = 0; page < 12; page++) {
      assert.equal(rig.states[page], dirty);
      assert.ok(!areProtected[page], `page ${page} can be written`);
    }
  } finally {
    rig[Symbol.dispose]();
  }
});

/** Numbers from .. to - 1. */
function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
