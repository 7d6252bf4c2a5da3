/** The table of paged memory: medians, the kernel's better figure as the anchor, which pages count; and where groups lie. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapPagesOf, rowsOf } from '../../bench/memory.ts';
import { hierarchies } from '../../bench/peers/memory-cgroup.ts';

const phase = (name: string, wallNs: number, cpuNs: number, touch?: number) => ({
  ...{ phase: name, pages: 10, wallNs, cpuNs, hash: 0 },
  ...(touch === undefined ? {} : { p50Ns: touch, p99Ns: touch * 2 }),
});

test('figures are medians over the runs, and ratios are relative to the better anchor of each pattern', () => {
  const all = [
    { name: 'k3', runs: [30, 10, 20].map((us) => [phase('read', us * 1e4, 1e5, 500)]) },
    { name: 'k0', runs: [[phase('read', 4e5, 5e4, 500)]] },
    { name: 'mine', runs: [[phase('read', 1e5, 1e5)]] },
  ];
  const rows = rowsOf(all, ['k3', 'k0'], ['read']);
  assert.deepEqual(rows, [
    ['read', 'k3', 20, 1, 10, 2, 0.5, 1],
    ['read', 'k0', 40, 2, 5, 1, 0.5, 1],
    ['read', 'mine', 10, 0.5, 10, 2, Number.NaN, Number.NaN],
  ]);
});

test('same-filled and random pages are left out', () => {
  const bytes = new Uint8Array(4 * 4096);
  for (let page = 0; page < 4; page++) bytes.fill(page + 1, page * 4096, (page + 1) * 4096);
  const classes = ['python', 'same', 'random'];
  const classOfPage = Uint8Array.of(0, 1, 2, 0);
  const heap = heapPagesOf({ bytes, classes, classOfPage, origin: 'made' });
  assert.equal(heap.length, 2 * 4096);
  assert.deepEqual([heap[0], heap[4095], heap[4096], heap[8191]], [1, 1, 4, 4]);
});

test('the memory controller is searched in version 1 first, then in version 2', () => {
  const mounts = [
    'proc /proc proc rw 0 0',
    'cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw,nsdelegate 0 0',
    'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0',
    'cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0',
    '',
  ];
  assert.deepEqual(hierarchies(mounts.join('\n')), [
    { version: 1, folder: '/sys/fs/cgroup/memory' },
    { version: 2, folder: '/sys/fs/cgroup/uni fied' },
  ]);
  assert.deepEqual(hierarchies(''), []);
});
