/** Pages that cannot be packed and are told apart, for tests that damage them where they are stored. */
import { readFileSync, writeFileSync } from 'node:fs';

const PAGE = 4096;
/** Pages of a region; those from the middle on are in the file where compressed RAM has room for a quarter. */
export const PAGES = 1024;
/** The page that is damaged, and one that stays in memory meanwhile, far from it. */
export const DAMAGED = 900;
export const KEPT = 700;

/** A page's content: of its number alone. */
export function noise(page: number): Uint8Array<ArrayBuffer> {
  const words = new Int32Array(PAGE / 4);
  let state = (page + 1) * 0x9e3779b1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

export const isNoise = (bytes: Uint8Array, page: number): boolean =>
  Buffer.compare(bytes, noise(page)) === 0;

/** All of a swap file but its header becomes something else. */
export function overwrite(path: string): void {
  const bytes = readFileSync(path);
  for (let at = PAGE; at < bytes.length; at += PAGE) bytes.set(noise(at), at);
  writeFileSync(path, bytes, { flag: 'r+' });
}
