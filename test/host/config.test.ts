/** Settings: defaults, the same checks for flags and file, and errors that name their origin. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import {
  type HostConfig,
  hostSettings,
  resolveHostConfig,
  settingsOfJson,
} from '../../src/host/config.ts';

const G = 1024 ** 3;
const machine = { bytes: 16 * G, isGroupLimit: false };
const ofFile = (document: unknown): HostConfig =>
  resolveHostConfig(settingsOfJson('host.json', JSON.stringify(document)), machine);

test('without settings: one 1G disk, a private socket and the NBD port on loopback', () => {
  assert.deepEqual(ofFile({}), {
    disks: [{ name: 'swap0', sizeBytes: G, limitBytes: 0, isShared: false, keepSeconds: null }],
    totalLimitBytes: 8 * G,
    codec: 'lz4',
    unix: '-',
    socketMode: 0o600,
    tcp: { host: '127.0.0.1', port: 10809, orNext: true },
    control: 'default',
    pidFile: null,
    run: null,
    maxClients: 1024,
  });
});

test('every setting is applied', () => {
  assert.deepEqual(
    ofFile({
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
      control: '/c',
    }),
    {
      disks: [
        { name: 'b', sizeBytes: 2 * G, limitBytes: G / 2, isShared: false, keepSeconds: null },
        { name: 'a', sizeBytes: G, limitBytes: G / 4, isShared: false, keepSeconds: null },
      ],
      totalLimitBytes: 4 * G,
      codec: 'lz4-native',
      unix: '/s',
      socketMode: 0o660,
      tcp: { host: '::1', port: 0, orNext: false },
      control: { path: '/c' },
      pidFile: '/p',
      run: 'true',
      maxClients: 3,
    },
  );
});

test('listeners: the requested ones, or with --run only a private socket', () => {
  const listeners = (document: object): unknown[] => {
    const { unix, tcp, control } = ofFile(document);
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
  assert.equal(ofFile({ disk: 'a=1MB' }).disks[0]?.sizeBytes, 1_003_520);
  assert.equal(ofFile({ disk: 'a=8T' }).disks[0]?.sizeBytes, 8 * 1024 * G);
});

test('a disk has 40K to 8T in full pages, and a host 1 to 256 disks', () => {
  const sizeOf = (size: string): number | undefined =>
    ofFile({ disk: `a=${size}` }).disks[0]?.sizeBytes;
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
  assert.equal(ofFile({ disk: disks }).disks.length, 256);
  assert.throws(() => ofFile({ disk: [...disks, 'last=40K'] }), {
    code: 'ERR_ARG_VALUE',
    message: /'257' is too many disks: at most 256/,
  });
});

test('a port is 0 to 65535, and 1 to 65536 clients may connect', () => {
  for (const port of [0, 65535]) assert.equal(ofFile({ port }).tcp?.port, port);
  for (const clients of [1, 65536])
    assert.equal(ofFile({ 'max-clients': clients }).maxClients, clients);
  assert.throws(
    () => ofFile({ 'max-clients': 65537 }),
    /'65537' is not a whole number from 1 to 65536/,
  );
});

test('the default export can be any of the disks', () => {
  for (const exportname of ['a', 'b', 'c']) {
    const { disks } = ofFile({ disk: ['a=1G', 'b=1G', 'c=1G'], exportname });
    assert.equal(disks.length, 3);
    assert.equal(disks[0]?.name, exportname);
  }
});

test('a name has up to 64 characters', () => {
  const name = 'a'.repeat(64);
  assert.equal(ofFile({ disk: `${name}=1G` }).disks[0]?.name, name);
});

const wrong: readonly [unknown, string, RegExp][] = [
  [{ disk: 'a' }, 'ERR_ARG_VALUE', /^host.json: disk: 'a' is not of the form NAME=SIZE/],
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
  [{ disk: 'a=lots' }, 'ERR_ARG_VALUE', /^host.json: disk: 'lots' is not a valid size/],
  [{ disk: 'a=4K' }, 'ERR_ARG_VALUE', /'4K' is too small/],
  [{ disk: 'a=9T' }, 'ERR_ARG_VALUE', /'9T' is too large/],
  [{ disk: 'a=1G,limit=x' }, 'ERR_ARG_VALUE', /^host.json: disk: limit: 'x' is not a valid size/],
  [{ disk: 'a=1G,limit' }, 'ERR_ARG_VALUE', /limit: '' is empty/],
  [{ disk: 'a=1G,limt=1G' }, 'ERR_ARG_UNKNOWN', /has no option 'limt'; did you mean 'limit'/],
  [
    { disk: 'a=1G,limit=1M=2M' },
    'ERR_ARG_VALUE',
    /^host.json: disk: 'limit=1M=2M' is not of the form limit=VALUE/,
  ],
  [{ disk: 'a=1G,limit=1M,limit=2M' }, 'ERR_ARG_CONFLICT', /^host.json: disk: duplicate 'limit'/],
  [{ disk: 'a=1G,limit=0,limit=0' }, 'ERR_ARG_CONFLICT', /duplicate 'limit'/],
  [{ disk: 'a=1G,' }, 'ERR_ARG_UNKNOWN', /a disk has no option ''/],
  [
    { disk: 'a=1G,limit=262143' },
    'ERR_ARG_VALUE',
    /disk: limit: '262143' is too small: at least 256K/,
  ],
  [{ limit: '255K' }, 'ERR_ARG_VALUE', /^host.json: limit: '255K' is too small: at least 256K/],
  [{ disk: ['a=1G', 'a=2G'] }, 'ERR_ARG_CONFLICT', /duplicate disk 'a'/],
  [{ disk: [] }, 'ERR_ARG_VALUE', /contains no disk/],
  [
    { disk: [['a=1G']] },
    'ERR_ARG_VALUE',
    /^host.json: disk: .*neither a string nor a whole number/,
  ],
  [
    { disk: Array.from({ length: 257 }, (_, i) => `d${i}=1G`) },
    'ERR_ARG_VALUE',
    /'257' is too many disks: at most 256/,
  ],
  [{ limit: '-1' }, 'ERR_ARG_VALUE', /^host.json: limit: '-1' is negative/],
  [
    { codec: 'gzip' },
    'ERR_ARG_VALUE',
    /^host.json: codec: 'gzip' is not a codec; use lz4 or lz4-native/,
  ],
  [
    { port: 65536 },
    'ERR_ARG_VALUE',
    /^host.json: port: '65536' is not a whole number from 0 to 65535/,
  ],
  [{ port: '0x10' }, 'ERR_ARG_VALUE', /^host.json: port/],
  [{ port: 1.5 }, 'ERR_ARG_VALUE', /^host.json: port: '1.5' is neither a string nor/],
  [{ port: '' }, 'ERR_ARG_VALUE', /^host.json: port: '' is empty/],
  [
    { unix: '/s', 'socket-mode': '0o660' },
    'ERR_ARG_VALUE',
    /^host.json: socket-mode: '0o660' is no/,
  ],
  [
    { unix: '/s', 'socket-mode': '0680' },
    'ERR_ARG_VALUE',
    /socket-mode: '0680' is not a valid mode: .*octal/,
  ],
  [{ unix: '/s', 'socket-mode': 60 }, 'ERR_ARG_VALUE', /socket-mode: '60' is not a valid mode/],
  [
    { unix: '/s', 'socket-mode': '0440' },
    'ERR_ARG_VALUE',
    /'0440' is not a valid mode: .*from 0600 to 0777/,
  ],
  [{ unix: '/s', 'socket-mode': '1660' }, 'ERR_ARG_VALUE', /'1660' is not a valid mode/],
  [
    { unix: '-', 'socket-mode': '660' },
    'ERR_ARG_CONFLICT',
    /^host.json: socket-mode requires --unix PATH/,
  ],
  [{ port: 1, 'socket-mode': '660' }, 'ERR_ARG_CONFLICT', /requires --unix PATH/],
  [{ 'socket-mode': '660' }, 'ERR_ARG_CONFLICT', /requires --unix PATH/],
  [{ 'max-clients': 0 }, 'ERR_ARG_VALUE', /^host.json: max-clients/],
  [
    { 'no-control': 'yes' },
    'ERR_ARG_VALUE',
    /^host.json: no-control: '"yes"' is neither true nor false/,
  ],
  [{ unix: null }, 'ERR_ARG_VALUE', /^host.json: unix: 'null' is neither/],
  [{ exportname: 'b' }, 'ERR_ARG_UNKNOWN', /^host.json: exportname: no disk 'b'/],
  [{ control: '/c', 'no-control': true }, 'ERR_ARG_CONFLICT', /host.json: control .*no-control/],
  [{ prot: 1 }, 'ERR_ARG_UNKNOWN', /^host.json: unknown setting 'prot'; did you mean 'port'/],
  [{ __proto__: 1, toString: 1 }, 'ERR_ARG_UNKNOWN', /unknown setting 'toString'/],
  [[], 'ERR_ARG_VALUE', /^host.json: not a JSON object/],
  [null, 'ERR_ARG_VALUE', /^host.json: not a JSON object/],
];
for (const [document, code, message] of wrong)
  test(`${JSON.stringify(document).slice(0, 60)} is refused with ${code} ${message}`, () =>
    assert.throws(() => ofFile(document), { code, message }));

test('text other than JSON is refused, and the error names the file', () =>
  assert.throws(() => settingsOfJson('host.json', '{"port": }'), {
    code: 'ERR_ARG_VALUE',
    message: /^host.json: not JSON: /,
  }));

test('a duplicate key is refused', () =>
  assert.throws(() => settingsOfJson('host.json', '{"unix": "/a", "port": 1, "unix": "/b"}'), {
    code: 'ERR_ARG_CONFLICT',
    message: /^host.json: duplicate key 'unix'/,
  }));

test('a disk is not shared by default', () => {
  const isShared = (disk: string): boolean | undefined => ofFile({ disk }).disks[0]?.isShared;
  assert.equal(isShared('a=1G'), false);
  assert.equal(isShared('a=1G,shared=off'), false);
  assert.equal(isShared('a=1G,shared=on'), true);
  assert.equal(isShared('a=1G,backing=x,shared=on'), true);
  assert.throws(() => isShared('a=1G,shared'), /shared: '' is neither on nor off/);
  assert.throws(() => isShared('a=1G,shared=yes'), /shared: 'yes' is neither on nor off/);
});

test('socket paths are made absolute, for clients in other working directories', () => {
  const { unix, control } = ofFile({ unix: 'a/s', control: './c' });
  assert.equal(unix, resolve('a/s'));
  assert.deepEqual(control, { path: resolve('c') });
  assert.equal(ofFile({ unix: '-' }).unix, '-');
  assert.equal(ofFile({ unix: './@s' }).unix, resolve('@s'));
});

test('an abstract socket is refused', () => {
  for (const key of ['unix', 'control'])
    assert.throws(() => ofFile({ [key]: '@s' }), {
      code: 'ERR_ARG_VALUE',
      message: new RegExp(`${key}: '@s' is an abstract socket, .* or ./@s for a file`),
    });
});

test('keep= is a number of seconds', () => {
  const keep = (text: string): unknown =>
    ofFile({ disk: `a=1G,keep=${text}` }).disks[0]?.keepSeconds;
  assert.deepEqual([keep('0'), keep('60'), keep('31536000')], [0, 60, 31_536_000]);
  for (const wrong of ['', '-1', '1.5', '1m', '31536001'])
    assert.throws(
      () => keep(wrong),
      /keep: '.*' is not a whole number of seconds from 0 to 31536000/,
      wrong,
    );
});

test('a disk may have a backing, whose tables must fit in the limit', () => {
  const of = (...disk: string[]): HostConfig['disks'] => ofFile({ disk }).disks;
  assert.deepEqual(of('a=1G,backing=/flash/a', 'b=1G')[0], {
    name: 'a',
    sizeBytes: G,
    limitBytes: 0,
    isShared: false,
    keepSeconds: null,
    backing: '/flash/a',
  });
  assert.equal(of('a=16G,backing=x,limit=17802K')[0]?.limitBytes, 17_802 * 1024);
  const refused = (disk: string[], why: RegExp): void => {
    assert.throws(() => of(...disk), why, disk.join(' '));
  };
  refused(['a=16G,backing=x,limit=17801K'], /limit: '17.4M' is too small .*: at least 17802K/);
  refused(['a=1G,backing='], /backing: '' is empty/);
  refused(['a=1G,backing=x,backing=y'], /duplicate 'backing'/);
  refused(['a=1G,backing=x', 'b=1G,backing=x'], /two disks use the backing 'x'/);
  refused(['a=1G,backng=x'], /did you mean 'backing'/);
});

test('the smallest limit, and no limit', () => {
  assert.equal(ofFile({ disk: 'a=1G,limit=256K' }).disks[0]?.limitBytes, 262_144);
  assert.equal(ofFile({ disk: 'a=1G,limit=0', limit: '1M' }).disks[0]?.limitBytes, 0);
});

test('names and letters of settings are unique', () => {
  const words = hostSettings.flatMap(({ name, short }) =>
    short === undefined ? [name] : [name, short],
  );
  assert.equal(new Set(words).size, words.length);
});
