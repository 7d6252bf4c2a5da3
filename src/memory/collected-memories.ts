/**
 * Adopted memories, held until the program has dropped them. V8 unmaps a collected memory without notice, and the pager
 * must not copy from an address that may have a new owner. So every memory is held, except during a garbage collection
 * that we request while no page leaves memory:
 *
 *   check():  freeze ─▶ let go of all ─▶ collect ─▶ hold those that are left ─▶ forget the others ─▶ thaw
 *
 * Invariant: outside of check() every adopted memory is held. A buffer and an instance hold their memory, so a memory
 * is collected exactly when nothing can reach its bytes. A shared memory may be used by other threads, and is held till
 * its region ends.
 *
 * Cost: a full collection, when the bytes that are held have doubled since the last; amortised as a heap's own.
 * Sources: V8, src/objects/backing-store.cc, src/heap/array-buffer-sweeper.cc.
 */
import { setFlagsFromString } from 'node:v8';
import vm from 'node:vm';

/** Fewer bytes and memories than this are not worth a collection. */
const BYTES_MIN = 32 * 2 ** 20;
const MEMORIES_MIN = 256;
/** Dropped memories keep address space and a region number: at most this many at a time. */
const DROPPED_MAX = 1024;

interface HeldMemory {
  /** Null only while check() collects. */
  memory: object | null;
  readonly weak: WeakRef<object>;
}

export interface Pages {
  /** Bytes that a region has, in memory and stored. */
  bytesOf(id: number): number;
  /** No page leaves memory until thaw(). */
  freeze(): void;
  thaw(): void;
  /** The memory is collected. */
  forget(id: number): void;
}

export class CollectedMemories {
  readonly #pages: Pages;
  /** Undefined until it is needed: it takes a context, and most programs drop no memory. */
  #collect: (() => void) | null | undefined;
  readonly #held = new Map<number, HeldMemory>();
  #checkAtBytes = BYTES_MIN;
  #checkAtCount = MEMORIES_MIN;

  /** @param collect collects garbage at once; null: no memory is ever released; default: V8's own */
  constructor(pages: Pages, collect?: (() => void) | null) {
    this.#pages = pages;
    this.#collect = collect;
  }

  hold(id: number, memory: object): void {
    this.#held.set(id, { memory, weak: new WeakRef(memory) });
    if (this.#held.size > this.#checkAtCount || this.#bytes() > this.#checkAtBytes) this.check();
  }

  /** The region has ended: its memory is no longer referenced from here. */
  release(id: number): void {
    this.#held.delete(id);
  }

  clear(): void {
    this.#held.clear();
  }

  /** Releases memories that the program has dropped. */
  check(): void {
    if (this.#collect === undefined) this.#collect = collector();
    const collect = this.#collect;
    if (collect === null) return;
    const count = this.#held.size;
    this.#pages.freeze();
    try {
      this.#letGo(collect);
      // What was made in this turn of the event loop is kept to its end, and a program may make all in one.
      if (this.#held.size > count / 2) this.#letGo(collect, clearKeptObjects);
    } finally {
      this.#pages.thaw();
    }
    this.#checkAtBytes = Math.max(BYTES_MIN, 2 * this.#bytes());
    const { size } = this.#held;
    this.#checkAtCount = Math.max(MEMORIES_MIN, Math.min(2 * size, size + DROPPED_MAX));
  }

  #letGo(collect: () => void, before: () => void = () => {}): void {
    for (const held of this.#held.values()) held.memory = null;
    try {
      before();
      collect();
    } finally {
      for (const [id, held] of this.#held) {
        held.memory = held.weak.deref() ?? null;
        if (held.memory !== null) continue;
        this.#held.delete(id);
        this.#pages.forget(id);
      }
    }
  }

  #bytes(): number {
    let bytes = 0;
    for (const id of this.#held.keys()) bytes += this.#pages.bytesOf(id);
    return bytes;
  }
}

/** V8's own gc(), which contexts have only where a flag asks for it; null where the flag cannot be set any more. */
function collector(): (() => void) | null {
  const collectorOfContext = (): (() => void) | null => {
    const found: unknown = new vm.Script('globalThis.gc').runInContext(vm.createContext());
    return typeof found === 'function' ? (found as () => void) : null;
  };
  const found = collectorOfContext(); // the program has asked for it
  if (found !== null) return found;
  setFlagsFromString('--expose-gc');
  try {
    return collectorOfContext();
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}

/**
 * ECMAScript keeps the target of a new or read WeakRef to the end of the job. A microtask checkpoint ends that, and one
 * of a queue of its own runs none of the program's microtasks.
 */
function clearKeptObjects(): void {
  new vm.Script('0').runInContext(vm.createContext({}, { microtaskMode: 'afterEvaluate' }));
}
