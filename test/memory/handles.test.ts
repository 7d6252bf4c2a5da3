/** Handles and adopted memory: calls are refused that would page memory of another region or thread. */
import assert from 'node:assert/strict';
import { constants } from 'node:buffer';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { attachRegion, joinSwap, openSwap, regionOf, SwapError } from '../../src/index.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const options = { skip: skipUnlessPaging };

const refusal = (code: string) => (error: unknown) =>
  error instanceof SwapError && error.code === code;

interface WasmApi {
  readonly Memory: new (limits: {
    initial: number;
    maximum?: number;
  }) => {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  };
}
const { Memory } = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly;

test('a memory is adopted once', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB } });
  const memory = new Memory({ initial: 16 });
  const region = swap.adopt(memory, { residentBytes: MiB / 2 });
  assert.throws(() => swap.adopt(memory, { residentBytes: MiB / 2 }), refusal('ERR_ARG_VALUE'));
  const words = new Uint32Array(memory.buffer);
  for (let i = 0; i < words.length; i++) words[i] = i;
  region.evict();
  assert.ok(words.every((word, i) => word === i));
});

test('an adopted memory grows, its new pages are paged, and dispose swaps it in', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 32 * MiB } });
  const memory = new Memory({ initial: 1, maximum: 256 });
  new Uint8Array(memory.buffer)[7] = 7;
  const region = swap.adopt(memory, { residentBytes: MiB / 2 });
  memory.grow(127);
  const words = new Uint32Array(memory.buffer);
  for (let i = 16; i < words.length; i++) words[i] = i >>> 4; // compresses
  assert.ok(region.stats().pageOuts > 0);
  region[Symbol.dispose]();
  assert.equal(new Uint8Array(memory.buffer)[7], 7);
  for (let i = 16; i < words.length; i++) assert.equal(words[i], i >>> 4);
  assert.equal(swap.stats().storedPages, 0);
});

test(
  'regionOf() finds an adopted memory; its region has the current buffer and discards all of it',
  options,
  () => {
    using swap = openSwap({ frontswap: { limitBytes: 32 * MiB } });
    const memory = new Memory({ initial: 1, maximum: 64 });
    assert.equal(regionOf(memory), null);
    const region = swap.adopt(memory, { residentBytes: MiB / 2 });
    assert.equal(regionOf(memory), region);
    assert.deepEqual(swap.regions, [region]);
    memory.grow(31);
    assert.equal(region.buffer, memory.buffer);
    const bytes = new Uint8Array(memory.buffer).fill(5);
    region.discard({ offset: 3, length: 1 });
    assert.deepEqual([bytes[2], bytes[3], bytes[4]], [5, 0, 5]);
    region.discard({ offset: MiB });
    assert.deepEqual([bytes[MiB - 1], bytes[MiB], bytes.at(-1)], [5, 0, 0]);
    region.discard();
    assert.ok(bytes.every((byte) => byte === 0));
    assert.throws(
      () => region.discard({ length: memory.buffer.byteLength + 1 }),
      refusal('ERR_ARG_VALUE'),
    );
    region[Symbol.dispose]();
    assert.deepEqual([regionOf(memory), swap.regions], [null, []]);
  },
);

test('an invalid range or unknown option is refused and discards nothing', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 32 * MiB } });
  using region = swap.map({ bytes: MiB, residentBytes: MiB / 2 });
  const bytes = new Uint8Array(region.buffer).fill(7);
  for (const call of ['discard', 'evict', 'prefetch', 'pin'] as const) {
    assert.throws(() => region[call](0 as never), refusal('ERR_ARG_VALUE'), call);
    assert.throws(() => region[call]({ ofset: 0 } as object), refusal('ERR_ARG_UNKNOWN'), call);
  }
  assert.ok(bytes.every((byte) => byte === 7));
  const [map, adopt, open] = [
    { bytes: MiB, residentByte: 1 },
    { resident: MiB },
    { limitBytes: MiB } as object,
  ];
  assert.throws(() => swap.map(map), refusal('ERR_ARG_UNKNOWN'));
  assert.throws(
    () => swap.adopt(new Memory({ initial: 1 }), adopt as object),
    refusal('ERR_ARG_UNKNOWN'),
  );
  assert.throws(() => openSwap(open), refusal('ERR_ARG_UNKNOWN'));
  assert.throws(
    () =>
      openSwap({
        frontswap: open as object,
        devices: [{ kind: 'file', path: '/x', size: 1 } as never],
      }),
    refusal('ERR_ARG_UNKNOWN'),
  );
});

