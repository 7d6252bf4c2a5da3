/**
 * Accepted connections that wait until they may negotiate. It limits how many start per second and how many negotiate at a
 * time, so that many new connections cost the open ones little.
 *
 *   offer() ─▶ starts immediately ─▶ negotiates ─▶ ended()
 *      ├─▶ waits, oldest first ─▶ starts
 *      └─▶ refused: waitingMax connections already wait
 *
 * A waiting connection is a paused socket: nothing is read from it or sent to it. If the maximum number of connections
 * negotiate and others wait, the oldest negotiation must end once it has had GRACE_MS: clients need a few milliseconds.
 *
 * Invariant: a timer runs if and only if connections wait and dispose() was not called.
 */

/** Minimum time for a negotiation while others wait, ms. */
export const GRACE_MS = 250;
/** Burst: connections of this share of a second may start at the same time. */
const BURST_SECONDS = 0.5;
/** Connections started per timer event: about 0.3 ms. */
const BATCH = 4;

export interface AcceptQueueOptions<Waiting> {
  /** Connections that may negotiate at a time. */
  readonly negotiatingMax: number;
  /** Connections that may start per second; 0: any number. */
  readonly perSecond: number;
  /** Connections that may wait. */
  readonly waitingMax: number;
  readonly nowMs: () => number;
  readonly start: (waiting: Waiting) => void;
  readonly refuse: (waiting: Waiting) => void;
  /** Ends the oldest negotiation if it began before `beforeMs`. */
  readonly endOldest: (beforeMs: number) => void;
}

export class AcceptQueue<Waiting> {
  readonly #options: AcceptQueueOptions<Waiting>;
  readonly #burst: number;
  readonly #waiting: Waiting[] = [];
  #negotiating = 0;
  /** Connections that may start now. */
  #tokens: number;
  #atMs: number;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: AcceptQueueOptions<Waiting>) {
    this.#options = options;
    this.#burst = Math.max(1, options.perSecond * BURST_SECONDS);
    this.#tokens = this.#burst;
    this.#atMs = options.nowMs();
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get negotiatingCount(): number {
    return this.#negotiating;
  }

  /** Starts the connection now or later, or refuses it. */
  offer(connection: Waiting): void {
    if (this.#waiting.length === 0 && this.#mayStart()) {
      this.#start(connection);
      return;
    }
    if (this.#waiting.length >= this.#options.waitingMax) {
      this.#options.refuse(connection);
      return;
    }
    this.#waiting.push(connection);
    this.#plan();
  }

  /** Call when a started connection has negotiated or has ended. */
  ended(): void {
    this.#negotiating--;
  }

  /** Refuses the waiting connections. */
  dispose(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (const connection of this.#waiting.splice(0)) this.#options.refuse(connection);
  }

  #start(connection: Waiting): void {
    this.#tokens--;
    this.#negotiating++;
    this.#options.start(connection);
  }

  #mayStart(): boolean {
    const { perSecond, negotiatingMax, nowMs } = this.#options;
    if (this.#negotiating >= negotiatingMax) return false;
    if (perSecond === 0) return true;
    const now = nowMs();
    const risen = ((now - this.#atMs) * perSecond) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + risen);
    this.#atMs = now;
    return this.#tokens >= 1;
  }

  #plan(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(this.#drain, 1);
  }

  readonly #drain = (): void => {
    this.#timer = null;
    const { negotiatingMax, nowMs, endOldest } = this.#options;
    if (this.#negotiating >= negotiatingMax) endOldest(nowMs() - GRACE_MS);
    for (let left = BATCH; left > 0 && this.#waiting.length > 0 && this.#mayStart(); left--)
      this.#start(this.#waiting.shift()!);
    if (this.#waiting.length > 0) this.#plan();
  };
}
