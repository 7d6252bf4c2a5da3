/** Mapping, on both sides of each limit. */
import assert from 'node:assert/strict';
import { constants } from 'node:buffer';
import { closeSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { createMemory } from '../../../src/codec/linear-memory.ts';
import { Advice, Mapping, Protection, Remap } from '../../../src/os/linux/mapping.ts';
import { loadLinux } from '../../../src/os/linux/system-call.ts';
import { errnoOf, noLinux, theLinux } from './machine.ts';

test('without Linux calls there is a reason', () => {
  assert.deepEqual(loadLinux('darwin', 'arm64'), {
    linux: null,
    reason: 'the platform is darwin, not linux',
  });
  const { linux, reason } = loadLinux('linux', 'mips');
  assert.equal(linux, null);
  assert.match(reason, /no system call numbers for the architecture mips/);
});

describe('mapping', { skip: noLinux }, () => {
  const linux = theLinux();
  const mapping = new Mapping(linux);
  const page = linux.pageBytes;

  test('reserved memory reads zeros, keeps written data, and is unmapped', () => {
    const at = mapping.reserve(16 * page);
    const bytes = new Uint8Array(mapping.viewOf(at, 16 * page));
    assert.equal(bytes.length, 16 * page);
    assert.ok(bytes.every((b) => b === 0));
    bytes.fill(7);
    assert.equal(mapping.addressOf(bytes), at);
    mapping.unmap(at, 16 * page);
    assert.equal(mapping.advise(at, 16 * page, Advice.dontNeed), false);
  });

  test('reserving 1 TiB uses no memory', () => {
    const at = mapping.reserve(2 ** 40);
    const last = new Uint8Array(mapping.viewOf(at + 2 ** 40 - page, page));
    last[page - 1] = 3;
    assert.equal(last[page - 1], 3);
    mapping.unmap(at, 2 ** 40);
  });

  test('reserving more than the address space is ENOMEM, 0 bytes is EINVAL', () => {
    assert.equal(
      errnoOf(() => mapping.reserve(2 ** 47)),
      'ENOMEM',
    );
    assert.equal(
      errnoOf(() => mapping.reserve(0)),
      'EINVAL',
    );
  });

  test('the error has the call and its arguments as facts', () => {
    assert.throws(() => mapping.unmap(1, page), {
      code: 'ERR_IO_SYSTEM',
      message: `munmap failed: EINVAL address 1, bytes ${page}`,
      facts: { call: 'munmap', errno: 'EINVAL', address: 1, bytes: page },
    });
  });

  test('new memory over a part reads zeros and leaves adjacent pages unchanged', () => {
    const at = mapping.reserve(3 * page);
    const bytes = new Uint8Array(mapping.viewOf(at, 3 * page)).fill(9);
    mapping.mapAnonymous(at + page, page);
    assert.equal(bytes[page - 1], 9);
    assert.ok(bytes.subarray(page, 2 * page).every((b) => b === 0));
    assert.equal(bytes[2 * page], 9);
    mapping.unmap(at, 3 * page);
  });

  test('new memory can be mapped under a page-aligned JavaScript array', () => {
    const memory = createMemory(2 * 65536);
    const bytes = new Uint8Array(memory.buffer).fill(5);
    const at = mapping.addressOf(memory.buffer);
    assert.equal(at % page, 0);
    mapping.mapAnonymous(at + page, page);
    assert.equal(bytes[page - 1], 5);
    assert.equal(bytes[page], 0);
  });

  test('dontNeed drops pages, populate makes them resident, and resident() counts them', () => {
    const at = mapping.reserve(8 * page);
    const bytes = new Uint8Array(mapping.viewOf(at, 8 * page));
    const found = new Uint8Array(8);
    assert.equal(mapping.resident(at, 8 * page, found), 0);
    bytes[2 * page] = 1;
    assert.equal(mapping.resident(at, 8 * page, found), 1);
    assert.equal(found[2]! & 1, 1);
    if (mapping.advise(at + 4 * page, 2 * page, Advice.populateWrite))
      assert.equal(mapping.resident(at, 8 * page, found), 3);
    assert.equal(mapping.advise(at, 8 * page, Advice.dontNeed), true);
    assert.equal(mapping.resident(at, 8 * page, found), 0);
    assert.equal(bytes[2 * page], 0);
    mapping.unmap(at, 8 * page);
  });

  test('dontFork, cold and noHugePage are accepted', () => {
    const at = mapping.reserve(4 * page);
    for (const advice of [Advice.dontFork, Advice.cold, Advice.pageOut, Advice.noHugePage])
      assert.equal(mapping.advise(at, 4 * page, advice), true, `advice ${advice}`);
    mapping.unmap(at, 4 * page);
  });

  test('unsupported advice returns false, an unaligned address is an error', () => {
    const at = mapping.reserve(2 * page);
    assert.equal(mapping.advise(at, page, 9999 as Advice), false);
    assert.equal(
      errnoOf(() => mapping.advise(at + 1, page, Advice.dontNeed)),
      'EINVAL',
    );
    mapping.unmap(at, 2 * page);
  });

  test('protect() changes /proc/self/maps, and fails for unmapped memory', () => {
    const at = mapping.reserve(2 * page);
    mapping.protect(at, page, Protection.none);
    const line = readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .find((l) => l.startsWith(at.toString(16)));
    assert.match(line ?? '', / ---p /);
    mapping.unmap(at, 2 * page);
    assert.equal(
      errnoOf(() => mapping.protect(at, page, Protection.read)),
      'ENOMEM',
    );
  });

  test('remap moves pages with their content', () => {
    const from = mapping.reserve(2 * page);
    new Uint8Array(mapping.viewOf(from, page)).fill(4);
    const to = mapping.reserve(8 * page);
    const at = mapping.remap(from, 2 * page, 4 * page, Remap.mayMove | Remap.fixed, to);
    assert.equal(at, to);
    const bytes = new Uint8Array(mapping.viewOf(to, 4 * page));
    assert.equal(bytes[page - 1], 4);
    assert.equal(bytes[4 * page - 1], 0);
    assert.equal(
      errnoOf(() => mapping.remap(from, 2 * page, 4 * page, 0)),
      'EFAULT',
    );
    mapping.unmap(to, 8 * page);
  });

  test('two shared mappings of a memfd share writes; a private mapping keeps its own', () => {
    const fd = mapping.createMemoryFile('mapping-test', 4 * page);
    const a = mapping.mapFile(2 * page, { fd, position: page });
    const b = mapping.mapFile(4 * page, { fd });
    const c = mapping.mapFile(4 * page, { fd, shared: false });
    new Uint8Array(mapping.viewOf(a, page))[3] = 8;
    const all = new Uint8Array(mapping.viewOf(b, 4 * page));
    assert.equal(all[page + 3], 8);
    const own = new Uint8Array(mapping.viewOf(c, 4 * page));
    assert.equal(own[page + 3], 8);
    own[page + 3] = 1;
    assert.equal(all[page + 3], 8);
    for (const [at, count] of [
      [a, 2],
      [b, 4],
      [c, 4],
    ] as const)
      mapping.unmap(at, count * page);
    closeSync(fd);
    assert.equal(
      errnoOf(() => mapping.mapFile(page, { fd: 9999 })),
      'EBADF',
    );
  });

  test('a file can be mapped over reserved memory at a fixed address', () => {
    const at = mapping.reserve(4 * page);
    const fd = mapping.createMemoryFile('mapping-test', page);
    assert.equal(mapping.mapFile(page, { fd, address: at + page }), at + page);
    new Uint8Array(mapping.viewOf(at + page, page))[0] = 6;
    const other = mapping.mapFile(page, { fd });
    assert.equal(new Uint8Array(mapping.viewOf(other, page))[0], 6);
    mapping.unmap(at, 4 * page);
    mapping.unmap(other, page);
    closeSync(fd);
  });

  test('a memfd of negative size is an error', () => {
    assert.equal(
      errnoOf(() => mapping.createMemoryFile('mapping-test', -page)),
      'EINVAL',
    );
  });

  test('a view of exactly the limit works; a byte more is a RangeError, not an abort', () => {
    assert.equal(mapping.viewLimitBytes, constants.MAX_LENGTH);
    const at = mapping.reserve(2 ** 33);
    const largest = Math.min(mapping.viewLimitBytes, 2 ** 33);
    assert.equal(mapping.viewOf(at, largest).byteLength, largest);
    if (mapping.viewLimitBytes < 2 ** 33)
      assert.throws(() => mapping.viewOf(at, mapping.viewLimitBytes + 1), RangeError);
    mapping.unmap(at, 2 ** 33);
  });

  test('invalid addresses are an InvariantError before the system call', () => {
    for (const wrong of [-1, 0.5, Number.NaN, 2 ** 53])
      assert.throws(() => mapping.unmap(wrong, page), { name: 'InvariantError' }, `${wrong}`);
    assert.throws(() => mapping.viewOf(0, page), { name: 'InvariantError' });
    assert.throws(() => mapping.viewOf(2 ** 48, page), { name: 'InvariantError' });
  });

  test('addressOf() works for an array, a view into it, and shared memory', () => {
    const shared = new SharedArrayBuffer(64);
    const at = mapping.addressOf(shared);
    assert.equal(mapping.addressOf(new Uint8Array(shared, 24)), at + 24);
    const plain = new ArrayBuffer(64);
    assert.equal(mapping.addressOf(new Float64Array(plain, 8)), mapping.addressOf(plain) + 8);
  });
});
