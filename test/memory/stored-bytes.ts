/**
 * Damage to what a program's compressed RAM holds, done by the program itself: the memory of a page store is found
 * among the process' mappings by the magic number of its image, whichever thread it belongs to. It is read and written
 * through /proc/self/mem: other threads unmap memory meanwhile, and a touch would be the end.
 */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { Mapping } from '../../src/os/linux/mapping.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { MAGIC, SLOT_TABLE } from '../../src/store/image.ts';

/** Looked at in one step, if any of it is in memory: images are sparse, and their address space is large. */
const LOOK_BYTES = 2 ** 20;
/** No image is smaller. */
const IMAGE_BYTES_MIN = 8 * 2 ** 20;
const PAGE = 4096;

/** Anonymous memory that can be written: where it begins and how long it is. */
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
 * Turns a bit in every place of the stores' images, staging aside, where `bytes` lie: they must have been stored as
 * they are. Returns in how many.
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
