/** A region of frontswap as a contender of bench/memory.ts. */
import { fileURLToPath } from 'node:url';
import { gatherFacts } from '../../src/memory/diagnosis.ts';
import type { PagerContender } from '../touches.ts';
import { runPagerProgram } from './pager-program.ts';

const child = fileURLToPath(new URL('../region-child.js', import.meta.url));

const names = {
  copy: 'frontswap',
  one: 'frontswap, one core',
  thread: 'frontswap, native thread',
  'thread-one': 'frontswap, native thread, one core',
  signal: 'frontswap, native signal',
  memfd: 'frontswap, memory file',
} as const;

/** @param how copy: the default; one: the fault thread shares a core with the faulting thread;
 *   thread, signal, memfd: native code serves faults, memfd without userfaultfd; thread-one: on the core of the faulting
 *   thread */
export function ownRegion(how: keyof typeof names): PagerContender {
  const { access, uffdReason, nativeReason } = gatherFacts();
  const missing = how === 'memfd' ? nativeReason || null : access === null ? uffdReason : null;
  return {
    name: names[how],
    missing,
    run: (patterns, plan) =>
      runPagerProgram([process.execPath, child], how, patterns, plan, () => undefined),
  };
}
