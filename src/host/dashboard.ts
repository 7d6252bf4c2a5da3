/**
 * The dashboard of a host: a page for browsers, on the control socket and, with --dashboard, on a loopback port.
 *
 *   GET /, /page.js, /page.css, /icon.svg   the page
 *   GET /v1/stream                          figures of the last 15 minutes, then new ones (dashboard-stream.ts)
 *   GET /v1/dashboard                       control socket only: the URL of the port, with its token
 *   /v1/disks...                            as on the control socket; on the port with the token only
 *
 * The control socket allows everything, because its mode protects it. On the port, requests without `Authorization: Bearer
 * TOKEN` can only read. docs/design/dashboard.md has the reasons.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import type { ControlHandlers } from './control-routes.ts';
import type { HostCounter } from './counters.ts';
import { DashboardToken, whyForeign } from './dashboard-access.ts';
import {
  isPageFile,
  loadPageFiles,
  pagePaths,
  sendPageFile,
  setSecurityHeaders,
} from './dashboard-files.ts';
import { DashboardHistory } from './dashboard-history.ts';
import { DashboardStreams, STREAMS_MAX } from './dashboard-stream.ts';
import type { HostEvents } from './events.ts';
import { CLIENT_MS_MAX, HttpServer, sendJson } from './http-server.ts';
import type { MetricsFacts } from './metric-family.ts';
import { type MetricsAddress, tcpListenError } from './metrics-server.ts';
import { answerRoute, type RouteContext } from './route-answer.ts';
import { httpUrl } from './uri.ts';

const BODY_BYTES_MAX = 8192;
/** Browsers send the cookies of all servers of this machine. */
const HEADER_BYTES_MAX = 16_384;

const NO_PORT =
  'the host has no port for browsers; start it with --dashboard 9180, or forward its control socket with ssh -L';

export interface DashboardOptions {
  readonly facts: () => MetricsFacts;
  readonly events: HostEvents;
  readonly version: string;
  readonly handlers: ControlHandlers;
  readonly counters: Counters<HostCounter>;
  readonly clientMsMax?: number;
}

