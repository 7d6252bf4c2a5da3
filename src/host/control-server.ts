/**
 * The control socket: HTTP and JSON on a Unix socket that only its owner can open (mode 0600).
 *
 *   GET  /v1/disks    the list document (list-document.ts)
 *   GET  /v1/health   health of the host, its counters
 *   POST /v1/reset?disk=NAME[&force=1]   empties a disk; 404 no such disk, 409 it has clients
 *   POST /v1/stop[?force=1]              202, then a clean stop; 409 clients have pages here
 *
 * Every answer is JSON, errors too: {"error":{"code":"…","message":"…"}}. A request is bounded in header,
 * body and time, so a stuck client blocks one of few connections for a few seconds.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { withPrivateUmask } from '../os/unix-socket.ts';
import type { HostCounter } from './counters.ts';

export interface ControlHandlers {
  disks(): object;
  health(): object;
  /** @returns bytes of pages dropped; throws SwapError */
  reset(disk: string, force: boolean): Promise<number>;
  /** @throws SwapError ERR_IO_IN_USE: a stop would lose pages that clients have */
  checkStop(force: boolean): void;
  /** Begins the stop; called once the answer is on its way. */
  stop(): void;
}

const headerBytesMax = 4096;
const bodyBytesMax = 1024;
const requestMsMax = 5000;
const connectionsMax = 32;
const closeMsMax = 500;

interface Route {
  readonly method: 'GET' | 'POST';
  readonly status: number;
  readonly answer: (handlers: ControlHandlers, query: URLSearchParams) => object | Promise<object>;
  readonly after?: (handlers: ControlHandlers) => void;
}

const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ['/v1/disks', { method: 'GET', status: 200, answer: (h) => h.disks() }],
  ['/v1/health', { method: 'GET', status: 200, answer: (h) => h.health() }],
  [
    '/v1/reset',
    {
      method: 'POST',
      status: 200,
      answer: async (h, query) => {
        const disk = query.get('disk') ?? '';
        return {
          schemaVersion: 1,
          disk,
          droppedBytes: await h.reset(disk, query.get('force') === '1'),
        };
      },
    },
  ],
  [
    '/v1/stop',
    {
      method: 'POST',
      status: 202,
      answer: (h, query) => {
        h.checkStop(query.get('force') === '1');
        return { schemaVersion: 1, pid: process.pid };
      },
      after: (h) => h.stop(),
    },
  ],
]);

const errorBody = (code: string, message: string): object => ({ error: { code, message } });

function send(response: ServerResponse, status: number, body: object, done?: () => void): void {
  const text = `${JSON.stringify(body)}\n`;
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.end(text, done);
}

export class ControlServer {
  readonly #server: Server;
  readonly #handlers: ControlHandlers;
  readonly #counters: Counters<HostCounter>;

  private constructor(handlers: ControlHandlers, counters: Counters<HostCounter>) {
    this.#handlers = handlers;
    this.#counters = counters;
    this.#server = createServer(
      {
        maxHeaderSize: headerBytesMax,
        headersTimeout: requestMsMax,
        requestTimeout: requestMsMax,
        connectionsCheckingInterval: 1000,
        keepAliveTimeout: 1000,
      },
      (request, response) => this.#receive(request, response),
    );
    this.#server.maxConnections = connectionsMax;
    this.#server.on('clientError', (error, socket) => this.#refuseBytes(error, socket as Socket));
  }

  /** Listens at a free path. Throws the system's error. */
  static async listen(
    path: string,
    handlers: ControlHandlers,
    counters: Counters<HostCounter>,
  ): Promise<ControlServer> {
    const control = new ControlServer(handlers, counters);
    await new Promise<void>((resolve, reject) => {
      control.#server.once('error', reject);
      // bind() happens inside listen(), so the socket is never open to others, not even for a moment.
      withPrivateUmask(path, 0o600, () => control.#server.listen(path, resolve));
    });
    // From here on errors are those of accept(): one connection less, not one host less.
    control.#server.removeAllListeners('error');
    control.#server.on('error', () => counters.add('controlRefusals', 1));
    return control;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    const late = setTimeout(() => this.#server.closeAllConnections(), closeMsMax);
    await closed;
    clearTimeout(late);
  }

  #refuse(response: ServerResponse, status: number, code: string, message: string): void {
    this.#counters.add('controlRefusals', 1);
    response.setHeader('connection', 'close');
    send(response, status, errorBody(code, message));
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    let bodyBytes = 0;
    request.on('data', (chunk: Buffer) => {
      bodyBytes += chunk.length;
      if (bodyBytes <= bodyBytesMax || response.headersSent) return;
      this.#refuse(response, 413, 'ERR_ARG_VALUE', `the body has more than ${bodyBytesMax} bytes`);
      response.once('finish', () => request.destroy());
    });
    request.on('error', () => undefined); // the client has disconnected
    request.on('end', () => {
      if (!response.headersSent) this.#answer(request, response);
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const route = routes.get(path);
    if (route === undefined) {
      const known = [...routes.keys()].join(', ');
      this.#refuse(response, 404, 'ERR_ARG_UNKNOWN', `no '${path}' here; there is ${known}`);
      return;
    }
    if (request.method !== route.method) {
      response.setHeader('allow', route.method);
      this.#refuse(response, 405, 'ERR_ARG_VALUE', `${path} takes ${route.method} only`);
      return;
    }
    this.#counters.add('controlRequests', 1);
    void this.#finish(route, new URLSearchParams(query), response);
  }

  async #finish(route: Route, query: URLSearchParams, response: ServerResponse): Promise<void> {
    try {
      const body = await route.answer(this.#handlers, query);
      send(response, route.status, body, () => route.after?.(this.#handlers));
    } catch (error) {
      const { code, message } =
        error instanceof SwapError ? error : { code: 'ERR_IO_SYSTEM', message: String(error) };
      this.#refuse(response, code === 'ERR_ARG_UNKNOWN' ? 404 : 409, code, message);
    }
  }

  /** Not HTTP, or a header that is too long. */
  #refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
    this.#counters.add('controlRefusals', 1);
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const tooLong = error.code === 'HPE_HEADER_OVERFLOW';
    const status = tooLong ? '431 Request Header Fields Too Large' : '400 Bad Request';
    const why = tooLong
      ? `the header has more than ${headerBytesMax} bytes`
      : 'not an HTTP request';
    const body = `${JSON.stringify(errorBody('ERR_PEER_PROTOCOL', why))}\n`;
    socket.end(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
  }
}
