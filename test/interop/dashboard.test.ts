/** The dashboard in a real browser: what an operator does with it, by mouse and by keyboard, and its accessibility. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Browser, type Page, type PageOptions } from '../support/fixtures/browser.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { freePort, must, peerTest, root } from '../support/fixtures/processes.ts';

const timeoutMs = 240_000;

interface Rig extends AsyncDisposable {
  readonly host: OwnHost;
  readonly browser: Browser;
  /** With the token. */
  readonly url: string;
  open(url?: string, options?: PageOptions): Promise<Page>;
}

async function rig(disks: readonly string[]): Promise<Rig> {
  const port = await freePort();
  const browser = await Browser.start();
  const host = await OwnHost.start({ disks, arguments: ['--dashboard', String(port)] }).catch(
    async (error: unknown) => {
      await browser[Symbol.asyncDispose]();
      throw error;
    },
  );
  const url = (await host.command('dashboard')).trim();
  return {
    host,
    browser,
    url,
    open: async (at = url, options = {}) => {
      const page = await browser.open(at, options);
      await page.until("document.body.dataset.connection === 'connected'");
      return page;
    },
    [Symbol.asyncDispose]: async () => {
      await browser[Symbol.asyncDispose]();
      if (host.isRunning) await host.stop();
    },
  };
}

const quoted = (text: string): string => JSON.stringify(text);
const rowOf = (name: string): string =>
  `[...document.querySelectorAll('#disks tbody tr')].find((row) => row.cells[0].textContent === ${quoted(name)})`;
const cell = (name: string, column: string): string =>
  `${rowOf(name)}.querySelector('[data-name=${quoted(column)}]').firstElementChild.textContent`;
const action = (name: string, verb: string): string =>
  `${rowOf(name)}.querySelector('[data-action=${quoted(verb)}]')`;
const click = (page: Page, expression: string): Promise<unknown> =>
  page.value(`void (${expression}).click()`);
const byId = (id: string): string => `document.getElementById(${quoted(id)})`;

/** Replaces the text of a field. */
async function fill(page: Page, key: string, text: string): Promise<void> {
  await page.value(`${byId(`field-${key}`)}.select()`);
  await page.type(text);
}

const isOpen = `${byId('dialog')}.open`;
const submit = (page: Page): Promise<unknown> => click(page, byId('dialog-submit'));

