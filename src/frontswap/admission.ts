/**
 * Admission with hysteresis: after a backend has refused a page, no page is offered to it until it uses much less than
 * its limit (kernel: zswap accept_threshold_percent). Otherwise, a full backend stores one page for each page that is
 * freed: new pages go to the device one by one while old pages stay, and each store searches for space.
 *
 *   accepting ──the backend refuses above accept %──▶ waiting ──used <= accept % of the limit──▶ accepting
 *
 * Cost: one comparison; while waiting, a call of usedBytes() per store.
 */
import { checkInteger } from '../base/arguments.ts';
import type { FrontswapBackend } from './ops.ts';

/** A frontswap backend with admission hysteresis; made by admission(). */
export interface Admission extends FrontswapBackend {
  /** True while every store is refused. */
  readonly isWaiting: boolean;
  /** Number of pages refused without calling the backend. */
  readonly refused: number;
}

/**
 * @param usedBytes memory that the backend uses now
 * @param limitBytes the backend's limit
 * @param acceptPercent of `limitBytes`, 0 .. 100: at or below this, pages are accepted again
 * @throws SwapError ERR_ARG_VALUE
 */
export function admission(
  next: FrontswapBackend,
  usedBytes: () => number,
  limitBytes: number,
  acceptPercent = 90,
): Admission {
  checkInteger('acceptPercent', acceptPercent, 0, 100);
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
    coldPages: (type) => next.coldPages?.(type) ?? null,
  };
}
