/**
 * A client of the tmem socket, for tests that kill it or run it as another user.
 *
 *   node tmem-child.js SOCKET KIND UUID [put]     prints the result of a get of page 1, then waits
 */
import { TmemClient } from '../../src/tmem/server/client.ts';
import { noisePage } from '../support/fixtures/pages.ts';

const [, , socket = '', kind = '', uuid = '', verb = 'get'] = process.argv;
const client = await TmemClient.connect(socket);
const persistent = kind === 'persistent';
const pool = await client.newPool({
  persistent,
  ...(uuid === '' ? {} : { uuid }),
  ...(persistent && uuid !== '' ? { leaseSeconds: 3600 } : {}),
});
const oid = new Uint32Array(6);
const into = new Uint8Array(4096);
if (verb === 'put') for (let i = 0; i < 64; i++) await pool.put(oid, i, noisePage(i));
const result = await pool.get(oid, 1, into);
const isRight = Buffer.compare(into, noisePage(1)) === 0;
process.stdout.write(`${JSON.stringify({ result, isRight })}\n`);
setInterval(() => {}, 1000);
