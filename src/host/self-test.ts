/**
 * A known-answer test of a disk, run before the host accepts clients: it writes, reads, zeroes and discards pages of every kind
 * (zero, same-filled, compressed, raw; full and partial) and compares every byte. It proves that the codec, its WebAssembly and
 * the store work on this machine. It also warms up: code is loaded and compiled, and tables grow, before memory gets short.
 *
 * 512 pages execute the same lines of the disk, the store and the arena as 2048 pages do: zeroing and discarding them frees
 * more memory than a store keeps (1 MiB), so both releasing and keeping memory are tested. 384 pages are too few. The second
 * round stores pages in memory that the first one freed. A third round executes no further lines and only compiles more code.
 *
 * Cost: 30 to 45 ms a round, and 2 MiB that are released afterwards.
 */
import { assert } from '../base/assert.ts';
import { Prng } from '../base/prng.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { BioOp, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';
import { DiskRequest, type RequestData } from './disk-request.ts';

/** Size in bytes of the disk that a self-test needs. */
export const SELF_TEST_DISK_BYTES: number = 2 << 20;
const TRANSFER_BYTES = 128 * 1024;
const ROUNDS = 3;

/** Of every 8 pages, 1 is zeros, 1 is one repeated byte, 2 are text and 4 are noise. */
function samplePages(prng: Prng): Uint8Array {
  const pages = new Uint8Array(SELF_TEST_DISK_BYTES);
  const text = Buffer.from('cold pages are swapped out, and swapped in when they are accessed; ');
  for (let at = 0; at < pages.length; at += PAGE_BYTES) {
    const page = pages.subarray(at, at + PAGE_BYTES);
    const kind = (at / PAGE_BYTES) % 8;
    if (kind === 1) page.fill(prng.below(256));
    else if (kind === 2 || kind === 5) {
      Buffer.from(page.buffer, at, PAGE_BYTES).fill(text);
      for (let i = 0; i < 400; i++) page[prng.below(PAGE_BYTES)] = prng.below(256);
    } else if (kind !== 0) prng.fill(page);
  }
  return pages;
}

/**
 * Tests an empty disk of SELF_TEST_DISK_BYTES and leaves it empty.
 * @param rounds 2 rounds execute every line; more rounds also compile the code
 * @throws InvariantError: a byte is wrong
 */
export function selfTest(disk: Disk, rounds: number = ROUNDS): void {
  const prng = new Prng(2010);
  const pages = samplePages(prng);
  const back = new Uint8Array(TRANSFER_BYTES);
  const request = new DiskRequest();
  const run = (op: BioOp, offset: number, length: number, data?: RequestData): void => {
    const status = request.run(disk, op, offset, length, data);
    assert(status === BioStatus.ok, 'each request of the self-test succeeds');
  };
  for (let round = 0; round < rounds; round++) {
    for (let at = 0; at < pages.length; at += TRANSFER_BYTES)
      run(BioOp.write, at, TRANSFER_BYTES, { data: pages, at });
    run(BioOp.write, 5000, 700, { data: pages, at: 5000 });
    for (let at = 0; at < pages.length; at += TRANSFER_BYTES) {
      run(BioOp.read, at, TRANSFER_BYTES, { data: back });
      const same = Buffer.compare(back, pages.subarray(at, at + TRANSFER_BYTES)) === 0;
      assert(same, 'the self-test reads what it wrote');
    }
    const half = pages.length / 2;
    run(BioOp.writeZeroes, 0, half);
    run(BioOp.discard, half, half);
    for (const at of [0, half]) {
      run(BioOp.read, at, TRANSFER_BYTES, { data: back });
      assert(
        back.every((b) => b === 0),
        'a discarded range reads as zeros',
      );
    }
  }
}
