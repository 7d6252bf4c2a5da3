/** FRONTSWAP_STATS and FRONTSWAP_REPORT: what a paged process prints and writes. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Report } from '../../src/memory/report.ts';
import { parseStats, reportOf } from '../../src/memory/watch-settings.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url).href;
const options = { skip: skipUnlessPaging, timeout: 120_000 };

/** A memory of 16 MiB, written; the budget of the tests is 1 MiB. */
const prelude = `import { writeSync } from 'node:fs';
const memory = new WebAssembly.Memory({ initial: 256 });
const bytes = new Uint8Array(memory.buffer);
const touch = () => { for (let at = 0; at < bytes.length; at += 4096) bytes[at] = (at >> 12) | 1; };
touch();
process.on('exit', () => memory.buffer);
`;

function run(code: string, env: NodeJS.ProcessEnv, args: readonly string[] = []): Promise<Ending> {
  const argv = ['--import', register, '--input-type=module', '-e', prelude + code, '--', ...args];
  return endingOf(
    spawn(process.execPath, argv, { env: { ...process.env, FRONTSWAP_RESIDENT: '1M', ...env } }),
  );
}

const intervalLine =
  /^frontswap: \S+ resident, \S+ stored in \S+, \d+ faults\/s, \d+\.\d% stalled, \d+ pages out$/;
const summary = /^frontswap: 1 memory, .* faults$/;
const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');

const occupied: readonly (readonly [string, string])[] = [
  ['waits in Atomics.wait', 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);'],
  ['computes', 'const end = Date.now() + 1000; while (Date.now() < end) touch();'],
];
for (const [name, code] of occupied)
  test(`lines appear while the main thread ${name}`, options, async () => {
    const { stderr } = await run(`writeSync(2, 'begin\\n'); ${code} writeSync(2, 'end\\n');`, {
      FRONTSWAP_STATS: '100ms',
    });
    const [, between = ''] = /begin\n([\s\S]*)end\n/.exec(stderr) ?? [];
    const lines = linesOf(between);
    assert.ok(lines.length >= 2, stderr);
    for (const line of lines) assert.match(line, intervalLine);
  });

test('a summary is the last line, also while exit handlers run', options, async () => {
  const { code, stderr } = await run(
    `process.on('exit', () => { const end = Date.now() + 600; while (Date.now() < end) touch(); });
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);`,
    { FRONTSWAP_STATS: '100ms' },
  );
  assert.equal(code, 0, stderr);
  const lines = linesOf(stderr);
  assert.match(lines.at(-1)!, summary);
  assert.ok(
    lines.length >= 2 && lines.slice(0, -1).every((line) => intervalLine.test(line)),
    stderr,
  );
});

test('FRONTSWAP_STATS=1 prints only the summary', options, async () => {
  const { stderr } = await run('setTimeout(() => {}, 400);', { FRONTSWAP_STATS: '1' });
  const [line, ...others] = linesOf(stderr);
  assert.match(line!, summary);
  assert.deepEqual(others, []);
});

test('a reader of stderr that does not read does not stop the program', options, (t) => {
  const folder = testFolder(t);
  const file = join(folder, 'app.mjs');
  writeFileSync(
    file,
    `${prelude}import { writeFileSync } from 'node:fs';
    const end = Date.now() + 600;
    while (Date.now() < end) touch();
    writeFileSync('done', '');
    process.kill(process.pid, 'SIGKILL');`,
  );
  // The pipe is full before the program starts; its reader waits for the program.
  const node = `'${process.execPath}' --import '${register}' app.mjs`;
  const script = `{ head -c 65536 /dev/zero >&2; exec ${node}; } 2>&1 >out | while ! [ -e done ]; do sleep 0.1; done`;
  const { status } = spawnSync('/bin/sh', ['-c', script], {
    cwd: folder,
    timeout: 30_000,
    env: { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_STATS: '100ms' },
  });
  assert.equal(status, 0);
  assert.ok(existsSync(join(folder, 'done')));
});

const wrong: readonly (readonly [NodeJS.ProcessEnv, RegExp])[] = [
  [{ FRONTSWAP_STATS: 'often' }, /ERR_ARG_VALUE.*FRONTSWAP_STATS: 'often' is not a valid duration/],
  [{ FRONTSWAP_STATS: '10ms' }, /ERR_ARG_VALUE.*FRONTSWAP_STATS: '10ms' is too short/],
  [{ FRONTSWAP_REPORT: 'a.pdf' }, /ERR_ARG_VALUE.*FRONTSWAP_REPORT: 'a.pdf' must end with .html/],
];
for (const [env, message] of wrong)
  test(
    `${JSON.stringify(env)} is a warning with a code, and the program runs`,
    options,
    async () => {
      const { code, stdout, stderr } = await run(`console.log('ran');`, env);
      assert.deepEqual([code, stdout], [0, 'ran\n']);
      assert.match(stderr, message);
    },
  );

test('FRONTSWAP_STATS unset, 0 or 1 prints no lines per interval', () => {
  for (const text of [undefined, '', '0'])
    assert.deepEqual(parseStats('S', text), { atExit: false, lineMs: 0 });
  assert.deepEqual(parseStats('S', '1'), { atExit: true, lineMs: 0 });
  assert.deepEqual(parseStats('S', '1s'), { atExit: true, lineMs: 1000 });
});

