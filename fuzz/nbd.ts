/**
 * Fuzzes NBD sessions: sequences of likely and unlikely requests, mutated and cut anywhere.
 *
 * A naive interpreter reads the same bytes at once, with an array as its disk. After each session
 * - nothing was thrown, and every call made progress (the harness counts);
 * - the replies of the transmission phase equal those of the interpreter: well formed, one per request, in order;
 * - the disk equals the array, except for a last write whose payload was cut short;
 * - with TLS required, no reply before the TLS handshake depends on the exports; what was negotiated before it is discarded;
 * - a negotiation that moves between two threads gets the replies of one that does not;
 * - a well-behaved session that shares output and bios with the hostile one still reads and writes its own disk.
 */
import assert from 'node:assert/strict';
import { Prng } from '../src/base/prng.ts';
import { BioPool } from '../src/block/bio.ts';
import { MemoryDisk } from '../src/block/disks/memory-disk.ts';
import type { NbdExport } from '../src/nbd/protocol/exports.ts';
import { Output } from '../src/nbd/protocol/output.ts';
import { OUTPUT_BYTES_MIN } from '../src/nbd/protocol/session.ts';
import { SessionEnd, SessionStop, type TlsMode } from '../src/nbd/protocol/state.ts';
import {
  Command,
  CommandFlag,
  Magic,
  Option,
  OptionReply,
  Request,
  WireError,
} from '../src/nbd/protocol/wire.ts';
import {
  answers,
  clientFlags,
  infoData,
  join,
  joinAll,
  messages,
  metaData,
  option,
  optionReplies,
  request,
} from '../test/support/fixtures/nbd-client.ts';
import { Harness, transmitting } from '../test/support/fixtures/nbd-harness.ts';

/** Size of most disks, bytes: they are compared byte by byte. A large one has reads of more than an output. */
const SMALL = 20_000;
const LARGE = 300_000;
const LARGE_ONE_IN = 64;
const PAYLOAD_BYTES_MAX = 32 * 1024 * 1024;

export interface FuzzOptions {
  /** 32 bits; the same seed repeats the same run. */
  readonly seed: number;
  readonly seconds: number;
}

/** Runs for `seconds`; returns the number of sessions. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const prng = new Prng(seed);
  const pools = { synchronous: new BioPool(16), asynchronous: new BioPool(16) };
  const output = new Output(new Uint8Array(2 * OUTPUT_BYTES_MIN), pools);
  const bystander = new Bystander(output);
  const end = performance.now() + seconds * 1000;
  let count = 0;
  while (performance.now() < end) {
    const kind = prng.below(8);
    if (kind < 2) negotiate(prng, output);
    else if (kind === 2) move(prng, output);
    else transmit(prng, output);
    for (const pool of [pools.synchronous, pools.asynchronous])
      assert.equal(pool.freeCount, pool.capacity, 'every bio is in its pool again');
    bystander.check(prng);
    count++;
  }
  return count;
}

/** A well-behaved client with a disk of its own. */
class Bystander {
  readonly #harness: Harness;
  readonly #model = Buffer.alloc(SMALL);

  constructor(output: Output) {
    this.#harness = transmitting(new MemoryDisk(SMALL), { output });
  }

