/**
 * The plan of a reload, a three-way merge of what the files said, what they say now and what is running; and a model of
 * random edits.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SwapError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import type { HostConfig } from '../../src/host/config/host-config.ts';
import type { DiskConfig } from '../../src/host/disk-config.ts';
import type { DiskChange } from '../../src/host/disk-table.ts';
import { applyPlan, type ReloadReport, type ReloadTarget } from '../../src/host/reload/apply.ts';
import { planReload } from '../../src/host/reload/plan.ts';
import { Reloader } from '../../src/host/reload/reloader.ts';
import { configOf } from '../support/fixtures/host-config.ts';

const memory = { bytes: 2 ** 34, isGroupLimit: false };
const of = (settings: Record<string, unknown>): HostConfig =>
  configOf({ unix: '/s', ...settings }, { memory });

/** A host that only keeps the values applied to it; it refuses the steps that `refuses` names. */
class Machine {
  readonly disks = new Map<string, DiskConfig>();
  readonly refuses = new Set<string>();
  totalLimitBytes: number;
  said: HostConfig;

  constructor(config: HostConfig) {
    this.said = config;
    this.totalLimitBytes = config.totalLimitBytes;
    for (const disk of config.disks) this.disks.set(disk.name, disk);
  }

  #check(what: string): void {
    if (this.refuses.has(what)) throw new SwapError('ERR_IO_IN_USE', `${what} is refused`);
  }

  set(name: string, { access, ...change }: DiskChange): void {
    const { access: before, ...rest } = this.disks.get(name)!;
    for (const key of Object.keys({ ...change, ...(access === undefined ? {} : { access }) }))
      this.#check(`${name}.${key}`);
    const now =
      access === undefined
        ? before
        : access.uids === 'any' || access.gids === 'any'
          ? undefined
          : { uids: access.uids ?? [], gids: access.gids ?? [] };
    this.disks.set(name, { ...rest, ...change, ...(now === undefined ? {} : { access: now }) });
  }

  readonly target: ReloadTarget = {
    isStopping: () => false,
    running: () => ({ disks: [...this.disks.values()], totalLimitBytes: this.totalLimitBytes }),
    add: (disk) => {
      this.#check(`+${disk.name}`);
      assert.ok(!this.disks.has(disk.name));
      this.disks.set(disk.name, disk);
    },
    remove: async (name) => {
      this.#check(`-${name}`);
      assert.ok(this.disks.delete(name));
    },
    set: async (name, change) => this.set(name, change),
    setTotal: (bytes) => {
      this.#check('total');
      this.totalLimitBytes = bytes;
    },
    setDefaultLimit: () => undefined,
    setDefaultExport: () => undefined,
    setSocketMode: () => undefined,
    setMetrics: async () => undefined,
    loadTls: () => null,
  };

  async reload(now: HostConfig): Promise<ReloadReport> {
    const plan = planReload(this.said, now, this.target.running());
    const { report, said } = await applyPlan(plan, { said: this.said, now }, this.target, null);
    this.said = said;
    return report;
  }

  disk(name: string): DiskConfig {
    return this.disks.get(name)!;
  }
}

const kinds = (said: HostConfig, now: HostConfig): string[] =>
  planReload(said, now, { disks: said.disks, totalLimitBytes: said.totalLimitBytes }).steps.map(
    (step) => ('name' in step ? `${step.kind} ${step.name}` : step.kind),
  );

test('unchanged files give an empty plan', () => {
  const config = of({ disk: ['a=1G,allow-uid=1', 'b=2G,backing=/b'] });
  assert.deepEqual(planReload(config, config, { disks: [], totalLimitBytes: 0 }), {
    steps: [],
    refused: [],
  });
});

test('a raised total limit comes first, removals before additions, a lowered total limit after them', () => {
  const before = of({ disk: ['a=1G', 'b=1G'], 'total-limit': '4G' });
  const more = of({ disk: ['b=2G', 'c=1G'], 'total-limit': '8G', 'socket-mode': '0660' });
  assert.deepEqual(kinds(before, more), ['total', 'remove a', 'set b', 'add', 'socket-mode']);
  assert.deepEqual(kinds(more, before), ['remove c', 'set b', 'add', 'total', 'socket-mode']);
  const none = of({ disk: ['b=1G'], 'total-limit': 0 });
  assert.deepEqual(kinds(before, none), ['total', 'remove a']);
  assert.deepEqual(kinds(none, before), ['add', 'total']);
});

