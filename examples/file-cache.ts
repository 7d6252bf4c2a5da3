/**
 * Reads a file at random offsets, through the cache and directly, and prints the cost of the cache.
 *
 *   node build/examples/file-cache.js
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileCache } from 'frontswap/file-cache';

const folder = mkdtempSync(join(tmpdir(), 'file-cache-'));
const path = join(folder, 'users.json');
const lines = Array.from({ length: 120_000 }, (_, i) => `{"id":${i},"name":"user ${i}"}`);
writeFileSync(path, lines.join('\n'));
const size = Buffer.byteLength(lines.join('\n'));

/** A file counts as settled 100 ms after its last change; until then reads bypass the cache. */
await new Promise((resolve) => setTimeout(resolve, 150));

const reads = 20_000;
const offsetOf = (i: number): number => (i * 7_919_357) % size;

function plainRead(offset: number): Buffer {
  const fd = openSync(path, 'r');
  const out = Buffer.allocUnsafe(1000);
  const got = readSync(fd, out, 0, 1000, offset);
  closeSync(fd);
  return out.subarray(0, got);
}

function microseconds(read: (offset: number) => Buffer): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < reads; i++) read(offsetOf(i));
  return Number(process.hrtime.bigint() - start) / 1000 / reads;
}

try {
  using cache = new FileCache({ limitBytes: 4 * 2 ** 20 });
  for (let i = 0; i < reads; i++)
    if (Buffer.compare(cache.read(path, offsetOf(i), 1000), plainRead(offsetOf(i))) !== 0)
      throw new Error(`read ${i} differs`);
  const cached = microseconds((offset) => cache.read(path, offset, 1000));
  const plain = microseconds(plainRead);
  const { pages, usedBytes, limitBytes, hits, misses, evictions } = cache.stats();
  console.log(`file: ${size} bytes; cache: ${pages} pages in ${usedBytes} of ${limitBytes} bytes`);
  console.log(`pages: ${hits} hits, ${misses} misses, ${evictions} evicted`);
  console.log(`1000 bytes, cached: ${cached.toFixed(1)} us, plain: ${plain.toFixed(1)} us`);
  console.log('(plain reads are served by the page cache: the file was written just now)');
} finally {
  rmSync(folder, { recursive: true });
}
