/** Finding commands and options, help, versions, colours, exit statuses. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { columns } from '../../src/cli/columns.ts';
import { commonOptions } from '../../src/cli/command.ts';
import { commandTable } from '../../src/cli/commands.ts';
import { library } from '../../src/cli/help.ts';
import { wantsColor } from '../../src/cli/style.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { cli } from './fake-world.ts';

const root = join(import.meta.dirname, '../../..');

/** argv, what stderr must name. All exit 2 and print no data. */
const wrong: readonly [readonly string[], RegExp][] = [
  [['hots'], /^frontswap: error: unknown command 'hots'; did you mean 'host'\?/],
  [
    ['zzz'],
    /unknown command 'zzz'; available commands: run, host, list, attach, stat, top, dashboard, events, add, remove, set, freeze, thaw, flush, reset, reload, check, import, stop, tmem-list, tmem-set, tmem-freeze, tmem-thaw, tmem-destroy, tmem-save, tmem-restore, tmem-freeable, doctor, completion, help, version/,
  ],
  [['toString'], /unknown command 'toString'/],
  [['help', 'lits'], /^frontswap help: error: unknown command 'lits'; did you mean 'list'/],
  [['--frob'], /^frontswap: error: unknown option --frob/],
  [
    ['host', '--prot', '1'],
    /^frontswap host: error: unknown option --prot; did you mean '--port'\?/,
  ],
  [['host', '-Z'], /unknown option -Z\n/],
  [['host', '--port'], /--port: requires a value: PORT/],
  [['host', '--port', '--no-control'], /--port: requires a value: PORT; if it is '--no-control'/],
  [['host', '--no-control=yes'], /--no-control: does not take a value, but got 'yes'/],
  [['host', '--port', '99999'], /--port: '99999' is not a whole number/],
  [['host', '--limit', '12x'], /--limit: '12x' is not a valid size/],
  [['host', '--limit=-5'], /--limit: '-5' is negative/],
  [['host', '--disk', 'a'], /--disk: 'a' is not of the form/],
  [['host', '--disk', 'a=1G', '--disk', 'a=1G'], /--disk: duplicate disk 'a'/],
  [['host', '-U', 'a', '-U', 'b'], /--unix is given twice: 'a' and 'b'/],
  [['host', '--check', '-U', 'a', '--unix=b'], /--unix is given twice/],
  [['host', '--check', '--limit=1K'], /--limit: '1K' is too small: at least 256K/],
  [['host', '--check', '--disk=a=1G,limit=1M,limit=2M'], /--disk: duplicate 'limit'/],
  [['list', '-o', 'NAME', '-o', 'DATA'], /--output is given twice/],
  [['host', '-e', 'b'], /--exportname: no disk 'b'/],
  [['host', '--codec', 'lzo'], /--codec: 'lzo' is not a codec/],
  [
    ['host', '--control', '/x', '--no-control'],
    /--control and --no-control are mutually exclusive/,
  ],
  [['host', 'swap0'], /unexpected argument 'swap0'/],
  [['list', '-o', 'NAM'], /--output: unknown column 'NAM'; did you mean 'NAME'/],
  [['list', '-o', 'NAME,'], /--output: 'NAME,' has an empty column name/],
  [['list', '-o', 'zzzzz'], /unknown column 'zzzzz'; available columns: NAME, ALGORITHM/],
  [['list', '-o', 'NAME', '--output-all'], /--output and --output-all are mutually exclusive/],
  [['attach'], /--format: choose one of qemu, libvirt, cloud-hypervisor, firecracker, nbd-client/],
  [['attach', '--format', 'vmware'], /--format: unknown format 'vmware'/],
  [['attach', '-f', 'qemu', '--uri', 'x'], /--uri: 'x' is not a URI/],
  [['attach', '-f', 'qemu', '--uri', 'nbd://h/a', 'b'], /--uri is for disk 'a', but NAME is 'b'/],
  [['attach', '-f', 'qemu', 'a', 'b'], /unexpected argument 'b'/],
  [['version', 'x'], /unexpected argument 'x'/],
];
for (const [argv, message] of wrong)
  test(`'frontswap ${argv.join(' ')}' exits 2 with ${message}`, async () => {
    const { status, stdout, stderr } = await cli(argv);
    assert.equal(status, 2);
    assert.match(stderr, message);
    assert.match(stderr, /See 'frontswap.* --help'\./);
    assert.equal(stdout, '');
  });

