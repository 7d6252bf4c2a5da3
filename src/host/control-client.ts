/**
 * Sends a request to the control socket of a running host. One connection per request. The reply is limited in bytes and in
 * time, and nothing in it is trusted: with --control the socket may belong to another user.
 */
import { type IncomingMessage, request } from 'node:http';
import { type ErrorCode, SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { errnoOf } from '../os/system-error.ts';
import {
  checkListDocument,
  type DiskReport,
  type ListDocument,
  whyNoReport,
} from './list-document.ts';
import type { ReloadReport } from './reload/apply.ts';

const REPLY_BYTES_MAX = 16 * 1024 * 1024;
/** Longest time from the connection to the last byte of the reply, ms. A reset takes up to 2,000. */
const REPLY_MS_MAX = 5000;
/** The same limit, for operations that may move all pages of a disk. */
const MOVE_MS_MAX = 3_600_000;
/** Longest line of an event. */
const EVENT_BYTES_MAX = 64 * 1024;

/** Error codes that a reply may contain; a reply with any other code is not from a host. */
const REFUSAL_CODES: readonly ErrorCode[] = [
  'ERR_ARG_CONFLICT',
  'ERR_ARG_UNKNOWN',
  'ERR_ARG_VALUE',
  'ERR_IO_ENDED',
  'ERR_IO_IMAGE',
  'ERR_IO_IN_USE',
  'ERR_IO_NO_ROOM',
  'ERR_IO_SYSTEM',
  'ERR_IO_UNSAFE_PATH',
  'ERR_IO_UNSUPPORTED',
];

function unreachable(path: string, cause: unknown): SwapError {
  const errno = errnoOf(cause);
  const hint =
    errno === 'EACCES'
      ? 'it belongs to another user'
      : "start one with 'frontswap host', or name its socket with --control PATH";
  const message = `no host answers on ${path}${errno === '' ? '' : ` (${errno})`}; ${hint}`;
  return new SwapError('ERR_IO_NOT_REACHABLE', message, { path, errno }, { cause });
}

const late = (path: string, timeoutMs: number, cause: unknown): SwapError =>
  new SwapError(
    'ERR_IO_NOT_REACHABLE',
    `the host on ${path} accepts connections, but sent no complete reply within ${timeoutMs} ms: the host is stopped or stuck; check its state with ps, and continue a stopped host with kill -CONT`,
    { path, errno: '' },
    { cause },
  );

export const invalid = (path: string, why: string, cause?: unknown): SwapError =>
  new SwapError(
    'ERR_PEER_PROTOCOL',
    `${path} does not answer like a frontswap host: ${why}`,
    { path },
    { cause },
  );

export interface Sent {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly url: string;
  readonly body?: object;
}

/** Starts the request. Resolves with the head of the reply. */
export const begin = (
  path: string,
  { method, url, body }: Sent,
  signal: AbortSignal,
): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const sent = request({ socketPath: path, path: url, method, agent: false, signal }, resolve);
    sent.once('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });

export async function readJson(path: string, response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > REPLY_BYTES_MAX) throw invalid(path, `more than ${REPLY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  let reply: unknown;
  try {
    reply = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw invalid(path, `no JSON, status ${response.statusCode}`);
  }
  const { statusCode = 0 } = response;
  if (statusCode >= 200 && statusCode < 300) return reply;
  throw (
    (statusCode === 500 ? null : refusal(reply)) ?? invalid(path, `status ${response.statusCode}`)
  );
}

/** Each error of a configuration has its own line, indented so that it cannot pass for a line of this program. */
const printableLines = (message: string): string =>
  (/^\d+ errors in /.test(message) ? message.split(/\n */) : [message])
    .map((line) => printable(line))
    .join('\n  ');

/** The error in the reply of a host that refused the request; null if there is none. */
function refusal(reply: unknown): SwapError | null {
  const { error } = Object(reply) as { error?: { code?: unknown; message?: unknown } };
  if (typeof error?.message !== 'string') return null;
  const code = REFUSAL_CODES.find((known) => known === error.code);
  return code === undefined ? null : new SwapError(code, printableLines(error.message));
}

/** Sends one request and returns the JSON of its reply. */
export async function exchange(
  path: string,
  sent: Sent,
  timeoutMs: number = REPLY_MS_MAX,
): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  let response: IncomingMessage | null = null;
  try {
    response = await begin(path, sent, signal);
    return await readJson(path, response);
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    if (signal.aborted) throw late(path, timeoutMs, cause);
    if (response !== null) throw invalid(path, 'the reply is incomplete', cause);
    throw noReply(path, cause);
  }
}

/** The error of a request without a reply. */
export function noReply(path: string, cause: unknown): SwapError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return code?.startsWith('HPE_') === true
    ? invalid(path, message, cause)
    : unreachable(path, cause);
}

/** The field `name` of a reply, a whole number from `min` on. */
export function wholeNumber(path: string, reply: unknown, name: string, min: number): number {
  const value = (Object(reply) as Record<string, unknown>)[name];
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min) return value;
  throw invalid(path, `bad '${name}'`);
}

/**
 * Requests the list of disks.
 * @param path the control socket
 * @throws SwapError ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL
 */
export async function askDisks(
  path: string,
  timeoutMs: number = REPLY_MS_MAX,
): Promise<ListDocument> {
  return checkListDocument(
    await exchange(path, { method: 'GET', url: '/v1/disks' }, timeoutMs),
    path,
  );
}

const diskUrl = (disk: string, verb = '', force = false): string =>
  `/v1/disks/${encodeURIComponent(disk)}${verb === '' ? '' : `/${verb}`}${force ? '?force=1' : ''}`;

/** The disk in a reply. */
function diskIn(path: string, reply: unknown): DiskReport {
  const { disk } = Object(reply) as { disk?: unknown };
  const why = whyNoReport(disk);
  if (why !== null) throw invalid(path, why);
  return disk as DiskReport;
}

/**
 * Requests one disk. These requests throw SwapError: ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL, or the error of the host if it
 * refuses the operation (disk-table.ts).
 */
export const askDisk = async (path: string, disk: string): Promise<DiskReport> =>
  diskIn(path, await exchange(path, { method: 'GET', url: diskUrl(disk) }));

/** Adds a disk. @param values by key, as the body of POST /v1/disks */
export const askAdd = async (path: string, values: object): Promise<DiskReport> =>
  diskIn(path, await exchange(path, { method: 'POST', url: '/v1/disks', body: values }));

/** Changes settings. @param values by key, as the body of PATCH */
export async function askSet(
  path: string,
  disk: string,
  values: object,
  force: boolean,
): Promise<DiskReport> {
  const sent = { method: 'PATCH', url: diskUrl(disk, '', force), body: values } as const;
  return diskIn(path, await exchange(path, sent, MOVE_MS_MAX));
}

/** Freezes or thaws a disk. */
export const askGate = async (
  path: string,
  disk: string,
  verb: 'freeze' | 'thaw',
): Promise<DiskReport> =>
  diskIn(path, await exchange(path, { method: 'POST', url: diskUrl(disk, verb) }));

/** Moves the pages of a disk to its backing. @returns bytes of pages moved */
export async function askFlush(path: string, disk: string): Promise<number> {
  const sent = { method: 'POST', url: diskUrl(disk, 'flush') } as const;
  return wholeNumber(path, await exchange(path, sent, MOVE_MS_MAX), 'movedBytes', 0);
}

/** Removes a disk. @returns bytes of pages dropped */
export async function askRemove(path: string, disk: string, force: boolean): Promise<number> {
  const sent = { method: 'DELETE', url: diskUrl(disk, '', force) } as const;
  return wholeNumber(path, await exchange(path, sent), 'droppedBytes', 0);
}

/** Empties a disk. @returns bytes of pages dropped */
export async function askReset(path: string, disk: string, force: boolean): Promise<number> {
  const sent = { method: 'POST', url: diskUrl(disk, 'reset', force) } as const;
  return wholeNumber(path, await exchange(path, sent), 'droppedBytes', 0);
}

/** Requests the URL of the dashboard, with its token. @throws SwapError ERR_IO_UNSUPPORTED: the host has none */
export async function askDashboard(path: string): Promise<string> {
  const reply = await exchange(path, { method: 'GET', url: '/v1/dashboard' });
  const { url } = Object(reply) as { url?: unknown };
  if (typeof url === 'string' && /^http:\/\/[\w.:[\]-]+\/#token=[\w-]+$/.test(url)) return url;
  throw invalid(path, "bad 'url'");
}

/** Makes the host read its configuration files again. */
export async function askReload(path: string): Promise<ReloadReport> {
  const reply = await exchange(path, { method: 'POST', url: '/v1/reload' }, MOVE_MS_MAX);
  const lines = (name: string): readonly string[] => {
    const value = (Object(reply) as Record<string, unknown>)[name];
    if (!Array.isArray(value) || !value.every((line) => typeof line === 'string'))
      throw invalid(path, `bad '${name}'`);
    return value.map((line) => printable(line));
  };
  return { changed: lines('changed'), failed: lines('failed'), ignored: lines('ignored') };
}

/** Makes the host stop. @returns its process id; the process ends a moment later */
export async function askStop(path: string, force: boolean): Promise<number> {
  const sent = { method: 'POST', url: `/v1/stop${force ? '?force=1' : ''}` } as const;
  return wholeNumber(path, await exchange(path, sent), 'pid', 1);
}

/** The parts of a host's event (events.ts) that are used here. */
export interface ReceivedEvent {
  readonly time: string;
  readonly event: string;
  readonly disk: string | null;
  readonly message: string;
}

function eventIn(path: string, line: string): ReceivedEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw invalid(path, 'an event is not JSON');
  }
  const { time, event, disk, message } = Object(value) as Record<string, unknown>;
  const texts = [time, event, message, disk ?? ''];
  if (!texts.every((text) => typeof text === 'string')) throw invalid(path, 'a bad event');
  const [shownTime, shownEvent, shownMessage, shownDisk] = texts.map((text) =>
    printable(text as string),
  );
  return {
    time: shownTime!,
    event: shownEvent!,
    disk: disk === null ? null : shownDisk!,
    message: shownMessage!,
  };
}

/** The latest events of a host and each new one, until the signal or until the host ends. */
export async function* followEvents(
  path: string,
  signal: AbortSignal,
): AsyncGenerator<ReceivedEvent> {
  let response: IncomingMessage;
  try {
    response = await begin(path, { method: 'GET', url: '/v1/events' }, signal);
  } catch (cause) {
    if (signal.aborted) return;
    throw unreachable(path, cause);
  }
  if (response.statusCode !== 200) {
    await readJson(path, response); // throws the refusal
    throw invalid(path, `status ${response.statusCode}`);
  }
  let rest = '';
  try {
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > EVENT_BYTES_MAX) throw invalid(path, 'an event is too long');
      for (const line of lines) yield eventIn(path, line);
    }
  } catch (cause) {
    if (signal.aborted || !(cause instanceof Error)) return;
    throw cause instanceof SwapError ? cause : unreachable(path, cause);
  }
}
