/**
 * HTTP with limits, for the control socket and the metrics: size of a header and a body, number of connections, and the time
 * that a client has to send its request and read the reply. A client that stops sending or reading occupies a connection for
 * only a few seconds.
 *
 * Errors are JSON: {"error":{"code":"...","message":"..."}}. Status 500 is a bug of the host.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

const HEADER_BYTES_MAX = 4096;
/** Maximum time for a request to arrive, and maximum time without progress of a reply, ms. */
export const CLIENT_MS_MAX = 5000;
const CONNECTIONS_MAX = 32;
/** Maximum number of requests of a connection that wait for a reply: each one occupies memory. */
const PIPELINED_MAX = 8;
/** How long close() waits for requests in progress, ms. */
const CLOSE_MS_MAX = 500;
/** Time for a client to read the reply to a refused request, and close. */
const LINGER_MS = 1000;

export interface HttpServerOptions {
  readonly bodyBytesMax: number;
  /** Default 4096. */
  readonly headerBytesMax?: number;
  readonly clientMsMax: number;
  /** Called for each request that is refused, and each connection that could not be accepted. */
  readonly onRefused: () => void;
  /** Takes over a request before its body is read. @returns false: the request is read and answered as usual */
  readonly takeOver?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Sends the reply. May reject: the client then gets 500. */
  readonly answer: (
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse,
  ) => Promise<void>;
}

/** Sends a JSON document. */
export function sendJson(response: ServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.end(text);
}

const errorBody = (code: string, message: string): object => ({ error: { code, message } });

export class HttpServer {
  readonly #server: Server;
  readonly #options: HttpServerOptions;
  /** Requests that wait for a reply. */
  readonly #pending = new WeakMap<Socket, number>();
  /** Sockets of requests that were taken over: their body may take any time. */
  readonly #takenOver = new WeakSet<Socket>();

  constructor(options: HttpServerOptions) {
    const { clientMsMax, headerBytesMax = HEADER_BYTES_MAX } = options;
    this.#options = options;
    this.#server = createServer(
      {
        maxHeaderSize: headerBytesMax,
        headersTimeout: clientMsMax,
        requestTimeout: clientMsMax,
        connectionsCheckingInterval: Math.min(1000, clientMsMax),
        keepAliveTimeout: 1000,
      },
      (request, response) => this.#receive(request, response),
    );
    this.#server.timeout = clientMsMax; // of an idle socket: the client does not read its reply
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('clientError', (error, socket) => this.#refuseBytes(error, socket as Socket));
  }

  /** Listens; `bind` calls server.listen(). Rejects with the system error. */
  async listen(bind: (server: Server) => void): Promise<void> {
    const server = this.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.once('listening', resolve);
      bind(server);
    });
    // From here on, errors come from accept(2): they end one connection, not the host.
    server.removeAllListeners('error');
    server.on('error', () => this.#options.onRefused());
  }

  /** The result of server.address(). */
  get address(): ReturnType<Server['address']> {
    return this.#server.address();
  }

  /** Stops listening and waits a moment for requests in progress. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeIdleConnections();
    const late = setTimeout(() => this.#server.closeAllConnections(), CLOSE_MS_MAX);
    await closed;
    clearTimeout(late);
  }

  /** Sends an error and ends the connection. */
  refuse(response: ServerResponse, status: number, code: string, message: string): void {
    this.#options.onRefused();
    response.setHeader('connection', 'close');
    sendJson(response, status, errorBody(code, message));
  }

  /**
   * Sends an error while the body of a request is still arriving. The rest is read and dropped for a moment, because a close would
   * discard the reply.
   */
  refuseEarly(
    request: IncomingMessage,
    response: ServerResponse,
    status: number,
    code: string,
    message: string,
  ): void {
    this.#options.onRefused();
    const text = `${JSON.stringify(errorBody(code, message))}\n`;
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      connection: 'close',
    });
    response.write(text);
    const end = (): void => {
      clearTimeout(late);
      response.end();
    };
    const late = setTimeout(end, LINGER_MS);
    request.removeAllListeners('data').resume().once('end', end).once('close', end);
  }

  /** Counts a request of a connection until its reply is sent. @returns false: the connection has too many */
  #isAdmitted({ socket }: IncomingMessage, response: ServerResponse): boolean {
    const pending = (this.#pending.get(socket) ?? 0) + 1;
    if (pending > PIPELINED_MAX) return false;
    this.#pending.set(socket, pending);
    response.once('close', () => this.#pending.set(socket, this.#pending.get(socket)! - 1));
    return true;
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    if (request.socket.destroyed) return;
    if (!this.#isAdmitted(request, response)) {
      this.#options.onRefused();
      request.socket.destroy();
      return;
    }
    const { bodyBytesMax, takeOver } = this.#options;
    if (takeOver?.(request, response) === true) {
      const { socket } = request;
      this.#takenOver.add(socket);
      response.once('close', () => this.#takenOver.delete(socket));
      return;
    }
    const chunks: Buffer[] = [];
    let bodyBytes = 0;
    request.on('data', (chunk: Buffer) => {
      bodyBytes += chunk.length;
      if (bodyBytes <= bodyBytesMax) chunks.push(chunk);
      if (bodyBytes <= bodyBytesMax || response.headersSent) return;
      this.refuse(response, 413, 'ERR_ARG_VALUE', `the body exceeds ${bodyBytesMax} bytes`);
      response.once('finish', () => request.destroy());
    });
    request.on('error', () => undefined); // the client has disconnected
    request.on('end', () => {
      if (!response.headersSent) void this.#answer(request, Buffer.concat(chunks), response);
    });
  }

  async #answer(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
    try {
      await this.#options.answer(request, body, response);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else this.refuse(response, 500, 'ERR_IO_SYSTEM', String(error));
    }
  }

  /** Replies to bytes that are not HTTP, to a header that is too long, and to a request that arrives too slowly. */
  #refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && this.#takenOver.has(socket)) return;
    if (socket.writableEnded) return; // more bytes of a request that was refused
    this.#options.onRefused();
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    const { headerBytesMax = HEADER_BYTES_MAX } = this.#options;
    const [status, why] = bytesError(error.code, headerBytesMax);
    const body = `${JSON.stringify(errorBody('ERR_PEER_PROTOCOL', why))}\n`;
    socket.end(
      `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    );
    // Keep reading for a moment: closing now would reset the connection and discard the reply.
    const late = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => clearTimeout(late));
  }
}

function bytesError(
  code: string | undefined,
  headerBytesMax: number,
): readonly [status: string, why: string] {
  if (code === 'HPE_HEADER_OVERFLOW')
    return ['431 Request Header Fields Too Large', `the header exceeds ${headerBytesMax} bytes`];
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return ['408 Request Timeout', 'the request did not arrive in time'];
  return ['400 Bad Request', 'not an HTTP request'];
}
