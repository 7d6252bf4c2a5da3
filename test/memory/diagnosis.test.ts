/** The checks of `frontswap doctor` for other machines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diagnose, type Facts, gatherFacts, verdictOf } from '../../src/memory/diagnosis.ts';
import { UffdFeature } from '../../src/os/linux/uffd-constants.ts';

const whole: Facts = {
  platform: 'linux',
  architecture: 'x64',
  nodeVersion: 'v24.1.0',
  bufferMaxBytes: 2 ** 53 - 1,
  kernel: { major: 6, minor: 8, text: '6.8.0' },
  ffiReason: '',
  pageBytes: 4096,
  isRoot: true,
  hasPtrace: true,
  sysctl: 0,
  canOpenDevice: true,
  access: 'system-call',
  uffdReason: '',
  features: UffdFeature.faultFlagWriteProtect | UffdFeature.poison | UffdFeature.threadId,
  nativeReason: '',
  faults: '',
  overcommit: 0,
  addressSpaceBytes: Number.POSITIVE_INFINITY,
  maxMaps: 65530,
};

/** The checks that are not good, as `name verdict`. */
const worse = (facts: Facts): string[] =>
  diagnose(facts)
    .filter(({ verdict }) => verdict !== 'good')
    .map(({ name, verdict }) => `${name} ${verdict}`);

test('a fully supported machine is good and needs no fix', () => {
  const checks = diagnose(whole);
  assert.equal(verdictOf(checks), 'good');
  assert.deepEqual(
    checks.filter(({ fix }) => fix !== ''),
    [],
  );
});

const cases: readonly (readonly [string, Partial<Facts>, readonly string[]])[] = [
  ['not Linux', { platform: 'darwin' }, ['platform missing']],
  ['large pages', { pageBytes: 65536 }, ['platform missing']],
  ['Node 20', { bufferMaxBytes: 2 ** 32 }, ['node limited']],
  ['no koffi', { ffiReason: 'koffi does not load here' }, ['ffi missing']],
  ['5.11', { kernel: { major: 5, minor: 11, text: '5.11' } }, []],
  ['5.10', { kernel: { major: 5, minor: 10, text: '5.10' } }, ['kernel missing']],
  [
    'a container without userfaultfd',
    { access: null, uffdReason: 'EPERM' },
    ['userfaultfd limited', 'system calls limited', 'features limited', 'faults limited'],
  ],
  [
    'a container without userfaultfd, on a machine without native code',
    { access: null, uffdReason: 'EPERM', nativeReason: 'it is missing' },
    ['userfaultfd missing', 'system calls missing', 'features missing', 'faults limited'],
  ],
  [
    'a container without userfaultfd, faults of JavaScript',
    { access: null, uffdReason: 'EPERM', faults: 'javascript' },
    ['userfaultfd missing', 'system calls missing', 'features missing'],
  ],
  ['no privilege', { access: 'user-mode' }, ['system calls limited']],
  ['the device alone', { access: 'device' }, []],
  ['no POISON', { features: whole.features & ~UffdFeature.poison }, ['features limited']],
  [
    'no write protection',
    { features: whole.features & ~UffdFeature.faultFlagWriteProtect },
    ['features missing'],
  ],
  ['native faults', { faults: 'thread' }, []],
  ['no native code', { nativeReason: 'it is missing' }, ['faults limited']],
  [
    'no native code, but wanted',
    { faults: 'signal', nativeReason: 'it is missing' },
    ['faults limited'],
  ],
  ['no native library', { nativeReason: 'it is missing' }, ['faults limited']],
  [
    'no native library, and JavaScript chosen',
    { faults: 'javascript', nativeReason: 'it is missing' },
    [],
  ],
  ['an unknown way to serve faults', { faults: 'kernel' }, ['faults limited']],
  ['ulimit -v', { addressSpaceBytes: 64 * 2 ** 30 - 1 }, ['limits limited']],
  ['just enough address space', { addressSpaceBytes: 64 * 2 ** 30 }, []],
  ['strict overcommit', { overcommit: 2 }, ['limits limited']],
  ['few mappings', { maxMaps: 1024 }, ['limits limited']],
];

for (const [name, change, expected] of cases)
  test(`doctor finds with ${name}: ${expected.join(', ') || 'good'}`, () => {
    const facts = { ...whole, ...change };
    assert.deepEqual(worse(facts), expected);
    for (const { verdict, fix } of diagnose(facts))
      if (verdict === 'limited') assert.notEqual(fix, '', 'what is limited has a fix');
  });

test('this machine can be diagnosed', () => {
  const facts = gatherFacts();
  assert.equal(facts.nodeVersion, process.version);
  assert.equal(diagnose(facts).length, 9);
});
