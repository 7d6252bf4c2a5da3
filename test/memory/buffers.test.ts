/** ArrayBuffers that are paged in place: their bytes, ranges, transfers and collection. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { openSwap, regionOf, SwapError, type SwapRegion } from '../../src/index.ts';
import { skipUnlessBuffers, skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const BYTES = 4 * MiB;
const options = { skip: skipUnlessPaging || skipUnlessBuffers, timeout: 60_000 };

const refusal = (code: string, text?: RegExp) => (error: unknown) =>
  error instanceof SwapError && error.code === code && (text?.test(error.message) ?? true);

const open = () => openSwap({ frontswap: { limitBytes: 32 * MiB }, residentBytes: MiB });

/** Words that compress, each different from its neighbours. */
function filled(bytes: number = BYTES): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(bytes / 4);
  for (let i = 0; i < words.length; i++) words[i] = i >>> 3;
  return words;
}

const isFilled = (buffer: ArrayBufferLike): boolean =>
  new Uint32Array(buffer).every((word, i) => word === i >>> 3);

interface Transferable extends ArrayBuffer {
  transfer(length?: number): Transferable;
}
const skipUnlessTransfer =
  skipUnlessPaging ||
  skipUnlessBuffers ||
  (!('transfer' in ArrayBuffer.prototype) && 'Node 20 has no transfer()');

test('a buffer is paged in place: it stays the same object with the same bytes', options, () => {
  using swap = open();
  const words = filled();
  const region: SwapRegion<ArrayBuffer> = swap.adopt(words.buffer);
  assert.equal(region.buffer, words.buffer);
  assert.equal(regionOf(words.buffer), region);
  assert.equal(region.bytes, BYTES);
  region.evict();
  assert.ok(isFilled(words.buffer));
  region.prefetch({ length: 0 }); // any call publishes the statistics
  assert.ok(region.stats().residentBytes <= MiB, 'the budget holds');
  assert.ok(region.stats().storedBytes > 2 * MiB);
  words[12_345] = 7;
  region.evict();
  assert.equal(words[12_345], 7);
  region.close();
  assert.equal(regionOf(words.buffer), null);
  words[12_345] = 12_345 >>> 3;
  assert.ok(isFilled(words.buffer));
  assert.equal(swap.stats().storedPages, 0);
});

test('a new buffer reads as zeros and costs nothing until it is written', options, () => {
  using swap = open();
  const bytes = new Uint8Array(BYTES);
  const region = swap.adopt(bytes.buffer);
  assert.equal(region.stats().storedBytes, 0);
  assert.ok(bytes.every((byte) => byte === 0));
  assert.equal(swap.stats().storedPages, 0, 'pages of zeros are not stored');
});

test('ranges are those of the buffer, although it starts inside a page', options, () => {
  using swap = open();
  const bytes = new Uint8Array(BYTES).fill(1);
  const region = swap.adopt(bytes.buffer);
  for (const [offset, length] of [
    [0, 1],
    [0, 2 * PAGE],
    [PAGE + 1, 5 * PAGE],
    [BYTES - 10, 10],
    [BYTES - 3 * PAGE, 3 * PAGE],
    [BYTES, 0],
  ] as const) {
    bytes.fill(1);
    region.evict({ offset, length });
    region.prefetch({ offset, length });
    region.pin({ offset, length })[Symbol.dispose]();
    region.discard({ offset, length });
    const wrong = bytes.findIndex(
      (byte, at) => byte !== (at >= offset && at < offset + length ? 0 : 1),
    );
    assert.equal(wrong, -1, `discard of ${length} bytes at ${offset}`);
  }
  assert.throws(() => region.discard({ offset: BYTES, length: 1 }), refusal('ERR_ARG_VALUE'));
  region.discard();
  assert.ok(bytes.every((byte) => byte === 0));
});

test('buffers that cannot be paged are refused, with a reason', options, () => {
  using swap = open();
  const { buffer } = filled();
  const region = swap.adopt(buffer);
  const adopting = (value: unknown) => () => swap.adopt(value as ArrayBuffer);
  assert.throws(adopting(buffer), refusal('ERR_ARG_VALUE', /already paged/));
  assert.throws(adopting(new ArrayBuffer(PAGE - 1)), refusal('ERR_ARG_VALUE', /no complete page/));
  assert.throws(adopting(new Uint8Array(BYTES)), refusal('ERR_ARG_VALUE', /nor an ArrayBuffer/));
  assert.throws(adopting(new SharedArrayBuffer(BYTES)), refusal('ERR_IO_UNSUPPORTED', /Shared/));
  const Resizable = ArrayBuffer as unknown as new (bytes: number, limits: object) => ArrayBuffer;
  assert.throws(
    adopting(new Resizable(BYTES, { maxByteLength: BYTES })),
    refusal('ERR_IO_UNSUPPORTED', /resizable/),
  );
  const mapped = swap.map({ bytes: MiB });
  assert.throws(adopting(mapped.buffer), refusal('ERR_IO_UNSUPPORTED', /V8 did not allocate/));
  assert.throws(() => region.handle, refusal('ERR_IO_UNSUPPORTED', /no handle/));
  assert.ok(isFilled(buffer));
});

