/** `frontswap top`: the disks of all hosts, with rates, refreshed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { type DiskReport, listDocument } from '../host/list-document.ts';
import { formatRatio } from './columns.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { controlOption, disksOf, findHosts } from './disks.ts';
import { formatTable, type TableColumn } from './table.ts';

const SECONDS_MAX = 3600;
const COUNT_MAX = 1_000_000;
const CLEAR = '\x1b[H\x1b[2J';

const columns: readonly TableColumn[] = [
  { name: 'NAME', right: false },
  { name: 'READ/S', right: true },
  { name: 'WRITE/S', right: true },
  { name: 'DISCARD/S', right: true },
  { name: 'DATA', right: true },
  { name: 'TOTAL', right: true },
  { name: 'MEM-LIMIT', right: true },
  { name: 'COMP-RATIO', right: true },
  { name: 'REFUSED', right: true },
  { name: 'CONN', right: true },
  { name: 'STATE', right: false },
];

const keyOf = ({ hostControl, name }: DiskReport): string => `${hostControl} ${name}`;

function rowOf(disk: DiskReport, before: DiskReport | undefined, seconds: number): string[] {
  const rate = (of: (report: DiskReport) => number): string => {
    if (before === undefined || of(disk) < of(before)) return '-';
    return String(Math.round((of(disk) - of(before)) / seconds));
  };
  return [
    disk.name,
    rate((d) => d.reads),
    rate((d) => d.writes),
    rate((d) => d.discards),
    formatSize(disk.dataBytes),
    formatSize(disk.usedBytes),
    disk.limitBytes === 0 ? '-' : formatSize(disk.limitBytes),
    formatRatio(disk.dataBytes, disk.usedBytes),
    String(disk.failedWrites),
    String(disk.connections),
    disk.isFrozen ? 'frozen' : 'active',
  ];
}

function wholeNumber(args: Arguments, name: string, max: number): number | null {
  const value = text(args, name);
  if (value === null) return null;
  const number = /^[0-9]{1,7}$/.test(value) ? Number(value) : 0;
  if (number >= 1 && number <= max) return number;
  throw new SwapError(
    'ERR_ARG_VALUE',
    `--${name}: '${value}' is not a whole number from 1 to ${max}`,
    {
      key: `--${name}`,
      value,
    },
  );
}

export const topCommand: Command = {
  name: 'top',
  group: 'disk',
  summary: 'watch the disks of all running hosts',
  usage: 'top [OPTIONS]',
  examples: [
    { line: 'frontswap top', what: 'refresh every second, until Ctrl-C' },
    { line: 'frontswap top --interval 10 --count 6', what: 'six times, every ten seconds' },
    { line: 'frontswap top --json --count 1', what: 'the list document, once' },
  ],
  options: [
    {
      name: 'interval',
      short: 'd',
      value: 'SECONDS',
      help: 'time between two refreshes (default 1)',
    },
    { name: 'count', short: 'n', value: 'N', help: 'exit after N refreshes' },
    controlOption,
  ],
  positionals: 'none',
  positionalsMax: 0,
  notes: [
    'READ/S, WRITE/S and DISCARD/S are requests of the device per second since the last refresh. REFUSED counts writes that were refused or that failed on the backing. On a terminal the table is rewritten in place; elsewhere each refresh prints another table. --json prints the document of list --json on one line per refresh.',
    'Exit status: 0 after --count refreshes, 1 failed, 2 wrong usage, 3 no host answers.',
  ],
  async run(args, world) {
    const seconds = wholeNumber(args, 'interval', SECONDS_MAX) ?? 1;
    const count = wholeNumber(args, 'count', COUNT_MAX) ?? Number.POSITIVE_INFINITY;
    let before = new Map<string, DiskReport>();
    for (let done = 1; ; done++) {
      const disks = disksOf(await findHosts('top', args, world));
      if (flag(args, 'json')) world.stdout.write(`${JSON.stringify(listDocument(disks))}\n`);
      else {
        const rows = disks.map((disk) => rowOf(disk, before.get(keyOf(disk)), seconds));
        const table = formatTable(columns, rows, { raw: false, headings: true });
        const isRewritten = world.stdout.isTerminal && world.env['TERM'] !== 'dumb';
        world.stdout.write(isRewritten ? CLEAR + table : `${done > 1 ? '\n' : ''}${table}`);
      }
      if (done >= count) return Exit.ok;
      before = new Map(disks.map((disk) => [keyOf(disk), disk]));
      await sleep(seconds * 1000);
    }
  },
};
