/** Limits of memory cgroups, from files in the format of the kernel. */
import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import { usableMemory } from '../../../src/os/linux/usable-memory.ts';

const M = 1024 * 1024;
const noLimit = '9223372036854771712\n';
const v1 = '31 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n';
const v2 = '32 30 0:32 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n';

const cases: readonly [string, Record<string, string>, number][] = [
  ['no control groups', {}, 0],
  [
    'version 2, its own limit',
    {
      '/proc/self/cgroup': '0::/a/b\n',
      '/proc/self/mountinfo': v2,
      '/sys/fs/cgroup/a/b/memory.max': `${160 * M}\n`,
      '/sys/fs/cgroup/a/memory.max': `${300 * M}\n`,
    },
    160 * M,
  ],
  [
    'version 2, the limit of a group above',
    {
      '/proc/self/cgroup': '0::/a/b/c\n',
      '/proc/self/mountinfo': v2,
      '/sys/fs/cgroup/a/b/c/memory.max': 'max\n',
      '/sys/fs/cgroup/a/b/memory.max': 'max\n',
      '/sys/fs/cgroup/a/memory.max': `${300 * M}\n`,
    },
    300 * M,
  ],
  [
    'version 2, none limited',
    {
      '/proc/self/cgroup': '0::/a\n',
      '/proc/self/mountinfo': v2,
      '/sys/fs/cgroup/a/memory.max': 'max\n',
    },
    0,
  ],
  [
    'version 1, beside a version 2 without memory',
    {
      '/proc/self/cgroup': '4:memory:/a\n1:cpu:/\n0::/\n',
      '/proc/self/mountinfo': `${v2}${v1}`,
      '/sys/fs/cgroup/memory/a/memory.limit_in_bytes': `${200 * M}\n`,
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': noLimit,
    },
    200 * M,
  ],
  [
    'version 1, without a limit',
    {
      '/proc/self/cgroup': '4:cpu,memory:/a\n',
      '/proc/self/mountinfo': v1,
      '/sys/fs/cgroup/memory/a/memory.limit_in_bytes': noLimit,
    },
    0,
  ],
  [
    "a container's own group mounted as the root",
    {
      '/proc/self/cgroup': '4:memory:/docker/x/y\n',
      '/proc/self/mountinfo': v1.replace(' / ', ' /docker/x '),
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': `${100 * M}\n`,
      '/sys/fs/cgroup/memory/y/memory.limit_in_bytes': noLimit,
    },
    100 * M,
  ],
  [
    'a group outside the mount',
    {
      '/proc/self/cgroup': '0::/../other\n',
      '/proc/self/mountinfo': v2,
      '/sys/fs/cgroup/memory.max': `${100 * M}\n`,
    },
    100 * M,
  ],
];
for (const [what, files, limit] of cases)
  test(`usable memory with ${what}`, () => {
    const machineBytes = 1024 * M;
    assert.deepEqual(
      usableMemory(machineBytes, (path) => files[path] ?? null),
      { bytes: limit === 0 ? machineBytes : limit, isGroupLimit: limit !== 0 },
    );
  });

test('usable memory of this process is above 0 and at most that of the machine', () => {
  const { bytes } = usableMemory();
  assert.ok(bytes > 16 * M && bytes <= totalmem(), String(bytes));
});
