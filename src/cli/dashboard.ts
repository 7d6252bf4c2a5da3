/** `frontswap dashboard`: the URL of a host's dashboard, with the token that allows changes. */
import { askDashboard } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';

export const dashboardCommand: Command = {
  name: 'dashboard',
  group: 'disk',
  summary: "print the URL of a host's dashboard",
  usage: 'dashboard [OPTIONS]',
  examples: [
    { line: 'frontswap dashboard', what: 'the URL, with the token: open it in a browser' },
  ],
  options: [controlOption],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'The host must have been started with --dashboard. Until the host stops, the URL lets you add, change and remove disks: treat it as a password. Paste it into the browser: other users can read the arguments of a command such as xdg-open. Without the part after #, the page only shows figures. --json prints {"schemaVersion":1,"url":"..."}.',
    'Exit status: 0 done, 1 failed or the host serves no dashboard, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const { control } = await onlyHost(args, world, false);
    const url = await askDashboard(control);
    const line = flag(args, 'json') ? JSON.stringify({ schemaVersion: 1, url }) : url;
    world.stdout.write(`${line}\n`);
    return Exit.ok;
  },
};
