/**
 * Server-sent events for pages of the dashboard: `hello` with the history, then a `sample` every second and an `event` for each
 * event of the host. Each text is rendered once for all readers. A reader that does not read is disconnected once
 * STREAM_BYTES_MAX bytes wait for it, so it costs at most that much memory; there are at most STREAMS_MAX readers.
 */
import type { ServerResponse } from 'node:http';
import { type Hello, type Sample, sampleColumns } from '../page/wire.ts';
import { type DashboardHistory, SAMPLE_MS } from './dashboard-history.ts';
import type { EventKind, HostEvent, HostEvents } from './events.ts';

export const STREAMS_MAX = 8;
const STREAM_BYTES_MAX = 1 << 20;
/** Latest events that a new reader gets. */
const EVENTS_SHOWN = 50;

/** These contain addresses of clients and paths of files: only a reader who may change the host gets them. */
const privateKinds: ReadonlySet<EventKind> = new Set(['client', 'log']);

interface Reader {
  readonly response: ServerResponse;
  readonly canWrite: boolean;
}

const eventText = (name: string, data: object): string =>
  `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

export class DashboardStreams {
  readonly #readers = new Set<Reader>();
  readonly #events: HostEvents;
  readonly #endSubscription: () => void;
  readonly #version: string;

  constructor(events: HostEvents, version: string) {
    this.#events = events;
    this.#version = version;
    this.#endSubscription = events.subscribe((event) => this.#sendEvent(event));
  }

  /** Whether one more reader can be added: a reader that may change the host replaces one that may not. */
  hasPlace(canWrite: boolean): boolean {
    return this.#readers.size < STREAMS_MAX || (canWrite && this.#oldestGuest() !== undefined);
  }

  #oldestGuest(): Reader | undefined {
    return [...this.#readers].find((reader) => !reader.canWrite);
  }

  /** Sends events until the client disconnects or end() is called. */
  add(response: ServerResponse, canWrite: boolean, history: DashboardHistory): void {
    const reader: Reader = { response, canWrite };
    const guest = this.#readers.size < STREAMS_MAX ? undefined : this.#oldestGuest();
    if (guest !== undefined) {
      this.#readers.delete(guest);
      guest.response.destroy();
    }
    response.setTimeout(0);
    response.setHeader('content-type', 'text/event-stream');
    response.setHeader('cache-control', 'no-store');
    const events = this.#events.latest
      .filter(({ event }) => canWrite || !privateKinds.has(event))
      .slice(-EVENTS_SHOWN);
    const { latest } = history;
    const hello: Hello = {
      schemaVersion: 1,
      version: this.#version,
      pid: process.pid,
      canWrite,
      intervalMs: SAMPLE_MS,
      columns: sampleColumns,
      history: [],
      disks: latest?.disks ?? [],
      violated: latest?.violated ?? [],
      events,
    };
    // The history is rendered once a second, for any number of new readers.
    write(reader, eventText('hello', hello).replace('"history":[]', `"history":${history.text}`));
    this.#readers.add(reader);
    response.once('close', () => this.#readers.delete(reader));
  }

  sendSample(sample: Sample): void {
    if (this.#readers.size === 0) return;
    const text = eventText('sample', sample);
    for (const reader of this.#readers) write(reader, text);
  }

  /** Ends all replies. */
  end(): void {
    this.#endSubscription();
    for (const { response } of this.#readers) response.end();
  }

  #sendEvent(event: HostEvent): void {
    if (this.#readers.size === 0) return;
    const text = eventText('event', event);
    const isPrivate = privateKinds.has(event.event);
    for (const reader of this.#readers) if (reader.canWrite || !isPrivate) write(reader, text);
  }
}

function write({ response }: Reader, text: string): void {
  if (response.destroyed || response.writableEnded) return;
  if (response.writableLength > STREAM_BYTES_MAX) response.destroy();
  else response.write(text);
}
