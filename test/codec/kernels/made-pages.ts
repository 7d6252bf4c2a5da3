/** Pages of every kind a codec meets, made from a seed. */
import { Prng } from '../../../src/base/prng.ts';

export const PAGE = 4096;

const words =
  'the page of a slot is set free when swap frees it and not one moment later so memory that is short stays usable'.split(
    ' ',
  );

function text(prng: Prng): Uint8Array {
  let s = '';
  while (s.length < PAGE) s += `${words[prng.below(words.length)]}${prng.oneIn(9) ? '.\n' : ' '}`;
  return new TextEncoder().encode(s.slice(0, PAGE));
}

/** Heap-like: records of a tag, a pointer near a base, a small number and some text. */
function records(prng: Prng): Uint8Array {
  const page = new Uint8Array(PAGE);
  const view = new DataView(page.buffer);
  const bytes = 24 + 8 * prng.below(6);
  const base = prng.u32();
  for (let at = 0; at + bytes <= PAGE; at += bytes) {
    view.setUint32(at, 0x01000000 + prng.below(4), true);
    view.setUint32(at + 8, base + 16 * prng.below(4096), true);
    view.setUint16(at + 12, 0x7fff, true);
    view.setUint32(at + 16, prng.below(100), true);
    for (let i = at + 20; i < at + bytes; i++) page[i] = prng.oneIn(3) ? prng.below(256) : 0;
  }
  return page;
}

export function random(prng: Prng): Uint8Array {
  const page = new Uint8Array(PAGE);
  prng.fill(page);
  return page;
}

function sparse(prng: Prng): Uint8Array {
  const page = new Uint8Array(PAGE);
  for (let n = prng.below(60); n >= 0; n--) page[prng.below(PAGE)] = prng.below(256);
  return page;
}

export function periodic(prng: Prng, period: number): Uint8Array {
  const page = random(prng);
  for (let i = period; i < PAGE; i++) page[i] = page[i - period]!;
  return page;
}

/** Random bytes with `copies` short repeats: a page that packs to about the raw size. */
function nearRandom(prng: Prng, copies: number): Uint8Array {
  const page = random(prng);
  for (let n = 0; n < copies; n++) {
    const length = 4 + prng.below(30);
    const from = prng.below(PAGE - length);
    page.copyWithin(prng.below(PAGE - length), from, from + length);
  }
  return page;
}

/** Random bytes whose last `length` bytes, or all but the last `after`, repeat those `offset` before. */
export function endMatch(prng: Prng, length: number, after: number, offset: number): Uint8Array {
  const page = random(prng);
  const end = PAGE - after;
  for (let i = end - length; i < end; i++) page[i] = page[i - offset]!;
  return page;
}

function half(prng: Prng): Uint8Array {
  const page = prng.oneIn(2) ? text(prng) : new Uint8Array(PAGE);
  const split = prng.below(PAGE);
  page.set(random(prng).subarray(split), split);
  return prng.oneIn(2) ? page : page.reverse();
}

export interface MadePage {
  readonly kind: string;
  readonly page: Uint8Array;
}

const makers: Readonly<Record<string, (prng: Prng) => Uint8Array>> = {
  text,
  records,
  random,
  sparse,
  half,
  zero: () => new Uint8Array(PAGE),
  same: (prng) => new Uint8Array(PAGE).fill(prng.below(256)),
  periodic: (prng) => periodic(prng, 1 + prng.below(64)),
  nearRandom: (prng) => nearRandom(prng, prng.below(400)),
  endMatch: (prng) => endMatch(prng, 4 + prng.below(40), prng.below(16), 1 + prng.below(600)),
};

export const kinds: readonly string[] = Object.keys(makers);

export function makePage(kind: string, prng: Prng): Uint8Array {
  return makers[kind]!(prng);
}

/** `count` pages of every kind, and one of every period from 1 to 64. */
export function makePages(seed: number, count: number): MadePage[] {
  const prng = new Prng(seed);
  const all = kinds.flatMap((kind) =>
    Array.from({ length: count }, () => ({ kind, page: makePage(kind, prng) })),
  );
  for (let p = 1; p <= 64; p++) all.push({ kind: `period ${p}`, page: periodic(prng, p) });
  return all;
}
