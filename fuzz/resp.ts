/**
 * Fuzzes the RESP2 reader with replies that are corrupted and cut anywhere, against a decoder made of regular
 * expressions; and the client against a machine with corrupted replies: it may report a page as lost, but must never
 * return a wrong one.
 */
import assert from 'node:assert/strict';
import { Prng } from '../src/base/prng.ts';
import { LoadResult } from '../src/frontswap/ops.ts';
import type { Stream } from '../src/remote/ops.ts';
import { FakePeer } from '../test/support/fakes/fake-peer.ts';
import { madePage as page } from '../test/support/fixtures/pages.ts';
import { rig } from '../test/support/fixtures/remote-rig.ts';
import { checkEveryCut, randomReply } from '../test/support/models/resp-model.ts';

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
}

const SLOTS = 40;

/** A machine whose replies are sometimes corrupted. */
function corruptingPeer(prng: Prng): FakePeer {
  const peer = new FakePeer();
  const { open } = peer;
  const corrupting = (stream: Stream, memory: Uint8Array): Stream => ({
    send: (at, length, ms) => stream.send(at, length, ms),
    receive(at, length, ms) {
      const got = stream.receive(at, 1 + prng.below(length), ms);
      for (let i = 0; got > 0 && prng.oneIn(20) && i < 3; i++)
        memory[at + prng.below(got)] = prng.u32() & 0xff;
      return got;
    },
    [Symbol.dispose]: () => stream[Symbol.dispose](),
  });
  Object.assign(peer, {
    open: (memory: Uint8Array, ms: number) => corrupting(open(memory, ms), memory),
  });
  return peer;
}

/** Runs one client; every page that is loaded must be the page that was stored. */
function runClient(prng: Prng): void {
  const peer = corruptingPeer(prng);
  const { front, backend } = rig({ peer, pauseMs: 1, pauseMsMax: 2 });
  const stored = new Map<number, number>();
  const into = new Uint8Array(4096);
  for (let i = 0; i < 300; i++) {
    const slot = prng.below(SLOTS);
    peer.clock.ms += 10;
    const what = prng.below(9);
    if (what < 3) {
      stored.set(slot, i);
      assert.ok(front.store(0, slot, page('text', i), 0));
    } else if (what < 5) backend.remotify(1 + prng.below(SLOTS));
    else if (front.load(0, slot, into, 0) === LoadResult.loaded)
      assert.deepEqual(into, page('text', stored.get(slot)!));
    backend.verify();
  }
}

/** Runs for `seconds`; returns the number of replies. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const prng = new Prng(seed);
  const end = performance.now() + seconds * 1000;
  let count = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 500; i++, count++) checkEveryCut(randomReply(prng));
    runClient(prng);
  }
  return count;
}
