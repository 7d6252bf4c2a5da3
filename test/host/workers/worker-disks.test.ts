/** The disks of engine workers without a server: answers that cross operations, and operations that fail. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hostCounters } from '../../../src/host/counters.ts';
import { WorkerDisks } from '../../../src/host/workers/worker-disks.ts';
import { configOf } from '../../support/fixtures/host-config.ts';

const options = { timeout: 60_000 };

interface Rig {
  readonly disks: WorkerDisks;
  readonly lost: string[];
}

async function rig(t: TestContext): Promise<Rig> {
  const lost: string[] = [];
  const config = configOf({ disk: ['a=8M', 'b=8M'] });
  const ignore = (): undefined => undefined;
  const disks = new WorkerDisks({
    ...{
      workers: 2,
      codec: 'lzo',
      totalLimitBytes: 0,
      hasUnix: true,
      socketMode: 0o600,
      limits: config,
    },
    ...{ print: ignore, log: ignore, trace: ignore, events: { emit: ignore } },
    counters: hostCounters(),
    onLost: (line) => lost.push(line),
  });
  t.after(() => disks.dispose());
  for (const disk of config.disks) await disks.add(disk, false);
  return { disks, lost };
}

/** Keeps this thread busy: the messages of the workers wait. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test(
  'a late reply about a removed disk does not remove a new disk of the same name',
  options,
  async (t) => {
    const { disks } = await rig(t);
    const [, b] = disks.configs;
    const first = disks.remove('b', true);
    block(500); // the worker has removed it, which is not known here yet
    // In use: this machine was so slow that the worker still removes it.
    const second = assert.rejects(disks.remove('b', true), {
      code: /^(ERR_ARG_UNKNOWN|ERR_IO_IN_USE)$/,
    });
    await first;
    await disks.add(b!, false);
    await second;
    assert.deepEqual(
      disks.configs.map(({ name }) => name),
      ['a', 'b'],
    );
    assert.equal(disks.figuresOf('b').config.name, 'b');
    await disks.remove('b', true);
  },
);

test(
  'an operation that fails unexpectedly is refused, and its worker stays',
  options,
  async (t) => {
    const { disks, lost } = await rig(t);
    await assert.rejects(disks.set('a', null as never, false), {
      code: 'ERR_IO_SYSTEM',
      message: /set: TypeError/,
    });
    assert.equal(await disks.remove('a', false), 0);
    await sleep(50);
    assert.deepEqual(lost, []);
  },
);