test('structuredClone() and postMessage() copy a paged buffer', options, () => {
  using swap = open();
  const { buffer } = filled();
  swap.adopt(buffer);
  assert.ok(isFilled(structuredClone(buffer)));
  const { port1, port2 } = new MessageChannel();
  port1.postMessage({ buffer });
  assert.ok(isFilled(receiveMessageOnPort(port2)?.message.buffer));
  port1.close();
  assert.ok(isFilled(buffer));
  assert.notEqual(regionOf(buffer), null);
});

for (const [name, transfer] of [
  ['structuredClone()', (buffer) => structuredClone(buffer, { transfer: [buffer] })],
  [
    'structuredClone() with an iterator',
    (buffer) =>
      structuredClone(buffer, { transfer: [buffer].values() as unknown as ArrayBuffer[] }),
  ],
  [
    'postMessage()',
    (buffer) => {
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(buffer, [buffer]);
      port1.close();
      return receiveMessageOnPort(port2)?.message;
    },
  ],
  [
    'postMessage() with options',
    (buffer) => {
      const { port1, port2 } = new MessageChannel();
      port1.postMessage(buffer, { transfer: [buffer] } as never);
      port1.close();
      return receiveMessageOnPort(port2)?.message;
    },
  ],
] as readonly (readonly [string, (buffer: ArrayBuffer) => ArrayBuffer])[])
  test(
    `${name} swaps a transferred buffer in first, and it is not paged afterwards`,
    options,
    () => {
      using swap = open();
      const { buffer } = filled();
      swap.adopt(buffer);
      const result = transfer(buffer);
      assert.equal(buffer.byteLength, 0, 'it is detached');
      assert.equal(result.byteLength, BYTES);
      assert.ok(isFilled(result));
      assert.equal(regionOf(result), null);
      assert.deepEqual(swap.regions, []);
    },
  );

test('a buffer in the transferList of a worker arrives with its bytes', options, async () => {
  using swap = open();
  const { buffer } = filled();
  swap.adopt(buffer);
  const code = `const { parentPort, workerData } = require('node:worker_threads');
    parentPort.postMessage(new Uint32Array(workerData).every((word, i) => word === i >>> 3));`;
  const worker = new Worker(code, { eval: true, workerData: buffer, transferList: [buffer] });
  assert.ok(worker instanceof Worker);
  assert.deepEqual(await once(worker, 'message'), [true]);
  assert.equal(buffer.byteLength, 0);
  assert.deepEqual(swap.regions, []);
});

test('byte streams accept a paged buffer', options, async () => {
  using swap = open();
  const words = filled();
  swap.adopt(words.buffer);
  const stream = new ReadableStream({
    type: 'bytes',
    start: (controller) => {
      controller.enqueue(new Uint8Array(words.buffer));
      controller.close();
    },
  });
  const target = filled();
  swap.adopt(target.buffer);
  const reader = stream.getReader({ mode: 'byob' });
  const { value } = await reader.read(new Uint8Array(target.buffer));
  assert.equal(value?.byteLength, BYTES);
  assert.ok(isFilled(value.buffer));
  assert.deepEqual(swap.regions, []);
});

test('transfer() to the same length: the new buffer is paged', {
  ...options,
  skip: skipUnlessTransfer,
}, () => {
  using swap = open();
  const { buffer } = filled();
  const region = swap.adopt(buffer);
  const moved = (buffer as Transferable).transfer();
  assert.equal(region.buffer, moved);
  assert.equal(regionOf(moved), region);
  assert.equal(regionOf(buffer), null);
  region.evict();
  assert.ok(isFilled(moved));
  const shorter = moved.transfer(MiB);
  assert.equal(regionOf(shorter), null);
  assert.ok(isFilled(shorter));
  assert.deepEqual(swap.regions, []);
});

