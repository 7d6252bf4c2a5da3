// Writes docs/features.md from docs/features.json:
//
//   node scripts/features.mjs            writes the page
//   node scripts/features.mjs --check    writes nothing; fails when the page is not up to date
//
// An entry of features.json is one feature: `have` is yes, part or no; `foundIn` names the systems that have it and,
// in parentheses, those that have part of it; `where` are the files to read first; `tests` are test files with the
// beginnings of the names of their tests.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const page = join(root, 'docs/features.md');
const { groups } = JSON.parse(readFileSync(join(root, 'docs/features.json'), 'utf8'));

const answers = ['yes', 'part', 'no'];

const INTRODUCTION = `# Features

<!-- Written by scripts/features.mjs from features.json. -->

For: readers who want to know which features of Linux frontswap, cleancache, ramzswap, zram, zswap, Xen's tmem and
RAMster are implemented here. Features 1 to 89 are those that at least one of these systems has. Features 90 to 106 come
from newer kernels and from virtual machine monitors, 107 and 108 from NBD servers,
109 and 110 from service managers. S1 to S13 are what a swap core needs.

- **yes**: implemented in the host, the memory interface or the library, and a test exercises it. The note names what
  lacks it.
- **part**: the note says what is missing.
- **no**: the note says why.

"Found in" names the systems that have the feature; those in parentheses have part of it. The host (\`frontswap host\`)
serves disks and uses no tmem, frontswap, cleancache or swap core. The memory interface uses frontswap and the swap core.
The library exports all parts. Your own program calls cleancache: no kernel does.

\`test/repo/features.test.ts\` checks that no feature is missing, that files and tests exist, and that each "yes" has a
test. To change this page, edit \`features.json\` and run \`node scripts/features.mjs\`.`;

/** Rows with cells padded to the width of their column, except in the last one. */
function table(heading, rows) {
  const lines = [heading, ...rows];
  const widths = heading.map((_, at) => Math.max(...lines.map((cells) => cells[at].length)));
  const line = (cells) =>
    `| ${cells.map((cell, at) => (at === cells.length - 1 ? cell : cell.padEnd(widths[at]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, at) => '-'.repeat(at === widths.length - 1 ? 3 : width)).join(' | ')} |`;
  return [line(heading), rule, ...rows.map(line)].join('\n');
}

const anchorOf = (title) =>
  title
    .toLowerCase()
    .replace(/[^\w -]/g, '')
    .replaceAll(' ', '-');

function summary() {
  const count = (features, answer) => String(features.filter(({ have }) => have === answer).length);
  const row = (title, features) => [
    title,
    String(features.length),
    ...answers.map((answer) => count(features, answer)),
  ];
  const rows = groups.map(({ title, features }) =>
    row(`[${title}](#${anchorOf(title)})`, features),
  );
  const all = groups.flatMap(({ features }) => features);
  return table(['topic', 'features', ...answers], [...rows, row('all', all)]);
}

const link = (path) => `[${path.replace(/^src\//, '')}](../${path})`;

/** One list item for a feature, one below it for each test file. */
function evidence({ id, where, tests }) {
  const lines = Object.entries(tests).map(
    ([path, names]) => `  - ${link(path)}: ${names.map((name) => `_${name}_`).join('; ')}`,
  );
  return [`- **${id}** ${where.map(link).join(', ')}`, ...lines].join('\n');
}

function section({ title, about, features }) {
  const rows = features.map(({ id, name, have, foundIn, note }) => [id, name, have, foundIn, note]);
  const proven = features.filter(({ have }) => have !== 'no');
  const parts = [`## ${title}`, about, table(['#', 'feature', 'have', 'found in', 'note'], rows)];
  if (proven.length === 0) return parts.join('\n\n');
  return [
    ...parts,
    '<details>\n<summary>Files and tests</summary>',
    proven.map(evidence).join('\n'),
    '</details>',
  ].join('\n\n');
}

const text = `${[INTRODUCTION, summary(), ...groups.map(section)].join('\n\n')}\n`;
if (!process.argv.includes('--check')) writeFileSync(page, text);
else if (readFileSync(page, 'utf8') !== text) {
  console.error('features: docs/features.md is not up to date; run node scripts/features.mjs');
  process.exit(1);
}
