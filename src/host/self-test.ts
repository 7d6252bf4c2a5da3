/**
 * A known-answer test of a disk, run once before the host accepts clients: it writes, reads and discards pages of every
 * kind (zero, same-filled, compressed, raw; full and partial) and compares every byte. It also warms up: code is loaded and
 * compiled, and tables grow, before memory is short.
 *
 * Cost: about 100 ms, and 8 MiB that are released afterwards.
 */
import { assert } from '../base/assert.ts';
import { Prng } from '../base/prng.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { BioOp, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';
import { DiskRequest, type RequestData } from './disk-request.ts';

/** Size in bytes of the disk that a self-test needs. */
export const SELF_TEST_DISK_BYTES: number = 8 << 20;
const TRANSFER_BYTES = 128 * 1024;
const ROUNDS = 3;

/** A quarter of the pages each: zeros, one repeated byte, text, noise. */
function samplePages(prng: Prng): Uint8Array {
  const pages = new Uint8Array(SELF_TEST_DISK_BYTES);
  const text = new TextEncoder().encode(
    'cold pages are swapped out, and swapped in when they are accessed; ',
  );
  for (let at = 0; at < pages.length; at += PAGE_BYTES) {
    const page = pages.subarray(at, at + PAGE_BYTES);
    const kind = (at / PAGE_BYTES) % 4;
    if (kind === 1) page.fill(prng.below(256));
    else if (kind === 2)
      for (let i = 0; i < PAGE_BYTES; i++)
        page[i] = prng.oneIn(9) ? prng.below(256) : text[i % text.length]!;
    else if (kind === 3) prng.fill(page);
  }
  return pages;
}

/**
 * Tests an empty disk of SELF_TEST_DISK_BYTES and leaves it empty.
 * @param rounds 1 tests every path; more compile the code, too
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
    run(round === 0 ? BioOp.writeZeroes : BioOp.discard, 0, pages.length);
    run(BioOp.read, 0, TRANSFER_BYTES, { data: back });
    assert(
      back.every((b) => b === 0),
      'a discarded range reads as zeros',
    );
  }
}