test('without arguments frontswap prints the overview on stderr and exits 2', async () => {
  const { status, stdout, stderr } = await cli([]);
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.equal(stderr, (await cli(['--help'])).stdout);
});

test('the overview lists every interface in groups, one per line', async () => {
  const { stdout } = await cli(['--help']);
  const sections = stdout.split(/\n(?=[A-Z][a-z]+: |General\n)/).slice(1);
  assert.deepEqual(
    sections.map((section) => section.split(/[:\n]/)[0]),
    ['Memory', 'Disk', 'Tmem', 'Library', 'General'],
  );
  const [memory, disk, tmem, library, general] = sections;
  assert.match(memory ?? '', /\n {2}run /);
  assert.match(disk ?? '', /\n {2}host [^\n]+\n {2}list [^\n]+\n {2}attach /);
  assert.match(tmem ?? '', /\n {2}tmem-list /);
  assert.match(library ?? '', /\n {2}frontswap /);
  assert.match(general ?? '', /\n {2}doctor /);
  for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
});

test('the entry points that the overview lists are those of the package', () => {
  const { exports } = JSON.parse(
    readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
  ) as { readonly exports: Readonly<Record<string, unknown>> };
  const others = ['./register', './package.json'];
  assert.deepEqual(
    library.map(([name]) => (name === 'frontswap' ? '.' : name.replace('frontswap', '.'))).sort(),
    Object.keys(exports)
      .filter((name) => !others.includes(name))
      .sort(),
  );
});

test('help list has one line per column', async () => {
  const { stdout } = await cli(['help', 'list']);
  for (const { name, isDefault } of columns)
    assert.match(stdout, new RegExp(`\\n {2}${name}${isDefault ? '\\*' : ''} +[A-Za-z]`), name);
});

test('-h, --help and help print the overview, examples first', async () => {
  const results = await Promise.all([cli(['-h']), cli(['--help']), cli(['help'])]);
  for (const { status, stdout, stderr } of results) {
    assert.deepEqual([status, stderr], [0, '']);
    assert.ok(stdout.indexOf('Examples') < stdout.indexOf('Usage'));
    for (const name of commandTable.names) assert.match(stdout, new RegExp(`\n {2}${name} `));
  }
});

for (const name of commandTable.names)
  test(`help on ${name}: examples first, every option, no line over 80 columns`, async () => {
    const { status, stdout } = await cli(['help', name]);
    assert.equal(status, 0);
    assert.deepEqual(await cli([name, '-h']), { status, stdout, stderr: '' });
    assert.ok(stdout.indexOf('Examples') < stdout.indexOf('Usage'));
    const command = await commandTable.load(name);
    for (const option of [...command.options, ...commonOptions])
      assert.match(stdout, new RegExp(`--${option.name}\\b`));
    const examples = new Set(
      command.examples.flatMap(({ line, what }) => [`  ${line}`, `  # ${what}`]),
    );
    for (const line of stdout.split('\n'))
      assert.ok(line.length <= 80 || examples.has(line), `'${line}'`);
  });

test('--help overrides other errors', async () => {
  const { status, stdout } = await cli(['attach', '--help']);
  assert.equal(status, 0);
  assert.match(stdout, /frontswap attach/);
});

test('version, --version and COMMAND --version print the package version', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const argv of [['version'], ['--version'], ['host', '--version'], ['-V'], ['list', '-V']])
    assert.deepEqual(await cli(argv), { status: 0, stdout: `frontswap ${version}\n`, stderr: '' });
  const { stdout } = await cli(['version', '--json']);
  assert.deepEqual(JSON.parse(stdout), {
    frontswap: version,
    node: process.version,
    platform: process.platform,
    arch: process.arch,
  });
});

