/** Errors of listening on TCP addresses, with advice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemError, tcpListenError } from '../../src/os/system-error.ts';

const cases: readonly [string, number, string, RegExp][] = [
  [
    'EADDRINUSE',
    -98,
    'ERR_IO_IN_USE',
    /^port 80 on h is in use; choose another one with --port, or/,
  ],
  [
    'EACCES',
    -13,
    'ERR_IO_SYSTEM',
    /^cannot listen on h port 80: permission denied \(EACCES\); ports below 1024 require root/,
  ],
  ['EADDRNOTAVAIL', -99, 'ERR_IO_SYSTEM', /\(EADDRNOTAVAIL\); choose an address of this machine/],
  ['ENOTFOUND', -3008, 'ERR_IO_SYSTEM', /\(ENOTFOUND\); choose an address of this machine with/],
  ['EMFILE', -24, 'ERR_IO_SYSTEM', /\(EMFILE\); see --ipaddr and --port$/],
];
for (const [errno, number, code, message] of cases)
  test(`${errno} for a TCP address is ${code} ${message}`, () => {
    const cause = Object.assign(new Error('x'), { code: errno, errno: number });
    const error = tcpListenError('h', 80, cause);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.equal(error.cause, cause);
  });

test('an error that is not a system error keeps its message', () =>
  assert.equal(systemError('do it', new Error('because')).message, 'cannot do it: because'));
