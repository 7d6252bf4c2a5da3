/** The real front end over a remote backend, a local page store and a fake machine. */
import { Budget } from '../../src/arena/budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { RemoteBackend } from '../../src/frontswap/backends/remote-backend.ts';
import { type StoreBackend, storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { type RemoteOptions, RemotePages } from '../../src/remote/remote-pages.ts';
import { FakeReturns } from '../model/fake-returns.ts';
import { makePage, type PageKind } from '../model/pages.ts';
import { FakePeer } from './fake-peer.ts';

export const BOOT = '0123456789abcdef';

export interface Rig {
  readonly peer: FakePeer;
  readonly budget: Budget;
  readonly local: StoreBackend;
  readonly remote: RemotePages;
  readonly backend: RemoteBackend;
  readonly front: Frontswap;
}

export interface RigOptions extends Partial<RemoteOptions> {
  readonly limitBytes?: number;
  readonly flushesMax?: number;
  readonly peer?: FakePeer;
}

export function rig(options: RigOptions = {}): Rig {
  const { limitBytes = 0, flushesMax = 1024, peer = new FakePeer(), ...others } = options;
  const { clock, open } = peer;
  const budget = new Budget(limitBytes);
  const local = storeBackend(budget, lz4, new FakeReturns().factory);
  const remote = new RemotePages({ open, clock, client: 'vm1', boot: BOOT, ...others });
  const backend = new RemoteBackend(local, remote, { budget, flushesMax });
  const front = new Frontswap();
  front.register(backend);
  front.init(0, 3000);
  return { peer, budget, local, remote, backend, front };
}

export function page(kind: PageKind, seed: number): Uint8Array {
  const bytes = new Uint8Array(4096);
  makePage(kind, new Prng(seed), bytes);
  return bytes;
}
