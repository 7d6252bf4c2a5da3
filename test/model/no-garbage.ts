/**
 * Tests that an operation allocates nothing on the heap of V8.
 *
 * Whether JavaScript allocates depends on how it was compiled: only optimized code keeps a number above 2^31 in a
 * register, and only inside a function; V8 boxes such a number where it crosses a call that is not inlined. When V8
 * compiles depends on its other threads, so on the load of the machine, and so does what it inlines. Hence:
 * - A test measures in a process of its own with `--single-threaded`. V8 then compiles on the main thread after a fixed
 *   amount of bytecode: every run on one version of Node takes the same steps and shows the same figures.
 * - `--no-turbo-inlining`: no call is inlined. What allocates nothing under this flag cannot come to allocate because V8
 *   decides against inlining a function.
 * - The operation is a function that the loop here calls. A loop inside it would be entered halfway by on-stack
 *   replacement in every round, through the tiers that box.
 * - The young generation is larger than what a round could allocate, so no collection hides anything.
 * - A round counts what heapUsed grows by, less what reading it costs (an operation that does nothing shows that).
 *   A test passes when some rounds in a row stay below the limit: compiling allocates in some rounds, an operation in all.
 * Most operations show 0 bytes. The limit is less than one boxed number (16 bytes) in 100 operations, which leaves room for
 * steps so rare that V8 never optimizes them. What code allocates before it is optimized is not measured.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';

export interface Work {
  /** One operation; `i` counts from 0 in each round. */
  readonly run: (i: number) => void;
  /** Operations in a round; default 20,000. */
  readonly operations?: number;
  /** Checks at the end that the operations did what they should. */
  readonly check?: () => void;
}

const FLAGS = [
  ...['--single-threaded', '--no-turbo-inlining', '--expose-gc', '--enable-source-maps'],
  ...['--min-semi-space-size=64', '--max-semi-space-size=64'], // MiB
];
/** Names the one test that this process measures. */
const VARIABLE = 'FRONTSWAP_MEASURED_TEST';
/** Bytes an operation. */
const LIMIT = 0.16;
const SETTLED_ROUNDS = 3;
const ROUNDS = 200;
const measured = process.env[VARIABLE];

/** Bytes an operation allocates, for each round, until some rounds in a row are below the limit. */
function measure(work: Work): number[] {
  const collect = (globalThis as { gc?: () => void }).gc!;
  const operations = work.operations ?? 20_000;
  const grownBy = (run: (i: number) => void): number => {
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < operations; i++) run(i);
    return process.memoryUsage().heapUsed - before;
  };
  const rounds: number[] = [];
  const nothing = (): void => undefined;
  let settled = 0;
  while (settled < SETTLED_ROUNDS && rounds.length < ROUNDS) {
    const reading = grownBy(nothing);
    const grown = (grownBy(work.run) - reading) / operations;
    settled = Math.abs(grown) < LIMIT ? settled + 1 : 0;
    rounds.push(grown);
  }
  return rounds;
}

async function assertNoGarbage(t: TestContext, name: string): Promise<void> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env; // or the child would write for a test runner
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, process.argv[1]!], {
    env: { ...env, [VARIABLE]: name },
    signal: t.signal,
  });
  const rounds = JSON.parse(stdout) as number[];
  const last = rounds.slice(-SETTLED_ROUNDS);
  t.diagnostic(`${Math.max(...last)} bytes an operation after ${rounds.length} rounds`);
  assert.ok(
    last.every((n) => Math.abs(n) < LIMIT),
    `bytes an operation allocates, by round: ${rounds.map((n) => n.toFixed(2)).join(' ')}`,
  );
}

/** Adds a test: `setUp` makes what is measured, in the process that measures it. */
export function noGarbageTest(name: string, setUp: () => Work): void {
  if (measured === undefined) test(name, { timeout: 300_000 }, (t) => assertNoGarbage(t, name));
  else if (measured === name) {
    const work = setUp();
    const rounds = measure(work);
    work.check?.();
    process.stdout.write(JSON.stringify(rounds));
  }
}
