/**
 * Creates, fills, checks and drops memories while threads access others (stress.ts). Memories that are kept must have
 * their contents; dropped ones are collected and forgotten.
 */
import type { Prng } from '../../src/base/prng.ts';
import type { MemorySwap } from '../../src/memory/memory-swap.ts';
import { type Memory, wasm } from './wasm-api.ts';

const KEPT_MAX = 4;

interface Kept {
  readonly memory: Memory;
  readonly id: number;
}

/** Two words of three are equal in neighbouring pages, the third is not. */
const wordOf = (id: number, at: number): number =>
  at % 3 === 0 ? Math.imul(at + 1, 0x9e3779b1) ^ id : id + (at >>> 6);

export class DroppedMemories {
  /** Memories adopted so far. */
  count = 0;
  readonly #swap: MemorySwap;
  readonly #prng: Prng;
  readonly #kept: Kept[] = [];

  constructor(swap: MemorySwap, prng: Prng) {
    this.#swap = swap;
    this.#prng = prng;
  }

  /** Creates a memory, checks one that is kept, and drops some. Returns an error text, or ''. */
  step(): string {
    const id = ++this.count;
    const memory = new wasm.Memory({ initial: 16 + this.#prng.below(64) });
    const region = this.#swap.adopt(memory);
    const words = new Int32Array(memory.buffer);
    for (let at = 0; at < words.length; at++) words[at] = wordOf(id, at);
    if (this.#prng.oneIn(3)) region.evict();
    this.#kept.push({ memory, id });
    const wrong = this.#check(this.#kept[this.#prng.below(this.#kept.length)]!);
    while (this.#kept.length > KEPT_MAX || (this.#kept.length > 0 && this.#prng.oneIn(3)))
      this.#kept.splice(this.#prng.below(this.#kept.length), 1);
    return wrong;
  }

  #check({ memory, id }: Kept): string {
    const words = new Int32Array(memory.buffer);
    for (let at = 0; at < words.length; at++)
      if (words[at] !== (wordOf(id, at) | 0)) return `memory ${id}, word ${at} is ${words[at]}`;
    return '';
  }
}
