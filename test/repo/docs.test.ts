/**
 * What README and docs/ show is what happens: console blocks are run, links lead somewhere, examples end well. A block that
 * begins with ```js NAME is the file NAME in the folder where the page's commands run; packages are found from there.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const pages = [
  ...readdirSync(root).filter((f) => f.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true })
    .map((f) => join('docs', String(f)))
    .filter((f) => f.endsWith('.md')),
];
const textOf = (page: string): string => readFileSync(join(root, page), 'utf8');
const program = join(root, 'build/src/cli/main.js');

interface Session {
  readonly page: string;
  readonly command: string;
  readonly output: string;
}

/** `$ command` lines of ```console blocks, each with the lines that follow it. */
function sessionsOf(page: string): Session[] {
  const found: Session[] = [];
  for (const [, block] of textOf(page).matchAll(/```console\n([\s\S]*?)```/g)) {
    const parts = (block ?? '').split(/^\$ /m).slice(1);
    for (const part of parts) {
      const [command = '', ...output] = part.split('\n');
      found.push({ page, command, output: output.join('\n').trim() });
    }
  }
  return found;
}

/** The page's files, and node_modules with this package as it is built and the other packages that pages use. */
function furnish(folder: string, page: string): void {
  for (const [, name, text] of textOf(page).matchAll(/```js (\S+)\n([\s\S]*?)```/g))
    writeFileSync(join(folder, name ?? ''), text ?? '');
  mkdirSync(join(folder, 'node_modules'));
  // The package as the build links it for the examples.
  symlinkSync(
    join(root, 'build/examples/node_modules/frontswap'),
    join(folder, 'node_modules/frontswap'),
  );
  const other = 'node_modules/node-sqlite3-wasm';
  symlinkSync(join(root, other), join(folder, other));
}

const tools = ['nbdinfo', 'nbdcopy', 'qemu-io', 'qemu-img'];
const installed = (tool: string): boolean => {
  try {
    execFileSync('which', [tool], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

for (const { page, command, output } of pages.flatMap(sessionsOf)) {
  const missing = tools.filter((tool) => command.includes(tool) && !installed(tool));
  const skip = missing.length > 0 && process.env['CI'] !== 'true' ? `${missing} missing` : false;
  test(`${page}: ${command}`, { skip }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'frontswap-docs-'));
    try {
      furnish(folder, page);
      const own = command.replaceAll('npx frontswap', `${process.execPath} ${program}`);
      const printed = execFileSync('bash', ['-c', own], {
        cwd: folder,
        encoding: 'utf8',
        timeout: 60_000,
        env: { ...process.env, XDG_RUNTIME_DIR: folder },
      });
      assert.equal(printed.trim(), output);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

/** The files that a page links to, relative to the root. */
const linksOf = (page: string): string[] =>
  [...textOf(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, target]) =>
    relative(root, resolve(root, dirname(page), target ?? '')),
  );

test('links between pages lead to files', () => {
  const dead = pages.flatMap((page) =>
    linksOf(page)
      .filter((target) => !existsSync(join(root, target)))
      .map((target) => `${page} -> ${target}`),
  );
  assert.deepEqual(dead, []);
});

/** Pages of the package about the repository, which may link to its source. */
const isAboutRepository = (page: string): boolean =>
  page === 'CONTRIBUTING.md' || page === 'docs/features.md' || page.includes('/contribute/');

test('links of the pages in the package lead to files in the package', () => {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const text = execFileSync('npm', args, { cwd: root, encoding: 'utf8', timeout: 60_000 });
  const [{ files }] = JSON.parse(text) as [{ files: readonly { path: string }[] }];
  const packed = files.map(({ path }) => path);
  const isPacked = (target: string): boolean =>
    packed.some((path) => path === target || path.startsWith(`${target}/`));
  const dead = packed
    .filter((path) => path.endsWith('.md') && !isAboutRepository(path))
    .flatMap((page) =>
      linksOf(page)
        .filter((target) => !isPacked(target))
        .map((target) => `${page} -> ${target}`),
    );
  assert.deepEqual(dead, []);
});

// Those in folders run more than one process, and are tested in test/examples; `remote` needs a server, which
// scripts/test-tarball.mjs starts.
const examples = readdirSync(join(root, 'examples')).filter((f) => f.endsWith('.ts'));
for (const example of examples.filter((f) => f !== 'remote.ts'))
  test(`examples/${example} runs to its end`, () => {
    const compiled = join(root, 'build/examples', example.replace(/\.ts$/, '.js'));
    execFileSync(process.execPath, [compiled], { stdio: 'pipe', timeout: 120_000 });
  });

test('the library reference and api/ match the declarations', () => {
  execFileSync(process.execPath, [join(root, 'scripts/api-docs.mjs'), '--check'], {
    stdio: 'pipe',
    timeout: 120_000,
  });
});
