/**
 * Signal mode beside the program's own signals: SIGBUS that is not a page fault, and a region that has ended since.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { type Ending, endingOf } from '../memory/ending.ts';
import { skipUnlessNative } from './rig.ts';

const options = { skip: skipUnlessNative, timeout: 60_000 };
const urlOf = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);

/** Runs code in a process with a paged region of which page 7 holds 7, and is evicted again before `after` reads it. */
function run(before: string, code: string): Promise<Ending> {
  const program = `
    import { openSwap } from ${urlOf('../../src/index.js')};
    import { loadLinux, Struct } from ${urlOf('../../src/os/linux/system-call.js')};
    const { linux } = loadLinux();
    ${before}
    const swap = openSwap({ faults: 'signal' });
    const region = swap.map({ bytes: 1 << 20, residentBytes: 1 << 20 });
    const bytes = new Uint8Array(region.buffer);
    const read = () => { region.evict(); return bytes[7 * 4096]; };
    bytes[7 * 4096] = 7;
    ${code}
    console.log(read());
    swap.close();`;
  const args = ['--input-type=module', '-e', program];
  return endingOf(spawn(process.execPath, args));
}

const ignoreSigbus = `linux.bind('uintptr_t signal(int number, uintptr_t handler)')(7, 1);`;
const sendOnce = `process.kill(process.pid, 'SIGBUS');`;

test('SIGBUS by kill(2) ends the process, as it would without paged memory', options, async () => {
  const ending = await run('', `${sendOnce} console.log('it goes on');`);
  assert.equal(ending.signal, 'SIGBUS');
  assert.equal(ending.stdout, '');
});

test('SIGBUS by kill(2) is ignored if the program ignored it before', options, async () => {
  const ending = await run(ignoreSigbus, sendOnce + sendOnce);
  assert.deepEqual([ending.code, ending.stdout], [0, '7\n'], ending.stderr);
});

test('an access whose SIGBUS arrives after its region has ended is repeated', options, async () => {
  // Queues a SIGBUS to this thread as the kernel does (BUS_ADRERR), for an address whose memory is no longer paged.
  const ending = await run(
    '',
    `const memory = new Struct(linux, 4096);
    const info = new Struct(linux, 128);
    info.set32(0, 7);
    info.set32(8, 2);
    info.set64(16, memory.address);
    const number = process.arch === 'arm64' ? 240 : 297;
    const queue = linux.bind('int64_t syscall(int64_t n, int64_t a, int64_t b, int64_t c, uintptr_t d)');
    if (queue(number, process.pid, process.pid, 7, info.address) !== 0) throw new Error('not sent');`,
  );
  assert.deepEqual([ending.code, ending.signal, ending.stdout], [0, null, '7\n'], ending.stderr);
});
