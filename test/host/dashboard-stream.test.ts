/** The stream of the dashboard: what readers get, and their limits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STREAMS_MAX } from '../../src/host/dashboard-stream.ts';
import { type Hello, type Sample, sampleColumns } from '../../src/page/wire.ts';
import { until } from '../support/fixtures/until.ts';
import { ask, type Connection, dataOf, openConnection, openStream, rig } from './dashboard-rig.ts';

/** A watchdog. */
const timeout = 60_000;

test('a stream starts with hello, then has samples and events', { timeout }, async (t) => {
  const { port, token, events } = await rig(t);
  events.emit('added', 'before', '1G');
  const stream = await openStream(t, port, `Bearer ${token}`);
  await until('hello', () => dataOf(stream.text, 'hello').length === 1);
  const [hello] = dataOf<Hello>(stream.text, 'hello');
  assert.equal(hello?.canWrite, true);
  assert.equal(hello.version, '1.2.3');
  assert.deepEqual(hello.columns, sampleColumns);
  assert.equal(hello.history.length, sampleColumns.length);
  assert.ok(hello.history.every((column) => column.length >= 1));
  assert.deepEqual(
    hello.disks.map(({ name }) => name),
    ['disk-0'],
  );
  assert.deepEqual(
    hello.events.map(({ disk }) => disk),
    ['before'],
  );
  events.emit('frozen', 'later', 'requests wait');
  await until('a sample and an event', () => dataOf(stream.text, 'sample').length > 0);
  const [sample] = dataOf<Sample>(stream.text, 'sample');
  assert.equal(sample?.values.length, sampleColumns.length);
  assert.equal(dataOf(stream.text, 'event').length, 1);
  assert.match(stream.text, /content-type: text\/event-stream/i);
});

test('a reader without the token gets no URI, no address of a client and no line of the log', {
  timeout,
}, async (t) => {
  const { port, events } = await rig(t);
  const emit = (): void => {
    events.emit('client', 'swap0', 'secret-client 192.0.2.7');
    events.emit('log', null, 'secret-log');
    events.emit('removed', 'swap1', 'public');
  };
  emit();
  const stream = await openStream(t, port);
  await until('hello', () => dataOf(stream.text, 'hello').length === 1);
  emit();
  await until('the event', () => dataOf(stream.text, 'event').length > 0);
  const samples = dataOf(stream.text, 'sample').length;
  await until('a sample', () => dataOf(stream.text, 'sample').length > samples);
  assert.equal(dataOf<Hello>(stream.text, 'hello')[0]?.canWrite, false);
  assert.doesNotMatch(stream.text, /secret|a-uri|a-control-socket|hostPid|uris/);
  assert.equal(dataOf<Hello>(stream.text, 'hello')[0]?.events.length, 1);
  assert.equal(dataOf(stream.text, 'event').length, 1);
});

test('one stream too many gets 503 until another one ends; HEAD and POST get 405', {
  timeout,
}, async (t) => {
  const { port } = await rig(t);
  const streams = [];
  for (let i = 0; i < STREAMS_MAX; i++) streams.push(await openStream(t, port));
  const refused = await openStream(t, port);
  assert.match(refused.text, /^HTTP\/1.1 503 .*/);
  assert.match(refused.text, /close one/);
  streams[0]?.socket.destroy();
  let again = '';
  let isAsking = false;
  await until('a stream', () => {
    if (!isAsking) {
      isAsking = true;
      void openStream(t, port).then(({ text }) => {
        again = text;
        isAsking = false;
      });
    }
    return again.startsWith('HTTP/1.1 200');
  });
  for (const method of ['HEAD', 'POST'])
    assert.equal((await ask(port, '/v1/stream', { method })).status, 405);
});

test('a reader that does not read is disconnected, and others are not', { timeout }, async (t) => {
  const { port, events } = await rig(t);
  const slow = await openStream(t, port);
  const quick = await openStream(t, port);
  slow.socket.pause();
  const message = 'x'.repeat(60_000);
  // More than the buffers of both sockets and the host's limit hold.
  for (let i = 0; i < 400; i++) {
    events.emit('added', 'swap0', message);
    if (i % 10 === 9) await until('ten events', () => dataOf(quick.text, 'event').length === i + 1);
  }
  slow.socket.resume();
  await until('the end of the slow one', () => slow.isClosed);
  assert.ok(dataOf(slow.text, 'event').length < 400);
  await until('the events', () => dataOf(quick.text, 'event').length === 400);
  assert.equal(quick.isClosed, false);
});

test('with all streams taken by readers without the token, its holder replaces the oldest one', {
  timeout,
}, async (t) => {
  const { port, token } = await rig(t);
  const guests: Connection[] = [];
  for (let i = 0; i < STREAMS_MAX; i++) guests.push(await openStream(t, port));
  const writers = [];
  for (let i = 0; i < STREAMS_MAX; i++) writers.push(await openStream(t, port, `Bearer ${token}`));
  for (const { text } of writers) assert.match(text, /^HTTP\/1.1 200 /);
  await until('the end of the others', () => guests.every(({ isClosed }) => isClosed));
  assert.match((await openStream(t, port, `Bearer ${token}`)).text, /^HTTP\/1.1 503 /);
  assert.match((await openStream(t, port)).text, /^HTTP\/1.1 503 /);
  assert.ok(writers.every(({ isClosed }) => !isClosed));
});

test('requests that wait for the reply of a stream are limited', { timeout }, async (t) => {
  const { port, counters } = await rig(t);
  const asked = `GET /page.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`;
  const few = await openStream(t, port);
  few.socket.write(asked.repeat(7));
  const many = await openStream(t, port);
  many.socket.write(asked.repeat(8));
  await until('the end of the client with too many', () => many.isClosed);
  assert.equal(counters.get('dashboardRefusals'), 1);
  const before = dataOf(few.text, 'sample').length;
  await until('a sample', () => dataOf(few.text, 'sample').length > before);
  // Requests one after another are not limited.
  const one = openConnection(t, port);
  for (let i = 1; i <= 20; i++) {
    one.socket.write(`GET /icon.svg HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
    await until('the reply', () => one.text.split('</svg>').length === i + 1);
  }
});
