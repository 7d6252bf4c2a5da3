// Writes the API of each entry point of the package, from the compiled declarations in build/ (npm run build:test):
//
//   node scripts/api-docs.mjs            docs/reference/api/NAME.md, for readers; api/NAME.d.ts, for reviewers
//   node scripts/api-docs.mjs --check    writes nothing; fails when a file is not up to date, or a declaration
//                                        that users see has no doc comment
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript-6';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const isCheck = process.argv.includes('--check');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const entries = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([path, { types }]) => ({
    specifier: join(manifest.name, path),
    name: path === '.' ? 'frontswap' : path.slice(2),
    file: join(root, types.replace('./dist/', 'build/src/')),
    source: join(root, types.replace('./dist/', 'src/').replace(/\.d\.ts$/, '.ts')),
  }));

const program = ts.createProgram(
  entries.map(({ file }) => file),
  {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    allowImportingTsExtensions: true,
    noEmit: true,
    types: ['node'],
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  },
);
const checker = program.getTypeChecker();
const undocumented = [];

/** The text of a doc comment without delimiters; each tag becomes a line. */
function docOf(node) {
  const comment = (ts.getJSDocCommentsAndTags(node) ?? []).filter(ts.isJSDoc).at(-1);
  return comment === undefined ? '' : plainComment(comment.getText());
}

function plainComment(text) {
  return text
    .replace(/^\/\*\*\s?/, '')
    .replace(/\s*\*\/$/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, ''))
    .join('\n')
    .replace(/\{@link ([^}]+)\}/g, '`$1`')
    .replace(/^@param (\S+) /gm, '\n- `$1`: ')
    .replace(/^@returns? /gm, '\n- returns ')
    .replace(/^@throws /gm, '\n- throws ')
    .trim();
}

const isPrivate = (member) =>
  member.name !== undefined && ts.isPrivateIdentifier(member.name)
    ? true
    : (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0;

/** A declaration for readers: without comments, and without private members except a private constructor. */
function signatureOf(node) {
  const source = node.getSourceFile();
  const printer = ts.createPrinter({ removeComments: true, newLine: ts.NewLineKind.LineFeed });
  let shown = node;
  if (ts.isClassDeclaration(node)) {
    const members = node.members.filter(
      (member) => ts.isConstructorDeclaration(member) || !isPrivate(member),
    );
    shown = ts.factory.updateClassDeclaration(
      node,
      node.modifiers,
      node.name,
      node.typeParameters,
      node.heritageClauses,
      members,
    );
  }
  if (ts.isVariableDeclaration(node)) shown = node.parent.parent;
  return printer
    .printNode(ts.EmitHint.Unspecified, shown, source)
    .replace(/^export (declare )?/, '')
    .replace(/^declare /, '');
}

const membersOf = (node) => {
  const members =
    ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) ? node.members : [];
  return members.filter((member) => !isPrivate(member) && member.name !== undefined);
};

/** Properties of a const object: `export declare const PutResult: { readonly stored: 0; ... }`. */
const constMembersOf = (node) =>
  ts.isVariableDeclaration(node) && node.type !== undefined && ts.isTypeLiteralNode(node.type)
    ? [...node.type.members].filter((member) => member.name !== undefined)
    : [];

function exportsOf({ file }) {
  const symbol = checker.getSymbolAtLocation(program.getSourceFile(file));
  if (symbol === undefined) return [];
  return checker
    .getExportsOfModule(symbol)
    .map((exported) => {
      const target =
        (exported.flags & ts.SymbolFlags.Alias) !== 0
          ? checker.getAliasedSymbol(exported)
          : exported;
      return { name: exported.getName(), declarations: target.getDeclarations() ?? [] };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function introductionOf({ source }) {
  const [comment = ''] = /^\/\*\*[\s\S]*?\*\//.exec(readFileSync(source, 'utf8')) ?? [];
  return plainComment(comment);
}

function section({ name, declarations }, specifier) {
  const lines = [`## ${name}`, ''];
  // A const object and the type of its values share one name: list the object only.
  const shown = declarations.some(ts.isVariableDeclaration)
    ? declarations.filter(ts.isVariableDeclaration)
    : declarations;
  const doc = shown.map(docOf).find((text) => text !== '') ?? '';
  if (doc === '') undocumented.push(`${specifier}: ${name}`);
  else lines.push(doc, '');
  lines.push('```ts', ...shown.map(signatureOf), '```', '');
  const rows = shown
    .flatMap((node) => [...membersOf(node), ...constMembersOf(node)])
    .map((member) => ({ label: member.name.getText(), text: docOf(member) }))
    .filter(({ text }) => text !== '');
  for (const { label, text } of rows)
    lines.push(`- **${label}**: ${text.replace(/\n+- /g, '; ').replace(/\s*\n\s*/g, ' ')}`);
  if (rows.length > 0) lines.push('');
  return lines;
}

/** Entry points without exports are imported for their effect. */
function pageOf(entry) {
  const names = exportsOf(entry);
  const lines = [
    `# ${entry.specifier}`,
    '',
    '<!-- Written by scripts/api-docs.mjs from the doc comments. -->',
    '',
    introductionOf(entry),
    '',
  ];
  for (const one of names) lines.push(...section(one, entry.specifier));
  return `${lines.join('\n').trimEnd()}\n`;
}

function reportOf(entry) {
  const seen = exportsOf(entry).flatMap(({ declarations }) => declarations.map(signatureOf));
  return `// ${entry.specifier}: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.\n\n${seen.join('\n')}\n`;
}

function indexPage() {
  const rows = entries.map((entry) => {
    const [first = ''] = introductionOf(entry).split(/(?<=\.)\s/);
    return `| [\`${entry.specifier}\`](${entry.name}.md) | ${first.replaceAll('\n', ' ')} |`;
  });
  return [
    '# Library reference',
    '',
    'One page per entry point. The examples named in [examples/](../../../examples/) import from them.',
    '',
    '| entry point | what it offers |',
    '| --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

const outputs = new Map();
for (const entry of entries) {
  outputs.set(join(root, 'docs/reference/api', `${entry.name}.md`), pageOf(entry));
  outputs.set(join(root, 'api', `${entry.name}.d.ts`), reportOf(entry));
}
outputs.set(join(root, 'docs/reference/api/README.md'), indexPage());

const stale = [];
for (const [file, text] of outputs) {
  if (isCheck) {
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) stale.push(relative(root, file));
    continue;
  }
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
for (const folder of ['docs/reference/api', 'api'])
  for (const name of readdirSync(join(root, folder))) {
    if (outputs.has(join(root, folder, name))) continue;
    if (isCheck) stale.push(`${folder}/${name}`);
    else rmSync(join(root, folder, name));
  }
for (const name of undocumented) console.error(`api-docs: no doc comment: ${name}`);
for (const file of stale)
  console.error(`api-docs: not up to date: ${file}; run node scripts/api-docs.mjs`);
process.exit(undocumented.length + stale.length === 0 ? 0 : 1);
