/** A region of frontswap as a contender of bench/memory.ts. */
import { fileURLToPath } from 'node:url';
import { gatherFacts } from '../../src/memory/diagnosis.ts';
import type { PagerContender } from '../touches.ts';
import { runPagerProgram } from './pager-program.ts';

const child = fileURLToPath(new URL('../region-child.js', import.meta.url));

const names = {
  copy: 'frontswap',
  one: 'frontswap, one core',
} as const;

/** @param how copy: the default; one: the fault thread shares a core with the faulting thread */
export function ownRegion(how: keyof typeof names): PagerContender {
  const { access, uffdReason } = gatherFacts();
  return {
    name: names[how],
    missing: access === null ? uffdReason : null,
    run: (patterns, plan) =>
      runPagerProgram([process.execPath, child], how, patterns, plan, () => undefined),
  };
}
