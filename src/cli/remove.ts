/** `frontswap remove`: removes a disk from a running host. */
import { formatSize } from '../base/size.ts';
import { askRemove } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';

export const removeCommand: Command = {
  name: 'remove',
  group: 'disk',
  summary: 'remove a disk from a running host',
  usage: 'remove [OPTIONS] NAME',
  examples: [
    { line: 'frontswap remove vm2', what: 'remove a disk without clients and pages' },
    { line: 'frontswap remove --force vm2', what: 'disconnect its clients and drop its pages' },
  ],
  options: [
    {
      name: 'force',
      help: 'remove it even if clients have it open or it has pages; the pages are lost',
    },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'Without --force, a disk with clients or pages is not removed: the guest may be about to reconnect. Other disks are not affected.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const { name, control } = await chosenDisk('remove', args, world);
    const droppedBytes = await askRemove(control, name, flag(args, 'force'));
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk: name, droppedBytes })}\n`);
    else if (!flag(args, 'quiet'))
      world.stdout.write(`disk ${name}: removed, ${formatSize(droppedBytes)} of pages dropped\n`);
    return Exit.ok;
  },
};
