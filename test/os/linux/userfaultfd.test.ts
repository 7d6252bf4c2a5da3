/** Faults of one thread served by another, and every result of the userfaultfd ioctls. */
import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { after, describe, test } from 'node:test';
import { Advice, Mapping, Protection } from '../../../src/os/linux/mapping.ts';
import {
  CopyMode,
  FaultFlag,
  featureNames,
  MoveMode,
  ProtectMode,
  UffdEvent,
  UffdFeature,
  UffdMode,
} from '../../../src/os/linux/uffd-constants.ts';
import { ResolveResult } from '../../../src/os/linux/userfaultfd.ts';
import { openUserfaultfd } from '../../../src/os/linux/userfaultfd-open.ts';
import { awaitMessages, Toucher } from './faults.ts';
import { errnoOf, noLinux, noUffd, theLinux } from './machine.ts';
import { PAGES, UffdRange, withRange } from './uffd-range.ts';

describe('opening a userfaultfd', { skip: noLinux }, () => {
  const linux = theLinux();

  test('returns the method and the enabled features', { skip: noUffd(0) }, () => {
    const answer = openUserfaultfd(linux, { optional: UffdFeature.threadId });
    assert.equal(answer.reason, '');
    assert.ok(answer.uffd !== null && answer.access !== null);
    assert.equal(answer.uffd.features, answer.offered & UffdFeature.threadId);
    answer.uffd.close();
  });

  test('an unsupported required feature is a reason, an optional one is left out', {
    skip: noUffd(0),
  }, () => {
    const unknown = 0x4000_0000;
    const { uffd, offered } = openUserfaultfd(linux, { optional: unknown });
    assert.equal(uffd?.features, 0);
    assert.equal(offered & unknown, 0);
    uffd?.close();
    const refused = openUserfaultfd(linux, { required: unknown });
    assert.equal(refused.uffd, null);
    assert.match(refused.reason, /the kernel lacks a feature 0x40000000/);
  });

  for (const access of ['system-call', 'device', 'user-mode'] as const)
    test(`opens by ${access} only`, { skip: noUffd(0, [access]) }, () => {
      const answer = openUserfaultfd(linux, { access: [access] });
      assert.equal(answer.access, access);
      answer.uffd?.close();
    });

  test('without an allowed method the result is a reason', () => {
    const { uffd, reason } = openUserfaultfd(linux, { access: [] });
    assert.equal(uffd, null);
    assert.match(reason, /^no userfaultfd/);
  });

  test('features have names', () => {
    assert.deepEqual(featureNames(UffdFeature.move | UffdFeature.poison), ['poison', 'move']);
    assert.deepEqual(featureNames(0x4000_0000), ['a feature 0x40000000']);
  });
});

