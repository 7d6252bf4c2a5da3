/** The libnbd client in Python with the host; the checks are in libnbd_checks.py. */
import { join } from 'node:path';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, peerTest, root } from '../support/fixtures/processes.ts';

const script = join(root, 'test', 'interop', 'libnbd_checks.py');
const tools = ['/usr/bin/python3', '/usr/lib/python3/dist-packages/nbd.py'];
const seed = process.env['SEED'] ?? String(Math.floor(Math.random() * 2 ** 31));

const checks: Readonly<Record<string, string>> = {
  flags: 'offers every command and its block sizes',
  simple_replies: 'serves a client without structured replies',
  structured_replies: 'sends holes as holes, and one chunk with DF',
  block_status: 'maps data and holes page by page',
  trim: 'frees trimmed pages and no adjacent bytes',
  zero: 'writes zeroes at any offset, with FUA, NO_HOLE and FAST_ZERO',
  cache_and_flush: 'answers CACHE and FLUSH',
  several_connections: 'shows every connection the writes that another one flushed',
  in_flight: 'serves 64 commands in flight on one connection',
  errors: 'answers invalid requests with an error and continues',
  write_too_long: 'refuses a write above the maximum without changing the disk',
  names: 'lists, describes and refuses exports by name',
  model: 'matches a byte array under random requests',
};

for (const [check, behaviour] of Object.entries(checks))
  peerTest(`libnbd finds that the host ${behaviour}`, tools, async () => {
    await using host = await OwnHost.start();
    try {
      await must('/usr/bin/python3', [script, check, host.uri(), seed], { timeoutMs: 45_000 });
    } catch (error) {
      throw new Error(`SEED=${seed}`, { cause: error });
    }
  });
