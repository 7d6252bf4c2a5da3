/** Configuration files: TOML, drop-ins, errors with the place of the value, and hostile input. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../../fuzz/config.ts';
import { DROP_INS_MAX, dropInFolders, dropInsOf } from '../../../src/host/config/drop-ins.ts';
import type { HostConfig } from '../../../src/host/config/host-config.ts';
import { PROBLEMS_MAX, Problems } from '../../../src/host/config/problems.ts';
import { FILE_BYTES_MAX } from '../../../src/host/config/read-text.ts';
import { readHostConfig } from '../../../src/host/config/sources.ts';
import { DEPTH_MAX } from '../../../src/host/config/toml-file.ts';
import { testFolder } from '../../support/fixtures/folder.ts';
import { testSeed } from '../../support/fixtures/replay.ts';

const G = 1024 ** 3;
const memory = { bytes: 16 * G, isGroupLimit: false };
const timeout = 60_000;

type Files = Readonly<Record<string, string>>;

/** Writes files into a folder and reads `h.toml`. */
function read(
  folder: string,
  files: Files,
  flags: Record<string, string | string[]> = {},
): HostConfig {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const file = join(folder, 'h.toml');
  return readHostConfig({ file, flags: new Map(Object.entries(flags)) }, { memory });
}

/** The message of the error, without the folder. */
function messageOf(folder: string, files: Files): string {
  try {
    read(folder, files);
  } catch (error) {
    return (error as Error).message.replaceAll(`${folder}/`, '');
  }
  return assert.fail('it was accepted');
}

const sample = `# a comment
port = 0
total-limit = "25%"
tls-verify-peer = false

[disks.vm1]
size = "4G"
limit = 536870912
shared = true
keep = 600
rate = "50M"
allow-uid = [1000, 1001]
allow-gid = "none"

[disks]
"a.b" = { size = '1G', keep = "never" }
`;

test('a file has settings and disks with the values of TOML', (t) => {
  const config = read(testFolder(t), { 'h.toml': `unix = "/s"\n${sample}` });
  assert.deepEqual(config.disks, [
    {
      name: 'vm1',
      sizeBytes: 4 * G,
      limitBytes: G / 2,
      isShared: true,
      keepSeconds: 600,
      rateBytes: 50 * 2 ** 20,
      access: { uids: [1000, 1001], gids: [] },
    },
    {
      name: 'a.b',
      sizeBytes: G,
      limitBytes: 0,
      isShared: false,
      keepSeconds: null,
      rateBytes: 0,
    },
  ]);
  assert.deepEqual([config.unix, config.tcp?.port, config.totalLimitBytes], ['/s', 0, 4 * G]);
});

test('a path has at most 4096 characters; a command may have several lines', (t) => {
  const pidfile = `/${'p'.repeat(4095)}`;
  const command = 'true\n\ttrue';
  const config = read(testFolder(t), {
    'h.toml': `pidfile = '${pidfile}'\nrun = '''${command}'''`,
  });
  assert.deepEqual([config.pidFile, config.run], [pidfile, command]);
});

test('without a file, and with an empty one, the settings are those of no options', (t) => {
  const none = readHostConfig({ file: null, flags: new Map() }, { memory });
  assert.deepEqual(read(testFolder(t), { 'h.toml': '' }), none);
  assert.equal(none.disks[0]?.name, 'swap0');
});

