/** close() does what `[Symbol.dispose]()` does, on every class that users dispose of. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { AsyncPages } from '../../src/async/async-pages.ts';
import { slot } from '../../src/base/units.ts';
import { FileCache } from '../../src/memory/file-cache.ts';
import { openSwap } from '../../src/memory/open-swap.ts';
import { Store } from '../../src/store/store.ts';
import { until } from '../support/fixtures/until.ts';

/** The listener that all swaps share: see at-exit.ts. */
const hasListener = (): boolean => process.listeners('exit').some(({ name }) => name === 'runAll');

const MiB = 2 ** 20;
const ended = { code: 'ERR_IO_ENDED' };

for (const transparent of [true, false])
  test(`close() ends a swap and an array, ${transparent ? 'paged by faults' : 'paged by index'}`, () => {
    const swap = openSwap({ transparent });
    const array = swap.array({ type: 'uint8', length: MiB, residentBytes: MiB / 2 });
    array.set(7, 1);
    array.close();
    assert.throws(() => array.get(7), ended);
    array.close();
    swap.close();
    swap.close();
  });

test('close() ends a region', (t) => {
  const swap = openSwap();
  if (!swap.transparent) return t.skip(swap.reason);
  const region = swap.map({ bytes: MiB, residentBytes: MiB / 2 });
  region.close();
  assert.throws(() => region.evict(), ended);
  swap.close();
});

test('close() ends a file cache', () => {
  const cache = new FileCache({ limitBytes: 4 * MiB });
  cache.close();
  assert.throws(() => cache.read('/etc/hostname', 0, 1), ended);
});

test('close() ends asynchronous pages', async () => {
  const pages = new AsyncPages(new Store({ slots: 8, budget: new Budget(0) }));
  await pages.close();
  await assert.rejects(pages.flush(slot(1)), ended);
});

test('a closed swap leaves no listener on the process', { timeout: 60_000 }, async (t) => {
  await until('no listener of other swaps', () => !hasListener());
  const swap = openSwap();
  if (!swap.transparent) return t.skip(swap.reason);
  assert.ok(hasListener());
  swap.close();
  await until('no listener', () => !hasListener());
});
