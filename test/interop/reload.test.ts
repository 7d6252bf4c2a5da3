/** fio verifies disks while the configuration file changes and the host reads it again by SIGHUP. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, peerTest, TemporaryFolder } from '../support/fixtures/processes.ts';

const SECONDS = 6;

async function verify(host: OwnHost, name: string): Promise<void> {
  const args = [
    ...[`--name=${name}`, '--ioengine=nbd', `--uri=${host.uri(name)}`, '--size=16M', '--thread'],
    ...['--rw=randwrite', '--bs=4k', '--iodepth=16', '--verify=crc32c', '--verify_fatal=1'],
    ...['--do_verify=1', '--time_based', `--runtime=${SECONDS}`, '--output-format=json'],
    ...['--verify_backlog=1024', '--buffer_compress_percentage=50'],
  ];
  const text = await must('fio', args, { cwd: host.folder.path });
  const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: { error: number }[] };
  assert.equal(jobs[0]?.error, 0, text);
}

peerTest(
  'fio finds no error on two disks while SIGHUP reloads the configuration',
  ['fio'],
  async () => {
    using folder = new TemporaryFolder();
    const file = folder.file('host.toml');
    const write = (round: number): void => {
      const b = [`limit = "${round % 2 === 0 ? 60 : 50}M"`, `rate = "${round % 3 === 0 ? 8 : 0}M"`];
      const others = round % 2 === 0 ? ['[disks.c]', 'size = "8M"', `keep = ${round}`] : [];
      const wrong = round % 5 === 4 ? ['prot = 1'] : [];
      const a = ['[disks.a]', 'size = "64M"'];
      writeFileSync(
        file,
        [...wrong, ...a, '[disks.b]', 'size = "64M"', ...b, ...others, ''].join('\n'),
      );
    };
    write(0);
    await using host = await OwnHost.start({ disks: [], arguments: ['-C', file] });
    let isDone = false;
    const verified = Promise.all([verify(host, 'a'), verify(host, 'b')]).finally(() => {
      isDone = true;
    });
    let rounds = 1;
    for (; !isDone; rounds++) {
      write(rounds);
      process.kill(host.pid, 'SIGHUP');
      await sleep(50);
    }
    await verified;
    write(1);
    await host.command('reload');
    assert.ok(rounds > 5);
    assert.match(host.log, /disk c: removed/);
    assert.match(host.log, /disk b: limit changed/);
    assert.match(host.log, /reload: nothing was changed: .*prot/);
    assert.doesNotMatch(host.log, /reload: not done|[^0]B of pages dropped|nbd: .*dropped/);
  },
);