test('drop-ins override key by key in the order of their names, and flags override all', (t) => {
  const files = {
    'h.toml': 'unix = "/s"\nmax-clients = 1\n[disks.a]\nsize = "1G"\nkeep = 1\nrate = "1M"',
    'h.toml.d/20-b.toml': 'max-clients = 3\n[disks.a]\nkeep = 3\n[disks.c]\nsize = "2G"',
    'h.toml.d/10-z.toml': 'max-clients = 2\ncodec = "lz4-native"\n[disks.a]\nkeep = 2',
    'h.toml.d/.hidden.toml': 'wrong',
    'h.toml.d/backup.toml~': 'wrong',
  };
  const folder = testFolder(t);
  const { maxClients, codec, disks } = read(folder, files);
  assert.deepEqual([maxClients, codec], [3, 'lz4-native']);
  const shown = ({ name, keepSeconds, rateBytes }: HostConfig['disks'][number]): unknown => [
    ...[name, keepSeconds, rateBytes],
  ];
  assert.deepEqual(disks.map(shown), [
    ['a', 3, 2 ** 20],
    ['c', null, 0],
  ]);
  const flagged = read(folder, files, { 'max-clients': '9', disk: ['a=4G,keep=4', 'd=1G'] });
  assert.equal(flagged.maxClients, 9);
  assert.deepEqual(flagged.disks.map(shown), [
    ['a', 4, 2 ** 20],
    ['c', null, 0],
    ['d', null, 0],
  ]);
  assert.equal(flagged.disks[0]?.sizeBytes, 4 * G);
});

test('a file of /etc has the drop-ins of /usr/lib and /run, too; a link to /dev/null masks', (t) => {
  const root = testFolder(t);
  const put = (path: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), '');
  };
  const file = join(root, 'etc/frontswap/host.toml');
  for (const path of ['usr/lib', 'run', 'etc']) put(`${path}/frontswap/host.toml.d/10-all.toml`);
  for (const name of ['20-lib', '40-masked']) put(`usr/lib/frontswap/host.toml.d/${name}.toml`);
  put('run/frontswap/host.toml.d/15-run.toml');
  put('usr/lib/frontswap/host.toml.d/15-run.toml');
  symlinkSync('/dev/null', join(root, 'etc/frontswap/host.toml.d/40-masked.toml'));
  const problems = new Problems();
  const found = dropInsOf(file, problems, root).map((path) => path.slice(root.length + 1));
  assert.deepEqual(found, [
    'etc/frontswap/host.toml.d/10-all.toml',
    'run/frontswap/host.toml.d/15-run.toml',
    'usr/lib/frontswap/host.toml.d/20-lib.toml',
  ]);
  assert.equal(problems.count, 0);
  assert.deepEqual(dropInFolders('/srv/h.toml'), ['/srv/h.toml.d']);
  assert.deepEqual(dropInFolders('/etc.toml'), ['/etc.toml.d']);
});

