/**
 * Randomised tests that can be run again: each draws a fresh seed, and a failure says which.
 *
 *   SEED=123 node scripts/run-tests.mjs unit arena     the same sequence again
 *   STEPS=1000000 ...                                  a longer one
 */
import { type TestContext, test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';

const numberOf = (name: string): number | undefined => {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const n = Number(text);
  if (!Number.isInteger(n)) throw new Error(`${name}=${text} is not an integer`);
  return n;
};

/** SEED, or a fresh one. */
export const testSeed = (): number =>
  numberOf('SEED') ?? Number(process.hrtime.bigint() & 0x7fff_ffffn);

/** STEPS, or what the test usually does. */
export const testSteps = (usual: number): number => numberOf('STEPS') ?? usual;

/** A test that is given its own generator and how many steps to take. */
export function randomTest(
  name: string,
  usualSteps: number,
  body: (prng: Prng, steps: number, t: TestContext) => void,
): void {
  test(name, (t) => {
    const seed = testSeed();
    const steps = testSteps(usualSteps);
    try {
      body(new Prng(seed), steps, t);
    } catch (cause) {
      throw new Error(`failed with SEED=${seed} STEPS=${steps}: ${String(cause)}`, { cause });
    }
  });
}