test('the first process writes the file named, others insert their process id', () => {
  const env: NodeJS.ProcessEnv = { FRONTSWAP_REPORT: '/a.b/paging.html' };
  assert.deepEqual(reportOf(env, 5), { path: '/a.b/paging.html', isFirst: true });
  assert.deepEqual(reportOf(env, 6), { path: '/a.b/paging.6.html', isFirst: false });
  assert.deepEqual(reportOf({ ...env, FRONTSWAP_REPORT_PID: '6' }, 6)?.isFirst, true);
  assert.equal(reportOf({}, 5), null);
});

const page = readFileSync(join(import.meta.dirname, '../../../docs/reference/report.md'), 'utf8');

/** `a.b` of each value in the document. */
const fieldsOf = (report: Report): string[] =>
  Object.entries(report).flatMap(([name, value]) =>
    typeof value === 'object' ? Object.keys(value).map((key) => `${name}.${key}`) : [name],
  );

test('FILE.json has the fields of report.md, and figures that agree', options, async (t) => {
  const file = join(testFolder(t), 'paging.json');
  const { code, stderr } = await run('touch(); process.exit(3);', {
    FRONTSWAP_REPORT: file,
    FRONTSWAP_STATS: '1',
  });
  assert.equal(code, 3, stderr);
  const report: Report = JSON.parse(readFileSync(file, 'utf8'));
  const { totals, peaks, samples } = report;
  const listed = [...page.matchAll(/^\| `([\w.]+)`/gm)].map(([, name]) => name!);
  assert.deepEqual(listed, [...fieldsOf(report), ...samples.columns]);
  assert.deepEqual([report.process.exitCode, report.memories], [3, 1]);
  assert.equal(report.settings.residentBytes, 2 ** 20);
  assert.match(stderr, new RegExp(`, ${totals.pageIns} pages in, .* ${totals.faults} faults\n$`));
  assert.ok(totals.stalledMs > 0);
  assert.ok(totals.stalledMs < report.process.durationMs);
  // Above the budget for moments, if the thread that evicts is late; never all of the memory.
  assert.ok(peaks.residentBytes > 0 && peaks.residentBytes < 2 ** 24);
  const last = samples.rows.at(-1)!;
  const at = (name: string): number => last[samples.columns.indexOf(name)]!;
  assert.equal(at('faults'), totals.faults);
  assert.equal(at('pageOuts'), totals.pageOuts + totals.pagesDropped);
  assert.equal(at('residentBytes') + at('storedBytes'), 2 ** 24);
  assert.ok(samples.rows.every((row) => row.length === samples.columns.length));
});

test('each process with paged memory writes its own file', options, async (t) => {
  const folder = testFolder(t);
  const file = join(folder, 'paging.json');
  const app = join(folder, 'app.mjs');
  writeFileSync(app, prelude);
  const { stderr } = await run(
    `import { spawnSync } from 'node:child_process';
    const start = (...argv) => spawnSync(process.execPath, argv, { stdio: 'inherit' });
    start(process.argv[1]); // paged
    start('-e', '0'); // without a memory`,
    { FRONTSWAP_REPORT: file, NODE_OPTIONS: `--import=${register}` },
    [app],
  );
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  assert.equal(names.length, 2, `${stderr}${names}`);
  for (const name of names) {
    const { process: of }: Report = JSON.parse(readFileSync(join(folder, name), 'utf8'));
    if (name !== 'paging.json') assert.equal(name, `paging.${of.pid}.json`);
  }
});

test('the data of a process without paged memory is all zeros', options, async (t) => {
  const file = join(testFolder(t), 'paging.json');
  const child = spawn(process.execPath, ['--import', register, '-e', 'process.exit(4)'], {
    env: { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_REPORT: file },
  });
  assert.equal((await endingOf(child)).code, 4);
  const report: Report = JSON.parse(readFileSync(file, 'utf8'));
  assert.deepEqual([report.memories, report.process.exitCode, report.samples.rows], [0, 4, []]);
  assert.deepEqual(new Set(Object.values({ ...report.totals, ...report.peaks })), new Set([0]));
});

test('a process without paged memory writes that reason to the first file', options, async (t) => {
  const file = join(testFolder(t), 'paging.html');
  const child = spawn(process.execPath, ['--import', register, '-e', '0'], {
    env: { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_REPORT: file },
  });
  assert.equal((await endingOf(child)).code, 0);
  assert.match(readFileSync(file, 'utf8'), /Nothing was paged in this process/);
});