describe('a missing page', { skip: noUffd(0) }, () => {
  test('a fault is reported once, and the thread reads the copied page', async () => {
    const features = noUffd(UffdFeature.threadId) === false ? UffdFeature.threadId : 0;
    await withRange(features, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      r.from.fill(42);
      toucher.read(3 * r.page + 17);
      assert.equal(awaitMessages(r.linux, r.uffd), 1);
      assert.equal(r.uffd.event(0), UffdEvent.fault);
      assert.equal(r.uffd.faultAddress(0), r.pageAt(3));
      assert.equal(r.uffd.faultFlags(0), 0);
      assert.equal(r.uffd.faultThread(0), features === 0 ? 0 : toucher.threadId);
      assert.equal(toucher.hasAnswered, false);
      assert.equal(r.uffd.copy(r.pageAt(3), r.source, r.page, CopyMode.wake), ResolveResult.done);
      assert.equal(r.uffd.bytesDone, r.page);
      assert.equal(toucher.result(), 42);
      assert.equal(r.uffd.readMessages(), 0);
      assert.equal(r.present(), 1);
    });
  });

  test('a write fault has the write flag, and zeroPage resolves it', async () => {
    await withRange(0, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      toucher.write(r.page, 9);
      awaitMessages(r.linux, r.uffd);
      assert.equal(r.uffd.faultFlags(0), FaultFlag.write);
      assert.equal(r.uffd.zeroPage(r.pageAt(1), r.page, CopyMode.wake), ResolveResult.done);
      assert.equal(r.uffd.bytesDone, r.page);
      assert.equal(toucher.result(), 9);
    });
  });

  test('a page faults again after dontNeed', async () => {
    await withRange(0, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      for (const round of [1, 2, 3]) {
        r.from.fill(round);
        toucher.read(5);
        awaitMessages(r.linux, r.uffd);
        assert.equal(r.uffd.copy(r.at, r.source, r.page, CopyMode.wake), ResolveResult.done);
        assert.equal(toucher.result(), round);
        assert.equal(r.mapping.advise(r.at, r.page, Advice.dontNeed), true);
      }
    });
  });

  test('after copy with dontWake the thread waits until wake', async () => {
    await withRange(0, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      r.from.fill(8);
      toucher.read(0);
      awaitMessages(r.linux, r.uffd);
      assert.equal(r.uffd.copy(r.at, r.source, r.page, CopyMode.dontWake), ResolveResult.done);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(toucher.hasAnswered, false);
      r.uffd.wake(r.at, r.page);
      assert.equal(toucher.result(), 8);
    });
  });

  test('exactAddress reports the address of the byte', {
    skip: noUffd(UffdFeature.exactAddress),
  }, async () => {
    await withRange(UffdFeature.exactAddress, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      toucher.read(2 * r.page + 123);
      awaitMessages(r.linux, r.uffd);
      assert.equal(r.uffd.faultAddress(0), r.pageAt(2) + 123);
      r.uffd.zeroPage(r.pageAt(2), r.page, CopyMode.wake);
      toucher.result();
    });
  });

  test('after unregister a waiting thread reads zeros', async () => {
    await withRange(0, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      toucher.read(0);
      awaitMessages(r.linux, r.uffd);
      r.uffd.unregister(r.at, r.bytes);
      assert.equal(toucher.result(), 0);
    });
  });

  test('a memory allocated by JavaScript can be paged', async () => {
    const memory = new SharedArrayBuffer(64 * 4096);
    const linux = theLinux();
    const mapping = new Mapping(linux);
    const start = Math.ceil(mapping.addressOf(memory) / 65536) * 65536;
    const { uffd } = openUserfaultfd(linux);
    assert.ok(uffd !== null);
    const { pageBytes } = linux;
    const source = mapping.reserve(pageBytes);
    new Uint8Array(mapping.viewOf(source, pageBytes)).fill(77);
    mapping.advise(start, pageBytes, Advice.dontNeed);
    uffd.register(start, pageBytes, UffdMode.missing);
    const toucher = await Toucher.start(start, pageBytes);
    toucher.read(1);
    awaitMessages(linux, uffd);
    assert.equal(uffd.copy(start, source, pageBytes, CopyMode.wake), ResolveResult.done);
    assert.equal(toucher.result(), 77);
    assert.equal(new Uint8Array(memory)[start - mapping.addressOf(memory) + 1], 77);
    uffd.unregister(start, pageBytes);
    uffd.close();
    await toucher.stop();
    mapping.unmap(source, pageBytes);
  });
});

