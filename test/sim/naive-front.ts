/** Frontswap as it would be if nobody cared for speed: a Map of copies, refusals and damage on demand. */
import assert from 'node:assert/strict';
import { LoadResult } from '../../src/frontswap/ops.ts';
import type { FrontEnd } from '../../src/swap/ops.ts';

export class NaiveFront implements FrontEnd {
  enabled = true;
  exclusiveGets = false;
  writethrough = false;
  lastLoadExclusive = false;
  onShrink: ((type: number, pages: number) => number) | null = null;
  /** Asked before a page is taken. */
  accepts: () => boolean = () => true;
  /** Asked before a page is given; true: it is damaged. */
  damaged: () => boolean = () => false;
  /** Told of each slot that is given up. */
  onInvalidate: (type: number, offset: number) => void = () => undefined;
  /** Loads that found the page, since the start. */
  hits = 0;
  readonly areas: number[] = [];
  readonly pages: Map<string, Uint8Array> = new Map();
  readonly ages: Map<string, number> = new Map();
  /** Pages given up because the disk has them, since the start. */
  writtenBackPages = 0;

  init(type: number, slots: number): void {
    this.areas[type] = slots;
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    this.pages.delete(`${type}:${offset}`);
    if (!this.accepts()) return false;
    this.pages.set(`${type}:${offset}`, page.slice(at, at + 4096));
    this.ages.set(`${type}:${offset}`, 0);
    return !this.writethrough;
  }

  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const answer = this.peek(type, offset, page, at);
    this.lastLoadExclusive = answer === LoadResult.loaded && this.exclusiveGets;
    if (this.lastLoadExclusive) this.pages.delete(`${type}:${offset}`);
    return answer;
  }

  peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const copy = this.pages.get(`${type}:${offset}`);
    this.lastLoadExclusive = false;
    if (copy === undefined) return LoadResult.absent;
    if (this.damaged()) return LoadResult.corrupt;
    page.set(copy, at);
    this.ages.set(`${type}:${offset}`, 0);
    this.hits++;
    return LoadResult.loaded;
  }

  invalidatePage(type: number, offset: number): void {
    this.onInvalidate(type, offset);
    this.pages.delete(`${type}:${offset}`);
  }

  invalidateArea(type: number): void {
    delete this.areas[type];
    for (const key of [...this.pages.keys()])
      if (key.startsWith(`${type}:`)) this.pages.delete(key);
  }

  has(type: number, offset: number): boolean {
    return this.pages.has(`${type}:${offset}`);
  }

  completeWriteback(type: number, offset: number): void {
    assert.ok(this.pages.delete(`${type}:${offset}`), 'what was written back was held');
    this.writtenBackPages++;
  }

  /** Slots that 3 divides are the poor ones. */
  coldest(type: number, from: number, to: number, age: number, poor: boolean): number {
    for (let offset = from; offset < to; offset++)
      if (
        this.has(type, offset) &&
        this.ages.get(`${type}:${offset}`)! >= age &&
        (!poor || offset % 3 === 0)
      )
        return offset;
    return -1;
  }

  age(type: number, from: number, to: number): void {
    for (let offset = from; offset < to; offset++) {
      const age = this.ages.get(`${type}:${offset}`);
      if (age !== undefined && this.has(type, offset))
        this.ages.set(`${type}:${offset}`, Math.min(3, age + 1));
    }
  }
}
