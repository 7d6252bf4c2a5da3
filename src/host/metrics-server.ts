/**
 * Metrics and health over HTTP, for Prometheus and for probes:
 *
 *   GET /metrics   the metrics; OpenMetrics if the Accept header prefers it, else Prometheus text 0.0.4
 *   GET /healthz   200, or 503 if a counter that must stay 0 is not 0
 *   GET /readyz    200 while the host serves disks, 503 before that and during a stop
 *
 * HEAD works, too. metricsRoutes() makes the replies for this server and for the control socket. Errors are JSON, as on the
 * control socket: {"error":{"code":"...","message":"..."}}. Status 500 is a bug of the host.
 *
 * There is no password and no encryption: anyone who can reach the address can read the names and figures of the disks.
 *
 * The limits are those of the control socket. Requests that arrive while a text is being rendered get that text, so only one
 * text is rendered at a time.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { errnoOf, systemError } from '../os/system-error.ts';
import type { HostCounter } from './counters.ts';
import { chooseFormat, contentTypes, type MetricsFormat } from './exposition.ts';
import { violatedCounters } from './health.ts';
import { CLIENT_MS_MAX, HttpServer } from './http-server.ts';
import type { MetricsFacts } from './metric-family.ts';
import { metricsParts } from './metrics.ts';
import { WorkTurns } from './turn.ts';

/** A reply to GET or HEAD. */
export interface MetricsReply {
  readonly status: number;
  readonly contentType: string;
  /** UTF-8 text, in parts. */
  readonly parts: readonly Buffer[];
}

/** @param accept the Accept header of the request */
export type MetricsRoute = (accept: string | undefined) => Promise<MetricsReply>;

/**
 * Calls `work` for each part, over several turns of the event loop, so that guests are served while a text is rendered or sent.
 */
async function inTurns<Part>(
  parts: Iterable<Part>,
  work: (part: Part) => void | Promise<void>,
): Promise<void> {
  const turns = new WorkTurns();
  for (const part of parts) {
    const waiting = work(part);
    if (waiting !== undefined) await waiting;
    if (turns.isOver) await turns.pause();
  }
}

/** Asynchronous, because engine workers are asked. */
export type FactsSource = () => MetricsFacts | Promise<MetricsFacts>;

/** Renders and encodes the metrics. */
async function render(facts: FactsSource, format: MetricsFormat): Promise<readonly Buffer[]> {
  const parts: Buffer[] = [];
  await inTurns(metricsParts(await facts(), format), (text) => {
    parts.push(Buffer.from(text));
  });
  return parts;
}

const json = (status: number, body: object): MetricsReply => ({
  status,
  contentType: 'application/json',
  parts: [Buffer.from(`${JSON.stringify(body)}\n`)],
});

function health(facts: MetricsFacts): MetricsReply {
  const violated = violatedCounters(facts);
  return violated.length === 0
    ? json(200, { status: 'ok' })
    : json(503, { status: 'degraded', violated });
}

/**
 * The routes by path. A server replies to GET and HEAD of a path with the result of its route, for example by
 * sendMetricsReply().
 * @param facts called once for each reply or, for texts that are rendered at the same time, once for all of them
 */
export function metricsRoutes(facts: FactsSource): ReadonlyMap<string, MetricsRoute> {
  const inProgress = new Map<MetricsFormat, Promise<readonly Buffer[]>>();
  const textOf = (format: MetricsFormat): Promise<readonly Buffer[]> => {
    const running = inProgress.get(format);
    if (running !== undefined) return running;
    const text = render(facts, format).finally(() => inProgress.delete(format));
    inProgress.set(format, text);
    return text;
  };
  return new Map<string, MetricsRoute>([
    [
      '/metrics',
      async (accept) => {
        const format = chooseFormat(accept);
        return { status: 200, contentType: contentTypes[format], parts: await textOf(format) };
      },
    ],
    ['/healthz', async () => health(await facts())],
    [
      '/readyz',
      async () =>
        (await facts()).isReady
          ? json(200, { status: 'ready' })
          : json(503, { status: 'not ready' }),
    ],
  ]);
}

const lengthOf = (parts: readonly Buffer[]): number =>
  parts.reduce((sum, { length }) => sum + length, 0);

