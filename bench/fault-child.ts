/**
 * The native fault path alone, for bench/faults.ts: pages of a store, and faults that native code serves. No engine runs,
 * so only clean pages are evicted (by native code, at the budget), and a write is made to memory without a budget.
 *
 *   node fault-child.js MODE CORPUS TOTAL BUDGET SEED TOUCHES fill-seq rand-read rand-write
 *
 * MODE: signal, thread, thread-follow (the native thread follows the faulting one to its processor), thread-spin.
 */
import { readFileSync, readSync } from 'node:fs';
import { Budget } from '../src/arena/budget.ts';
import { slot as slotOf } from '../src/base/units.ts';
import { NativeControl } from '../src/memory/native-control.ts';
import { NativePage } from '../src/native/layout.ts';
import { openEventFd } from '../src/os/linux/eventfd.ts';
import { Mapping } from '../src/os/linux/mapping.ts';
import { loadLinux } from '../src/os/linux/system-call.ts';
import { UffdFeature, UffdMode } from '../src/os/linux/uffd-constants.ts';
import { openUserfaultfd } from '../src/os/linux/userfaultfd-open.ts';
import { loadNativeFaults } from '../src/os/native-faults.ts';
import { Store } from '../src/store/store.ts';
import { randomPage } from './touches.ts';

const PAGE = 4096;
const HASH_START = 0x811c9dc5;
const NO_CEILING = 2 ** 30;
const SPIN_US = 200;

const [mode = '', corpusFile = '', total = '', budget = '', seedText = '', touchText = ''] =
  process.argv.slice(2);
const pages = Number(total) / PAGE;
const seed = Number(seedText);
const touches = Number(touchText);
const corpus = new Uint8Array(readFileSync(corpusFile));
const corpusPages = corpus.length / PAGE;

const { linux } = loadLinux();
const { native, reason } = loadNativeFaults();
if (linux === null || native === null) throw new Error(reason);
const mapping = new Mapping(linux);
const opened = openUserfaultfd(linux, {
  required: UffdFeature.faultFlagWriteProtect | (mode === 'signal' ? UffdFeature.sigbus : 0),
  optional: UffdFeature.threadId,
});
if (opened.uffd === null) throw new Error(opened.reason);
const zeroMap = new Uint8Array(pages / 8 + 1);
const control = new NativeControl(linux, mapping, native, {
  uffd: opened.uffd.fd,
  engineFd: openEventFd(linux).fd,
  exitFd: openEventFd(linux).fd,
  hasPoison: false,
  isTimed: false,
  mapsMax: 0,
  slots: pages + 1,
  zeroMap,
});
const store = new Store({
  slots: pages + 1,
  budget: new Budget(0),
  onShard: (number, view) => control.addShard(number, view),
});
const address = mapping.reserve(pages * PAGE);
const state = new Uint8Array(pages);
const entry = Int32Array.from({ length: pages }, (_, i) => i + 1);
opened.uffd.register(address, pages * PAGE, UffdMode.missing | UffdMode.writeProtect);
control.words[control.setWord(0, 'high')] = NO_CEILING;
const parts = { state: linux.addressOf(state), entry: linux.addressOf(entry) };
control.addRegion({ number: 1, address, pages, set: 0, ...parts });
control.set('placement', mode === 'thread-follow' ? 1 : 0);
control.set('spinUs', mode === 'thread-spin' ? SPIN_US : 0);
if (mode === 'signal') native.signalOn(control.at);
else control.startThread();

const words = new Int32Array(mapping.viewOf(address, pages * PAGE));
const took = new Float64Array(Math.max(touches, pages));
const tag = (page: number): number => Math.imul(page + 1, 0x9e3779b1) | 0;

process.stdout.write('{"ready":true}\n');
readSync(0, Buffer.alloc(16));

interface Clock {
  readonly wall: number;
  readonly cpu: number;
}
function clock(): Clock {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now() * 1e6, cpu: (user + system) * 1000 };
}

function phase(
  name: string,
  count: number,
  pageOf: (i: number) => number,
  touch: (page: number) => void,
): void {
  let hash = HASH_START;
  const before = clock();
  let last = before.wall;
  for (let i = 0; i < count; i++) {
    const page = pageOf(i);
    touch(page);
    hash = Math.imul(hash ^ page, 0x01000193);
    const now = performance.now() * 1e6;
    took[i] = now - last;
    last = now;
  }
  const after = clock();
  const sorted = took.slice(0, count).sort();
  const line = {
    phase: name,
    pages: count,
    wallNs: Math.round(after.wall - before.wall),
    cpuNs: Math.round(after.cpu - before.cpu),
    hash: hash >>> 0,
    p50Ns: Math.round(sorted[count >>> 1]!),
    p99Ns: Math.round(sorted[Math.floor((count * 99) / 100)]!),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** All pages are stored, and only there. */
function reset(ceiling: number): void {
  native!.discard(control.at, 1, 0, pages);
  control.drain(() => undefined);
  control.words[control.setWord(0, 'ceiling')] = ceiling;
  state.fill(NativePage.stored);
}

const scratch = new Uint8Array(PAGE);
phase(
  'fill-seq',
  pages,
  (i) => i,
  (page) => {
    const from = (page % corpusPages) * PAGE;
    scratch.set(corpus.subarray(from, from + PAGE));
    new Int32Array(scratch.buffer)[0] = tag(page);
    store.put(slotOf(page + 1), scratch, 0);
  },
);
reset(Number(budget) / PAGE);
phase(
  'rand-read',
  touches,
  (i) => randomPage(seed, i, pages),
  (page) => {
    if (words[page << 10] !== tag(page)) throw new Error(`page ${page} is not as it was stored`);
  },
);
reset(NO_CEILING);
phase(
  'rand-write',
  touches,
  (i) => randomPage(seed + 1, i, pages),
  (page) => {
    words[(page << 10) + 1] = 7;
  },
);
if (process.env['FAULT_COUNTS'] !== undefined) {
  const names = [
    'faults',
    'swapInFaults',
    'writeFaults',
    'spuriousFaults',
    'pagesIn',
    'pagesDropped',
  ] as const;
  process.stderr.write(`${names.map((name) => `${name} ${control.count(1, name)}`).join(', ')}\n`);
}
process.exit(0);
