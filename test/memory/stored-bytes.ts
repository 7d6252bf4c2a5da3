/**
 * Damages pages in compressed RAM of this process: finds the memory of a page store, of any thread, among the mappings
 * by the magic number of its image. Reads and writes it through /proc/self/mem: another thread may unmap it meanwhile,
 * and a direct access would then be SIGSEGV.
 */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { Mapping } from '../../src/os/linux/mapping.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { MAGIC, SLOT_TABLE } from '../../src/store/image.ts';

/** Bytes scanned per step, if any of them are resident: images are sparse in a large address space. */
const LOOK_BYTES = 2 ** 20;
/** Size of the smallest image. */
const IMAGE_BYTES_MIN = 8 * 2 ** 20;
const PAGE = 4096;

/** Writable anonymous mappings: address and length. */
function anonymous(): { start: number; bytes: number }[] {
  const found: { start: number; bytes: number }[] = [];
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, from, to, inode] = /^(\w+)-(\w+) rw-p \w+ \S+ (\d+)/.exec(line) ?? [];
    if (from === undefined || to === undefined || inode !== '0') continue;
    const start = Number.parseInt(from, 16);
    found.push({ start, bytes: Number.parseInt(to, 16) - start });
  }
  return found;
}

/**
 * Flips a bit at every occurrence of `bytes`, which must be stored uncompressed, in the stores' images except staging.
 * Returns the number of occurrences.
 */
export function damageStored(bytes: Uint8Array): number {
  const { linux, reason } = loadLinux();
  if (linux === null) throw new Error(reason);
  const mapping = new Mapping(linux);
  const present = new Uint8Array(LOOK_BYTES / PAGE + 1);
  const look = Buffer.alloc(LOOK_BYTES + bytes.length);
  const fd = openSync('/proc/self/mem', 'r+');
  let damaged = 0;
  for (const { start, bytes: size } of anonymous()) {
    if (size < IMAGE_BYTES_MIN || readSync(fd, look, 0, 4, start) < 4) continue;
    if (look.readUInt32LE(0) !== MAGIC) continue;
    for (let at = start + SLOT_TABLE; at < start + size; at += LOOK_BYTES) {
      const length = Math.min(look.length, start + size - at);
      if (mapping.resident(at, length, present) === 0) continue;
      const there = look.subarray(0, readSync(fd, look, 0, length, at));
      for (let i = there.indexOf(bytes); i !== -1; i = there.indexOf(bytes, i + 1)) {
        writeSync(fd, Uint8Array.of(bytes[0]! ^ 0x10), 0, 1, at + i);
        damaged++;
      }
    }
  }
  closeSync(fd);
  return damaged;
}
