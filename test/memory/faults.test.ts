/** How faults are served: openSwap({ faults }), FRONTSWAP_FAULTS, and what the swap reports about it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import type { FaultsMode } from '../../src/memory/memory-swap.ts';
import { openSwap } from '../../src/memory/open-swap.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';
import { isNoise, noise } from './noise.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const index = new URL('../../src/index.js', import.meta.url).href;
const options = { skip: skipUnlessPaging || loadNativeFaults().reason || false, timeout: 60_000 };

for (const faults of ['javascript', 'thread', 'signal', 'memfd'] as const)
  test(
    `${faults}: swap.faults is '${faults}', and evicted pages are swapped in unchanged`,
    options,
    () => {
      using swap = openSwap({ faults });
      assert.equal(swap.faults, faults);
      const region = swap.map({ bytes: 8 * MiB, residentBytes: MiB });
      const page = (i: number): Uint8Array => new Uint8Array(region.buffer, i * PAGE, PAGE);
      for (let i = 0; i < 2048; i++) page(i).set(noise(i % 7).fill(0, 1024));
      region.evict();
      assert.ok(region.stats().pageOuts > 1024);
      for (let i = 0; i < 2048; i++)
        assert.deepEqual(page(i), new Uint8Array(noise(i % 7).fill(0, 1024)), `page ${i}`);
      page(3).set(noise(3));
      region.evict();
      assert.ok(isNoise(page(3), 3));
    },
  );

for (const faults of ['thread', 'signal'] as const)
  test(`${faults}: pages locked by mlock() stay resident, the others are evicted`, options, () => {
    const linux = loadLinux().linux!;
    using swap = openSwap({ faults });
    const region = swap.map({ bytes: 4 * MiB, residentBytes: MiB });
    const page = (i: number): Uint8Array => new Uint8Array(region.buffer, i * PAGE, PAGE);
    for (let i = 0; i < 1024; i++) page(i).set(noise(i).fill(0, 1024));
    const locked = { offset: 500 * PAGE, length: 10 * PAGE };
    const address = linux.addressOf(page(500));
    const pinned = region.pin(locked);
    const mlock = linux.bind('int mlock(uintptr_t address, size_t bytes)');
    const munlock = linux.bind('int munlock(uintptr_t address, size_t bytes)');
    assert.equal(mlock(address, locked.length), 0);
    pinned[Symbol.dispose]();
    for (let i = 495; i < 515; i++) page(i)[7] = 7; // dirty, on both sides of the locked ones
    region.evict();
    assert.equal(region.stats().residentBytes, locked.length);
    for (let i = 495; i < 515; i++) assert.equal(page(i)[7], 7, `page ${i}`);
    assert.equal(munlock(address, locked.length), 0);
    region.evict();
    assert.equal(region.stats().residentBytes, 0);
    for (let i = 0; i < 1024; i++) {
      const expected = noise(i).fill(0, 1024);
      if (i >= 495 && i < 515) expected[7] = 7;
      assert.deepEqual(page(i), expected, `page ${i}`);
    }
  });

/** Opens a swap with `sameCore`, faults, and prints how many threads may run on one processor only. */
const pinnedThreads = (faults: FaultsMode): string => `
  import { readdirSync, readFileSync } from 'node:fs';
  import { openSwap } from ${JSON.stringify(index)};
  const swap = openSwap({ faults: '${faults}', sameCore: true });
  const region = swap.map({ bytes: 2 ** 23, residentBytes: 2 ** 20 });
  new Uint8Array(region.buffer).fill(7);
  const statuses = readdirSync('/proc/self/task').map((t) => readFileSync('/proc/self/task/' + t + '/status', 'utf8'));
  console.log(statuses.filter((s) => /^Cpus_allowed_list:\\s*\\d+$/m.test(s)).length);
  process.exit(0);
`;

for (const [faults, pinned] of [
  ['javascript', 2],
  ['thread', 2],
  ['signal', 1],
] as const)
  test(`${faults}: with sameCore, only the threads that fault and serve share a processor`, {
    ...options,
    skip: options.skip || (availableParallelism() < 2 && 'one processor'),
  }, async () => {
    const args = ['--input-type=module', '--eval', pinnedThreads(faults)];
    const ending = await endingOf(spawn(process.execPath, args));
    assert.deepEqual([ending.stdout, ending.code], [`${pinned}\n`, 0], ending.stderr);
  });

test(
  'signal: the handler serves eight swaps at a time, and a ninth gives that as its reason',
  options,
  () => {
    const swaps = Array.from({ length: 8 }, () => openSwap({ faults: 'signal' }));
    try {
      using another = openSwap({ faults: 'signal' });
      assert.equal(another.faults, null);
      assert.match(
        another.reason,
        /too many swaps of this process serve faults with a signal handler/,
      );
      swaps.pop()![Symbol.dispose]();
      using last = openSwap({ faults: 'signal' });
      assert.equal(last.faults, 'signal');
    } finally {
      for (const swap of swaps) swap[Symbol.dispose]();
    }
  },
);

test('openSwap() refuses an unknown value of faults', options, () => {
  assert.throws(() => openSwap({ faults: 'kernel' as FaultsMode }), {
    code: 'ERR_ARG_VALUE',
    message:
      /openSwap\(\{ faults \}\) is 'kernel'; use 'javascript', 'thread', 'signal' or 'memfd'/,
  });
});

async function faultsOf(variable: string, argument: string): Promise<string> {
  const code = `import { openSwap } from ${JSON.stringify(index)};
    try { console.log(openSwap(${argument}).faults); } catch (error) { console.log(error.message); }`;
  const env = { ...process.env, FRONTSWAP_FAULTS: variable };
  const args = ['--input-type=module', '-e', code];
  return (await endingOf(spawn(process.execPath, args, { env }))).stdout;
}

test('FRONTSWAP_FAULTS is the default of the option faults', options, async () => {
  assert.equal(await faultsOf('', ''), 'javascript\n');
  assert.equal(await faultsOf('thread', ''), 'thread\n');
  assert.equal(await faultsOf('signal', '{ faults: "javascript" }'), 'javascript\n');
  assert.match(await faultsOf('kernel', ''), /^FRONTSWAP_FAULTS is 'kernel'; use /);
});

test('a swap that is not transparent serves no faults', () => {
  using swap = openSwap({ transparent: false });
  assert.equal(swap.faults, null);
});
