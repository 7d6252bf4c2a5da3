/**
 * Fuzzes the LZ4 page decoder with mutated blocks of three encoders and with blocks of random sequences. The decoder
 * must return what the naive decoder returns (the same page, or a refusal), whatever bytes follow the block in memory,
 * and must write nothing outside the page and its slack. liblz4, if installed, must agree, except on matches of offset
 * 0, which it accepts and the format forbids. Pages that decode are compressed and decompressed again, to test the
 * encoder.
 */
import assert from 'node:assert/strict';
import { Prng } from '../src/base/prng.ts';
import type { PageCodec } from '../src/codec/codec.ts';
import { loadNativeLz4 } from '../src/os/native-codec.ts';
import { Arena } from '../test/support/fixtures/codec-arena.ts';
import { kinds, makePage, PAGE } from '../test/support/fixtures/codec-pages.ts';
import { decode, encode } from '../test/support/models/reference-lz4.ts';

export interface FuzzOptions {
  readonly seed: number;
  /** How long to run, CPU seconds. */
  readonly seconds: number;
}

export interface FuzzCount {
  readonly cases: number;
  /** Blocks that decoded to a page; the others were refused. */
  readonly accepted: number;
}

/** Runs for `seconds`; throws at the first failing case, with its seed and number. */
export function run({ seed, seconds }: FuzzOptions): FuzzCount {
  const lab = new Lab();
  const prng = new Prng(seed);
  const start = process.cpuUsage();
  let cases = 0;
  let accepted = 0;
  for (;;) {
    if (cases % 64 === 0) {
      const { user, system } = process.cpuUsage(start);
      if (user + system > seconds * 1e6) return { cases, accepted };
    }
    const block = makeBlock(lab, prng);
    try {
      if (lab.check(block, prng)) accepted++;
    } catch (error) {
      const hex = Buffer.from(block).toString('hex');
      throw new Error(`fuzz lz4: SEED=${seed}, case ${cases}, block ${hex}`, { cause: error });
    }
    cases++;
  }
}

class Lab {
  readonly arena: Arena = new Arena();
  readonly native: PageCodec | undefined;

  constructor() {
    const { memory, kernels } = this.arena;
    this.native = loadNativeLz4().factory?.(memory, kernels);
  }

  /** Returns true if the block decodes to a page. */
  check(block: Uint8Array, prng: Prng): boolean {
    const { arena } = this;
    const page = arena.decompress(block);
    const expected = decode(block, PAGE);
    assert.deepEqual(page, expected, 'the result equals that of the naive decoder');
    // Once more with other bytes after the block.
    arena.bytes.fill(prng.below(256), arena.block, arena.block + arena.blockCapacity);
    assert.deepEqual(arena.decompress(block), expected, 'bytes after the block do not matter');
    if (this.native !== undefined && block.length > 0) this.#compareNative(block, expected);
    if (page === null) return false;
    const compressed = arena.compress(page);
    if (compressed !== null)
      assert.deepEqual(
        arena.decompress(compressed),
        page,
        'a compressed page decompresses to itself',
      );
    return true;
  }

  #compareNative(block: Uint8Array, expected: Uint8Array | null): void {
    const { arena } = this;
    arena.bytes.set(block, arena.block);
    const result = this.native!.decompress(arena.block, block.length, arena.page);
    if (expected !== null) {
      assert.equal(result, PAGE, 'liblz4 accepts the block');
      assert.deepEqual(arena.getPage(), expected, 'liblz4 returns the same page');
    } else if (result === PAGE)
      assert.ok(hasZeroOffset(block), 'liblz4 accepts only blocks with offset 0 besides');
    arena.fence();
  }
}

/** Returns true if any sequence of the block has offset 0. */
function hasZeroOffset(block: Uint8Array): boolean {
  let at = 0;
  const length = (nibble: number): number => {
    let n = nibble;
    if (nibble === 15)
      for (let more = 255; more === 255 && at < block.length; n += more) more = block[at++]!;
    return n;
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = length(token >> 4); // advances `at`: must come first
    at += literals;
    if (at + 2 > block.length) return false;
    if (block[at] === 0 && block[at + 1] === 0) return true;
    at += 2;
    length(token & 15);
  }
  return false;
}

function makeBlock(lab: Lab, prng: Prng): Uint8Array {
  if (prng.oneIn(3)) return randomSequences(prng);
  const page = makePage(kinds[prng.below(kinds.length)]!, prng);
  const block = compressed(lab, page, prng);
  for (let n = prng.below(4); n > 0; n--) mutate(block, prng);
  if (prng.oneIn(6)) return block.slice(0, prng.below(block.length + 1));
  return block.slice(0, lab.arena.blockCapacity);
}

function compressed(lab: Lab, page: Uint8Array, prng: Prng): Uint8Array {
  const { arena, native } = lab;
  if (prng.oneIn(3) && native !== undefined) {
    arena.setPage(page);
    const length = native.compress(arena.page, arena.block, PAGE);
    const block = arena.bytes.slice(arena.block, arena.block + length);
    arena.fence();
    if (length > 0) return block;
  }
  return (prng.oneIn(2) ? arena.compress(page) : null) ?? encode(page);
}

function mutate(block: Uint8Array, prng: Prng): void {
  if (block.length === 0) return;
  // Mostly near the ends, where special rules apply.
  const reach = prng.oneIn(2) ? block.length : Math.min(block.length, 24);
  const at = prng.oneIn(2) ? prng.below(reach) : block.length - 1 - prng.below(reach);
  const kind = prng.below(4);
  if (kind === 0) block[at]! ^= 1 << prng.below(8);
  else if (kind === 1) block[at] = prng.below(256);
  else if (kind === 2) block[at] = prng.oneIn(2) ? 255 : 0;
  else block.copyWithin(at, prng.below(block.length), block.length - prng.below(8));
}

/** Mostly legal sequences that add up to exactly one page. */
function randomSequences(prng: Prng): Uint8Array {
  const out: number[] = [];
  let done = 0;
  const slip = (): boolean => prng.oneIn(200);
  const extend = (n: number): void => {
    let left = n - 15;
    for (; left >= 255; left -= 255) out.push(255);
    if (left >= 0) out.push(left);
  };
  const size = (): number =>
    prng.oneIn(8) ? prng.below(700) : prng.oneIn(3) ? prng.below(40) : prng.below(17);
  for (;;) {
    let literals = size() + (done === 0 ? 1 : 0);
    const match = 4 + size();
    const last = done + literals + match > PAGE - 5 - prng.below(9);
    if (last) literals = PAGE - done + (slip() ? prng.below(3) - 1 : 0);
    out.push((Math.min(literals, 15) << 4) | (last ? 0 : Math.min(match - 4, 15)));
    extend(literals);
    for (let i = 0; i < literals; i++) out.push(prng.u32() & 255);
    if (last) return Uint8Array.from(out.slice(0, PAGE + 200));
    done += literals;
    const offset = prng.oneIn(2) ? 1 + prng.below(Math.min(done, 40)) : 1 + prng.below(done);
    const wrong = slip() ? prng.below(65536) : offset;
    out.push(wrong & 255, wrong >> 8);
    extend(match - 4);
    done += match;
  }
}
