/** The command with engine workers: exit status, a worker that does not answer, signals. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askGate } from '../../src/host/control-client.ts';
import { noLinux } from '../os/linux/machine.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { RawSocket } from '../support/fixtures/raw-socket.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';
import { type Run, shipped, start, timeout, until } from './host-run.ts';

const skip = noLinux;

/** Runs in each worker before its own code: a freeze of the disk 'hang' does not end, one of 'fail' ends the worker. */
const FAULTY = `
import { isMainThread, parentPort } from 'node:worker_threads';
if (!isMainThread) {
  const on = parentPort.on;
  parentPort.on = (event, listener) => on.call(parentPort, event, (message) => {
    const [name] = message.operation === 'freeze' ? message.args : [];
    if (name === 'hang') for (;;);
    if (name === 'fail') setImmediate(() => { throw new Error('broken'); });
    listener(message);
  });
}
`;

interface Started {
  readonly run: Run;
  readonly socket: string;
  readonly control: string;
}

async function startFaulty(
  t: TestContext,
  disk: string,
  env: Record<string, string> = {},
): Promise<Started> {
  const folder = testFolder(t);
  const preload = join(folder, 'faulty.mjs');
  writeFileSync(preload, FAULTY);
  const [socket, control] = [join(folder, 's'), join(folder, 'c')];
  const argv = ['host', '--workers', '2', '-U', socket, '--control', control];
  const run = start(t, shipped, [...argv, '--disk', 'a=8M', '--disk', `${disk}=8M`], {
    NODE_OPTIONS: `--import=${preload}`,
    ...env,
  });
  await until(run, () => run.text.stdout.includes('nbd'));
  return { run, socket, control };
}

test('when a worker ends, the host says which disks are lost and exits 1', {
  skip,
  timeout,
}, async (t) => {
  const { run, socket, control } = await startFaulty(t, 'fail');
  const client = await RawClient.open(socket, 'fail');
  await askGate(control, 'fail', 'freeze').catch(() => undefined);
  await client.ended();
  assert.equal(await run.ended, 1);
  assert.match(
    run.text.stderr,
    /engine worker 2 has ended: the pages of fail are lost: Error: broken/,
  );
});

test('while a worker hangs, the watchdog is not fed, the other worker serves, and the host can be stopped', {
  skip,
  timeout,
}, async (t) => {
  const address = `@frontswap-workers-${process.pid}`;
  using receiver = new RawSocket('datagram', address);
  const env = { NOTIFY_SOCKET: address, WATCHDOG_USEC: '50000' };
  const { run, socket, control } = await startFaulty(t, 'hang', env);
  const fed = (): number => receiver.messages().filter((text) => text.includes('WATCHDOG')).length;
  await waitUntil('a watchdog message', () => fed() > 0);
  void askGate(control, 'hang', 'freeze').catch(() => undefined);
  await waitUntil('no watchdog message for 300 ms', () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    return fed() === 0;
  });
  await sleep(3000); // longer than the host waits for an answer
  assert.equal(fed(), 0);
  using other = await RawClient.open(socket, 'a');
  assert.equal(await other.write(0, Buffer.alloc(4096, 1)), 0, 'the other worker serves');
  run.child.kill('SIGTERM');
  await until(run, () => run.text.stderr.includes('not stopped'));
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('a second signal during the stop ends a host at once', { skip, timeout }, async (t) => {
  const { run, control } = await startFaulty(t, 'hang');
  void askGate(control, 'hang', 'freeze').catch(() => undefined);
  run.child.kill('SIGTERM');
  await waitUntil('it ends', () => {
    run.child.kill('SIGTERM');
    return run.child.exitCode !== null || run.child.signalCode !== null;
  });
  assert.ok(['SIGTERM', 0, 143].includes(await run.ended), `${await run.ended}`);
});
