/** Made pages of every kind that memory holds, from a generator: same seed, same page. */
import { Prng } from '../../src/base/prng.ts';
import { makeNumericPage } from './numeric-pages.ts';

export const pageKinds = [
  'zero', // all zero
  'byte', // one byte repeated
  'word32', // one 4-byte word repeated
  'word64', // one 8-byte word repeated
  'almost', // one word repeated, but for one byte
  'text', // words out of a small vocabulary
  'records', // structs of 64 bytes: counters, pointers, a little noise
  'cut', // noise, then one byte repeated: any packed length from 30 to 4096
  'poor', // as `cut`, but packed to about the limit of 3/4 page
  'random', // noise
  'int12', // numbers, see numeric-pages.ts
  'sorted',
  'f64whole',
  'f64prices',
  'id64',
  'sample16',
] as const;
export type PageKind = (typeof pageKinds)[number];

const vocabulary =
  'the page slot store swap of a to in is memory guest kernel bytes free put get drop limit zspage '
    .split(' ')
    .map((w) => Buffer.from(`${w} `));

function text(prng: Prng, out: Uint8Array): void {
  for (let at = 0; at < out.length; ) {
    const word = vocabulary[prng.below(vocabulary.length)]!;
    const length = Math.min(word.length, out.length - at);
    out.set(word.subarray(0, length), at);
    at += length;
    if (prng.oneIn(4) && at < out.length) out[at++] = 33 + prng.below(90);
  }
}

function records(prng: Prng, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  const base = prng.u32();
  for (let at = 0; at + 64 <= out.length; at += 64) {
    view.setUint32(at, base + at, true);
    view.setUint32(at + 8, 0x7fff_1000 + prng.below(4096), true);
    view.setUint32(at + 16, prng.u32(), true);
    view.setUint16(at + 40, at, true);
    out[at + 60] = 1;
  }
}

function repeat(prng: Prng, out: Uint8Array, period: number): void {
  for (let i = 0; i < period; i++) out[i] = prng.u32() & 0xff;
  for (let i = period; i < out.length; i++) out[i] = out[i - period]!;
}

function noiseThenByte(prng: Prng, out: Uint8Array, noiseBytes: number): void {
  prng.fill(out.subarray(0, noiseBytes));
  out.fill(prng.u32() & 0xff, noiseBytes);
}

const makers: Readonly<Record<PageKind, (prng: Prng, out: Uint8Array) => void>> = {
  zero: (_prng, out) => {
    out.fill(0);
  },
  byte: (prng, out) => repeat(prng, out, 1),
  word32: (prng, out) => repeat(prng, out, 4),
  word64: (prng, out) => repeat(prng, out, 8),
  almost: (prng, out) => {
    repeat(prng, out, 8);
    out[prng.below(out.length)]! ^= 1 << prng.below(8);
  },
  text,
  records,
  cut: (prng, out) => noiseThenByte(prng, out, prng.below(4097)),
  poor: (prng, out) => noiseThenByte(prng, out, 3000 + prng.below(100)),
  random: (prng, out) => prng.fill(out),
  int12: (prng, out) => makeNumericPage('int12', prng, out),
  sorted: (prng, out) => makeNumericPage('sorted', prng, out),
  f64whole: (prng, out) => makeNumericPage('f64whole', prng, out),
  f64prices: (prng, out) => makeNumericPage('f64prices', prng, out),
  id64: (prng, out) => makeNumericPage('id64', prng, out),
  sample16: (prng, out) => makeNumericPage('sample16', prng, out),
};

/** Fills `out`, 4096 bytes. */
export function makePage(kind: PageKind, prng: Prng, out: Uint8Array): void {
  out.fill(0);
  makers[kind](prng, out);
}

/** True when the page repeats its first 8 bytes: byte by byte, on purpose. */
export function repeatsWord(page: Uint8Array): boolean {
  for (let i = 8; i < page.length; i++) if (page[i] !== page[i - 8]) return false;
  return true;
}

/** A page of noise, the same for the same seed. */
export function noisePage(seed: number): Uint8Array {
  const page = new Uint8Array(4096);
  makePage('random', new Prng(seed), page);
  return page;
}
