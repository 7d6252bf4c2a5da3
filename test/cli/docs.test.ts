/** The reference pages list exactly the commands, options, columns and codes of the program. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { columns } from '../../src/cli/columns.ts';
import { commonOptions } from '../../src/cli/command.ts';
import { commandTable } from '../../src/cli/commands.ts';
import { checkListDocument } from '../../src/host/list-document.ts';
import { cli } from './fake-world.ts';

const root = join(import.meta.dirname, '../../..');
const page = (name: string): string => readFileSync(join(root, 'docs/reference', name), 'utf8');
const cells = (text: string): string[] =>
  [...text.matchAll(/^\|((?:\\\||[^|\n])*)\|/gm)].map((match) => (match[1] ?? '').trim());

test('cli.md lists exactly the options of every command', async () => {
  const sections = new Map(
    page('cli.md')
      .split(/^## /m)
      .map((section) => [section.split('\n')[0] ?? '', section]),
  );
  const listed = (title: string): string[] =>
    cells(sections.get(title) ?? '')
      .map((cell) => /`--([a-z-]+)/.exec(cell)?.[1] ?? '')
      .filter((name) => name !== '')
      .sort();
  const names = (options: readonly { readonly name: string }[]): string[] =>
    options.map(({ name }) => name).sort();
  assert.deepEqual(listed('Common options'), names(commonOptions));
  for (const name of [
    'run',
    'host',
    'list',
    'attach',
    'reset',
    'reload',
    'import',
    'stop',
    'doctor',
  ])
    assert.deepEqual(listed(name), names((await commandTable.load(name)).options), name);
});

test('cli.md lists every letter beside its option', async () => {
  const text = page('cli.md');
  for (const name of commandTable.names)
    for (const { short, name: long } of (await commandTable.load(name)).options)
      if (short !== undefined) assert.ok(text.includes(`\`-${short}\`, \`--${long}`), long);
});

test('cli.md lists every column and marks the default ones', () => {
  const text = page('cli.md');
  for (const { name, isDefault } of columns)
    assert.match(text, new RegExp(`[ |]${name}${isDefault ? '\\\\\\*' : '(?!\\\\)'}[, |]`), name);
});

test('errors.md lists exactly the codes', () => {
  const source = readFileSync(join(root, 'src/base/errors.ts'), 'utf8');
  const codes = [...source.matchAll(/\| '(ERR_[A-Z_]+)'/g)].map((match) => match[1] ?? '');
  const listed = cells(page('errors.md')).filter((cell) => cell.startsWith('`ERR_'));
  assert.deepEqual(listed.map((cell) => cell.replaceAll('`', '')).sort(), codes.sort());
  assert.ok(codes.length >= 8);
});

test('the example of list-json.md is a list document', () => {
  const [, json = ''] = /```json\n([\s\S]*?)```/.exec(page('list-json.md')) ?? [];
  const document = checkListDocument(JSON.parse(json));
  const [disk] = document.disks;
  assert.equal(disk?.dataBytes, (disk?.storedPages ?? 0) * 4096);
});

test('every frontswap command of frontswap.service accepts the configuration of its page', async () => {
  const howTo = join(root, 'docs/how-to');
  const unit = readFileSync(join(howTo, 'frontswap.service'), 'utf8');
  const [, toml = ''] =
    /```toml\n([\s\S]*?)```/.exec(readFileSync(join(howTo, 'install-as-a-service.md'), 'utf8')) ??
    [];
  const run = mkdtempSync(join(tmpdir(), 'fs-unit-'));
  try {
    const file = join(run, 'host.toml');
    writeFileSync(file, toml.replaceAll('/run/frontswap/', `${run}/`));
    // Node tries pkey_alloc(2), which @system-service lacks: the default action of the filter would kill it.
    assert.match(unit, /^SystemCallErrorNumber=EPERM$/m);
    const lines = [...unit.matchAll(/^Exec(\w+)=\/usr\/bin\/frontswap (.*)$/gm)];
    assert.deepEqual(
      lines.map(([, when]) => when),
      ['Start', 'Reload', 'Stop'],
    );
    for (const [, when, words = ''] of lines) {
      const argv = words.replace('/etc/frontswap/host.toml', file).split(' ');
      if (when !== 'Start') {
        // No host answers: the command was understood.
        const { status, stderr } = await cli([...argv, '--control', join(run, 'none')]);
        assert.equal(status, 3, stderr);
        continue;
      }
      assert.ok(argv.includes(file), words);
      argv.push('--check');
      const { status, stderr } = await cli(argv);
      assert.equal(status, 0, stderr);
      assert.match(stderr, /^frontswap host: the configuration is usable$/m);
    }
  } finally {
    rmSync(run, { recursive: true });
  }
});

test('the first command of attach-a-guest.md works as written', () => {
  const text = readFileSync(join(root, 'docs/how-to/attach-a-guest.md'), 'utf8');
  const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(text) ?? [];
  const program = `'${process.execPath}' '${join(root, 'build/src/cli/main.js')}'`;
  const script = block.trim().replace(/^frontswap (.*)$/m, `${program} $1 --run 'echo "$uri"'`);
  const home = mkdtempSync(join(tmpdir(), 'fs-home-'));
  try {
    const printed = execFileSync('/bin/sh', ['-euc', script], {
      encoding: 'utf8',
      env: { HOME: home, XDG_RUNTIME_DIR: home, PATH: process.env['PATH'] },
    });
    assert.equal(printed, `nbd+unix:///vm1?socket=${home}/frontswap/nbd.sock\n`);
  } finally {
    rmSync(home, { recursive: true });
  }
});
