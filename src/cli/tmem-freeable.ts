/** `frontswap tmem-freeable`: the memory that evicting every ephemeral page would free. */
import { formatSize } from '../base/size.ts';
import { askTmem } from '../host/tmem-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';

export const tmemFreeableCommand: Command = {
  name: 'tmem-freeable',
  group: 'tmem',
  summary: 'show the memory of ephemeral pages, which can be freed',
  usage: 'tmem-freeable [OPTIONS]',
  examples: [{ line: 'frontswap tmem-freeable --bytes', what: 'for programs' }],
  options: [{ name: 'bytes', short: 'b', help: 'print the size in bytes' }, controlOption],
  positionals: 'none',
  positionalsMax: 0,
  notes: ['Exit status: 0 shown, 1 failed, 2 wrong usage, 3 no host answers.'],
  async run(args, world) {
    const { control } = await onlyHost(args, world, false);
    const { freeableBytes } = await askTmem(control);
    const inBytes = flag(args, 'bytes');
    const text = flag(args, 'json')
      ? JSON.stringify({ schemaVersion: 1, freeableBytes }, null, 2)
      : inBytes
        ? String(freeableBytes)
        : formatSize(freeableBytes);
    world.stdout.write(`${text}\n`);
    return Exit.ok;
  },
};
