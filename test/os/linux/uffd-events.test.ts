/** Events of a range other than faults, and the results of calls meanwhile. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Poller } from '../../../src/os/linux/poll.ts';
import {
  CopyMode,
  MoveMode,
  UffdEvent,
  UffdFeature,
  UffdMode,
} from '../../../src/os/linux/uffd-constants.ts';
import { ResolveResult } from '../../../src/os/linux/userfaultfd.ts';
import { awaitMessages } from './faults.ts';
import { noLinux, noUffd } from './machine.ts';
import { Command } from './toucher.ts';
import { withRange } from './uffd-range.ts';

describe('events', { skip: noLinux }, () => {
  const { eventRemove, eventUnmap, eventRemap, move } = UffdFeature;

  /** The thread changes the address space and waits until the event is read. */
  async function changed(feature: number, command: number, value: number): Promise<number[]> {
    const result: number[] = [];
    await withRange(feature, UffdMode.missing, async (r) => {
      r.uffd.zeroPage(r.at, r.bytes, CopyMode.wake);
      const toucher = await r.toucher();
      toucher.ask(command, 2 * r.page, value * r.page);
      awaitMessages(r.linux, r.uffd);
      const { uffd, at, page } = r;
      result.push(uffd.event(0), (uffd.rangeStart(0) - at) / page, (uffd.rangeEnd(0) - at) / page);
      result.push(uffd.rangeBytes(0) / page);
      assert.equal(toucher.result(), 1);
    });
    return result;
  }

  test('dropped memory is reported with its range', {
    skip: noUffd(eventRemove),
  }, async () => {
    const [event, start, end] = await changed(eventRemove, Command.drop, 0);
    assert.deepEqual([event, start, end], [UffdEvent.remove, 2, 3]);
  });

  test('unmapped memory is reported with its range', { skip: noUffd(eventUnmap) }, async () => {
    const [event, start, end] = await changed(eventUnmap, Command.unmap, 0);
    assert.deepEqual([event, start, end], [UffdEvent.unmap, 2, 3]);
  });

  test('moved memory is reported with both addresses', { skip: noUffd(eventRemap) }, async () => {
    assert.deepEqual(await changed(eventRemap, Command.move, 9), [UffdEvent.remap, 2, 9, 1]);
  });

  test('while the address space changes, copy returns again with bytesDone 0', {
    skip: noUffd(eventRemove),
  }, async () => {
    await withRange(eventRemove, UffdMode.missing, async (r) => {
      r.uffd.copy(r.at, r.source, r.page, CopyMode.wake); // its bytesDone must not be taken for that of the next call
      const toucher = await r.toucher();
      toucher.ask(Command.drop, 0);
      const poller = new Poller(r.linux, [r.uffd.fd]);
      assert.equal(poller.wait(5000), 1);
      assert.equal(r.uffd.copy(r.pageAt(4), r.source, r.page, CopyMode.wake), ResolveResult.again);
      assert.equal(r.uffd.bytesDone, 0);
      r.uffd.readMessages();
      assert.equal(toucher.result(), 1);
      assert.equal(r.uffd.copy(r.pageAt(4), r.source, r.page, CopyMode.wake), ResolveResult.done);
    });
  });

  test('moving a page shared with a forked process returns busy until the page is written', {
    skip: noUffd(move),
  }, async () => {
    await withRange(move, UffdMode.missing, async (r) => {
      r.from.fill(1);
      const toucher = await r.toucher();
      toucher.ask(Command.fork, 0);
      assert.equal(toucher.result(), 1);
      assert.equal(r.uffd.move(r.at, r.source, r.page, MoveMode.wake), ResolveResult.busy);
      assert.equal(r.uffd.bytesDone, 0);
      r.from[0] = 2; // the child has ended: after a write the page is no longer shared
      assert.equal(r.uffd.move(r.at, r.source, r.page, MoveMode.wake), ResolveResult.done);
    });
  });

  test('a fork is reported with a descriptor for the child', {
    skip: noUffd(UffdFeature.eventFork),
  }, async () => {
    await withRange(UffdFeature.eventFork, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      toucher.ask(Command.fork, 0);
      awaitMessages(r.linux, r.uffd);
      assert.equal(r.uffd.event(0), UffdEvent.fork);
      const fd = r.uffd.forkDescriptor(0);
      assert.ok(fd > 2 && fd !== r.uffd.fd);
      r.linux.close(fd);
      assert.equal(toucher.result(), 1);
    });
  });
});
