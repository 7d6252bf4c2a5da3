/** Shared by the block tests: a clock that tests advance, and an owner of many bios. */
import assert from 'node:assert/strict';
import type { Clock } from '../../src/base/clock.ts';
import { Bio, type BioOp, type BioOwner, BioStatus } from '../../src/block/bio.ts';
import type { Disk } from '../../src/block/ops.ts';

export class FakeClock implements Clock {
  ns = 0;

  nowNs(): number {
    return this.ns;
  }
}

export interface BioFields {
  readonly op: BioOp;
  readonly offset?: number;
  readonly length?: number;
  readonly data?: Uint8Array;
  readonly at?: number;
  readonly flags?: number;
}

/** Submits bios to a disk; checks that each ends exactly once and not inside submit(). */
export class Sender implements BioOwner {
  readonly ended: Bio[] = [];
  readonly #disk: Disk;
  readonly #clock: FakeClock;
  readonly #inFlight = new Set<Bio>();
  #isSubmitting = false;

  constructor(disk: Disk, clock: FakeClock = new FakeClock()) {
    this.#disk = disk;
    this.#clock = clock;
  }

  bioEnd(bio: Bio): void {
    assert.ok(!this.#isSubmitting, 'no bio ends inside submit()');
    assert.equal(bio.owner, this, 'every layer has left the bio');
    assert.equal(bio.next, null, 'no queue holds the bio');
    assert.ok(this.#inFlight.delete(bio), 'a bio ends once');
    this.ended.push(bio);
  }

  submit(fields: BioFields): Bio {
    const bio = new Bio();
    Object.assign(bio, { length: fields.data?.length ?? 0, ...fields, owner: this });
    bio.status = BioStatus.notSupported; // status is valid only in bioEnd()
    this.#inFlight.add(bio);
    this.#isSubmitting = true;
    this.#disk.submit(bio);
    this.#isSubmitting = false;
    return bio;
  }

  /** Ticks and advances the clock until every bio has ended. */
  drain(stepNs = 1000): void {
    for (let ticks = 0; this.#inFlight.size > 0; ticks++) {
      assert.ok(ticks < 100_000, `${this.#inFlight.size} bios never end`);
      this.#clock.ns += stepNs;
      const before = this.ended.length;
      assert.equal(
        this.#disk.tick(),
        this.ended.length - before,
        'tick() returns the number of ended bios',
      );
    }
  }

  run(fields: BioFields): Bio {
    const bio = this.submit(fields);
    this.drain();
    return bio;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }
}

/** A page whose bytes encode its position and the round. */
export const stamp = (length: number, value: number): Uint8Array =>
  new Uint8Array(length).fill(value & 0xff);
