/** The units of docs/how-to with the tools of systemd, and a host that systemd-socket-activate starts. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ListDocument } from '../../src/host/list-document.ts';
import {
  freePort,
  must,
  peerTest,
  root,
  run,
  startServer,
  TemporaryFolder,
} from '../support/fixtures/processes.ts';

const howTo = (name: string): string => readFileSync(join(root, 'docs/how-to', name), 'utf8');
/** The program need not be installed where the unit expects it. */
const unit = (name: string): string => howTo(name).replaceAll('/usr/bin/frontswap', '/bin/true');
const main = join(root, 'build/src/cli/main.js');

/** Lines about our units that `systemd-analyze verify` prints; other units of the machine may have faults of their own. */
async function faultsOf(units: Readonly<Record<string, string>>): Promise<string[]> {
  using folder = new TemporaryFolder();
  for (const [name, text] of Object.entries(units)) writeFileSync(folder.file(name), text);
  const paths = Object.keys(units).map((name) => folder.file(name));
  const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', ...paths]);
  return `${stdout}${stderr}`.split('\n').filter((line) => line.includes('frontswap'));
}

peerTest(
  'systemd-analyze verifies the units of the host without a complaint',
  ['systemd-analyze'],
  async () => {
    const units = {
      'frontswap.service': unit('frontswap.service'),
      'frontswap.socket': unit('frontswap.socket'),
    };
    assert.deepEqual(await faultsOf(units), []);
    for (const [name, text] of Object.entries(units)) {
      const damaged = text.replace(/^(WatchdogSec|SocketMode)=/m, '$1x=');
      assert.match((await faultsOf({ ...units, [name]: damaged })).join(), /Unknown key/);
    }
  },
);

peerTest(
  'systemd-analyze verifies the unit for guests without a complaint',
  ['systemd-analyze'],
  async () => {
    const name = 'frontswap-swap@.service';
    const text = readFileSync(join(root, 'examples/guest', name), 'utf8');
    const instance = 'frontswap-swap@vdb.service';
    assert.deepEqual(await faultsOf({ [instance]: text }), []);
    const damaged = text.replace('RemainAfterExit=', 'RemainAfterExitx=');
    assert.match((await faultsOf({ [instance]: damaged })).join(), /Unknown key/);
  },
);

peerTest(
  'the unit for guests runs mkswap on an empty disk or on swap, and on nothing else',
  ['blkid', 'mkswap', 'mke2fs', 'cmp'],
  async () => {
    const text = readFileSync(join(root, 'examples/guest/frontswap-swap@.service'), 'utf8');
    const command = /^ExecCondition=\/bin\/sh -c '(.*)'$/m.exec(text)?.[1] ?? 'true';
    using folder = new TemporaryFolder();
    const file = folder.file('disk');
    const disk = (bytes: number): void => writeFileSync(file, Buffer.alloc(bytes));
    const isFormatted = async (): Promise<boolean> => {
      const words = command.replaceAll('/dev/%I', file).replaceAll('$$', '$');
      return (await run('/bin/sh', ['-c', words])).status === 0;
    };
    const put = (at: number, ...bytes: number[]): void => {
      const fd = openSync(file, 'r+');
      writeSync(fd, Buffer.from(bytes), 0, bytes.length, at);
      closeSync(fd);
    };
    disk(40 * 1024); // the smallest one
    assert.ok(await isFormatted());
    disk(8 * 2 ** 20);
    assert.ok(await isFormatted());
    await must('mkswap', [file]);
    assert.ok(await isFormatted());
    put(1080, 0x53, 0xef); // of ext4: two signatures
    assert.ok(!(await isFormatted()));
    disk(8 * 2 ** 20);
    await must('mke2fs', ['-q', '-F', file]);
    assert.ok(!(await isFormatted()));
    disk(8 * 2 ** 20);
    put(446, 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1);
    put(510, 0x55, 0xaa); // a partition table
    assert.ok(!(await isFormatted()));
    disk(8 * 2 ** 20);
    put(40_959, 1); // contents without a signature
    assert.ok(!(await isFormatted()));
    writeFileSync(file, '');
    assert.ok(!(await isFormatted()), 'a disk that cannot be read');
  },
);

