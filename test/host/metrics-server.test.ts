/** The HTTP server of metrics: replies, limits, and clients that misbehave. */
import assert from 'node:assert/strict';
import { IncomingMessage, ServerResponse } from 'node:http';
import { connect, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Counters } from '../../src/base/counters.ts';
import { BioOp } from '../../src/block/bio.ts';
import { Histogram } from '../../src/block/filters/histogram.ts';
import { type HostCounter, hostCounters } from '../../src/host/counters.ts';
import type { MetricsFacts } from '../../src/host/metric-family.ts';
import { metricsText } from '../../src/host/metrics.ts';
import {
  MetricsServer,
  metricsRoutes,
  parseMetricsAddress,
  sendMetricsReply,
} from '../../src/host/metrics-server.ts';
import { until } from '../support/fixtures/until.ts';
import { diskReport, metricsFacts } from './metrics-facts.ts';

/** A watchdog. */
const timeout = 60_000;

interface Rig {
  readonly port: number;
  readonly counters: Counters<HostCounter>;
  readonly server: MetricsServer;
  facts: MetricsFacts;
}

async function rig(t: TestContext, clientMsMax?: number): Promise<Rig> {
  const counters = hostCounters();
  const made: { facts: MetricsFacts } = { facts: metricsFacts() };
  const server = await MetricsServer.listen(
    { host: '127.0.0.1', port: 0 },
    () => made.facts,
    counters,
    clientMsMax,
  );
  t.after(() => server.close());
  return Object.assign(made, { port: server.address.port, counters, server });
}

/** Sends bytes and returns the complete reply. */
function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

const ask = (port: number, method: string, url: string, more = ''): Promise<string> =>
  exchange(port, `${method} ${url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${more}\r\n`);
const statusOf = (answer: string): number => Number(answer.split(' ')[1]);
const headOf = (answer: string): string => answer.split('\r\n\r\n')[0] ?? '';
const bodyOf = (answer: string): string => answer.slice(headOf(answer).length + 4);

test('GET /metrics is the text of the facts, in the format that the client prefers', async (t) => {
  const { port, facts, counters } = await rig(t);
  const text = await ask(port, 'GET', '/metrics');
  assert.equal(statusOf(text), 200);
  assert.match(headOf(text), /content-type: text\/plain; version=0\.0\.4; charset=utf-8/);
  assert.equal(bodyOf(text), metricsText(facts, 'text'));
  const accept = 'accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n';
  const open = await ask(port, 'GET', '/metrics?x=1', accept);
  assert.match(
    headOf(open),
    /content-type: application\/openmetrics-text; version=1\.0\.0; charset=utf-8/,
  );
  assert.equal(bodyOf(open), metricsText(facts, 'openMetrics'));
  assert.equal(counters.get('metricsRequests'), 2);
});

test('the length of a reply counts bytes, not characters', async (t) => {
  const made = await rig(t);
  made.facts = metricsFacts({ disks: [diskReport('größe')] });
  const answer = await ask(made.port, 'GET', '/metrics');
  const text = metricsText(made.facts, 'text');
  assert.equal(bodyOf(answer), text);
  assert.match(headOf(answer), new RegExp(`content-length: ${Buffer.byteLength(text)}\r\n`));
});

test('/healthz returns 503 while a counter that must stay 0 is not 0, and names it', async (t) => {
  const made = await rig(t);
  const healthy = await ask(made.port, 'GET', '/healthz');
  assert.equal(statusOf(healthy), 200);
  assert.deepEqual(JSON.parse(bodyOf(healthy)), { status: 'ok' });
  made.facts = metricsFacts({ disks: [{ ...diskReport('swap0'), failedReads: 1 }] });
  const degraded = await ask(made.port, 'GET', '/healthz');
  assert.equal(statusOf(degraded), 503);
  assert.deepEqual(JSON.parse(bodyOf(degraded)), {
    status: 'degraded',
    violated: ['disk swap0: failedReads'],
  });
});

