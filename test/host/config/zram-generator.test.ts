/** Converts a configuration of zram-generator to that of a host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveHostConfig } from '../../../src/host/config/host-config.ts';
import { Problems } from '../../../src/host/config/problems.ts';
import { layerOfToml } from '../../../src/host/config/toml-file.ts';
import { importZramGenerator } from '../../../src/host/config/zram-generator.ts';

const GiB = 2 ** 30;
const convert = (text: string, memoryBytes = 16 * GiB) =>
  importZramGenerator('z.conf', text, memoryBytes);

test('devices become disks that a host accepts', () => {
  const { toml, warnings } = convert(`# comment
; another
[zram0]
zram-size = min(ram / 2, 4096)
zram-resident-limit = (ram + 1024) / 8 - 2 * 64
writeback-device = /dev/vg0/swap "x"
compression-algorithm = zstd(level=3)
swap-priority = 100

[zram1]
host-memory-limit = none
[zram0]
zram-size = ram * 0.5
`);
  assert.equal(
    toml,
    `[disks.zram0]
size = "8192M" # ram * 0.5
limit = "2048M" # (ram + 1024) / 8 - 2 * 64
backing = "/dev/vg0/swap \\"x\\""

[disks.zram1]
size = "4096M" # min(ram / 2, 4096)
`,
  );
  assert.deepEqual(
    warnings.map((line) => line.split(' is left out')[0]),
    ['z.conf:7: compression-algorithm', 'z.conf:8: swap-priority'],
  );
  const problems = new Problems();
  const config = resolveHostConfig(layerOfToml('f', toml, problems)!, {}, problems);
  assert.deepEqual(
    config.disks.map(({ name, sizeBytes }) => [name, sizeBytes]),
    [
      ['zram0', 8 * GiB],
      ['zram1', 4 * GiB],
    ],
  );
});

test('a device that zram-generator would not create is left out', () => {
  const text = '[zram0]\nhost-memory-limit = 2048\n';
  assert.match(convert(text, 2 * GiB).toml, /size = "1024M"/);
  const { toml, warnings } = convert(text, 2 * GiB + 2 ** 20);
  assert.equal(toml, '');
  assert.match(
    warnings.join('\n'),
    /^z.conf:2: zram0 is left out: this machine has more memory .*\nz.conf: it describes no device/,
  );
});

test('settings of older versions override zram-size', () => {
  const size = (...lines: string[]): string | undefined =>
    /size = (.*)/.exec(convert(['[zram0]', ...lines].join('\n')).toml)?.[1];
  assert.equal(size('zram-fraction = 0.25'), '"4096M" # ram * 0.25');
  assert.equal(
    size('zram-fraction = 1.0', 'max-zram-size = 2048', 'zram-size = 1'),
    '"2048M" # min(ram * 1.0, 2048)',
  );
  assert.equal(size('max-zram-size = 512'), '"512M" # min(ram * 0.5, 512)');
  assert.equal(size('max-zram-size = none'), '"8192M" # ram * 0.5');
  assert.deepEqual(convert('[zram0]\nzram-fraction = 1\nmax-zram-size = 1').warnings, []);
  assert.equal(convert('[zram0]\nmemory-limit = 1').toml, '');
  const off = convert('[zram0]\nzram-size = 0\n[zram1]\nzram-fraction = 0');
  assert.equal(off.toml, '');
  assert.match(
    off.warnings.join('\n'),
    /^z.conf:2: zram0 is left out: its size is 0\nz.conf:4: zram1/,
  );
});

test('expressions of zram-size are evaluated, and wrong ones are refused with their place', () => {
  const size = (expression: string): string | undefined =>
    /size = "(.*)" #/.exec(convert(`[zram0]\nzram-size = ${expression}`).toml)?.[1];
  assert.deepEqual(
    ['ram', 'max(ram, 4)', '2+3*4', '(2+3)*4', '7/2', '10-2-3', '64/4/2', 'min(max(1,2),3)'].map(
      size,
    ),
    ['16384M', '16384M', '14M', '20M', '3584K', '5M', '8M', '2M'],
  );
  const nested = (depth: number): string => `${'('.repeat(depth)}1${')'.repeat(depth)}`;
  assert.equal(size(nested(31)), '1M');
  for (const [wrong, message] of [
    [nested(32), /nested too deeply/],
    ['ram +', /wrong at 'the end'/],
    ['rom', /z.conf:2: the expression is wrong at 'rom'/],
    ['1 2', /wrong at '2'/],
    ['min(1)', /wrong at '\)'/],
    ['1/0', /no size as its value/],
    ['1-2', /no size/],
    ['\u001b', /wrong at '\\x1b'/],
  ] as const)
    assert.throws(() => size(wrong), { code: 'ERR_ARG_VALUE', message });
});

test('a file that is not a configuration of zram-generator is refused', () => {
  for (const [text, message] of [
    ['[swap0]', /^z.conf:1: 'swap0' is not a device/],
    ['zram-size = 1', /^z.conf:1: has no section/],
    ['[zram0]\nsize', /^z.conf:2: is not of the form KEY = VALUE/],
    ['#'.repeat(2 ** 20 + 1), /is longer than 1048576 characters/],
  ] as const)
    assert.throws(() => convert(text), { code: 'ERR_ARG_VALUE', message });
  assert.equal(convert('#'.repeat(2 ** 20)).toml, '');
});
