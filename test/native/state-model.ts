/**
 * A model of the page states that native code and JavaScript share (docs/design/native-faults.md): one page, its slots,
 * threads that access it and serve their own faults, a thread that drops clean pages, and the engine's thread.
 *
 *   world   bytes: the shared state, the page in memory, entry, slots, the engine's view, each actor's step and locals
 *   step    one atomic action of one actor: a compare-and-swap, a system call, a load or store of the tables
 *
 * explore() runs every interleaving: depth first, a world that was seen before is not continued. It throws at the first
 * world that breaks a rule: a read of an old value, a slot that is read or freed while it is free, a slot that is left,
 * a page that leaves memory while it is pinned, actors that wait for each other.
 */
import assert from 'node:assert/strict';
import { NativePage } from '../../src/native/layout.ts';
import { At, type Domain, OWN_BYTES, Own, type Rule, SLOTS, UNWRITTEN } from './state-world.ts';

const { absent, dirty, clean, stored, evicting, busy, asked } = NativePage;

type World = Uint8Array;
/** Makes one step. False: the actor has to wait for another. */
type Step = (w: World, me: number) => boolean;

class Model {
  readonly #without: Rule | null;
  readonly #domain: Domain;
  readonly #actors: readonly { readonly calls: readonly string[]; readonly step: Step }[];

  constructor(domain: Domain, without: Rule | null) {
    this.#domain = domain;
    this.#without = without;
    const threads = domain.threads.map((accesses, thread) => ({
      calls: [...accesses],
      step: (w: World, me: number): boolean => this.#access(w, me, thread),
    }));
    const drops = Array.from({ length: domain.drops }, () => 'drop');
    const dropper = { calls: drops, step: (w: World, me: number): boolean => this.#drop(w, me) };
    const engine = {
      calls: [...domain.calls, 'drain'],
      step: (w: World, me: number): boolean => this.#engine(w, me),
    };
    this.#actors = [...threads, dropper, engine];
  }

  start(): World {
    const w = new Uint8Array(At.actors + this.#actors.length * OWN_BYTES);
    const state = NativePage[this.#domain.start];
    w[At.state] = state;
    w[At.view] = state;
    if (state === absent) return w;
    w[At.truth] = 100;
    if (state !== stored) {
      w[At.isPresent] = 1;
      w[At.value] = 100;
    }
    if (state === dirty) return w;
    w[At.isProtected] = state === clean ? 1 : 0;
    w[At.entry] = this.#newSlot(w, 100);
    return w;
  }

  explore(): number {
    const seen = new Set<string>();
    const todo = [this.start()];
    for (let w = todo.pop(); w !== undefined; w = todo.pop()) {
      let moved = 0;
      let ended = 0;
      for (let actor = 0; actor < this.#actors.length; actor++) {
        const me = At.actors + actor * OWN_BYTES;
        const { calls, step } = this.#actors[actor]!;
        // The engine ends last: it drains while a thread waits for it, and once more when all others have ended.
        const isLast = actor === this.#actors.length - 1 && w[me]! >= calls.length - 1;
        const isAlone = ended === this.#actors.length - 1;
        if (w[me]! >= calls.length) ended++;
        else if (!isLast || isAlone || w[me + Own.pc] !== 0 || w[At.state] === asked) {
          const next = w.slice();
          if (!step(next, me)) continue;
          moved++;
          if (isLast && !isAlone) next[me] = calls.length - 1;
          assert.ok(next[At.isPinned] === 0 || next[At.isPresent] === 1, 'pinned: in memory');
          const key = String.fromCharCode(...next);
          if (seen.has(key)) continue;
          seen.add(key);
          todo.push(next);
        }
      }
      if (ended === this.#actors.length) this.#check(w);
      else assert.ok(moved > 0, 'somebody can go on');
    }
    return seen.size;
  }

  #has(rule: Rule): boolean {
    return this.#without !== rule;
  }

  /** All actors have ended: nothing is left behind. */
  #check(w: World): void {
    assert.equal(w[At.view], w[At.state], 'the engine knows the state');
    const hasSlot = w[At.state] === clean || w[At.state] === stored;
    const slots = hasSlot ? 1 << w[At.entry]! : 0;
    assert.equal(w[At.used], slots, 'no slot is left, and none is missing');
    const value = w[At.isPresent] === 1 ? w[At.value] : hasSlot ? w[At.stored + w[At.entry]!] : 0;
    assert.equal(value, w[At.truth], 'the page has the bytes that were written last');
  }

  #newSlot(w: World, value: number): number {
    for (let slot = 1; slot < SLOTS; slot++)
      if ((w[At.used]! & (1 << slot)) === 0) {
        w[At.used]! |= 1 << slot;
        w[At.stored + slot] = value;
        return slot;
      }
    return assert.fail('slots are leaked');
  }

  #freeSlot(w: World, slot: number): void {
    assert.ok(slot !== 0 && (w[At.used]! & (1 << slot)) !== 0, 'a slot is freed once');
    w[At.used]! &= ~(1 << slot);
    w[At.stored + slot] = 255;
  }

