/**
 * A program that pages memory and ends as MODE says; life.test.ts runs it and checks how it ended.
 *
 *   node life.js MODE
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { attachRegion, openSwap, type RegionHandle } from '../../../src/index.ts';
import { until } from '../../support/fixtures/until.ts';

const MiB = 2 ** 20;
const mode = process.argv[2] ?? 'end';

function filled(residentBytes = MiB / 2): {
  swap: ReturnType<typeof openSwap>;
  region: ReturnType<ReturnType<typeof openSwap>['map']>;
  numbers: Float64Array;
} {
  const swap = openSwap({ frontswap: { limitBytes: 64 * MiB } });
  const region = swap.map({ bytes: 4 * MiB, residentBytes });
  const numbers = new Float64Array(region.buffer);
  for (let i = 0; i < numbers.length; i++) numbers[i] = i;
  return { swap, region, numbers };
}

/** Prints `intact` if the region has its contents. */
function check(numbers: Float64Array): void {
  for (let i = 0; i < numbers.length; i++) if (numbers[i] !== i) throw new Error(`element ${i}`);
  process.stdout.write('intact\n');
}

/** Accesses pages until it is ended. */
function touchAll(handle: RegionHandle): never {
  const numbers = new Float64Array(attachRegion(handle).buffer);
  for (let at = 0; ; at = (at + 4097 * 8) % numbers.length) {
    if (numbers[at] !== at && numbers[at] !== 0) process.abort(); // 0: the fault thread ended before
  }
}

/** Starts a thread that faults all the time; resolves once it runs. */
async function worker(region: ReturnType<typeof filled>['region']): Promise<Worker> {
  const toucher = new Worker(new URL(import.meta.url), { workerData: region.handle, argv: [mode] });
  const { faults } = region.stats();
  await until('faults of the worker', () => region.stats().faults > faults + 100);
  return toucher;
}

const modes: Readonly<Record<string, () => void | Promise<void>>> = {
  end: () => check(filled().numbers),
  exit: () => {
    check(filled().numbers);
    process.exit(3);
  },
  'exit handler': () => {
    const { numbers } = filled();
    process.on('exit', () => check(numbers));
    process.exit(3);
  },
  throw: () => {
    check(filled().numbers);
    throw new Error('on purpose');
  },
  reject: async () => {
    check(filled().numbers);
    await Promise.reject(new Error('on purpose'));
  },
  signal: () => {
    check(filled().numbers);
    setInterval(() => {}, 1000);
    process.stdout.write('ready\n');
  },
  'exit beside a worker': async () => {
    const { region } = filled();
    await worker(region);
    process.exit(3);
  },
  'terminate a worker': async () => {
    const { region, numbers } = filled();
    const toucher = await worker(region);
    await toucher.terminate();
    check(numbers);
  },
  'swap of a worker': async () => {
    const owner = new Worker(new URL(import.meta.url), { workerData: 'owner', argv: [mode] });
    await new Promise((resolve) => owner.once('message', resolve));
    await owner.terminate();
    process.stdout.write('intact\n');
  },
  'dispose while touched': async () => {
    const { region } = filled();
    const toucher = await worker(region);
    region[Symbol.dispose]();
    await toucher.terminate();
    process.stdout.write('intact\n');
  },
  'view after dispose': () => {
    const { swap, region, numbers } = filled();
    region[Symbol.dispose]();
    if (numbers[4096] !== 0) throw new Error('what was disposed of reads as zeros');
    numbers[4096] = 7;
    swap[Symbol.dispose]();
    if (numbers[4096] !== 7 || numbers[9] !== 0) throw new Error('it is ordinary memory');
    process.stdout.write('intact\n');
  },
  'dispose twice': () => {
    const { swap, region } = filled();
    region[Symbol.dispose]();
    region[Symbol.dispose]();
    swap[Symbol.dispose]();
    swap[Symbol.dispose]();
    process.stdout.write('intact\n');
  },
  'system call': async () => {
    const { writeSync, openSync, readFileSync, mkdtempSync } = await import('node:fs');
    const { tmpdir } = await import('node:os');
    const { region } = filled();
    const path = `${mkdtempSync(`${tmpdir()}/frontswap-`)}/out`;
    const fd = openSync(path, 'w');
    region.evict({ offset: 0, length: MiB });
    try {
      writeSync(fd, new Uint8Array(region.buffer, 0, MiB));
    } catch (error) {
      process.stdout.write(`${(error as NodeJS.ErrnoException).code}\n`);
      const pinned = region.pin({ offset: 0, length: MiB / 4 });
      writeSync(fd, new Uint8Array(region.buffer, 0, MiB / 4), 0, MiB / 4, 0);
      pinned[Symbol.dispose]();
    }
    const written = new Float64Array(new Uint8Array(readFileSync(path)).buffer);
    if (written[1000] !== 1000) throw new Error('the region has the written contents');
    process.stdout.write('intact\n');
  },
};

if (isMainThread) await modes[mode]?.();
else if (workerData === 'owner') {
  const { parentPort } = await import('node:worker_threads');
  const { numbers } = filled();
  parentPort?.postMessage('filled');
  for (let at = 0; ; at = (at + 513) % numbers.length) if (numbers[at] === -1) process.abort();
} else touchAll(workerData as RegionHandle);
