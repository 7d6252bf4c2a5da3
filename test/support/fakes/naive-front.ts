/** A naive frontswap: a Map of copies, with refusals and damage on demand. */
import assert from 'node:assert/strict';
import { type ColdPages, LoadResult } from '../../../src/frontswap/ops.ts';
import type { FrontEnd } from '../../../src/swap/ops.ts';

export class NaiveFront implements FrontEnd {
  enabled = true;
  exclusiveGets = false;
  writethrough = false;

  onShrink: ((type: number, pages: number) => number) | null = null;
  /** False: the store is refused. */
  accepts: () => boolean = () => true;
  /** True: the loaded page is damaged. */
  damaged: () => boolean = () => false;
  /** Called for each invalidated slot. */
  onInvalidate: (type: number, offset: number) => void = () => undefined;
  /** Loads that hit. */
  hits = 0;
  readonly areas: number[] = [];
  readonly pages: Map<string, Uint8Array> = new Map();
  readonly ages: Map<string, number> = new Map();
  /** Pages dropped by completeWriteback(). */
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
    if (answer !== LoadResult.loaded || !this.exclusiveGets) return answer;
    this.pages.delete(`${type}:${offset}`);
    return LoadResult.loadedExclusive;
  }

  peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const copy = this.pages.get(`${type}:${offset}`);

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
    assert.ok(this.pages.delete(`${type}:${offset}`), 'the page that was written back is stored');
    this.writtenBackPages++;
  }

  /** Slots that are multiples of 3 are incompressible. */
  coldPages(type: number): ColdPages {
    return {
      coldest: (from, to, age, incompressibleOnly) => {
        for (let offset = from; offset < to; offset++)
          if (
            this.has(type, offset) &&
            this.ages.get(`${type}:${offset}`)! >= age &&
            (!incompressibleOnly || offset % 3 === 0)
          )
            return offset;
        return -1;
      },
      age: (from, to) => this.age(type, from, to),
    };
  }

  age(type: number, from: number, to: number): void {
    for (let offset = from; offset < to; offset++) {
      const age = this.ages.get(`${type}:${offset}`);
      if (age !== undefined && this.has(type, offset))
        this.ages.set(`${type}:${offset}`, Math.min(3, age + 1));
    }
  }
}
