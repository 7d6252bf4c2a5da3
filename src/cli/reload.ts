/** `frontswap reload`: makes a running host reread its configuration files. */
import { askReload } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';

export const reloadCommand: Command = {
  name: 'reload',
  group: 'disk',
  summary: 'read the configuration files again',
  usage: 'reload [OPTIONS]',
  examples: [{ line: 'frontswap reload', what: 'apply a change to the file of frontswap host -C' }],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'The host reads the file of -C, its drop-ins and the files of TLS. If one has an error, nothing changes. Otherwise the host applies what has changed in them: disks and their settings, limits, access. Clients stay connected, and no page is lost: a change that would lose one is refused, and tried again at the next reload. Changes made by frontswap add, set and remove stay, unless the files now set the same thing differently.',
    'It prints what was changed, what was refused, and the settings that need a restart. SIGHUP does the same.',
    'Exit status: 0 everything is applied or needs a restart, 1 something was refused or failed, 2 wrong usage or an error in the files, 3 no host answers.',
  ],
  async run(args, world) {
    const { control } = await onlyHost(args, world, false);
    const report = await askReload(control);
    const { changed, failed, ignored } = report;
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...report }, null, 2)}\n`);
    else {
      for (const line of flag(args, 'quiet') ? [] : changed) world.stdout.write(`${line}\n`);
      for (const line of failed) world.stderr.write(`frontswap reload: not done: ${line}\n`);
      for (const line of flag(args, 'quiet') ? [] : ignored)
        world.stderr.write(`frontswap reload: warning: ${line}\n`);
      if (changed.length + failed.length + ignored.length === 0 && !flag(args, 'quiet'))
        world.stdout.write('nothing has changed\n');
    }
    return failed.length === 0 ? Exit.ok : Exit.failed;
  },
};
