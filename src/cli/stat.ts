/** `frontswap stat`: every figure of one disk, with its meaning. */
import { formatSize } from '../base/size.ts';
import { askDisk } from '../host/control-client.ts';
import { fieldsOfReport } from '../host/list-document.ts';
import { type Command, Exit, flag } from './command.ts';
import { chosenDisk, controlOption } from './disks.ts';
import { formatTable } from './table.ts';

const tableColumns = [
  { name: 'FIELD', right: false },
  { name: 'VALUE', right: true },
  { name: 'MEANING', right: false },
];

export const statCommand: Command = {
  name: 'stat',
  group: 'disk',
  summary: 'show every figure of a disk',
  usage: 'stat [OPTIONS] NAME',
  examples: [
    { line: 'frontswap stat vm1', what: 'all figures with their meanings' },
    { line: 'frontswap stat --json vm1 | jq .disk.usedBytes', what: 'one figure, for programs' },
  ],
  options: [
    { name: 'noheadings', short: 'n', help: 'do not print headings' },
    { name: 'bytes', short: 'b', help: 'print sizes in bytes' },
    controlOption,
  ],
  positionals: 'disk',
  positionalsMax: 1,
  notes: ['Exit status: 0 shown, 1 failed, 2 wrong usage or no such disk, 3 no host answers.'],
  async run(args, world) {
    const { name, control } = await chosenDisk('stat', args, world);
    const disk = await askDisk(control, name);
    if (flag(args, 'json')) {
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, disk }, null, 2)}\n`);
      return Exit.ok;
    }
    const inBytes = flag(args, 'bytes');
    const rows = fieldsOfReport().map(([field, help]) => {
      const value = disk[field];
      const isSize = field.endsWith('Bytes') && !inBytes;
      const text = Array.isArray(value) ? value.join(' ') || 'none' : String(value ?? 'any');
      return [field, isSize ? formatSize(value as number) : text, help];
    });
    world.stdout.write(
      formatTable(tableColumns, rows, { raw: false, headings: !flag(args, 'noheadings') }),
    );
    return Exit.ok;
  },
};
