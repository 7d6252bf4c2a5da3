/**
 * Decides which connection is served next, and how much: deficit round robin between flows. A flow is an export with
 * all its connections, or all connections that negotiate. The unit of work is that of nbd/protocol/work.ts.
 *
 *   event ─▶ admits() ─ true ──▶ the connection is served immediately
 *                └──── false ──▶ queue() ─▶ its flow ─▶ ring of flows ─▶ one grant each, when the turn ends
 *
 * A turn of the event loop is recognised without a timer: libuv reports at most one read event per connection and
 * turn, so a second event of the same connection starts a new turn. (After a read that fills the buffer, another may
 * follow in the same turn; the connection must then be queued, unless its flow is alone.) The same holds for the event
 * that a socket has drained. Events of sockets that Node reads are repeatable: with TLS there is one per record. A
 * turn ends when the queue is served, if not earlier.
 *
 * Invariants
 * - A flow does at most a quantum of work and one step in a turn; what exceeds the quantum is subtracted from the next one.
 * - A connection is queued once, and a flow is in the ring if and only if it has queued connections.
 * - All flows of the ring are served in each turn, except those left when a turn is full; they come first in the next
 *   turn.
 * Cost: an admission and a charge are a few comparisons; only growing queues allocate.
 */

/** Work of a flow in a turn while others are served. */
export const QUANTUM = 65536;
/** Work of a connection in a turn while no other flow is served. */
export const LONE_GRANT: number = 1024 * 1024;
/** Work of all flows after which a turn ends. */
const TURN_WORK: number = 1024 * 1024;
/** A flow is alone if no other was served during this much work. */
const LONE_AFTER: number = 4 * 1024 * 1024;
/** Maximum work that a flow can owe. */
const DEBT_MAX: number = 2 * QUANTUM;

/** A connection, as the scheduler sees it. */
export interface Served {
  /** Its flow; may change while it is not queued. */
  flow: Flow;
  /** The last turn in which an event of it was admitted. */
  turn: number;
  /** Called when its turn comes. */
  serve(): void;
}

/** The connections that share a quantum. */
export class Flow {
  /** Whether other flows are not alone because of it. Negotiation is little work: it counts only while queued. */
  readonly isCounted: boolean;
  /** Work that may be done in turn `turn`; negative: a debt. */
  credit = 0;
  turn = -1;
  isInRing = false;
  /** Queued connections, the next one first. */
  readonly waiting: Served[] = [];

  constructor(isCounted: boolean = true) {
    this.isCounted = isCounted;
  }
}

export class Turns {
  #turn = 0;
  /** Work of this turn, and since the start. */
  #turnWork = 0;
  #work = 0;
  /** The flow that was served last, and the total work when it replaced another one. */
  #last: Flow | null = null;
  #mixedAt = Number.NEGATIVE_INFINITY;
  readonly #ring: Flow[] = [];
  #waitingCount = 0;
  #isScheduled = false;
  readonly #onServed: () => void;

  /** @param onServed called each time after the queue was served */
  constructor(onServed: () => void) {
    this.#onServed = onServed;
  }

  /** Number of queued connections. */
  get waitingCount(): number {
    return this.#waitingCount;
  }

  /**
   * Whether a connection may be served now, without the queue. If not, it must be queued.
   * @param isRepeatable the connection may have several such events in a turn, so a second one does not start a turn
   */
  admits(connection: Served, isRepeatable = false): boolean {
    if (connection.turn === this.#turn && !isRepeatable) this.#begin();
    connection.turn = this.#turn;
    const { flow } = connection;
    if (flow.waiting.length > 0 || this.#turnWork >= TURN_WORK) return false;
    return this.#creditOf(flow) > 0;
  }

  /** The work that a connection may do now, above 0. */
  grant({ flow }: Served): number {
    return this.isAlone(flow) ? LONE_GRANT : Math.max(1, this.#creditOf(flow));
  }

  /** Records that the flow has done `work`. */
  charge(flow: Flow, work: number): void {
    const isAlone = this.isAlone(flow);
    if (flow !== this.#last && flow.isCounted) {
      if (this.#last !== null) this.#mixedAt = this.#work;
      this.#last = flow;
    }
    this.#work += work;
    this.#turnWork += work;
    if (!isAlone) flow.credit = Math.max(-DEBT_MAX, flow.credit - work);
  }

  /** Calls `connection.serve()` in the next turn in which its flow has credit. It must not be queued already. */
  queue(connection: Served): void {
    const { flow } = connection;
    flow.waiting.push(connection);
    this.#waitingCount++;
    this.#enter(flow);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#serveQueue);
  }

  /** Removes all queued connections. */
  clear(): void {
    for (const flow of this.#ring.splice(0)) {
      flow.waiting.length = 0;
      flow.isInRing = false;
    }
    this.#waitingCount = 0;
  }

  #enter(flow: Flow): void {
    if (!flow.isInRing) this.#ring.push(flow);
    flow.isInRing = true;
  }

  #begin(): void {
    this.#turn++;
    this.#turnWork = 0;
  }

  /** Whether no other flow is queued or was served during the last LONE_AFTER of work. */
  isAlone(flow: Flow): boolean {
    if (this.#ring.length > 1 || (this.#ring.length === 1 && this.#ring[0] !== flow)) return false;
    if (this.#last !== null && this.#last !== flow && flow.isCounted) return false;
    return this.#work - this.#mixedAt > LONE_AFTER;
  }

  #creditOf(flow: Flow): number {
    if (flow.turn !== this.#turn) {
      flow.turn = this.#turn;
      flow.credit = Math.min(QUANTUM, flow.credit + QUANTUM);
    }
    return flow.credit;
  }

  readonly #serveQueue = (): void => {
    this.#isScheduled = false;
    this.#begin();
    for (let left = this.#ring.length; left > 0 && this.#turnWork < TURN_WORK; left--) {
      const flow = this.#ring.shift();
      if (flow === undefined) break;
      flow.isInRing = false;
      this.#serveFlow(flow);
      if (flow.waiting.length > 0) this.#enter(flow);
    }
    if (this.#ring.length > 0 && !this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#serveQueue);
    }
    this.#onServed();
  };

  /** Serves the connections that wait now, in order, while the flow has credit. */
  #serveFlow(flow: Flow): void {
    for (let left = flow.waiting.length; left > 0; left--) {
      if (this.#creditOf(flow) <= 0 || this.#turnWork >= TURN_WORK) return;
      const connection = flow.waiting.shift();
      if (connection === undefined) return;
      this.#waitingCount--;
      connection.serve();
    }
  }
}
