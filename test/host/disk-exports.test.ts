import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import { DiskExports } from '../../src/host/disk-exports.ts';

test('a disk is found by its name and by its current generation, not by another one', () => {
  const exports = new DiskExports();
  const disk = new MemoryDisk(1 << 20);
  exports.set('a', { name: 'a', description: '', disk, isShared: false });
  assert.equal(exports.get('a')?.disk, disk);
  assert.equal(exports.get(exports.nameNow('a'))?.disk, disk);
  for (const name of [
    'a@',
    'a@00000000',
    exports.nameNow('a').slice(1),
    exports.nameNow('a').replace('a', 'b'),
  ])
    assert.equal(exports.get(name), undefined, name);
});

test('an emptied disk gets another generation; other disks keep theirs', () => {
  const exports = new DiskExports();
  const disk = new MemoryDisk(1 << 20);
  for (const name of ['a', 'b'])
    exports.set(name, { name, description: '', disk, isShared: false });
  const [a, b] = [exports.nameNow('a'), exports.nameNow('b')];
  exports.renew('a');
  assert.equal(exports.get(a), undefined);
  assert.equal(exports.get(exports.nameNow('a'))?.name, 'a');
  assert.equal(exports.get(b)?.name, 'b');
});

test('the error for an unknown name distinguishes an old generation from an unknown disk', () => {
  const exports = new DiskExports();
  const disk = new MemoryDisk(1 << 20);
  exports.set('a', { name: 'a', description: '', disk, isShared: false });
  assert.match(
    exports.whyUnknown('a@00000000'),
    /^'a@00000000' no longer exists: disk 'a' has been emptied by .*; run mkswap/,
  );
  assert.match(exports.whyUnknown('b@00000000'), /^there is no disk 'b@00000000'; /);
  for (const name of ['@', '@00000000', 'ab', 'a ', '', 'b@a@00000000'])
    assert.match(exports.whyUnknown(name), new RegExp(`^there is no disk '${name}'; `));
});

test('in a disk name with @ the last @ separates the generation', () => {
  const exports = new DiskExports();
  const disk = new MemoryDisk(1 << 20);
  exports.set('a@b', { name: 'a@b', description: '', disk, isShared: false });
  assert.match(exports.nameNow('a@b'), /^a@b@[0-9a-f]{8}$/);
  assert.equal(exports.get(exports.nameNow('a@b'))?.disk, disk);
  assert.equal(exports.get('a'), undefined);
  assert.match(
    exports.whyUnknown('a@b@00000000'),
    /^'a@b@00000000' no longer exists: disk 'a@b' has/,
  );
  assert.match(exports.whyUnknown('a@00000000'), /^there is no disk 'a@00000000'; /);
});
