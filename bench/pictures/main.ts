/**
 * npm run pictures [-- --check] [-- --measure NAME... [--rounds N] [--corpus FILE]]
 *
 * Renders docs/pictures/NAME.json to docs/pictures/NAME.svg, all of them. With --measure only those named, after it has
 * measured them on this machine and written NAME.json. --check writes no picture; status 1 if one differs.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseTool, positive, refuse } from '../tool.ts';
import { measureBudgets } from './budgets.ts';
import { recordDemo } from './demo.ts';
import { measureDiskRss } from './disk-rss.ts';
import { measured } from './measured.ts';
import { pictureNames, render } from './pictures.ts';
import { measureTouchTimes } from './touches.ts';

const folder = join(fileURLToPath(import.meta.url), '../../../../docs/pictures');
const measurements: Readonly<
  Record<string, (rounds: number, corpus?: string) => Promise<unknown>>
> = {
  'disk-rss': measureDiskRss,
  budgets: measureBudgets,
  'touch-times': measureTouchTimes,
  demo: recordDemo,
};

const help = `Usage: npm run pictures -- [--check] | --measure NAME... [--rounds N] [--corpus FILE]

Renders the pictures of docs/pictures from the measurements beside them.

  --check         writes no picture; the status is 1 if one differs
  --measure       measures the pictures NAME on this machine first
  --rounds N      rounds of a measurement (default 3)
  --corpus FILE   pages of programs to store

Names: ${Object.keys(measurements).join(', ')}

Example: npm run pictures -- --measure demo`;

const { values, positionals } = parseTool('pictures', help, {
  check: { type: 'boolean', default: false },
  measure: { type: 'boolean', default: false },
  rounds: { type: 'string', default: '3' },
  corpus: { type: 'string' },
});
const rounds = positive('pictures', 'rounds', values.rounds);
const unknown = positionals.find((name) => measurements[name] === undefined);
if (unknown !== undefined) refuse('pictures', `there is no picture '${unknown}' to measure`);
if (values.measure !== positionals.length > 0)
  refuse('pictures', '--measure requires the names of pictures, and names require --measure');

for (const name of positionals) {
  const pages = values.corpus === undefined ? '' : ' --corpus FILE';
  const options = `--rounds ${rounds}${pages}`;
  const result = await measured(name, options, () => measurements[name]!(rounds, values.corpus));
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(result)}\n`);
}
for (const name of positionals.length > 0 ? positionals : pictureNames) {
  const file = join(folder, `${name}.svg`);
  const svg = render(name, JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')));
  if (existsSync(file) && readFileSync(file, 'utf8') === svg) continue;
  if (values.check) {
    console.error(`pictures: ${name}.svg is not what ${name}.json renders to: npm run pictures`);
    process.exitCode = 1;
  } else writeFileSync(file, svg);
}
