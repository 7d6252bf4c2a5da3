/**
 * The threads that collect garbage (collected-memories.ts). During a collection no page is evicted, because the memory of a
 * region may have been unmapped or have a new owner. Ending the engine accesses and unregisters the memory of all regions, so
 * it waits for the collections: its call stays posted, and so do later calls of `freeze`.
 */
import { CallOp } from './control-block.ts';

export class FrozenThreads {
  readonly #threads = new Set<number>();
  readonly #serveAgain: () => void;
  #isEndDeferred = false;

  /** @param serveAgain makes the engine serve its calls in the next step */
  constructor(serveAgain: () => void) {
    this.#serveAgain = serveAgain;
  }

  get isAny(): boolean {
    return this.#threads.size > 0;
  }

  has(thread: number): boolean {
    return this.#threads.has(thread);
  }

  set(thread: number, isFrozen: boolean): void {
    if (isFrozen) this.#threads.add(thread);
    else this.#threads.delete(thread);
    if (this.#isEndDeferred && !this.isAny) this.#serveAgain();
  }

  /** Whether a call of this kind must wait now. */
  isDeferred(op: CallOp): boolean {
    if (op === CallOp.end) {
      if (this.#isEndDeferred) this.#serveAgain(); // for calls of `freeze`, if ending the engine fails
      this.#isEndDeferred = this.isAny;
    }
    return this.#isEndDeferred && (op === CallOp.end || op === CallOp.freeze);
  }
}