test('/readyz returns 503 while the host does not listen, whatever its health', async (t) => {
  const made = await rig(t);
  assert.equal(statusOf(await ask(made.port, 'GET', '/readyz')), 200);
  made.facts = metricsFacts({ disks: [{ ...diskReport('swap0'), failedReads: 1 }] });
  assert.equal(statusOf(await ask(made.port, 'GET', '/readyz')), 200);
  made.facts = metricsFacts({ isReady: false });
  const stopping = await ask(made.port, 'GET', '/readyz');
  assert.equal(statusOf(stopping), 503);
  assert.deepEqual(JSON.parse(bodyOf(stopping)), { status: 'not ready' });
  assert.equal(statusOf(await ask(made.port, 'GET', '/healthz')), 200);
});

for (const path of ['/metrics', '/healthz', '/readyz'])
  test(`HEAD ${path} has the header of GET and no body`, async (t) => {
    const { port } = await rig(t);
    const lines = (answer: string): string[] =>
      headOf(answer)
        .split('\r\n')
        .filter((line) => !line.startsWith('Date:'));
    const head = await ask(port, 'HEAD', path);
    const get = await ask(port, 'GET', path);
    assert.equal(bodyOf(head), '');
    assert.deepEqual(lines(head), lines(get));
    assert.match(headOf(get), new RegExp(`content-length: ${Buffer.byteLength(bodyOf(get))}`));
  });

test('an unknown path gets 404 with the known ones, a wrong method 405 with the allowed ones', async (t) => {
  const { port, counters } = await rig(t);
  for (const path of ['/', '/metrics/', '/v1/disks', '/../metrics', '//metrics', '*']) {
    const unknown = await ask(port, 'GET', path);
    assert.equal(statusOf(unknown), 404, path);
    assert.match(bodyOf(unknown), /ERR_ARG_UNKNOWN.*\/metrics, \/healthz, \/readyz/);
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const wrong = await ask(port, method, '/metrics');
    assert.equal(statusOf(wrong), 405, method);
    assert.match(headOf(wrong), /allow: GET, HEAD/);
  }
  assert.equal(counters.get('metricsRefusals'), 10);
  assert.equal(counters.get('metricsRequests'), 0);
});

test('facts that cannot be read cause 500, and the next request is served', async (t) => {
  const counters = hostCounters();
  let isBroken = true;
  const facts = (): MetricsFacts => {
    if (isBroken) throw new TypeError('a bug');
    return metricsFacts();
  };
  const server = await MetricsServer.listen({ host: '127.0.0.1', port: 0 }, facts, counters);
  t.after(() => server.close());
  for (const path of ['/metrics', '/healthz', '/readyz'])
    assert.equal(statusOf(await ask(server.address.port, 'GET', path)), 500, path);
  isBroken = false;
  assert.equal(statusOf(await ask(server.address.port, 'GET', '/metrics')), 200);
  assert.deepEqual([counters.get('metricsRequests'), counters.get('metricsRefusals')], [1, 3]);
});

test('a header below 4096 bytes is accepted, one of 4096 gets 431', async (t) => {
  const { port, counters } = await rig(t);
  // Node counts the names and values of headers, and the target of the request.
  const others = '/healthzhostxconnectionclosex'.length;
  const withBytes = (count: number): string => `x: ${'a'.repeat(count - others)}\r\n`;
  assert.equal(statusOf(await ask(port, 'GET', '/healthz', withBytes(4095))), 200);
  const long = await ask(port, 'GET', '/healthz', withBytes(4096));
  assert.equal(statusOf(long), 431);
  assert.match(bodyOf(long), /ERR_PEER_PROTOCOL.*4096 bytes/);
  assert.equal(counters.get('metricsRefusals'), 1);
});

test('bytes that are not HTTP get 400', async (t) => {
  const { port, counters } = await rig(t);
  const noise = await exchange(port, '\x00\x01\x02 hello\r\n\r\n');
  assert.equal(statusOf(noise), 400);
  assert.match(bodyOf(noise), /not an HTTP request/);
  assert.equal(counters.get('metricsRefusals'), 1);
});

test('a body of 1024 bytes is ignored, one of 1025 is refused', async (t) => {
  const { port } = await rig(t);
  for (const [length, status] of [
    [1024, 200],
    [1025, 413],
  ] as const) {
    const more = `content-length: ${length}\r\n\r\n${'x'.repeat(length)}`;
    assert.equal(statusOf(await ask(port, 'GET', '/healthz', more)), status);
  }
});

