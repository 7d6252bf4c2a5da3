/**
 * The connection to the host: requests with the token, and the stream of events. The stream is read with fetch(), not
 * with EventSource, which cannot send the token. After a loss it reconnects, after 1 s at first and 30 s at most.
 */
import type { Hello, Sample, WireEvent } from './wire.ts';

const TOKEN_KEY = 'frontswap-token';
const RETRY_MS_MIN = 1000;
const RETRY_MS_MAX = 30_000;
/** If no event arrives for this long, the connection counts as lost. */
const SILENCE_MS = 10_000;

/** A request that the host refused. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Moves the token from the address, which history and screenshots show, to the storage of this tab. */
export function takeToken(): void {
  const [, token] = /^#token=([\w-]+)$/.exec(location.hash) ?? [];
  if (token === undefined) return;
  setToken(token);
  history.replaceState(null, '', location.pathname);
}

const token = (): string => sessionStorage.getItem(TOKEN_KEY) ?? '';
export const hasToken = (): boolean => token() !== '';

/** An empty text forgets the token. */
export function setToken(text: string): void {
  if (text === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, text);
}

const headers = (): Record<string, string> =>
  hasToken() ? { authorization: `Bearer ${token()}` } : {};

async function refusalOf(response: Response): Promise<Refusal> {
  const reply: unknown = await response.json().catch(() => null);
  const { error } = Object(reply) as { error?: { message?: unknown } };
  const message = typeof error?.message === 'string' ? error.message : '';
  return new Refusal(
    response.status,
    message === '' ? `the host answered with status ${response.status}` : message,
  );
}

/** Sends a request of the control API. @throws Refusal, or TypeError without a connection */
export async function send(method: string, path: string, body?: object): Promise<void> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...headers(), 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Error('the host does not answer; the disk may not have been changed');
  }
  if (!response.ok) throw await refusalOf(response);
}

export interface StreamListener {
  onHello(hello: Hello): void;
  onSample(sample: Sample): void;
  onEvent(event: WireEvent): void;
  onConnecting(): void;
  /** @param retryMs time until the next try */
  onLost(why: string, retryMs: number): void;
  /** The host refuses the token. */
  onTokenRefused(): void;
}

/** Keeps a stream open while the page is visible. */
export class Stream {
  readonly #listener: StreamListener;
  #abort = new AbortController();
  #timer = 0;
  #failures = 0;
  #isRunning = false;

  constructor(listener: StreamListener) {
    this.#listener = listener;
    // A browser has six connections per server, and a hidden tab needs none.
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#stop();
      else if (!this.#isRunning) this.connect();
    });
  }

  /** Connects now, even if there is a connection or it is waiting for the next try. */
  connect(): void {
    this.#stop();
    this.#isRunning = true;
    this.#abort = new AbortController();
    void this.#run(this.#abort);
  }

  #stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
    this.#abort.abort();
  }

  async #run(abort: AbortController): Promise<void> {
    this.#listener.onConnecting();
    let why = 'the host has ended the connection';
    try {
      const { signal } = abort;
      const response = await fetch('/v1/stream', { headers: headers(), signal });
      if (response.status === 401 && hasToken()) {
        this.#listener.onTokenRefused();
        return;
      }
      if (!response.ok || response.body === null) throw await refusalOf(response);
      await this.#read(response.body, abort);
    } catch (error) {
      if (error instanceof Refusal) why = error.message;
      else why = 'the host does not answer';
    }
    if (this.#abort !== abort || !this.#isRunning) return; // stop() or connect() was called
    const ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures++);
    this.#listener.onLost(why, ms);
    this.#timer = window.setTimeout(() => this.connect(), ms);
  }

  async #read(body: ReadableStream<Uint8Array>, abort: AbortController): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const silence = window.setTimeout(() => void reader.cancel(), SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done || abort.signal.aborted) return;
      const parts = (rest + decoder.decode(value, { stream: true })).split('\n\n');
      rest = parts.pop() ?? '';
      for (const part of parts) this.#dispatch(part);
    }
  }

  #dispatch(part: string): void {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? [];
    if (name === undefined || data === undefined) return;
    const value: unknown = JSON.parse(data);
    if (name === 'hello') {
      this.#failures = 0;
      this.#listener.onHello(value as Hello);
    } else if (name === 'sample') this.#listener.onSample(value as Sample);
    else if (name === 'event') this.#listener.onEvent(value as WireEvent);
  }
}
