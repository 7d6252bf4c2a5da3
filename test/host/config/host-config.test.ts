/** Settings: defaults, the same checks for flags and file, and errors that name their origin. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import type { HostConfig } from '../../../src/host/config/host-config.ts';
import { hostSettings } from '../../../src/host/config/host-schema.ts';
import { configOf } from '../../support/fixtures/host-config.ts';

const G = 1024 ** 3;
const machine = { bytes: 16 * G, isGroupLimit: false };
const of = (settings: object): HostConfig => configOf({ ...settings }, { memory: machine });

const limitDefaults = {
  maxRequests: 512,
  maxOutputBytes: 262_144,
  maxHandshakes: 128,
  acceptRate: 200,
  handshakeSeconds: 10,
};

test('limits of clients are checked on both sides', () => {
  const cases: readonly (readonly [string, keyof HostConfig, number, number])[] = [
    ['max-clients', 'maxClients', 1, 65_536],
    ['max-requests', 'maxRequests', 1, 512],
    ['max-output', 'maxOutputBytes', 128 * 1024, 16 * 1024 * 1024],
    ['max-handshakes', 'maxHandshakes', 1, 65_536],
    ['accept-rate', 'acceptRate', 0, 1_000_000],
    ['handshake-timeout', 'handshakeSeconds', 1, 3600],
  ];
  for (const [name, key, min, max] of cases) {
    for (const value of [min, max]) assert.equal(of({ [name]: value })[key], value, name);
    for (const value of [min - 1, max + 1])
      assert.throws(
        () => of({ [name]: value }),
        { code: 'ERR_ARG_VALUE', message: new RegExp(name) },
        `${name} ${value}`,
      );
  }
  assert.equal(of({ 'max-output': '1M' }).maxOutputBytes, 1024 * 1024);
});

test('without settings: one 1G disk, a private socket and the NBD port on loopback', () => {
  assert.deepEqual(of({}), {
    disks: [
      {
        name: 'swap0',
        sizeBytes: G,
        limitBytes: 0,
        isShared: false,
        keepSeconds: null,
        rateBytes: 0,
      },
    ],
    defaultLimitBytes: 0,
    hasDefaultDisk: true,
    defaultExport: null,
    totalLimitBytes: 8 * G,
    codec: 'lz4',
    workers: 1,
    unix: '-',
    socketMode: 0o600,
    tcp: { host: '127.0.0.1', port: 10809, orNext: true },
    tls: null,
    control: 'default',
    metrics: null,
    dashboard: null,
    persist: null,
    tmem: null,
    pidFile: null,
    run: null,
    maxClients: 1024,
    ...limitDefaults,
  });
});

test('settings of the tmem socket have defaults, are checked, and require its path', () => {
  const path = '/run/tmem';
  const common = { path, mode: 0o600, gid: null, cap: 0, access: null };
  assert.deepEqual(of({ tmem: path }).tmem, { ...common, limitBytes: 2 * G });
  assert.equal(of({ tmem: path, 'total-limit': 0 }).tmem?.limitBytes, 0);
  const settings = { 'tmem-mode': '0660', 'tmem-group': 7, 'tmem-limit': '1G', 'tmem-cap': 9 };
  assert.deepEqual(of({ tmem: path, ...settings, 'tmem-allow-uid': '5:6' }).tmem, {
    ...{ path, mode: 0o660, gid: 7, limitBytes: G, cap: 9, access: { uids: [5, 6], gids: [] } },
  });
  for (const name of Object.keys(settings))
    assert.throws(() => of({ [name]: settings[name as keyof typeof settings] }), {
      code: 'ERR_ARG_CONFLICT',
      message: `--${name} requires --tmem PATH`,
    });
  for (const [name, value] of [
    ['tmem-mode', '0500'],
    ['tmem-group', -1],
    ['tmem-cap', 2 ** 31],
    ['tmem-allow-gid', 'me'],
  ] as const)
    assert.throws(() => of({ tmem: path, [name]: value }), { code: 'ERR_ARG_VALUE' }, name);
});

test('every setting is applied', () => {
  assert.deepEqual(
    of({
      disk: ['a=1G', 'b=2G,limit=512M'],
      limit: '256M',
      'total-limit': '25%',
      codec: 'lz4-native',
      unix: '/s',
      'socket-mode': '0660',
      port: 0,
      ipaddr: '::1',
      exportname: 'b',
      'max-clients': 3,
      run: 'true',
      pidfile: '/p',
      persist: '/i',
      control: '/c',
      tls: 'on',
      'tls-psk': '/k',
      dashboard: '9180',
    }),
    {
      disks: [
        {
          name: 'b',
          sizeBytes: 2 * G,
          limitBytes: G / 2,
          isShared: false,
          keepSeconds: null,
          rateBytes: 0,
        },
        {
          name: 'a',
          sizeBytes: G,
          limitBytes: G / 4,
          isShared: false,
          keepSeconds: null,
          rateBytes: 0,
        },
      ],
      hasDefaultDisk: false,
      defaultExport: 'b',
      defaultLimitBytes: G / 4,
      totalLimitBytes: 4 * G,
      codec: 'lz4-native',
      workers: 1,
      unix: '/s',
      socketMode: 0o660,
      tcp: { host: '::1', port: 0, orNext: false },
      tls: { mode: 'on', source: { kind: 'psk', file: '/k' } },
      control: { path: '/c' },
      metrics: null,
      dashboard: { host: '127.0.0.1', port: 9180 },
      tmem: null,
      pidFile: '/p',
      persist: '/i',
      run: 'true',
      maxClients: 3,
      ...limitDefaults,
    },
  );
});

test('the dashboard listens on a loopback address only', () => {
  const at = (dashboard: string): unknown => of({ dashboard }).dashboard;
  assert.deepEqual(at('127.0.0.2:0'), { host: '127.0.0.2', port: 0 });
  assert.deepEqual(at('[::1]:9180'), { host: '::1', port: 9180 });
  assert.deepEqual(at('localhost:9180'), { host: 'localhost', port: 9180 });
  for (const text of ['0.0.0.0:9180', '[::]:9180', '192.0.2.1:9180', 'example.org:9180'])
    assert.throws(() => at(text), {
      code: 'ERR_ARG_VALUE',
      message: /dashboard: '.*' is not a loopback address: .*ssh -L$/,
    });
  assert.throws(() => at('127.0.0.1'), { message: /is not an address/ });
});

test('listeners: the requested ones, or with --run only a private socket', () => {
  const listeners = (document: object): unknown[] => {
    const { unix, tcp, control } = of(document);
    return [unix, tcp, control];
  };
  const tcp = { host: '127.0.0.1', port: 10809, orNext: false };
  assert.deepEqual(listeners({ unix: '/s' }), ['/s', null, 'default']);
  assert.deepEqual(listeners({ port: 10809 }), [null, tcp, 'default']);
  assert.deepEqual(listeners({ ipaddr: '127.0.0.1' }), [null, tcp, 'default']);
  assert.deepEqual(listeners({ unix: '-', port: '10809' }), ['-', tcp, 'default']);
  assert.deepEqual(listeners({ run: 'true' }), ['-', null, 'private']);
  assert.deepEqual(listeners({ run: 'true', port: 10809 }), [null, tcp, 'private']);
  assert.deepEqual(listeners({ 'no-control': true, unix: '/s' }), ['/s', null, null]);
});

test('the size of a disk is rounded up to a page; one disk needs no array', () => {
  assert.equal(of({ disk: 'a=1MB' }).disks[0]?.sizeBytes, 1_003_520);
  assert.equal(of({ disk: 'a=8T' }).disks[0]?.sizeBytes, 8 * 1024 * G);
});

test('a disk has 40K to 8T in full pages, and a host 1 to 256 disks', () => {
  const sizeOf = (size: string): number | undefined =>
    of({ disk: `a=${size}` }).disks[0]?.sizeBytes;
  assert.equal(sizeOf('40K'), 40_960);
  assert.equal(sizeOf('36865'), 40_960, 'rounded up to the smallest');
  assert.throws(() => sizeOf('36K'), {
    code: 'ERR_ARG_VALUE',
    message: /'36K' is too small: .*40K/,
  });
  assert.equal(sizeOf(String(8 * 1024 * G - 1)), 8 * 1024 * G);
  assert.throws(() => sizeOf(String(8 * 1024 * G + 1)), {
    message: /is too large: the maximum is 8T/,
  });
  const disks = Array.from({ length: 256 }, (_, i) => `d${i}=40K`);
  assert.equal(of({ disk: disks }).disks.length, 256);
  assert.throws(() => of({ disk: [...disks, 'last=40K'] }), {
    code: 'ERR_ARG_VALUE',
    message: /'257' is too many disks: at most 256/,
  });
});

test('a port is 0 to 65535, and 1 to 65536 clients may connect', () => {
  for (const port of [0, 65535]) assert.equal(of({ port }).tcp?.port, port);
  for (const clients of [1, 65536])
    assert.equal(of({ 'max-clients': clients }).maxClients, clients);
  assert.throws(
    () => of({ 'max-clients': 65537 }),
    /'65537' is not a whole number from 1 to 65536/,
  );
});

test('the default export can be any of the disks', () => {
  for (const exportname of ['a', 'b', 'c']) {
    const { disks } = of({ disk: ['a=1G', 'b=1G', 'c=1G'], exportname });
    assert.equal(disks.length, 3);
    assert.equal(disks[0]?.name, exportname);
  }
});

test('a name has up to 64 characters', () => {
  const name = 'a'.repeat(64);
  assert.equal(of({ disk: `${name}=1G` }).disks[0]?.name, name);
});

const wrong: readonly [object, string, RegExp][] = [
  [{ disk: 'a' }, 'ERR_ARG_VALUE', /^--disk: 'a' is not of the form NAME=SIZE/],
  [{ disk: 'a=1G=2G' }, 'ERR_ARG_VALUE', /is not of the form/],
  [{ disk: '=1G' }, 'ERR_ARG_VALUE', /'' is not a valid disk name/],
  [{ disk: 'a b=1G' }, 'ERR_ARG_VALUE', /'a b' is not a valid disk name/],
  [{ disk: 'a/b=1G' }, 'ERR_ARG_VALUE', /is not a valid disk name/],
  [{ disk: '-a=1G' }, 'ERR_ARG_VALUE', /is not a valid disk name/],
  [{ disk: '.=1G' }, 'ERR_ARG_VALUE', /'\.' is not a valid disk name: use a letter or digit, then/],
  [
    { disk: '+x=1G' },
    'ERR_ARG_VALUE',
    /'\+x' is not a valid disk name: use a letter or digit, then/,
  ],
  [{ disk: 'a=1,5G' }, 'ERR_ARG_VALUE', /'1,5G' has a decimal comma instead of a point/],
  [{ disk: 'a=,5G' }, 'ERR_ARG_VALUE', /',5G' has a decimal comma instead of a point/],
  [{ disk: `${'a'.repeat(65)}=1G` }, 'ERR_ARG_VALUE', /is not a valid disk name/],
  [{ disk: 'a=lots' }, 'ERR_ARG_VALUE', /^--disk: 'lots' is not a valid size/],
  [{ disk: 'a=4K' }, 'ERR_ARG_VALUE', /'4K' is too small/],
  [{ disk: 'a=9T' }, 'ERR_ARG_VALUE', /'9T' is too large/],
  [{ disk: 'a=1G,limit=x' }, 'ERR_ARG_VALUE', /^--disk: limit: 'x' is not a valid size/],
  [{ disk: 'a=1G,limit' }, 'ERR_ARG_VALUE', /limit: '' is empty/],
  [{ disk: 'a=1G,limt=1G' }, 'ERR_ARG_UNKNOWN', /has no option 'limt'; did you mean 'limit'/],
  [
    { disk: 'a=1G,limit=1M=2M' },
    'ERR_ARG_VALUE',
    /^--disk: 'limit=1M=2M' is not of the form limit=VALUE/,
  ],
  [{ disk: 'a=1G,limit=1M,limit=2M' }, 'ERR_ARG_CONFLICT', /^--disk: duplicate 'limit'/],
  [{ disk: 'a=1G,limit=0,limit=0' }, 'ERR_ARG_CONFLICT', /duplicate 'limit'/],
  [{ disk: 'a=1G,' }, 'ERR_ARG_UNKNOWN', /a disk has no option ''/],
  [
    { disk: 'a=1G,limit=262143' },
    'ERR_ARG_VALUE',
    /disk: limit: '262143' is too small: at least 256K/,
  ],
  [{ limit: '255K' }, 'ERR_ARG_VALUE', /^--limit: '255K' is too small: at least 256K/],
  [{ disk: ['a=1G', 'a=2G'] }, 'ERR_ARG_CONFLICT', /duplicate disk 'a'/],
  [
    { disk: Array.from({ length: 257 }, (_, i) => `d${i}=1G`) },
    'ERR_ARG_VALUE',
    /'257' is too many disks: at most 256/,
  ],
  [{ limit: '-1' }, 'ERR_ARG_VALUE', /^--limit: '-1' is negative/],
  [{ codec: 'gzip' }, 'ERR_ARG_VALUE', /^--codec: 'gzip' is not a codec; use lz4 or lz4-native/],
  [{ port: 65536 }, 'ERR_ARG_VALUE', /^--port: '65536' is not a whole number from 0 to 65535/],
  [{ port: '0x10' }, 'ERR_ARG_VALUE', /^--port/],
  [{ port: 1.5 }, 'ERR_ARG_VALUE', /^--port: '1.5' is not a whole number/],
  [{ port: '' }, 'ERR_ARG_VALUE', /^--port: '' is empty/],
  [{ unix: '/s', 'socket-mode': '0o660' }, 'ERR_ARG_VALUE', /^--socket-mode: '0o660' is no/],
  [
    { unix: '/s', 'socket-mode': '0680' },
    'ERR_ARG_VALUE',
    /socket-mode: '0680' is not a valid mode: .*octal/,
  ],
  [{ unix: '/s', 'socket-mode': 60 }, 'ERR_ARG_VALUE', /socket-mode: '60' is not a valid mode/],
  [
    { unix: '/s', 'socket-mode': '0440' },
    'ERR_ARG_VALUE',
    /'0440' is not a valid mode: .*from "0600" to "0777"/,
  ],
  [{ unix: '/s', 'socket-mode': '1660' }, 'ERR_ARG_VALUE', /'1660' is not a valid mode/],
  [{ unix: '-', 'socket-mode': '660' }, 'ERR_ARG_CONFLICT', /^--socket-mode requires --unix PATH/],
  [{ port: 1, 'socket-mode': '660' }, 'ERR_ARG_CONFLICT', /requires --unix PATH/],
  [{ 'socket-mode': '660' }, 'ERR_ARG_CONFLICT', /requires --unix PATH/],
  [{ 'max-clients': 0 }, 'ERR_ARG_VALUE', /^--max-clients/],
  [{ 'no-control': 'yes' }, 'ERR_ARG_VALUE', /^--no-control: 'yes' is neither true nor false/],
  [{ exportname: 'b' }, 'ERR_ARG_UNKNOWN', /^--exportname: no disk 'b'/],
  [{ control: '/c', 'no-control': true }, 'ERR_ARG_CONFLICT', /--control .*no-control/],
];
for (const [document, code, message] of wrong)
  test(`${JSON.stringify(document).slice(0, 60)} is refused with ${code} ${message}`, () =>
    assert.throws(() => of(document), { code, message }));

test('a disk is not shared by default', () => {
  const isShared = (disk: string): boolean | undefined => of({ disk }).disks[0]?.isShared;
  assert.equal(isShared('a=1G'), false);
  assert.equal(isShared('a=1G,shared=off'), false);
  assert.equal(isShared('a=1G,shared=on'), true);
  assert.equal(isShared('a=1G,backing=x,shared=on'), true);
  assert.throws(() => isShared('a=1G,shared'), /shared: '' is neither on nor off/);
  assert.throws(() => isShared('a=1G,shared=yes'), /shared: 'yes' is neither on nor off/);
});

test('socket paths are made absolute, for clients in other working directories', () => {
  const { unix, control } = of({ unix: 'a/s', control: './c' });
  assert.equal(unix, resolve('a/s'));
  assert.deepEqual(control, { path: resolve('c') });
  assert.equal(of({ unix: '-' }).unix, '-');
  assert.equal(of({ unix: './@s' }).unix, resolve('@s'));
});

test('an abstract socket is refused', () => {
  for (const key of ['unix', 'control'])
    assert.throws(() => of({ [key]: '@s' }), {
      code: 'ERR_ARG_VALUE',
      message: new RegExp(`${key}: '@s' is an abstract socket, .* or ./@s for a file`),
    });
});

test('keep= is a number of seconds', () => {
  const keep = (text: string): unknown => of({ disk: `a=1G,keep=${text}` }).disks[0]?.keepSeconds;
  assert.deepEqual([keep('0'), keep('60'), keep('31536000')], [0, 60, 31_536_000]);
  assert.throws(() => keep(''), /keep: '' is empty/);
  for (const wrong of ['-1', '1.5', '1m', '31536001'])
    assert.throws(
      () => keep(wrong),
      /keep: '.*' is not a whole number of seconds from 0 to 31536000/,
      wrong,
    );
});

test('allow-uid= and allow-gid= are lists of numeric ids, and need a Unix socket', () => {
  const access = (text: string): unknown =>
    of({ unix: '/s', disk: `a=1G,${text}` }).disks[0]?.access;
  assert.deepEqual(access('allow-uid=0'), { uids: [0], gids: [] });
  assert.deepEqual(access('allow-uid=1000:4294967294,allow-gid=7'), {
    uids: [1000, 4_294_967_294],
    gids: [7],
  });
  assert.deepEqual(access('allow-gid=7'), { uids: [], gids: [7] });
  assert.equal(access('shared=on'), undefined);
  for (const wrong of ['', 'root', '-1', '1:', ':1', '1 ', '0x1', '4294967295', '1.5'])
    assert.throws(
      () => access(`allow-uid=${wrong}`),
      /allow-uid: '.*' is not a list of num/,
      wrong,
    );
  assert.throws(() => access('allow-uid=1,allow-uid=2'), /duplicate 'allow-uid'/);
  assert.throws(() => of({ port: 0, disk: 'a=1G,allow-gid=1' }), {
    code: 'ERR_ARG_CONFLICT',
    message: /no client could see 'a': allow-uid and allow-gid require a Unix socket/,
  });
  assert.equal(of({ disk: 'a=1G,allow-gid=1' }).unix, '-', 'the private socket');
});

test('TLS takes certificates or pre-shared keys, and nothing that would be ignored', () => {
  const tls = (document: object): unknown => of(document).tls;
  assert.equal(tls({}), null);
  assert.equal(tls({ tls: 'off' }), null);
  assert.deepEqual(tls({ tls: 'require', 'tls-certificates': 'd', 'tls-verify-peer': true }), {
    mode: 'require',
    source: { kind: 'x509', folder: resolve('d'), verifyPeer: true },
  });
  assert.deepEqual(tls({ tls: 'on', 'tls-certificates': '/d', 'tls-verify-peer': false }), {
    mode: 'on',
    source: { kind: 'x509', folder: '/d', verifyPeer: false },
  });
  assert.deepEqual(tls({ tls: 'on', 'tls-psk': '/k' }), {
    mode: 'on',
    source: { kind: 'psk', file: '/k' },
  });
  const refused: [object, string, RegExp][] = [
    [{ tls: 'yes' }, 'ERR_ARG_VALUE', /tls: 'yes' is not off, on or require/],
    [{ tls: 'require' }, 'ERR_ARG_CONFLICT', /tls require requires --tls-certificates DIR or/],
    [{ 'tls-psk': '/k' }, 'ERR_ARG_CONFLICT', /tls-psk has no effect without --tls=require/],
    [{ 'tls-certificates': '/d' }, 'ERR_ARG_CONFLICT', /tls-certificates has no effect without/],
    [
      { tls: 'off', 'tls-verify-peer': true },
      'ERR_ARG_CONFLICT',
      /tls-verify-peer has no effect without/,
    ],
    [
      { tls: 'on', 'tls-psk': '/k', 'tls-certificates': '/d' },
      'ERR_ARG_CONFLICT',
      /mutually exclusive/,
    ],
    [
      { tls: 'on', 'tls-psk': '/k', 'tls-verify-peer': true },
      'ERR_ARG_CONFLICT',
      /tls-verify-peer requires --tls-certificates/,
    ],
    [{ tls: 'on', 'tls-psk': '' }, 'ERR_ARG_VALUE', /tls-psk: '' is empty/],
  ];
  for (const [document, code, message] of refused)
    assert.throws(() => of(document), { code, message }, JSON.stringify(document));
});

test('a disk may have a backing, whose tables must fit in the limit', () => {
  const disksOf = (...disk: string[]): HostConfig['disks'] => of({ disk }).disks;
  assert.deepEqual(disksOf('a=1G,backing=/flash/a', 'b=1G')[0], {
    name: 'a',
    sizeBytes: G,
    limitBytes: 0,
    isShared: false,
    keepSeconds: null,
    rateBytes: 0,
    backing: '/flash/a',
  });
  assert.equal(disksOf('a=16G,backing=x,limit=17806K')[0]?.limitBytes, 17_806 * 1024);
  const refused = (disk: string[], why: RegExp): void => {
    assert.throws(() => disksOf(...disk), why, disk.join(' '));
  };
  refused(['a=16G,backing=x,limit=17805K'], /limit: '17.4M' is too small .*: at least 17806K/);
  refused(['a=1G,backing='], /backing: '' is empty/);
  refused(['a=1G,backing=x,backing=y'], /duplicate 'backing'/);
  refused(['a=1G,backing=x', 'b=1G,backing=x'], /two disks use the backing 'x'/);
  refused(['a=1G,backng=x'], /did you mean 'backing'/);
});

test('the smallest limit, and no limit', () => {
  assert.equal(of({ disk: 'a=1G,limit=256K' }).disks[0]?.limitBytes, 262_144);
  assert.equal(of({ disk: 'a=1G,limit=0', limit: '1M' }).disks[0]?.limitBytes, 0);
});

test('names and letters of settings are unique', () => {
  const words = hostSettings.flatMap(({ name, short }) =>
    short === undefined ? [name] : [name, short],
  );
  assert.equal(new Set(words).size, words.length);
});

test('workers: 1 to 64, and not with TLS or persist', () => {
  assert.deepEqual([of({ workers: 1 }).workers, of({ workers: '64' }).workers], [1, 64]);
  for (const workers of [0, 65]) assert.throws(() => of({ workers }), { code: 'ERR_ARG_VALUE' });
  const tls = { tls: 'on', 'tls-psk': '/k' };
  assert.equal(of({ ...tls, workers: 1 }).workers, 1);
  assert.throws(() => of({ ...tls, workers: 2 }), {
    code: 'ERR_ARG_CONFLICT',
    message: /workers and .*tls are mutually exclusive/,
  });
  assert.throws(() => of({ persist: '/run/images', workers: 2 }), {
    code: 'ERR_ARG_CONFLICT',
    message: /workers and .*persist are mutually exclusive/,
  });
});
