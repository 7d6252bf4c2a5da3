/** `frontswap doctor --run`: real runs of small programs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { testFolder } from '../support/fixtures/folder.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { cli, type Result } from './fake-world.ts';
import { shipped, timeout } from './host-run.ts';

const options = { skip: skipUnlessPaging, timeout };

function doctor(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Result {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [shipped, 'doctor', '--run', ...argv],
    { encoding: 'utf8', timeout, env: { ...process.env, ...env } },
  );
  return { status: status ?? -1, stdout, stderr };
}

/** 32 MiB, written once, then work in 2 MiB of it. Counts its runs in a file. */
function program(t: TestContext): { readonly file: string; readonly runs: () => number } {
  const folder = testFolder(t);
  const file = join(folder, 'app.mjs');
  const count = join(folder, 'runs');
  writeFileSync(
    file,
    `import { appendFileSync } from 'node:fs';
    appendFileSync(${JSON.stringify(count)}, 'x');
    console.log('out', ...process.argv.slice(2));
    const memory = new WebAssembly.Memory({ initial: 512 });
    const numbers = new Uint32Array(memory.buffer);
    for (let i = 0; i < numbers.length; i += 64) numbers[i] = i;
    for (let round = 0; round < 200; round++)
      for (let i = 0; i < numbers.length / 16; i += 512) numbers[i] += round;
    // A run with a smaller budget has four times this time, so that a busy machine does not make it too slow.
    setTimeout(() => memory.buffer, 1500);`,
  );
  return { file, runs: () => readFileSync(count, 'utf8').length };
}

test('a program is measured and a budget suggested', options, (t) => {
  const { file, runs } = program(t);
  const { status, stdout, stderr } = doctor(['--json', file, 'a b', '--json']);
  assert.equal(status, 0, stderr);
  const found = JSON.parse(stdout);
  assert.deepEqual(found.program, [process.execPath, file, 'a b', '--json']);
  assert.equal(stderr, 'out a b --json\n'); // of the first run; no progress without a terminal
  assert.equal(found.peakBytes, 32 * 2 ** 20);
  assert.equal(runs(), found.runs.length + 1);
  const [full, ...others] = found.runs;
  assert.deepEqual([full.measured.pageIns, full.measured.pageOuts], [0, 0]);
  assert.ok(others.length > 0);
  const { workingSetBytes, suggestedResidentBytes } = found;
  assert.ok(workingSetBytes >= 2 ** 21 && workingSetBytes <= 16 * 2 ** 20, workingSetBytes);
  const chosen = others.find(
    (run: { residentBytes: number }) => run.residentBytes === workingSetBytes,
  );
  assert.ok(chosen.measured.pageIns <= (1.5 * found.peakBytes) / 4096);
  const saved = found.plain.maxRssBytes - chosen.measured.maxRssBytes;
  assert.deepEqual(
    [suggestedResidentBytes, found.savedBytes],
    saved > 0 ? [workingSetBytes, saved] : [null, 0],
  );
});

test('the text names peak, working set and a conclusion', options, (t) => {
  const { status, stdout, stderr } = doctor([program(t).file]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^BUDGET +TIME +STALLED +PAGES-IN +PEAK-RSS\n +none /);
  assert.match(stdout, /\nPeak of paged memory: 32M\nWorking set: at most \S+; /);
  assert.match(stdout, /\n(Suggested: --resident \S+\nMeasured saving: |No budget is suggested: )/);
});

const failures: readonly (readonly [readonly string[], number, RegExp])[] = [
  [['sh', '-c', 'exit 4'], 1, /error: the program exited with status 4 in the run without paging/],
  [['sh', '-c', 'kill -9 $$'], 1, /was ended by the signal SIGKILL in the run without paging/],
  [
    ['sh', '-c', 'test -z "$FRONTSWAP_RESIDENT" || exit 5; exec node -e 0'],
    1,
    /exited with status 5 in the run with all memory resident/,
  ],
  [['node', '-e', '0'], 1, /cannot be measured: it has no WebAssembly memory that can be paged/],
  [['true'], 1, /cannot be measured: none of its Node processes ran to completion/],
  [['no-such-program'], 127, /cannot run 'no-such-program': it is not in PATH/],
];
for (const [argv, status, message] of failures)
  test(`doctor --run ${argv.join(' ')} exits ${status} and says why`, options, () => {
    const result = doctor(argv);
    assert.deepEqual([result.status, result.stdout], [status, '']);
    assert.match(result.stderr, message);
  });

