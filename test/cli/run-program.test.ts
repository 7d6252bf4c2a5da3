/** `frontswap run`: its arguments, the environment that it sets, and the process that the program replaces. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseLimit } from '../../src/host/limits.ts';
import { usableMemory } from '../../src/os/linux/usable-memory.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { cli, type Result } from './fake-world.ts';
import { shipped, start, timeout, until } from './host-run.ts';

const root = join(import.meta.dirname, '../../..');
const register = new URL('../../src/memory/register.js', import.meta.url).href;

interface Asked extends Result {
  readonly words: readonly string[] | null;
  readonly variables: Readonly<Record<string, string>>;
}

/** What would be run, with which variables. */
async function ask(argv: readonly string[], env: Record<string, string> = {}): Promise<Asked> {
  const asked = { words: null as readonly string[] | null, variables: {} };
  const result = await cli(['run', ...argv], {
    env,
    runProgram: async (words, variables) => {
      Object.assign(asked, { words, variables });
      return 0;
    },
  });
  return { ...result, ...asked };
}

test('every option becomes the variable that register reads', async () => {
  const { words, variables } = await ask([
    ...['--resident', '256M', '--limit=1.5G', '--file', 'a b:c/swap:64M'],
    ...['--same-core', '--shared', '--workers', '--stats', '--report', 'paging.html', '--'],
    ...['node', 'app.js'],
  ]);
  assert.deepEqual(words, ['node', 'app.js']);
  assert.deepEqual(variables, {
    FRONTSWAP_RESIDENT: String(256 * 2 ** 20),
    FRONTSWAP_LIMIT: String(1.5 * 2 ** 30),
    FRONTSWAP_FILE: `${process.cwd()}/a b:c/swap:${64 * 2 ** 20}`,
    FRONTSWAP_SAME_CORE: '1',
    FRONTSWAP_SHARED: '1',
    FRONTSWAP_WORKERS: '1',
    FRONTSWAP_STATS: '1',
    FRONTSWAP_REPORT: `${process.cwd()}/paging.html`,
    FRONTSWAP_REPORT_PID: String(process.pid),
    NODE_OPTIONS: `--import=${register}`,
  });
});

test('--stats takes an interval only as --stats=INTERVAL', async () => {
  const { words, variables } = await ask(['--stats=250ms', '--resident', '1M', 'node', 'x']);
  assert.deepEqual([words, variables['FRONTSWAP_STATS']], [['node', 'x'], '250ms']);
  const next = await ask(['--resident', '1M', '--stats', '1s', 'x']);
  assert.deepEqual([next.words, next.variables['FRONTSWAP_STATS']], [['1s', 'x'], '1']);
});

test('NODE_OPTIONS of the user are kept, and the import is added once', async () => {
  const before = '--require "./a  b.cjs"';
  const { variables } = await ask(['--resident', '1M', 'x'], { NODE_OPTIONS: before });
  assert.equal(variables['NODE_OPTIONS'], `${before} --import=${register}`);
  const nested = await ask(['--resident', '1M', 'x'], {
    NODE_OPTIONS: `${variables['NODE_OPTIONS']}`,
  });
  assert.equal(nested.variables['NODE_OPTIONS'], variables['NODE_OPTIONS']);
});

test('the budget can come from the environment, and --resident overrides it', async () => {
  const env = { FRONTSWAP_RESIDENT: '2M' };
  assert.equal((await ask(['x'], env)).variables['FRONTSWAP_RESIDENT'], String(2 ** 21));
  const { variables } = await ask(['--resident', '50%', 'x'], env);
  const half = parseLimit('', '50%', usableMemory());
  assert.equal(variables['FRONTSWAP_RESIDENT'], String(half));
});

const splits: readonly [readonly string[], readonly string[]][] = [
  [
    ['--resident', '1M', 'node', '--stats', '-v'],
    ['node', '--stats', '-v'],
  ],
  [
    ['--resident=1M', '--', '--odd', '--', 'x'],
    ['--odd', '--', 'x'],
  ],
  [
    ['--resident', '1M', '-q', 'npm', 'run', '--', 'a'],
    ['npm', 'run', '--', 'a'],
  ],
  [
    ['--stats', '--resident', '1M', 'host', '--help'],
    ['host', '--help'],
  ],
];
for (const [argv, words] of splits)
  test(`run ${argv.join(' ')} runs '${words.join(' ')}'`, async () => {
    assert.deepEqual((await ask(argv)).words, words);
  });

