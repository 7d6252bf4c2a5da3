/** A clock that tests advance. */
import type { Clock } from '../../../src/base/clock.ts';

export class FakeClock implements Clock {
  ns: number;

  constructor(ns = 0) {
    this.ns = ns;
  }

  nowNs(): number {
    return this.ns;
  }

  get ms(): number {
    return this.ns / 1e6;
  }

  set ms(ms: number) {
    this.ns = ms * 1e6;
  }
}
