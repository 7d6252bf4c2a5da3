/** `frontswap flush`: moves the pages of a disk to its backing. */
import { formatSize } from '../base/size.ts';
import { askFlush } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';

export const flushCommand: Command = {
  name: 'flush',
  group: 'disk',
  summary: 'move the pages of a disk from memory to its backing',
  usage: 'flush [OPTIONS] NAME',
  examples: [{ line: 'frontswap flush vm1', what: 'free the memory of an idle guest' }],
  options: [controlOption],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'The host serves clients in the meantime. Pages of one repeated value stay in memory, because they take almost none; pages that the backing has no space for stay, too.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const { name, control } = await chosenDisk('flush', args, world);
    const movedBytes = await askFlush(control, name);
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk: name, movedBytes })}\n`);
    else if (!flag(args, 'quiet'))
      world.stdout.write(`disk ${name}: ${formatSize(movedBytes)} of pages moved to its backing\n`);
    return Exit.ok;
  },
};
