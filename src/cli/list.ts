/** `frontswap list`: what the disks hold and what that costs, in zramctl's columns. */
import { SwapError } from '../base/errors.ts';
import { listDocument } from '../host/list-document.ts';
import { chooseColumns, columns } from './columns.ts';
import { type Arguments, type Command, Exit, flag, text } from './command.ts';
import { controlOption, diskNamed, reportedDisks } from './disks.ts';
import { formatTable } from './table.ts';

function columnsFor(args: Arguments): typeof columns {
  const output = text(args, 'output');
  if (!flag(args, 'output-all')) return chooseColumns(output);
  if (output !== null)
    throw new SwapError('ERR_ARG_CONFLICT', '--output and --output-all exclude each other', {
      key: '--output-all',
    });
  return columns;
}

export const listCommand: Command = {
  name: 'list',
  summary: 'show the disks of a running host',
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
  positionalsMax: 256,
  notes: [
    `Columns: ${columns.map(({ name, help }) => `${name} (${help})`).join(', ')}.`,
    'Exit status: 0 shown, 1 failed, 2 wrong usage or no such disk, 3 no host answers.',
  ],
  async run(args, world) {
    const chosen = columnsFor(args);
    if (flag(args, 'json') && (text(args, 'output') !== null || flag(args, 'output-all')))
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        '--json prints every field, so it takes no columns; choose fields with jq',
        { key: '--json' },
      );
    const all = await reportedDisks(args, world);
    const disks =
      args.positionals.length === 0 ? all : args.positionals.map((name) => diskNamed(name, all));
    if (flag(args, 'json')) {
      world.stdout.write(`${JSON.stringify(listDocument(disks), null, 2)}\n`);
      return Exit.ok;
    }
    const inBytes = flag(args, 'bytes');
    const rows = disks.map((disk) => chosen.map(({ cell }) => cell(disk, inBytes)));
    const form = { raw: flag(args, 'raw'), headings: !flag(args, 'noheadings') };
    world.stdout.write(formatTable(chosen, rows, form));
    return Exit.ok;
  },
};
