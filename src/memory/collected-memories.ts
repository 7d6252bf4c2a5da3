/**
 * References adopted memories until the program has dropped them. V8 unmaps a collected memory without notice, and the pager
 * must not copy from an address that may have a new owner. So this class references every memory, except during a garbage
 * collection that check() requests while no page is evicted:
 *
 *   check():  freeze ─▶ drop all references ─▶ collect ─▶ reference the survivors ─▶ forget the others ─▶ thaw
 *
 * Invariant: outside of check() every adopted memory is referenced, from before its region exists: if a worker is stopped while
 * it adopts a memory, only its stack has the memory, but the engine completes the adoption. A buffer and an instance reference
 * their memory, so a memory is collected only when no code can reach its bytes. A shared memory may be used by other threads:
 * it is referenced elsewhere until its region ends.
 *
 * Cost: a full collection each time the bytes of the memories have doubled; amortised like the heap's own.
 * Sources: V8, src/objects/backing-store.cc, src/heap/array-buffer-sweeper.cc.
 */
import { setFlagsFromString } from 'node:v8';
import vm from 'node:vm';

/** With fewer bytes and memories a collection is not worth its cost. */
const BYTES_MIN = 32 * 2 ** 20;
const MEMORIES_MIN = 256;
/** Dropped memories keep address space and a region number; at most this many before the next check(). */
const DROPPED_MAX = 1024;

interface AdoptedMemory {
  /** Null only while check() collects. */
  memory: object | null;
  readonly weak: WeakRef<object>;
}

/** What CollectedMemories needs from the swap, by region number. */
export interface RegionOps {
  /** Bytes of a region, resident and stored. */
  bytesOf(id: number): number;
  /** Evicts no page until thaw(). */
  freeze(): void;
  thaw(): void;
  /** Ends the region of a memory that was collected. */
  forget(id: number): void;
}

export class CollectedMemories {
  readonly #pages: RegionOps;
  /** Undefined until check() needs it: creating it takes a context. Null: V8 offers no way to collect. */
  #collect: (() => void) | null | undefined;
  readonly #memories = new Map<number, AdoptedMemory>();
  /**
   * The memory that is being adopted. A thread that is stopped during the adoption runs no more code, so the memory stays
   * referenced.
   */
  readonly #arriving = new Set<object>();
  #checkAtBytes = BYTES_MIN;
  #checkAtCount = MEMORIES_MIN;

  /** @param collect collects garbage synchronously; null: memories are never released; default: V8's gc() */
  constructor(pages: RegionOps, collect?: (() => void) | null) {
    this.#pages = pages;
    this.#collect = collect;
  }

  /**
   * Creates what check() needs. If a thread is stopped here, V8 prints the thread's script on standard output; so a worker does
   * this while it joins, when it cannot be stopped.
   */
  prepare(): void {
    if (this.#collect === undefined) this.#collect = collector();
  }

  /** References `memory` while `adopt` runs; `adopt` makes its region and calls reference(). */
  holding<Result>(memory: object, adopt: () => Result): Result {
    this.#arriving.add(memory);
    try {
      return adopt();
    } finally {
      this.#arriving.delete(memory);
    }
  }

  /** References the memory of a region, and calls check() if memories have doubled. */
  reference(id: number, memory: object): void {
    this.#memories.set(id, { memory, weak: new WeakRef(memory) });
    if (this.#memories.size > this.#checkAtCount || this.#bytes() > this.#checkAtBytes)
      this.check();
  }

  /** Drops the reference: the region has ended. */
  release(id: number): void {
    this.#memories.delete(id);
  }

  clear(): void {
    this.#memories.clear();
  }

  /** Releases memories that the program has dropped. */
  check(): void {
    this.prepare();
    const collect = this.#collect ?? null;
    if (collect === null) return;
    const count = this.#memories.size;
    this.#pages.freeze();
    try {
      this.#collectOnce(collect);
      // V8 keeps objects until the end of the event loop turn that created them, and a program may create all of them in one
      // turn.
      if (this.#memories.size > count / 2) this.#collectOnce(collect, clearKeptObjects);
    } finally {
      this.#pages.thaw();
    }
    this.#checkAtBytes = Math.max(BYTES_MIN, 2 * this.#bytes());
    const { size } = this.#memories;
    this.#checkAtCount = Math.max(MEMORIES_MIN, Math.min(2 * size, size + DROPPED_MAX));
  }

  #collectOnce(collect: () => void, before: () => void = () => {}): void {
    for (const entry of this.#memories.values()) entry.memory = null;
    try {
      before();
      collect();
    } finally {
      for (const [id, entry] of this.#memories) {
        entry.memory = entry.weak.deref() ?? null;
        if (entry.memory !== null) continue;
        this.#memories.delete(id);
        this.#pages.forget(id);
      }
    }
  }

  #bytes(): number {
    let bytes = 0;
    for (const id of this.#memories.keys()) bytes += this.#pages.bytesOf(id);
    return bytes;
  }
}

/** V8's gc(). A context has it only while --expose-gc is set; null if the flag can no longer be set. */
function collector(): (() => void) | null {
  const collectorOfContext = (): (() => void) | null => {
    const found: unknown = new vm.Script('globalThis.gc').runInContext(vm.createContext());
    return typeof found === 'function' ? (found as () => void) : null;
  };
  const found = collectorOfContext(); // the program runs with --expose-gc
  if (found !== null) return found;
  setFlagsFromString('--expose-gc');
  try {
    return collectorOfContext();
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}

/**
 * ECMAScript keeps the target of a new or dereferenced WeakRef alive until the end of the job. A microtask checkpoint clears
 * these targets; a context with its own queue does not run the program's microtasks.
 */
function clearKeptObjects(): void {
  new vm.Script('0').runInContext(vm.createContext({}, { microtaskMode: 'afterEvaluate' }));
}
