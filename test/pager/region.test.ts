/** Eviction order, pins, and the limits of a resident set. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import {
  ACTIVE_LIST,
  INACTIVE_LIST,
  type ListAt,
  PageState,
  Region,
} from '../../src/pager/region.ts';
import { ResidentSet, SET_PAGES_MIN } from '../../src/pager/resident-set.ts';
import { NO_ENTRY, type SwapEntry } from '../../src/swap/entry.ts';
import { SimMemory, SimWorld } from './sim-memory.ts';

const makeRegion = (pages: number): Region => {
  const region = new Region(new SimMemory(new SimWorld(1), pages), new ResidentSet<Region>(64));
  region.set.regions.push(region);
  return region;
};

/** Oldest first. */
function listOf(region: Region, list: ListAt): number[] {
  const pages: number[] = [];
  for (let page = region.oldest(list); page !== -1; page = region.newer(page, list))
    pages.push(page);
  return pages;
}

const enter = (region: Region, page: number): void =>
  region.addResident(page, PageState.dirty, NO_ENTRY, 1);

test('pages are evicted in the order in which they were swapped in', () => {
  const region = makeRegion(4);
  for (const page of [2, 0, 3]) enter(region, page);
  assert.deepEqual(listOf(region, INACTIVE_LIST), [2, 0, 3]);
  assert.equal(region.activateIfReferenced(2), false);
  region.verify();
});

test('a referenced page gets one second chance, in the active list', () => {
  const region = makeRegion(4);
  for (const page of [0, 1]) enter(region, page);
  region.markReferenced(0);
  assert.equal(region.activateIfReferenced(0), true);
  assert.deepEqual([listOf(region, INACTIVE_LIST), listOf(region, ACTIVE_LIST)], [[1], [0]]);
  region.deactivateOldest();
  assert.deepEqual(listOf(region, INACTIVE_LIST), [1, 0]);
  assert.equal(region.activateIfReferenced(0), false);
  region.verify();
});

test('a pinned page is in no list; after its last unpin it is the newest', () => {
  const region = makeRegion(4);
  for (const page of [0, 1]) enter(region, page);
  assert.ok(region.pin(0) && region.pin(0));
  region.unpin(0);
  assert.deepEqual(listOf(region, INACTIVE_LIST), [1]);
  region.verify();
  region.unpin(0);
  assert.deepEqual(listOf(region, INACTIVE_LIST), [1, 0]);
  assert.equal(region.set.pinned, 0);
  assert.throws(() => region.unpin(0), /the page is pinned/);
});

test('a page has at most 255 pins', () => {
  const region = makeRegion(1);
  enter(region, 0);
  for (let i = 0; i < 255; i++) assert.ok(region.pin(0));
  assert.equal(region.pin(0), false);
});

test('the list of a region of one page', () => {
  const region = makeRegion(1);
  enter(region, 0);
  region.unlist(0);
  region.unlist(0);
  assert.deepEqual([region.inactive, region.oldest(INACTIVE_LIST)], [0, -1]);
  region.relist(0);
  region.verify();
});

test('lists, counts and states match a naive model', () => {
  const prng = new Prng(11);
  const region = makeRegion(12);
  const lists: [number[], number[]] = [[], []];
  const referenced = new Set<number>();
  const drop = (page: number): void => {
    for (const list of lists) if (list.includes(page)) list.splice(list.indexOf(page), 1);
  };
  for (let i = 0; i < 5000; i++) {
    const page = prng.below(12);
    const what = prng.below(6);
    const oldest = lists[0][0];
    if (!region.isResident(page)) {
      enter(region, page);
      referenced.delete(page);
      lists[0].push(page);
    } else if (what === 0) {
      region.removeResident(page, PageState.stored, 5 as SwapEntry, i);
      drop(page);
    } else if (what === 1) {
      region.markReferenced(page);
      referenced.add(page);
    } else if (what < 4 && oldest !== undefined) {
      assert.equal(region.activateIfReferenced(oldest), referenced.has(oldest));
      if (referenced.delete(oldest)) lists[1].push(lists[0].shift()!);
    } else if (what === 4 && lists[1].length > 0) {
      region.deactivateOldest();
      lists[0].push(lists[1].shift()!);
    } else if (lists[0].includes(page)) {
      region.unlist(page);
      region.relist(page);
      drop(page);
      lists[0].push(page);
    }
    assert.deepEqual([listOf(region, 0), listOf(region, 1)], lists);
    region.verify();
    region.set.verify();
  }
});

test('the marks and the pin limit of a resident set are below its limit', () => {
  assert.throws(() => new ResidentSet<Region>(SET_PAGES_MIN - 1), /limit >= SET_PAGES_MIN/);
  const least = new ResidentSet<Region>(SET_PAGES_MIN);
  assert.deepEqual([least.high, least.low, least.pinLimit], [30, 28, 16]);
  assert.deepEqual([SET_PAGES_MIN, least.batch], [32, 8]);
  assert.deepEqual(
    [143, 144, 8191, 8192, 1 << 20].map((limit) => new ResidentSet<Region>(limit).batch),
    [8, 9, 511, 512, 512],
  );
  const large = new ResidentSet<Region>(1 << 20);
  assert.deepEqual([large.limit - large.high, large.limit - large.low], [256, 512]);
  assert.equal(large.pinLimit, (1 << 20) - (1 << 17));
});
