/** What the system says about TCP addresses, in words that help. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemError, tcpListenError } from '../../src/os/system-error.ts';

const cases: readonly [string, number, string, RegExp][] = [
  ['EADDRINUSE', -98, 'ERR_IO_IN_USE', /^port 80 on h is in use; choose another with --port, or/],
  [
    'EACCES',
    -13,
    'ERR_IO_SYSTEM',
    /^cannot listen on h port 80: permission denied \(EACCES\); ports below 1024 are for root/,
  ],
  ['EADDRNOTAVAIL', -99, 'ERR_IO_SYSTEM', /\(EADDRNOTAVAIL\); choose an address that this machine/],
  ['ENOTFOUND', -3008, 'ERR_IO_SYSTEM', /\(ENOTFOUND\); choose an address that this machine has/],
  ['EMFILE', -24, 'ERR_IO_SYSTEM', /\(EMFILE\); see --ipaddr and --port$/],
];
for (const [errno, number, code, message] of cases)
  test(`${errno} of a TCP address is ${code} ${message}`, () => {
    const cause = Object.assign(new Error('x'), { code: errno, errno: number });
    const error = tcpListenError('h', 80, cause);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.equal(error.cause, cause);
  });

test('an error that is none of the system keeps its text', () =>
  assert.equal(systemError('do it', new Error('because')).message, 'cannot do it: because'));
