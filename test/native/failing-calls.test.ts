/** Calls that wake a thread or the engine are repeated when they fail: otherwise a thread would wait forever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NativePage } from '../../src/native/layout.ts';
import { entryOf } from '../../src/swap/entry.ts';
import { Errno } from './failures.ts';
import { Rig, skipUnlessNative } from './rig.ts';

const PAGE = 4096;
const options = { skip: skipUnlessNative, timeout: 60_000 };
const errors = [Errno.EAGAIN, Errno.ENOENT, Errno.ENOMEM, Errno.EINTR];
/** In no area, so that JavaScript has to read it. */
const UNREADABLE = entryOf(5, 1);

test('a thread that waits for a page is woken although the first wake call fails', options, () => {
  const rig = new Rig();
  try {
    for (const errno of errors) {
      rig.store(1, UNREADABLE);
      rig.fail('wake', errno, 2);
      assert.ok(rig.change(1, NativePage.stored, NativePage.absent));
      assert.equal(rig.fail('wake'), 2);
    }
  } finally {
    rig[Symbol.dispose]();
  }
});

test(
  'the engine is notified of a page that it has to read although the first call fails',
  options,
  () => {
    const rig = new Rig();
    try {
      for (const errno of errors) {
        rig.store(1, UNREADABLE);
        rig.takeBell();
        rig.fail('ring', errno, 2);
        rig.writeFault(1);
        assert.equal(rig.states[1], NativePage.asked);
        assert.equal(rig.fail('ring'), 2);
        assert.ok(rig.takeBell(), 'the eventfd was rung');
        rig.change(1, NativePage.asked, NativePage.absent);
      }
    } finally {
      rig[Symbol.dispose]();
    }
  },
);

test('a page counts as unmapped only if two calls report it', options, () => {
  const rig = new Rig();
  const bytes = new Uint8Array(PAGE).fill(7);
  try {
    rig.store(1, UNREADABLE);
    rig.fail('copy', Errno.ENOENT, 1);
    assert.equal(rig.install(1, bytes), 'busy');
    rig.fail('copy');
    assert.equal(rig.install(1, bytes), 'done');
    rig.store(2, UNREADABLE);
    rig.mapOver(2);
    assert.equal(rig.install(2, bytes), 'gone');
  } finally {
    rig[Symbol.dispose]();
  }
});