test('TLS files are replaced only if clients are verified as before', () => {
  const x509 = { tls: 'require', 'tls-certificates': '/a' };
  const isExchanged = (before: object, now: object): boolean => {
    const { steps, refused } = planReload(of({ ...before }), of({ ...now }), {
      disks: of({}).disks,
      totalLimitBytes: 0,
    });
    const isDone = steps.some(({ kind }) => kind === 'tls');
    assert.equal(
      refused.some((line) => line.startsWith('tls: ')),
      !isDone,
    );
    return isDone;
  };
  assert.ok(isExchanged(x509, { ...x509, 'tls-certificates': '/b' }));
  assert.ok(!isExchanged(x509, { ...x509, 'tls-verify-peer': true }));
  assert.ok(!isExchanged({ ...x509, 'tls-verify-peer': true }, x509));
  assert.ok(!isExchanged(x509, { ...x509, tls: 'on' }));
  assert.ok(!isExchanged(x509, { tls: 'require', 'tls-psk': '/a' }));
  assert.ok(!isExchanged(x509, {}));
  assert.ok(!isExchanged({}, x509));
});

test('reloads run one after another, also after one that failed', async () => {
  const machine = new Machine(of({ disk: ['a=1G', 'b=1G'] }));
  const texts = [['a=1G'], ['c=1G'], ['wrong'], ['b=1G']];
  const states: boolean[] = [];
  const reloader = new Reloader({
    config: machine.said,
    read: () => of({ disk: texts.shift() }),
    target: {
      ...machine.target,
      remove: async (name) => {
        await nextTurn();
        await machine.target.remove(name);
      },
    },
    onReloading: (isReloading) => states.push(isReloading),
    onReloaded: () => undefined,
    log: () => undefined,
    logError: () => undefined,
  });
  const results = await Promise.allSettled([1, 2, 3, 4].map(() => reloader.reload()));
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value.changed : 'failed')),
    [
      ['disk b: removed'],
      ['disk a: removed', 'disk c: added'],
      'failed',
      ['disk c: removed', 'disk b: added'],
    ],
  );
  assert.deepEqual([...machine.disks.keys()], ['b']);
  assert.deepEqual(states, [true, false, true, false, true, false, true, false]);
});

test('a stop ends a reload between two steps, and systemd is not notified that the reload has ended', async () => {
  const machine = new Machine(of({ disk: ['a=1G', 'b=1G'] }));
  const states: boolean[] = [];
  let isStopping = false;
  const reloader = new Reloader({
    config: machine.said,
    read: () => of({ disk: ['b=1G', 'c=1G', 'd=1G'] }),
    target: {
      ...machine.target,
      isStopping: () => isStopping,
      remove: async (name) => {
        await machine.target.remove(name);
        isStopping = true;
      },
    },
    onReloading: (isReloading) => states.push(isReloading),
    onReloaded: () => undefined,
    log: () => undefined,
    logError: () => undefined,
  });
  const { changed, failed } = await reloader.reload();
  assert.deepEqual(changed, ['disk a: removed']);
  assert.deepEqual(failed, ['the host is stopping: the other changes are not made']);
  assert.deepEqual([...machine.disks.keys()], ['b']);
  assert.deepEqual(states, [true]);
});

