/**
 * libvips in WebAssembly, built by Emscripten with pthreads: its threads and its main thread wait in a shared memory.
 * Run plain and under register by waiters.test.ts.
 *
 *   node pthreads.js ROUNDS
 *
 * Prints a hash of the pixels of each image.
 */
import { createHash } from 'node:crypto';
import Vips from 'wasm-vips';

const SIDE = 384;
const BANDS = 3;
const THREADS = 2;

const vips = await Vips({ dynamicLibraries: [] });
vips.concurrency(THREADS);
const hash = createHash('sha256');
for (let round = 0; round < Number(process.argv[2]); round++) {
  const bytes = new Uint8Array(SIDE * SIDE * BANDS);
  let state = round + 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = (i >>> 4) + (state >>> 29);
  }
  const image = vips.Image.newFromMemory(bytes, SIDE, SIDE, BANDS, vips.BandFormat.uchar);
  hash.update(image.gaussblur(4).resize(0.7).sharpen().writeToMemory());
  image.delete();
}
process.stdout.write(`${hash.digest('hex')}\n`);
vips.shutdown();
