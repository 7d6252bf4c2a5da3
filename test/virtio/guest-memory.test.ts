/** Addresses of a guest: both ends of each region, the regions that are refused, and a naive search as the model. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory, type GuestRegion, REGIONS_MAX } from '../../src/virtio/guest-memory.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const regionOf = (guestAddress: number, bytes: number): GuestRegion => ({
  guestAddress,
  userAddress: 2 ** 46 + guestAddress,
  bytes,
  view: new Uint8Array(bytes),
});

randomTest('addresses are found as by a naive search', 20_000, (prng, steps) => {
  let memory = new GuestMemory([]);
  for (let step = 0; step < steps; step++) {
    if (step % 100 === 0) {
      const count = prng.below(20);
      const places = Array.from({ length: count }, (_, i) => regionOf(i * 64, 1 + prng.below(64)));
      memory = new GuestMemory(places.reverse());
    }
    const address = prng.below(21 * 64);
    const isUser = prng.oneIn(2);
    const found = memory.regions.findIndex(
      ({ guestAddress, bytes }) => address >= guestAddress && address < guestAddress + bytes,
    );
    const isFound = isUser ? memory.reachUser(2 ** 46 + address) : reach(memory, address);
    assert.equal(isFound, found !== -1);
    if (!isFound) continue;
    const { guestAddress, bytes } = memory.regions[found]!;
    const { region, at, left } = memory;
    assert.deepEqual(
      [region, at, left],
      [found, address - guestAddress, guestAddress + bytes - address],
    );
  }
});

function reach(memory: GuestMemory, address: number): boolean {
  memory.wanted[0] = address;
  return memory.reach();
}

test('regions that overlap, are empty or are beyond 2^53 are refused', () => {
  const refused = (...regions: GuestRegion[]): void => {
    assert.throws(() => new GuestMemory(regions), { code: 'ERR_PEER_PROTOCOL' });
  };
  refused(regionOf(0, 100), regionOf(99, 100));
  refused(regionOf(0, 0));
  refused({ ...regionOf(0, 100), guestAddress: 2 ** 53 - 100 });
  refused({ ...regionOf(0, 100), userAddress: 2 ** 53 - 100 });
  refused({ ...regionOf(0, 100), guestAddress: -1 });
  assert.ok(reach(new GuestMemory([regionOf(0, 100), regionOf(100, 100)]), 199));
  const last = new GuestMemory([{ ...regionOf(0, 100), guestAddress: 2 ** 53 - 101 }]);
  assert.ok(reach(last, 2 ** 53 - 2) && last.left === 1);
  assert.ok(!reach(last, 2 ** 64));
});

test('the number of regions is bounded', () => {
  const some = (count: number) => Array.from({ length: count }, (_, i) => regionOf(i, 1));
  assert.ok(reach(new GuestMemory(some(REGIONS_MAX)), REGIONS_MAX - 1));
  assert.throws(() => new GuestMemory(some(REGIONS_MAX + 1)), { code: 'ERR_PEER_PROTOCOL' });
});
