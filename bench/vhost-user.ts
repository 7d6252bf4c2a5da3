/**
 * A disk over vhost-user next to the vhost-user-blk export of qemu-storage-daemon (a file on tmpfs), from one front-end that sleeps
 * until it is notified, as a guest does: one request at a time, and 32 in flight. Wall time, and processor time of the server. The
 * contenders alternate in each round. Ours compresses the pages, the other one copies them.
 */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Poller } from '../src/os/linux/poll.ts';
import { OwnHost } from '../test/support/fixtures/own-host.ts';
import { processorSeconds } from '../test/support/fixtures/process-sample.ts';
import { have, startServer } from '../test/support/fixtures/processes.ts';
import { BlockType, linux, VhostFrontEnd } from '../test/support/fixtures/vhost-front-end.ts';
import {
  type BenchOptions,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import { loadPages } from './pages.ts';

const DISK_BYTES = 64 * 2 ** 20;
const PAGE = 4096;
const DEPTH = 32;
const SINGLE = 2000;
const BATCHES = 250;

interface Contender {
  readonly front: VhostFrontEnd;
  readonly pid: number;
}

/** Runs requests `depth` at a time. @returns operations per second, and microseconds of the server for each */
function measure(
  { front, pid }: Contender,
  type: number,
  depth: number,
  pages: Uint8Array,
): [number, number] {
  const poller = new Poller(linux, [front.calls[0]!.fd]);
  const count = depth === 1 ? SINGLE : BATCHES * DEPTH;
  const pagesOfDisk = DISK_BYTES / PAGE;
  const before = processorSeconds(pid);
  const start = performance.now();
  for (let done = 0; done < count; done += depth) {
    for (let slot = 0; slot < depth; slot++) {
      const page = (done + slot) % pagesOfDisk;
      const from = ((done + slot) * PAGE) % (pages.length - PAGE);
      if (type === BlockType.out)
        front.memory.bytes.set(
          pages.subarray(from & ~4095, (from & ~4095) + PAGE),
          front.dataAt(slot),
        );
      front.put(slot, type, page * 8, PAGE);
    }
    front.kick();
    while (front.used() !== front.availIndex[0]) {
      poller.wait(1000);
      front.calls[0]!.take();
    }
    for (let slot = 0; slot < depth; slot++)
      if (front.status(slot) !== 0) throw new Error(`status ${front.status(slot)}`);
    const at = ((done * PAGE) % (pages.length - PAGE)) & ~4095;
    const isSame = Buffer.compare(front.dataOf(0, PAGE), pages.subarray(at, at + PAGE)) === 0;
    if (type === BlockType.in && !isSame) throw new Error(`page ${done} has other contents`);
  }
  const seconds = (performance.now() - start) / 1000;
  return [count / seconds, ((processorSeconds(pid) - before) / count) * 1e6];
}

export async function vhostUser(options: BenchOptions): Promise<readonly Table[]> {
  const title = 'vhost-user: a page of a disk over vhost-user-blk';
  if (!have('qemu-storage-daemon'))
    return [
      { title, columns: ['', ''], rows: [], notes: ['qemu-storage-daemon is not installed.'] },
    ];
  const { bytes: pages } = await loadPages(options.corpus);
  const folder = mkdtempSync('/dev/shm/vhost-bench-');
  try {
    const file = join(folder, 'disk');
    writeFileSync(file, '');
    truncateSync(file, DISK_BYTES);
    const theirs = join(folder, 'qsd.sock');
    const ours = join(folder, 'own.sock');
    const daemon = await startServer(
      'qemu-storage-daemon',
      [
        ...['--blockdev', `driver=file,node-name=disk,filename=${file},discard=unmap`],
        '--export',
        `type=vhost-user-blk,id=e,node-name=disk,addr.type=unix,addr.path=${theirs},writable=on,logical-block-size=4096`,
      ],
      theirs,
    );
    await using host = await OwnHost.start({ disks: [`d=64M,vhost-user=${ours}`] });
    try {
      const contenders = new Map<string, Contender>([
        [
          'qemu-storage-daemon, file on tmpfs',
          { front: new VhostFrontEnd(theirs), pid: daemon.pid },
        ],
        ['frontswap', { front: new VhostFrontEnd(ours), pid: host.pid }],
      ]);
      for (const { front } of contenders.values()) await front.start();
      const cases = [
        ['write', BlockType.out, 1],
        ['read', BlockType.in, 1],
        ['write, 32 in flight', BlockType.out, DEPTH],
        ['read, 32 in flight', BlockType.in, DEPTH],
      ] as const;
      const taken = new Map<string, [number, number][]>();
      for (let round = 0; round < options.rounds + 1; round++)
        for (const [what, type, depth] of cases)
          for (const [name, contender] of contenders) {
            const figures = measure(contender, type, depth, pages);
            const key = `${what}: ${name}`;
            if (round > 0) taken.set(key, [...(taken.get(key) ?? []), figures]);
          }
      for (const { front } of contenders.values()) front[Symbol.dispose]();
      const [base = '', own = ''] = contenders.keys();
      const column = (key: string, at: 0 | 1): number[] => taken.get(key)!.map((row) => row[at]);
      return [
        {
          title,
          columns: [
            '',
            'theirs, ops/s',
            'ours, ops/s',
            'median x',
            'theirs, us CPU',
            'ours, us CPU',
          ],
          rows: cases.map(([what]) => [
            what,
            median(column(`${what}: ${base}`, 0)),
            median(column(`${what}: ${own}`, 0)),
            medianRatio(column(`${what}: ${own}`, 0), column(`${what}: ${base}`, 0)),
            median(column(`${what}: ${base}`, 1)),
            median(column(`${what}: ${own}`, 1)),
          ]),
          notes: [
            `${ofRounds(options.rounds, 'interleaved')}; "theirs" is ${base}; more than 1 in "median x" is faster. CPU: processor time of the server for each page. ${medianRatioNote(base)}`,
          ],
        },
      ];
    } finally {
      await daemon.stop();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