const wrong: readonly [string, RegExp][] = [
  ['port = 1\nprot = 1', /^h.toml:2: prot: unknown setting 'prot'; did you mean 'port'\?$/],
  [
    'disk = ["a=1G"]',
    /^h.toml:1: disk: unknown setting 'disk': describe a disk by .*\[disks.NAME\]/,
  ],
  ['toString = 1\n', /^h.toml:1: toString: unknown setting 'toString'/],
  ['__proto__ = 1\n', /^h.toml:1: __proto__: unknown setting/],
  ['[disks.a]\nsize="1G"\n__proto__ = 1\n', /^h.toml:3: disks.a.__proto__: a disk has no option/],
  ['[disks.a]\nsise="1G"\nsize="1G"', /:2: disks.a.sise: .*no option 'sise'; did you mean 'size'/],
  ['[disks.a.b]\nsize="1G"', /a disk has no option 'b'; quote a name with a dot: \[disks."a.b"\]/],
  ['[disks.a]\n', /^h.toml:1: disks.a: size: is missing: write size = "1G"$/],
  ['[disks.a]\nsize = "1G"\nlimit = "4K"', /^h.toml:3: disks.a.limit: '4K' is too small/],
  ['[disks.a]\nsize = 1.5', /:2: disks.a.size: '1.5' is neither a string nor a whole number$/],
  ['[disks.a]\nsize = -1', /'-1' is neither/],
  ['[disks.a]\nsize = nan', /'NaN' is neither/],
  ['[disks.a]\nsize = 1979-05-27', /disks.a.size: a date is neither/],
  ['[disks.a]\nsize = "1G"\nshared = "yes"', /:3: disks.a.shared: 'yes' is neither on nor off/],
  ['[disks.a]\nsize = "1G"\nbacking = ""', /:3: disks.a.backing: '' is empty/],
  ['[disks.a]\nsize = "1G"\nallow-uid = ["root"]', /allow-uid: an array is not a list of numeric/],
  ['[disks.a]\nsize = "1G"\nkeep = 31536001', /keep: '31536001' is not a whole number of seconds/],
  ['disks = 1', /^h.toml:1: disks: '1' is not a table: write \[disks.NAME\]/],
  ['[[disks]]\nsize = "1G"', /^h.toml:1: disks: an array is not a table/],
  ['\n[disks]\n', /^h.toml:2: disks: contains no disk/],
  ['[disks]\nvm1 = "4G"', /^h.toml:2: disks.vm1: '4G' is not a table: write \[disks.vm1\]/],
  ['[disks."a b"]\nsize="1G"', /:1: disks."a b": 'a b' is not a valid disk name/],
  ['[disks."\\u001b[2J"]\nsize="1G"', /'\\x1b\[2J' is not a valid disk name/],
  ['unix = "\\u001b[2J@"\ncodec="\\u009b"', /codec: '\\x9b' is not a codec/],
  ['"a\\u001b\\n" = 1', /^h.toml:1: "a\\x1b\\x0a": unknown setting 'a\\x1b\\x0a'$/],
  [
    '[disks.a]\nsize="1G"\n"\\u001b"={}',
    /no option '\\x1b'; quote a name with a dot: \[disks."a.\\x1b"\]$/,
  ],
  ['unix = "/\\u001b"', /^h.toml:1: unix: '\/\\x1b' contains control characters$/],
  ['[disks.a]\nsize="1G"\nbacking="/\\u0000"', /backing: '\/\\x00' contains control characters$/],
  ['run = "a\\u0000"', /^h.toml:1: run: 'a\\x00' contains a NUL$/],
  [
    `pidfile = "${'p'.repeat(4097)}"`,
    /^h.toml:1: pidfile: 'p{80}...' is longer than 4096 characters/,
  ],
  ['port = 1\nport = 2', /^h.toml:2: port: is defined before; keep one of the two$/],
  ['[disks.a]\nsize="1G"\n[disks.a]\n', /^h.toml:3: \[disks.a\]: is defined before/],
  ['port = ', /^h.toml:1: /],
  ['port = 99999999999999999999', /^h.toml:1: /],
  ['\n{"port": 1}', /^h.toml:1: looks like JSON; write TOML instead: port = 10809/],
  ['socket-mode = 660\nunix="/s"', /:1: socket-mode: '660' is not a valid mode: .*as a string/],
  ['no-control = "yes"', /no-control: 'yes' is neither true nor false/],
  ['tls = "require"', /^h.toml:1: tls require requires --tls-certificates DIR/],
  ['port = 65536', /^h.toml:1: port: '65536' is not a whole number from 0 to 65535/],
];
for (const [text, message] of wrong)
  test(`${JSON.stringify(text).slice(0, 60)} is refused: ${message}`, (t) =>
    assert.match(messageOf(testFolder(t), { 'h.toml': text }), message));

test('all errors of all sources are reported at once, up to 20', (t) => {
  const folder = testFolder(t);
  const message = messageOf(folder, {
    'h.toml': 'port = -1\nprot = 1\n[disks.a]\nsize = "x"\nlimt = 1',
    'h.toml.d/1.toml': 'codec = "gzip"\n[disks.b]\n',
  });
  assert.deepEqual(
    message.split('\n').map((line) => /^\s*\S+ \S*/.exec(line)?.[0].trim()),
    [
      '6 errors',
      'h.toml:1: port:',
      'h.toml:2: prot:',
      'h.toml.d/1.toml:1: codec:',
      'h.toml:4: disks.a.size:',
      'h.toml:5: disks.a.limt:',
      'h.toml.d/1.toml:2: disks.b:',
    ],
  );
  const many = (count: number): string =>
    messageOf(testFolder(t), {
      'h.toml': Array.from({ length: count }, (_, i) => `x${i} = 1\n`).join(''),
    });
  assert.equal(many(PROBLEMS_MAX).split('\n').length, 1 + PROBLEMS_MAX);
  assert.doesNotMatch(many(PROBLEMS_MAX), /more/);
  assert.match(many(PROBLEMS_MAX + 1), /^21 errors.*\n {2}and 1 more$/s);
});

