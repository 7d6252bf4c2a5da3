/** The server of the dashboard: who may do what, the limits of its streams, and clients that misbehave. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askDashboard } from '../../src/host/control-client.ts';
import type { ControlHandlers } from '../../src/host/control-routes.ts';
import { hostCounters } from '../../src/host/counters.ts';
import { Dashboard } from '../../src/host/dashboard.ts';
import { DashboardToken, whyForeign } from '../../src/host/dashboard-access.ts';
import { HostEvents } from '../../src/host/events.ts';
import { until } from '../support/fixtures/until.ts';
import { ask, openStream, type Reply, rig } from './dashboard-rig.ts';
import { metricsFacts } from './metrics-facts.ts';

/** A watchdog. */
const timeout = 60_000;

test('the page is sent with a policy that allows its own files only', { timeout }, async (t) => {
  const { port } = await rig(t);
  const types = [
    ['/', 'text/html'],
    ['/page.js', 'text/javascript'],
    ['/page.css', 'text/css'],
    ['/icon.svg', 'image/svg+xml'],
  ] as const;
  for (const [path, type] of types) {
    const { status, headers, text } = await ask(port, path);
    assert.equal(status, 200, path);
    assert.equal(headers['content-type'], `${type}; charset=utf-8`);
    assert.ok(text.length > 100);
    const policy = String(headers['content-security-policy']);
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.equal(headers['x-frame-options'], 'DENY');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['cross-origin-resource-policy'], 'same-origin');
    assert.equal(headers['access-control-allow-origin'], undefined);
    const head = await ask(port, path, { method: 'HEAD' });
    assert.equal(head.text, '');
    assert.equal(head.headers['content-length'], headers['content-length']);
    assert.equal((await ask(port, path, { method: 'POST' })).status, 405);
  }
  const { text } = await ask(port, '/');
  assert.doesNotMatch(text, /<script(?![^>]*src=)|\son\w+=|style=/, 'nothing inline');
});

test('an unknown path gets 404, also with the token', { timeout }, async (t) => {
  const { port, token } = await rig(t);
  const headers = { authorization: `Bearer ${token}` };
  for (const path of [
    '/x',
    '//',
    '/../page.js',
    '/page/page.js',
    '/v1/stop',
    '/v1/events',
    '/metrics',
  ])
    for (const more of [{}, { headers }]) {
      const { status, text } = await ask(port, path, more);
      assert.equal(status, 404, path);
      assert.match(text, /ERR_ARG_UNKNOWN/);
    }
  assert.equal((await ask(port, '/v1/dashboard', { headers })).status, 404);
});

test('without the token disks cannot be read or changed; a wrong one is refused everywhere', {
  timeout,
}, async (t) => {
  const { port, token, added, counters } = await rig(t);
  const body = '{"name":"new","size":"1M"}';
  const post = (authorization?: string): Promise<Reply> =>
    ask(port, '/v1/disks', {
      method: 'POST',
      body,
      headers: authorization === undefined ? {} : { authorization },
    });
  for (const authorization of [
    undefined,
    'Bearer x',
    `Bearer ${token}x`,
    `Basic ${token}`,
    '',
    token,
  ]) {
    const { status, headers, text } = await post(authorization);
    assert.equal(status, 401, authorization);
    assert.equal(headers['www-authenticate'], 'Bearer');
    assert.ok(!text.includes(token));
  }
  assert.equal((await ask(port, '/v1/disks')).status, 401);
  assert.equal((await ask(port, '/v1/disks/a?force=1', { method: 'DELETE' })).status, 401);
  assert.match((await openStream(t, port, 'Bearer x')).text, /^HTTP\/1.1 401 /);
  assert.deepEqual(added, []);
  assert.ok(counters.get('dashboardRefusals') >= 9);
  const good = await post(`Bearer ${token}`);
  assert.equal(good.status, 201, good.text);
  assert.deepEqual(added, ['new']);
});

test('errors of the control API reach the page with their message', { timeout }, async (t) => {
  const { port, token } = await rig(t);
  const headers = { authorization: `bearer ${token}` };
  const bad = await ask(port, '/v1/disks', {
    method: 'POST',
    body: '{"name":"bad","size":"1M"}',
    headers,
  });
  assert.equal(bad.status, 400);
  assert.match(bad.text, /the name is bad/);
  const used = await ask(port, '/v1/disks/a', { method: 'DELETE', headers });
  assert.equal(used.status, 409);
  assert.match(used.text, /it has pages/);
  assert.equal((await ask(port, '/v1/disks/a?force=1', { method: 'DELETE', headers })).status, 200);
  const noJson = await ask(port, '/v1/disks', { method: 'POST', body: '{', headers });
  assert.equal(noJson.status, 400);
  const large = await ask(port, '/v1/disks', { method: 'POST', body: 'x'.repeat(9000), headers });
  assert.equal(large.status, 413);
});

test('a browser cannot choose a backing; the control socket can', { timeout }, async (t) => {
  const { port, token, control, added } = await rig(t);
  const body = '{"name":"new","size":"1M","backing":"/etc/passwd"}';
  const headers = { authorization: `Bearer ${token}` };
  const { status, text } = await ask(port, '/v1/disks', { method: 'POST', body, headers });
  assert.equal(status, 403);
  assert.match(text, /backing.*frontswap add/);
  assert.deepEqual(added, []);
  assert.equal((await ask(control, '/v1/disks', { method: 'POST', body })).status, 201);
});

