/** `frontswap add`: adds a disk to a running host. */
import { resolve } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { askAdd } from '../host/control-client.ts';
import { splitDisk } from '../host/disk-config.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';

export const addCommand: Command = {
  name: 'add',
  group: 'disk',
  summary: 'add a disk to a running host',
  usage: 'add [OPTIONS] NAME=SIZE[,KEY=VALUE...]',
  examples: [
    {
      line: 'frontswap add vm2=4G,limit=1G',
      what: 'a disk of 4 GiB that takes at most 1 GiB of memory',
    },
    {
      line: 'frontswap add vm3=8G,backing=/dev/vg0/vm3',
      what: 'pages that do not compress or do not fit go to a block device',
    },
  ],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 1,
  notes: [
    'The disk is described as for --disk of frontswap host. Clients can open it once the command has ended; frontswap attach NAME prints how. The host opens the backing, with its own permissions.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const text = args.positionals[0];
    if (text === undefined)
      throw new SwapError('ERR_ARG_VALUE', 'NAME=SIZE: describe the disk, such as vm2=4G', {
        key: 'NAME=SIZE',
      });
    const { name, size, given } = splitDisk('NAME=SIZE', text);
    const { control } = await onlyHost(args, world, false);
    const backing = given.get('backing') ?? '';
    const values = { name, size, ...Object.fromEntries(given) };
    const disk = await askAdd(
      control,
      backing === '' ? values : { ...values, backing: resolve(backing) },
    );
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk }, null, 2)}\n`);
    else if (!flag(args, 'quiet'))
      world.stdout.write(
        `disk ${disk.name}: ${formatSize(disk.diskSizeBytes)}, added\n${disk.uris.map((uri) => `  ${uri}\n`).join('')}`,
      );
    return Exit.ok;
  },
};
