/** Pages go to compressed RAM again as soon as full tiers have free space. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { openSwap } from '../../src/memory/open-swap.ts';
import { isNoise, noise } from './noise.ts';

const MiB = 2 ** 20;
const PAGE = 4096;

test('when all slots of the files are in use, pages go to compressed RAM as soon as some of it is freed', (t) => {
  const folder = mkdtempSync(`${tmpdir()}/frontswap-tiers-`);
  t.after(() => rmSync(folder, { recursive: true }));
  using swap = openSwap({
    transparent: false,
    frontswap: { limitBytes: MiB },
    devices: [{ kind: 'file', path: `${folder}/swap`, sizeBytes: MiB }],
  });
  const pages = 600;
  const array = swap.array({ type: 'uint8', length: 2 * pages * PAGE, residentBytes: MiB / 2 });
  for (let page = 0; page < pages; page++) array.write(page * PAGE, noise(page));
  array.evict();
  const before = swap.stats();
  assert.equal(before.devicePages, MiB / PAGE - 1, 'every slot but the header');
  assert.ok(before.storedPages > 200 && before.residentBytes > 0, 'what is left stayed');
  // The oldest are in RAM.
  const given = 150;
  array.discard({ offset: 0, length: given * PAGE });
  array.evict();
  const { storedPages, residentBytes } = swap.stats();
  assert.ok(residentBytes < before.residentBytes, 'more pages have left');
  assert.ok(storedPages > before.storedPages - given, 'for compressed RAM');
  const bytes = new Uint8Array(PAGE);
  for (let page = given; page < pages; page++) {
    array.read(page * PAGE, bytes);
    assert.ok(isNoise(bytes, page), `page ${page}`);
  }
});
