/** The native thread wakes the faulting thread on its own processor before the page is present: native/placement.h. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Prng } from '../../src/base/prng.ts';
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