test('a name that is not a loopback address is refused (DNS rebinding)', { timeout }, async (t) => {
  const { port, token } = await rig(t);
  const authorization = `Bearer ${token}`;
  const bad = ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', '10.0.0.1', 'x'];
  for (const host of bad)
    for (const path of ['/', '/page.js', '/v1/stream', '/v1/disks']) {
      const { status, text } = await ask(port, path, { headers: { host, authorization } });
      assert.equal(status, 403, `${host} ${path}`);
      assert.match(text, /Host header/);
    }
  for (const host of ['127.0.0.1', `localhost:${port}`, '[::1]:1', '127.1.2.3:9'])
    assert.equal((await ask(port, '/', { headers: { host } })).status, 200, host);
});

test('a request from a page of another site is refused, also with the token', {
  timeout,
}, async (t) => {
  const { port, token, added } = await rig(t);
  const own = `127.0.0.1:${port}`;
  const headers = { host: own, authorization: `Bearer ${token}` };
  const foreign = [
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { origin: `http://127.0.0.1:${port + 1}` },
    { origin: `https://${own}` },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
  ];
  const body = '{"name":"new","size":"1M"}';
  for (const more of foreign) {
    const asked = { method: 'POST', body, headers: { ...headers, ...more } };
    assert.equal((await ask(port, '/v1/disks', asked)).status, 403, JSON.stringify(more));
    const stream = { headers: { ...headers, ...more } };
    assert.equal((await ask(port, '/v1/stream', stream)).status, 403, JSON.stringify(more));
  }
  assert.deepEqual(added, []);
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' };
  assert.equal((await ask(port, '/', { headers: { host: own, ...link } })).status, 200);
  const script = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' };
  assert.equal((await ask(port, '/page.js', { headers: { host: own, ...script } })).status, 403);
  const same = { origin: `http://${own}`, 'sec-fetch-site': 'same-origin' };
  const asked = { method: 'POST', body, headers: { ...headers, ...same } };
  assert.equal((await ask(port, '/v1/disks', asked)).status, 201);
});

test('the same checks hold for a browser on the control socket, not for other clients', {
  timeout,
}, async (t) => {
  const { control, added } = await rig(t);
  const body = '{"name":"new","size":"1M"}';
  const post = (headers: Record<string, string>): Promise<Reply> =>
    ask(control, '/v1/disks', { method: 'POST', body, headers });
  assert.equal((await post({ host: 'evil.example' })).status, 403);
  assert.equal((await post({ host: 'localhost:9', origin: 'http://evil.example' })).status, 403);
  assert.equal((await post({ host: 'localhost:9', 'sec-fetch-site': 'cross-site' })).status, 403);
  for (const path of ['/metrics', '/healthz', '/v1/disks', '/v1/events', '/v1/stream'])
    assert.equal(
      (await ask(control, path, { headers: { host: 'evil.example' } })).status,
      403,
      path,
    );
  assert.equal((await ask(control, '/metrics', { headers: { host: 'host' } })).status, 200);
  assert.deepEqual(added, []);
  for (const host of ['host', 'localhost', '127.0.0.1:9180'])
    assert.equal((await post({ host })).status, 201, host);
  assert.equal((await post({ host: 'localhost:9', origin: 'http://localhost:9' })).status, 201);
  assert.match((await ask(control, '/')).text, /<title>frontswap/);
});

test('only the control socket returns the URL with the token', {
  timeout,
}, async (t) => {
  const { control, dashboard, token } = await rig(t);
  assert.equal(await askDashboard(control), dashboard.urlWithToken);
  assert.ok(!dashboard.url?.includes(token));
  assert.match(token, /^[\w-]{43}$/);
  assert.notEqual(new DashboardToken().text, new DashboardToken().text);
});

test('close ends streams at once and frees the port', { timeout }, async (t) => {
  const { port, dashboard } = await rig(t);
  const stream = await openStream(t, port);
  await dashboard.close();
  await until('the end', () => stream.isClosed);
  assert.ok(stream.text.endsWith('\r\n0\r\n\r\n'), 'ended, not cut off');
  await assert.rejects(ask(port, '/'), /ECONNREFUSED/);
});

test('a port in use is an error that names --dashboard', { timeout }, async (t) => {
  const { port } = await rig(t);
  const other = new Dashboard({
    facts: () => metricsFacts(),
    events: new HostEvents(),
    version: '0',
    handlers: {} as ControlHandlers,
    counters: hostCounters(),
  });
  await assert.rejects(other.listen({ host: '127.0.0.1', port }), {
    code: 'ERR_IO_IN_USE',
    message: `port ${port} on 127.0.0.1 is in use; choose another one with --dashboard`,
  });
});

test('whyForeign refuses odd Host headers on both listeners', () => {
  for (const isSocket of [false, true])
    for (const host of [
      'a b',
      '127.0.0.1:port',
      'user@127.0.0.1',
      '[evil]',
      '::1',
      '127.0.0.1:9:9',
    ])
      assert.notEqual(whyForeign({ host }, { isPage: true, isSocket }), null, host);
});
