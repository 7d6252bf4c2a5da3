/** allow-uid and allow-gid of a disk that is served: add, set, and what happens to clients that lose their access. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askAdd, askDisk, askSet } from '../../src/host/control-client.ts';
import { changedAccess, parseAccess } from '../../src/host/disk-access.ts';
import { check, fill, live, options, somePages } from './live-rig.ts';

const uid = process.geteuid?.() ?? 0;
const gid = process.getegid?.() ?? 0;

const accessOf = async (control: string, name: string): Promise<unknown> => {
  const { allowedUids, allowedGids } = await askDisk(control, name);
  return [allowedUids, allowedGids];
};

test('a disk is added for a user, and for another one', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=8M'] });
  await askAdd(control, { name: 'mine', size: '1M', 'allow-uid': `${uid + 1}:${uid}` });
  await askAdd(control, { name: 'other', size: '1M', 'allow-gid': gid + 1 });
  await open('mine');
  await assert.rejects(open('other'));
  assert.deepEqual(await accessOf(control, 'mine'), [[uid + 1, uid], []]);
  assert.deepEqual(await accessOf(control, 'other'), [[], [gid + 1]]);
  assert.deepEqual(await accessOf(control, 'a'), [null, null]);
  await assert.rejects(askAdd(control, { name: 'b', size: '1M', 'allow-uid': 'root' }), {
    code: 'ERR_ARG_VALUE',
    message: /allow-uid: 'root' is not a list of numeric ids/,
  });
});

test('a client that would lose its access stops the change, unless forced', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=8M,shared=on'] });
  const a = await open('a');
  const pages = somePages(20);
  await fill(a, pages);
  const change = { 'allow-uid': uid + 1, rate: '10M' };
  await assert.rejects(askSet(control, 'a', change, false), {
    code: 'ERR_IO_IN_USE',
    message: /is open to 1 connection of users that would no longer see it/,
  });
  assert.deepEqual(await accessOf(control, 'a'), [null, null]);
  assert.equal((await askDisk(control, 'a')).rateBytes, 0, 'all settings or none');
  await check(a, pages);

  // A client that the new list names stays.
  await askSet(control, 'a', { 'allow-gid': gid }, false);
  await check(a, pages);

  const forced = await askSet(control, 'a', { 'allow-uid': uid + 1, 'allow-gid': 'none' }, true);
  assert.deepEqual([forced.allowedUids, forced.allowedGids], [[uid + 1], []]);
  await assert.rejects(a.pread(0, 4096));
  await assert.rejects(open('a'));
  assert.equal((await askDisk(control, 'a')).storedPages, 20, 'no page is lost');
  await askSet(control, 'a', { 'allow-uid': 'any' }, false);
  await check(await open('a'), pages);
});

test('without a Unix socket a disk for users is refused', options, async (t) => {
  const { control } = await live(t, { disk: ['a=8M'], unix: undefined, port: 0 });
  const code = 'ERR_ARG_CONFLICT';
  const disk = { name: 'b', size: '1M', 'allow-uid': uid };
  await assert.rejects(askAdd(control, disk), { code, message: /require a Unix socket/ });
  await assert.rejects(askSet(control, 'a', { 'allow-gid': gid }, false), { code });
  assert.deepEqual(await accessOf(control, 'a'), [null, null]);
  await askSet(control, 'a', { 'allow-gid': 'any' }, false);
});

test('one list changes without the other, and only `any` opens a disk to all', () => {
  const change = (before: Parameters<typeof changedAccess>[0], ...texts: [string, string][]) =>
    changedAccess(before, parseAccess('', new Map(texts)) ?? {});
  const both = { uids: [1], gids: [2] };
  assert.deepEqual(change(both, ['allow-uid', '3:4:3']), { uids: [3, 4], gids: [2] });
  assert.deepEqual(change(both, ['allow-gid', 'none']), { uids: [1], gids: [] });
  assert.deepEqual(change({ uids: [1], gids: [] }, ['allow-uid', 'none']), { uids: [], gids: [] });
  assert.equal(change(both, ['allow-gid', 'any']), null);
  assert.deepEqual(change(null, ['allow-gid', '5']), { uids: [], gids: [5] });
  for (const text of [
    '',
    ':',
    '1:',
    '-1',
    '4294967295',
    '1:any',
    'x',
    '1,2',
    `${'1:'.repeat(256)}1`,
  ])
    assert.throws(() => change(null, ['allow-uid', text]), { code: 'ERR_ARG_VALUE' }, text);
});