export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #history: DashboardHistory;
  readonly #streams: DashboardStreams;
  readonly #token = new DashboardToken();
  #server: HttpServer | null = null;
  #url: string | null = null;
  #routes: RouteContext | null = null;

  constructor(options: DashboardOptions) {
    this.#options = options;
    this.#streams = new DashboardStreams(options.events, options.version);
    this.#history = new DashboardHistory(options.facts, (sample) =>
      this.#streams.sendSample(sample),
    );
  }

  /** Listens on a loopback address. @throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM */
  async listen(address: MetricsAddress): Promise<void> {
    const { counters, handlers, clientMsMax = CLIENT_MS_MAX } = this.#options;
    const http = new HttpServer({
      bodyBytesMax: BODY_BYTES_MAX,
      headerBytesMax: HEADER_BYTES_MAX,
      clientMsMax,
      onRefused: () => counters.add('dashboardRefusals', 1),
      answer: (request, body, response) => this.#answerPort(request, body, response),
    });
    try {
      await http.listen((server) => server.listen(address.port, address.host));
    } catch (cause) {
      throw tcpListenError(address, cause, '--dashboard', 'the dashboard');
    }
    loadPageFiles();
    this.#server = http;
    const { address: host, port } = http.address as AddressInfo;
    this.#url = httpUrl({ host, port }, '/');
    this.#routes = {
      handlers,
      http,
      clientMsMax,
      onAccepted: () => counters.add('dashboardRequests', 1),
      checkBody: refuseBacking,
    };
    this.#history.start();
  }

  /** URL of the port, without the token; null: it does not listen. */
  get url(): string | null {
    return this.#url;
  }

  /** The URL with the token, which allows changes. */
  get urlWithToken(): string | null {
    return this.#url === null ? null : `${this.#url}#token=${this.#token.text}`;
  }

  /** Answers a request of the control socket if it is for the dashboard. */
  async answerControl(
    request: IncomingMessage,
    response: ServerResponse,
    http: HttpServer,
  ): Promise<boolean> {
    const path = pathOf(request);
    if (path === '/v1/dashboard') {
      const url = this.urlWithToken;
      if (!isRead(request)) refuseMethod(http, response, path);
      else if (url !== null) sendJson(response, 200, { schemaVersion: 1, url });
      else http.refuse(response, 409, 'ERR_IO_UNSUPPORTED', NO_PORT);
    } else return this.#answerPage(request, response, http, true);
    return true;
  }

  /** Stops listening; ends all streams. */
  async close(): Promise<void> {
    this.#history[Symbol.dispose]();
    this.#streams.end();
    await this.#server?.close();
  }

  async #answerPort(
    request: IncomingMessage,
    body: Buffer,
    response: ServerResponse,
  ): Promise<void> {
    const http = this.#server!;
    const path = pathOf(request);
    setSecurityHeaders(response);
    const why = whyForeign(request.headers, { isPage: isPageFile(path), isSocket: false });
    if (why !== null) return http.refuse(response, 403, 'ERR_ARG_VALUE', why);
    const access = this.#token.accessOf(request.headers.authorization);
    if (access === 'refused') return refuseToken(http, response, 'the token is not valid');
    const isWriter = access === 'writer';
    if (this.#answerPage(request, response, http, isWriter)) {
      if (response.statusCode < 400) this.#options.counters.add('dashboardRequests', 1);
      return;
    }
    if (path !== '/v1/disks' && !path.startsWith('/v1/disks/')) {
      const known = [...pagePaths, '/v1/stream', '/v1/disks'].join(', ');
      const message = `unknown path '${path}'; paths: ${known}`;
      return http.refuse(response, 404, 'ERR_ARG_UNKNOWN', message);
    }
    if (!isWriter) return refuseToken(http, response, 'this request requires the token');
    await answerRoute(this.#routes!, request, body, response);
  }

  /** Answers requests for the page and its stream. @returns false for any other request */
  #answerPage(
    request: IncomingMessage,
    response: ServerResponse,
    http: HttpServer,
    isWriter: boolean,
  ): boolean {
    const path = pathOf(request);
    const isStream = path === '/v1/stream';
    if (!isStream && !isPageFile(path)) return false;
    setSecurityHeaders(response);
    if (!isRead(request) || (isStream && request.method === 'HEAD'))
      refuseMethod(http, response, path);
    else if (!isStream) sendPageFile(path, request, response);
    else if (!this.#streams.hasPlace(isWriter))
      http.refuse(
        response,
        503,
        'ERR_IO_IN_USE',
        `${STREAMS_MAX} pages show this dashboard already: close one`,
      );
    else {
      this.#history.start();
      this.#streams.add(response, isWriter, this.#history);
    }
    return true;
  }
}

const pathOf = ({ url }: IncomingMessage): string => (url ?? '').split('?')[0] ?? '';
const isRead = ({ method }: IncomingMessage): boolean => method === 'GET' || method === 'HEAD';

function refuseMethod(http: HttpServer, response: ServerResponse, path: string): void {
  const allow = path === '/v1/stream' ? 'GET' : 'GET, HEAD';
  response.setHeader('allow', allow);
  http.refuse(response, 405, 'ERR_ARG_VALUE', `${path} requires ${allow.replace(', ', ' or ')}`);
}

function refuseToken(http: HttpServer, response: ServerResponse, why: string): void {
  response.setHeader('www-authenticate', 'Bearer');
  const message = `${why}; 'frontswap dashboard' prints a URL with the token of this host`;
  http.refuse(response, 401, 'ERR_ARG_VALUE', message);
}

/** A backing is a path that the user of the host, maybe root, can write to: a browser must not choose it. */
function refuseBacking(body: unknown): void {
  if (typeof body === 'object' && body !== null && 'backing' in body)
    throw new SwapError(
      'ERR_ARG_VALUE',
      "the request: the dashboard cannot add a disk with a backing; use 'frontswap add'",
      { key: 'backing' },
    );
}