peerTest(
  'an operator adds a disk, sets its limit, freezes, thaws and removes it',
  ['chromium'],
  async () => {
    await using made = await rig(['swap0=64M']);
    const { host, url, open } = made;
    const page = await open();
    assert.equal(await page.value('location.href'), url.replace(/#.*/, ''), 'no token in sight');
    await click(page, byId('add'));
    await page.until(isOpen);
    await page.type('vm2');
    await fill(page, 'size', '96M');
    await submit(page);
    await page.until(`!${isOpen} && ${cell('vm2', 'Size')} === '96 MiB'`);
    assert.equal(await page.value(cell('vm2', 'Limit')), 'none');

    await click(page, action('vm2', 'set'));
    await fill(page, 'limit', '48M');
    await submit(page);
    await page.until(`!${isOpen} && ${cell('vm2', 'Limit')} === '48 MiB'`);
    const figures = await host.figures('vm2');
    assert.deepEqual([figures.diskSizeBytes, figures.limitBytes], [96 * 2 ** 20, 48 * 2 ** 20]);

    await click(page, action('vm2', 'gate'));
    await page.until(`${cell('vm2', 'State')} === '❄ frozen'`);
    await click(page, action('vm2', 'gate'));
    await page.until(`${cell('vm2', 'State')} === 'active'`);
    await page.until(`${byId('events')}.textContent.includes('vm2: ')`);

    await click(page, action('vm2', 'remove'));
    await page.until(`${isOpen} && ${byId('dialog-title')}.textContent === 'Remove disk vm2?'`);
    await submit(page);
    await page.until(`!${isOpen} && ${rowOf('vm2')} === undefined`);
    assert.match(await host.command('list'), /^swap0 .*\n$/m);
    assert.doesNotMatch(await host.command('list'), /vm2/);
    assert.deepEqual(page.problems, []);
  },
  timeoutMs,
);

peerTest(
  'an error of the host is shown in the dialog; a disk with pages is removed only with the box checked',
  ['chromium', 'qemu-io'],
  async () => {
    await using made = await rig(['swap0=64M', 'used=16M']);
    const { host, open } = made;
    await must('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 1M', host.uri('used')]);
    const page = await open();
    const error = `${byId('dialog-error')}.textContent`;
    await click(page, byId('add'));
    await submit(page);
    await page.until(`${error} === 'Name is missing.'`);
    await fill(page, 'name', 'swap0');
    await fill(page, 'size', 'much');
    await submit(page);
    await page.until(`${error}.includes("'much' is not a valid size")`);
    await fill(page, 'size', '1M');
    await submit(page);
    await page.until(`${error}.includes('swap0') && !${error}.includes('much')`);
    await page.press('Escape');
    await page.until(`!${isOpen}`);

    await page.until(`${cell('used', 'Data')} === '1 MiB'`);
    await click(page, action('used', 'remove'));
    await submit(page);
    await page.until(`${error}.includes('check the box')`);
    await click(page, byId('field-force'));
    await submit(page);
    await page.until(`!${isOpen} && ${rowOf('used')} === undefined`);
    // The browser logs each reply that is an error.
    assert.ok(
      page.problems.every((text) => /status of 4\d\d/.test(text)),
      page.problems.join('\n'),
    );
  },
  timeoutMs,
);

peerTest(
  'without the token the page is read-only; a wrong token is refused, the right one unlocks the page',
  ['chromium'],
  async () => {
    await using made = await rig(['swap0=64M']);
    const { url, open } = made;
    const [, token = ''] = url.split('#token=');
    const plain = url.replace(/#.*/, '');
    const page = await open(plain);
    await page.until(`${cell('swap0', 'Size')} === '64 MiB'`);
    const isReadOnly = `${byId('add')}.hidden && !${byId('read-only')}.hidden && getComputedStyle(${action('swap0', 'set')}.parentElement).display === 'none'`;
    await page.until(isReadOnly);
    const status = await page.value(
      "fetch('/v1/disks', { method: 'POST', body: '{}' }).then(({ status }) => status)",
    );
    assert.equal(status, 401);

    await click(page, byId('unlock'));
    await page.type('wrong');
    await submit(page);
    await page.until(`${byId('read-only-text')}.textContent.includes('refuses the token')`);
    await page.until(isReadOnly);
    await click(page, byId('unlock'));
    await page.type(token);
    await submit(page);
    await page.until(`!${byId('add')}.hidden && ${byId('read-only')}.hidden`);

    const wrong = await open(`${plain}#token=wrong`);
    await wrong.until(`${byId('read-only-text')}.textContent.includes('refuses the token')`);
    await wrong.until(isReadOnly);
  },
  timeoutMs,
);

peerTest(
  'a page of another site can neither read nor change anything, nor show the page in a frame',
  ['chromium'],
  async () => {
    await using made = await rig(['swap0=64M']);
    const [at = '', token = ''] = made.url.split('#token=');
    const site = createServer((_, response) => response.end('<!doctype html><title>other</title>'));
    await new Promise<void>((done) => site.listen(0, '127.0.0.1', done));
    try {
      const { port } = site.address() as AddressInfo;
      const page = await made.browser.open(`http://127.0.0.1:${port}/`);
      await page.until("document.title === 'other'");
      const outcomes = await page.value<string[]>(`(async () => {
        const headers = { authorization: 'Bearer ${token}' };
        const body = '{"name":"new","size":"1M"}';
        const sent = [
          fetch('${at}v1/stream'),
          fetch('${at}v1/disks', { headers }),
          fetch('${at}v1/disks', { method: 'POST', headers, body }),
          fetch('${at}v1/disks', { method: 'POST', mode: 'no-cors', body }),
        ];
        const results = await Promise.allSettled(sent);
        return results.map(({ value }) => (value?.type ?? 'refused'));
      })()`);
      assert.deepEqual(outcomes, ['refused', 'refused', 'refused', 'refused']);
      await page.value(`new Promise((done) => {
        const frame = document.createElement('iframe');
        frame.onload = done;
        frame.src = '${at}';
        document.body.append(frame);
      })`);
      assert.ok(page.problems.some((text) => /X-Frame-Options|frame-ancestors/.test(text)));
      assert.doesNotMatch(await made.host.command('list'), /new/);
    } finally {
      site.close();
    }
  },
  timeoutMs,
);

peerTest(
  'names and messages with markup are shown as text',
  ['chromium'],
  async () => {
    const names = [`<img src=x onerror=alert(1)>`, `</script><b>&amp;`, `"'\`\${1}`];
    await using made = await rig(['swap0=64M']);
    const page = await made.open();
    const hostile = names.map((name) => ({ ...row, name }));
    // The host refuses such names, so they are put in at the stream.
    const sent = `event: hello\ndata: ${JSON.stringify({ ...hello, disks: hostile, events: names.map((message) => ({ time: '2026-01-01T00:00:00Z', event: message, disk: message, message })) })}\n\n`;
    await page.value(`void (window.fetch = async () => new Response(${quoted(sent)}))`);
    await click(page, byId('retry'));
    await page.until(`document.querySelectorAll('#disks tbody tr').length === ${names.length}`);
    const shown = await page.value<string[]>(
      "[...document.querySelectorAll('#disks tbody th')].map((cell) => cell.textContent)",
    );
    assert.deepEqual(shown, names);
    const found = await page.value("document.querySelectorAll('main img, main b').length");
    assert.equal(found, 0);
    await click(page, action(names[0]!, 'remove'));
    await page.until(
      `${byId('dialog-title')}.textContent === ${quoted(`Remove disk ${names[0]}?`)}`,
    );
    assert.equal(await page.value("document.querySelectorAll('dialog img').length"), 0);
    assert.deepEqual(page.problems, []);
  },
  timeoutMs,
);

const row = {
  ...{ isFrozen: false, connections: 0, diskSizeBytes: 4096, dataBytes: 0, usedBytes: 0 },
  ...{ limitBytes: 0, rateBytes: 0, backingBytes: 0, refused: 0, reads: 0, writes: 0, discards: 0 },
};
const hello = {
  ...{ schemaVersion: 1, version: '<i>', pid: 1, canWrite: true, intervalMs: 1000 },
  ...{ columns: ['time'], history: [[1]], violated: ['<u>'] },
};

interface Violation {
  readonly id: string;
  readonly help: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

const axe = readFileSync(join(root, 'node_modules/axe-core/axe.min.js'), 'utf8');
/** Errors in the accessibility of the page, by axe-core: WCAG 2.2 A and AA, and good practice. */
async function errorsOf(page: Page): Promise<string[]> {
  await page.value(`void (() => { ${axe}\n })()`);
  const violations = await page.value<Violation[]>(
    'axe.run(document).then(({ violations }) => violations)',
  );
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${help}\n${html}\n${failureSummary}`),
  );
}

const views: Readonly<Record<string, PageOptions>> = {
  light: { width: 1360 },
  dark: { width: 1360, isDark: true },
  'light, 360 pixels wide': { width: 360, height: 740 },
  'dark, 360 pixels wide': { width: 360, height: 740, isDark: true },
};

peerTest(
  'axe finds no error: light and dark, wide and narrow, with tables, dialogs and banners open',
  ['chromium', 'qemu-io'],
  async () => {
    await using made = await rig(['swap0=64M', 'full=16M,limit=1M']);
    await must('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 1M', made.host.uri()]);
    await made.host.command('freeze', 'swap0');
    for (const [name, options] of Object.entries(views)) {
      const page = await made.open(made.url, options);
      await page.until(`${cell('swap0', 'State')} === '❄ frozen'`);
      await page.value(
        "document.querySelectorAll('details').forEach((one) => { one.open = true; })",
      );
      await page.until("document.querySelector('.scroll td') !== null");
      assert.deepEqual(await errorsOf(page), [], name);
      const overflow = await page.value('document.documentElement.scrollWidth - innerWidth');
      assert.equal(overflow, 0, `${name}: no sideways scrolling`);
      for (const question of [byId('add'), action('swap0', 'set'), action('swap0', 'remove')]) {
        await click(page, question);
        await submit(page);
        await page.until(`${byId('dialog-error')}.textContent !== ''`);
        assert.deepEqual(await errorsOf(page), [], `${name}: ${question}`);
        await page.press('Escape');
        await page.until(`!${isOpen}`);
      }
      const reader = await made.open(made.url.replace(/#.*/, ''), options);
      await reader.until(`!${byId('read-only')}.hidden`);
      assert.deepEqual(await errorsOf(reader), [], `${name}, read-only`);
    }
  },
  timeoutMs,
);

/** Presses Tab until an element has the focus. */
async function tabTo(page: Page, expression: string): Promise<void> {
  for (let i = 0; i < 60; i++) {
    if (await page.value<boolean>(`document.activeElement === ${expression}`)) {
      const outline = await page.value('getComputedStyle(document.activeElement).outlineStyle');
      assert.notEqual(outline, 'none', `${expression} shows the focus`);
      return;
    }
    await page.press('Tab');
  }
  throw new Error(`Tab does not reach ${expression}`);
}

peerTest(
  'everything can be done with the keyboard alone, and the focus is kept',
  ['chromium'],
  async () => {
    await using made = await rig(['swap0=64M']);
    const page = await made.open(made.url, { width: 360, height: 740 });
    await tabTo(page, byId('add'));
    await page.press('Enter');
    await page.until(`${isOpen} && document.activeElement.id === 'field-name'`);
    await page.type('vm2');
    await page.press('Tab');
    await page.type('32M');
    // The focus stays in the dialog, or is with the browser's own controls.
    for (let i = 0; i < 15; i++) {
      await page.press('Tab');
      const inside = `${byId('dialog')}.contains(document.activeElement) || document.activeElement === document.body`;
      assert.ok(await page.value(inside));
    }
    await tabTo(page, byId('dialog-submit'));
    await page.press('Enter');
    await page.until(`!${isOpen} && ${cell('vm2', 'Size')} === '32 MiB'`);
    assert.equal(await page.value('document.activeElement.id'), 'add', 'the focus returns');

    await tabTo(page, action('vm2', 'set'));
    await page.press('Enter');
    await tabTo(page, byId('field-limit'));
    await fill(page, 'limit', '8M');
    await page.press('Enter');
    await page.until(`!${isOpen} && ${cell('vm2', 'Limit')} === '8 MiB'`);

    await tabTo(page, action('vm2', 'gate'));
    await page.press(' ');
    await page.until(`${cell('vm2', 'State')} === '❄ frozen'`);
    await sleep(1200); // a sample later
    assert.ok(await page.value(`document.activeElement === ${action('vm2', 'gate')}`));
    await page.press(' ');
    await page.until(`${cell('vm2', 'State')} === 'active'`);

    await tabTo(page, action('vm2', 'remove'));
    await page.press('Enter');
    await page.until(`${isOpen} && document.activeElement.id === 'dialog-cancel'`);
    await page.press('Escape');
    await page.until(`!${isOpen} && document.activeElement === ${action('vm2', 'remove')}`);
    await page.press('Enter');
    await tabTo(page, byId('dialog-submit'));
    await page.press('Enter');
    await page.until(`!${isOpen} && ${rowOf('vm2')} === undefined`);
    await page.until(`document.activeElement.id === 'disks-heading'`);

    await tabTo(page, "document.querySelector('#plots summary')");
    await page.press('Enter');
    await page.until("document.querySelector('#plots .scroll td') !== null");
    await tabTo(page, "document.querySelector('#plots .scroll')");
    await page.until(`${byId('status')}.textContent !== ''`);
  },
  timeoutMs,
);

peerTest(
  'a dialog whose disk is removed says so and returns the focus to the page; a token that is not ASCII is refused',
  ['chromium'],
  async () => {
    await using made = await rig(['swap0=64M', 'vm2=32M']);
    const page = await made.open();
    await page.value(`${action('vm2', 'set')}.focus()`);
    await page.press('Enter');
    await page.until(isOpen);
    await made.host.command('remove', 'vm2');
    await page.until(`${rowOf('vm2')} === undefined`);
    await fill(page, 'limit', '8M');
    await submit(page);
    await page.until(`${byId('dialog-error')}.textContent.includes('vm2')`);
    await page.press('Escape');
    await page.until(`!${isOpen} && document.activeElement.id === 'disks-heading'`);

    const reader = await made.open(made.url.replace(/#.*/, ''));
    await click(reader, byId('unlock'));
    await reader.type('t\u00f6ken\u20ac');
    await submit(reader);
    await reader.until(`${byId('dialog-error')}.textContent === 'This is not a token.'`);
  },
  timeoutMs,
);

peerTest(
  'a lost connection is shown, and the page reconnects to the next host and loads its history',
  ['chromium'],
  async () => {
    const port = await freePort();
    await using browser = await Browser.start();
    const start = (): Promise<OwnHost> =>
      OwnHost.start({ disks: ['swap0=64M'], arguments: ['--dashboard', String(port)] });
    const first = await start();
    const page = await browser.open((await first.command('dashboard')).trim());
    await page.until("document.body.dataset.connection === 'connected'");
    await first.stop();
    await page.until(`!${byId('lost')}.hidden`);
    assert.match(
      await page.value(`${byId('lost-text')}.textContent`),
      /^Disconnected: the host .* Figures are from \d\d:\d\d:\d\d\. Next try in \d+ s\.$/,
    );
    assert.equal(await page.value(`${byId('connection')}.textContent`), 'Disconnected');
    await page.until(`/Next try in [2-9] s/.test(${byId('lost-text')}.textContent)`); // it backs off
    await using second = await start();
    await click(page, byId('retry'));
    // The token of the first host is refused: the page goes on without it.
    await page.until(`${byId('lost')}.hidden && !${byId('read-only')}.hidden`);
    await page.until(`${byId('read-only-text')}.textContent.includes('refuses the token')`);
    assert.ok(second.isRunning);
  },
  timeoutMs,
);

peerTest(
  'plots have a description and a table of their numbers, and show the load of a client',
  ['chromium', 'qemu-io'],
  async () => {
    await using made = await rig(['swap0=64M']);
    const page = await made.open();
    const tile = (name: string): string =>
      `[...document.querySelectorAll('#tiles dt')].find((one) => one.textContent === ${quoted(name)}).nextElementSibling.textContent`;
    await page.until(`${tile('Stored data')}.startsWith('0 B')`); // a sample from before the load
    await must('qemu-io', [
      ...['-f', 'raw', '-d', 'unmap', '-c', 'write -P 7 0 8M', '-c', 'discard 0 4M'],
      made.host.uri(),
    ]);
    await page.until(`${tile('Stored data')}.startsWith('4 MiB')`);
    const second = await made.open(); // gets the past at once
    const label = "document.querySelector('#plots [role=img]').getAttribute('aria-label')";
    await second.until(`/Stored data: 4 MiB now, from 0 B to [48] MiB/.test(${label})`);
    const canvases = await second.value("document.querySelectorAll('#plots canvas').length");
    assert.equal(canvases, 8);
    const peak = await second.value(`(() => {
      const frees = [...document.querySelectorAll('#plots [role=img]')].map((one) => one.getAttribute('aria-label'));
      return frees.find((text) => text.startsWith('Latency of frees'));
    })()`);
    assert.match(String(peak), /Median: (–|[\d.]+ .s) now, from [\d.]+ (µ|m)s/);
  },
  timeoutMs,
);