  check(prng: Prng): void {
    const offset = prng.below(SMALL - 5000);
    const data = new Uint8Array(1 + prng.below(5000)).fill(prng.below(256));
    this.#harness.feed(request({ type: Command.write, offset, data }));
    this.#model.set(data, offset);
    const all = this.#harness.feed(request({ type: Command.read, length: SMALL }));
    const [read] = messages(all, () => SMALL);
    assert.ok(read?.payload.equals(this.#model), 'the well-behaved client reads what it wrote');
  }
}

const pick = <T>(prng: Prng, from: readonly T[]): T => from[prng.below(from.length)] as T;

/** Flips, overwrites, repeats or drops a few bytes. */
function mutate(prng: Prng, bytes: Uint8Array): Uint8Array {
  let mutated: Uint8Array = Uint8Array.from(bytes);
  for (let n = prng.below(4); n > 0 && mutated.length > 0; n--) {
    const at = prng.below(mutated.length);
    switch (prng.below(4)) {
      case 0:
        mutated[at]! ^= 1 << prng.below(8);
        break;
      case 1:
        mutated[at] = pick(prng, [0, 1, 0x7f, 0x80, 0xff]);
        break;
      case 2:
        mutated = join(mutated.subarray(0, at), mutated.subarray(at + 1 + prng.below(30)));
        break;
      default:
        mutated = join(mutated.subarray(0, at), mutated.subarray(Math.max(0, at - 30)));
    }
  }
  return mutated;
}

/** Sizes of the pieces of `length` bytes, repeated; at most about 150 pieces. */
const cuts = (prng: Prng, length: number): number[] => [
  ...Array.from(
    { length: 1 + prng.below(4) },
    () => 1 + prng.below(pick(prng, [4, 40, 5000, 300_000])),
  ),
  Math.ceil(length / 32),
];

function someOption(prng: Prng): Uint8Array {
  const name = pick(prng, ['disk', '', 'absent', 'n'.repeat(4097)]);
  const data = pick(prng, [
    () => new Uint8Array(0),
    () => infoData(name, [0, 1, 2, 3]),
    () => metaData(name, pick(prng, [[], ['base:allocation'], ['base:', 'x:y']])),
    () => new Uint8Array(prng.below(prng.oneIn(8) ? 70_000 : 300)),
  ])();
  const likely = [...Object.values(Option), prng.u32()];
  return option(pick(prng, likely), prng.oneIn(3) ? mutate(prng, data) : data);
}

/** A negotiation: until an export is chosen, all output must be option replies. */
function negotiate(prng: Prng, output: Output): void {
  const tls = pick<TlsMode>(prng, ['off', 'on', 'require']);
  const disk = new MemoryDisk(SMALL);
  const served = { name: 'disk', description: 'fuzzed', disk };
  const harness = new Harness(new Map([['disk', served]]), { output, tls });
  harness.open();
  const options = Array.from({ length: 1 + prng.below(12) }, () => someOption(prng));
  // Unmutated: else most sequences never start TLS.
  const startTls = prng.oneIn(2) ? [option(Option.structuredReply), option(Option.startTls)] : [];
  options.splice(prng.below(options.length), 0, ...startTls);
  const complete = join(clientFlags(prng.oneIn(20) ? prng.u32() : 3), ...options);
  const bytes = prng.oneIn(2) ? mutate(prng, complete) : complete;
  // Pieces that end with an option, as a client sends them, or cut anywhere.
  const sizes = prng.oneIn(2)
    ? [4, ...options.map(({ length }) => length)]
    : cuts(prng, bytes.length);
  const said: Uint8Array[] = [];
  let isSecure = false;
  for (let at = 0, i = 0; at < bytes.length && harness.session.export === null; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    const replies = harness.feed(bytes.subarray(at, at + size));
    at += size;
    if (tls === 'require' && !isSecure) checkPlain(harness, replies);
    if (harness.session.end === SessionEnd.none && harness.session.stop === SessionStop.startTls) {
      assert.ok(tls !== 'off' && !isSecure, 'TLS starts once, where it is served');
      isSecure = true;
      harness.session.secured();
      checkDiscarded(prng, harness);
    }
    said.push(replies);
  }
  // After an export is chosen the output has another form (EXPORT_NAME), which this decoder does not read.
  if (harness.session.export === null) optionReplies(joinAll(said));
}

/**
 * A negotiation that is handed over to the thread of its disk. It gets the same replies, and ends for the same reason, as with one
 * thread, unless the disk has been removed there.
 */
function move(prng: Prng, output: Output): void {
  const exportsWith = (isElsewhere: boolean): Map<string, NbdExport> =>
    new Map([
      ['disk', { name: 'disk', description: 'fuzzed', disk: new MemoryDisk(SMALL), isElsewhere }],
      ['here', { name: 'here', description: 'not moved', disk: new MemoryDisk(SMALL) }],
    ]);
  const isRemoved = prng.oneIn(4);
  const owned = isRemoved ? new Map<string, NbdExport>() : exportsWith(false);
  const moving = new Harness(exportsWith(true), { output, owned });
  const staying = new Harness(exportsWith(false), { output });
  assert.deepEqual(moving.open(), staying.open());
  const structured = option(Option.structuredReply);
  const context = option(Option.setMetaContext, metaData('disk', ['base:allocation']));
  const options = prng.oneIn(2)
    ? [structured, context, option(Option.go, infoData('disk'))]
    : Array.from({ length: 1 + prng.below(12) }, () => someOption(prng));
  // Up to the limit of options, which counts those before the move.
  if (prng.oneIn(8))
    options.unshift(...new Array<Uint8Array>(110 + prng.below(20)).fill(structured));
  const requests = Array.from({ length: prng.below(4) }, (_, i) => someRequest(prng, i, SMALL));
  const complete = join(clientFlags(prng.oneIn(20) ? prng.u32() : 3), ...options, ...requests);
  const bytes = prng.oneIn(2) ? mutate(prng, complete) : complete;
  const sizes = cuts(prng, bytes.length);
  const said = moving.feedInPieces(bytes, sizes);
  if (isRemoved) {
    if (moving.session.export === null) optionReplies(said);
    return;
  }
  assert.deepEqual(said, staying.feedInPieces(bytes, sizes), 'the replies are those of one thread');
  assert.equal(moving.session.end, staying.session.end);
  assert.equal(moving.session.export?.name, staying.session.export?.name);
}

/** Replies of a session that requires TLS, before TLS. */
function checkPlain(harness: Harness, replies: Uint8Array): void {
  assert.equal(harness.session.export, null, 'no export is opened before TLS');
  const { startTls, abort } = Option;
  const ofStartTls: readonly number[] = [
    OptionReply.ack,
    OptionReply.errInvalid,
    OptionReply.errTooBig,
  ];
  for (const { option: of, type, data } of optionReplies(replies)) {
    assert.equal(data.length, 0, 'a reply before TLS has no data');
    if (of === startTls) assert.ok(ofStartTls.includes(type));
    else assert.equal(type, of === abort ? OptionReply.ack : OptionReply.errTlsRequired);
  }
}

/** Structured replies are a condition of metadata contexts: right after TLS has started they are not negotiated. */
function checkDiscarded(prng: Prng, harness: Harness): void {
  if (prng.oneIn(2)) return;
  const data = metaData('disk', ['base:allocation']);
  const [reply] = optionReplies(harness.feed(option(Option.setMetaContext, data)));
  const isAtLimit = harness.session.end === SessionEnd.optionCount;
  assert.ok(isAtLimit || reply?.type === OptionReply.errInvalid, 'structured replies are off');
}

function someRequest(prng: Prng, cookie: number, size: number): Uint8Array {
  const type = prng.oneIn(12) ? prng.below(0x1_0000) : pick(prng, KINDS);
  const offset = prng.oneIn(8)
    ? BigInt(prng.u32()) * BigInt(prng.u32())
    : pick(prng, [prng.below(size), prng.below(size) & ~4095, size - prng.below(5000)]);
  const length = pick(prng, [0, 1, 512, 4096, prng.below(9000), prng.below(size), prng.u32()]);
  const flags = prng.oneIn(3) ? pick(prng, [1, 2, 4, 8, 16, 18, prng.below(0x1_0000)]) : 0;
  if (type !== Command.write) return request({ type, cookie, offset, length, flags });
  const data = new Uint8Array(Math.min(length, 2 * size)).fill(1 + prng.below(255));
  return request({ type, cookie, offset, flags, data });
}

const KINDS = [
  Command.read,
  Command.read,
  Command.write,
  Command.write,
  Command.flush,
  Command.trim,
  Command.cache,
  Command.writeZeroes,
  Command.blockStatus,
];

function transmit(prng: Prng, output: Output): void {
  const structured = prng.oneIn(2);
  const size = prng.oneIn(LARGE_ONE_IN) ? LARGE : SMALL;
  const disk = new MemoryDisk(size);
  const harness = transmitting(disk, { structured, output });
  const requests = Array.from({ length: 1 + prng.below(10) }, (_, i) => someRequest(prng, i, size));
  const complete = join(...requests);
  const bytes = prng.oneIn(2) ? mutate(prng, complete) : complete;
  const said = harness.feedInPieces(bytes, cuts(prng, bytes.length));
  const expected = interpret(bytes, structured, size);

  // Simple replies come in order, one per request; mutated requests may share a cookie.
  const succeeded = expected.replies.filter((r) => r.error === 0);
  let next = 0;
  const found = messages(said, () => (structured ? 0 : (succeeded[next++]?.read ?? 0)));
  compare(found, expected);
  assert.equal(harness.session.end, expected.end);
  const reader = transmitting(disk, { output });
  const all = reader.feed(request({ type: Command.read, length: size }));
  const read = messages(all, () => size)[0]?.payload;
  assert.ok(read !== undefined);
  read.copy(expected.disk, expected.unsureFrom, expected.unsureFrom, expected.unsureTo);
  assert.ok(read.equals(expected.disk), 'the disk equals the array');
}

interface Reply {
  readonly cookie: bigint;
  readonly type: number;
  readonly error: number;
  /** Length of a successful read, and its offset. */
  readonly read: number;
  readonly offset: number;
  readonly data: Buffer;
}

interface Interpreted {
  readonly replies: Reply[];
  readonly disk: Buffer;
  readonly end: SessionEnd;
  /** The range of a last write whose payload was cut: it may have been written in part. */
  readonly unsureFrom: number;
  readonly unsureTo: number;
}

function compare(found: ReturnType<typeof messages>, expected: Interpreted): void {
  let at = 0;
  for (const reply of expected.replies) {
    const first = found[at];
    assert.ok(first !== undefined, 'each request has a reply');
    assert.equal(first.cookie, reply.cookie);
    if (reply.type === Command.blockStatus && reply.error === 0) {
      assert.ok(first.done && first.type === 5, 'a block status reply is one chunk');
      at++;
      continue;
    }
    let count = 1;
    while (found[at + count - 1]?.done === false) count++;
    const [answer] = answers(found.slice(at, at + count), () => ({
      offset: reply.offset,
      length: reply.read,
    }));
    assert.equal(answer?.error, reply.error);
    if (reply.error === 0)
      assert.ok(answer?.data.equals(reply.data), 'the data of a read is correct');
    at += count;
  }
  assert.equal(at, found.length, 'there are no other replies');
}

/** Interprets the bytes without streaming: one complete request after the other. */
function interpret(bytes: Uint8Array, structured: boolean, size: number): Interpreted {
  const buffer = Buffer.from(bytes);
  const disk = Buffer.alloc(size);
  const replies: Reply[] = [];
  let at = 0;
  const result = (end: SessionEnd, unsureFrom = 0, unsureTo = 0): Interpreted => ({
    replies,
    disk,
    end,
    unsureFrom,
    unsureTo,
  });
  while (buffer.length - at >= Request.bytes) {
    if (buffer.readUInt32BE(at) !== Magic.request) return result(SessionEnd.requestMagic);
    const flags = buffer.readUInt16BE(at + Request.flags);
    const type = buffer.readUInt16BE(at + Request.type);
    const cookie = buffer.readBigUInt64BE(at + Request.cookie);
    const offset = buffer.readBigUInt64BE(at + Request.offset);
    const length = buffer.readUInt32BE(at + Request.length);
    if (type === Command.disc) return result(SessionEnd.disconnect);
    if (type === Command.write && length > PAYLOAD_BYTES_MAX) return result(SessionEnd.writeLength);
    const error = errorOf({ flags, type, offset, length, structured, size });
    const from = Number(offset);
    at += Request.bytes;
    if (type === Command.write && length > 0) {
      const isCut = buffer.length - at < length;
      if (isCut)
        return error === 0 ? result(SessionEnd.none, from, from + length) : result(SessionEnd.none);
      if (error === 0) buffer.copy(disk, from, at, at + length);
      at += length;
    }
    const clears = type === Command.trim || type === Command.writeZeroes;
    if (clears && error === 0) disk.fill(0, from, from + length);
    const isRead = type === Command.read && error === 0;
    const data = isRead ? Buffer.from(disk.subarray(from, from + length)) : Buffer.alloc(0);
    const read = isRead ? length : 0;
    replies.push({ cookie, type, error, read, offset: isRead ? from : 0, data });
  }
  return result(SessionEnd.none);
}

interface Asked {
  readonly flags: number;
  readonly type: number;
  readonly offset: bigint;
  readonly length: number;
  readonly structured: boolean;
  /** Of the disk. */
  readonly size: number;
}

/** The error of a request by the rules of the protocol, in the order in which they apply; 0: none. */
function errorOf({ flags, type, offset, length, structured, size }: Asked): number {
  const { fua, noHole, fastZero, df, reqOne } = CommandFlag;
  if (type > Command.blockStatus) return WireError.inval;
  let allowed: number = fua;
  if (type === Command.writeZeroes) allowed |= noHole | fastZero;
  if (type === Command.read && structured) allowed |= df;
  if (type === Command.blockStatus) allowed |= reqOne;
  if ((flags & ~allowed) !== 0) return WireError.inval;
  if (type === Command.flush) return offset === 0n && length === 0 ? 0 : WireError.inval;
  if (type === Command.blockStatus && !structured) return WireError.inval;
  if (length === 0) return WireError.inval;
  const isWrite = type === Command.write || type === Command.writeZeroes;
  if (offset + BigInt(length) > BigInt(size)) return isWrite ? WireError.noSpace : WireError.inval;
  if (type === Command.read && (flags & df) !== 0 && length > 65_536) return WireError.overflow;
  const isSlow = (flags & noHole) !== 0 && (flags & fastZero) !== 0;
  return type === Command.writeZeroes && isSlow ? WireError.notSup : 0;
}