test(
  'doctor --run exits 126 if the program is not executable, 127 if not found; /bin/sh runs a file without #!',
  options,
  (t) => {
    const folder = testFolder(t);
    const file = join(folder, 'file');
    writeFileSync(file, 'exit 9\n');
    const script = join(folder, 'script');
    writeFileSync(script, 'exit 9\n', { mode: 0o755 });
    const ends: readonly [string, number, RegExp][] = [
      [file, 126, /cannot run '.*file': permission denied \(EACCES\)/],
      [folder, 126, /cannot run '.*': permission denied \(EACCES\)/],
      [join(file, 'x'), 127, /cannot run '.*file\/x': .*ENOTDIR/],
      [join(folder, 'none'), 127, /cannot run '.*none': .*/],
      ['', 127, /cannot run '': it is not in PATH/],
      [script, 1, /exited with status 9 in the run without paging/],
    ];
    for (const [word, status, message] of ends) {
      const result = doctor([word]);
      assert.deepEqual([result.status, result.stdout], [status, ''], word);
      assert.match(result.stderr, message);
    }
  },
);

test('variables of an outer frontswap run do not reach the program', options, (t) => {
  const { file } = program(t);
  const folder = testFolder(t);
  const outer = join(folder, 'outer.json');
  const seen = join(folder, 'seen');
  const app = join(folder, 'names.mjs');
  writeFileSync(
    app,
    `import { appendFileSync } from 'node:fs';
    const names = Object.keys(process.env).filter((name) => name.startsWith('FRONTSWAP_'));
    appendFileSync(${JSON.stringify(seen)}, names.sort().join() + '\\n');
    await import(${JSON.stringify(file)});`,
  );
  const { status, stdout, stderr } = doctor(['--json', app], {
    FRONTSWAP_RESIDENT: '1M',
    FRONTSWAP_LIMIT: '1M',
    FRONTSWAP_FILE: `${folder}/swap:1M`,
    FRONTSWAP_BUFFERS: '1M',
    FRONTSWAP_SAME_CORE: '1',
    FRONTSWAP_STATS: '1',
    FRONTSWAP_REPORT: outer,
    FRONTSWAP_REPORT_PID: '1',
    FRONTSWAP_STRICT: '1',
  });
  assert.equal(status, 0, stderr);
  const [plain, ...paged] = readFileSync(seen, 'utf8').trimEnd().split('\n');
  assert.equal(plain, 'FRONTSWAP_RECORD');
  const names = 'FRONTSWAP_REPORT,FRONTSWAP_REPORT_PID,FRONTSWAP_RESIDENT';
  assert.deepEqual(new Set(paged), new Set([names]));
  assert.equal(paged.length, JSON.parse(stdout).runs.length);
  assert.deepEqual([stderr, existsSync(outer)], ['out\n', false]);
});

test('the plain run inside a frontswap run is not paged', options, (t) => {
  const { status, stdout, stderr } = doctor(['--json', program(t).file], {
    FRONTSWAP_RESIDENT: '1M',
    NODE_OPTIONS: `--import=${new URL('../../src/memory/register.js', import.meta.url).href}`,
  });
  assert.equal(status, 0, stderr);
  const { plain, peakBytes } = JSON.parse(stdout);
  assert.equal(peakBytes, 32 * 2 ** 20);
  assert.ok(plain.maxRssBytes > peakBytes, 'all of its memory is resident');
  assert.equal(stderr, 'out\n');
});

test('a run that hangs with a small budget is stopped, and no budget suggested', options, (t) => {
  const { file } = program(t);
  const slow = join(testFolder(t), 'slow.mjs');
  writeFileSync(
    slow,
    `await import(${JSON.stringify(file)});
    if (Number(process.env.FRONTSWAP_RESIDENT) < 2 ** 26) setInterval(() => {}, 1000);`,
  );
  const { status, stdout, stderr } = doctor(['--json', slow]);
  assert.equal(status, 0, stderr);
  const { runs, workingSetBytes, suggestedResidentBytes } = JSON.parse(stdout);
  assert.deepEqual([workingSetBytes, suggestedResidentBytes], [null, null]);
  assert.deepEqual(
    runs.map(({ outcome }: { outcome: string }) => outcome),
    ['ok', 'slow', 'slow'],
  );
});

test('doctor takes a command only with --run, which requires one', async () => {
  const words = await cli(['doctor', 'app.js']);
  assert.equal(words.status, 2);
  assert.match(words.stderr, /unexpected argument 'app.js'/);
  const none = await cli(['doctor', '--run']);
  assert.equal(none.status, 2);
  assert.match(none.stderr, /--run: specify what to run, such as: frontswap doctor --run app.js/);
});
