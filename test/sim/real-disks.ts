/**
 * Real disks under a swap area: ramzswap or plain memory, faults over it, and, where they are slow, a delay in virtual time,
 * request queues above and below it.
 *
 *   synchronous   fault ─▶ disk
 *   slow          [queue] ─▶ delay ─▶ [queue] ─▶ fault ─▶ disk
 */
import assert from 'node:assert/strict';
import { Prng } from '../../src/base/prng.ts';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { type DelayDisk, delayDisk } from '../../src/block/filters/delay-disk.ts';
import { type FaultDisk, faultDisk } from '../../src/block/filters/fault-disk.ts';
import { passThrough } from '../../src/block/filters/pass-through.ts';
import { type Disk, Extent } from '../../src/block/ops.ts';
import { type QueuedDisk, queuedDisk } from '../../src/block/queued-disk.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import type { SwapArea } from '../../src/swap/areas.ts';
import { FakeClock } from '../support/fakes/fake-clock.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import type { AnyWorld, Problem } from './walk.ts';

export type DiskKind = 'ramzswap' | 'memory';

/** Random only while faults are active. */
class ProblemPrng extends Prng {
  readonly #problem: Problem;

  constructor(seed: number, problem: Problem) {
    super(seed);
    this.#problem = problem;
  }

  override oneIn(n: number): boolean {
    return this.#problem.faults && super.oneIn(n);
  }
}

interface Stack {
  readonly base: Ramzswap | MemoryDisk;
  readonly fault: FaultDisk;
  readonly delays: DelayDisk[];
  readonly queues: QueuedDisk[];
  readonly plugged: Set<QueuedDisk>;
  /** Slots freed while the disk was disconnected: their bytes remain until the slots are reused. */
  readonly missed: Set<number>;
}

export class RealDisks {
  readonly clock: FakeClock = new FakeClock();
  readonly #kind: DiskKind;
  readonly #prng: Prng;
  readonly #problem: Problem;
  readonly #stacks: Map<Disk, Stack> = new Map();

  constructor(kind: DiskKind, prng: Prng, problem: Problem) {
    this.#kind = kind;
    this.#prng = prng;
    this.#problem = problem;
  }

  make(slots: number, synchronous: boolean): Disk {
    const prng = this.#prng;
    const base = this.#base(slots);
    const fault = faultDisk(base, new ProblemPrng(prng.u32(), this.#problem), {
      failOneIn: { read: 20, write: 6, discard: 20, writeZeroes: 0, flush: 0 },
      tearOneIn: 2,
      badRanges: [],
    });
    const missed = new Set<number>();
    const stack = { base, fault, delays: [], queues: [], plugged: new Set<QueuedDisk>(), missed };
    const under = synchronous ? fault : this.#slow(fault, stack);
    const top: Disk = {
      ...passThrough(under),
      slotFree(slot) {
        if (fault.isGone) missed.add(slot);
        else missed.delete(slot);
        under.slotFree?.(slot);
      },
    };
    this.#stacks.set(top, stack);
    return top;
  }

  /** Advances time; disconnects and reconnects disks; plugs and unplugs queues. */
  tend(): void {
    const prng = this.#prng;
    this.clock.ns += prng.below(3000);
    for (const { fault, queues, plugged } of this.#stacks.values()) {
      fault.isGone = this.#problem.vanished;
      for (const queue of queues) {
        if (!prng.oneIn(16)) continue;
        if (plugged.delete(queue)) queue.unplug();
        else plugged.add(queue) && queue.plug();
      }
    }
  }

  gone(disk: Disk): void {
    const stack = this.#stacks.get(disk)!;
    const { base, delays, queues } = stack;
    for (const delay of delays) assert.equal(delay.heldCount, 0, 'no bio is in flight');
    for (const queue of queues) assert.equal(queue.inFlight, 0, 'no bio is in flight');
    this.#checkHoles(stack, null);
    if (base instanceof Ramzswap) base[Symbol.dispose]();
    this.#stacks.delete(disk);
  }

  verify({ swap }: AnyWorld): void {
    for (const area of swap.areas)
      if (area !== null) this.#checkHoles(this.#stacks.get(area.disk)!, area);
  }

  /** A freed slot's bytes are freed at once: ramzswap stores only pages of slots in use. */
  #checkHoles({ base, delays, queues, missed }: Stack, area: SwapArea | null): void {
    if (!(base instanceof Ramzswap)) return;
    base.verify();
    assert.equal(base.fault, null);
    for (const layer of delays) assert.equal(layer.slotFreeMisses, 0, 'no slotFree call is missed');
    for (const { counters } of queues) assert.equal(counters.get('slotFreeMisses'), 0);
    const { missFree, failedReads } = base.stats();
    assert.equal(missFree + failedReads, 0);
    for (let slot = 1; slot < base.sizeBytes / 4096; slot++)
      if ((area === null || area.map.isFree(slot)) && !missed.has(slot))
        assert.ok(!holds(base, slot), 'a free slot has no bytes on the disk');
  }

  #base(slots: number): Ramzswap | MemoryDisk {
    if (this.#kind === 'memory') return new MemoryDisk(slots * 4096);
    return new Ramzswap({
      sizeBytes: slots * 4096,
      limitBytes: 0,
      codec: { name: 'lz4', factory: lz4 },
      release: new FakeReturns().factory,
    });
  }

  #slow(next: Disk, stack: { delays: DelayDisk[]; queues: QueuedDisk[] }): Disk {
    const prng = this.#prng;
    const queued = (under: Disk): Disk => {
      // Small batches, so that adjacent bios merge.
      const requests = 1 + prng.below(8);
      const depth = Math.min(requests, 1 + prng.below(2));
      const options = { requests, depth, mergeBytes: 8 * 4096 };
      const queue = queuedDisk(under, options);
      stack.queues.push(queue);
      return queue;
    };
    const under = prng.oneIn(2) ? queued(next) : next;
    const times = { readNs: prng.below(3000), writeNs: prng.below(3000), flushNs: 0, byteNs: 0 };
    const delay = delayDisk(under, this.clock, times);
    stack.delays.push(delay);
    return prng.oneIn(2) ? queued(delay) : delay;
  }
}

function holds(disk: Ramzswap, slot: number): boolean {
  let isHeld = false;
  disk.extents(slot * 4096, 4096, (kind) => {
    isHeld = kind !== Extent.hole;
    return false;
  });
  return isHeld;
}
