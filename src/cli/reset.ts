/** `frontswap reset`: empties a disk of a running host, for the next guest. */
import { formatSize } from '../base/size.ts';
import { askReset } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';

export const resetCommand: Command = {
  name: 'reset',
  group: 'disk',
  summary: 'empty a disk, for the next guest',
  usage: 'reset [OPTIONS] NAME',
  examples: [
    { line: 'frontswap reset vm1', what: 'drop the pages of a previous guest' },
    { line: 'frontswap reset --force vm1', what: 'disconnect its clients first' },
  ],
  options: [
    { name: 'force', help: 'disconnect the clients of the disk first: they lose their pages' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'Drops every page of the disk and frees its memory immediately. The disk gets a new export name, so that a guest that had it open cannot reconnect and read zeros in place of its pages.',
    'Exit status: 0 emptied, 1 in use or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const { name, control } = await chosenDisk('reset', args, world);
    const droppedBytes = await askReset(control, name, flag(args, 'force'));
    world.stdout.write(
      flag(args, 'json')
        ? `${JSON.stringify({ schemaVersion: 1, disk: name, droppedBytes })}\n`
        : `disk ${name}: ${formatSize(droppedBytes)} of pages dropped\n`,
    );
    return Exit.ok;
  },
};
