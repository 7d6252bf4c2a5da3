/**
 * Debian's kernel swaps on our host, with each of its discard modes: every page is read back unchanged, and the host's
 * memory never exceeds its own count.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { before } from 'node:test';
import { type Artefacts, guestTools, prepareGuest } from '../support/fixtures/guest-artefacts.ts';
import {
  type Discard,
  type GuestOptions,
  type GuestResult,
  runGuest,
} from '../support/fixtures/guest-run.ts';
import { exportName, ownServer, ownServerByVhostUser } from '../support/fixtures/guest-servers.ts';
import { type Finished, have, peerTest, run } from '../support/fixtures/processes.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { tableOf } from './report.ts';

/** Resident memory above the idle state may exceed the reported usage by this factor. */
const residentFactorMax = 1.15;
/**
 * The heap of a runtime changes between two samples with nothing stored: by up to 0.9 MiB when idle, and by up to 2.4 MiB at the
 * first requests. The samples above 2 MiB had less than 1 MiB stored.
 */
const runtimeNoiseBytes = 6 * 2 ** 20;

/**
 * Growth by compiled code and the runtime's heap in the first requests, with nothing stored: 23 to 33 MiB, of which V8
 * later returns all but 2 to 6 MiB, which is what may be left when the guest has gone.
 */
const warmBytesMax = 48 * 2 ** 20;
const leftBytesMax = 16 * 2 ** 20;

const { signals } = constants;

const boundaries = [
  ...['booted', 'swapon', 'fill', 'seq', 'rewrite', 'rand', 'half', 'kept', 'gone', 'discarded'],
];
const modes: readonly { discard: Discard; ramMib: number; hogMib: number }[] = [
  { discard: 'none', ramMib: 80, hogMib: 100 },
  { discard: 'once', ramMib: 80, hogMib: 100 },
  { discard: 'pages', ramMib: 112, hogMib: 180 },
];

let artefacts: Artefacts;
before(async () => {
  if (guestTools.every(have)) artefacts = await prepareGuest();
});

const pointOf = (result: GuestResult, name: string): GuestResult['points'][number] => {
  const found = result.points.find((p) => p.name === name);
  assert(found !== undefined, `no boundary '${name}'`);
  return found;
};

async function swapOnOurs(options: GuestOptions, disk = '512M'): Promise<GuestResult> {
  const result = await runGuest(ownServer(disk), artefacts, options);
  process.stdout.write(`${tableOf(result)}\n`);
  return result;
}

function checkPages(result: GuestResult): void {
  const hogPages = result.options.hogMib * 256;
  assert.deepEqual(result.complaints, []);
  assert.equal(result.hogStatus, 0);
  assert.deepEqual(
    result.points.map((p) => p.name),
    boundaries,
  );
  // the hog is larger than the guest's memory, so most pages are swapped out, and swapped in for verification
  assert(
    pointOf(result, 'fill').pswpout > hogPages / 2,
    'most pages were swapped out during the fill',
  );
  assert(pointOf(result, 'rand').pswpin > hogPages, 'pages were swapped in for verification');
}

function checkMemory(result: GuestResult): void {
  const { startBytes, idleBytes, leftBytes, samples } = result;
  assert(idleBytes - startBytes < warmBytesMax, 'freed pages are released, except for warm code');
  assert(leftBytes - startBytes < leftBytesMax, 'the pages of a guest that has gone are released');
  assert(samples.length > 50, 'memory was sampled throughout');
  const above = samples
    .map((s) => ({
      ...s,
      boundBytes: idleBytes + runtimeNoiseBytes + residentFactorMax * (s.usedBytes ?? 0),
    }))
    .filter((s) => s.residentBytes > s.boundBytes)
    .map((s) => ({ ...s, overMib: (s.residentBytes - s.boundBytes) / 2 ** 20 }))
    .sort((a, b) => b.overMib - a.overMib);
  assert.deepEqual(
    above.slice(0, 3),
    [],
    `${above.length} of ${samples.length} samples above idle + ${residentFactorMax} x used + noise`,
  );
}

for (const { discard, ramMib, hogMib } of modes) {
  const tools = [...guestTools, 'qemu-img', 'qemu-io'];
  const name = `a kernel that swaps with discard=${discard} gets every page back`;
  peerTest(
    name,
    tools,
    async () => {
      const result = await swapOnOurs({
        discard,
        ramMib,
        hogMib,
        seed: 1,
        settleMs: 300,
        isWarm: true,
      });
      checkPages(result);
      const stored = (point: string): number => pointOf(result, point).storedPages ?? -1;
      if (discard === 'pages')
        assert(stored('gone') < stored('rand') / 4, 'freed slots were discarded');
      else assert(stored('gone') >= stored('half'), 'without discard the host frees nothing');
      assert.equal(stored('discarded'), 0, 'BLKDISCARD of the whole disk leaves nothing stored');
      checkMemory(result);
    },
    360_000,
  );
}

