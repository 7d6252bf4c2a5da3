/**
 * Debian's kernel swaps on our host while the host is ended twenty times, at any moment, and started again with the same
 * images: every page is read back unchanged, and the guest sees no error.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import { type Artefacts, guestTools, prepareGuest } from '../support/fixtures/guest-artefacts.ts';
import { type GuestOptions, runGuest } from '../support/fixtures/guest-run.ts';
import {
  type GuestServer,
  ownServer,
  ownServerWithSocket,
  type RunningServer,
} from '../support/fixtures/guest-servers.ts';
import type { DiskFigures } from '../support/fixtures/own-host.ts';
import { have, peerTest } from '../support/fixtures/processes.ts';
import { tableOf } from './report.ts';

const ENDS = 20;
/** QEMU tries to connect once a second. */
const reconnectMsMax = 60_000;
const ramMib = 80;

let artefacts: Artefacts;
before(async () => {
  if (guestTools.every(have)) artefacts = await prepareGuest();
});

async function figuresOf(server: RunningServer): Promise<DiskFigures> {
  const figures = await server.figures?.();
  assert(figures !== undefined, 'the host reports figures');
  return figures;
}

/** Waits until the guest has the disk of a new host open. */
async function reconnected(server: RunningServer, end: number): Promise<void> {
  const deadline = performance.now() + reconnectMsMax;
  while ((await figuresOf(server)).connections === 0) {
    assert(performance.now() < deadline, `the guest did not reconnect after end ${end}`);
    await sleep(20);
  }
}

const modes: readonly [string, (images: string) => GuestServer][] = [
  ['NBD', (images) => ownServer('512M', ['--persist', images])],
  ['vhost-user', (images) => ownServerWithSocket('512M', ramMib, ['--persist', images])],
];

for (const [protocol, serverFor] of modes)
  peerTest(
    `a guest over ${protocol} gets every page back although its host ends twenty times`,
    guestTools,
    async () => {
      const images = mkdtempSync('/dev/shm/guest-ends-');
      const prng = new Prng(20);
      let ends = 0;
      let whileServing = 0;
      const endAgainAndAgain = async (server: RunningServer): Promise<void> => {
        while (ends < ENDS) {
          await sleep(prng.below(700)); // from the first message of the guest to a host that is busy
          const { reads, writes, failedReads } = await figuresOf(server);
          assert.equal(failedReads, 0);
          if (reads + writes > 0) whileServing++;
          // Each fourth end is clean, as for an upgrade.
          await server.restart?.(ends % 4 === 3 ? 'SIGTERM' : 'SIGKILL');
          ends++;
          assert(
            (await figuresOf(server)).adoptedPages > 0,
            `no page was adopted after end ${ends}`,
          );
          await reconnected(server, ends);
        }
      };
      try {
        const options: GuestOptions = {
          ...{ discard: 'pages', ramMib, hogMib: 100, seed: 9, settleMs: 100, timeoutMs: 800_000 },
          whileSwapping: endAgainAndAgain,
        };
        const result = await runGuest(serverFor(images), artefacts, options);
        process.stdout.write(
          `${tableOf(result)}\n${whileServing} of ${ends} hosts had served requests\n`,
        );
        assert.deepEqual(result.complaints, []);
        assert.equal(result.hogStatus, 0);
        assert.doesNotMatch(result.console, /(I\/O|Read-|Write-) ?error/);
        assert.equal(result.points.at(-1)?.name, 'discarded');
        assert.equal(ends, ENDS);
        assert(whileServing > ENDS / 2, `${whileServing} hosts had served requests`);
      } finally {
        rmSync(images, { recursive: true, force: true });
      }
    },
    900_000,
  );