describe('results', { skip: noUffd(0) }, () => {
  test('copy to a present page returns exists and leaves it unchanged', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      r.from.fill(1);
      assert.equal(r.uffd.copy(r.at, r.source, r.page, CopyMode.wake), ResolveResult.done);
      r.from.fill(2);
      assert.equal(r.uffd.copy(r.at, r.source, r.page, CopyMode.wake), ResolveResult.exists);
      assert.equal(r.uffd.bytesDone, 0);
      assert.equal(new Uint8Array(r.mapping.viewOf(r.at, r.page))[0], 1);
      assert.equal(r.uffd.zeroPage(r.at, r.page, CopyMode.wake), ResolveResult.exists);
    });
  });

  test('a batch that reaches a present page returns again and bytesDone', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      r.uffd.zeroPage(r.pageAt(3), r.page, CopyMode.wake);
      assert.equal(r.uffd.copy(r.at, r.source, r.bytes, CopyMode.wake), ResolveResult.again);
      assert.equal(r.uffd.bytesDone, 3 * r.page);
      const rest = r.bytes - 4 * r.page;
      assert.equal(r.uffd.copy(r.pageAt(4), r.source, rest, CopyMode.wake), ResolveResult.done);
      assert.equal(r.uffd.bytesDone, rest);
      assert.equal(r.present(), PAGES);
    });
  });

  test('an unregistered or unmapped range returns gone', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      const other = r.mapping.reserve(2 * r.page);
      assert.equal(r.uffd.copy(other, r.source, r.page, CopyMode.wake), ResolveResult.gone);
      r.mapping.unmap(other, 2 * r.page);
      assert.equal(r.uffd.copy(other, r.source, r.page, CopyMode.wake), ResolveResult.gone);
      assert.equal(r.uffd.zeroPage(other, r.page, CopyMode.wake), ResolveResult.gone);
    });
  });

  test('an unreadable source is an error: EFAULT', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      const other = r.mapping.reserve(r.page, Protection.none);
      assert.equal(
        errnoOf(() => r.uffd.copy(r.at, other, r.page, CopyMode.wake)),
        'EFAULT',
      );
      r.mapping.unmap(other, r.page);
    });
  });

  test('a partial page or an empty range is an error: EINVAL', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      const { uffd, at, source, page } = r;
      assert.equal(
        errnoOf(() => uffd.copy(at + 1, source, page, CopyMode.wake)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.copy(at, source, page - 1, CopyMode.wake)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.copy(at, source, 0, CopyMode.wake)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.copy(at, source, page, 0x80)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.register(at + 1, page, UffdMode.missing)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.register(at, page, 0)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.unregister(at + 1, page)),
        'EINVAL',
      );
      assert.equal(
        errnoOf(() => uffd.wake(at, 0)),
        'EINVAL',
      );
    });
  });

  test('a range registered by another descriptor is an error: EBUSY', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      const { uffd } = openUserfaultfd(r.linux);
      assert.equal(
        errnoOf(() => uffd?.register(r.at, r.bytes, UffdMode.missing)),
        'EBUSY',
      );
      uffd?.close();
    });
  });

  test('a closed descriptor is an error: EBADF', () => {
    const { uffd } = openUserfaultfd(theLinux());
    uffd?.close();
    assert.equal(
      errnoOf(() => uffd?.readMessages()),
      'EBADF',
    );
    assert.equal(
      errnoOf(() => uffd?.close()),
      'EBADF',
    );
  });

  test('without messages readMessages() returns 0, and no message can be read', async () => {
    await withRange(0, UffdMode.missing, (r) => {
      assert.equal(r.uffd.readMessages(), 0);
      assert.throws(() => r.uffd.event(0), { name: 'InvariantError' });
    });
  });

  test('register returns the ioctls of the range', () => {
    const r = new UffdRange(0, UffdMode.missing);
    const ioctls = r.uffd.register(r.at, r.bytes, UffdMode.missing);
    for (const command of [2, 3, 4]) assert.ok((ioctls >>> command) & 1, `command ${command}`);
    after(() => r.close());
  });
});

describe('move', { skip: noUffd(UffdFeature.move) }, () => {
  test('move removes the pages from the source', async () => {
    await withRange(UffdFeature.move, UffdMode.missing, (r) => {
      r.from.fill(33);
      assert.equal(r.uffd.move(r.at, r.source, 2 * r.page, MoveMode.wake), ResolveResult.done);
      assert.equal(r.uffd.bytesDone, 2 * r.page);
      assert.equal(new Uint8Array(r.mapping.viewOf(r.at, r.page))[7], 33);
      assert.equal(r.from[0], 0);
      assert.equal(r.from[2 * r.page], 33);
      const hole = r.source + r.page;
      assert.equal(r.uffd.move(r.pageAt(5), hole, r.page, MoveMode.wake), ResolveResult.gone);
      r.from[0] = 1;
      assert.equal(r.uffd.move(r.at, r.source, r.page, MoveMode.wake), ResolveResult.exists);
      assert.equal(
        r.uffd.move(r.pageAt(4), hole, 2 * r.page, MoveMode.allowSourceHoles),
        ResolveResult.done,
      );
    });
  });

  test('move serves a fault', async () => {
    await withRange(UffdFeature.move, UffdMode.missing, async (r) => {
      const toucher = await r.toucher();
      r.from.fill(12);
      toucher.read(r.page);
      awaitMessages(r.linux, r.uffd);
      assert.equal(r.uffd.move(r.pageAt(1), r.source, r.page, MoveMode.wake), ResolveResult.done);
      assert.equal(toucher.result(), 12);
    });
  });

  test('move of file pages is an error: EINVAL', async () => {
    await withRange(UffdFeature.move, UffdMode.missing, (r) => {
      const fd = r.mapping.createMemoryFile('move-test', r.page);
      const file = r.mapping.mapFile(r.page, { fd });
      new Uint8Array(r.mapping.viewOf(file, r.page))[0] = 1;
      assert.equal(
        errnoOf(() => r.uffd.move(r.at, file, r.page, MoveMode.wake)),
        'EINVAL',
      );
      r.mapping.unmap(file, r.page);
      closeSync(fd);
    });
  });
});

