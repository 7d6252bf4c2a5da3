/** Who we are, what we may and what we hold, by the kernel's own files and by calls. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  Capability,
  exactMemory,
  hasCapability,
  isInCapabilities,
  kernelRelease,
  Limit,
  Process,
  residentBytes,
} from '../../../src/os/linux/process.ts';
import { errnoOf, noLinux, theLinux } from './machine.ts';

describe('process', { skip: noLinux }, () => {
  const linux = theLinux();
  const own = new Process(linux);

  test('the main thread has the number of the process', () => {
    assert.equal(own.threadId(), process.pid);
    assert.match(readFileSync(`/proc/self/task/${own.threadId()}/comm`, 'utf8'), /./);
  });

  test('limits are those of /proc/self/limits, none is Infinity', () => {
    const text = readFileSync('/proc/self/limits', 'utf8');
    const numberOf = (word: string | undefined): number =>
      word === 'unlimited' ? Number.POSITIVE_INFINITY : Number(word);
    const rows = [
      ['Max open files', Limit.openFiles],
      ['Max address space', Limit.addressSpace],
      ['Max locked memory', Limit.lockedMemory],
    ] as const;
    for (const [name, resource] of rows) {
      const [, soft, hard] = new RegExp(`^${name}\\s+(\\S+)\\s+(\\S+)`, 'm').exec(text) ?? [];
      assert.deepEqual(own.limit(resource), { soft: numberOf(soft), hard: numberOf(hard) }, name);
    }
    assert.equal(
      errnoOf(() => own.limit(999)),
      'EINVAL',
    );
  });

  test('a descriptor that is none cannot be duplicated', () => {
    assert.equal(
      errnoOf(() => own.duplicate(9999, 1)),
      'EBADF',
    );
  });

  test('capabilities are bits of CapEff', () => {
    const status = (digits: string): string => `Name:\tx\nCapEff:\t${digits}\nCapBnd:\t0\n`;
    assert.equal(isInCapabilities(status('0000000000080000'), Capability.sysPtrace), true);
    assert.equal(isInCapabilities(status('fffffffffff7ffff'), Capability.sysPtrace), false);
    assert.equal(isInCapabilities(status('0000000100000000'), 32), true);
    assert.equal(isInCapabilities('no such line', Capability.sysPtrace), false);
    assert.throws(() => isInCapabilities('', 64), { name: 'InvariantError' });
    assert.equal(typeof hasCapability(Capability.sysPtrace), 'boolean');
  });

  test('the release of the kernel has numbers', () => {
    assert.deepEqual(kernelRelease('6.18.44-fc'), { major: 6, minor: 18, text: '6.18.44-fc' });
    assert.deepEqual(kernelRelease('odd'), { major: 0, minor: 0, text: 'odd' });
    assert.ok(kernelRelease().major >= 3);
  });

  test('resident bytes grow with what is touched, by both ways of asking', () => {
    const before = { quick: residentBytes(), exact: exactMemory() };
    const bytes = 32 * 2 ** 20;
    const touched = new Uint8Array(bytes).fill(1);
    const after = { quick: residentBytes(), exact: exactMemory() };
    assert.ok(after.quick - before.quick > 0.9 * bytes);
    assert.ok(after.exact.residentBytes - before.exact.residentBytes > 0.9 * bytes);
    assert.ok(after.exact.anonymousBytes - before.exact.anonymousBytes > 0.9 * bytes);
    assert.ok(after.exact.proportionalBytes <= after.exact.residentBytes);
    assert.equal(touched[bytes - 1], 1);
  });
});
