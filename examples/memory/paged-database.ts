/**
 * How database.ts, a program that knows nothing of frontswap, is run with its memory paged: two imports, one variable.
 */
import { fileURLToPath } from 'node:url';
import type { Program } from './side-by-side.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export function pagedDatabase(rows: number, residentBytes: number): Program {
  return {
    file: 'database.js',
    args: [String(rows)],
    nodeArgs: [
      ...['--import', here('../../src/memory/register.js')], // of the package: frontswap/register
      ...['--import', here('meter-import.js')],
    ],
    env: { FRONTSWAP_RESIDENT: String(residentBytes) },
  };
}