test('32 clients are served at the same time, the next one is disconnected', {
  timeout,
}, async (t) => {
  for (const silent of [31, 32]) {
    const { port } = await rig(t);
    for (let i = 0; i < silent; i++) {
      const socket = connect(port, '127.0.0.1');
      t.after(() => socket.destroy());
      await new Promise((resolve) => socket.once('connect', resolve));
    }
    const answer = await ask(port, 'GET', '/healthz').catch(() => '');
    assert.equal(answer !== '', silent === 31, `with ${silent} other clients`);
  }
});

test('a request that arrives byte by byte has a deadline and gets 408', { timeout }, async (t) => {
  const { port, counters } = await rig(t, 100);
  const answer = new Promise<string>((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /metrics HTTP/1.1\r\n'); // queued before what the timer writes
    const timer = setInterval(() => socket.write('x'), 5);
    socket.setEncoding('utf8');
    socket.on('data', (more: string) => {
      text += more;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(timer);
      resolve(text);
    });
  });
  const text = await answer;
  assert.equal(statusOf(text), 408, text);
  assert.match(bodyOf(text), /did not arrive in time/);
  assert.deepEqual([counters.get('metricsRequests'), counters.get('metricsRefusals')], [0, 1]);
});

test('a slow client that continues to send can read the reply afterwards', {
  timeout,
}, async (t) => {
  const { port, counters } = await rig(t, 50);
  const attempt = async (refusals: number): Promise<{ text: string; ms: number }> => {
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /metrics HTTP/1.1\r\n'); // queued before what the timer writes
    const timer = setInterval(() => socket.write('x'), 5);
    t.after(() => clearInterval(timer));
    socket.pause();
    socket.on('error', () => undefined);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await until('it is refused', () => counters.get('metricsRefusals') === refusals);
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 300)); // several checks of the server
    let text = '';
    socket.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    socket.resume();
    await closed;
    clearInterval(timer);
    return { text, ms: performance.now() - start };
  };
  for (let refusals = 1; ; refusals++) {
    const { text, ms } = await attempt(refusals);
    if (text === '' && ms >= 1000 && refusals < 10) continue; // the server waits for a second: this process was too slow
    assert.equal(statusOf(text), 408, text);
    return;
  }
});

test('a client that sends nothing is disconnected', { timeout }, async (t) => {
  const { port } = await rig(t, 100);
  const answer = await exchange(port, '');
  assert.ok(answer === '' || statusOf(answer) === 408, answer);
});

test('clients that do not read their replies are disconnected for others', {
  timeout,
}, async (t) => {
  const made = await rig(t, 50);
  const disks = Array.from({ length: 1000 }, (_, i) => diskReport(`vm${i}`));
  made.facts = metricsFacts({ disks });
  const stuck = Array.from({ length: 32 }, () => connect(made.port, '127.0.0.1'));
  t.after(() => {
    for (const socket of stuck) socket.destroy();
  });
  for (const socket of stuck) {
    socket.on('error', () => undefined);
    socket.pause();
    // Several requests: more than the buffers of the sockets hold.
    socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(8));
  }
  // On a busy machine this client, too, can be too slow for 50 ms: 408.
  let status = 0;
  while (status !== 200) status = statusOf(await ask(made.port, 'GET', '/healthz').catch(() => ''));
});

