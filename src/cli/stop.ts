/** `frontswap stop`: stops a running host cleanly, and waits until it has ended. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwapError } from '../base/errors.ts';
import { askStop } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, findHosts, hostWithDisk, onlyHost } from './disks.ts';

const waitMs = 30_000;
const lookEveryMs = 50;

export const stopCommand: Command = {
  name: 'stop',
  group: 'disk',
  summary: 'stop a host cleanly',
  usage: 'stop [OPTIONS] [NAME]',
  examples: [
    { line: 'frontswap stop', what: 'stop the host, unless guests have pages there' },
    { line: 'frontswap stop vm1', what: 'of several hosts, stop the one that serves disk vm1' },
    { line: 'frontswap stop --force', what: 'stop it all the same: those pages are lost' },
  ],
  options: [
    { name: 'force', help: 'also when clients have pages there: they are lost' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'NAME is the name of a disk: the host that serves it is stopped, with all its disks. It is needed when several hosts run.',
    'While clients have pages on the host the first request is refused and names the disks; a second within a minute is obeyed. The command ends when the host has, if both see the same process ids.',
    'Exit status: 0 stopped, 1 in use or failed, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const name = args.positionals[0];
    const { control } =
      name === undefined
        ? await onlyHost(args, world)
        : hostWithDisk(name, await findHosts('stop', args, world));
    const pid = await askStop(control, flag(args, 'force'));
    await ended(pid);
    if (flag(args, 'json')) world.stdout.write(`${JSON.stringify({ schemaVersion: 1, pid })}\n`);
    else if (!flag(args, 'quiet')) world.stdout.write(`host ${pid}: stopped\n`);
    return Exit.ok;
  },
};

async function ended(pid: number): Promise<void> {
  for (let waited = 0; waited < waitMs; waited += lookEveryMs) {
    if (!isAlive(pid)) return;
    await sleep(lookEveryMs);
  }
  throw new SwapError('ERR_IO_IN_USE', `host ${pid}: stops, but has not ended in ${waitMs} ms`);
}

/** A process that has ended and that its parent has not asked for yet (a zombie) has ended. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return true; // no /proc, or gone a moment ago: the next look knows
  }
}
