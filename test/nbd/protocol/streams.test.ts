/**
 * Checks complete sessions against a byte array: random requests, input split anywhere, few or many bios, small or
 * large outputs, failing pages.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BioOp, BioStatus } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { OUTPUT_BYTES_MIN } from '../../../src/nbd/protocol/session.ts';
import { Command, WireError } from '../../../src/nbd/protocol/wire.ts';
import {
  answers,
  join,
  messages,
  type RequestFields,
  request,
} from '../../support/fixtures/nbd-client.ts';
import { slowed, transmitting } from '../../support/fixtures/nbd-harness.ts';
import { FaultDisk } from './fault-disk.ts';

const SIZE = 600_000;
const PAGE = 4096;
const seed =
  process.env['SEED'] === undefined ? Date.now() & 0x7fff_ffff : Number(process.env['SEED']);

interface Step {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  readonly fill: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  type: fc.constantFrom(
    Command.read,
    Command.read,
    Command.write,
    Command.write,
    Command.trim,
    Command.writeZeroes,
    Command.flush,
    Command.cache,
  ),
  offset: fc.oneof(
    fc.integer({ min: 0, max: SIZE }),
    fc.integer({ min: 0, max: SIZE >> 12 }).map((page) => page << 12),
  ),
  length: fc.oneof(
    fc.constant(PAGE),
    fc.integer({ min: 0, max: 10_000 }),
    fc.integer({ min: 0, max: 300_000 }),
  ),
  fill: fc.integer({ min: 1, max: 255 }),
});

const fieldsOf = ({ type, offset, length, fill }: Step, cookie: number): RequestFields => {
  if (type === Command.flush) return { type, cookie };
  if (type !== Command.write) return { type, cookie, offset, length };
  return { type, cookie, offset, data: new Uint8Array(length).fill(fill) };
};

/** The expected result; applies the request to the model. */
function modelAnswer(model: Buffer, { type, offset, length, fill }: Step): [number, Buffer] {
  const none = Buffer.alloc(0);
  if (type === Command.flush) return [0, none];
  const writes = type === Command.write || type === Command.writeZeroes;
  if (length === 0) return [WireError.inval, none];
  if (offset + length > SIZE) return [writes ? WireError.noSpace : WireError.inval, none];
  if (type === Command.read) return [0, Buffer.from(model.subarray(offset, offset + length))];
  if (type === Command.write) model.fill(fill, offset, offset + length);
  if (type === Command.trim || type === Command.writeZeroes) model.fill(0, offset, offset + length);
  return [0, none];
}

const conversation = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 12 }),
  sizes: fc.array(
    fc.oneof(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 9000 }),
      fc.integer({ min: 4000, max: 200_000 }),
    ),
    { minLength: 1, maxLength: 6 },
  ),
  structured: fc.boolean(),
  isSlow: fc.boolean(),
  bioCount: fc.integer({ min: 1, max: 20 }),
  outputBytes: fc.integer({ min: OUTPUT_BYTES_MIN, max: 4 * OUTPUT_BYTES_MIN }),
});

test('a session with input split anywhere replies and stores like a byte array', () => {
  fc.assert(
    fc.property(conversation, ({ steps, sizes, isSlow, ...options }) => {
      const memory = new MemoryDisk(SIZE);
      const harness = transmitting(isSlow ? slowed(memory) : memory, options);
      const model = Buffer.alloc(SIZE);
      const bytes = join(...steps.map((s, i) => request(fieldsOf(s, i))));
      const said = messages(
        harness.feedInPieces(bytes, sizes),
        (cookie) =>
          (steps[Number(cookie)]?.type === Command.read ? steps[Number(cookie)]?.length : 0) ?? 0,
      );
      const got = answers(said, (cookie) => steps[Number(cookie)] ?? { offset: 0, length: 0 });
      assert.deepEqual(
        got.map((a) => Number(a.cookie)),
        steps.map((_, i) => i),
        'one reply each, in order',
      );
      steps.forEach((s, i) => {
        const [error, data] = modelAnswer(model, s);
        assert.equal(got[i]?.error, error);
        assert.ok(got[i]?.data.equals(data), `data of request ${i}`);
      });
      const all = harness.feed(request({ type: Command.read, cookie: 0, length: SIZE }));
      const [disk] = answers(
        messages(all, () => SIZE),
        () => ({ offset: 0, length: SIZE }),
      );
      assert.ok(disk?.data.equals(model), 'the disk equals the array');
    }),
    { numRuns: 150, seed },
  );
});

test('failing pages fail exactly the requests that touch them', () => {
  fc.assert(
    fc.property(
      conversation,
      fc.uniqueArray(fc.integer({ min: 0, max: SIZE >> 12 }), { maxLength: 20 }),
      ({ steps, sizes, bioCount, isSlow }, bad) => {
        const disk = new FaultDisk(new MemoryDisk(SIZE));
        const isBad = (offset: number, length: number): boolean =>
          bad.some((page) => offset < (page + 1) * PAGE && page * PAGE < offset + length);
        disk.fault = (bio) =>
          (bio.op === BioOp.read || bio.op === BioOp.write) && isBad(bio.offset, bio.length)
            ? BioStatus.ioError
            : undefined;
        // Filled completely, so that no read is answered by a hole.
        const harness = transmitting(isSlow ? slowed(disk) : disk, { structured: true, bioCount });
        const { fault } = disk;
        disk.fault = () => undefined;
        harness.feed(request({ type: Command.write, data: new Uint8Array(SIZE).fill(1) }));
        disk.fault = fault;
        const io = steps.filter((s) => s.type === Command.read || s.type === Command.write);
        const bytes = join(...io.map((s, i) => request(fieldsOf(s, i))));
        const said = messages(harness.feedInPieces(bytes, sizes));
        const got = answers(said, (cookie) => io[Number(cookie)] ?? { offset: 0, length: 0 });
        assert.equal(got.length, io.length);
        io.forEach((s, i) => {
          const [refusal] = modelAnswer(Buffer.alloc(SIZE), s);
          const want = refusal !== 0 ? refusal : isBad(s.offset, s.length) ? WireError.io : 0;
          assert.equal(got[i]?.error, want);
        });
      },
    ),
    { numRuns: 100, seed },
  );
});