const wrong: readonly [readonly string[], RegExp][] = [
  [
    ['node', 'app.js'],
    /--resident: specify how much memory the program may keep resident, such as 256M/,
  ],
  [['--resident', '1M'], /PROGRAM: specify what to run/],
  [['--resident', '1M', '--'], /PROGRAM: specify what to run/],
  [['--resident', 'much', 'x'], /--resident: 'much' is not a valid size/],
  [['--resident', '127K', 'x'], /--resident: '127K' is too small: at least 128K/],
  [['--resident', '0%', 'x'], /--resident: '0%' is out of range/],
  [['--resident', '1M', '--limit', '9K', 'x'], /--limit: '9K' is too small/],
  [['--resident', '1M', '--file', '/a', 'x'], /--file: '\/a' is not of the form PATH:SIZE/],
  [['--resident', '1M', '--file', '/a:b', 'x'], /--file: 'b' is not a valid size/],
  [['--resident', '1M', '--file', '/a:4K', 'x'], /--file: '4K' is too small: at least 40K/],
  [['--resident', '1M', '--stat', 'x'], /unknown option --stat; did you mean '--stats'/],
  [['--resident', '--stats', 'x'], /--resident: requires a value: SIZE/],
  [['--resident', '1M', '--stats=fast', 'x'], /--stats: 'fast' is not a valid duration; give/],
  [['--resident', '1M', '--stats=99ms', 'x'], /--stats: '99ms' is too short: at least 100ms/],
  [['--resident', '1M', '--stats=', 'x'], /--stats: '' is not a valid duration/],
  [['--resident', '1M', '--report', 'a.txt', 'x'], /--report: 'a.txt' must end with .html/],
  [['--resident', '1M', '--report', '/no/x.html', 'x'], /--report: the folder \/no does not exist/],
];
for (const [argv, message] of wrong)
  test(`run ${argv.join(' ')} fails with ${message}`, async () => {
    const { status, stderr, words } = await ask(argv);
    assert.deepEqual([status, words], [2, null]);
    assert.match(stderr, message);
    assert.match(stderr, /^frontswap run: error: .*\nSee 'frontswap run --help'\.\n$/);
  });

/** The shipped program, to its end. */
const shell = (script: string, env: Record<string, string> = {}, program = shipped): Result => {
  const run = `'${process.execPath}' '${program}' run --resident 1M`;
  const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', script.replaceAll('RUN', run)], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', ...env },
    timeout,
  });
  return { status: status ?? -1, stdout, stderr };
};

test('the exit status is that of the program; 127 not found, 126 not executable', (t) => {
  const file = join(testFolder(t), 'file');
  writeFileSync(file, 'exit 9\n');
  const ends: readonly [string, number, RegExp][] = [
    ["RUN -- sh -c 'exit 7'", 7, /^$/],
    ["RUN sh -c 'kill -TERM $$'", 143, /^(Terminated\n)?$/],
    ['RUN no-such-program', 127, /^frontswap run: error: cannot run 'no-such.*PATH\n$/],
    [`RUN ${file}/x`, 127, /cannot run .*ENOTDIR/],
    [`RUN ${file}`, 126, /permission denied \(EACCES\); check that it is a file and executable/],
    [`chmod +x ${file}; RUN ${file}`, 9, /^$/], // no #! line: /bin/sh runs it
  ];
  for (const [script, status, said] of ends) {
    const result = shell(script);
    assert.equal(result.status, status, script);
    assert.match(result.stderr, said, script);
  }
});

test('the program has input, output and signals as a shell would leave them', () => {
  const { stdout } = shell('echo typed | RUN sh -c "cat; grep -E Sig[BI] /proc/self/status"');
  assert.match(stdout, /^typed\nSigBlk:\t0+\nSigIgn:\t0+\n$/);
  // A pipe without a reader ends it, as it ends `yes` alone.
  assert.equal(shell("RUN sh -c 'yes; echo $? >&2' | head -n 1").stderr, '141\n');
});

test('a signal reaches the program, which has replaced the process', {
  timeout,
}, async (t) => {
  const script = 'trap "echo got; exit 3" TERM; echo $$; for i in $(seq 300); do sleep 0.1; done';
  const run = start(t, shipped, ['run', '--resident', '1M', 'sh', '-c', script]);
  await until(run, () => run.text.stdout !== '');
  assert.equal(run.text.stdout, `${run.child.pid}\n`);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 3);
  assert.equal(run.text.stdout, `${run.child.pid}\ngot\n`);
});

