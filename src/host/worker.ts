/**
 * An engine worker: the disks that a host has placed on it, their background work, and their clients, starting with the option
 * that opens a disk. It has the parts of a host of one thread, except listeners, the control socket and all reports.
 *
 * A failed operation is an answer, whatever the reason, as on the control socket of a host of one thread. Any other exception
 * ends the worker and the host.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { SharedBudget } from '../arena/shared-budget.ts';
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { composeParts } from './compose.ts';
import { hostCounters } from './counters.ts';
import { valueOfFigures } from './disk-figures.ts';
import { LocalDisks } from './local-disks.ts';
import type {
  FromWorker,
  Operation,
  Operations,
  ToWorker,
  WorkerSettings,
} from './workers/messages.ts';

const port = parentPort;
assert(port !== null, 'worker.ts runs in a worker');
const send = (message: FromWorker): void => port.postMessage(message);

const { codec, hasUnix, limits, total, isTotalWatched, socketMode } = workerData as WorkerSettings;
const parts = composeParts(false);
const counters = hostCounters();
const log = (line: string): void => send({ kind: 'log', line });
const disks: LocalDisks = new LocalDisks({
  ...{ parts, codec, hasUnix, counters, log, isTotalWatched, socketMode, images: null },
  trace: (line) => send({ kind: 'trace', line }),
  total: new SharedBudget(total),
  print: (line) => send({ kind: 'print', line }),
  events: { emit: (event, disk, message) => send({ kind: 'event', event, disk, message }) },
  onChanged: (name) => sendState(name),
});
const nbd = parts.createNbd({
  tls: null,
  ...{ limits, log },
  exports: disks.exports,
  trace: (line) => send({ kind: 'trace', line }),
  visits: {
    handOver: (connection) => send({ kind: 'returned', connection }),
    opened: (id, exportName) => send({ kind: 'opened', id, exportName }),
    closed: (id) => send({ kind: 'closed', id }),
  },
});
disks.attach(nbd);
let stopMaintenance: () => void = () => undefined;

function sendState(name: string): void {
  const found = disks.configs.some((config) => config.name === name);
  send({
    kind: 'disk',
    name,
    figures: found ? valueOfFigures(disks.figuresOf(name)) : null,
    generation: disks.exports.generationOf(name),
  });
}

type Handlers = {
  readonly [Op in Operation]: (
    ...args: Parameters<Operations[Op]>
  ) => ReturnType<Operations[Op]> | Promise<ReturnType<Operations[Op]>>;
};

const handlers: Handlers = {
  add: (config, isLive) => disks.add(config, isLive),
  remove: (name, force) => disks.remove(name, force),
  set: (name, change, force) => disks.set(name, change, force),
  freeze: (name) => disks.freeze(name),
  thaw: (name) => disks.thaw(name),
  flush: (name) => disks.flush(name),
  reset: (name, force) => disks.reset(name, force),
  maintain: () => {
    stopMaintenance = disks.startMaintenance();
  },
  figures: () => {
    const { dropped, bytesIn, bytesOut } = nbd.stats;
    const values = disks.figures().map(valueOfFigures);
    return { disks: values, dropped, bytesIn, bytesOut, counters: counters.values.slice() };
  },
  beginStop: () => disks.beginStop(),
  close: async () => {
    stopMaintenance();
    disks.beginStop();
    await nbd.close();
    await disks.dispose();
  },
};

async function answer(id: number, operation: Operation, args: readonly unknown[]): Promise<void> {
  const handler = handlers[operation] as (...all: readonly unknown[]) => unknown;
  try {
    send({ kind: 'answer', id, answer: await handler(...args) });
  } catch (error) {
    const refusal =
      error instanceof SwapError
        ? error
        : new SwapError('ERR_IO_SYSTEM', `${operation}: ${String(error)}`);
    const { code, message, facts } = refusal;
    send({ kind: 'refusal', id, error: { code, message, facts } });
  }
}

port.on('message', (message: ToWorker) => {
  if (message.kind === 'ask') void answer(message.id, message.operation, message.args);
  else {
    disks.exports.defaultName = message.defaultName;
    nbd.adopt(message.connection, true);
  }
});