test('settings that need a restart are named at every reload', async () => {
  const machine = new Machine(of({ disk: ['a=1G'] }));
  const sockets = of({
    disk: ['a=1G'],
    unix: '/t',
    port: 1,
    codec: 'lz4-native',
    dashboard: '1',
    tmem: '/m',
    'max-clients': 1,
    'max-requests': 1,
    'max-output': '1M',
    'max-handshakes': 1,
    'accept-rate': 1,
    'handshake-timeout': 1,
    run: 'true',
    pidfile: '/p',
    control: '/c',
    tls: 'on',
    'tls-psk': '/k',
  });
  const now = { ...sockets, workers: 2 }; // no source has both
  for (let round = 0; round < 2; round++) {
    const { changed, failed, ignored } = await machine.reload(now);
    assert.deepEqual([changed, failed], [[], []]);
    assert.deepEqual(
      ignored.map((line) => line.split(':')[0]),
      [
        ...['tls', 'codec', 'workers', 'unix', 'port or ipaddr', 'control or no-control'],
        ...['tmem or tmem-...', 'pidfile', 'run'],
        ...['dashboard', 'max-clients', 'max-requests', 'max-output', 'max-handshakes'],
        ...['accept-rate', 'handshake-timeout'],
      ],
    );
  }
});

test('the backing of a disk is not changed; once the disk is removed, it is added with the new backing', async () => {
  const machine = new Machine(of({ disk: ['a=1G', 'b=1G'] }));
  const now = of({ disk: ['a=1G,backing=/x', 'b=1G,shared=on,keep=1'] });
  const { changed, ignored } = await machine.reload(now);
  assert.deepEqual(changed, ['disk b: keep changed']);
  assert.match(
    ignored.join('\n'),
    /^disk a: backing is fixed .*frontswap remove a.*\ndisk b: shared/,
  );
  machine.disks.delete('a');
  assert.deepEqual((await machine.reload(now)).changed, ['disk a: added']);
  assert.equal(machine.disk('a').backing, '/x');
});

test('changes of an operator stay, unless the files say something new', async () => {
  const text = ['a=1G,limit=1M', 'b=1G'];
  const machine = new Machine(of({ disk: text }));
  machine.set('a', { limitBytes: 5 * 2 ** 20 });
  machine.disks.delete('b');
  machine.disks.set('live', of({ disk: ['live=1G'] }).disks[0]!);
  const same = await machine.reload(of({ disk: [...text, 'c=1G'] }));
  assert.deepEqual(same.changed, ['disk c: added']);
  assert.equal(machine.disk('a').limitBytes, 5 * 2 ** 20);
  assert.deepEqual([...machine.disks.keys()].sort(), ['a', 'c', 'live']);
  const news = await machine.reload(of({ disk: ['a=1G,limit=2M', 'b=2G', 'live=1G,keep=7'] }));
  assert.deepEqual(news.changed, [
    ...['disk c: removed', 'disk a: limit changed', 'disk live: keep changed', 'disk b: added'],
  ]);
  // Now the files describe this disk, so it is removed when they no longer do.
  assert.deepEqual((await machine.reload(of({ disk: ['a=1G,limit=2M', 'b=2G'] }))).changed, [
    'disk live: removed',
  ]);
});

test('a refused step does not undo the others, and is tried again', async () => {
  const machine = new Machine(of({ disk: ['a=1G', 'b=1G'], 'total-limit': '4G' }));
  const now = of({ disk: ['b=2G,limit=1M,keep=1', 'c=1G'], 'total-limit': '2G' });
  for (const what of ['-a', 'b.sizeBytes', '+c', 'total']) machine.refuses.add(what);
  const first = await machine.reload(now);
  assert.deepEqual(first.changed, ['disk b: keep changed', 'disk b: limit changed']);
  assert.deepEqual(
    first.failed,
    ['-a', 'b.sizeBytes', '+c', 'total'].map((what) => `${what} is refused`),
  );
  machine.refuses.clear();
  const second = await machine.reload(now);
  assert.deepEqual(second, {
    changed: ['disk a: removed', 'disk b: size changed', 'disk c: added', 'total-limit: 2G'],
    failed: [],
    ignored: [],
  });
  assert.deepEqual(await machine.reload(now), { changed: [], failed: [], ignored: [] });
});

test('a failed step for a disk that was added by hand is tried again', async () => {
  const machine = new Machine(of({ disk: ['a=1G'] }));
  machine.disks.set('b', of({ disk: ['b=1G,limit=1M'] }).disks[0]!);
  const now = of({ disk: ['a=1G', 'b=1G,limit=2M,keep=1'] });
  machine.refuses.add('b.limitBytes');
  assert.equal((await machine.reload(now)).failed.length, 1);
  assert.equal(machine.disk('b').keepSeconds, 1);
  machine.refuses.clear();
  assert.deepEqual((await machine.reload(now)).changed, ['disk b: limit changed']);
});

