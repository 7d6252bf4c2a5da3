/** `frontswap tmem-list`: the users of the tmem socket, their settings and their pages. */
import { formatSize } from '../base/size.ts';
import type { TmemUserReport } from '../host/parts.ts';
import { askTmem } from '../host/tmem-client.ts';
import { type Command, Exit, flag } from './command.ts';
import { controlOption, onlyHost } from './disks.ts';
import { formatTable } from './table.ts';

type Cell = (user: TmemUserReport, inBytes: boolean) => string;

const columns: readonly (readonly [name: string, help: string, cell: Cell])[] = [
  ['UID', 'user', (user) => String(user.uid)],
  ['CONN', 'its connections', (user) => String(user.connections)],
  ['POOLS', 'its pools, of 16', (user) => String(user.pools.length)],
  ['PERSISTENT', 'pages that stay until they are flushed', (user) => String(user.persistentPages)],
  ['EPHEMERAL', 'pages that may be evicted', (user) => String(user.ephemeralPages)],
  [
    'COMPR',
    'compressed size of its pages',
    (user, inBytes) => (inBytes ? String(user.compressedBytes) : formatSize(user.compressedBytes)),
  ],
  ['WEIGHT', 'share of the memory for ephemeral pages', (user) => String(user.weight)],
  [
    'CAP',
    'maximum number of pages; - for no maximum',
    (user) => (user.cap === 0 ? '-' : String(user.cap)),
  ],
  ['COMPRESS', 'whether its pages are compressed', (user) => (user.compress ? 'on' : 'off')],
  ['FROZEN', 'whether its puts are refused', (user) => (user.isFrozen ? 'yes' : 'no')],
  ['PUTS', 'pages stored so far', (user) => String(user.puts)],
  ['GETS', 'pages found so far', (user) => String(user.gets)],
  ['REFUSED', 'puts refused so far', (user) => String(user.refusedPuts)],
  ['EVICTED', 'ephemeral pages evicted so far', (user) => String(user.evictedPages)],
];

export const tmemListCommand: Command = {
  name: 'tmem-list',
  group: 'tmem',
  summary: 'show the users of the tmem socket',
  usage: 'tmem-list [OPTIONS]',
  examples: [
    { line: 'frontswap tmem-list', what: 'all users' },
    {
      line: "frontswap tmem-list --json | jq '.users[].pools'",
      what: 'the pools of each user',
    },
  ],
  options: [
    { name: 'noheadings', short: 'n', help: 'do not print headings' },
    { name: 'raw', help: 'separate cells by one space, without alignment' },
    { name: 'bytes', short: 'b', help: 'print sizes in bytes' },
    controlOption,
  ],
  positionals: 'none',
  positionalsMax: 0,
  table: { title: 'Columns', rows: columns.map(([name, help]) => [name, help]) },
  notes: [
    'A user without connections and pools is shown only if it has its own settings or is frozen.',
    'Exit status: 0 shown, 1 failed, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const { control } = await onlyHost(args, world, false);
    const tmem = await askTmem(control);
    if (flag(args, 'json')) {
      world.stdout.write(`${JSON.stringify(tmem, null, 2)}\n`);
      return Exit.ok;
    }
    const inBytes = flag(args, 'bytes');
    const rows = tmem.users.map((user) => columns.map(([, , cell]) => cell(user, inBytes)));
    const heads = columns.map(([name]) => ({ name, right: true }));
    const format = { raw: flag(args, 'raw'), headings: !flag(args, 'noheadings') };
    world.stdout.write(formatTable(heads, rows, format));
    return Exit.ok;
  },
};
