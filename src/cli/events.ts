/** `frontswap events`: prints the events of a host as they occur. */
import { setTimeout as sleep } from 'node:timers/promises';
import { followEvents } from '../host/control-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';

export const eventsCommand: Command = {
  name: 'events',
  group: 'disk',
  summary: 'print what happens on a host',
  usage: 'events [OPTIONS]',
  examples: [
    { line: 'frontswap events', what: 'the latest events, then each new one until Ctrl-C' },
    { line: 'frontswap events --json --no-follow', what: 'the latest events, a document per line' },
  ],
  options: [{ name: 'no-follow', help: 'print the latest events and exit' }, controlOption],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'Events are disks added, removed, changed, frozen, thawed, flushed and reset, connections of clients, and lines of the log. The host keeps the latest 256, and the latest 64 about clients. --json prints time, event, disk and message of each; the messages are for people, and their text may change.',
    'Exit status: 0 ended by the host or by --no-follow, 1 failed, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const { control } = await onlyHost(args, world, false);
    const end = new AbortController();
    // The host sends the latest events immediately.
    if (flag(args, 'no-follow'))
      void sleep(QUIET_MS, undefined, { ref: false }).then(() => end.abort());
    for await (const event of followEvents(control, end.signal)) {
      const { time, event: kind, disk, message } = event;
      const where = disk === null ? '' : ` ${disk}:`;
      world.stdout.write(
        flag(args, 'json') ? `${JSON.stringify(event)}\n` : `${time} ${kind}${where} ${message}\n`,
      );
    }
    return Exit.ok;
  },
};

/** With --no-follow: how long to read, ms. */
const QUIET_MS = 300;