/** Resolves when the client has read what was written, or has disconnected. */
const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });

/**
 * Sends a reply in slices, as fast as the client reads. For a HEAD request Node drops the text. Ends early if the client
 * disconnects.
 */
export async function sendMetricsReply(
  response: ServerResponse,
  { status, contentType, parts }: MetricsReply,
): Promise<void> {
  response.statusCode = status;
  response.setHeader('content-type', contentType);
  response.setHeader('content-length', lengthOf(parts));
  await inTurns(parts, (part) => {
    if (response.destroyed || response.write(part)) return;
    return drained(response);
  });
  response.end();
}

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * ADDRESS:PORT, [IPV6]:PORT, or PORT alone for 127.0.0.1. Port 0 lets the system choose.
 * @param from the option or key in errors
 * @throws SwapError ERR_ARG_VALUE
 */
export function parseMetricsAddress(from: string, text: string): MetricsAddress {
  const [, six, name = '', digits = ''] =
    /^(?:(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.-]*)):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === '' || port > 65_535)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${from}: '${text}' is not an address; write PORT, ADDRESS:PORT or [IPV6]:PORT, with a port from 0 to 65535`,
      { key: from, value: text },
    );
  const host = six ?? name;
  return { host: host === '' ? '127.0.0.1' : host, port };
}

/**
 * The error for an address that cannot be listened on, with advice.
 * @param option names the address; what: is served there
 */
export function tcpListenError(
  { host, port }: MetricsAddress,
  cause: unknown,
  option: string,
  what: string,
): SwapError {
  const errno = errnoOf(cause);
  if (errno === 'EADDRINUSE')
    return new SwapError(
      'ERR_IO_IN_USE',
      `port ${port} on ${host} is in use; choose another one with ${option}`,
      { host, port },
      { cause },
    );
  const advice =
    errno === 'EACCES'
      ? `ports below 1024 require root; choose another one with ${option}`
      : `choose an address of this machine with ${option}`;
  return systemError(`listen on ${host} port ${port} for ${what}`, cause, advice);
}

const BODY_BYTES_MAX = 1024;

/** Serves the routes of metricsRoutes() over TCP. */
export class MetricsServer {
  readonly #http: HttpServer;
  readonly #routes: ReadonlyMap<string, MetricsRoute>;
  readonly #counters: Counters<HostCounter>;

  private constructor(facts: FactsSource, counters: Counters<HostCounter>, clientMsMax: number) {
    this.#routes = metricsRoutes(facts);
    this.#counters = counters;
    this.#http = new HttpServer({
      bodyBytesMax: BODY_BYTES_MAX,
      clientMsMax,
      onRefused: () => counters.add('metricsRefusals', 1),
      answer: (request, _body, response) => this.#answer(request, response),
    });
  }

  /**
   * Listens on TCP. The server counts requests as metricsRequests and metricsRefusals.
   * @throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM
   */
  static async listen(
    address: MetricsAddress,
    facts: FactsSource,
    counters: Counters<HostCounter>,
    clientMsMax: number = CLIENT_MS_MAX,
  ): Promise<MetricsServer> {
    const metrics = new MetricsServer(facts, counters, clientMsMax);
    try {
      await metrics.#http.listen((server) => server.listen(address.port, address.host));
    } catch (cause) {
      throw tcpListenError(address, cause, '--metrics', 'metrics');
    }
    return metrics;
  }

  /** The bound address. */
  get address(): MetricsAddress {
    const { address, port } = this.#http.address as AddressInfo;
    return { host: address, port };
  }

  /** Stops listening and waits a moment for requests in progress. */
  close(): Promise<void> {
    return this.#http.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = ''] = (request.url ?? '').split('?');
    const route = this.#routes.get(path);
    if (route === undefined) {
      const known = [...this.#routes.keys()].join(', ');
      this.#http.refuse(
        response,
        404,
        'ERR_ARG_UNKNOWN',
        `unknown path '${path}'; paths: ${known}`,
      );
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      this.#http.refuse(response, 405, 'ERR_ARG_VALUE', `${path} requires GET or HEAD`);
      return;
    }
    const reply = await route(request.headers.accept);
    this.#counters.add('metricsRequests', 1);
    await sendMetricsReply(response, reply);
  }
}