test('errors of syntax in several files are reported together', (t) => {
  const message = messageOf(testFolder(t), { 'h.toml': 'a', 'h.toml.d/1.toml': '\n[b' });
  assert.match(message, /^2 errors.*\n {2}h.toml:1: .*\n {2}h.toml.d\/1.toml:2: /);
});

test('errors name the right line after strings, arrays, comments and tables of every kind', (t) => {
  const before = [
    'unix = """\n/s\\""""\n',
    "run = '''\n[x]\nprot = 2'''\n",
    '[disks]\nb = { size = "1G", allow-uid = [ # "\n1,\n2 ] }\n',
    'c.size = "1G" # prot = 1\n',
    '[disks.a] # ]\n"size" = "1G"\n\'keep\' = 1\n',
  ];
  for (let count = 0; count <= before.length; count++) {
    const text = before.slice(0, count).join('');
    const isDisk = count > 2;
    const lines = text.split('\n').length;
    const table = count === before.length ? 'disks.a.' : isDisk ? 'disks.' : '';
    const key = table === 'disks.' ? 'prot = {}' : 'prot = 1';
    const message = messageOf(testFolder(t), { 'h.toml': `${text}${key}` });
    assert.match(message, new RegExp(`^h.toml:${lines}: ${table}prot: `), text);
  }
});

test('the size, depth, and number of files are limited', { timeout }, (t) => {
  const folder = testFolder(t);
  const comment = (length: number): string => `#${'x'.repeat(length - 1)}`;
  assert.ok(read(folder, { 'h.toml': comment(FILE_BYTES_MAX) }));
  assert.match(
    messageOf(folder, { 'h.toml': comment(FILE_BYTES_MAX + 1) }),
    /is longer than 1048576/,
  );
  const nested = (depth: number): string => `port = ${'['.repeat(depth)}${']'.repeat(depth)}`;
  assert.match(messageOf(folder, { 'h.toml': nested(DEPTH_MAX) }), /port: an array is neither/);
  assert.match(messageOf(folder, { 'h.toml': nested(DEPTH_MAX + 1) }), /^h.toml:1: .*(depth|nest)/);
  const dropIns = (count: number): Files =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`h.toml.d/${i}.toml`, `max-clients = ${i + 1}`]),
    );
  assert.ok(read(testFolder(t), { 'h.toml': '', ...dropIns(DROP_INS_MAX) }));
  assert.match(
    messageOf(testFolder(t), { 'h.toml': '', ...dropIns(DROP_INS_MAX + 1) }),
    /^h.toml: has 65 drop-ins: at most 64 are read$/,
  );
  const disks = (count: number): string =>
    Array.from({ length: count }, (_, i) => `[disks.d${i}]\nsize = "40K"\n`).join('');
  assert.equal(read(folder, { 'h.toml': disks(256) }).disks.length, 256);
  assert.match(
    messageOf(folder, { 'h.toml': disks(257) }),
    /:1: disks.d0: '257' is too many disks/,
  );
});

