/** Transfers of paged buffers by programs that replace properties, keep functions in variables, or use two swaps. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { createContext } from 'node:vm';
import { MessageChannel, moveMessagePortToContext, Worker } from 'node:worker_threads';
import { type MemorySwap, openSwap, regionOf } from '../../src/index.ts';
import { skipUnlessBuffers, skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';

const MiB = 2 ** 20;
const options = { skip: skipUnlessPaging || skipUnlessBuffers, timeout: 60_000 };
const open = (): MemorySwap =>
  openSwap({ frontswap: { limitBytes: 16 * MiB }, residentBytes: MiB });

function filled(): ArrayBuffer {
  const words = new Uint32Array(MiB);
  return words.map((_, i) => i >>> 3).buffer;
}
const isFilled = (buffer: ArrayBuffer): boolean =>
  new Uint32Array(buffer).every((word, i) => word === i >>> 3);

const clone = (buffer: ArrayBuffer, given: object): ArrayBuffer =>
  structuredClone(buffer, given as Parameters<typeof structuredClone>[1]);

/** Options whose getters need the object itself. */
class Given {
  readonly #buffer: ArrayBuffer;
  readonly eval = true;
  constructor(buffer: ArrayBuffer) {
    this.#buffer = buffer;
  }
  get workerData(): ArrayBuffer {
    return this.#buffer;
  }
  get transfer(): Iterable<ArrayBuffer> {
    return new Set([this.#buffer]);
  }
  get transferList(): ArrayBuffer[] {
    return [this.#buffer];
  }
}

const transfers: readonly (readonly [string, (buffer: ArrayBuffer) => ArrayBuffer])[] = [
  [
    'whose list is read once',
    (buffer) => {
      let reads = 0;
      const given = {
        get transfer() {
          reads++;
          return [buffer];
        },
      };
      const result = clone(buffer, given);
      assert.equal(reads, 1);
      return result;
    },
  ],
  ['with getters of private fields', (buffer) => clone(buffer, new Given(buffer))],
  [
    'with frozen options',
    (buffer) => clone(buffer, Object.freeze({ transfer: Object.freeze([buffer]) })),
  ],
  [
    'with options that are also a list',
    (buffer) => {
      const result = clone(buffer, Object.assign([], { transfer: [buffer] }));
      assert.equal(buffer.byteLength, 0);
      return result;
    },
  ],
  [
    'of an object without a prototype',
    (buffer) => {
      Object.setPrototypeOf(buffer, null);
      return clone(buffer, { transfer: [buffer] });
    },
  ],
  [
    'while instanceof is false',
    (buffer) => {
      Object.defineProperty(ArrayBuffer, Symbol.hasInstance, {
        value: () => false,
        configurable: true,
      });
      try {
        return clone(buffer, { transfer: [buffer] });
      } finally {
        Reflect.deleteProperty(ArrayBuffer, Symbol.hasInstance);
      }
    },
  ],
];
for (const [name, transfer] of transfers)
  test(`a transfer ${name} ends paging first`, options, () => {
    using swap = open();
    const buffer = filled();
    swap.adopt(buffer);
    const result = transfer(buffer);
    assert.deepEqual(swap.regions, []);
    assert.ok(isFilled(result));
  });

const workerOptions: readonly (readonly [string, (buffer: ArrayBuffer) => object])[] = [
  [
    'that are inherited',
    (buffer) => Object.create({ eval: true, workerData: buffer, transferList: [buffer] }),
  ],
  ['with getters of private fields', (buffer) => new Given(buffer)],
];
for (const [name, given] of workerOptions)
  test(
    `a buffer passed to a worker by options ${name} arrives, and is not paged any more`,
    options,
    async () => {
      using swap = open();
      const buffer = filled();
      swap.adopt(buffer);
      const code = `const { parentPort, workerData } = require('node:worker_threads');
    parentPort.postMessage(new Uint32Array(workerData).every((word, i) => word === i >>> 3));`;
      assert.deepEqual(await once(new Worker(code, given(buffer)), 'message'), [true]);
      assert.deepEqual(swap.regions, []);
    },
  );

for (const wrap of [
  (buffer: ArrayBuffer) => [buffer],
  (buffer: ArrayBuffer) => ({ transfer: [buffer] }),
])
  test(
    `a transfer by a port of another context ends paging first: ${JSON.stringify(wrap(new ArrayBuffer(0)))}`,
    options,
    async (t) => {
      using swap = open();
      const buffer = filled();
      swap.adopt(buffer);
      const { port1, port2 } = new MessageChannel();
      t.after(() => port2.close());
      const moved = moveMessagePortToContext(port1, createContext({}));
      moved.postMessage(buffer, wrap(buffer) as ArrayBuffer[]);
      assert.deepEqual(swap.regions, []);
      const [received] = await once(port2, 'message');
      assert.ok(isFilled(received));
    },
  );

const skipOn20 = options.skip || (!('transfer' in ArrayBuffer.prototype) && 'Node 20 has none');

test('transfer() ends paging that the conversion of its length has started', {
  ...options,
  skip: skipOn20,
}, () => {
  using swap = open();
  const buffer = filled() as ArrayBuffer & { transfer(bytes: unknown): ArrayBuffer };
  const length = {
    valueOf: () => {
      swap.adopt(buffer);
      return 8;
    },
  };
  assert.equal(buffer.transfer(length).byteLength, 8);
  assert.deepEqual(swap.regions, []);
  const other = filled() as typeof buffer;
  const region = swap.adopt(other);
  assert.equal(regionOf(other.transfer(String(other.byteLength))), region);
});

test('transfer() of a buffer whose byteLength was replaced ends paging', {
  ...options,
  skip: skipOn20,
}, () => {
  using swap = open();
  const buffer = filled();
  swap.adopt(buffer);
  Object.defineProperty(buffer, 'byteLength', { value: 8 });
  const short = (buffer as ArrayBuffer & { transfer(bytes: number): ArrayBuffer }).transfer(8);
  assert.equal(short.byteLength, 8);
  assert.deepEqual(swap.regions, []);
});

test('respond() ends paging of the buffer of a BYOB request', options, async () => {
  using swap = open();
  const stream = new ReadableStream({
    type: 'bytes',
    pull: (controller) => {
      const request = controller.byobRequest!;
      const words = new Uint32Array(request.view!.buffer as ArrayBuffer);
      words.forEach((_, i) => {
        words[i] = i >>> 3;
      });
      swap.adopt(words.buffer);
      request.respond(words.byteLength);
    },
  });
  const { value } = await stream.getReader({ mode: 'byob' }).read(new Uint8Array(4 * MiB));
  assert.deepEqual(swap.regions, []);
  assert.ok(isFilled(value!.buffer));
});

test(
  'after its swap was closed, a buffer is not paged, and another swap can page it',
  options,
  () => {
    const first = open();
    const buffer = filled();
    const region = first.adopt(buffer);
    first.close();
    assert.equal(regionOf(buffer), null);
    using second = open();
    const again = second.adopt(buffer);
    region.close();
    assert.equal(regionOf(buffer), again, 'the first region has no effect on the second');
    assert.ok(isFilled(clone(buffer, { transfer: [buffer] })));
    assert.deepEqual(second.regions, []);
  },
);

test('a region can be closed, and its buffer transferred, right after the swap', options, () => {
  for (let turn = 0; turn < 30; turn++) {
    const swap = open();
    const buffer = new ArrayBuffer(MiB);
    const region = swap.adopt(buffer);
    swap.close();
    if (turn % 2 === 0) region.close();
    else assert.equal(clone(buffer, { transfer: [buffer] }).byteLength, MiB);
  }
});

test(
  'register sees transfers by functions that the program keeps in variables',
  options,
  async () => {
    const code = `const clone = structuredClone;
    const data = new Uint32Array(2 ** 20).map((_, i) => i >>> 3);
    const moved = clone(data.buffer, { transfer: [data.buffer] });
    console.log(globalThis.regionOf(data.buffer), moved.byteLength);`;
    const register = new URL('../../src/memory/register.js', import.meta.url).href;
    const index = new URL('../../src/index.js', import.meta.url).href;
    const load = `data:text/javascript,import{regionOf}from'${index}';globalThis.regionOf=regionOf`;
    const child = spawn(process.execPath, ['--import', register, '--import', load, '-e', code], {
      env: { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_BUFFERS: '4M' },
    });
    const { stdout, stderr } = await endingOf(child);
    assert.equal(stdout, 'null 4194304\n', stderr);
  },
);

const index = new URL('../../src/index.js', import.meta.url).href;

async function output(code: string, load: readonly string[] = []): Promise<string> {
  const argv = [...load, '--input-type=module', '-e', code];
  const paged = { FRONTSWAP_RESIDENT: '1M', FRONTSWAP_BUFFERS: '4M', FRONTSWAP_WORKERS: '1' };
  const env = { ...process.env, ...paged };
  const { stdout, stderr } = await endingOf(spawn(process.execPath, argv, { env }));
  return stdout + stderr;
}

test('a buffer is not paged while a function that transfers it is frozen', options, async () => {
  const said = await output(`Object.freeze(MessagePort.prototype);
    const { openSwap } = await import('${index}');
    try {
      openSwap().adopt(new ArrayBuffer(2 ** 22));
    } catch ({ code, message }) {
      console.log(code, message);
    }`);
  assert.match(
    said,
    /^ERR_IO_UNSUPPORTED .*a buffer while postMessage\(\) is frozen cannot be paged/,
  );
});

test('a buffer is paged although the program has removed global functions', options, async () => {
  const said = await output(`for (const name of ['structuredClone', 'ReadableByteStreamController',
      'ReadableStreamBYOBReader', 'ReadableStreamBYOBRequest']) delete globalThis[name];
    const { openSwap } = await import('${index}');
    const swap = openSwap({ residentBytes: 2 ** 20 });
    swap.adopt(new ArrayBuffer(2 ** 22));
    console.log(swap.regions.length);`);
  assert.equal(said, '1\n');
});

test('a worker thread that pages a buffer sees its transfer', options, async () => {
  const register = new URL('../../src/memory/register.js', import.meta.url).href;
  const worker = `const memory = new WebAssembly.Memory({ initial: 1 }); // opens the swap
    const { swap } = await import('${register}');
    const { parentPort } = await import('node:worker_threads');
    const buffer = new Uint32Array(2 ** 20).map((_, i) => i >>> 3).buffer;
    swap.adopt(buffer);
    const before = swap.regions.length;
    const moved = structuredClone(buffer, { transfer: [buffer] });
    const isSame = new Uint32Array(moved).every((word, i) => word === i >>> 3);
    parentPort.postMessage([before, swap.regions.length, isSame, memory.buffer.byteLength]);`;
  const url = `data:text/javascript,${encodeURIComponent(worker)}`;
  const said = await output(
    `import { Worker } from 'node:worker_threads';
    globalThis.memory = new WebAssembly.Memory({ initial: 1 });
    new Worker(new URL(${JSON.stringify(url)})).on('message', (seen) => console.log(seen.join()));`,
    ['--import', register],
  );
  assert.equal(said, '2,1,true,65536\n');
});
