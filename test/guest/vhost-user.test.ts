/**
 * Debian's kernel swaps on the vhost-user socket of our host, with each of its discard modes: every page is read back
 * unchanged.
 */
import assert from 'node:assert/strict';
import { before } from 'node:test';
import { type Artefacts, guestTools, prepareGuest } from '../support/fixtures/guest-artefacts.ts';
import {
  type Discard,
  type GuestOptions,
  type GuestResult,
  runGuest,
} from '../support/fixtures/guest-run.ts';
import { ownServerWithSocket } from '../support/fixtures/guest-servers.ts';
import { have, peerTest } from '../support/fixtures/processes.ts';
import { tableOf } from './report.ts';

let artefacts: Artefacts;
before(async () => {
  if (guestTools.every(have)) artefacts = await prepareGuest();
});

const pointOf = (result: GuestResult, name: string): GuestResult['points'][number] => {
  const found = result.points.find((point) => point.name === name);
  assert(found !== undefined, `no boundary '${name}'`);
  return found;
};

function checkPages(result: GuestResult): void {
  process.stdout.write(`${tableOf(result)}\n`);
  assert.deepEqual(result.complaints, []);
  assert.equal(result.hogStatus, 0);
  assert.equal(result.points.at(-1)?.name, 'discarded');
  const hogPages = result.options.hogMib * 256;
  assert(pointOf(result, 'fill').pswpout > hogPages / 2, 'most pages were swapped out');
  assert(pointOf(result, 'rand').pswpin > hogPages, 'pages were swapped in for verification');
}

const stored = (result: GuestResult, point: string): number =>
  pointOf(result, point).storedPages ?? -1;

for (const discard of ['none', 'once', 'pages'] as readonly Discard[])
  peerTest(
    `a kernel that swaps over vhost-user with discard=${discard} gets every page back`,
    guestTools,
    async () => {
      const options: GuestOptions = {
        ...{ discard, ramMib: 80, hogMib: 100, seed: 7, settleMs: 300 },
        // Two processors: QEMU and the guest use a queue for each.
        processors: discard === 'pages' ? 2 : 1,
      };
      const result = await runGuest(ownServerWithSocket('512M', 80), artefacts, options);
      checkPages(result);
      if (discard === 'pages')
        assert(stored(result, 'gone') < stored(result, 'rand') / 4, 'freed slots were discarded');
      assert.equal(stored(result, 'discarded'), 0, 'BLKDISCARD leaves nothing stored');
    },
    360_000,
  );
