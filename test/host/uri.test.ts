/** Parsing and formatting of NBD URIs, with the cases of the protocol's URI page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatUri, type NbdTarget, parseUri } from '../../src/host/uri.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const tcp = (host: string, port: number, exportName: string): NbdTarget => ({
  address: { kind: 'tcp', host, port },
  exportName,
});
const unix = (path: string, exportName: string): NbdTarget => ({
  address: { kind: 'unix', path },
  exportName,
});

const pairs: readonly [string, NbdTarget][] = [
  ['nbd://example.com:10809/disk', tcp('example.com', 10809, 'disk')],
  ['nbd+unix:///disk?socket=sock', unix('sock', 'disk')],
  ['nbd+unix:///swap0?socket=/run/frontswap/nbd.sock', unix('/run/frontswap/nbd.sock', 'swap0')],
  ['nbd://127.0.0.1:10810/', tcp('127.0.0.1', 10810, '')],
  ['nbd://[::1]:10809/a', tcp('::1', 10809, 'a')],
  ['nbd://example.com:1/hello%20world', tcp('example.com', 1, 'hello world')],
  ['nbd+unix:///?socket=/a%20b%26c%2Bd', unix('/a b&c+d', '')],
  ['nbd://example.com:1/..', tcp('example.com', 1, '..')],
];
for (const [text, target] of pairs)
  test(`${text} is parsed and formatted`, () => {
    assert.deepEqual(parseUri('--uri', text), target);
    assert.equal(formatUri(target.address, target.exportName), text);
  });

test('other forms that the URI page allows are parsed', () => {
  assert.deepEqual(parseUri('--uri', 'nbd://example.com'), tcp('example.com', 10809, ''));
  assert.deepEqual(
    parseUri('--uri', 'nbd://example.com//disk'),
    tcp('example.com', 10809, '/disk'),
  );
  assert.deepEqual(parseUri('--uri', 'nbd+unix:///d?x-a=1&socket=a+b'), unix('a+b', 'd'));
});

test('URIs with TLS keep their parameters', () => {
  const tls = { type: 'psk', hostname: 'a b', certificates: '/x/y' } as const;
  for (const target of [
    { address: { ...unix('/s', 'd').address, tls: { type: 'x509' } }, exportName: 'd' },
    { address: { ...unix('/s', 'd').address, tls }, exportName: 'd' },
    { address: { ...tcp('h', 1, 'd').address, tls: { type: 'psk' } }, exportName: 'd' },
    { address: { ...tcp('h', 1, 'd').address, tls }, exportName: 'd' },
  ] as const)
    assert.deepEqual(parseUri('x', formatUri(target.address, 'd')), target);
  assert.equal(
    formatUri({ kind: 'unix', path: '/s', tls: { type: 'psk' } }, 'd'),
    'nbds+unix:///d?socket=/s&tls-type=psk',
  );
  assert.equal(
    formatUri({ kind: 'tcp', host: 'h', port: 1, tls: { type: 'x509' } }, 'd'),
    'nbds://h:1/d',
  );
  const { address } = parseUri('x', 'nbds://h/d?tls-psk-file=/k&tls-verify-peer=true&x-a=1');
  assert.deepEqual(address, { kind: 'tcp', host: 'h', port: 10809, tls: { type: 'x509' } });
});

const refused = [
  ['', 'is not a URI'],
  ['swap0', 'is not a URI'],
  ['http://example.com/', 'is not an NBD URI'],
  ['nbds+unix:///swap0', 'has no socket'],
  ['nbds://h/a?tls-type=anon', "tls-type 'anon' is neither x509 nor psk"],
  ['nbds://h/a?tls-other=1', "unknown parameter 'tls-other'"],
  ['nbd+unix:///swap0', 'has no socket'],
  ['nbd+unix:///swap0?socket=', 'has no socket'],
  ['nbd:///swap0', 'has no host'],
  ['nbd://h/a?tls-type=psk', "unknown parameter 'tls-type'"],
  ['nbd+unix:///a?socket=%zz', 'is not percent-encoded'],
] as const;
for (const [text, why] of refused)
  test(`'${text}': ${why}`, () =>
    assert.throws(() => parseUri('--uri', text), {
      code: 'ERR_ARG_VALUE',
      message: new RegExp(`^--uri: .*${why}`),
    }));

test('any name and path survives formatting and parsing', () => {
  const word = fc.string({ unit: 'grapheme', minLength: 1 });
  fc.assert(
    fc.property(word, word, (path, name) => {
      const target = unix(path, name);
      assert.deepEqual(parseUri('x', formatUri(target.address, name)), target);
    }),
    { seed },
  );
});