test('calls of a region that has ended throw one code', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 32 * MiB } });
  const region = swap.map({ bytes: MiB, residentBytes: MiB / 2 });
  region[Symbol.dispose]();
  for (const call of ['discard', 'evict', 'prefetch', 'pin'] as const)
    assert.throws(() => region[call]({ offset: 0, length: 8 }), refusal('ERR_IO_ENDED'), call);
});

test('a stale handle does not reach the region that reuses its index', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB } });
  const first = swap.map({ bytes: MiB, residentBytes: MiB / 2, shared: true });
  const { handle } = first;
  const stale = attachRegion(handle);
  first[Symbol.dispose]();
  const second = swap.map({ bytes: MiB, residentBytes: MiB / 2, shared: true });
  new Uint8Array(second.buffer).fill(9);
  assert.throws(() => stale.discard(), refusal('ERR_IO_ENDED'));
  assert.throws(() => attachRegion({ ...handle, memory: null }), refusal('ERR_IO_ENDED'));
  assert.ok(new Uint8Array(second.buffer).every((byte) => byte === 9));
});

test('only the thread that opened the swap adopts', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB }, residentBytes: MiB });
  using joined = joinSwap(swap.control!);
  const unsupported = refusal('ERR_IO_UNSUPPORTED');
  assert.throws(() => joined.adopt(new Memory({ initial: 1 })), unsupported);
  assert.throws(() => joined.map({ bytes: MiB, shared: true }), unsupported);
  using region = joined.map({ bytes: MiB });
  new Uint8Array(region.buffer).fill(1);
  assert.ok(region.evict() > 0);
});