test('files of a megabyte that are hard to parse are refused within seconds', { timeout }, (t) => {
  const folder = testFolder(t);
  const fill = (unit: string, rest = ''): string =>
    unit.repeat(Math.floor((FILE_BYTES_MAX - rest.length) / unit.length)) + rest;
  for (const text of [
    fill('a.', 'a = 1'),
    `[${fill('a.', 'a]   ')}`,
    fill('[a.a.a.a.a]\n'),
    fill('x="y"\n'),
    `x = ${fill('[').slice(5)}`,
    `x = "${fill('\\n').slice(6)}"`,
    `x = """${fill('"', 'x').slice(10)}`,
    fill("'"),
    fill('\n', 'x'),
    `port = ${fill('1').slice(8)}`,
    `size = "${fill('1').slice(10)}"`,
    Array.from({ length: 40_000 }, (_, i) => `key${i} = {a=${i}}\n`).join(''),
    `[disks.a]\nsize = "${'9'.repeat(900_000)}"`,
    `[disks.a]\nsize="1G"\nallow-uid = [${'1,'.repeat(400_000)}]`,
    `"${'k'.repeat(1_000_000)}" = 1`,
    `[disks.a]\nsize="1G"\n"${'k'.repeat(1_000_000)}" = {}`,
    `unix = "${'u'.repeat(1_000_000)}"`,
  ])
    assert.ok(messageOf(folder, { 'h.toml': text }).length < 20_000, text.slice(0, 20));
});

test('a file or folder that every user can change is refused', (t) => {
  const folder = testFolder(t);
  const files = { 'h.toml': '', 'h.toml.d/1.toml': '' };
  read(folder, files);
  for (const name of ['h.toml', 'h.toml.d/1.toml', 'h.toml.d']) {
    const path = join(folder, name);
    const { mode } = statSync(path);
    chmodSync(path, mode | 0o020);
    read(folder, files);
    chmodSync(path, mode | 0o002);
    assert.throws(() => read(folder, files), {
      code: 'ERR_IO_UNSAFE_PATH',
      message: new RegExp(`^${path}: can be changed by all users.*: chmod o-w '${path}'$`),
    });
    chmodSync(path, mode);
  }
});

test('a folder of drop-ins of another user is refused, unless FILE is theirs, too', {
  skip: process.getuid?.() !== 0 && 'only root can give files to another user',
}, (t) => {
  const folder = testFolder(t);
  const files = { 'h.toml': '', 'h.toml.d/1.toml': 'run = "true"' };
  assert.equal(read(folder, files).run, 'true');
  // Another user could create it in a folder such as /tmp.
  chownSync(join(folder, 'h.toml.d'), 1234, 1234);
  assert.throws(() => read(folder, files), {
    code: 'ERR_IO_UNSAFE_PATH',
    message:
      /h.toml.d: belongs to user 1234, who could run commands through it: chown it to 0, or remove it$/,
  });
  chownSync(join(folder, 'h.toml'), 1234, 1234);
  assert.equal(read(folder, files).run, 'true');
  chownSync(join(folder, 'h.toml.d'), 0, 0);
  assert.equal(read(folder, files).run, 'true');
});

test('random text and damaged TOML end in settings or in errors', { timeout }, (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  assert.ok(run({ seed, seconds: 1 }) > 10);
});

test('only regular files of UTF-8 are read', { timeout }, (t) => {
  const folder = testFolder(t);
  const refused = (file: string, message: RegExp): void => {
    assert.throws(() => readHostConfig({ file, flags: new Map() }, { memory }), message);
  };
  refused(folder, /is not a regular file|EISDIR/);
  refused(join(folder, 'none.toml'), /cannot read .*none.toml: .*ENOENT.*--config/);
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  refused(join(folder, 'fifo'), /fifo: is not a regular file/);
  writeFileSync(join(folder, 'bytes'), Buffer.of(0x61, 0x3d, 0xff));
  refused(join(folder, 'bytes'), /bytes: is not UTF-8 text/);
  writeFileSync(join(folder, 'bom.toml'), '\ufeffmax-clients = 7');
  const file = join(folder, 'bom.toml');
  assert.equal(readHostConfig({ file, flags: new Map() }, { memory }).maxClients, 7);
  writeFileSync(join(folder, 'h.toml.d'), '');
  // The size of the disk could be in a drop-in.
  assert.match(messageOf(folder, { 'h.toml': '[disks.a]' }), /^cannot read h.toml.d: .*ENOTDIR/);
});
