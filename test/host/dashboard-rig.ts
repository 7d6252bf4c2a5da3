import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Counters } from '../../src/base/counters.ts';
import { SwapError } from '../../src/base/errors.ts';
import type { ControlHandlers } from '../../src/host/control-routes.ts';
import { ControlServer } from '../../src/host/control-server.ts';
import { type HostCounter, hostCounters } from '../../src/host/counters.ts';
import { Dashboard } from '../../src/host/dashboard.ts';
import { HostEvents } from '../../src/host/events.ts';
import { listDocument } from '../../src/host/list-document.ts';
import { metricsRoutes } from '../../src/host/metrics-server.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { until } from '../support/fixtures/until.ts';
import { diskReport, metricsFacts } from './metrics-facts.ts';

export interface Rig {
  readonly port: number;
  readonly token: string;
  readonly control: string;
  readonly counters: Counters<HostCounter>;
  readonly events: HostEvents;
  readonly added: string[];
  readonly dashboard: Dashboard;
}

export async function rig(t: TestContext, diskCount = 1): Promise<Rig> {
  const counters = hostCounters();
  const events = new HostEvents();
  const added: string[] = [];
  const disks = Array.from({ length: diskCount }, (_, i) => diskReport(`disk-${i}`));
  const unused = (): never => {
    throw new Error('this test does not call it');
  };
  const handlers: ControlHandlers = {
    events,
    metrics: metricsRoutes(() => metricsFacts({ disks })),
    disks: () => listDocument([]),
    disk: (name) => diskReport(name),
    health: unused,
    add: ({ name }) => {
      if (name === 'bad') throw new SwapError('ERR_ARG_VALUE', 'the name is bad', {});
      added.push(name);
    },
    remove: async (_, force) => {
      if (!force) throw new SwapError('ERR_IO_IN_USE', 'it has pages');
      return 4096;
    },
    set: unused,
    freeze: unused,
    thaw: unused,
    flush: unused,
    reset: unused,
    tmem: () => null,
    reload: unused,
    checkStop: unused,
    stop: unused,
  };
  const facts = () => metricsFacts({ disks });
  const dashboard = new Dashboard({ facts, events, version: '1.2.3', handlers, counters });
  await dashboard.listen({ host: '127.0.0.1', port: 0 });
  const control = join(testFolder(t), 'c');
  const server = await ControlServer.listen(control, handlers, counters, undefined, (...asked) =>
    dashboard.answerControl(...asked),
  );
  t.after(async () => {
    await dashboard.close();
    await server.close();
  });
  const [, port, token] = /:(\d+)\/#token=(.+)$/.exec(dashboard.urlWithToken ?? '') ?? [];
  return { port: Number(port), token: token!, control, counters, events, added, dashboard };
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}
export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** @param where a port, or a socket's path */
export const ask = (where: number | string, path: string, asked: Asked = {}): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const { method = 'GET', headers = {}, body } = asked;
    const to =
      typeof where === 'number' ? { host: '127.0.0.1', port: where } : { socketPath: where };
    const sent = request({ ...to, path, method, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });

export interface Connection {
  text: string;
  readonly socket: Socket;
  isClosed: boolean;
}

/** Connects; `text` grows. */
export function openConnection(t: TestContext, port: number): Connection {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  const connection = { text: '', socket, isClosed: false };
  socket.setEncoding('utf8').on('data', (part: string) => {
    connection.text += part;
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    connection.isClosed = true;
  });
  return connection;
}

/** Opens a stream, and waits for the head of the reply. */
export async function openStream(
  t: TestContext,
  port: number,
  authorization?: string,
): Promise<Connection> {
  const stream = openConnection(t, port);
  const auth = authorization === undefined ? '' : `authorization: ${authorization}\r\n`;
  stream.socket.write(`GET /v1/stream HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${auth}\r\n`);
  await until('the head of the reply', () => stream.text.includes('\r\n\r\n') || stream.isClosed);
  return stream;
}

export const dataOf = <T>(text: string, name: string): T[] =>
  [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)]
    .filter(([, event]) => event === name)
    .map(([, , data]) => JSON.parse(data!) as T);