test('without a host a command exits 3, with advice', async () => {
  for (const command of [['list'], ['attach', '-f', 'qemu']]) {
    const { status, stdout, stderr } = await cli([...command, '--control', '/nowhere/c']);
    assert.deepEqual([status, stdout], [3, '']);
    assert.match(stderr, /no host answers on \/nowhere\/c \(ENOENT\); start one with/);
    assert.doesNotMatch(stderr, /See/);
  }
});

test('FRONTSWAP_CONTROL names the host, --control overrides it', async () => {
  const env = { FRONTSWAP_CONTROL: '/nowhere/env' };
  assert.match((await cli(['list'], { env })).stderr, /\/nowhere\/env/);
  assert.match(
    (await cli(['list', '--control', '/nowhere/arg'], { env })).stderr,
    /\/nowhere\/arg/,
  );
});

test('-v adds code and causes to an error', async () => {
  const { stderr } = await cli(['list', '-v', '--control', '/nowhere/c']);
  assert.match(stderr, /^querying the host on \/nowhere\/c\n/);
  assert.match(stderr, /code: ERR_IO_NOT_REACHABLE\n {2}cause: connect ENOENT/);
});

test('a bug is reported with the stack, and exits 1', async () => {
  const { status, stderr } = await cli(['host', '--no-control', '-U', '/tmp/never']);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /bug of frontswap; please report it\nError: this test starts no host\n +at /,
  );
});

test('--check starts nothing, and is quiet with -q', async (t) => {
  const argv = ['host', '--check', '-U', join(testFolder(t), 's'), '--no-control'];
  const usable = await cli([...argv, '--disk', 'a=1G']);
  assert.deepEqual(usable, {
    status: 0,
    stdout: '',
    stderr: 'frontswap host: the configuration is usable\n',
  });
  assert.equal((await cli([...argv, '-q'])).stderr, '');
});

test('a missing configuration file exits 1 and names the option', async () => {
  const { status, stderr } = await cli(['host', '-C', '/nowhere/host.toml']);
  assert.equal(status, 1);
  assert.match(stderr, /cannot read \/nowhere\/host.toml: .*ENOENT.*--config/);
});

const colors: readonly [string, boolean, Record<string, string>, boolean, boolean][] = [
  ['a terminal', true, { TERM: 'xterm' }, false, true],
  ['a pipe', false, { TERM: 'xterm' }, false, false],
  ['a dumb terminal', true, { TERM: 'dumb' }, false, false],
  ['NO_COLOR', true, { NO_COLOR: '1' }, false, false],
  ['an empty NO_COLOR', true, { NO_COLOR: '' }, false, true],
  ['FORCE_COLOR on a pipe', false, { FORCE_COLOR: '1', TERM: 'dumb' }, false, true],
  ['FORCE_COLOR=0', true, { FORCE_COLOR: '0' }, false, false],
  ['NO_COLOR and FORCE_COLOR', true, { NO_COLOR: '1', FORCE_COLOR: '1' }, false, false],
  ['--no-color and FORCE_COLOR', true, { FORCE_COLOR: '1' }, true, false],
];
for (const [what, isTerminal, env, noColor, want] of colors)
  test(`output has colours with ${what}: ${want}`, () => {
    const output = { isTerminal, columns: 80, write: () => undefined };
    assert.equal(wantsColor(output, env, noColor), want);
  });

test('help and errors have colours exactly when requested', async () => {
  const colored = { isTerminal: true, env: { TERM: 'xterm' } };
  const ansi = '\x1b[';
  assert.ok((await cli(['help'], colored)).stdout.includes(ansi));
  assert.ok((await cli(['zzz'], colored)).stderr.includes(ansi));
  assert.ok(!(await cli(['help', '--no-color'], colored)).stdout.includes(ansi));
  assert.ok(!(await cli(['zzz', '--no-color'], colored)).stderr.includes(ansi));
  assert.ok(!(await cli(['help'])).stdout.includes(ansi));
});
