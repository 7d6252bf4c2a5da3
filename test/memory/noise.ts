/** Incompressible pages with distinct contents, for tests that damage stored pages. */
import { readFileSync, writeFileSync } from 'node:fs';

const PAGE = 4096;
/** Pages of a region. With compressed RAM for a quarter of them, those of the second half are in the file, but for the last. */
export const PAGES = 1024;
/** The page that is damaged, and a distant page that stays resident. */
export const DAMAGED = 800;
export const KEPT = 600;

/** The content of a page, a function of its number. */
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

/** Overwrites all of a swap file except its header. */
export function overwrite(path: string): void {
  const bytes = readFileSync(path);
  for (let at = PAGE; at < bytes.length; at += PAGE) bytes.set(noise(at), at);
  writeFileSync(path, bytes, { flag: 'r+' });
}