/** A program with a memory, in a folder whose name must be quoted in any list of options. */
function program(t: TestContext): string {
  const file = join(testFolder(t), 'app.mjs');
  writeFileSync(
    file,
    `import { execFileSync } from 'node:child_process';
    const memory = new WebAssembly.Memory({ initial: 64 });
    new Uint8Array(memory.buffer).fill(7);
    process.on('exit', () => memory.buffer);
    if (process.argv[2] === 'twice') execFileSync(process.execPath, [process.argv[1]], { stdio: 'inherit' });`,
  );
  return file;
}

test('memories of a Node program are paged, and those of a Node program that it starts', {
  skip: skipUnlessPaging,
  timeout,
}, (t) => {
  const { status, stderr } = shell(`RUN --stats node ${program(t)} twice`);
  assert.equal(status, 0, stderr);
  // The outer program waits for the inner one, long enough for its figures to be up to date.
  assert.match(stderr, /, [1-9][0-9]* out, [1-9][0-9]* faults\n$/);
  assert.match(stderr, /^(frontswap: 1 memory, .*\n){2}$/);
});

test('a package in a folder with spaces and special characters works', {
  skip: skipUnlessPaging,
  timeout,
}, (t) => {
  const folder = join(testFolder(t), 'a "b" %41 #c?');
  mkdirSync(folder);
  cpSync(join(root, 'build/src'), join(folder, 'src'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const argv = [join(folder, 'src/cli/main.js'), 'run', '--resident', '1M', '--stats'];
  const { status, stderr } = spawnSync(process.execPath, [...argv, 'node', program(t)], {
    encoding: 'utf8',
    timeout,
  });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /^frontswap: 1 memory, /);
});

test('a program other than Node runs unchanged', () => {
  assert.deepEqual(shell('RUN --stats echo hello'), { status: 0, stdout: 'hello\n', stderr: '' });
});

test('without exec the program is a child, with the same statuses', { timeout }, async (t) => {
  const file = new URL('../../src/cli/program.js', import.meta.url).href;
  const main = join(testFolder(t), 'child.mjs');
  writeFileSync(
    main,
    `import { runProgram } from ${JSON.stringify(file)};
    runProgram(process.argv.slice(2), { SAID: 'hello' }, null).then(
      (status) => process.exit(status),
      (error) => console.error(error.code),
    );`,
  );
  const end = (...words: string[]): readonly unknown[] => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...words], {
      encoding: 'utf8',
    });
    return [status, stdout, stderr];
  };
  assert.deepEqual(end('sh', '-c', 'echo $SAID; exit 7'), [7, 'hello\n', '']);
  assert.deepEqual(end('sh', '-c', 'kill -KILL $$'), [137, '', '']);
  assert.deepEqual(end('no-such-program'), [0, '', 'ERR_IO_NO_PROGRAM\n']);
  assert.deepEqual(end(`${main}/x`), [0, '', 'ERR_IO_NO_PROGRAM\n']);
  chmodSync(main, 0o644);
  assert.deepEqual(end(main), [0, '', 'ERR_IO_NOT_EXECUTABLE\n']);
  const script = 'trap "echo got; exit 3" TERM; echo up; for i in $(seq 300); do sleep 0.1; done';
  const run = start(t, main, ['sh', '-c', script]);
  await until(run, () => run.text.stdout !== '');
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 3);
  assert.equal(run.text.stdout, 'up\ngot\n');
});
