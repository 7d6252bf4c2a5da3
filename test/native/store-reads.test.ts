/** How native code reads the store: what it does where the system call of a guarded read fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { Rig, skipUnlessNative } from './rig.ts';

const PAGE = 4096;
/** Above the largest pid_max. */
const NO_PROCESS = 2 ** 22 + 1;
/** What fs_load() returns: the page was read, or JavaScript has to read it. */
const Read = { done: 1, javascript: 0 } as const;

test('a guarded read that is refused is left to JavaScript, and does not count as an unmapped store', {
  skip: skipUnlessNative,
  timeout: 60_000,
}, () => {
  const linux = loadLinux().linux!;
  const { native } = loadNativeFaults();
  const rig = new Rig();
  try {
    const { control } = rig;
    const entry = 1; // in the RAM area, without a row: a page of zeros
    const page = new Uint8Array(PAGE);
    const load = (): number => native!.load(control.at, entry, linux.addressOf(page));
    const shard = new ArrayBuffer(PAGE);
    control.addShard(0, { buffer: shard, slots: 64, rows: 0, zspages: 1024, zspageCount: 4 });
    assert.equal(load(), Read.done);
    control.set('isGuarded', 1);
    assert.equal(load(), Read.done);
    // As where a sandbox denies process_vm_readv(2).
    control.set('pid', NO_PROCESS);
    assert.equal(load(), Read.javascript);
  } finally {
    rig[Symbol.dispose]();
  }
});
