/** Limits of the disks of a host: shares of the memory, the total, warnings. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { BioStatus } from '../../src/block/bio.ts';
import { composeParts } from '../../src/host/compose.ts';
import type { HostConfig } from '../../src/host/config/host-config.ts';
import { limitWarnings } from '../../src/host/limits.ts';
import { configOf } from '../support/fixtures/host-config.ts';
import { Requests } from '../support/models/disk-model.ts';

const [M, G] = [1024 ** 2, 1024 ** 3];
const machine = { bytes: 24 * G, isGroupLimit: false };
const group = { bytes: 160 * M, isGroupLimit: true };
const of = (document: object, memory = machine): HostConfig =>
  configOf({ ...document }, { memory });
const limitsOf = (document: object, memory = machine): number[] => {
  const { disks, totalLimitBytes } = of(document, memory);
  return [totalLimitBytes, ...disks.map(({ limitBytes }) => limitBytes)];
};

test('the total is half of the memory, and the limit of a larger disk', () => {
  assert.deepEqual(limitsOf({ disk: ['a=8T', 'b=8T', 'c=1G'] }), [12 * G, 12 * G, 12 * G, 0]);
  assert.deepEqual(limitsOf({}, group), [80 * M, 80 * M]);
  assert.deepEqual(limitsOf({ disk: ['a=8T', 'b=8T,limit=1G'], 'total-limit': '2G' }), [
    2 * G,
    2 * G,
    G,
  ]);
});

test('total limit 0 is unlimited', () => {
  assert.deepEqual(limitsOf({ disk: ['a=8T', 'b=8T,limit=1G'], 'total-limit': 0 }), [0, 0, G]);
});

test('a limit may be a share of the memory', () => {
  assert.deepEqual(
    limitsOf({ disk: ['a=8T', 'b=8T,limit=12.5%'], limit: '25%', 'total-limit': '100%' }),
    [24 * G, 6 * G, 3 * G],
  );
  assert.deepEqual(limitsOf({ 'total-limit': ' 50 % ' }, group), [80 * M, 80 * M]);
  for (const wrong of ['0%', '101%', '-1%', 'x%', '%', '1e1%', '50%%'])
    assert.throws(
      () => of({ 'total-limit': wrong }),
      {
        code: 'ERR_ARG_VALUE',
        message: /^--total-limit: '.*' is (out of range|not a valid percentage)/,
      },
      wrong,
    );
  assert.throws(() => of({ limit: '0.1%' }, group), /limit: '0.1%' is too small: at least 256K/);
});

test('a total too small for the tables of the disks is refused', () => {
  assert.throws(() => of({ disk: 'a=8T,backing=x' }, group), {
    code: 'ERR_ARG_VALUE',
    message: /^--total-limit: '80M' is too small for the tables of 1 disk\(s\): at least 8914316K/,
  });
  assert.throws(() => of({ disk: ['a=1T,backing=x', 'b=1T,backing=y'] }, group), {
    code: 'ERR_ARG_VALUE',
    message: /^--total-limit: '80M' is too small for the tables of 2 disk\(s\): at least 2229272K/,
  });
});

test('a total just large enough for the tables is accepted, 1 KiB less is not', () => {
  const disks = ['a=1G', 'b=1G'];
  assert.equal(limitsOf({ disk: disks, 'total-limit': '512K' })[0], 512 * 1024);
  assert.throws(() => of({ disk: disks, 'total-limit': '511K' }), /at least 512K/);
});

test('a disk as large as the total gets no limit, one page more does', () => {
  assert.deepEqual(limitsOf({ disk: 'a=2G', 'total-limit': '2G' }), [2 * G, 0]);
  const more = (2 * G + 4096) / 1024;
  assert.deepEqual(limitsOf({ disk: `a=${more}K`, 'total-limit': '2G' }), [2 * G, 2 * G]);
});

const warned: readonly [string, object, typeof machine, RegExp[]][] = [
  ['one disk that fits', {}, machine, []],
  ['one disk larger than the total', {}, group, []],
  [
    'two disks larger than the memory',
    { disk: ['a=8T', 'b=8T'] },
    machine,
    [
      /add up to 24G, more than the total limit of 12G: when the total is reached, every disk refuses writes/,
    ],
  ],
  [
    'a total above the memory',
    { 'total-limit': '200M' },
    group,
    [/total limit of 200M is more than the 160M of this control group/],
  ],
  ['no total, and disks that fit', { 'total-limit': 0, disk: ['a=8T,limit=4G'] }, machine, []],
  ['no total, and disks of all the memory', { 'total-limit': 0, disk: 'a=24G' }, machine, []],
  ['a total of all the memory', { 'total-limit': '160M' }, group, []],
  ['limits that are the total', { disk: ['a=6G', 'b=6G'], 'total-limit': '12G' }, machine, []],
  [
    'no total, and disks that do not fit',
    { 'total-limit': 0, disk: ['a=8T', 'b=8T'] },
    machine,
    [/up to 16T, more than the 24G of this machine, .* set --total-limit/],
  ],
];
for (const [what, document, memory, wanted] of warned)
  test(`the warnings about limits are correct for ${what}`, () => {
    const found = limitWarnings(of(document, memory), memory);
    assert.equal(found.length, wanted.length, found.join('\n'));
    for (const [at, line] of found.entries()) assert.match(line, wanted[at]!);
  });

test('memory of the total used by one disk is not available to another until it is released', () => {
  const parts = composeParts();
  const total = new Budget(4 * M);
  const disk = (): ReturnType<typeof parts.createDisk> =>
    parts.createDisk({ sizeBytes: 64 * M, limitBytes: 0, codec: 'lz4', total });
  using a = disk();
  using b = disk();
  const noise = new Uint8Array(4096);
  new Prng(7).fill(noise);
  const fill = (on: typeof a): number => {
    const requests = new Requests(on);
    let pages = 0;
    while (pages < 4096 && requests.write(pages * 4096, noise) === BioStatus.ok) pages++;
    assert.ok(total.usedBytes <= total.limitBytes);
    return pages;
  };
  const byA = fill(a);
  assert.ok(byA > 500 && byA < 1024, String(byA));
  assert.equal(fill(b), 0);
  assert.ok(b.stats().failedWrites > 0);
  a.reset();
  while (a.compactIdle());
  assert.ok(fill(b) > 500);
});
