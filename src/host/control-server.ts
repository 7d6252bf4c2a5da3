/**
 * The control socket: HTTP and JSON on a Unix socket that only its owner can open (mode 0600). The requests are in
 * control-routes.ts, the limits in http-server.ts. A client of /v1/events that does not read is disconnected once
 * EVENT_BYTES_MAX bytes wait for it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Counters } from '../base/counters.ts';
import { listenWithMode } from '../os/unix-socket.ts';
import type { ControlHandlers } from './control-routes.ts';
import type { HostCounter } from './counters.ts';
import { whyForeign } from './dashboard-access.ts';
import { isPageFile } from './dashboard-files.ts';
import type { HostEvent } from './events.ts';
import { CLIENT_MS_MAX, HttpServer } from './http-server.ts';
import { sendMetricsReply } from './metrics-server.ts';
import { answerRoute, type RouteContext } from './route-answer.ts';
import { TmemTransfers } from './tmem-transfers.ts';

const BODY_BYTES_MAX = 8192;
const EVENT_BYTES_MAX = 1 << 20;
/** Readers of events; the other connections are for commands. */
const STREAMS_MAX = 8;

/** Answers requests of a dashboard; called before the routes. @returns whether it has answered */
export type DashboardHook = (
  request: IncomingMessage,
  response: ServerResponse,
  http: HttpServer,
) => Promise<boolean>;

export class ControlServer {
  readonly #http: HttpServer;
  readonly #handlers: ControlHandlers;
  readonly #counters: Counters<HostCounter>;
  readonly #dashboard: DashboardHook | null;
  readonly #context: RouteContext;
  /** Replies to /v1/events. */
  readonly #streams = new Set<ServerResponse>();

  private constructor(
    handlers: ControlHandlers,
    counters: Counters<HostCounter>,
    clientMsMax: number,
    dashboard: DashboardHook | null,
  ) {
    this.#handlers = handlers;
    this.#counters = counters;
    this.#dashboard = dashboard;
    this.#http = new HttpServer({
      bodyBytesMax: BODY_BYTES_MAX,
      clientMsMax,
      onRefused: () => counters.add('controlRefusals', 1),
      takeOver: (request, response) => transfers.takeOver(request, response),
      answer: (request, body, response) => this.#answer(request, body, response),
    });
    this.#context = {
      handlers,
      http: this.#http,
      clientMsMax,
      onAccepted: () => counters.add('controlRequests', 1),
    };
    const transfers = new TmemTransfers(this.#context);
  }

  /** Listens at a free path. Throws the system error. */
  static async listen(
    path: string,
    handlers: ControlHandlers,
    counters: Counters<HostCounter>,
    clientMsMax: number = CLIENT_MS_MAX,
    dashboard: DashboardHook | null = null,
  ): Promise<ControlServer> {
    const control = new ControlServer(handlers, counters, clientMsMax, dashboard);
    await control.#http.listen((server) => listenWithMode(path, 0o600, () => server.listen(path)));
    return control;
  }

  /** Stops listening and waits a moment for requests in progress. */
  async close(): Promise<void> {
    for (const stream of this.#streams) stream.end();
    await this.#http.close();
  }

  async #answer(request: IncomingMessage, bytes: Buffer, response: ServerResponse): Promise<void> {
    const [path = ''] = (request.url ?? '').split('?');
    const why = whyForeign(request.headers, { isPage: isPageFile(path), isSocket: true });
    if (why !== null) {
      this.#http.refuse(response, 403, 'ERR_ARG_VALUE', why);
      return;
    }
    const metrics = this.#handlers.metrics.get(path);
    if (metrics !== undefined && (request.method === 'GET' || request.method === 'HEAD')) {
      this.#counters.add('controlRequests', 1);
      await sendMetricsReply(response, await metrics(request.headers.accept));
      return;
    }
    if (this.#dashboard !== null && (await this.#dashboard(request, response, this.#http))) return;
    const stream = await answerRoute(this.#context, request, bytes, response);
    if (stream) this.#sendEvents(response);
  }

  /** Sends the latest events and each new one, one line of JSON per event, until the client disconnects. */
  #sendEvents(response: ServerResponse): void {
    if (this.#streams.size >= STREAMS_MAX) {
      const why = `${STREAMS_MAX} clients are reading events already`;
      this.#http.refuse(response, 503, 'ERR_IO_IN_USE', why);
      return;
    }
    const { events } = this.#handlers;
    response.setTimeout(0);
    response.setHeader('content-type', 'application/jsonl');
    const write = (event: HostEvent): void => {
      if (response.destroyed) return;
      if (response.writableLength > EVENT_BYTES_MAX) response.destroy();
      else response.write(`${JSON.stringify(event)}\n`);
    };
    response.flushHeaders();
    for (const event of events.latest) write(event);
    const end = events.subscribe(write);
    this.#streams.add(response);
    response.once('close', () => {
      end();
      this.#streams.delete(response);
    });
  }
}
