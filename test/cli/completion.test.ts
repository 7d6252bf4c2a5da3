/** Completion scripts and manual pages contain all commands and options, and real shells and groff accept them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { columns } from '../../src/cli/columns.ts';
import { type Command, commonOptions, type OptionSpec } from '../../src/cli/command.ts';
import { commandTable } from '../../src/cli/commands.ts';
import { manPages } from '../../src/cli/man-pages.ts';
import { spellings, valueKind } from '../../src/cli/option-values.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { cli } from './fake-world.ts';

const root = join(import.meta.dirname, '../../..');
const commands: readonly Command[] = await Promise.all(
  commandTable.names.map((name) => commandTable.load(name)),
);
const scripts: Record<string, string> = {};
for (const shell of ['bash', 'zsh', 'fish'])
  scripts[shell] = (await cli(['completion', shell])).stdout;
const pages = await manPages(commandTable, '1.2.3');
const pageOf = (name: string): string => pages.get(`frontswap-${name}.1`) ?? '';
const reference = readFileSync(join(root, 'docs/reference/cli.md'), 'utf8');

/** `false`, or why a test of this program is skipped. */
const without = (program: string): string | false =>
  spawnSync('sh', ['-c', `command -v ${program}`]).status === 0 ? false : `${program} is missing`;

const timeout = 60_000;

/** The lines, or the case, of one command in a script. */
function partOf(shell: string, name: string): string {
  const script = scripts[shell] ?? '';
  if (shell === 'fish')
    return script
      .split('\n')
      .filter((line) => line.includes(`from ${name}'`))
      .join('\n');
  const [, part = ''] = new RegExp(`\\n {4}${name}\\)\\n([\\s\\S]*?);;\\n`).exec(script) ?? [];
  return part;
}

test('every option is in help, manual page, completion and cli.md', async () => {
  for (const { name, options } of commands) {
    const help = (await cli(['help', name])).stdout;
    for (const option of [...options, ...commonOptions])
      for (const word of spellings(option)) {
        const plain = `${name}: ${word}`;
        const roff = word.replaceAll('-', '\\-');
        assert.ok(help.includes(word), plain);
        assert.ok(pageOf(name).includes(`\\fB${roff}\\fR`), plain);
        assert.match(partOf('bash', name), new RegExp(`[ ']${word}[ ']`), plain);
        assert.match(partOf('zsh', name), new RegExp(`[ ',{]${word}[=,}']`), plain);
        const long = word.startsWith('--');
        const fish = options.includes(option) ? partOf('fish', name) : scripts['fish'];
        assert.match(
          fish ?? '',
          new RegExp(long ? ` -l ${word.slice(2)} ` : ` -s ${word[1]} `),
          plain,
        );
        assert.ok(reference.includes(`\`${word}`), plain);
      }
  }
});

test('every command is in the overview of help, manual and completion', () => {
  const main = pages.get('frontswap.1') ?? '';
  for (const { name } of commands) {
    assert.ok(main.includes(`.TP\n\\fB${name.replaceAll('-', '\\-')}\\fR\n`), name);
    for (const shell of ['bash', 'zsh', 'fish'])
      assert.match(scripts[shell] ?? '', new RegExp(`[ ']${name}[ :']`), `${shell} ${name}`);
    assert.match(reference, new RegExp(`^\\| [\`[]+${name}`, 'm'));
  }
});

test('columns of list are in the manual page and in every script', () => {
  for (const { name } of columns) {
    assert.ok(pageOf('list').includes(name.replaceAll('-', '\\-')), name);
    for (const shell of ['bash', 'zsh', 'fish'])
      assert.match(scripts[shell] ?? '', new RegExp(`[ ']${name}[ ')]`), `${shell} ${name}`);
  }
});

test('package.json lists exactly the manual pages', () => {
  const { man } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.deepEqual([...man].sort(), [...pages.keys()].map((name) => `./dist/man/${name}`).sort());
});

test('the placeholder of an option determines the kind of its value', () => {
  const kindOf = (value?: string): unknown =>
    valueKind({ name: 'x', help: '', ...(value === undefined ? {} : { value }) } as OptionSpec);
  assert.deepEqual(kindOf(), { kind: 'none' });
  assert.deepEqual(kindOf('SIZE'), { kind: 'any' });
  assert.deepEqual(kindOf('PATH:SIZE'), { kind: 'file' });
  assert.deepEqual(kindOf('a|b-c'), { kind: 'words', words: ['a', 'b-c'] });
});

test('groff and man accept the pages without a warning', { skip: without('groff') }, (t) => {
  const folder = testFolder(t);
  for (const [name, text] of pages) {
    const file = join(folder, name);
    writeFileSync(file, text);
    const groff = spawnSync('groff', ['-man', '-ww', '-Tutf8', file], { encoding: 'utf8' });
    assert.deepEqual([groff.status, groff.stderr], [0, ''], name);
    if (without('man') !== false) continue;
    const man = spawnSync('man', ['-l', '--warnings', file], { encoding: 'utf8' });
    assert.deepEqual([man.status, man.stderr], [0, ''], name);
    assert.match(man.stdout, /^NAME\n +frontswap(-[\w-]+)? - \w/m);
  }
});

