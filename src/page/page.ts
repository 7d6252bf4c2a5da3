/**
 * The page of the dashboard. It shows what GET /v1/stream sends and changes disks via the control API. The build
 * bundles it with uPlot to page.js; index.html has its elements.
 */
import { hasToken, Stream, setToken, takeToken } from './connection.ts';
import { initDialog } from './dialog.ts';
import { type DiskAction, DiskTable } from './disk-table.ts';
import { announce, byId, element, makeScrollable, setText } from './dom.ts';
import { formatTime } from './format.ts';
import { History } from './history.ts';
import { Plots } from './plots.ts';
import { askAdd, askFreeze, askRemove, askSet, askToken, changeGate } from './questions.ts';
import { showTiles } from './tiles.ts';
import type { DiskRow, Hello, Sample, WireEvent } from './wire.ts';

const EVENTS_SHOWN = 50;
const history = new History();
let disks: readonly DiskRow[] = [];

const plots = new Plots(byId('plots'), history);
const updateTiles = showTiles(byId('tiles'));
const table = new DiskTable(act);

function showDisks(rows: readonly DiskRow[]): void {
  disks = rows;
  table.update(rows);
}

function showViolated(violated: readonly string[]): void {
  byId('violated').hidden = violated.length === 0;
  const text = `A counter that must stay 0 is not 0: ${violated.join(', ')}. See frontswap stat and the log.`;
  setText(byId('violated-text'), text);
}

function showError(error: unknown): void {
  byId('notice-text').textContent = (error as Error).message;
  byId('notice').hidden = false;
  announce((error as Error).message);
}

function act(action: DiskAction, name: string): void {
  const disk = disks.find((one) => one.name === name);
  if (disk === undefined) return;
  if (action === 'set') askSet(disk);
  else if (action === 'remove') askRemove(disk);
  else if (!disk.isFrozen && disk.connections > 0) askFreeze(disk);
  else changeGate(disk).catch(showError);
}

function showEvent({ time, event, disk, message }: WireEvent): void {
  const list = byId('events');
  const seconds = Date.parse(time) / 1000;
  list.prepend(
    element(
      'li',
      {},
      element('time', { datetime: time }, formatTime(seconds, true)),
      element('span', { class: 'kind' }, event),
      element('span', { class: 'message' }, disk === null ? message : `${disk}: ${message}`),
    ),
  );
  while (list.children.length > EVENTS_SHOWN) list.lastElementChild?.remove();
  byId('no-events').hidden = true;
}

function showConnection(state: 'connecting' | 'connected' | 'lost', text: string): void {
  const line = byId('connection');
  line.dataset['state'] = state;
  setText(line, text);
  document.body.dataset['connection'] = state;
}

function showAccess(canWrite: boolean, why: string): void {
  document.body.dataset['access'] = canWrite ? 'write' : 'read';
  byId('add').hidden = !canWrite;
  byId('read-only').hidden = canWrite;
  setText(byId('read-only-text'), why);
}

const READ_ONLY =
  'This page is read-only. To change disks, open the URL that frontswap dashboard prints, or enter its token.';
const BAD_TOKEN =
  'The host refuses the token, so this page is read-only. A host creates a new token when it starts: run frontswap dashboard.';
let readOnlyText = READ_ONLY;

let countdown = 0;

const stream = new Stream({
  onConnecting() {
    clearInterval(countdown);
    showConnection('connecting', 'Connecting');
  },
  onHello(hello: Hello) {
    const { version, pid, canWrite } = hello;
    history.load(hello);
    setText(byId('host-text'), `${version}, process ${pid}`);
    showConnection('connected', 'Connected');
    if (!byId('lost').hidden) announce('Connected again.');
    byId('lost').hidden = true;
    showAccess(canWrite, readOnlyText);
    showViolated(hello.violated);
    showDisks(hello.disks);
    byId('events').replaceChildren();
    byId('no-events').hidden = false;
    for (const event of hello.events) showEvent(event);
    updateTiles(history);
    plots.update();
  },
  onSample(sample: Sample) {
    history.add(sample);
    showViolated(sample.violated);
    showDisks(sample.disks);
    updateTiles(history);
    plots.update();
  },
  onEvent(event: WireEvent) {
    showEvent(event);
    // There are too many client connections to read them all aloud.
    if (event.event !== 'client' && event.event !== 'log')
      announce(`${event.disk ?? ''} ${event.message}`);
  },
  onLost(why: string, retryMs: number) {
    showConnection('lost', 'Disconnected');
    if (byId('lost').hidden) announce(`Disconnected: ${why}.`);
    byId('lost').hidden = false;
    const last = history.latest('time');
    const since = last === null ? '' : ` Figures are from ${formatTime(last, true)}.`;
    let left = Math.round(retryMs / 1000);
    const show = (): void =>
      setText(byId('lost-text'), `Disconnected: ${why}.${since} Next try in ${left} s.`);
    show();
    countdown = window.setInterval(() => {
      left = Math.max(0, left - 1);
      show();
    }, 1000);
  },
  onTokenRefused() {
    setToken('');
    readOnlyText = BAD_TOKEN;
    announce(BAD_TOKEN);
    stream.connect();
  },
});

function start(): void {
  takeToken();
  initDialog();
  makeScrollable(byId('events-frame'), 'List of events');
  byId('add').addEventListener('click', askAdd);
  byId('retry').addEventListener('click', () => stream.connect());
  byId('notice-close').addEventListener('click', () => {
    byId('notice').hidden = true;
    byId('disks-heading').focus();
  });
  byId('unlock').addEventListener('click', () =>
    askToken(() => {
      readOnlyText = READ_ONLY;
      stream.connect();
    }),
  );
  // The URL with a token was opened in a tab that already shows the page.
  addEventListener('hashchange', () => {
    takeToken();
    if (hasToken()) stream.connect();
  });
  stream.connect();
}

start();