  #readSlot(w: World, slot: number): number {
    assert.ok(slot !== 0 && (w[At.used]! & (1 << slot)) !== 0, 'no slot is read that is free');
    return w[At.stored + slot]!;
  }

  #end(w: World, me: number): boolean {
    w[me]! += 1;
    w.fill(0, me + 1, me + OWN_BYTES);
    return true;
  }

  #goto(w: World, me: number, pc: number): boolean {
    w[me + Own.pc] = pc;
    return true;
  }

  // A thread: accesses, and its faults

  #access(w: World, me: number, thread: number): boolean {
    const { calls } = this.#actors[thread]!;
    const isWrite = calls[w[me]!] === 'w';
    if (w[me + Own.pc] !== 0) return this.#serve(w, me, isWrite);
    if (w[At.isPresent] === 1 && !(isWrite && w[At.isProtected] === 1)) {
      if (isWrite) {
        w[At.value] = 1 + thread * 8 + w[me]!;
        w[At.truth] = w[At.value]!;
      } else assert.equal(w[At.value], w[At.truth], 'a read finds what was written last');
      return this.#end(w, me);
    }
    w[me + Own.isProtected] = w[At.isPresent]!;
    return this.#goto(w, me, 1);
  }

  /** serve() of faults.c, a step at a time. */
  #serve(w: World, me: number, isWrite: boolean): boolean {
    const pc = w[me + Own.pc]!;
    const before = w[me + Own.before]!;
    if (pc === 1) return this.#claim(w, me);
    if (pc === 2) return this.#read(w, me);
    if (pc === 7) {
      assert.equal(
        this.#readSlot(w, w[me + Own.slot]!),
        w[me + Own.value],
        'bytes change while they are read',
      );
      if (!this.#has('a read of a file holds its claim')) return this.#claimAgain(w, me);
      return this.#goto(w, me, 3);
    }
    if (pc === 3) {
      this.#changeMemory(w, me, isWrite);
      return this.#goto(w, me, 4);
    }
    if (pc === 4) {
      w[At.state] = this.#after(w, me, isWrite);
      return this.#goto(
        w,
        me,
        before === clean && isWrite && !this.#has('writes are reported') ? 0 : 5,
      );
    }
    if (pc === 6) {
      w[At.isProtected] = 0; // late: without the rule
      return this.#goto(w, me, 0);
    }
    w[At.hasArrived] = 1;
    return this.#goto(w, me, 0);
  }

  /** Reads the slot of a claimed page; a file in two steps, the second of which verifies. */
  #read(w: World, me: number): boolean {
    if (w[me + Own.before] !== stored) return this.#goto(w, me, 3);
    const { failures = 0, isFile = false } = this.#domain;
    const fails = (failures >>> w[At.reads]!) & 1;
    if (failures !== 0) w[At.reads] = Math.min(w[At.reads]! + 1, 7);
    if (fails === 1) {
      w[At.state] = asked;
      w[At.hasArrived] = 1;
      return this.#goto(w, me, 0);
    }
    w[me + Own.slot] = w[At.entry]!;
    w[me + Own.value] = this.#readSlot(w, w[At.entry]!);
    if (isFile && !this.#has('a read of a file holds its claim')) w[At.state] = stored;
    return this.#goto(w, me, isFile ? 7 : 3);
  }

  /** Without the rule: the page was stored while its file was read. */
  #claimAgain(w: World, me: number): boolean {
    if (w[At.state] !== stored) return this.#goto(w, me, 0);
    w[At.state] = busy;
    return this.#goto(w, me, 3);
  }

  #claim(w: World, me: number): boolean {
    const now = w[At.state]!;
    if (now === busy || now === asked) return false;
    if (now === dirty || now === evicting)
      if (w[me + Own.isProtected] === 1 && !this.#has('protection is lifted under the claim')) {
        w[At.state] = dirty;
        return this.#goto(w, me, 6);
      }
    w[me + Own.before] = now;
    w[At.state] = busy;
    return this.#goto(w, me, 2);
  }

  #changeMemory(w: World, me: number, isWrite: boolean): void {
    const before = w[me + Own.before]!;
    if (before === stored || before === absent) {
      assert.equal(w[At.isPresent], 0, 'a page that is not resident is not in memory');
      w[At.isPresent] = 1;
      w[At.value] = before === stored ? w[me + Own.value]! : 0;
      const isClean = before === stored && !isWrite;
      w[At.isProtected] = isClean && this.#has('reads install protected pages') ? 1 : 0;
    } else if (w[me + Own.isProtected] === 1 && isWrite) w[At.isProtected] = 0;
  }

  #after(w: World, me: number, isWrite: boolean): number {
    const before = w[me + Own.before]!;
    if (before === absent) return dirty;
    if (before === stored) return isWrite ? dirty : clean;
    if (before === evicting) return isWrite ? dirty : evicting;
    return before === clean && isWrite && w[me + Own.isProtected] === 1 ? dirty : before;
  }

  /** Native code drops a clean page. */
  #drop(w: World, me: number): boolean {
    const pc = w[me + Own.pc]!;
    if (pc === 0) {
      if (w[At.state] !== clean) return this.#end(w, me);
      if (this.#has('drop holds a claim')) w[At.state] = busy;
      return this.#goto(w, me, 1);
    }
    if (pc === 1) w[At.isPresent] = 0;
    if (pc === 2) w[At.state] = stored;
    if (pc < 3) return this.#goto(w, me, pc + 1);
    w[At.hasArrived] = 1;
    return this.#end(w, me);
  }

  // The engine

  #engine(w: World, me: number): boolean {
    const { calls } = this.#actors.at(-1)!;
    const call = calls[w[me]!];
    if (call === 'evict') return this.#evict(w, me);
    if (call === 'discard') return this.#discard(w, me);
    if (call === 'pin') return this.#pin(w, me);
    if (call === 'free') return this.#freeCopy(w, me);
    if (call === 'fetch' && w[me + Own.pc] === 0) {
      if (w[At.view] !== stored || w[At.state] !== stored) return this.#end(w, me);
      return this.#goto(w, me, 2);
    }
    return this.#reconcile(w, me) ? this.#end(w, me) : w[me + Own.value] === 1;
  }

  #evict(w: World, me: number): boolean {
    const pc = w[me + Own.pc]!;
    if (w[At.view] === clean && pc < 10) return this.#dropClean(w, me, pc);
    const order = this.#has('protect before the copy') ? [0, 1, 2] : [0, 2, 1];
    const what = pc < 3 ? order[pc]! : pc;
    if (what === 0) {
      if (w[At.view] !== dirty || w[At.state] !== dirty || w[At.isPinned] === 1)
        return this.#end(w, me);
      w[At.state] = evicting;
    } else if (what === 1) w[At.isProtected] = w[At.isPresent]!;
    else if (what === 2) w[me + Own.value] = w[At.value]!;
    else if (what === 3) {
      const isLater = this.#domain.isFile === true;
      w[me + Own.slot] = this.#newSlot(w, isLater ? UNWRITTEN : w[me + Own.value]!);
      if (isLater && this.#has('a file is written before the page is stored'))
        return this.#goto(w, me, 30);
    } else if (what === 30) {
      w[At.stored + w[me + Own.slot]!] = w[me + Own.value]!;
      return this.#goto(w, me, 4);
    } else return this.#commit(w, me, what);
    return this.#goto(w, me, pc + 1);
  }

  #commit(w: World, me: number, pc: number): boolean {
    const slot = w[me + Own.slot]!;
    if (pc === 4) {
      if (w[At.state] === busy) {
        if (this.#has('commit decides by what its swap found')) return false;
        return this.#goto(w, me, 9);
      }
      if (w[At.state] !== evicting && this.#has('commit checks for a write')) {
        this.#freeSlot(w, slot);
        return this.#end(w, me);
      }
      w[At.state] = busy;
      return this.#goto(w, me, 5);
    }
    if (pc === 9) {
      if (w[At.state] === busy) return this.#goto(w, me, 4); // looks a second time: without the rule
      this.#freeSlot(w, slot);
      return this.#end(w, me);
    }
    if (pc === 5) w[At.isPresent] = 0;
    const entryAt = this.#has('entry before stored') ? 6 : 7;
    if (pc === entryAt) w[At.entry] = slot;
    else if (pc > 5 && pc < 8) w[At.state] = stored;
    if (pc < 8) return this.#goto(w, me, pc + 1);
    if (this.#domain.isFile === true && !this.#has('a file is written before the page is stored'))
      w[At.stored + slot] = w[me + Own.value]!;
    w[At.view] = stored;
    return this.#end(w, me);
  }

  #dropClean(w: World, me: number, pc: number): boolean {
    if (pc === 0 && w[At.state] !== clean) return w[At.state] === busy ? false : this.#end(w, me);
    if (pc === 0) w[At.state] = busy;
    else if (pc === 1) w[At.isPresent] = 0;
    else if (pc === 2) w[At.state] = stored;
    else {
      w[At.view] = stored;
      return this.#end(w, me);
    }
    return this.#goto(w, me, pc + 1);
  }

  /** Follows the shared state, as SharedPager.reconcile(). True: it has ended. Sets `value` while it goes on. */
  #reconcile(w: World, me: number): boolean {
    const pc = w[me + Own.pc]!;
    w[me + Own.value] = 0;
    if (pc === 0) {
      if (w[At.hasArrived] === 0) return true;
      if (w[At.state] === busy) return false;
      w[At.hasArrived] = 0;
      w[me + Own.before] = w[At.state]!;
      return this.#more(w, me, 1);
    }
    if (pc === 1) {
      const now = w[me + Own.before]!;
      this.#follow(w, now);
      return now === asked ? this.#more(w, me, 2) : true;
    }
    if (pc === 2) {
      const isClaimed = w[At.state] === asked || w[At.state] === stored;
      if (w[At.state] === busy) return false;
      if (!isClaimed) return true;
      w[me + Own.slot] = this.#readSlot(w, w[At.entry]!);
      if (this.#has('the engine installs under a claim')) w[At.state] = busy;
      return this.#more(w, me, 3);
    }
    if (pc === 3) {
      assert.equal(w[At.isPresent], 0, 'the engine installs a page that is not in memory');
      w[At.isPresent] = 1;
      w[At.isProtected] = 1;
      w[At.value] = w[me + Own.slot]!;
      return this.#more(w, me, 4);
    }
    w[At.state] = clean;
    w[At.view] = clean;
    return true;
  }

  #more(w: World, me: number, pc: number): boolean {
    w[me + Own.pc] = pc;
    w[me + Own.value] = 1;
    return false;
  }

  #follow(w: World, now: number): void {
    const known = w[At.view]!;
    if (known === clean && now !== clean) {
      if (now === dirty) this.#forget(w);
      else w[At.view] = stored;
    } else if (known === stored && now === clean) w[At.view] = clean;
    else if (known === stored && now === dirty) this.#forget(w);
    else if (known === absent && now === dirty) w[At.view] = dirty;
  }

  #forget(w: World): void {
    this.#freeSlot(w, w[At.entry]!);
    w[At.entry] = 0;
    w[At.view] = dirty;
  }

  #discard(w: World, me: number): boolean {
    const pc = w[me + Own.pc]!;
    if (pc === 0) {
      if (w[At.state] === busy) return false;
      if (!this.#has('discard frees the slot last') && w[At.entry] !== 0)
        this.#freeSlot(w, w[At.entry]!);
      w[me + Own.before] = w[At.state]!;
      return this.#goto(w, me, 1);
    }
    if (pc === 1) {
      if (w[At.state] === busy) return false;
      w[At.state] = busy;
    } else if (pc === 2) {
      w[At.isPresent] = 0;
      w[At.truth] = 0;
    } else if (pc === 3) w[At.state] = absent;
    else {
      if (w[At.entry] !== 0 && this.#has('discard frees the slot last'))
        this.#freeSlot(w, w[At.entry]!);
      w[At.entry] = 0;
      w[At.view] = absent;
      return this.#end(w, me);
    }
    return this.#goto(w, me, pc + 1);
  }

  /** Pins the page and, some steps later, unpins it: in between it stays in memory. */
  #pin(w: World, me: number): boolean {
    const pc = w[me + Own.pc]!;
    if (pc === 0) w[me + Own.isProtected] = 1;
    if (pc === 0 && w[At.state] === clean && !this.#has('pin makes the page dirty')) {
      w[At.isPinned] = 1;
      return this.#goto(w, me, 20);
    }
    if (pc === 0) {
      if (w[At.state] === asked) return this.#end(w, me); // the engine reads it first: that is `drain`
      return this.#claim(w, me);
    }
    if (pc < 5 || pc === 7) return this.#serve(w, me, true);
    if (pc === 5) {
      w[At.isPinned] = w[At.state] === dirty ? 1 : 0;
      return this.#goto(w, me, 20);
    }
    if (pc < 23) return this.#goto(w, me, pc + 1);
    w[At.isPinned] = 0;
    w[At.hasArrived] = 1;
    return this.#end(w, me);
  }

  #freeCopy(w: World, me: number): boolean {
    const pc = w[me + Own.pc]!;
    if (pc === 0) {
      if (w[At.state] === busy) return false;
      if (w[At.view] !== clean || w[At.state] !== clean) return this.#end(w, me);
      if (this.#has('copies are freed by compare-and-swap')) w[At.state] = dirty;
      return this.#goto(w, me, 1);
    }
    this.#freeSlot(w, w[At.entry]!);
    w[At.entry] = 0;
    w[At.view] = dirty;
    if (!this.#has('copies are freed by compare-and-swap')) w[At.state] = dirty;
    return this.#end(w, me);
  }
}

/** Runs every interleaving. Returns how many worlds there were. @param without a rule to leave out */
export function explore(domain: Domain, without: Rule | null = null): number {
  return new Model(domain, without).explore();
}