test('text that looks like roff is printed as it is', { skip: without('groff') }, async (t) => {
  const odd = "C:\\n -x ~^` 'q'";
  const command = { ...(commands[0] as Command), notes: [odd, ".TH 'begins like a request'"] };
  const table = { names: ['run'], load: async () => command };
  const file = join(testFolder(t), 'odd.1');
  writeFileSync(file, (await manPages(table, '0')).get('frontswap-run.1') ?? '');
  const { stdout } = spawnSync('groff', ['-man', '-Tascii', '-P-c', file], { encoding: 'utf8' });
  assert.ok(stdout.includes(`       ${odd}\n`), stdout);
  assert.ok(stdout.includes("       .TH 'begins like a request'\n"), stdout);
});

/** A PATH with a `frontswap` that has two disks. */
function fakePath(t: TestContext): string {
  const folder = join(testFolder(t), 'bin');
  mkdirSync(folder);
  writeFileSync(join(folder, 'frontswap'), '#!/bin/sh\necho swap0\necho vm1\n');
  chmodSync(join(folder, 'frontswap'), 0o755);
  return `${folder}:${process.env['PATH']}`;
}

/** The completions that bash offers for a line of these words. */
function bashOffers(path: string, words: readonly string[]): readonly string[] {
  const { stdout, stderr } = spawnSync(
    'bash',
    [
      '--norc',
      '-c',
      `eval "$SCRIPT"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _frontswap 2>&1; printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      ...words,
    ],
    { encoding: 'utf8', timeout, cwd: root, env: { PATH: path, SCRIPT: scripts['bash'] } },
  );
  assert.equal(stderr, '');
  return stdout.trim().split('\n');
}

test('bash completes commands, options, values, columns, disks and programs', {
  skip: without('bash'),
}, (t) => {
  const path = fakePath(t);
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['frontswap at', ['attach']],
    ['frontswap --ver', ['--verbose', '--version']],
    ['frontswap -q li', ['list']],
    ['frontswap host --check', ['--check']],
    ['frontswap host --codec ', ['lz4', 'lz4-native']],
    ['frontswap host --codec = lz4-', ['lz4-native']],
    ['frontswap host --unix package.j', ['package.json']],
    ['frontswap host --port ', ['']],
    ['frontswap list -o NAME,TO', ['NAME,TOTAL']],
    ['frontswap list -o +UR', ['+URI']],
    ['frontswap list ', ['swap0', 'vm1']],
    ['frontswap reset v', ['vm1']],
    ['frontswap attach -f l', ['libvirt']],
    ['frontswap help com', ['completion']],
    ['frontswap completion f', ['fish']],
    ['frontswap run --sta', ['--stats']],
    ['frontswap run --resident 1M frontsw', ['frontswap']],
    ['frontswap run --resident = 1M -- frontsw', ['frontswap']],
    ['frontswap run --resident 1M -- node package.j', ['package.json']],
    ['frontswap run --stats node --sta', ['']],
  ];
  for (const [line, want] of cases) assert.deepEqual(bashOffers(path, line.split(' ')), want, line);
});

test('bash, zsh and fish accept the script', async (t) => {
  const run = (shell: string, ...argv: readonly string[]): string => {
    const { stdout, stderr, status } = spawnSync(shell, argv, {
      encoding: 'utf8',
      timeout,
      env: { PATH: fakePath(t), SCRIPT: scripts[shell], HOME: testFolder(t) },
    });
    assert.deepEqual([status, stderr], [0, ''], shell);
    return stdout.trim();
  };
  await t.test('bash', { skip: without('bash') }, () => {
    const script = 'eval "$SCRIPT"; complete -p frontswap';
    assert.equal(run('bash', '--norc', '-c', script), 'complete -F _frontswap frontswap');
  });
  await t.test('zsh', { skip: without('zsh') }, () => {
    const script = 'autoload -Uz compinit; compinit -D -u; eval "$SCRIPT"; echo $_comps[frontswap]';
    assert.equal(run('zsh', '-f', '-c', script), '_frontswap');
  });
  await t.test('fish', { skip: without('fish') }, () => {
    const offers = (line: string): string =>
      run('fish', '--no-config', '-c', `eval (string collect $SCRIPT); complete -C '${line}'`);
    assert.match(offers('frontswap at'), /^attach\tprint what to paste/);
    assert.equal(offers('frontswap reset v'), 'vm1');
    assert.match(offers('frontswap host --check'), /^--check\t/);
    assert.match(offers('frontswap attach --format l'), /^libvirt\t?/);
    assert.match(offers('frontswap list --output NAME,TOT'), /^NAME,TOTAL/);
  });
});

test('for an unknown shell the error names it', async () => {
  const { status, stderr } = await cli(['completion', 'fisch']);
  assert.equal(status, 2);
  assert.match(
    stderr,
    /SHELL: unknown shell 'fisch'; choose one of bash, zsh, fish; did you mean 'fish'/,
  );
  assert.match((await cli(['completion'])).stderr, /SHELL: choose one of bash, zsh, fish/);
});
