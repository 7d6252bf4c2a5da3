/** This project's memory door as a contender of bench/memory.ts. */
import { fileURLToPath } from 'node:url';
import { gatherFacts } from '../../src/memory/diagnosis.ts';
import type { PagerContender } from '../touches.ts';
import { runPagerProgram } from './pager-program.ts';

const child = fileURLToPath(new URL('../region-child.js', import.meta.url));

export function ownRegion(eviction: 'move' | 'copy'): PagerContender {
  const { access, uffdReason } = gatherFacts();
  return {
    name: eviction === 'copy' ? 'frontswap' : 'frontswap, moving out',
    missing: access === null ? uffdReason : null,
    run: (patterns, plan) =>
      runPagerProgram([process.execPath, child], eviction, patterns, plan, () => undefined),
  };
}
