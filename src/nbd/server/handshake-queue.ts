/**
 * Decides when TLS handshakes start. A handshake takes 1 to 2 ms of the thread that serves all disks, and a client without a
 * key can cause any number of them.
 *
 *   enter ─▶ waiting, by origin ─ a start is due ─▶ active ─▶ leave
 *
 * Starts are spread over time (a token bucket), and origins take turns: a client waits for one handshake of each other origin,
 * not for all handshakes that another origin has requested. An origin is a network address or a user of this machine.
 *
 * A client can make its handshake expensive by sending certificates: the thread verifies their signatures, even those of
 * unknown authorities. So a handshake is charged more tokens when it has ended (charge()). Its origin waits until all of these
 * tokens have been refilled; other origins wait for an eighth of them, so that a client cannot stop the others at little cost.
 *
 * A client may leave a handshake unfinished. An origin with ORIGIN_MAX unfinished handshakes waits. At ACTIVE_MAX, the oldest
 * handshake of the origin with the most is ended if the origin that is next to start has fewer.
 *
 * Invariants: at most ACTIVE_MAX are active, of one origin at most ORIGIN_MAX; at most burst + perSecond * t start in t
 * seconds, minus the tokens charged.
 */
export interface HandshakeLimits {
  readonly perSecond: number;
  /** Number of starts without delay after a quiet time. */
  readonly burst: number;
  readonly activeMax: number;
  readonly originMax: number;
}

export const DEFAULT_LIMITS: HandshakeLimits = {
  perSecond: 100,
  burst: 8,
  activeMax: 32,
  originMax: 8,
};

/** The share of a charge that delays other origins. */
const OTHERS_SHARE = 8;

export interface HandshakeActions<Task> {
  start(task: Task): void;
  /** The task was active, and has been removed from the queue. */
  evict(task: Task): void;
  readonly nowMs: () => number;
}

export class HandshakeQueue<Task extends object> {
  readonly #limits: HandshakeLimits;
  readonly #actions: HandshakeActions<Task>;
  /** By origin; the first one is the next to start. None is empty. */
  readonly #waiting = new Map<string, Set<Task>>();
  /** By origin, in the order of their start. None is empty. */
  readonly #active = new Map<string, Set<Task>>();
  /** Origins that were charged, with the time until which they wait. */
  readonly #paidAtMs = new Map<string, number>();
  #activeCount = 0;
  #tokens: number;
  #atMs: number;
  #timer: NodeJS.Timeout | null = null;

  constructor(limits: HandshakeLimits, actions: HandshakeActions<Task>) {
    this.#limits = limits;
    this.#actions = actions;
    this.#tokens = limits.burst;
    this.#atMs = actions.nowMs();
  }

  enter(origin: string, task: Task): void {
    addTo(this.#waiting, origin, task);
    this.#startDue();
  }

  /** Call when the handshake has ended or its client has disconnected. Does nothing for a task that is not in the queue. */
  leave(origin: string, task: Task): void {
    if (deleteFrom(this.#active, origin, task)) this.#activeCount--;
    else if (!deleteFrom(this.#waiting, origin, task)) return;
    this.#startDue();
  }

  /** Charges a handshake that cost more than one token: the next ones are delayed. */
  charge(origin: string, tokens: number): void {
    if (tokens <= 0) return;
    const now = this.#actions.nowMs();
    for (const [other, atMs] of this.#paidAtMs) if (atMs <= now) this.#paidAtMs.delete(other);
    const from = this.#paidAtMs.get(origin) ?? now;
    this.#paidAtMs.set(origin, from + (tokens * 1000) / this.#limits.perSecond);
    this.#tokens -= tokens / OTHERS_SHARE;
  }

  #startDue(): void {
    const now = this.#actions.nowMs();
    const { perSecond, burst } = this.#limits;
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#atMs) * perSecond) / 1000);
    this.#atMs = now;
    while (this.#tokens >= 1) {
      this.#tokens--; // first, because a handshake that fails immediately calls leave()
      if (this.#startNext(now)) continue;
      this.#tokens++;
      break;
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const waitMs = this.#waitMs(now);
    if (waitMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#startDue(), Math.ceil(waitMs)).unref();
  }

  /** Time until a handshake may start; Infinity: the next one waits for another one to end, or none waits. */
  #waitMs(now: number): number {
    if (this.#waiting.size === 0) return Number.POSITIVE_INFINITY;
    if (this.#tokens < 1) return ((1 - this.#tokens) * 1000) / this.#limits.perSecond;
    const paidAt = [...this.#waiting.keys()].map((origin) => this.#paidAtMs.get(origin) ?? 0);
    return Math.min(...paidAt.filter((atMs) => atMs > now)) - now;
  }

  /** Starts the oldest handshake of the next origin that may start another one; false: there is none. */
  #startNext(now: number): boolean {
    for (const [origin, tasks] of this.#waiting) {
      if ((this.#paidAtMs.get(origin) ?? 0) > now) continue;
      const count = this.#active.get(origin)?.size ?? 0;
      if (count >= this.#limits.originMax) continue;
      if (this.#activeCount >= this.#limits.activeMax && !this.#evictFor(count)) continue;
      const [task] = tasks;
      if (task === undefined) return false;
      deleteFrom(this.#waiting, origin, task);
      // The other origins are next.
      if (this.#waiting.delete(origin)) this.#waiting.set(origin, tasks);
      addTo(this.#active, origin, task);
      this.#activeCount++;
      this.#actions.start(task);
      return true;
    }
    return false;
  }

  /** Ends the oldest handshake of the origin with the most handshakes, if it has more than `count`. */
  #evictFor(count: number): boolean {
    let most = '';
    let mostCount = count;
    for (const [origin, tasks] of this.#active)
      if (tasks.size > mostCount) [most, mostCount] = [origin, tasks.size];
    const [oldest] = this.#active.get(most) ?? [];
    if (oldest === undefined || mostCount === count) return false;
    deleteFrom(this.#active, most, oldest);
    this.#activeCount--;
    this.#actions.evict(oldest);
    return true;
  }
}

function addTo<Task>(map: Map<string, Set<Task>>, origin: string, task: Task): void {
  const tasks = map.get(origin);
  if (tasks === undefined) map.set(origin, new Set([task]));
  else tasks.add(task);
}

function deleteFrom<Task>(map: Map<string, Set<Task>>, origin: string, task: Task): boolean {
  const tasks = map.get(origin);
  if (tasks?.delete(task) !== true) return false;
  if (tasks.size === 0) map.delete(origin);
  return true;
}
