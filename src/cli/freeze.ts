/** `frontswap freeze`: make the requests of a disk wait. */
import { askGate } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';

export const freezeCommand: Command = {
  name: 'freeze',
  group: 'disk',
  summary: 'make the requests of a disk wait',
  usage: 'freeze [OPTIONS] NAME',
  examples: [
    { line: 'frontswap freeze vm1', what: 'while the storage of its backing is serviced' },
  ],
  options: [controlOption],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'Clients stay connected and get no error. A guest that swaps to the disk stalls until frontswap thaw; its own timeouts keep running. The command ends when no request is in flight.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const { name, control } = await chosenDisk('freeze', args, world);
    const disk = await askGate(control, name, 'freeze');
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk }, null, 2)}\n`);
    else if (!flag(args, 'quiet')) world.stdout.write(`disk ${name}: frozen\n`);
    return Exit.ok;
  },
};
