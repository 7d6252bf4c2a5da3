/** `frontswap check`: verifies the image of a disk offline. */
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import type { BackingReport, ImageReport } from '../host/check-image.ts';
import { type Command, Exit, flag } from './command.ts';

function describeBacking({ pages, damaged, problem }: BackingReport): string {
  if (damaged === null) return `${pages} more page(s), not read: ${problem}`;
  return `${pages} more page(s), ${damaged} damaged`;
}

function describe(report: ImageReport): string {
  const {
    path,
    problem,
    sizeBytes,
    settings,
    pages = 0,
    damaged = 0,
    redone = 0,
    atBacking,
  } = report;
  const lines = [path];
  if (sizeBytes !== undefined)
    lines.push(
      `  disk       ${settings}`,
      `  size       ${formatSize(sizeBytes)}, ${formatSize(report.residentBytes ?? 0)} of memory in use`,
    );
  if (problem !== null) return `${[...lines, `  refused    ${problem}`].join('\n')}\n`;
  lines.push(`  generation ${report.generation}`, `  pages      ${pages}`);
  if (redone > 0) lines.push(`  completed  ${redone} change(s) that were in progress`);
  const slots = (report.damagedSlots ?? []).join(', ');
  if (atBacking !== undefined) lines.push(`  on backing ${describeBacking(atBacking)}`);
  const isIntact = damaged + (atBacking?.damaged ?? 0) === 0;
  if (isIntact)
    lines.push(atBacking?.problem == null ? '  intact' : '  intact, except for what was not read');
  if (damaged > 0) lines.push(`  damaged    ${damaged} page(s), slots ${slots}`);
  return `${lines.join('\n')}\n`;
}

export const checkCommand: Command = {
  name: 'check',
  group: 'disk',
  summary: 'verify the image of a disk that no host serves',
  usage: 'check [--json] IMAGE',
  examples: [
    { line: 'frontswap check /dev/shm/frontswap/swap0.img', what: 'what a host would adopt' },
    {
      line: 'frontswap check --json swap0.img.refused-1 | jq -r .problem',
      what: 'why a host refused an image',
    },
  ],
  options: [],
  positionals: 'file',
  positionalsMax: 1,
  notes: [
    'It makes the checks that a host with --persist makes when it starts, on a private copy of the image: it checks the header, completes a change that was in progress when the host ended, and checks every slot row, the checksum of every page and all tables. It reads the pages on the backing, too. Neither file changes.',
    'Exit status: 0 intact, 1 a page is damaged, the backing cannot be read, a host would refuse the image, or a host has it open; 2 wrong usage.',
  ],
  async run(args, world) {
    const path = args.positionals[0];
    if (path === undefined)
      throw new SwapError('ERR_ARG_VALUE', 'check: name an image: frontswap check IMAGE', {
        key: 'IMAGE',
      });
    const { checkImage } = await import('../host/check-image.ts');
    const report = checkImage(path);
    if (flag(args, 'json'))
      world.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...report }, null, 2)}\n`);
    else if (!flag(args, 'quiet')) world.stdout.write(describe(report));
    const { problem, damaged, atBacking } = report;
    const isIntact = damaged === 0 && (atBacking === undefined || atBacking.damaged === 0);
    return problem === null && isIntact ? Exit.ok : Exit.failed;
  },
};