test('a client that reads late receives the complete text', { timeout }, async (t) => {
  const made = await rig(t);
  const disks = Array.from({ length: 5000 }, (_, i) => diskReport(`vm${i}`));
  made.facts = metricsFacts({ disks }); // more than the buffers of the sockets hold
  const text = await new Promise<string>((resolve, reject) => {
    let answer = '';
    const socket = connect(made.port, '127.0.0.1', () => {
      socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      socket.pause();
      setTimeout(() => socket.resume(), 200);
    });
    socket.setEncoding('utf8');
    socket.on('data', (more: string) => {
      answer += more;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
  const want = metricsText(made.facts, 'text');
  assert.ok(want.length > 7_000_000, `${want.length} characters`);
  assert.ok(bodyOf(text) === want, 'the complete text');
});

test('a reply waits for a client that does not read, and ends when the client disconnects', {
  timeout,
}, async () => {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const parts = Array.from({ length: 100 }, () => Buffer.alloc(100_000));
  let isSent = false;
  const sent = sendMetricsReply(response, { status: 200, contentType: 'x/y', parts }).then(() => {
    isSent = true;
  });
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(response.writableLength < 200_000, `${response.writableLength} bytes wait`);
  assert.equal(isSent, false);
  response.destroy();
  response.emit('close'); // as the server does when the socket is closed
  await sent;
});

test('a client that disconnects during its request harms no other client', {
  timeout,
}, async (t) => {
  const { port, counters } = await rig(t);
  const gone: Socket = connect(port, '127.0.0.1', () => {
    gone.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n');
    gone.destroy();
  });
  await until('the request', () => counters.get('metricsRequests') === 1);
  assert.equal(statusOf(await ask(port, 'GET', '/metrics')), 200);
});

test('close does not wait for an idle client', { timeout }, async (t) => {
  const { port, server } = await rig(t);
  const silent = connect(port, '127.0.0.1');
  await new Promise((resolve) => silent.once('connect', resolve));
  const gone = new Promise((resolve) => silent.once('close', resolve));
  silent.on('error', () => undefined);
  await server.close();
  await gone;
});

test('a port in use is ERR_IO_IN_USE, an address of another machine ERR_IO_SYSTEM', async (t) => {
  const { port } = await rig(t);
  const listen = (host: string, at: number): Promise<MetricsServer> =>
    MetricsServer.listen({ host, port: at }, metricsFacts, hostCounters());
  await assert.rejects(listen('127.0.0.1', port), {
    code: 'ERR_IO_IN_USE',
    message: `port ${port} on 127.0.0.1 is in use; choose another one with --metrics`,
  });
  await assert.rejects(listen('192.0.2.1', 0), {
    code: 'ERR_IO_SYSTEM',
    message: /listen on 192\.0\.2\.1 port 0 for metrics: .*; choose an address of this machine/,
  });
});

test('requests for a text that is being rendered get the same one', async () => {
  let calls = 0;
  const histogram = new Histogram();
  histogram.add(1);
  const disks = Array.from({ length: 2000 }, (_, i) => diskReport(`vm${i}`));
  const latencies = new Map(disks.map(({ name }) => [name, { latency: () => histogram }]));
  const facts = metricsFacts({ disks, latencies });
  const routes = metricsRoutes(() => {
    calls++;
    return facts;
  });
  const route = routes.get('/metrics')!;
  let turns = 0;
  const turn = (): void => {
    turns++;
    timer = setImmediate(turn);
  };
  let timer = setImmediate(turn);
  const replies = await Promise.all([route(undefined), route('*/*'), route(undefined)]);
  clearImmediate(timer);
  assert.equal(calls, 1);
  assert.equal(Buffer.concat(replies[0].parts).toString(), metricsText(facts, 'text'));
  assert.ok(replies.every(({ parts }) => parts === replies[0].parts));
  assert.ok(turns > 2, `the event loop ran ${turns} times meanwhile`);
  await route('application/openmetrics-text');
  await route(undefined);
  assert.equal(calls, 3, 'a later request has new facts');
  assert.equal(facts.latencies.get('vm0')?.latency(BioOp.read).count, 1);
});

const addresses: readonly [string, string, number][] = [
  ['9123', '127.0.0.1', 9123],
  [':9123', '127.0.0.1', 9123],
  ['0', '127.0.0.1', 0],
  ['65535', '127.0.0.1', 65_535],
  ['10.0.0.7:9123', '10.0.0.7', 9123],
  ['localhost:9123', 'localhost', 9123],
  ['metrics-1.example:9123', 'metrics-1.example', 9123],
  ['[::1]:9123', '::1', 9123],
  ['[fe80::1%eth0]:9123', 'fe80::1%eth0', 9123],
];
for (const [text, host, port] of addresses)
  test(`--metrics ${text} is ${host} port ${port}`, () =>
    assert.deepEqual(parseMetricsAddress('--metrics', text), { host, port }));

for (const text of [
  '',
  ':',
  'a',
  'a:',
  '65536',
  '-1',
  '1.5',
  '::1',
  '::1:9123',
  '[::1]',
  'a:1:2',
  ' 1',
])
  test(`--metrics '${text}' is refused`, () =>
    assert.throws(() => parseMetricsAddress('--metrics', text), {
      code: 'ERR_ARG_VALUE',
      message: /^--metrics: '.*' is not an address; write PORT, /,
    }));
