/**
 * Admission with hysteresis: once a backend has refused a page it is offered none until what it uses is well below its
 * ceiling (kernel: zswap's accept_threshold_percent). Without it a full backend takes each page that a free makes room for:
 * the newest pages go to the device while old ones stay, one at a time, at every store a search for room.
 *
 *   taking ──the backend refuses, or the ceiling is reached──▶ waiting ──used <= accept % of the ceiling──▶ taking
 *
 * A page over an older one is treated as any other: the front end has given the old one up by then.
 * Cost: a test; while waiting, a call of usedBytes() a store.
 */
import { assert } from '../base/assert.ts';
import type { FrontswapBackend } from './ops.ts';

export interface Admission extends FrontswapBackend {
  /** Nothing is taken until enough has gone. */
  readonly isWaiting: boolean;
  /** Pages refused without asking the backend. */
  readonly refused: number;
}

/**
 * @param usedBytes what the backend uses now
 * @param acceptPercent of `limitBytes`, 0 .. 100: below this pages are taken again
 */
export function admission(
  next: FrontswapBackend,
  usedBytes: () => number,
  limitBytes: number,
  acceptPercent = 90,
): Admission {
  assert(acceptPercent >= 0 && acceptPercent <= 100, 'a threshold is a percentage');
  const acceptBytes = (limitBytes * acceptPercent) / 100;
  let isWaiting = false;
  let refused = 0;
  return {
    name: next.name,
    get isWaiting() {
      return isWaiting;
    },
    get refused() {
      return refused;
    },
    store(type, offset, page, at) {
      if (isWaiting && usedBytes() > acceptBytes) {
        refused++;
        return false;
      }
      const isKept = next.store(type, offset, page, at);
      isWaiting = !isKept && usedBytes() > acceptBytes;
      return isKept;
    },
    init: (type, slots) => next.init(type, slots),
    load: (type, offset, page, at) => next.load(type, offset, page, at),
    invalidatePage: (type, offset) => next.invalidatePage(type, offset),
    invalidateArea: (type) => next.invalidateArea(type),
    ...(next.coldest === undefined ? {} : { coldest: next.coldest.bind(next) }),
    ...(next.age === undefined ? {} : { age: next.age.bind(next) }),
  };
}
