/** The patterns by which pagers are measured: the same in TypeScript and C, and a run that deviates from them is refused. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { diskFolder } from '../../bench/peers/kernel-swap.ts';
import { referencePager, runPagerProgram } from '../../bench/peers/pager-program.ts';
import { installed } from '../../bench/peers/server.ts';
import { checkPlan, hashOf, parsePhases, patterns, randomPage } from '../../bench/touches.ts';

const plan = {
  regionBytes: 4 * 2 ** 20,
  budgetBytes: 2 ** 20,
  pagesFile: '/nowhere',
  touches: 500,
  seed: 7,
};

const line = (phase: string, more: object = {}): string =>
  JSON.stringify({ phase, pages: 1, wallNs: 1, cpuNs: 1, hash: hashOf(phase, plan), ...more });

test('random pages are spread evenly over the region, whatever its size', () => {
  for (const pages of [1, 3, 1000, 2 ** 21]) {
    const quarters = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) {
      const page = randomPage(42, i, pages);
      assert.ok(Number.isInteger(page) && page >= 0 && page < pages);
      quarters[Math.floor((page / pages) * 4)]!++;
    }
    if (pages >= 1000)
      assert.ok(
        quarters.every((n) => n > 850 && n < 1150),
        quarters.join(),
      );
  }
});

test('another seed, another pattern: another hash', () => {
  const hashes = patterns.map((pattern) => hashOf(pattern, plan));
  const ordered = ['fill-seq', 'seq-read', 'seq-write', 'check'];
  assert.equal(new Set(hashes).size, patterns.length - ordered.length + 1);
  assert.notEqual(hashOf('rand-read', plan), hashOf('rand-read', { ...plan, seed: 9 }));
});

test('a run that omits a pattern, touches other pages, or measures nothing is refused', () => {
  const wanted = ['fill-seq', 'evict'];
  const good = wanted.map((phase) => line(phase));
  assert.equal(parsePhases(good, wanted, plan).length, 2);
  assert.throws(() => parsePhases(good.slice(1), wanted, plan), /requested fill-seq, evict/);
  const astray = [good[0]!, line('evict', { hash: 1 })];
  assert.throws(() => parsePhases(astray, wanted, plan), /evict touched other pages/);
  const idle = [good[0]!, line('evict', { pages: 0 })];
  assert.throws(() => parsePhases(idle, wanted, plan), /evict measured nothing/);
});

test('a plan has full pages, and a budget below its region', () => {
  checkPlan(plan);
  const bad = [
    { regionBytes: 4097 },
    { regionBytes: 2 ** 34 },
    { budgetBytes: 4 * 2 ** 20 },
    { budgetBytes: 4096 },
    { budgetBytes: Number.NaN },
  ];
  for (const part of bad) assert.throws(() => checkPlan({ ...plan, ...part }));
});

const isAble = process.platform === 'linux' && installed('cc');
const skip = isAble ? false : 'needs Linux and a C compiler';

test('the C program touches the pages of the plan, in memory and in a file', {
  skip,
}, async () => {
  const folder = diskFolder();
  try {
    const pagesFile = join(folder, 'pages');
    writeFileSync(pagesFile, Buffer.alloc(3 * 4096, 'corpus'));
    const mine = { ...plan, pagesFile };
    // Without swap no anonymous page can be evicted, which is reported as nothing measured; pages of a file can.
    const inMemory = patterns.filter((pattern) => pattern !== 'evict');
    let pid = 0;
    const command = [referencePager()];
    await runPagerProgram(command, 'anon', inMemory, mine, (child) => {
      pid = child;
    });
    assert.ok(pid > 0);
    const file = join(folder, 'region');
    const inFile = await runPagerProgram(command, file, patterns, mine, () => undefined);
    assert.ok(inFile.every(({ phase, p50Ns }) => (p50Ns === undefined) === (phase === 'evict')));
    await assert.rejects(
      runPagerProgram(['false'], file, patterns, mine, () => undefined),
      /ended with status 1/,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
