/**
 * What a program can observe of its ArrayBuffers, as JSON. The result under `frontswap/register` with FRONTSWAP_BUFFERS
 * must equal the plain one.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { createContext, Script } from 'node:vm';
import { deflateSync, inflateSync } from 'node:zlib';

const BYTES = 4 * 2 ** 20;
const seen: Record<string, unknown> = {};

/** Sum of the words, so that every page is read. */
const sum = (buffer: ArrayBufferLike): number => new Uint32Array(buffer).reduce((a, b) => a + b, 0);

const words = new Uint32Array(BYTES / 4);
for (let i = 0; i < words.length; i++) words[i] = i >>> 4;
const floats = new Float64Array(BYTES / 8).fill(0.5);
class Samples extends Int16Array {
  total(): number {
    return this.reduce((a, b) => a + b, 0);
  }
}
const samples = new Samples(BYTES / 2).fill(2);

seen['sums'] = [sum(words.buffer), floats.reduce((a, b) => a + b, 0), samples.total()];
seen['instances'] = [
  words instanceof Uint32Array,
  words.constructor === Uint32Array,
  words.buffer instanceof ArrayBuffer,
  words.buffer.constructor === ArrayBuffer,
  samples instanceof Samples,
  samples instanceof Int16Array,
  Object.getPrototypeOf(words) === Uint32Array.prototype,
  Object.prototype.toString.call(words),
];
seen['functions'] = [ArrayBuffer, Uint8Array, Float64Array, Buffer.alloc].map((made) => [
  made.name,
  made.length,
  String(made),
  Reflect.ownKeys(made).map(String),
]);
seen['species'] = [
  words.subarray(4, 8).constructor === Uint32Array,
  words.slice(0, BYTES / 8) instanceof Uint32Array,
  (samples.map((sample) => sample + 1) as Samples).total(),
  Uint8Array.from({ length: BYTES }, () => 1).length,
  Uint8Array.of(1, 2).length,
  sum(words.buffer.slice(0)),
];
seen['errors'] = [
  () => (Uint8Array as unknown as () => void)(),
  () => new Uint8Array(-1),
  () => new ArrayBuffer(2 ** 60),
  () => new Float64Array(new ArrayBuffer(12)),
].map((body) => {
  try {
    body();
    return 'none';
  } catch (error) {
    return String(error);
  }
});
const bytes = Buffer.from(words.buffer);
seen['buffers'] = [
  bytes.length,
  bytes.readUInt32LE(BYTES - 4),
  Buffer.alloc(BYTES, 1).every((byte) => byte === 1),
  Buffer.concat([bytes, bytes]).equals(Buffer.concat([bytes, bytes])),
  inflateSync(deflateSync(bytes)).equals(bytes),
];
const path = join(tmpdir(), `frontswap-buffers-${process.pid}`);
writeFileSync(path, bytes);
seen['file'] = readFileSync(path).equals(bytes);
rmSync(path);
seen['clone'] = sum(structuredClone(words).buffer);
const moved = structuredClone(words.buffer, { transfer: [words.buffer] });
seen['transfer'] = [words.byteLength, words.length, sum(moved)];
const resizable = new (
  ArrayBuffer as unknown as new (
    bytes: number,
    limits: object,
  ) => ArrayBuffer & { resize(bytes: number): void }
)(BYTES, { maxByteLength: 2 * BYTES });
resizable.resize(2 * BYTES);
seen['resize'] = resizable.byteLength;

const droppedArray = (): WeakRef<Uint8Array> => new WeakRef(new Uint8Array(BYTES).fill(1));
const weak = droppedArray();
for (let i = 0; i < 8; i++) new Uint8Array(BYTES).fill(1);
setFlagsFromString('--expose-gc');
await sleep(1); // a new WeakRef keeps its target until the end of the job
(new Script('gc').runInContext(createContext()) as () => void)();
seen['collected'] = weak.deref() === undefined;
process.stdout.write(JSON.stringify(seen));
