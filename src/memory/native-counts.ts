/** Adds the growth of native code's counters to the pager's counters, region by region. */
import type { RegionField } from '../native/layout.ts';
import type { PagerCounterName, PagerCounters } from '../pager/counters.ts';
import { type Region, RegionCount } from '../pager/region.ts';
import type { NativeControl } from './native-control.ts';

const names = [
  'faults',
  'swapInFaults',
  'zeroFillFaults',
  'writeFaults',
  'spuriousFaults',
  'lostFaults',
  'pagesIn',
  'pagesPrefetched',
  'zerosPrefetched',
  'pagesDropped',
] as const satisfies readonly (RegionField & PagerCounterName)[];

export class NativeCounts {
  readonly #control: NativeControl;
  readonly #number: number;
  readonly #seen: Float64Array = new Float64Array(names.length);

  constructor(control: NativeControl, number: number) {
    this.#control = control;
    this.#number = number;
  }

  sync(region: Region, counters: PagerCounters): void {
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!;
      const now = this.#control.count(this.#number, name);
      const grown = now - this.#seen[i]!;
      if (grown === 0) continue;
      this.#seen[i] = now;
      counters.add(name, grown);
      const at = (RegionCount as Readonly<Record<string, number>>)[name];
      if (at !== undefined) region.counts[at]! += grown;
    }
  }
}
