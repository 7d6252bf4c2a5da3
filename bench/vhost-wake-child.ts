/**
 * A thread of vhost-wake.ts: `peer` kicks and waits for the call, as a guest does; `poller` waits for kicks in poll(2) and calls, as a
 * back-end with its own thread does.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { EventFd } from '../src/os/linux/eventfd.ts';
import { Poller } from '../src/os/linux/poll.ts';
import { loadLinux } from '../src/os/linux/system-call.ts';

export interface WakeSettings {
  readonly role: 'peer' | 'poller';
  readonly kick: number;
  readonly call: number;
  readonly rounds: number;
}

const { role, kick, call, rounds } = workerData as WakeSettings;
const { linux, reason } = loadLinux();
if (linux === null) throw new Error(reason);
const [waitsFor, signals] = role === 'peer' ? [call, kick] : [kick, call];
const input = new EventFd(linux, waitsFor);
const output = new EventFd(linux, signals);
const poller = new Poller(linux, [waitsFor]);
const start = performance.now();
for (let round = 0; round < rounds; round++) {
  if (role === 'peer') output.signal();
  while (input.take() === 0) poller.wait(1000);
  if (role === 'poller') output.signal();
}
parentPort?.postMessage(((performance.now() - start) / rounds) * 1000);
