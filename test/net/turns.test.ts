import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import { Flow, LONE_GRANT, QUANTUM, type Served, Turns } from '../../src/net/turns.ts';

const timeout = 20_000;

/** A client with work to do: `stepOf()` at a time, as a session does after its grant. */
class Client implements Served {
  turn = -1;
  flow: Flow;
  /** Work done in each call of serve(). */
  readonly served: number[] = [];
  readonly #turns: Turns;
  readonly #stepOf: () => number;
  left: number;

  constructor(turns: Turns, flow: Flow, left: number, stepOf: () => number = () => 4096) {
    this.#turns = turns;
    this.flow = flow;
    this.left = left;
    this.#stepOf = stepOf;
  }

  get done(): number {
    return this.served.reduce((sum, work) => sum + work, 0);
  }

  serve(): void {
    const grant = this.#turns.grant(this);
    assert.ok(grant > 0, 'a grant is above 0');
    let work = 0;
    while (work < grant && this.left > 0) {
      const step = Math.min(this.left, this.#stepOf());
      work += step;
      this.left -= step;
    }
    this.#turns.charge(this.flow, work);
    this.served.push(work);
    if (this.left > 0) this.#turns.queue(this);
  }
}

/** Turns of the event loop until all clients are served. */
async function run(turns: Turns, clients: readonly Client[]): Promise<number> {
  for (const client of clients) turns.queue(client);
  let count = 0;
  for (; turns.waitingCount > 0; count++) await nextTurn();
  return count;
}

test('beside others a flow does no more than a quantum and a step in a turn', {
  timeout,
}, async () => {
  const turns = new Turns(() => {});
  const clients = [1, 2, 3].map(() => new Client(turns, new Flow(), 4 * 1024 * 1024));
  await run(turns, clients);
  for (const { served } of clients) assert.ok(Math.max(...served) <= QUANTUM + 4096);
});

test('flows get equal shares, whatever the size of their steps', { timeout }, async () => {
  const prng = new Prng(5);
  const turns = new Turns(() => {});
  const steps = [4096, 98_304, 1, 65_536];
  const clients = steps.map(
    (most) => new Client(turns, new Flow(), 32 * 1024 * 1024, () => 1 + prng.below(most)),
  );
  for (const client of clients) turns.queue(client);
  for (let i = 0; i < 200; i++) await nextTurn();
  const done = clients.map((client) => client.done);
  for (const work of done) {
    assert.ok(Math.abs(work - done[0]!) <= 4 * QUANTUM, `shares: ${done}`);
    assert.ok(work > 100 * QUANTUM, `every client is served: ${done}`);
  }
  turns.clear();
  assert.equal(turns.waitingCount, 0);
});

test('the connections of a flow share its quantum', { timeout }, async () => {
  const turns = new Turns(() => {});
  const many = new Flow();
  const crowd = Array.from({ length: 50 }, () => new Client(turns, many, 1024 * 1024));
  const one = new Client(turns, new Flow(), 4 * 1024 * 1024);
  for (const client of [...crowd, one]) turns.queue(client);
  while (one.left > 0) await nextTurn();
  const done = crowd.reduce((sum, client) => sum + client.done, 0);
  assert.ok(done <= one.done + 4 * QUANTUM, `50 connections did ${done}, one ${one.done}`);
  while (turns.waitingCount > 0) await nextTurn();
  assert.ok(crowd.every(({ left }) => left === 0));
});

test('a flow alone gets long grants, and short ones as soon as another one is served', {
  timeout,
}, async () => {
  const turns = new Turns(() => {});
  const lone = new Client(turns, new Flow(), 64 * 1024 * 1024);
  turns.queue(lone);
  for (let i = 0; i < 5; i++) await nextTurn();
  assert.ok(lone.served.every((work) => work === LONE_GRANT));
  const second = new Client(turns, new Flow(), 4096);
  turns.queue(second);
  while (second.left > 0) await nextTurn();
  const before = lone.served.length;
  for (let i = 0; i < 3; i++) await nextTurn();
  assert.ok(lone.served.slice(before).every((work) => work <= QUANTUM));
  while (lone.left > 0) await nextTurn();
  assert.equal(lone.served.at(-2), LONE_GRANT);
});

test('a flow that negotiates does not shorten the grants of another one', { timeout }, async () => {
  const turns = new Turns(() => {});
  const lone = new Client(turns, new Flow(), 8 * 1024 * 1024);
  turns.charge(lone.flow, 1);
  turns.charge(new Flow(false), 4096);
  await run(turns, [lone]);
  assert.equal(lone.served[0], LONE_GRANT);
});

test('a second event of a connection starts a turn; without credit it is not admitted', () => {
  const turns = new Turns(() => {});
  const flow = new Flow();
  const [a, b] = [new Client(turns, flow, 0), new Client(turns, flow, 0)];
  const other = new Flow();
  turns.charge(other, 1);
  assert.equal(turns.admits(a), true);
  turns.charge(flow, QUANTUM);
  assert.equal(turns.admits(b), false, 'the flow has used its quantum in this turn');
  assert.equal(turns.admits(a), true, 'a new turn');
  turns.charge(flow, 2 * QUANTUM);
  assert.equal(turns.admits(a), false, 'what exceeded the quantum is owed');
  assert.equal(turns.admits(a), true);
});

test('at most 16 flows use up their quantum in a turn; the others wait for the next one', () => {
  const turns = new Turns(() => {});
  const clients = Array.from({ length: 40 }, () => new Client(turns, new Flow(), 0));
  const admitted = clients.filter((client) => {
    const isAdmitted = turns.admits(client);
    if (isAdmitted) turns.charge(client.flow, QUANTUM);
    return isAdmitted;
  });
  assert.equal(admitted.length, 16);
});
