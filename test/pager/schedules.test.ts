/**
 * Every schedule of a small system: two pages, two threads with two accesses each, one eviction, one discard, and the
 * faults that follow. No write is lost, no read is wrong, and every access ends.
 *
 *   a run = a sequence of choices: what runs next; within a call of the pager, whether a thread runs before its next step
 *
 * Runs are enumerated depth first: the last choice with an alternative left takes it, and the system starts again. A run
 * that reaches a state of an earlier run ends there, because its continuations have been run. The prefetch history is not
 * part of a state: it determines when pages are swapped in, never what they contain.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusingDisk } from '../../src/block/disks/refusing-disk.ts';
import { FRAME_COUNT } from '../../src/pager/loader.ts';
import { Pager } from '../../src/pager/pager.ts';
import type { Region } from '../../src/pager/region.ts';
import { ResidentSet } from '../../src/pager/resident-set.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { NaiveFront } from '../support/fakes/naive-front.ts';
import { headerPage } from '../support/fakes/sim-disk.ts';
import { makeThread, SimMemory, SimWorld } from './sim-memory.ts';

const header = headerPage(16);
const frames = new Uint8Array(FRAME_COUNT * 4096);

/** Enumerates the choices of all runs. */
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
    assert.equal(this.#of[this.#at], n, 'the same choices lead to the same state');
    return this.#taken[this.#at++]!;
  }

  /** True when the run has left the path of the runs before: from here on it takes first alternatives. */
  get isNew(): boolean {
    return this.#at === this.#taken.length;
  }

  /** Moves to the next run; false: there is none. */
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
  /** Which store of the run is refused, from 1; 0: none. */
  readonly refused: number;
  /** State of the two pages at the start. */
  readonly start: 'clean and dirty' | 'stored' | 'absent';
}

class Run {
  readonly #choices: Choices;
  readonly #world: SimWorld = new SimWorld(FRAME_COUNT, frames);
  readonly #memory: SimMemory = new SimMemory(this.#world, 2);
  readonly #pager: Pager;
  readonly #region: Region;
  readonly #left: Access[][];
  #tag = 10;
  #isInside = false;
  #stores = 0;
  readonly #evict = (): void => {
    this.#pager.evict(this.#region, 0, 2);
  };
  readonly #calls: (() => void)[];

  constructor(choices: Choices, { programs, refused, start }: Domain) {
    this.#choices = choices;
    const front = new NaiveFront();
    this.#pager = new Pager({ frames: this.#world.frames, front });
    swapOn(this.#pager.swap, refusingDisk(16 * 4096), header);
    this.#region = this.#pager.add(this.#memory, new ResidentSet(32));
    this.#prepare(start);
    this.#left = programs.map((program) => [...program]);
    for (const _ of programs) this.#world.threads.push(makeThread());
    front.accepts = () => ++this.#stores !== refused;
    // The moment before the first step of a call is the same as before the call.
    this.#world.between = () => {
      if (this.#isInside) while (this.#stepThread());
      this.#isInside = true;
    };
    this.#calls = [
      this.#evict,
      () => {
        this.#memory.discardTo = 1;
        this.#pager.discard(this.#region, 0, 1);
        this.#memory.discardTo = 0;
        this.#memory.truth[0] = 0;
      },
    ];
  }

  go(seen: Set<string>): void {
    for (;;) {
      this.#isInside = false;
      if (this.#choices.isNew) {
        const state = this.#state();
        if (seen.has(state)) return;
        seen.add(state);
      }
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

  #state(): string {
    const { present, isProtected, tags, truth } = this.#memory;
    const { threads, unread } = this.#world;
    const pages = [0, 1].map((page) => [
      present[page],
      isProtected[page],
      tags[page] === truth[page],
      truth[page] === 0,
      this.#region.state[page],
    ]);
    return JSON.stringify([
      pages,
      threads.map((t, i) => [t.memory !== null, t.isWaiting, this.#left[i]!.length]),
      unread.map((m) => [m.page, m.touch, threads.indexOf(m.thread)]),
      this.#calls.length,
      this.#calls[0] === this.#evict,
      this.#stores,
    ]);
  }

  #serve(at: number): void {
    const message = this.#world.unread.splice(at, 1)[0]!;
    this.#pager.fault(this.#region, message.page, message.touch);
  }

  /** Every access has ended, and each page reads as it was written last. */
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
    if (start === 'absent') return;
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

  /** Runs one step of a thread. False: the choice was to run none, or none can run. */
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
    name: 'writes during an eviction',
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
    name: 'stored pages',
    programs: [
      [write(0), read(1)],
      [read(0), write(1)],
    ],
    refused: 0,
    start: 'stored',
  },
  {
    name: 'absent pages',
    programs: [
      [write(0), read(0)],
      [write(1), read(0)],
    ],
    refused: 0,
    start: 'absent',
  },
];

for (const domain of domains) {
  test(`no schedule loses a write or a wakeup: ${domain.name}`, (t) => {
    const choices = new Choices();
    const seen = new Set<string>();
    let runs = 0;
    do {
      runs++;
      try {
        new Run(choices, domain).go(seen);
      } catch (cause) {
        throw new Error(`${String(cause)}; choices ${choices.path}`, { cause });
      }
    } while (choices.next());
    t.diagnostic(`${runs} runs, ${seen.size} states`);
  });
}
