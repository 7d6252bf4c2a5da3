/**
 * The events of a host, for `frontswap events`: the latest ones, and subscribers that get each new one. An event contains no
 * data of a guest.
 */

export type EventKind =
  | 'added'
  | 'removed'
  | 'changed'
  | 'frozen'
  | 'thawed'
  | 'flushed'
  | 'reset'
  | 'client'
  | 'log';

export interface HostEvent {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly event: EventKind;
  /** Name of the disk; null: the host. */
  readonly disk: string | null;
  /** For people; not stable. */
  readonly message: string;
}

export type EventListener = (event: HostEvent) => void;

const EVENTS_MAX = 256;
/** Clients can cause any number of events, so events of clients have a separate limit. */
const CLIENT_EVENTS_MAX = 64;

export class HostEvents {
  readonly #latest: HostEvent[] = [];
  readonly #latestOfClients: HostEvent[] = [];
  readonly #listeners = new Set<EventListener>();

  emit(event: EventKind, disk: string | null, message: string): void {
    const entry = { time: new Date().toISOString(), event, disk, message };
    const isOfClient = event === 'client';
    const latest = isOfClient ? this.#latestOfClients : this.#latest;
    latest.push(entry);
    if (latest.length > (isOfClient ? CLIENT_EVENTS_MAX : EVENTS_MAX)) latest.shift();
    for (const listener of this.#listeners) listener(entry);
  }

  /** Oldest first. */
  get latest(): readonly HostEvent[] {
    return [...this.#latest, ...this.#latestOfClients].sort((a, b) =>
      a.time < b.time ? -1 : a.time > b.time ? 1 : 0,
    );
  }

  /** Returns a function that ends the subscription. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
