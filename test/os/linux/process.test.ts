/** Process information from /proc and system calls. */
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

  test('the id of the main thread is the process id', () => {
    assert.equal(own.threadId(), process.pid);
    assert.match(readFileSync(`/proc/self/task/${own.threadId()}/comm`, 'utf8'), /./);
  });

  test('limits match /proc/self/limits, unlimited is Infinity', () => {
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

  test('duplicating an invalid descriptor is an error', () => {
    assert.equal(
      errnoOf(() => own.duplicate(9999, 1)),
      'EBADF',
    );
  });

  test('capabilities match the bits of CapEff', () => {
    const status = (digits: string): string => `Name:\tx\nCapEff:\t${digits}\nCapBnd:\t0\n`;
    assert.equal(isInCapabilities(status('0000000000080000'), Capability.sysPtrace), true);
    assert.equal(isInCapabilities(status('fffffffffff7ffff'), Capability.sysPtrace), false);
    assert.equal(isInCapabilities(status('0000000100000000'), 32), true);
    assert.equal(isInCapabilities('no such line', Capability.sysPtrace), false);
    assert.throws(() => isInCapabilities('', 64), { name: 'InvariantError' });
    assert.equal(typeof hasCapability(Capability.sysPtrace), 'boolean');
  });

  test('the kernel release is parsed', () => {
    assert.deepEqual(kernelRelease('6.18.44-fc'), { major: 6, minor: 18, text: '6.18.44-fc' });
    assert.deepEqual(kernelRelease('odd'), { major: 0, minor: 0, text: 'odd' });
    assert.ok(kernelRelease().major >= 3);
  });

  test('both measures of resident bytes grow with touched memory', () => {
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