test(
  'dropped buffers are freed, and what malloc() puts there next is ordinary memory',
  options,
  () => {
    using swap = openSwap({ frontswap: { limitBytes: 64 * MiB }, residentBytes: MiB });
    for (let turn = 0; turn < 60; turn++) {
      const words = filled(BYTES);
      swap.adopt(words.buffer);
      assert.ok(isFilled(words.buffer), `turn ${turn}`);
      const plain = filled(BYTES / 2);
      assert.ok(isFilled(plain.buffer), `turn ${turn}`);
      assert.ok(swap.stats().storedPages <= (64 * MiB) / PAGE, 'dropped buffers are freed');
    }
    assert.ok(swap.regions.length < 30, `${swap.regions.length} of 60 are live`);
  },
);

const program = fileURLToPath(new URL('./children/buffers.js', import.meta.url));
const register = new URL('../../src/memory/register.js', import.meta.url).href;

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ending> {
  const env = { ...process.env, FRONTSWAP_RESIDENT: '4M', FRONTSWAP_STATS: '1', ...environment };
  return endingOf(spawn(process.execPath, args, { env }), undefined, 60_000);
}

/** Memories and buffers in the line at the end. */
const adopted = ({ stderr }: Ending): number =>
  Number(/frontswap: (\d+) memor(?:y|ies)/.exec(stderr)?.[1] ?? -1);

test('a program cannot tell that FRONTSWAP_BUFFERS pages its buffers', options, async () => {
  const plain = await run([program]);
  const paged = await run(['--import', register, program], { FRONTSWAP_BUFFERS: '2M' });
  assert.deepEqual([plain.code, paged.code], [0, 0], paged.stderr);
  assert.deepEqual(JSON.parse(paged.stdout), JSON.parse(plain.stdout));
  assert.ok(adopted(paged) > 10, paged.stderr);
});

test(
  'sql.js, whose file lies in a typed array, has the same result when it is paged',
  options,
  async () => {
    const sql = fileURLToPath(new URL('./children/sql-file.js', import.meta.url));
    const plain = await run([sql, '30000']);
    assert.match(plain.stdout, /\n[0-9a-f]{64}\n$/, plain.stderr);
    const paged = await run(['--import', register, sql, '30000'], {
      FRONTSWAP_RESIDENT: '1M',
      FRONTSWAP_BUFFERS: '1M',
    });
    assert.equal(paged.code, 0, paged.stderr);
    assert.equal(paged.stdout, plain.stdout);
    assert.ok(adopted(paged) >= 3, paged.stderr);
    assert.match(paged.stderr, / resident, [1-9][\d.]*M stored/);
  },
);

const large = 'const made = new Float64Array(2 ** 18); made.fill(1);';

test('buffers are paged from FRONTSWAP_BUFFERS on, and not without it', options, async () => {
  for (const [size, memories] of [
    [undefined, 0],
    [`${2 ** 21 + 1}`, 0],
    [`${2 ** 21}`, 1],
  ] as const) {
    const environment = size === undefined ? {} : { FRONTSWAP_BUFFERS: size };
    const ending = await run(['--import', register, '-e', large], environment);
    assert.equal(ending.code, 0, ending.stderr);
    assert.equal(adopted(ending), memories, ending.stderr);
  }
});

test(
  'a FRONTSWAP_BUFFERS that is too small or not a size is reported, and the program runs',
  options,
  async () => {
    for (const size of ['1023K', 'many']) {
      const environment = { FRONTSWAP_BUFFERS: size };
      const ending = await run(['--import', register, '-e', large], environment);
      assert.equal(ending.code, 0, ending.stderr);
      assert.match(ending.stderr, /FRONTSWAP_BUFFERS/);
    }
  },
);

test('FRONTSWAP_DISCARD=1 adds discard() to WebAssembly memories', options, async () => {
  const code = `const memory = new WebAssembly.Memory({ initial: 32 });
    const bytes = new Uint8Array(memory.buffer).fill(7);
    memory.discard(65536, 2 * 65536);
    const wrong = bytes.findIndex((byte, at) => byte !== (at >= 65536 && at < 3 * 65536 ? 0 : 7));
    const refused = [[1, 65536], [0, 4096], [0, 33 * 65536], [-65536, 65536], [0]].map((args) => {
      try { memory.discard(...args); return 'none'; } catch (error) { return error.name; }
    });
    console.log(wrong, refused.join());`;
  const ending = await run(['--import', register, '-e', code], { FRONTSWAP_DISCARD: '1' });
  assert.equal(
    ending.stdout,
    `-1 ${Array.from({ length: 5 }, () => 'RangeError').join()}\n`,
    ending.stderr,
  );
  const without = await run([
    '--import',
    register,
    '-p',
    "'discard' in WebAssembly.Memory.prototype",
  ]);
  assert.equal(without.stdout, 'false\n');
});