test('FILE.html loads nothing and escapes what comes from the program', options, async (t) => {
  const file = join(testFolder(t), 'paging.html');
  const argument = '<script>alert("1")</script>&amp;\'';
  await run('touch();', { FRONTSWAP_REPORT: file }, [argument]);
  const html = readFileSync(file, 'utf8');
  assert.ok(html.includes('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;&#39;'));
  assert.doesNotMatch(html, /<script|<link|<img|javascript:|\son\w+=|url\(/);
  assert.deepEqual(new Set(html.match(/https?:[^"\s]+/g)), new Set(['http://www.w3.org/2000/svg']));
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(ids.length, 8);
  assert.equal(new Set(ids).size, 8);
  for (const [, names] of html.matchAll(/aria-labelledby="([^"]+)"/g))
    for (const id of names!.split(' ')) assert.ok(ids.includes(id), id);
  assert.equal(html.match(/<svg [^>]*role="img"/g)?.length, 4);
});

const failing: readonly (readonly [string, string])[] = [
  ['is full', '2>/dev/full'],
  ['has no reader', '2>&1 | exec true'],
];
for (const [name, redirection] of failing)
  test(`output on a stderr that ${name} does not change the exit status`, options, (t) => {
    const folder = testFolder(t);
    // An exception in an exit handler would make it 1. A status that the program sets hides that.
    writeFileSync(join(folder, 'app.mjs'), prelude);
    const node = `'${process.execPath}' --import '${register}' app.mjs`;
    const script = `{ ${node}; echo $? >status; } ${redirection}`;
    for (const extra of [{ FRONTSWAP_STATS: '1' }, { FRONTSWAP_REPORT: 'none/paging.html' }]) {
      spawnSync('/bin/sh', ['-c', script], {
        cwd: folder,
        timeout: 30_000,
        env: { ...process.env, FRONTSWAP_RESIDENT: '1M', ...extra },
      });
      assert.equal(readFileSync(join(folder, 'status'), 'utf8'), '0\n', JSON.stringify(extra));
    }
  });

test(
  'a report is written although the program has replaced clocks and argv',
  options,
  async (t) => {
    const file = join(testFolder(t), 'paging.json');
    const { code, stderr } = await run(
      `performance.now = () => NaN;
    process.hrtime = () => { throw new Error('replaced'); };
    Object.defineProperty(performance, 'timeOrigin', { value: NaN });
    process.argv = ['node', 5, null, {}];`,
      { FRONTSWAP_REPORT: file },
    );
    assert.deepEqual([code, stderr], [0, '']);
    const report: Report = JSON.parse(readFileSync(file, 'utf8'));
    assert.deepEqual(report.process.argv, ['node', '5', '', '']);
    assert.ok(report.process.durationMs > 0);
    const times = report.samples.rows.map(([atMs]) => atMs!);
    assert.ok(
      times.every((atMs, i) => i === 0 || atMs >= times[i - 1]!),
      String(times),
    );
  },
);

const unwritable: readonly (readonly [string, RegExp])[] = [
  ['none/paging.html', /ENOENT/],
  ['app.mjs/paging.html', /ENOTDIR/],
  ['folder.json', /EISDIR/],
  ['full.json', /ENOSPC/],
];
test('a report that cannot be written is reported on stderr', options, async (t) => {
  const folder = testFolder(t);
  const app = join(folder, 'app.mjs');
  writeFileSync(app, `${prelude}console.log('ran');`);
  mkdirSync(join(folder, 'folder.json'));
  symlinkSync('/dev/full', join(folder, 'full.json'));
  for (const [name, why] of unwritable)
    for (const argv of [[app], ['-p', '"ran"']]) {
      const env = { FRONTSWAP_RESIDENT: '1M', FRONTSWAP_REPORT: join(folder, name) };
      const child = spawn(process.execPath, ['--import', register, ...argv], {
        env: { ...process.env, ...env },
      });
      const { code, stdout, stderr } = await endingOf(child);
      assert.deepEqual([code, stdout], [0, 'ran\n'], stderr);
      assert.match(stderr, /^frontswap: the report was not written: .*\n$/);
      assert.match(stderr, why);
    }
});

const unpaged: readonly (readonly [string, NodeJS.ProcessEnv, string])[] = [
  ['without a memory', {}, 'setTimeout(() => {}, 300)'],
  [
    'whose swap cannot be opened',
    { FRONTSWAP_FILE: '/dev/null/swap:1M' },
    'const memory = new WebAssembly.Memory({ initial: 1 }); setTimeout(() => memory, 300)',
  ],
];
for (const [name, env, code] of unpaged)
  test(`a process ${name} prints only the summary, and a report of zeros`, options, async (t) => {
    const file = join(testFolder(t), 'paging.json');
    const variables = {
      FRONTSWAP_RESIDENT: '1M',
      FRONTSWAP_STATS: '100ms',
      FRONTSWAP_REPORT: file,
    };
    const child = spawn(process.execPath, ['--no-warnings', '--import', register, '-e', code], {
      env: { ...process.env, ...variables, ...env },
    });
    const ending = await endingOf(child);
    assert.deepEqual(
      [ending.code, ending.stdout, ending.stderr],
      [0, '', 'frontswap: 0 memories, nothing was paged\n'],
    );
    const { memories, settings, samples, totals }: Report = JSON.parse(readFileSync(file, 'utf8'));
    assert.deepEqual([memories, settings.residentBytes, samples.rows], [0, 2 ** 20, []]);
    assert.deepEqual(new Set(Object.values(totals)), new Set([0]));
  });
