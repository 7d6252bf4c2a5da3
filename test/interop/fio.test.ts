/** fio's nbd engine with the host: it verifies what it wrote by checksum. */
import assert from 'node:assert/strict';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, peerTest } from '../support/fixtures/processes.ts';

const seed = process.env['SEED'] ?? String(Math.floor(Math.random() * 2 ** 31));

const verify = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1'];
const jobs: Readonly<Record<string, readonly string[]>> = {
  'random 4 KiB writes, 32 deep': ['--rw=randwrite', '--bs=4k', '--iodepth=32', ...verify],
  'mixed 4 KiB reads and writes': ['--rw=randrw', '--bs=4k', '--iodepth=16', ...verify],
  'blocks of 512 bytes to 64 KiB, not on page borders': [
    ...['--rw=randwrite', '--bsrange=512-64k', '--bs_unaligned=0', '--blockalign=512'],
    ...['--iodepth=8', ...verify],
  ],
  // Depth 1: fio could otherwise reorder a trim and the write after it.
  'a trim before each write': ['--rw=randtrimwrite', '--bs=4k', '--iodepth=1', ...verify],
  'swap-sized writes of 256 KiB of text': [
    ...['--rw=write', '--bs=256k', '--iodepth=4', '--buffer_compress_percentage=60', ...verify],
  ],
};

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: { readonly total_ios: number };
    readonly write: { readonly total_ios: number };
    readonly trim: { readonly total_ios: number };
  }[];
}

for (const [name, job] of Object.entries(jobs))
  peerTest(`fio verifies ${name}`, ['fio'], async () => {
    await using host = await OwnHost.start({ disks: ['swap0=64M'] });
    const common = ['--name=verify', '--ioengine=nbd', `--uri=${host.uri()}`, '--size=32M'];
    const args = [...common, `--randseed=${seed}`, '--thread', '--output-format=json', ...job];
    const text = await must('fio', args, { cwd: host.folder.path });
    const [report] = (JSON.parse(text.slice(text.indexOf('{'))) as FioReport).jobs;
    assert.equal(report?.error, 0, `SEED=${seed}\n${text}`);
    assert(report.write.total_ios > 0 && report.read.total_ios > 0, 'fio wrote and verified');
    if (name.startsWith('a trim')) assert(report.trim.total_ios > 0, 'fio trimmed');
  });

peerTest('fio trims at random and the host frees the pages', ['fio'], async () => {
  await using host = await OwnHost.start({ disks: ['swap0=32M'] });
  const common = ['--ioengine=nbd', `--uri=${host.uri()}`, '--size=32M', '--thread', '--bs=64k'];
  await must('fio', ['--name=fill', ...common, '--rw=write', '--iodepth=4', '--refill_buffers']);
  assert.equal((await host.figures()).storedPages, 8192);
  await must('fio', ['--name=trim', ...common, '--rw=randtrim', '--iodepth=4']);
  assert.equal((await host.figures()).storedPages, 0);
});

peerTest('fio verifies two disks at the same time, each in its own worker', ['fio'], async () => {
  await using host = await OwnHost.start({
    disks: ['a=64M', 'b=64M'],
    arguments: ['--workers', '2'],
  });
  const verified = async (disk: string, job: readonly string[]): Promise<FioReport> => {
    const common = ['--name=verify', '--ioengine=nbd', `--uri=${host.uri(disk)}`, '--size=32M'];
    const args = [...common, `--randseed=${seed}`, '--thread', '--output-format=json', ...job];
    const text = await must('fio', args, { cwd: host.folder.path });
    return JSON.parse(text.slice(text.indexOf('{'))) as FioReport;
  };
  const reports = await Promise.all([
    verified('a', ['--rw=randwrite', '--bs=4k', '--iodepth=32', ...verify]),
    verified('b', ['--rw=randwrite', '--bs=64k', '--iodepth=8', ...verify]),
  ]);
  for (const {
    jobs: [job],
  } of reports) {
    assert.equal(job?.error, 0, `SEED=${seed}`);
    assert(job.write.total_ios > 0 && job.read.total_ios > 0, 'fio wrote and verified');
  }
  assert.equal((await host.figures('a')).storedPages, 8192);
  assert.equal((await host.figures('b')).storedPages, 8192);
});
