/**
 * Runs many threads that call the fault thread; started by calls.test.ts.
 *
 *   node calls.js MODE
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { CallOp, ControlBlock } from '../../../src/memory/control-block.ts';
import type { MemorySwap } from '../../../src/memory/memory-swap.ts';
import type { RegionHandle, SwapRegion } from '../../../src/memory/region.ts';
import { loadLinux } from '../../../src/os/linux/system-call.ts';

const MiB = 2 ** 20;
/** More threads than there are slots for calls. */
const WORKERS = 72;
const LEAVERS = 70;

interface Job {
  readonly mode: string;
  readonly handle: RegionHandle;
  readonly gate: SharedArrayBuffer;
}

const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 };
const start = (mode: string, handle: RegionHandle, gate: SharedArrayBuffer): Worker =>
  new Worker(new URL(import.meta.url), {
    workerData: { mode, handle, gate } satisfies Job,
    resourceLimits,
  });

/** Loaded on use: a thread that does not need it starts three times as fast. */
const frontswap = () => import('../../../src/memory/open-swap.ts');

const filled = async (): Promise<{ region: SwapRegion; swap: MemorySwap }> => {
  const { openSwap } = await frontswap();
  const swap = openSwap({ frontswap: { limitBytes: 64 * MiB } });
  const region = swap.map({ bytes: 4 * MiB, residentBytes: MiB });
  new Uint32Array(region.buffer).forEach((_, i, words) => {
    words[i] = i;
  });
  return { region, swap };
};

const modes: Readonly<Record<string, () => Promise<void>>> = {
  /** All threads call at the same time, repeatedly. */
  'many workers': async () => {
    const { region } = await filled();
    const gate = new SharedArrayBuffer(4);
    const done = Array.from({ length: WORKERS }, async () => {
      const worker = start('ask', region.handle, gate);
      return new Promise<number>((resolve, reject) => {
        worker.once('error', reject);
        worker.once('message', resolve);
      });
    });
    const opener = setInterval(() => {
      if (Atomics.load(new Int32Array(gate), 0) < WORKERS) return;
      clearInterval(opener);
      Atomics.store(new Int32Array(gate), 0, -1);
    }, 20);
    const wrong = (await Promise.all(done)).reduce((sum, n) => sum + n, 0);
    process.stdout.write(wrong === 0 ? 'intact\n' : `${wrong} wrong\n`);
  },
  /** Each thread ends in the middle of a call; then a region is collected, whose finaliser calls too. */
  leavers: async () => {
    const { region, swap } = await filled();
    const gate = new SharedArrayBuffer(4);
    for (let i = 0; i < LEAVERS; i += 10)
      await Promise.all(
        Array.from(
          { length: 10 },
          () => new Promise((resolve) => start('leave', region.handle, gate).once('exit', resolve)),
        ),
      );
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let i = 0; i < 4; i++) {
      swap.map({ bytes: MiB, residentBytes: MiB / 2 });
      await new Promise((resolve) => setTimeout(resolve, 10));
      collect();
    }
    region.evict();
    const words = new Uint32Array(region.buffer);
    process.stdout.write(words.every((word, i) => word === i) ? 'intact\n' : 'wrong\n');
  },
};

/** Returns the number of elements with a wrong value. */
async function ask({ handle, gate }: Job): Promise<number> {
  const { attachRegion } = await frontswap();
  const region = attachRegion(handle);
  const words = new Uint32Array(region.buffer);
  Atomics.add(new Int32Array(gate), 0, 1);
  while (Atomics.load(new Int32Array(gate), 0) !== -1) Atomics.wait(new Int32Array(gate), 0, 0, 5);
  let wrong = 0;
  for (let i = 0; i < 20; i++) {
    const at = ((i * 7919) % 1024) * 1024;
    region.evict({ offset: at * 4, length: 4096 });
    if (words[at] !== at) wrong++;
  }
  return wrong;
}

function leave({ handle }: Job): void {
  const control = new ControlBlock(loadLinux().linux!, handle.control);
  control.call(CallOp.prefetch, handle.id, [0, 1], () => process.exit());
}

if (isMainThread) await modes[process.argv[2] ?? '']?.();
else if ((workerData as Job).mode === 'leave') leave(workerData as Job);
else parentPort?.postMessage(await ask(workerData as Job));
