/** Processors of threads, and mapped ranges. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createMemory } from '../../../src/codec/linear-memory.ts';
import { Affinity, processorIn, processorOf } from '../../../src/os/linux/affinity.ts';
import { Mapping, Protection } from '../../../src/os/linux/mapping.ts';
import { mappedRanges, parseMapsLine, privateBytesFrom } from '../../../src/os/linux/proc-maps.ts';
import { noLinux, theLinux } from './machine.ts';

describe('affinity', { skip: noLinux }, () => {
  const linux = theLinux();
  const affinity = new Affinity(linux);

  test('a pinned thread runs on its processor and can be unpinned', () => {
    const before = affinity.allowed();
    assert.ok(before.length >= 1 && before.length >= availableParallelism());
    const last = before.at(-1)!;
    assert.equal(affinity.pin([last]), true);
    assert.deepEqual(affinity.allowed(), [last]);
    assert.equal(affinity.current(), last);
    assert.equal(processorOf(process.pid), last);
    assert.equal(affinity.pin(before), true);
    assert.deepEqual(affinity.allowed(), before);
  });

  test('another thread can be pinned by its id', async () => {
    const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
    await new Promise((resolve) => worker.once('online', resolve));
    const before = affinity.allowed();
    const others = execFileSync('ls', [`/proc/${process.pid}/task`], { encoding: 'utf8' })
      .split('\n')
      .filter((t) => t !== '' && Number(t) !== process.pid)
      .map(Number);
    const thread = others.at(-1)!;
    assert.equal(affinity.pin([before[0]!], thread), true);
    assert.deepEqual(affinity.allowed(thread), [before[0]]);
    assert.deepEqual(affinity.allowed(), before);
    affinity.pin(before, thread);
    await worker.terminate();
  });

  test('unavailable processors, no processors and a missing thread return false', () => {
    assert.equal(affinity.pin([1023]), false);
    assert.equal(affinity.pin([]), false);
    assert.equal(affinity.pin([0], 2 ** 22 + 1), false);
    assert.deepEqual(affinity.allowed(2 ** 22 + 1), []);
    assert.equal(processorOf(2 ** 22 + 1), -1);
    assert.throws(() => affinity.pin([1024]), { name: 'InvariantError' });
  });

  test('the processor is parsed after a name with parentheses and spaces', () => {
    const rest = Array.from({ length: 50 }, (_, i) => String(i + 3)).join(' ');
    assert.equal(processorIn(`12 (a) R (b c) ${rest}`), 39);
  });
});

describe('proc maps', { skip: noLinux }, () => {
  test('a line is parsed; an invalid line is null', () => {
    assert.deepEqual(parseMapsLine('7f00a000-7f00b000 r-xp 00002000 fe:01 77   /a b/c.so'), {
      start: 0x7f00a000,
      end: 0x7f00b000,
      permissions: 'r-xp',
      position: 0x2000,
      inode: 77,
      path: '/a b/c.so',
    });
    assert.equal(parseMapsLine('7f00a000-7f00b000 ---p 00000000 00:00 0 ')?.path, '');
    assert.equal(parseMapsLine(''), null);
    assert.equal(parseMapsLine('Rss: 4 kB'), null);
  });

  test('mappedRanges() returns exactly the ranges that overlap', () => {
    const text = ['1000-2000', '2000-3000', '5000-6000'].map((r) => `${r} rw-p 0 00:00 0 `);
    const maps = text.join('\n');
    const starts = (at: number, bytes: number): number[] =>
      mappedRanges(at, bytes, maps).map((r) => r.start);
    assert.deepEqual(starts(0x1fff, 1), [0x1000]);
    assert.deepEqual(starts(0x1fff, 2), [0x1000, 0x2000]);
    assert.deepEqual(starts(0x3000, 0x2000), []);
    assert.deepEqual(starts(0x3000, 0x2001), [0x5000]);
    assert.equal(privateBytesFrom(0x1800, maps), 0x1800);
    assert.equal(privateBytesFrom(0x3000, maps), 0);
    const shared = maps.replace('2000-3000 rw-p', '2000-3000 rw-s');
    assert.equal(privateBytesFrom(0x1800, shared), 0x800);
    const file = maps.replace('2000-3000 rw-p 0 00:00 0', '2000-3000 rw-p 0 fe:01 7');
    assert.equal(privateBytesFrom(0x1800, file), 0x800);
  });

  test('the reserve of a WebAssembly memory follows it', () => {
    const memory = createMemory(4 * 65536);
    const mapping = new Mapping(theLinux());
    const at = mapping.addressOf(memory.buffer);
    const [first, second] = mappedRanges(at, 2 ** 32);
    assert.ok(first !== undefined && first.start <= at && first.permissions === 'rw-p');
    assert.equal(second?.permissions, '---p');
    assert.ok(privateBytesFrom(at) >= 4 * 65536);
  });

  test('mappedRanges() reports the protection of a mapping', () => {
    const linux = theLinux();
    const mapping = new Mapping(linux);
    const at = mapping.reserve(4 * linux.pageBytes);
    mapping.protect(at, linux.pageBytes, Protection.read);
    const [first] = mappedRanges(at, 1);
    assert.deepEqual([first?.start, first?.permissions], [at, 'r--p']);
    mapping.unmap(at, 4 * linux.pageBytes);
    assert.deepEqual(mappedRanges(at, linux.pageBytes), []);
  });
});
