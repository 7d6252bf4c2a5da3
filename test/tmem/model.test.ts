/** Tmem against the naive model: random commands on few clients, pools, objects and pages, so that keys collide. */
import type { Prng } from '../../src/base/prng.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import type { ModelLimits } from './tmem-model.ts';
import { TmemTwin } from './tmem-twin.ts';

const uuids = ['0123456789abcdef0123456789abcdef', '1'.repeat(32)] as const;

/** Rare commands on clients and pools. */
function manage(twin: TmemTwin, prng: Prng, client: number): void {
  const { tmem, model } = twin;
  const what = prng.below(12);
  const uuid = uuids[prng.below(2)]!;
  if (what < 1) twin.addClient(prng.below(4), prng.oneIn(3) ? 5 + prng.below(20) : 0);
  else if (model.clients[client] === null || model.clients[client] === undefined) return;
  else if (what < 2) {
    tmem.setWeight(client, prng.below(4));
    model.clients[client].weight = tmem.clientOf(client)!.weight;
  } else if (what < 3) {
    const cap = prng.oneIn(2) ? 0 : prng.below(20);
    tmem.setCap(client, cap);
    model.setCap(client, cap);
  } else if (what < 5) {
    const frozen = prng.oneIn(5);
    if (frozen) tmem.freeze(client);
    else tmem.thaw(client);
    model.clients[client].frozen = frozen;
  } else if (what < 6) {
    twin.authorise(client, uuid, !prng.oneIn(3));
  } else if (what < 10 && model.clients[client].pools.filter(Boolean).length > 3 && !prng.oneIn(40))
    return;
  else if (what < 9) twin.newPool(client, false, prng.oneIn(2), prng.oneIn(2) ? uuid : undefined);
  else if (what < 10) twin.newPool(client, true, prng.oneIn(3));
  else if (prng.oneIn(3)) equal(tmem.destroyClient(client), model.destroyClient(client));
  else {
    const pool = prng.below(5);
    equal(tmem.destroyPool(client, pool), model.destroyPool(client, pool));
  }
}

function equal(got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${String(got)} instead of ${String(expected)}`);
}

function step(twin: TmemTwin, prng: Prng): void {
  const client = prng.below(5);
  const pools = [...(twin.model.clients[client]?.pools ?? []).keys()].filter(
    (local) => twin.model.clients[client]?.pools[local] !== null,
  );
  const pool =
    prng.oneIn(30) || pools.length === 0 ? prng.below(17) : pools[prng.below(pools.length)]!;
  const oid = prng.below(12);
  const index = prng.below(5);
  const what = prng.below(100);
  if (what < 45) twin.put(client, pool, oid, index, prng.below(60));
  else if (what < 65) twin.get(client, pool, oid, index);
  else if (what < 72) twin.flush(client, pool, oid, index);
  else if (what < 78) twin.flush(client, pool, oid, undefined);
  else if (what < 85) twin.many(client, pool, prng);
  else if (what < 87) {
    const bytes = prng.below(600);
    equal(twin.tmem.relinquish(bytes), twin.model.relinquish(bytes));
  } else manage(twin, prng, client);
}

const base: ModelLimits = {
  slots: 40,
  limitBytes: 100_000,
  pages: 40,
  objects: 40,
  clients: 4,
  dedup: 'client',
  evictionsPerPut: 256,
  replaceFrozen: false,
};

const kinds: Record<string, Partial<ModelLimits>> = {
  'few slots, dedup by client': { pages: 80 },
  'few bytes, global dedup': { pages: 80, slots: 80, limitBytes: 1500, dedup: 'global' },
  'few bytes, no dedup': { slots: 80, pages: 80, limitBytes: 2000, dedup: 'off' },
  'few page rows, frozen puts replace': { slots: 80, pages: 30, replaceFrozen: true },
  'few object rows': { slots: 80, pages: 80, objects: 12 },
  'three evictions per put': { slots: 80, pages: 80, limitBytes: 1000, evictionsPerPut: 3 },
};

for (const [name, limits] of Object.entries(kinds))
  randomTest(
    `C1 C2 C3 C4 C5 C6 C9 C15 C19 C22 tmem matches the model: ${name}`,
    3000,
    (prng, steps) => {
      const twin = new TmemTwin({ ...base, ...limits });
      for (let i = 0; i < 3; i++) {
        const client = twin.addClient(i, 0);
        twin.newPool(client, true, false);
        twin.newPool(client, false, true);
      }
      for (let i = 0; i < steps; i++) {
        step(twin, prng);
        twin.check();
      }
    },
  );
