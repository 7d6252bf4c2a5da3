/** fio verifies disks while an operator adds, changes, freezes, resizes and removes others with the commands. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, peerTest } from '../support/fixtures/processes.ts';

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly write: { readonly total_ios: number };
  }[];
}

/** Verifies random writes for some seconds; rejects if a byte is wrong or a request fails. */
async function verify(host: OwnHost, name: string, seconds: number): Promise<number> {
  const args = [
    ...[`--name=${name}`, '--ioengine=nbd', `--uri=${host.uri(name)}`, '--size=16M', '--thread'],
    ...['--rw=randwrite', '--bs=4k', '--iodepth=16', '--verify=crc32c', '--verify_fatal=1'],
    ...['--do_verify=1', '--time_based', `--runtime=${seconds}`, '--output-format=json'],
    ...['--verify_backlog=1024', '--buffer_compress_percentage=50'],
  ];
  const text = await must('fio', args, { cwd: host.folder.path });
  const [job] = (JSON.parse(text.slice(text.indexOf('{'))) as FioReport).jobs;
  assert.equal(job?.error, 0, text);
  return job.write.total_ios;
}

peerTest(
  'fio finds no error while other disks and its own limit and rate change',
  ['fio'],
  async () => {
    await using host = await OwnHost.start({ disks: ['a=64M', 'b=64M'] });
    let isDone = false;
    const verified = Promise.all([verify(host, 'a', 8), verify(host, 'b', 8)]).finally(() => {
      isDone = true;
    });
    let rounds = 0;
    for (; !isDone; rounds++) {
      await host.command('add', 'c=16M,limit=8M');
      await host.command('set', 'c', 'limit=4M', 'rate=10M');
      await host.command('set', 'c', 'size=32M');
      await host.command('set', 'a', `limit=${rounds % 2 === 0 ? '60M' : '0'}`);
      await host.command('freeze', 'b');
      await sleep(30);
      await host.command('thaw', 'b');
      await host.command('set', 'b', `rate=${rounds % 2 === 0 ? '4M' : '0'}`);
      await host.command('freeze', 'c');
      await host.command('remove', 'c');
    }
    assert.ok(rounds >= 1);
    for (const count of await verified) assert.ok(count > 0);
    assert.doesNotMatch(host.log, /nbd: .*dropped/);
  },
);

peerTest(
  'nbdinfo sees a new size; a removed disk is not listed',
  ['nbdinfo', 'nbdcopy'],
  async () => {
    await using host = await OwnHost.start({ disks: ['a=64M', 'b=64M'] });
    await host.command('set', 'b', 'size=128M');
    assert.equal((await must('nbdinfo', ['--size', host.uri('b')])).trim(), String(128 * 2 ** 20));
    await host.command('remove', 'b');
    const list = await must('nbdinfo', ['--list', host.uri('')]);
    assert.doesNotMatch(list, /export="b"/);
    assert.match(list, /export="a"/);
  },
);
