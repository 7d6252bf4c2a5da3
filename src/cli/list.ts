/** `frontswap list`: contents and memory use of the disks, in the columns of zramctl. */
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
    throw new SwapError('ERR_ARG_CONFLICT', '--output and --output-all are mutually exclusive', {
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
      what: 'for programs; list-json.md describes the format',
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
    { name: 'noheadings', short: 'n', help: 'do not print headings' },
    { name: 'raw', help: 'separate cells by one space, without alignment' },
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
    'With several hosts, the output also has the column HOST. A warning on stderr names each host that does not answer.',
    'Exit status: 0 shown, 1 failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    columnsFor(args, 1); // reports invalid columns before a request
    if (flag(args, 'json') && (text(args, 'output') !== null || flag(args, 'output-all')))
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        '--json prints every field and cannot be combined with columns; select fields with jq',
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
    const format = { raw: flag(args, 'raw'), headings: !flag(args, 'noheadings') };
    world.stdout.write(formatTable(chosen, rows, format));
    return Exit.ok;
  },
};
