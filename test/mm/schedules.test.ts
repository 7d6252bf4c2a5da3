/**
 * Every order of a tiny world: two pages, two threads with two accesses each, an eviction, a discard, and the faults that
 * come of it. No write is lost, no read is wrong, and nobody waits for ever.
 *
 *   a run = a sequence of choices: who goes next, or, inside a call of the pager, whether a thread goes before its next step
 *
 * Runs are enumerated depth first: the last choice that has an alternative left takes it, and the world starts again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusingDisk } from '../../src/device/null/refusing-disk.ts';
import { FRAME_COUNT, Pager } from '../../src/mm/pager.ts';
import type { Region } from '../../src/mm/region.ts';
import { ResidentSet } from '../../src/mm/resident-set.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { NaiveFront } from '../sim/naive-front.ts';
import { headerPage } from '../sim/sim-disk.ts';
import { makeThread, SimMemory, SimWorld } from './sim-memory.ts';

const header = headerPage(16);

/** Choices that are enumerated. */
class Choices {
  readonly #taken: number[] = [];
  readonly #of: number[] = [];
  #at = 0;

  below(n: number): number {
    if (n === 1) return 0;
    if (this.#at === this.#taken.length) {
      this.#taken.push(0);
      this.#of.push(n);
    }
    assert.equal(this.#of[this.#at], n, 'the same choices come to the same place');
    return this.#taken[this.#at++]!;
  }

  /** To the next run; false: that was the last. */
  next(): boolean {
    this.#at = 0;
    while (this.#taken.length > 0) {
      const last = this.#taken.length - 1;
      this.#taken[last]! += 1;
      if (this.#taken[last]! < this.#of[last]!) return true;
      this.#taken.pop();
      this.#of.pop();
    }
    return false;
  }

  get path(): string {
    return this.#taken.join(' ');
  }
}

interface Access {
  readonly page: number;
  readonly isWrite: boolean;
}
const read = (page: number): Access => ({ page, isWrite: false });
const write = (page: number): Access => ({ page, isWrite: true });

interface Domain {
  readonly name: string;
  readonly programs: readonly [readonly Access[], readonly Access[]];
  /** Of the stores of the run, this one is refused: 1 is the first, 0 none. */
  readonly refused: number;
  /** How the pages are at the start. */
  readonly start: 'clean and dirty' | 'stored' | 'nowhere';
}

class Run {
  readonly #choices: Choices;
  readonly #world: SimWorld = new SimWorld(FRAME_COUNT);
  readonly #memory: SimMemory = new SimMemory(this.#world, 2);
  readonly #pager: Pager;
  readonly #region: Region;
  readonly #left: Access[][];
  #tag = 10;
  #isInside = false;
  #calls: (() => void)[];

  constructor(choices: Choices, { programs, refused, start }: Domain) {
    this.#choices = choices;
    const front = new NaiveFront();
    this.#pager = new Pager({ frames: this.#world.frames, front });
    swapOn(this.#pager.swap, refusingDisk(16 * 4096), header);
    this.#region = this.#pager.add(this.#memory, new ResidentSet(32));
    this.#prepare(start);
    this.#left = programs.map((program) => [...program]);
    for (const _ of programs) this.#world.threads.push(makeThread());
    let stores = 0;
    front.accepts = () => ++stores !== refused;
    // Before the first step of a call is no other moment than before the call.
    this.#world.between = () => {
      if (this.#isInside) while (this.#stepThread());
      this.#isInside = true;
    };
    this.#calls = [
      () => this.#pager.evict(this.#region, 0, 2),
      () => {
        this.#memory.discardTo = 1;
        this.#pager.discard(this.#region, 0, 1);
        this.#memory.discardTo = 0;
        this.#memory.truth[0] = 0;
      },
    ];
  }

  go(): void {
    for (;;) {
      this.#isInside = false;
      const { unread } = this.#world;
      const calls = this.#calls.length;
      const others = calls + unread.length;
      const threads = this.#runnable();
      if (others + threads.length === 0) break;
      const choice = this.#choices.below(others + threads.length);
      if (choice < calls) this.#calls.splice(choice, 1)[0]!();
      else if (choice < others) this.#serve(choice - calls);
      else this.#step(threads[choice - others]!);
      this.#world.checkWaiters();
    }
    this.#end();
  }

  #serve(at: number): void {
    const message = this.#world.unread.splice(at, 1)[0]!;
    this.#pager.fault(this.#region, message.page, message.touch);
  }

  /** Nothing is left to do: every access has ended, and what is in memory or comes back is what was written. */
  #end(): void {
    for (const [i, thread] of this.#world.threads.entries())
      assert.ok(thread.memory === null && this.#left[i]!.length === 0, 'every access ends');
    this.#pager.verify();
    for (const page of [0, 1]) {
      if (this.#memory.present[page] === 0) this.#pager.fault(this.#region, page, 0);
      this.#memory.read(page);
    }
    assert.equal(this.#memory.deaths, 0);
  }

  #prepare(start: Domain['start']): void {
    if (start === 'nowhere') return;
    for (const page of [0, 1]) {
      this.#pager.fault(this.#region, page, 1);
      this.#memory.write(page, page + 1);
    }
    this.#pager.evict(this.#region, 0, 2);
    if (start === 'stored') return;
    this.#pager.fault(this.#region, 0, 0);
    this.#pager.fault(this.#region, 1, 1);
  }

  #runnable(): number[] {
    return [0, 1].filter((i) => {
      const thread = this.#world.threads[i]!;
      return !thread.isWaiting && (thread.memory !== null || this.#left[i]!.length > 0);
    });
  }

  /** One of the threads goes on, or none does: false. */
  #stepThread(): boolean {
    const threads = this.#runnable();
    if (threads.length === 0) return false;
    const choice = this.#choices.below(threads.length + 1) - 1;
    if (choice < 0) return false;
    this.#step(threads[choice]!);
    return true;
  }

  #step(at: number): void {
    const thread = this.#world.threads[at]!;
    if (thread.memory === null) {
      const access = this.#left[at]!.shift()!;
      thread.memory = this.#memory;
      thread.page = access.page;
      thread.isWrite = access.isWrite;
      thread.tag = this.#tag++;
    }
    this.#world.step(thread);
  }
}

const domains: readonly Domain[] = [
  {
    name: 'writes that cross an eviction',
    programs: [
      [write(0), write(1)],
      [write(0), read(1)],
    ],
    refused: 0,
    start: 'clean and dirty',
  },
  {
    name: 'reads and a write, one page refused and put back',
    programs: [
      [write(1), read(0)],
      [read(1), write(1)],
    ],
    refused: 1,
    start: 'clean and dirty',
  },
  {
    name: 'pages in their slots',
    programs: [
      [write(0), read(1)],
      [read(0), write(1)],
    ],
    refused: 0,
    start: 'stored',
  },
  {
    name: 'pages that are nowhere',
    programs: [
      [write(0), read(0)],
      [write(1), read(0)],
    ],
    refused: 0,
    start: 'nowhere',
  },
];

for (const domain of domains) {
  test(`no order loses a write or a thread: ${domain.name}`, (t) => {
    const choices = new Choices();
    let runs = 0;
    do {
      runs++;
      try {
        new Run(choices, domain).go();
      } catch (cause) {
        throw new Error(`${String(cause)}; choices ${choices.path}`, { cause });
      }
    } while (choices.next() && performance.now() < 20000);
    t.diagnostic(`${runs} orders`);
  });
}
