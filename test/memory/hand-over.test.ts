/** The native thread wakes the faulting thread on its own processor before the page is present: native/placement.h. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Prng } from '../../src/base/prng.ts';
import { ControlBlock } from '../../src/memory/control-block.ts';
import { openSwap } from '../../src/memory/open-swap.ts';
import { controlStruct, NativePlacement } from '../../src/native/layout.ts';
import { Affinity } from '../../src/os/linux/affinity.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { skipUnlessNative } from '../native/rig.ts';
import { nativeWords, place } from './stress-failures.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const PAGES = 2048;
const skip = skipUnlessNative || (availableParallelism() < 2 && 'only one processor');
const options = { skip, timeout: 120_000 };

/** The processors on which a thread may run, as the kernel lists them. */
const listOf = (status: string): string => /^Cpus_allowed_list:\s*(.*)$/m.exec(status)![1]!;
const ownList = (): string => listOf(readFileSync('/proc/thread-self/status', 'utf8'));

const worker = `
  const { readFileSync } = require('node:fs');
  require('node:worker_threads').parentPort.postMessage(readFileSync('/proc/thread-self/status', 'utf8'));`;
const listOfWorker = (): Promise<string> =>
  new Promise((resolve, reject) => {
    new Worker(worker, { eval: true })
      .once('message', (status: string) => resolve(listOf(status)))
      .once('error', reject);
  });

/** Writes and reads pages at random; returns how many of them did not contain what was written. */
class Pages {
  readonly #words: Int32Array;
  readonly #writes = new Int32Array(PAGES);
  readonly #prng = new Prng(2010);

  constructor(buffer: ArrayBufferLike) {
    this.#words = new Int32Array(buffer);
  }

  touch(times: number): number {
    let wrong = 0;
    for (let i = 0; i < times; i++) {
      const page = this.#prng.below(PAGES);
      const at = (page * PAGE) >>> 2;
      if (this.#words[at] !== this.#writes[page]! || this.#words[at + 1023] !== this.#writes[page]!)
        wrong++;
      if (this.#prng.oneIn(2)) continue;
      this.#writes[page]!++;
      this.#words[at] = this.#writes[page]!;
      this.#words[at + 1023] = this.#writes[page]!;
    }
    return wrong;
  }
}

test(
  'threads that are handed over find their pages, and they and their children may run anywhere',
  options,
  async () => {
    const before = ownList();
    using swap = openSwap({ faults: 'thread' });
    const region = swap.map({ bytes: PAGES * PAGE, residentBytes: MiB });
    const words = nativeWords(swap.control!);
    const pages = new Pages(region.buffer);
    place(words, NativePlacement.handsOver);
    let wrong = pages.touch(10_000);
    for (let i = 0; i < 20; i++) {
      const list = listOfWorker();
      wrong += pages.touch(500);
      assert.equal(await list, before);
    }
    assert.equal(wrong, 0);
    assert.equal(ownList(), before);
    assert.ok(words[controlStruct.at.handed >>> 2]! > 1000, 'faults were handed over');
  },
);

test('a thread with other processors than the native thread is not handed over', options, () => {
  using swap = openSwap({ faults: 'thread' });
  const region = swap.map({ bytes: PAGES * PAGE, residentBytes: MiB });
  const words = nativeWords(swap.control!);
  const affinity = new Affinity(loadLinux().linux!);
  const all = affinity.allowed();
  place(words, NativePlacement.handsOver);
  affinity.pin(all.slice(0, 1));
  try {
    assert.equal(new Pages(region.buffer).touch(5000), 0);
    assert.deepEqual(affinity.allowed(), all.slice(0, 1));
    assert.equal(words[controlStruct.at.handed >>> 2], 0);
  } finally {
    affinity.pin(all);
  }
});

const linuxModule = new URL('../../src/os/linux/system-call.js', import.meta.url).href;
/** Reads pages of another process by process_vm_readv(2). */
const reader = `
  import { loadLinux } from ${JSON.stringify(linuxModule)};
  const { linux } = loadLinux();
  const [pid, address, pages] = process.argv.slice(1).map(Number);
  const read = linux.bind('long process_vm_readv(int pid, uintptr_t to, ulong m, uintptr_t from, ulong n, ulong flags)');
  const page = new Int32Array(1024);
  const to = new BigUint64Array([BigInt(linux.addressOf(page)), 4096n]);
  for (let i = 0; i < pages; i += 16) {
    const from = new BigUint64Array([BigInt(address + i * 4096), 4096n]);
    const done = read(pid, linux.addressOf(to), 1, linux.addressOf(from), 1, 0);
    if (done !== 4096 || page[0] !== i || page[1023] !== i) throw new Error('page ' + i + ': ' + done);
  }
  process.stdout.write('read');`;

test('a thread of another process that reads paged memory is not handed over', options, (t) => {
  using swap = openSwap({ faults: 'thread' });
  if (new ControlBlock(null, swap.control!).isUserModeOnly)
    return t.skip('needs the privilege to serve system calls');
  const region = swap.map({ bytes: PAGES * PAGE, residentBytes: MiB });
  const pages = new Int32Array(region.buffer);
  for (let i = 0; i < PAGES; i++) pages.fill(i, i * 1024, (i + 1) * 1024);
  region.evict();
  const words = nativeWords(swap.control!);
  place(words, NativePlacement.handsOver);
  const address = loadLinux().linux!.addressOf(new Uint8Array(region.buffer));
  const args = ['--input-type=module', '-e', reader, '--', process.pid, address, PAGES].map(String);
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(stdout, 'read', stderr);
  assert.equal(words[controlStruct.at.handed >>> 2], 0);
});