peerTest(
  'a kernel that swaps through the vhost-user socket of `attach` gets every page back',
  [...guestTools, 'qemu-storage-daemon'],
  async () => {
    const options: GuestOptions = {
      ...{ discard: 'pages', ramMib: 80, hogMib: 100, seed: 4, settleMs: 300 },
    };
    const server = ownServerByVhostUser('512M', options.ramMib);
    const result = await runGuest(server, artefacts, options);
    process.stdout.write(`${tableOf(result)}\n`);
    checkPages(result);
    const stored = (point: string): number => pointOf(result, point).storedPages ?? -1;
    assert(stored('gone') < stored('rand') / 4, 'freed slots were discarded');
    assert.equal(stored('discarded'), 0, 'BLKDISCARD of the whole disk leaves nothing stored');
  },
  360_000,
);

/**
 * Overwrites up to `count` pages of the hog on the server. The tag at their start identifies them: damaged pages of init
 * would end the guest.
 */
async function spoilPages(socketPath: string, seed: number, count: number): Promise<number> {
  using client = await RawClient.open(socketPath, exportName);
  const chunkBytes = 2 ** 20;
  let spoiled = 0;
  for (let offset = 0; offset < 512 * chunkBytes && spoiled < count; offset += chunkBytes) {
    const chunk = await client.pread(offset, chunkBytes);
    for (let at = 0; at < chunkBytes && spoiled < count; at += 16 * 4096) {
      const isOfHog = chunk.readUInt32LE(at + 12) === seed && chunk.readUInt32LE(at + 8) === 0;
      if (!isOfHog) continue;
      assert.equal(await client.write(offset + at, Buffer.alloc(4096, 0xee)), 0);
      spoiled++;
    }
  }
  return spoiled;
}

peerTest(
  "a page that is changed behind the guest's back is reported by the guest",
  guestTools,
  async () => {
    const seed = 0x5eed_2010;
    let spoiled = 0;
    const options: GuestOptions = {
      ...{ discard: 'pages', ramMib: 80, hogMib: 80, seed, settleMs: 100 },
      atBoundary: async (name, socketPath) => {
        if (name === 'fill') spoiled = await spoilPages(socketPath, seed, 64);
      },
    };
    // Shared, so that this process can write while the guest is connected.
    const result = await swapOnOurs(options, '512M,shared=on');
    assert.equal(spoiled, 64);
    assert.equal(result.hogStatus, 1);
    assert.match(result.complaints[0] ?? '', /^@wrong page=\d+ version=0 kind=\d at=0 /);
    const { errors } = pointOf(result, 'seq');
    assert(
      errors > 8 && errors <= spoiled,
      `${errors} of ${spoiled} overwritten pages were detected`,
    );
  },
  360_000,
);

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  peerTest(
    `a guest whose host was ended by ${signal} and started again gets read errors, never zeros`,
    guestTools,
    async () => {
      const result = await swapOnOurs({
        ...{ discard: 'none', ramMib: 80, hogMib: 100, seed: 1, settleMs: 100 },
        endsWithHog: true,
        reconnectSeconds: 2,
        atBoundary: async (name, _socketPath, server) => {
          if (name === 'fill') await server.restart?.(signal);
        },
      });
      assert.deepEqual(result.complaints, [], 'every page that was read has its written contents');
      assert.equal(result.hogStatus, -signals.SIGBUS);
      assert.match(result.console, /Read-error on swap-device/);
    },
    360_000,
  );
}

peerTest(
  'a second guest is refused the disk of the first',
  guestTools,
  async () => {
    let refusal: Finished | undefined;
    const result = await swapOnOurs({
      ...{ discard: 'pages', ramMib: 80, hogMib: 80, seed: 2, settleMs: 100 },
      atBoundary: async (name, _socketPath, server) => {
        if (name !== 'fill') return;
        const attached = (await server.qemuArguments?.()) ?? [];
        const machine = ['-nodefaults', '-display', 'none', '-S', '-m', '32M'];
        refusal = await run('qemu-system-x86_64', [...machine, ...attached]);
      },
    });
    assert.equal(refusal?.status, 1);
    assert.match(refusal?.stderr ?? '', /'swap0' is in use by process \d+ \(qemu-system-x86\)/);
    checkPages(result);
  },
  360_000,
);

peerTest(
  'a guest whose disk is full gets errors and continues, and the host has warned before',
  guestTools,
  async () => {
    let log = (): string => '';
    const options: GuestOptions = {
      ...{ discard: 'pages', ramMib: 80, hogMib: 100, seed: 3, settleMs: 100 },
      // A paused guest would print nothing.
      endsAt: /Write-error on swap-device/,
      atBoundary: async (name, _socketPath, server) => {
        if (name === 'booted') log = server.log ?? log;
      },
    };
    await swapOnOurs(options, '512M,limit=8M');
    assert.match(log(), /disk swap0: 9\d % of its limit of 8M is used.*refuses writes/s);
  },
  360_000,
);
