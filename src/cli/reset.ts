/** `frontswap reset`: empties a disk of a running host, for the next guest. */
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { askReset } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, findHosts, hostWithDisk } from './disks.ts';

export const resetCommand: Command = {
  name: 'reset',
  group: 'disk',
  summary: 'empty a disk, for the next guest',
  usage: 'reset [OPTIONS] NAME',
  examples: [
    { line: 'frontswap reset vm1', what: 'drop the pages of a guest that has gone' },
    { line: 'frontswap reset --force vm1', what: 'hang up on its clients first' },
  ],
  options: [
    { name: 'force', help: 'also when clients have the disk open: their pages are lost' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'Every page of the disk is dropped and its memory is free at once. The disk gets another name to attach: a guest that had it open cannot come back and read zeros where its pages were.',
    'Exit status: 0 emptied, 1 in use or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const name = args.positionals[0];
    if (name === undefined)
      throw new SwapError('ERR_ARG_VALUE', 'NAME: say which disk', { key: 'NAME' });
    const { control } = hostWithDisk(name, await findHosts('reset', args, world));
    const droppedBytes = await askReset(control, name, flag(args, 'force'));
    world.stdout.write(
      flag(args, 'json')
        ? `${JSON.stringify({ schemaVersion: 1, disk: name, droppedBytes })}\n`
        : `disk ${name}: ${formatSize(droppedBytes)} of pages dropped\n`,
    );
    return Exit.ok;
  },
};
