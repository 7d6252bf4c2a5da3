/**
 * How a back-end is notified of a kick: the event loop by descriptor-watch.ts, or a thread that blocks in poll(2). From the
 * kick of a thread that sleeps until its call, back and forth; wall time, and processor time of the whole process. The two
 * alternate in each round.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { DescriptorWatch } from '../src/os/linux/descriptor-watch.ts';
import { openEventFd } from '../src/os/linux/eventfd.ts';
import { type Linux, loadLinux } from '../src/os/linux/system-call.ts';
import {
  type BenchOptions,
  cpuNs,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import type { WakeSettings } from './vhost-wake-child.ts';

const KICKS = 10_000;

const thread = (settings: WakeSettings): Worker =>
  new Worker(new URL('./vhost-wake-child.js', import.meta.url), { workerData: settings });

/** @returns microseconds for a kick and its call: wall time, and processor time */
async function measure(linux: Linux, isLoop: boolean): Promise<[number, number]> {
  const kick = openEventFd(linux);
  const call = openEventFd(linux);
  const watch: DescriptorWatch = new DescriptorWatch(linux, 1, () => {
    for (let entry = watch.take(); entry !== -1; entry = watch.take()) {
      watch.takeEvent(entry);
      watch.arm(entry);
      watch.signal(call.fd);
    }
  });
  const settings = { kick: kick.fd, call: call.fd, rounds: KICKS };
  const others = isLoop ? [] : [thread({ ...settings, role: 'poller' })];
  if (isLoop) watch.add(kick.fd);
  for (const other of others) await once(other, 'online');
  const before = cpuNs();
  const peer = thread({ ...settings, role: 'peer' });
  const [wallUs] = (await once(peer, 'message')) as [number];
  const cpuUs = (cpuNs() - before) / KICKS / 1000;
  await Promise.all([peer, ...others].map((each) => each.terminate()));
  watch[Symbol.dispose]();
  kick.close();
  call.close();
  return [wallUs, cpuUs];
}

export async function vhostWake(options: BenchOptions): Promise<readonly Table[]> {
  const { linux, reason } = loadLinux();
  if (linux === null) throw new Error(reason);
  const taken: [loop: [number, number], thread: [number, number]][] = [];
  for (let round = 0; round < options.rounds + 1; round++) {
    const figures: (typeof taken)[number] = [
      await measure(linux, true),
      await measure(linux, false),
    ];
    if (round > 0) taken.push(figures);
  }
  const of = (who: 0 | 1, what: 0 | 1): number[] => taken.map((figures) => figures[who][what]);
  return [
    {
      title: 'vhost-wake: a kick and its call, us',
      columns: ['', 'event loop', 'thread in poll(2)', 'median x'],
      rows: (['wall time', 'processor time'] as const).map((name, i) => {
        const [loop, blocked] = [of(0, i as 0 | 1), of(1, i as 0 | 1)];
        return [name, median(loop), median(blocked), medianRatio(loop, blocked)];
      }),
      notes: [
        `${ofRounds(options.rounds, 'interleaved')}; processor time of both sides, the start of threads included; more than 1 in "median x": the loop costs more. ${medianRatioNote('the thread')}`,
      ],
    },
  ];
}
