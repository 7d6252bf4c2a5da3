// Writes the tables of docs/reference/host-toml.md, and docs/reference/host.schema.json, from the schema of the settings.
//
//   node scripts/host-reference.mjs           after npm run build:test
//   node scripts/host-reference.mjs --check   exits 1 if a file differs
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const load = (name) => import(join(root, 'build/src/host/config', name));
const [{ hostEntries }, { diskEntries }, { factsOf }] = await Promise.all(
  ['host-schema.js', 'disk-schema.js', 'schema.js'].map(load),
);

const typeText = ({ type, enum: words, oneOf }) => {
  if (words !== undefined) return words.map((word) => `"${word}"`).join(', ');
  if (oneOf !== undefined) return oneOf.map(typeText).join(' or ');
  return type === 'array' ? 'array of integers' : [type].flat().join(' or ');
};

function table(entries) {
  const rows = Object.entries(entries).map(([key, schema]) => {
    const { help, json, reload, ifAbsent } = factsOf(schema);
    const byDefault = ifAbsent === undefined ? '' : JSON.stringify(ifAbsent);
    return [`\`${key}\``, typeText(json), byDefault, help, reload];
  });
  const all = [['key', 'value', 'default', 'meaning', 'at a reload'], ...rows];
  const widths = all[0].map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [
    line(all[0]),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...rows.map(line),
  ].join('\n');
}

const propertiesOf = (entries) =>
  Object.fromEntries(
    Object.entries(entries).map(([key, schema]) => {
      const { help, json, ifAbsent } = factsOf(schema);
      const byDefault = ifAbsent === undefined ? {} : { default: ifAbsent };
      return [key, { description: help, ...json, ...byDefault }];
    }),
  );

const schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Configuration file of frontswap host',
  type: 'object',
  additionalProperties: false,
  properties: {
    ...propertiesOf(hostEntries),
    disks: {
      description: 'the disks to serve, by name',
      type: 'object',
      minProperties: 1,
      maxProperties: 256,
      propertyNames: { pattern: '^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$' },
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        required: ['size'],
        properties: propertiesOf(diskEntries),
      },
    },
  },
};

function filled(text, name, content) {
  const [start, end] = [`<!-- ${name} -->\n\n`, `\n\n<!-- end of ${name} -->`];
  const [from, to] = [text.indexOf(start) + start.length, text.indexOf(end)];
  if (from < start.length || to < from) throw new Error(`host-toml.md has no place for ${name}`);
  return text.slice(0, from) + content + text.slice(to);
}

const pagePath = join(root, 'docs/reference/host-toml.md');
const page = readFileSync(pagePath, 'utf8');
const outputs = new Map([
  [pagePath, filled(filled(page, 'host', table(hostEntries)), 'disks', table(diskEntries))],
  [join(root, 'docs/reference/host.schema.json'), `${JSON.stringify(schema, null, 2)}\n`],
]);
/** The formatter may lay out JSON in another way. */
const normal = (path, text) => (path.endsWith('.json') ? JSON.stringify(JSON.parse(text)) : text);
for (const [path, text] of outputs)
  if (!process.argv.includes('--check')) writeFileSync(path, text);
  else if (normal(path, readFileSync(path, 'utf8')) !== normal(path, text)) {
    console.error(`host-reference: ${path} is out of date: run node scripts/host-reference.mjs`);
    process.exitCode = 1;
  }