describe('write protection', { skip: noUffd(UffdFeature.faultFlagWriteProtect) }, () => {
  const features = UffdFeature.faultFlagWriteProtect;
  const modes = UffdMode.missing | UffdMode.writeProtect;

  test('a write to a protected page faults with the writeProtect flag, and continues when protection is removed', async () => {
    await withRange(features, modes, async (r) => {
      const toucher = await r.toucher();
      r.from.fill(6);
      assert.equal(r.uffd.copy(r.at, r.source, r.page, CopyMode.writeProtect), ResolveResult.done);
      toucher.read(3);
      assert.equal(toucher.result(), 6);
      toucher.write(3, 70);
      awaitMessages(r.linux, r.uffd);
      assert.equal(r.uffd.faultFlags(0), FaultFlag.write | FaultFlag.writeProtect);
      assert.equal(r.uffd.faultAddress(0), r.at);
      assert.equal(r.uffd.writeProtect(r.at, r.page, ProtectMode.lift), ResolveResult.done);
      assert.equal(toucher.result(), 70);
    });
  });

  test('present pages can be protected, and again after protection was removed', async () => {
    await withRange(features, modes, async (r) => {
      const toucher = await r.toucher();
      r.uffd.zeroPage(r.at, r.bytes, CopyMode.wake);
      for (const value of [1, 2]) {
        assert.equal(r.uffd.writeProtect(r.at, r.bytes, ProtectMode.protect), ResolveResult.done);
        assert.equal(r.uffd.bytesDone, r.bytes);
        toucher.write(r.page, value);
        awaitMessages(r.linux, r.uffd);
        assert.equal(r.uffd.faultFlags(0), FaultFlag.write | FaultFlag.writeProtect);
        r.uffd.writeProtect(r.pageAt(1), r.page, ProtectMode.lift);
        assert.equal(toucher.result(), value);
      }
    });
  });

  test('protecting an unregistered range returns gone', async () => {
    await withRange(features, modes, (r) => {
      assert.equal(r.uffd.writeProtect(r.source, r.page, ProtectMode.protect), ResolveResult.gone);
      assert.equal(r.uffd.bytesDone, 0);
    });
  });
});

describe('minor faults', { skip: noUffd(UffdFeature.minorShmem) }, () => {
  test('continue maps existing file pages and returns absent for missing ones', async () => {
    const linux = theLinux();
    const mapping = new Mapping(linux);
    const bytes = PAGES * linux.pageBytes;
    const fd = mapping.createMemoryFile('minor-test', bytes);
    const behind = mapping.mapFile(bytes, { fd });
    new Uint8Array(mapping.viewOf(behind, bytes))[linux.pageBytes + 1] = 55;
    const r = new UffdRange(UffdFeature.minorShmem, UffdMode.minor, mapping.mapFile(bytes, { fd }));
    try {
      const toucher = await r.toucher();
      toucher.read(r.page + 1);
      awaitMessages(linux, r.uffd);
      assert.equal(r.uffd.faultFlags(0) & FaultFlag.minor, FaultFlag.minor);
      assert.equal(r.uffd.continue(r.pageAt(1), r.page, CopyMode.wake), ResolveResult.done);
      assert.equal(r.uffd.bytesDone, r.page);
      assert.equal(toucher.result(), 55);
      assert.equal(r.uffd.continue(r.pageAt(1), r.page, CopyMode.wake), ResolveResult.exists);
      assert.equal(r.uffd.continue(r.pageAt(2), r.page, CopyMode.wake), ResolveResult.absent);
    } finally {
      await r.close();
      mapping.unmap(behind, bytes);
      closeSync(fd);
    }
  });
});
