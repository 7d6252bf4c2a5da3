/**
 * Save and restore of a user of the tmem socket, over the control socket: the file is the body of the reply, or of the request.
 *
 *   POST /v1/tmem/UID/save            200, the file; the connection ends early if the save fails
 *   POST /v1/tmem/restore?uid=UID     the file is the body; uid: the user who gets the pools (default: the saved one)
 *
 * Neither is held in memory: a save waits while the client does not read, a restore processes what it has received. Limits:
 * TRANSFERS_MAX at a time, and IDLE_MS without progress. A client that disconnects ends its transfer; the user is then as it was.
 *
 * A dashboard has no such requests: a page of a browser does not get the contents of memory.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SwapError } from '../base/errors.ts';
import { whyForeign } from './dashboard-access.ts';
import { sendJson } from './http-server.ts';
import type { TmemSave } from './parts.ts';
import { type RouteContext, statusOf } from './route-answer.ts';
import { parseUid, RESTORE_PATH, tmemOf, userIn } from './tmem-routes.ts';
import { WorkTurns } from './turn.ts';

/** Saves and restores at a time. */
export const TRANSFERS_MAX = 4;
/** Longest time without progress, ms: the client may be at the other end of a network. */
const IDLE_MS = 60_000;
/** Bytes that are written at a time. */
const BATCH_BYTES = 65536;

const SAVE_PATH = /^\/v1\/tmem\/([^/]+)\/save$/;

export class TmemTransfers {
  readonly #context: RouteContext;
  #count = 0;

  constructor(context: RouteContext) {
    this.#context = context;
  }

  /** Answers a request of this kind. @returns false: it is another one */
  takeOver(request: IncomingMessage, response: ServerResponse): boolean {
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const [, saved] = SAVE_PATH.exec(path) ?? [];
    if (saved === undefined && path !== RESTORE_PATH) return false;
    request.on('error', () => undefined); // the client has disconnected
    try {
      this.#check(request, response, path);
      const uid = new URLSearchParams(query).get('uid');
      if (saved === undefined)
        this.#restore(request, response, uid === null ? null : parseUid('uid', uid));
      else this.#save(request, response, parseUid('the request', saved));
    } catch (error) {
      this.#refuse(request, response, error);
    }
    return true;
  }

  #check(request: IncomingMessage, response: ServerResponse, path: string): void {
    const why = whyForeign(request.headers, { isPage: false, isSocket: true });
    if (why !== null) throw new Refusal(403, 'ERR_ARG_VALUE', why);
    if (request.method !== 'POST') {
      response.setHeader('allow', 'POST');
      throw new Refusal(405, 'ERR_ARG_VALUE', `${path} requires POST`);
    }
    if (this.#count >= TRANSFERS_MAX) {
      const text = `${TRANSFERS_MAX} users are being saved or restored already`;
      throw new Refusal(503, 'ERR_IO_IN_USE', text);
    }
  }

  #save(request: IncomingMessage, response: ServerResponse, uid: number): void {
    const save = tmemOf(this.#context.handlers.tmem()).save(uid);
    this.#begin(response, save);
    request.resume();
    response.setHeader('content-type', 'application/octet-stream');
    response.once('finish', () => save.end());
    sendFile(save, response).catch(() => response.destroy());
  }

  #restore(request: IncomingMessage, response: ServerResponse, uid: number | null): void {
    const tmem = tmemOf(this.#context.handlers.tmem());
    const restore = tmem.restore(uid);
    this.#begin(response, restore);
    const orRefuse = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        restore[Symbol.dispose]();
        this.#refuse(request, response, error);
      }
    };
    request.on('data', (chunk: Buffer) => {
      if (!response.headersSent) orRefuse(() => restore.push(chunk));
    });
    request.on('end', () => {
      if (response.headersSent || response.destroyed) return;
      orRefuse(() => {
        const { uid: restored, pools, pages } = restore.end();
        const user = userIn(tmem, restored);
        sendJson(response, 200, {
          schemaVersion: 1,
          restoredPools: pools,
          restoredPages: pages,
          user,
        });
      });
    });
  }

  #begin(response: ServerResponse, transfer: Disposable): void {
    this.#context.onAccepted();
    this.#count++;
    response.setTimeout(IDLE_MS);
    response.once('close', () => {
      this.#count--;
      transfer[Symbol.dispose]();
    });
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const { http } = this.#context;
    const { code, message } = error as SwapError;
    if (error instanceof Refusal) http.refuseEarly(request, response, error.status, code, message);
    else if (error instanceof SwapError)
      http.refuseEarly(request, response, statusOf(error), code, message);
    else http.refuseEarly(request, response, 500, 'ERR_IO_SYSTEM', String(error));
  }
}

/** A refusal with a status of its own. */
class Refusal extends SwapError {
  readonly status: number;

  constructor(status: number, code: SwapError['code'], message: string) {
    super(code, message);
    this.status = status;
  }
}

/** Sends the file. Ends without error if the client has disconnected. */
async function sendFile(save: TmemSave, response: ServerResponse): Promise<void> {
  let batch = Buffer.allocUnsafeSlow(BATCH_BYTES);
  let length = 0;
  const sink = (chunk: Uint8Array): void => {
    if (length + chunk.length > BATCH_BYTES) {
      response.write(batch.subarray(0, length)); // only in the last step, which is bounded by the page rows
      batch = Buffer.allocUnsafeSlow(BATCH_BYTES);
      length = 0;
    }
    batch.set(chunk, length);
    length += chunk.length;
  };
  const turns = new WorkTurns();
  for (let isLast = false; !isLast; ) {
    isLast = save.step(sink);
    if (length > 0)
      await new Promise<void>((resolve) => {
        response.write(batch.subarray(0, length), () => resolve());
      });
    length = 0;
    await turns.pause();
    if (response.destroyed) return;
  }
  response.end();
}
