/**
 * A program whose stored pages are damaged, whose disk is full or whose fault thread fails; damage.test.ts runs it and
 * checks how it ends.
 *
 *   node damage.js MODE FILE
 */
import { openSync, truncateSync, writeSync } from 'node:fs';
import { openSwap } from '../../../src/index.ts';
import { Caller } from '../../../src/memory/caller.ts';
import { type CallOp, ControlBlock } from '../../../src/memory/control-block.ts';
import type { SwapRegion } from '../../../src/memory/region.ts';
import { loadLinux } from '../../../src/os/linux/system-call.ts';
import { Errno } from '../../native/failures.ts';
import { DAMAGED, isNoise, KEPT, noise, overwrite, PAGES } from '../noise.ts';
import { damageStored } from '../stored-bytes.ts';
import { failuresOf } from '../stress-failures.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const [, , mode = '', path = ''] = process.argv;

const page = (region: SwapRegion, number: number): Uint8Array =>
  new Uint8Array(region.buffer, number * PAGE, PAGE);

function filled(
  pages: number,
  limitBytes: number,
  hasFile: boolean,
): { swap: ReturnType<typeof openSwap>; region: SwapRegion } {
  const swap = openSwap({
    frontswap: { limitBytes },
    devices: hasFile ? [{ kind: 'file', path, sizeBytes: 8 * MiB, keep: true }] : [],
  });
  const region = swap.map({ bytes: pages * PAGE, residentBytes: MiB / 2 });
  for (let i = 0; i < pages; i++) page(region, i).set(noise(i));
  return { swap, region };
}

function check(isSo: boolean, claim: string): void {
  if (isSo) return;
  process.stderr.write(`the child expected: ${claim}\n`);
  process.exit(9);
}

/** Evicts all pages but one, does the damage, checks that the resident page is intact, then accesses a damaged page. */
function touchDamaged(
  hasFile: boolean,
  damage: (control: SharedArrayBuffer) => void,
  others: readonly number[],
): void {
  const { swap, region } = filled(PAGES, hasFile ? MiB : 64 * MiB, hasFile);
  region.evict();
  check(!hasFile || swap.stats().devicePages > PAGES / 2, 'most pages are in the file');
  check(isNoise(page(region, KEPT), KEPT), 'a page is swapped in before the damage');
  damage(swap.control!);
  check(isNoise(page(region, KEPT), KEPT), 'a page that is in memory is fine');
  for (const other of others) check(isNoise(page(region, other), other), `page ${other} is fine`);
  process.stdout.write('others fine\n');
  page(region, DAMAGED)[5];
  process.stdout.write('touched\n');
}

const caller = (control: SharedArrayBuffer): Caller =>
  new Caller(loadLinux().linux!, new ControlBlock(loadLinux().linux!, control));

const modes: Readonly<Record<string, () => void>> = {
  truncated: () => touchDamaged(true, () => truncateSync(path, PAGE), []),
  'truncated, where calls fail': () => {
    const calls = ['poison', 'wake', 'copy', 'pread'] as const;
    touchDamaged(
      true,
      (control) => {
        truncateSync(path, PAGE);
        for (const call of calls) failuresOf(control).set(call, Errno.ENOMEM, 2);
      },
      [],
    );
  },
  overwritten: () => touchDamaged(true, () => overwrite(path), []),
  damaged: () =>
    touchDamaged(
      false,
      () => check(damageStored(noise(DAMAGED).subarray(0, 64)) === 1, 'the page is found once'),
      // Neighbours first: a swap-in window ends before the damaged page, so reading ahead raises no SIGBUS.
      Array.from({ length: PAGES }, (_, i) => i).filter((i) => i !== DAMAGED),
    ),
  'given to a system call': () => {
    const { region } = filled(PAGES, MiB, true);
    region.evict();
    truncateSync(path, PAGE);
    const copy = openSync(`${path}.copy`, 'w');
    try {
      writeSync(copy, page(region, DAMAGED));
      check(false, 'the page cannot be written to a file');
    } catch (error) {
      process.stdout.write(`${(error as NodeJS.ErrnoException).code}\n`);
    }
    region.evict(); // statistics are those of the last call
    check(region.stats().lostPages === 1, 'one page is lost');
    region.discard({ offset: DAMAGED * PAGE, length: PAGE });
    check(region.stats().lostPages === 0, 'the lost page is discarded');
    check(
      page(region, DAMAGED).every((byte) => byte === 0),
      'it is zeros',
    );
    page(region, DAMAGED).set(noise(DAMAGED));
    region.evict();
    check(isNoise(page(region, DAMAGED), DAMAGED), 'it can be used again');
    process.stdout.write('zeros\n');
  },
  'impossible call': () => {
    const { swap, region } = filled(PAGES, 64 * MiB, false);
    caller(swap.control!).call(99 as CallOp, region.handle.id, 0, 1);
  },
  full: () => {
    const pages = 4 * PAGES;
    const { swap, region } = filled(pages, MiB, true);
    region.evict();
    const { devicePages, overBudget, refused } = swap.stats();
    const { residentBytes, lostPages } = region.stats();
    check(devicePages > 0 && devicePages < pages / 2, 'some pages are in the file');
    check(overBudget > 0, 'the budget was exceeded');
    check(refused > 0, 'pages were refused');
    check(residentBytes > pages * PAGE * 0.5, 'pages that every tier refused are resident');
    check(lostPages === 0, 'nothing is lost');
    for (let i = 0; i < pages; i++) check(isNoise(page(region, i), i), `page ${i} is fine`);
    region.discard({ offset: 0, length: (pages / 2) * PAGE });
    const out = region.evict();
    check(out > 0, 'discarding pages makes space again');
    for (let i = 0; i < pages; i++) {
      const isAsItWas = i < pages / 2 ? page(region, i)[0] === 0 : isNoise(page(region, i), i);
      check(isAsItWas, `page ${i} is intact after others were discarded`);
    }
    process.stdout.write('nothing lost\n');
  },
};

modes[mode]?.();
