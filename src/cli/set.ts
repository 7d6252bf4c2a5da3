/** `frontswap set`: changes settings of a disk while it is served. */
import { formatSize } from '../base/size.ts';
import { askSet } from '../host/control-client.ts';
import { changeKeys } from '../host/control-routes.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';
import { wordsByKey } from './key-words.ts';

export const setCommand: Command = {
  name: 'set',
  group: 'disk',
  summary: 'change the limit, rate, size, keep time or access',
  usage: 'set [OPTIONS] NAME KEY=VALUE...',
  examples: [
    { line: 'frontswap set vm1 limit=2G', what: 'a new memory limit' },
    {
      line: 'frontswap set vm1 rate=50M',
      what: 'at most 50 MiB per second to and from its clients',
    },
    { line: 'frontswap set vm1 size=8G', what: 'a new size, for a disk without clients' },
  ],
  options: [
    {
      name: 'force',
      help: 'for size: disconnect the clients first; for allow-uid and allow-gid: disconnect clients that may no longer see the disk. Their pages are kept',
    },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1 + changeKeys.length,
  table: {
    title: 'Keys',
    rows: [
      [
        'limit',
        'memory limit, metadata included; 0 or a share such as 25%. If more is in use, pages go to the backing; without a backing the change is refused',
      ],
      ['rate', 'bytes per second that clients may send and receive together; 0 for no limit'],
      [
        'size',
        'size of the disk; its pages are kept, and clients see the new size when they reconnect. Not for a disk with a backing',
      ],
      ['keep', 'seconds after which the pages of a disk without clients are dropped, or never'],
      [
        'allow-uid, allow-gid',
        'users and groups of the clients that may see the disk: 1000:1001, none, or any for every client',
      ],
    ],
  },
  notes: [
    'Either all keys change or none. No page is lost: a change that would lose one is refused.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const values = wordsByKey(args.positionals.slice(1), changeKeys);
    const { name, control } = await chosenDisk('set', args, world);
    const disk = await askSet(control, name, values, flag(args, 'force'));
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk }, null, 2)}\n`);
    else if (!flag(args, 'quiet')) {
      const { diskSizeBytes, limitBytes, rateBytes } = disk;
      const limit = limitBytes === 0 ? 'unlimited' : formatSize(limitBytes);
      const rate = rateBytes === 0 ? 'unlimited' : `${formatSize(rateBytes)}/s`;
      world.stdout.write(
        `disk ${name}: size ${formatSize(diskSizeBytes)}, limit ${limit}, rate ${rate}\n`,
      );
    }
    return Exit.ok;
  },
};
