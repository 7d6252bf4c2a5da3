/**
 * Three threads that call Atomics.wait() on a shared WebAssembly memory; run under register by waiters.test.ts.
 *
 * A wait reads its word while it holds a process-wide lock. Each word differs from the expected value, so that a wait
 * reads the word but does not sleep.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const PAGE_WORDS = 1024;
const PAGES = 4096;
const THREADS = 3;
const ROUNDS = 4;

interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}
interface WasmApi {
  readonly Memory: new (limits: {
    initial: number;
    maximum: number;
    shared: boolean;
  }) => WasmMemory;
}

if (isMainThread) {
  const { Memory } = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly;
  const memory = new Memory({ initial: PAGES / 16, maximum: PAGES / 16, shared: true });
  const words = new Int32Array(memory.buffer);
  for (let page = 0; page < PAGES; page++) words[page * PAGE_WORDS] = page + 1;
  let wrong = 0;
  const ended = Array.from(
    { length: THREADS },
    () =>
      new Promise<void>((resolve) => {
        const worker = new Worker(new URL(import.meta.url), { workerData: memory });
        worker.once('message', (count: number) => {
          wrong += count;
        });
        worker.once('exit', () => resolve());
      }),
  );
  await Promise.all(ended);
  process.stdout.write(wrong === 0 ? 'intact\n' : `${wrong} wrong\n`);
} else {
  const words = new Int32Array((workerData as WasmMemory).buffer);
  let wrong = 0;
  for (let i = 0; i < PAGES * ROUNDS; i++) {
    const page = Math.imul(i, 2654435761) & (PAGES - 1);
    if (Atomics.wait(words, page * PAGE_WORDS, 0, 1000) !== 'not-equal') wrong++;
  }
  parentPort?.postMessage(wrong);
}
