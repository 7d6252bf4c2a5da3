/**
 * A Linux guest that swaps on nbdkit, and on our host over NBD and over vhost-user: time of the whole run and of its phases,
 * processor time of the server, its resident memory at each phase boundary. Servers alternate within a round, so that a slow
 * minute affects all of them; figures are medians over the rounds. Everything is pinned to one core, as on a host with a
 * busy guest.
 */
import { guestTools, prepareGuest } from '../test/support/fixtures/guest-artefacts.ts';
import { type GuestResult, type Point, runGuest } from '../test/support/fixtures/guest-run.ts';
import {
  nbdkitServer,
  ownServer,
  ownServerWithSocket,
} from '../test/support/fixtures/guest-servers.ts';
import { have } from '../test/support/fixtures/processes.ts';
import { type BenchOptions, median, medianRatio, ofRounds, type Table } from './measure.ts';

const CPU = 1;
/** A server takes 60 to 130 s per round. */
const ROUNDS_MAX = 3;
const shape = { discard: 'pages', ramMib: 128, hogMib: 300, seed: 1 } as const;
const timed = ['fill', 'seq', 'rewrite', 'rand', 'kept'];
const weighed = ['booted', 'fill', 'seq', 'rand', 'half', 'gone', 'discarded'];

export async function run(options: BenchOptions): Promise<readonly Table[]> {
  const title = `guest: ${shape.hogMib} MiB in ${shape.ramMib} MiB of RAM, discard=${shape.discard}`;
  const columns = [
    'server',
    'run s',
    ...timed.map((n) => `${n} s`),
    'server s',
    'of zstd',
    'of NBD',
    'wrong',
  ];
  const missing = [...guestTools, 'nbdkit', 'taskset'].filter((tool) => !have(tool));
  if (missing.length > 0)
    return [{ title, columns, rows: [], notes: [`Not measured: ${missing.join(', ')} missing.`] }];
  const servers = [
    nbdkitServer('512M', 'zstd'),
    nbdkitServer('512M', 'sparse'),
    ownServer('512M'),
    ownServerWithSocket('512M', shape.ramMib),
  ];
  const overNbd = 2;
  const rounds = Math.min(options.rounds, ROUNDS_MAX);
  const artefacts = await prepareGuest();
  const runs = servers.map((): GuestResult[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, server] of servers.entries()) {
      const settings = { ...shape, cpu: CPU, asksFigures: false, timeoutMs: 300_000 };
      runs[i]?.push(await runGuest(server, artefacts, settings));
    }

  const each = (of: readonly GuestResult[], name: string, figure: (p: Point) => number): number[] =>
    of.map((r) => figure(r.points.find((p) => p.name === name)!));
  const at = (of: readonly GuestResult[], name: string, figure: (p: Point) => number): number =>
    median(each(of, name, figure));
  const ofServer = runs.map((of) => each(of, 'gone', (p) => p.serverSeconds));
  const serverSeconds = ofServer.map(median);
  return [
    {
      title,
      columns,
      rows: runs.map((of, i) => [
        ...[of[0]!.server, median(of.map((r) => r.seconds))],
        ...timed.map((name) => at(of, name, (p) => p.seconds)),
        ...[serverSeconds[i]!, serverSeconds[i]! / serverSeconds[0]!],
        medianRatio(ofServer[i]!, ofServer[overNbd]!),
        Math.max(...of.map((r) => r.points.find((p) => p.name === 'kept')!.errors)),
      ]),
      notes: [
        `${artefacts.kernelName} in QEMU (TCG), server and guest on one core, 512 MiB disk. ${ofRounds(rounds)}; servers in turn. "server s": processor time of the server up to the end of the program; "of NBD": median of its ratios to frontswap over NBD in the same round.`,
      ],
    },
    {
      title: 'guest: resident MiB of the server at each boundary',
      columns: ['server', ...weighed],
      rows: runs.map((of) => [
        of[0]!.server,
        ...weighed.map((name) => Math.round(at(of, name, (p) => p.residentBytes) / 2 ** 20)),
      ]),
      notes: [
        'Over vhost-user the figure includes the pages of guest memory that the server has accessed: the guest has them anyway.',
      ],
    },
  ];
}