test(
  'calls fail with a code after the thread that opened the swap has ended',
  options,
  async () => {
    const program = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}).then(({ openSwap }) => {
      const swap = openSwap({ frontswap: { limitBytes: 1 << 24 }, residentBytes: 1 << 20 });
      setInterval(() => {}, 1000);
      parentPort.postMessage(swap.control);
    });`;
    const owner = new Worker(program, { eval: true });
    const control = await new Promise<SharedArrayBuffer>((resolve) =>
      owner.once('message', resolve),
    );
    const joined = joinSwap(control);
    joined.map({ bytes: MiB })[Symbol.dispose]();
    await owner.terminate();
    assert.throws(() => joined.map({ bytes: MiB }), refusal('ERR_IO_ENDED'));
    assert.throws(() => joined.map({ bytes: MiB }), refusal('ERR_IO_ENDED'));
  },
);

test(
  'calls with a range outside the region, or of a region that has ended, are refused',
  options,
  () => {
    using swap = openSwap({ frontswap: { limitBytes: 16 * MiB } });
    const region = swap.map({ bytes: MiB, residentBytes: MiB / 2 });
    for (const range of [
      { offset: -1 },
      { offset: 0, length: MiB + 1 },
      { offset: MiB, length: 1 },
      { offset: 0.5, length: 1 },
      { length: Number.NaN },
    ])
      assert.throws(() => region.evict(range), refusal('ERR_ARG_VALUE'));
    assert.equal(region.evict({ offset: MiB, length: 0 }), 0);
    region[Symbol.dispose]();
    assert.throws(() => region.evict(), refusal('ERR_IO_ENDED'));
  },
);

test('sizes are checked before any work', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB } });
  const bad = refusal('ERR_ARG_VALUE');
  assert.throws(() => swap.map({ bytes: 0, residentBytes: MiB }), bad);
  assert.throws(() => swap.map({ bytes: 1.5, residentBytes: MiB }), bad);
  assert.throws(() => swap.map({ bytes: MiB, residentBytes: 32 * PAGE - 1 }), bad);
  assert.throws(() => swap.map({ bytes: MiB }), bad);
  swap.map({ bytes: 1, residentBytes: 32 * PAGE });
  const bytes = constants.MAX_LENGTH + 1;
  assert.throws(() => swap.map({ bytes, residentBytes: MiB }), bad);
  assert.throws(() => swap.map({ bytes, residentBytes: MiB, shared: true }), bad);
});

test('an ordinary region beyond 4 GiB is an ArrayBuffer, paged on both sides of it', {
  skip: options.skip || (constants.MAX_LENGTH <= 2 ** 32 && 'needs Node 22'),
}, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB } });
  const { buffer } = swap.map({ bytes: 2 ** 32 + 4 * MiB, residentBytes: MiB / 2 });
  assert.ok(buffer instanceof ArrayBuffer);
  const words = new Uint32Array(buffer, 2 ** 32 - 2 * MiB, MiB);
  for (let i = 0; i < words.length; i++) words[i] = i >>> 4;
  assert.ok(words.every((word, i) => word === i >>> 4));
});

test('pins: at most seven eighths of the budget, and a pinned page stays resident', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB } });
  const region = swap.map({ bytes: 4 * MiB, residentBytes: MiB });
  const bytes = new Uint8Array(region.buffer);
  bytes.fill(3);
  {
    using _pinned = region.pin({ offset: 0, length: MiB / 2 });
    assert.throws(() => region.pin({ offset: MiB, length: MiB / 2 }), refusal('ERR_IO_NO_ROOM'));
    assert.equal(region.stats().pinnedBytes, MiB / 2);
    region.evict();
    assert.equal(region.stats().residentBytes, MiB / 2);
  }
  region.evict();
  assert.equal(region.stats().residentBytes, 0);
});

test('a region lives as long as any buffer over it is reachable', {
  skip: skipUnlessPaging || (!('transfer' in ArrayBuffer.prototype) && 'needs Node 22'),
}, async () => {
  using swap = openSwap({ frontswap: { limitBytes: 32 * MiB } });
  const make = (): ArrayBuffer => {
    const { buffer } = swap.map({ bytes: 4 * MiB, residentBytes: MiB / 2 });
    new Uint32Array(buffer).fill(2010);
    return (buffer as unknown as { transfer(): ArrayBuffer }).transfer();
  };
  const moved = make();
  for (let i = 0; i < 4; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(
    new Uint32Array(moved).every((word) => word === 2010),
    'the bytes are those that were written',
  );
  // A transfer to another length is a copy, not a view of the region.
  const { buffer } = swap.map({ bytes: 4 * MiB, residentBytes: MiB / 2 });
  new Uint8Array(buffer).fill(7);
  const part = (buffer as unknown as { transfer(bytes: number): ArrayBuffer }).transfer(PAGE);
  assert.deepEqual(new Uint8Array(part), new Uint8Array(PAGE).fill(7));
});

test('arguments of the wrong kind are refused with a code that says what to pass', options, () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB }, residentBytes: MiB });
  const bad = refusal('ERR_ARG_VALUE');
  for (const wrong of [undefined, null, {}, new SharedArrayBuffer(8)]) {
    assert.throws(() => joinSwap(wrong as never), bad);
    assert.throws(() => attachRegion(wrong as never), bad);
  }
  for (const wrong of [{}, { buffer: new ArrayBuffer(65536) }])
    assert.throws(() => swap.adopt(wrong as never), bad);
  const file = { kind: 'file', path: '/nonexistent/swap', sizeBytes: MiB } as const;
  const devices = [
    {},
    [{ ...file, kind: 'disk' }],
    [{ ...file, path: '' }],
    [{ ...file, priority: -1 }],
  ];
  for (const wrong of devices) assert.throws(() => openSwap({ devices: wrong as never }), bad);
});
