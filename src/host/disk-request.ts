/** Requests that the host itself makes of a disk, one at a time: for its self-test, and to copy and move pages. */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../base/assert.ts';
import { type Bio, type BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';

/** After this many turns of the event loop, a request in flight is checked only at this interval, ms. */
const QUICK_TURNS = 50;
const POLL_MS = 1;

/** What a request transfers; absent: nothing. */
export interface RequestData {
  readonly data?: Uint8Array;
  /** First byte in `data`. */
  readonly at?: number;
  /** BioFlag. */
  readonly flags?: number;
}

export class DiskRequest implements BioOwner {
  readonly #pool = new BioPool(1);
  /** Null while the request is in flight. */
  #status: BioStatus | null = BioStatus.ok;

  bioEnd(bio: Bio): void {
    this.#status = bio.status;
    this.#pool.free(bio);
  }

  /** Starts a request; a synchronous request has ended on return. Returns its status, or null while it is in flight. */
  start(
    disk: Disk,
    op: BioOp,
    offset: number,
    length: number,
    { data, at = 0, flags = 0 }: RequestData = {},
  ): BioStatus | null {
    const bio = this.#pool.alloc();
    assert(bio !== null, 'the previous request has ended');
    bio.op = op;
    bio.offset = offset;
    bio.length = length;
    if (data !== undefined) bio.data = data;
    bio.at = at;
    bio.flags = flags;
    bio.owner = this;
    this.#status = null;
    disk.submit(bio);
    disk.tick();
    return this.#status;
  }

  /** Waits until the request has ended. */
  async end(disk: Disk): Promise<BioStatus> {
    for (let turn = 0; this.#status === null; turn++) {
      if (turn < QUICK_TURNS) await nextTurn();
      else await sleep(POLL_MS);
      disk.tick();
    }
    return this.#status;
  }

  /** Runs a request of a synchronous disk. */
  run(disk: Disk, op: BioOp, offset: number, length: number, data?: RequestData): BioStatus {
    const status = this.start(disk, op, offset, length, data);
    assert(status !== null, 'a synchronous disk ends a request in one tick');
    return status;
  }
}
