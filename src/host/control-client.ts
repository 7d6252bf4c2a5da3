/**
 * Sends a request to the control socket of a running host. One connection per request. The reply is bounded in bytes and
 * in time, and nothing in it is trusted: with --control the socket may be another user's.
 */
import { type IncomingMessage, request } from 'node:http';
import { type ErrorCode, SwapError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { errnoOf } from '../os/system-error.ts';
import { checkListDocument, type ListDocument } from './list-document.ts';

const REPLY_BYTES_MAX = 16 * 1024 * 1024;
/** Longest time from the connection to the last byte of the reply, ms. A reset takes up to 2,000. */
const REPLY_MS_MAX = 5000;

/** Error codes that a reply may contain; with any other code it is not a host's. */
const REFUSAL_CODES: readonly ErrorCode[] = ['ERR_ARG_UNKNOWN', 'ERR_IO_IN_USE'];

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
    `the host on ${path} accepts connections, but sent no complete reply within ${timeoutMs} ms: it is stopped or stuck; see its state with ps, continue a stopped one with kill -CONT`,
    { path, errno: '' },
    { cause },
  );

const invalid = (path: string, why: string, cause?: unknown): SwapError =>
  new SwapError(
    'ERR_PEER_PROTOCOL',
    `${path} does not answer like a frontswap host: ${why}`,
    { path },
    { cause },
  );

/** Starts the request. Resolves with the head of the reply. */
const begin = (
  path: string,
  method: string,
  url: string,
  signal: AbortSignal,
): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const sent = request({ socketPath: path, path: url, method, agent: false, signal }, resolve);
    sent.once('error', reject);
    sent.end();
  });

async function readJson(path: string, response: IncomingMessage): Promise<unknown> {
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
  if (response.statusCode === 200 || response.statusCode === 202) return reply;
  throw refusal(reply) ?? invalid(path, `status ${response.statusCode}`);
}

/** The error in the reply of a host that refused the request; null if there is none. */
function refusal(reply: unknown): SwapError | null {
  const { error } = Object(reply) as { error?: { code?: unknown; message?: unknown } };
  if (typeof error?.message !== 'string') return null;
  const code = REFUSAL_CODES.find((known) => known === error.code);
  return code === undefined ? null : new SwapError(code, printable(error.message));
}

/** Sends one request and returns the JSON of its reply. */
async function exchange(
  path: string,
  method: 'GET' | 'POST',
  url: string,
  timeoutMs: number,
): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  let response: IncomingMessage | null = null;
  try {
    response = await begin(path, method, url, signal);
    return await readJson(path, response);
  } catch (cause) {
    if (cause instanceof SwapError) throw cause;
    if (signal.aborted) throw late(path, timeoutMs, cause);
    if (response !== null) throw invalid(path, 'the reply is incomplete', cause);
    const { code, message } = cause as NodeJS.ErrnoException;
    throw code?.startsWith('HPE_') === true
      ? invalid(path, message, cause)
      : unreachable(path, cause);
  }
}

/** The field `name` of a reply, a whole number from `min` on. */
function wholeNumber(path: string, reply: unknown, name: string, min: number): number {
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
  return checkListDocument(await exchange(path, 'GET', '/v1/disks', timeoutMs), path);
}

/**
 * Requests that the host empties a disk.
 * @returns bytes of pages dropped
 * @throws SwapError ERR_ARG_UNKNOWN, ERR_IO_IN_USE, ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL
 */
export async function askReset(path: string, disk: string, force: boolean): Promise<number> {
  const query = new URLSearchParams({ disk, ...(force ? { force: '1' } : {}) });
  const reply = await exchange(path, 'POST', `/v1/reset?${query}`, REPLY_MS_MAX);
  return wholeNumber(path, reply, 'droppedBytes', 0);
}

/**
 * Requests that the host stops.
 * @returns its process id; the process ends a moment later
 * @throws SwapError ERR_IO_IN_USE, ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL
 */
export async function askStop(path: string, force: boolean): Promise<number> {
  const url = `/v1/stop${force ? '?force=1' : ''}`;
  return wholeNumber(path, await exchange(path, 'POST', url, REPLY_MS_MAX), 'pid', 1);
}
