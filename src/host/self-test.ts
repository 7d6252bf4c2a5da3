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
import { type Bio, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';

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

class Requests implements BioOwner {
  readonly #disk: Disk;
  readonly #pool = new BioPool(1);
  #status: BioStatus = BioStatus.ok;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  bioEnd(bio: Bio): void {
    this.#status = bio.status;
    this.#pool.free(bio);
  }

  /** Runs one request to completion. */
  run(op: BioOp, offset: number, length: number, data?: Uint8Array, at = 0): void {
    const bio = this.#pool.alloc();
    assert(bio !== null, 'the previous request has ended');
    bio.op = op;
    bio.offset = offset;
    bio.length = length;
    if (data !== undefined) bio.data = data;
    bio.at = at;
    bio.owner = this;
    this.#disk.submit(bio);
    this.#disk.tick();
    assert(this.#status === BioStatus.ok, 'each request of the self-test succeeds');
  }
}

/** Tests an empty disk of SELF_TEST_DISK_BYTES and leaves it empty. @throws InvariantError: a byte is wrong */
export function selfTest(disk: Disk): void {
  const prng = new Prng(2010);
  const pages = samplePages(prng);
  const back = new Uint8Array(TRANSFER_BYTES);
  const requests = new Requests(disk);
  for (let round = 0; round < ROUNDS; round++) {
    for (let at = 0; at < pages.length; at += TRANSFER_BYTES)
      requests.run(BioOp.write, at, TRANSFER_BYTES, pages, at);
    requests.run(BioOp.write, 5000, 700, pages, 5000);
    for (let at = 0; at < pages.length; at += TRANSFER_BYTES) {
      requests.run(BioOp.read, at, TRANSFER_BYTES, back);
      const same = Buffer.compare(back, pages.subarray(at, at + TRANSFER_BYTES)) === 0;
      assert(same, 'the self-test reads what it wrote');
    }
    requests.run(round === 0 ? BioOp.writeZeroes : BioOp.discard, 0, pages.length);
    requests.run(BioOp.read, 0, TRANSFER_BYTES, back);
    assert(
      back.every((b) => b === 0),
      'a discarded range reads as zeros',
    );
  }
}
