/**
 * Shared by the programs in this folder: data generated from a fixed seed, and the line that each prints at its end.
 */
import { createHash } from 'node:crypto';

let state = 2010;

/** A random whole number, 0 .. limit - 1. */
export function below(limit) {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
}

const words =
  'order parcel customer address invoice payment delivery warehouse returned pending shipped cancelled left right street north south express standard fragile gift note please call before after monday friday morning evening door neighbour receipt signature item box pallet truck driver route stop hub region country code number total discount tax'.split(
    ' ',
  );

/** A sentence from a small vocabulary, like names, notes and logs. */
export function sentence(count) {
  let text = words[below(words.length)];
  for (let i = 1; i < count; i++) text += ` ${words[below(words.length)]}`;
  return text;
}

const hash = createHash('sha256');

/** Adds to the hash of the program's result. */
export function answer(value) {
  hash.update(value instanceof Uint8Array ? value : JSON.stringify(value));
}

/** Prints the program's line; bench/packages.ts compares it with that of other runs. */
export function finish() {
  console.log(JSON.stringify({ hash: hash.digest('hex') }));
}
