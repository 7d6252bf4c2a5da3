/** `frontswap stop`: stops a running host cleanly, and waits until it has ended. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwapError } from '../base/errors.ts';
import { askStop } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, findHosts, hostWithDisk, onlyHost } from './disks.ts';

/** How long to wait for the host to end, and how often to check, ms. */
const WAIT_MS_MAX = 30_000;
const POLL_MS = 50;

export const stopCommand: Command = {
  name: 'stop',
  group: 'disk',
  summary: 'stop a host cleanly',
  usage: 'stop [OPTIONS] [NAME]',
  examples: [
    { line: 'frontswap stop', what: 'stop the host, unless guests would lose pages' },
    { line: 'frontswap stop vm1', what: 'of several hosts, stop the one that serves disk vm1' },
    { line: 'frontswap stop --force', what: 'stop it even if guests lose their pages' },
  ],
  options: [{ name: 'force', help: 'stop even if clients lose their pages' }, controlOption],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'NAME is the name of a disk: the host that serves it stops, with all its disks. NAME is required if several hosts run.',
    'While clients have pages on the host, the first request is refused, and the error names the disks; a second request within a minute is accepted. The command waits until the host has ended, if both are in the same PID namespace.',
    'Exit status: 0 stopped, 1 in use or failed, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const name = args.positionals[0];
    const { control } =
      name === undefined
        ? await onlyHost(args, world, true)
        : hostWithDisk(name, await findHosts('stop', args, world));
    const pid = await askStop(control, flag(args, 'force'));
    await ended(pid);
    if (flag(args, 'json')) world.stdout.write(`${JSON.stringify({ schemaVersion: 1, pid })}\n`);
    else if (!flag(args, 'quiet')) world.stdout.write(`host ${pid}: stopped\n`);
    return Exit.ok;
  },
};

async function ended(pid: number): Promise<void> {
  for (let waited = 0; waited < WAIT_MS_MAX; waited += POLL_MS) {
    if (!isAlive(pid)) return;
    await sleep(POLL_MS);
  }
  throw new SwapError(
    'ERR_IO_IN_USE',
    `host ${pid} has not ended within ${WAIT_MS_MAX} ms; see its log`,
  );
}

/** A zombie (ended, but not yet waited for by its parent) is not alive. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return true; // no /proc, or it has just ended: the next check decides
  }
}
