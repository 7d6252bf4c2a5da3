/** Saves and restores users of the tmem socket of a running host, through its control socket: see tmem-transfers.ts. */
import { type IncomingMessage, request } from 'node:http';
import { SwapError } from '../base/errors.ts';
import {
  decodeHead,
  decodeTail,
  type FileTail,
  HEAD_BYTES,
  TAIL_BYTES,
} from '../tmem/server/user-file.ts';
import { PAGE_RECORD_BYTES } from '../tmem/stream.ts';
import { begin, invalid, noReply, readJson, wholeNumber } from './control-client.ts';
import { RESTORE_PATH } from './tmem-routes.ts';

/** Longest time without progress, ms. */
const IDLE_MS = 60_000;

const ended = (path: string, what: string, cause: unknown): SwapError =>
  new SwapError(
    'ERR_IO_NOT_REACHABLE',
    `the host on ${path} ended the ${what} before it was complete; nothing has changed`,
    { path, errno: '' },
    { cause },
  );

/** Aborts when nothing has happened for IDLE_MS. */
class Idle implements Disposable {
  readonly #abort = new AbortController();
  readonly #timer = setTimeout(() => this.#abort.abort(), IDLE_MS);

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  touch(): void {
    this.#timer.refresh();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** About how many bytes the file has that starts with `head`; null: it is not the head of a file. */
export function expectedBytes(head: Uint8Array): number | null {
  if (head.length < HEAD_BYTES) return null;
  const read = decodeHead(head.subarray(0, HEAD_BYTES));
  return 'why' in read ? null : HEAD_BYTES + read.pages * PAGE_RECORD_BYTES + TAIL_BYTES;
}

/**
 * Saves a user. @param receive gets the file, chunk by chunk
 * @param stop ends the save
 * @throws SwapError ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL, that of the host, or what `receive` throws. Then the user is as
 *   it was, unless the host has sent the whole file, which may still be unread: then it is frozen
 */
export async function askTmemSave(
  path: string,
  uid: number,
  receive: (chunk: Buffer) => void | Promise<void>,
  stop: AbortSignal = new AbortController().signal,
): Promise<FileTail> {
  using idle = new Idle();
  const signal = AbortSignal.any([idle.signal, stop]);
  let response: IncomingMessage;
  try {
    response = await begin(path, { method: 'POST', url: `/v1/tmem/${uid}/save` }, signal);
  } catch (cause) {
    throw signal.aborted ? ended(path, 'save', cause) : noReply(path, cause);
  }
  if (response.statusCode !== 200) {
    await readJson(path, response); // throws the refusal
    throw invalid(path, `status ${response.statusCode}`);
  }
  let last: Buffer = Buffer.alloc(0);
  const chunks = (response as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await chunks.next().catch((cause: unknown) => {
        throw ended(path, 'save', cause);
      });
      if (next.done === true) break;
      const chunk = next.value;
      idle.touch();
      last = Buffer.concat([last, chunk.subarray(-TAIL_BYTES)]).subarray(-TAIL_BYTES);
      await receive(chunk);
    }
  } catch (error) {
    response.destroy(); // so that the host ends the save
    throw error;
  }
  const tail = last.length === TAIL_BYTES ? decodeTail(last, null) : { why: 'it is too short' };
  if ('why' in tail) throw invalid(path, `the file of user ${uid}: ${tail.why}`);
  return tail;
}

/** What a host has restored. */
export interface Restored {
  readonly uid: number;
  readonly pools: number;
  readonly pages: number;
  /** The reply. */
  readonly document: object;
}

/**
 * Restores a user. @param uid the user who gets the pools; null: the saved one
 * @throws SwapError ERR_IO_NOT_REACHABLE, ERR_PEER_PROTOCOL, that of the host, or that of `file`; then nothing is restored
 */
export async function askTmemRestore(
  path: string,
  uid: number | null,
  file: AsyncIterable<Uint8Array>,
): Promise<Restored> {
  using idle = new Idle();
  const url = uid === null ? RESTORE_PATH : `${RESTORE_PATH}?uid=${uid}`;
  const { signal } = idle;
  const sent = request({ socketPath: path, path: url, method: 'POST', agent: false, signal });
  let response: IncomingMessage | null = null;
  let failure: Error | null = null;
  /** Ends a wait for the file, or for the host to read. The answer may come first: a refusal, or the end of the host. */
  let wake = (): void => {};
  const answered = new Promise<void>((resolve) => {
    const done = (): void => {
      resolve();
      wake();
    };
    sent.once('response', (head) => {
      response = head;
      done();
    });
    sent.on('error', (error) => {
      failure ??= error;
      done();
    });
  });
  const isAnswered = (): boolean => response !== null || failure !== null;
  const chunks = file[Symbol.asyncIterator]();
  try {
    while (!isAnswered()) {
      const next = await new Promise<IteratorResult<Uint8Array> | null>((resolve, reject) => {
        wake = () => resolve(null);
        chunks.next().then(resolve, reject);
      });
      if (isAnswered() || next === null || next.done === true) break;
      idle.touch();
      await new Promise<void>((resolve) => {
        wake = resolve;
        sent.write(next.value, () => resolve());
      });
    }
    if (!isAnswered()) sent.end();
    await answered;
    return await restoredIn(path, response, failure);
  } finally {
    sent.destroy();
    chunks.return?.().catch(() => undefined); // after its next chunk, which may never come
  }
}

async function restoredIn(
  path: string,
  response: IncomingMessage | null,
  failure: Error | null,
): Promise<Restored> {
  if (response === null)
    throw (failure as NodeJS.ErrnoException | null)?.code === 'ECONNREFUSED' ||
      (failure as NodeJS.ErrnoException | null)?.code === 'ENOENT' ||
      (failure as NodeJS.ErrnoException | null)?.code === 'EACCES'
      ? noReply(path, failure)
      : ended(path, 'restore', failure);
  const document = await readJson(path, response);
  const { user } = Object(document) as { user?: unknown };
  return {
    uid: wholeNumber(path, user, 'uid', 0),
    pools: wholeNumber(path, document, 'restoredPools', 0),
    pages: wholeNumber(path, document, 'restoredPages', 0),
    document: document as object,
  };
}
