/**
 * Debian's kernel swaps on the vhost-user socket of our host, with each of its discard modes, and while the host is killed: every
 * page is read back unchanged.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Artefacts, guestTools, prepareGuest } from '../support/fixtures/guest-artefacts.ts';
import {
  type Discard,
  type GuestOptions,
  type GuestResult,
  runGuest,
} from '../support/fixtures/guest-run.ts';
import { ownServerWithSocket, type RunningServer } from '../support/fixtures/guest-servers.ts';
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
    180_000,
  );

const KILLS = 20;

peerTest(
  'a guest continues when its host is killed or stopped twenty times and another one adopts the pages',
  guestTools,
  async () => {
    const images = mkdtempSync('/dev/shm/vhost-guest-');
    let kills = 0;
    let killing = Promise.resolve();
    let isSwapping = true;
    const killAgainAndAgain = async (server: RunningServer): Promise<void> => {
      while (isSwapping && kills < KILLS) {
        await sleep(50 * (kills % 11)); // at different moments
        // Each fourth one is a clean stop, as for an upgrade.
        await server.restart?.(kills % 4 === 3 ? 'SIGTERM' : 'SIGKILL');
        kills++;
        // The next kill finds the guest connected.
        while (isSwapping && ((await server.figures?.())?.connections ?? 0) === 0) await sleep(20);
      }
    };
    try {
      const options: GuestOptions = {
        ...{
          discard: 'pages',
          ramMib: 80,
          hogMib: 120,
          seed: 9,
          settleMs: 100,
          timeoutMs: 280_000,
        },
        isSampled: false,
        atBoundary: async (name, _socketPath, server) => {
          if (name === 'swapon') killing = killAgainAndAgain(server);
          else if (name === 'gone') {
            isSwapping = false;
            await killing;
          }
        },
      };
      const server = ownServerWithSocket('512M', 80, ['--persist', images]);
      const result = await runGuest(server, artefacts, options);
      checkPages(result);
      assert.equal(kills, KILLS, 'all kills took place before the hog ended');
    } finally {
      isSwapping = false;
      await killing.catch(() => undefined); // otherwise a host could start after the run
      rmSync(images, { recursive: true, force: true });
    }
  },
  300_000,
);
