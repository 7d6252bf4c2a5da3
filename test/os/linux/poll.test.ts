/** Waiting for descriptors and waking the waiter: poll(2) and eventfd(2). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { EventFd, openEventFd } from '../../../src/os/linux/eventfd.ts';
import { Poller, PollResult, Ready } from '../../../src/os/linux/poll.ts';
import { errnoOf, noLinux, theLinux } from './machine.ts';

describe('poll and eventfd', { skip: noLinux }, () => {
  const linux = theLinux();

  test('without a ready descriptor wait() times out, at once or later', () => {
    const event = openEventFd(linux);
    const poller = new Poller(linux, [event.fd]);
    assert.equal(poller.wait(0), PollResult.timedOut);
    const start = performance.now();
    assert.equal(poller.wait(30), PollResult.timedOut);
    assert.ok(performance.now() - start >= 29);
    assert.equal(poller.readiness(0), 0);
    event.close();
  });

  test('readiness() shows which of two descriptors is ready', () => {
    const events = [openEventFd(linux), openEventFd(linux)] as const;
    const poller = new Poller(linux, [events[0].fd, events[1].fd]);
    events[1].signal();
    assert.equal(poller.wait(1000), 1);
    assert.equal(poller.readiness(0), 0);
    assert.equal(poller.readiness(1), Ready.readable);
    events[0].signal();
    assert.equal(poller.wait(1000), 2);
    assert.equal(events[1].take(), 1);
    assert.equal(poller.wait(0), 1);
    assert.equal(poller.readiness(0), Ready.readable);
    assert.equal(poller.readiness(1), 0);
    for (const event of events) event.close();
  });

  test('signals add up, and take() resets the counter', () => {
    const event = openEventFd(linux);
    assert.equal(event.take(), 0);
    for (let i = 0; i < 3; i++) assert.equal(event.signal(), true);
    assert.equal(event.take(), 3);
    assert.equal(event.take(), 0);
    event.close();
  });

  test('signal() of a full counter returns false, and the waiter is awake', () => {
    const event = openEventFd(linux);
    const write = linux.bind('int64_t write(int fd, uintptr_t buffer, size_t count)');
    const most = new BigUint64Array([0xffff_ffff_ffff_fffen]);
    assert.equal(write(event.fd, linux.addressOf(most), 8), 8);
    assert.equal(event.signal(), false);
    assert.equal(new Poller(linux, [event.fd]).wait(0), 1);
    assert.equal(event.take(), 2 ** 64);
    event.close();
  });

  test('an adopted descriptor has the same counter', () => {
    const event = openEventFd(linux);
    new EventFd(linux, event.fd).signal();
    assert.equal(event.take(), 1);
    event.close();
    assert.equal(
      errnoOf(() => event.signal()),
      'EBADF',
    );
    assert.equal(
      errnoOf(() => event.take()),
      'EBADF',
    );
  });

  test('a closed descriptor in the table is reported as invalid', () => {
    const event = openEventFd(linux);
    const poller = new Poller(linux, [event.fd]);
    event.close();
    assert.equal(poller.wait(1000), 1);
    assert.equal(poller.readiness(0), Ready.invalid);
    assert.throws(() => poller.readiness(1), { name: 'InvariantError' });
  });

  test('a poller can wait for writable', () => {
    const event = openEventFd(linux);
    const poller = new Poller(linux, [event.fd], Ready.readable | Ready.writable);
    assert.equal(poller.wait(0), 1);
    assert.equal(poller.readiness(0), Ready.writable);
    event.close();
  });

  test('a handled signal interrupts wait()', async () => {
    // libuv's handler, which only records the signal, runs on this thread during poll().
    process.on('SIGUSR2', () => {});
    const shared = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads');
       Atomics.wait(workerData, 0, 0, 60_000);
       const end = Date.now() + 60_000;
       while (Atomics.load(workerData, 0) === 1 && Date.now() < end) {
         process.kill(process.pid, 'SIGUSR2');
         Atomics.wait(workerData, 0, 1, 20);
       }`,
      { eval: true, workerData: shared },
    );
    const event = openEventFd(linux);
    const poller = new Poller(linux, [event.fd]);
    Atomics.store(shared, 0, 1);
    Atomics.notify(shared, 0);
    await new Promise((resolve) => worker.once('online', resolve));
    const end = performance.now() + 60_000;
    let answer: number = PollResult.timedOut;
    while (answer !== PollResult.interrupted && performance.now() < end) answer = poller.wait(500);
    Atomics.store(shared, 0, 2);
    Atomics.notify(shared, 0);
    await new Promise((resolve) => worker.once('exit', resolve));
    event.close();
    assert.equal(answer, PollResult.interrupted);
  });
});
