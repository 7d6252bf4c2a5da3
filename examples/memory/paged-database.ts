/**
 * Runs an unmodified program, database.ts or readings.ts, with its memory paged: two imports, one variable.
 */
import { fileURLToPath } from 'node:url';
import type { Program } from './side-by-side.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export function pagedDatabase(
  rows: number,
  residentBytes: number,
  file: 'database.js' | 'readings.js' = 'database.js',
): Program {
  return {
    file,
    args: [String(rows)],
    nodeArgs: [
      ...['--import', here('../../src/memory/register.js')], // in your own program: frontswap/register
      ...['--import', here('meter-import.js')],
    ],
    env: { FRONTSWAP_RESIDENT: String(residentBytes) },
  };
}