peerTest('systemd-analyze rates the service OK, at most 2.0', ['systemd-analyze'], async () => {
  using folder = new TemporaryFolder();
  const rate = (text: string): ReturnType<typeof run> => {
    const path = folder.file('frontswap.service');
    writeFileSync(path, text);
    // The threshold is in tenths; a unit is OK below 5.0.
    return run('systemd-analyze', ['security', '--offline=true', '--threshold=20', path]);
  };
  const { status, stdout, stderr } = await rate(unit('frontswap.service'));
  assert.equal(status, 0, stdout + stderr);
  const exposed = unit('frontswap.service').replace(/^SystemCallFilter=.*\n/gm, '');
  assert.notEqual((await rate(exposed)).status, 0);
});

peerTest(
  'sysusers.d and tmpfiles.d create the user and the folders',
  ['systemd-sysusers', 'systemd-tmpfiles'],
  async () => {
    using folder = new TemporaryFolder();
    for (const kind of ['sysusers', 'tmpfiles']) {
      const place = folder.file(`usr/lib/${kind}.d`);
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, 'frontswap.conf'), howTo(`frontswap.${kind}.conf`));
    }
    mkdirSync(folder.file('etc'));
    const users = (...args: string[]): ReturnType<typeof run> =>
      run('systemd-sysusers', [`--root=${folder.path}`, ...args]);
    const { status, stderr } = await users('--dry-run');
    assert.equal(status, 0, stderr);
    assert.match(stderr, /Creating user 'frontswap' \(frontswap host\)/);
    if (process.getuid?.() !== 0) return; // the rest changes owners
    await users();
    await must('systemd-tmpfiles', [`--root=${folder.path}`, '--create']);
    const passwd = readFileSync(folder.file('etc/passwd'), 'utf8');
    const [, uid, gid] = /^frontswap:x:(\d+):(\d+):.*\/nologin$/m.exec(passwd) ?? [];
    const runtime = statSync(folder.file('run/frontswap'));
    assert.deepEqual([runtime.uid, runtime.gid], [Number(uid), Number(gid)]);
    assert.equal(runtime.mode & 0o777, 0o750);
    assert.equal(statSync(folder.file('etc/frontswap')).mode & 0o777, 0o755);
  },
);

peerTest(
  'nbdinfo reads the disks of a host on the sockets of systemd-socket-activate',
  ['systemd-socket-activate', 'nbdinfo'],
  async () => {
    using folder = new TemporaryFolder();
    const [path, control, port] = [folder.file('nbd'), folder.file('control'), await freePort()];
    const listen = [`--listen=${path}`, `--listen=127.0.0.1:${port}`, '--fdname=nbd:nbd-tcp'];
    const host = [main, 'host', '--control', control, '--disk', 'a=64M', '--disk', 'b=32M'];
    // The first connection starts the host, with the same process id.
    const activated = await startServer(
      'systemd-socket-activate',
      [...listen, process.execPath, ...host],
      path,
    );
    try {
      const size = async (uri: string): Promise<number> =>
        Number(await must('nbdinfo', ['--size', uri]));
      assert.equal(await size(`nbd+unix:///a?socket=${path}`), 64 * 2 ** 20);
      assert.equal(await size(`nbd://127.0.0.1:${port}/b`), 32 * 2 ** 20);
      const list = await must(process.execPath, [main, 'list', '--json', '--control', control]);
      const { disks } = JSON.parse(list) as ListDocument;
      const bare = disks.map(({ uris }) => uris.map((uri) => uri.replace(/@\w{8}/, '')));
      assert.deepEqual(
        bare,
        ['a', 'b'].map((name) => [
          `nbd+unix:///${name}?socket=${path}`,
          `nbd://127.0.0.1:${port}/${name}`,
        ]),
      );
      assert.equal(await size(disks[1]?.uris[0] ?? ''), 32 * 2 ** 20);
      const attach = [main, 'attach', 'a', '--format', 'qemu', '--control', control];
      assert.ok((await must(process.execPath, attach)).includes(path));
    } finally {
      assert.equal(await activated.stop(), 0, activated.stderr());
    }
    assert.ok(existsSync(path), 'the file of the socket belongs to systemd');
    assert.ok(!existsSync(control));
  },
);