/** What the files say about a disk, by field; and a model that merges field by field. */
type Text = Readonly<Record<string, string>>;
const fields = ['size', 'limit', 'keep', 'rate', 'allow-uid'] as const;
const configFields = ['sizeBytes', 'limitBytes', 'keepSeconds', 'rateBytes', 'access'] as const;

const randomText = (prng: Prng): Text => ({
  size: `${1 + prng.below(3)}G`,
  ...(prng.oneIn(2) ? { limit: `${1 + prng.below(3)}M` } : {}),
  ...(prng.oneIn(2) ? { keep: String(prng.below(3)) } : {}),
  ...(prng.oneIn(2) ? { rate: `${1 + prng.below(2)}M` } : {}),
  ...(prng.oneIn(2) ? { 'allow-uid': String(prng.below(2)) } : {}),
});

const wordOf = (name: string, { size, ...rest }: Text): string =>
  [`${name}=${size}`, ...Object.entries(rest).map(([key, value]) => `${key}=${value}`)].join(',');

/** One random edit of a file. */
function edit(prng: Prng, file: Map<string, Text>): void {
  const name = `d${prng.below(4)}`;
  const what = prng.below(4);
  if (what === 0) file.delete(name);
  else if (what === 1) file.set(name, randomText(prng));
  else {
    const text = file.get(name);
    if (text === undefined) return;
    const field = fields[prng.below(fields.length)]!;
    file.set(name, { ...text, [field]: randomText(prng)[field] ?? text[field] ?? '1M' });
    if (field !== 'size' && text[field] === undefined && file.get(name)![field] === '1M')
      file.set(name, text);
  }
}

test('after random edits and manual changes the host equals a model of the three-way merge', async () => {
  for (let seed = 1; seed <= 150; seed++) {
    const prng = new Prng(seed);
    const file = new Map<string, Text>([['base', { size: '1G' }]]);
    const parse = (): HostConfig =>
      of({ disk: [...file].map(([name, text]) => wordOf(name, text)) });
    const machine = new Machine(parse());
    let said = new Map(machine.said.disks.map((disk) => [disk.name, disk]));
    for (let round = 0; round < 12; round++) {
      for (let count = prng.below(4); count > 0; count--) edit(prng, file);
      // An operator changes the host by hand.
      for (let count = prng.below(3); count > 0; count--) {
        const name = `d${prng.below(4)}`;
        const made = of({ disk: [wordOf(name, randomText(prng))] }).disks[0]!;
        if (!machine.disks.has(name)) machine.disks.set(name, made);
        else if (prng.oneIn(3)) machine.disks.delete(name);
        else machine.set(name, { limitBytes: made.limitBytes, keepSeconds: made.keepSeconds });
      }
      const now = parse();
      const expected = new Map(machine.disks);
      for (const [name] of said)
        if (!now.disks.some((disk) => disk.name === name)) expected.delete(name);
      for (const disk of now.disks) {
        const before = said.get(disk.name);
        const running = expected.get(disk.name);
        const isNews = JSON.stringify(before) !== JSON.stringify(disk);
        if (running === undefined) {
          if (isNews) expected.set(disk.name, disk);
          continue;
        }
        const merged: Record<string, unknown> = { ...running };
        for (const field of configFields)
          if (
            before === undefined ||
            JSON.stringify(before[field]) !== JSON.stringify(disk[field])
          ) {
            delete merged[field];
            if (disk[field] !== undefined) merged[field] = disk[field];
          }
        expected.set(disk.name, merged as unknown as DiskConfig);
      }
      const report = await machine.reload(now);
      assert.deepEqual(report.failed, []);
      assert.deepEqual(machine.disks, expected, `seed ${seed}, round ${round}`);
      assert.deepEqual(await machine.reload(now), { changed: [], failed: [], ignored: [] });
      said = new Map(now.disks.map((disk) => [disk.name, disk]));
    }
  }
});
