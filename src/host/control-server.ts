/**
 * The control socket: HTTP and JSON on a Unix socket that only its owner can open (mode 0600).
 *
 *   GET  /v1/disks    the list document (list-document.ts)
 *   GET  /v1/health   health and counters of the host
 *   POST /v1/reset?disk=NAME[&force=1]   empties a disk; 404: unknown disk, 409: it has clients
 *   POST /v1/stop[?force=1]              202, then a clean stop; 409: clients would lose pages
 *
 * Every reply is JSON, errors included: {"error":{"code":"...","message":"..."}}. 500 is a bug of the host.
 *
 * Limits: bytes of a header and a body, connections, and the time in which a client must send its request and read the
 * reply. A client that stops doing so occupies a connection for a few seconds.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { listenWithMode } from '../os/unix-socket.ts';
import type { HostCounter } from './counters.ts';

export interface ControlHandlers {
  disks(): object;
  health(): object;
  /** @returns bytes of pages dropped; throws SwapError */
  reset(disk: string, force: boolean): Promise<number>;
  /** @throws SwapError ERR_IO_IN_USE: a stop would lose pages of clients */
  checkStop(force: boolean): void;
  /** Starts the stop. Called when the reply is sent, or the client has disconnected. */
  stop(): void;
}

const HEADER_BYTES_MAX = 4096;
const BODY_BYTES_MAX = 1024;
/** Longest time for a request to arrive, and longest time without progress of a reply, ms. */
const CLIENT_MS_MAX = 5000;
const CONNECTIONS_MAX = 32;
/** How long close() waits for requests in progress, ms. */
const CLOSE_MS_MAX = 500;

interface Route {
  readonly method: 'GET' | 'POST';
  readonly status: number;
  readonly answer: (handlers: ControlHandlers, query: URLSearchParams) => object | Promise<object>;
  readonly after?: (handlers: ControlHandlers) => void;
}

const isForced = (query: URLSearchParams): boolean => query.get('force') === '1';

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
        return { schemaVersion: 1, disk, droppedBytes: await h.reset(disk, isForced(query)) };
      },
    },
  ],
  [
    '/v1/stop',
    {
      method: 'POST',
      status: 202,
      answer: (h, query) => {
        h.checkStop(isForced(query));
        return { schemaVersion: 1, pid: process.pid };
      },
      after: (h) => h.stop(),
    },
  ],
]);

const errorBody = (code: string, message: string): object => ({ error: { code, message } });

function send(response: ServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.end(text);
}

/** Status of a failed request: only a SwapError is the client's business; anything else is a bug. */
function statusOf(error: unknown): number {
  if (!(error instanceof SwapError)) return 500;
  return error.code === 'ERR_ARG_UNKNOWN' ? 404 : 409;
}

export class ControlServer {
  readonly #server: Server;
  readonly #handlers: ControlHandlers;
  readonly #counters: Counters<HostCounter>;

  private constructor(
    handlers: ControlHandlers,
    counters: Counters<HostCounter>,
    clientMsMax: number,
  ) {
    this.#handlers = handlers;
    this.#counters = counters;
    this.#server = createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: clientMsMax,
        requestTimeout: clientMsMax,
        connectionsCheckingInterval: 1000,
        keepAliveTimeout: 1000,
      },
      (request, response) => this.#receive(request, response),
    );
    this.#server.timeout = clientMsMax; // of an idle socket: the client does not read its reply
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('clientError', (error, socket) => this.#refuseBytes(error, socket as Socket));
  }

  /** Listens at a free path. Throws the system error. */
  static async listen(
    path: string,
    handlers: ControlHandlers,
    counters: Counters<HostCounter>,
    clientMsMax: number = CLIENT_MS_MAX,
  ): Promise<ControlServer> {
    const control = new ControlServer(handlers, counters, clientMsMax);
    await new Promise<void>((resolve, reject) => {
      control.#server.once('error', reject);
      listenWithMode(path, 0o600, () => control.#server.listen(path, resolve));
    });
    // From here on errors are those of accept(2): they cost one connection, not the host.
    control.#server.removeAllListeners('error');
    control.#server.on('error', () => counters.add('controlRefusals', 1));
    return control;
  }

  /** Stops listening and waits a moment for requests in progress. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    const late = setTimeout(() => this.#server.closeAllConnections(), CLOSE_MS_MAX);
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
      if (bodyBytes <= BODY_BYTES_MAX || response.headersSent) return;
      this.#refuse(response, 413, 'ERR_ARG_VALUE', `the body exceeds ${BODY_BYTES_MAX} bytes`);
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
      this.#refuse(response, 404, 'ERR_ARG_UNKNOWN', `unknown path '${path}'; paths: ${known}`);
      return;
    }
    if (request.method !== route.method) {
      response.setHeader('allow', route.method);
      this.#refuse(response, 405, 'ERR_ARG_VALUE', `${path} requires ${route.method}`);
      return;
    }
    this.#counters.add('controlRequests', 1);
    void this.#finish(route, new URLSearchParams(query), response);
  }

  async #finish(route: Route, query: URLSearchParams, response: ServerResponse): Promise<void> {
    try {
      const body = await route.answer(this.#handlers, query);
      // 'close', not 'finish': a client that has disconnected has made its request all the same.
      if (route.after !== undefined)
        if (response.closed) route.after(this.#handlers);
        else response.once('close', () => route.after?.(this.#handlers));
      send(response, route.status, body);
    } catch (error) {
      const { code, message } =
        error instanceof SwapError ? error : { code: 'ERR_IO_SYSTEM', message: String(error) };
      this.#refuse(response, statusOf(error), code, message);
    }
  }

  /** Replies to bytes that are not HTTP, and to a header that is too long. */
  #refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
    this.#counters.add('controlRefusals', 1);
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const isTooLong = error.code === 'HPE_HEADER_OVERFLOW';
    const status = isTooLong ? '431 Request Header Fields Too Large' : '400 Bad Request';
    const why = isTooLong ? `the header exceeds ${HEADER_BYTES_MAX} bytes` : 'not an HTTP request';
    const body = `${JSON.stringify(errorBody('ERR_PEER_PROTOCOL', why))}\n`;
    socket.end(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
  }
}
