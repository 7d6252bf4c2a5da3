/** `frontswap thaw`: serve the requests of a frozen disk again. */
import { askGate } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';

export const thawCommand: Command = {
  name: 'thaw',
  group: 'disk',
  summary: 'serve the requests of a frozen disk again',
  usage: 'thaw [OPTIONS] NAME',
  examples: [{ line: 'frontswap thaw vm1', what: 'resume service' }],
  options: [controlOption],
  positionals: 'disk',
  positionalsMax: 1,
  notes: [
    'The waiting requests are served in order. Thawing a disk that is not frozen has no effect.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const { name, control } = await chosenDisk('thaw', args, world);
    const disk = await askGate(control, name, 'thaw');
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk }, null, 2)}\n`);
    else if (!flag(args, 'quiet')) world.stdout.write(`disk ${name}: thawed\n`);
    return Exit.ok;
  },
};
