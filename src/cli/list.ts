/** `frontswap list`: the disks' contents and memory use, in zramctl's columns. */
import { SwapError } from '../base/errors.ts';
import { listDocument } from '../host/list-document.ts';
import { chooseColumns, columns } from './columns.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { controlOption, disksNamed, disksOf, findHosts } from './disks.ts';
import { formatTable } from './table.ts';

function columnsFor(args: Arguments, hostCount: number): typeof columns {
  const output = text(args, 'output');
  if (!flag(args, 'output-all')) return chooseColumns(output, hostCount > 1);
  if (output !== null)
    throw new SwapError('ERR_ARG_CONFLICT', '--output and --output-all exclude each other', {
      key: '--output-all',
    });
  return columns;
}

export const listCommand: Command = {
  name: 'list',
  group: 'disk',
  summary: 'show the disks of all running hosts',
  usage: 'list [OPTIONS] [NAME...]',
  examples: [
    { line: 'frontswap list', what: 'all disks' },
    { line: 'frontswap list -o NAME,TOTAL,COMP-RATIO swap0', what: 'some columns of one disk' },
    { line: 'frontswap list -o +READS,WRITES,URI', what: 'more columns' },
    {
      line: "frontswap list --json | jq '.disks[].usedBytes'",
      what: 'for a program; the format is described in list-json.md',
    },
  ],
  options: [
    {
      name: 'output',
      short: 'o',
      value: 'COLUMNS',
      help: 'columns to print; +COLUMNS adds to the default',
    },
    { name: 'output-all', help: 'print every column' },
    { name: 'noheadings', short: 'n', help: 'print no heading' },
    { name: 'raw', help: 'one blank between cells, no alignment' },
    { name: 'bytes', short: 'b', help: 'print sizes in bytes' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 256,
  table: {
    title: 'Columns (* shown without -o)',
    rows: columns.map(({ name, help, isDefault }) => [isDefault ? `${name}*` : name, help]),
  },
  notes: [
    'With several hosts the column HOST is shown as well. A warning on stderr names each host that does not answer.',
    'Exit status: 0 shown, 1 failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    columnsFor(args, 1); // report wrong columns before asking a host
    if (flag(args, 'json') && (text(args, 'output') !== null || flag(args, 'output-all')))
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        '--json prints every field, so it takes no columns; choose fields with jq',
        { key: '--json' },
      );
    const hosts = await findHosts('list', args, world);
    const disks =
      args.positionals.length === 0
        ? disksOf(hosts)
        : args.positionals.flatMap((name) => disksNamed(name, hosts));
    if (flag(args, 'json')) {
      world.stdout.write(`${JSON.stringify(listDocument(disks), null, 2)}\n`);
      return Exit.ok;
    }
    const chosen = columnsFor(args, hosts.length);
    const inBytes = flag(args, 'bytes');
    const rows = disks.map((disk) => chosen.map(({ cell }) => cell(disk, inBytes)));
    const form = { raw: flag(args, 'raw'), headings: !flag(args, 'noheadings') };
    world.stdout.write(formatTable(chosen, rows, form));
    return Exit.ok;
  },
};
