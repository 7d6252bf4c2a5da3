/** `frontswap import`: converts the configuration of another program. */
import { totalmem } from 'node:os';
import { SwapError } from '../base/errors.ts';
import { readText } from '../host/config/read-text.ts';
import { importZramGenerator } from '../host/config/zram-generator.ts';
import { type Command, Exit, flag, text } from './command.ts';

export const importCommand: Command = {
  name: 'import',
  group: 'disk',
  summary: 'convert a configuration to TOML',
  usage: 'import --zram-generator FILE',
  examples: [
    {
      line: 'frontswap import --zram-generator /etc/systemd/zram-generator.conf',
      what: 'print the disks of a host with the sizes of these zram devices',
    },
  ],
  options: [
    { name: 'zram-generator', value: 'FILE', help: 'a configuration file of zram-generator' },
  ],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'Prints a configuration file for frontswap host -C, and warns about settings that it leaves out. `ram` is the memory of this machine.',
    'Exit status: 0 converted, 1 the file cannot be read, 2 wrong usage or an error in the file.',
  ],
  async run(args, world) {
    const path = text(args, 'zram-generator');
    if (path === null)
      throw new SwapError('ERR_ARG_VALUE', '--zram-generator: choose a file to convert', {
        key: '--zram-generator',
      });
    const written = readText(path, '--zram-generator');
    const { toml, warnings } = importZramGenerator(path, written, totalmem());
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, toml, warnings }, null, 2)}\n`);
    else world.stdout.write(toml);
    if (!flag(args, 'quiet'))
      for (const warning of warnings) world.stderr.write(`frontswap import: warning: ${warning}\n`);
    return Exit.ok;
  },
};
