/**
 * A naive backend, a Map of slots to pages, that asserts the front end's side of the contract: a store finds its slot
 * empty, and every call names a slot of an area that is on. Tests choose what it refuses, drops and damages.
 */
import assert from 'node:assert/strict';
import { type FrontswapBackend, LoadResult } from '../../src/frontswap/ops.ts';

export class StrictBackend implements FrontswapBackend {
  readonly name: string;
  /** Areas that are on, with their slots. */
  readonly areas: Map<number, number> = new Map();
  readonly pages: Map<string, Uint8Array> = new Map();
  readonly damaged: Set<string> = new Set();
  /** One line per call. */
  readonly calls: string[] = [];
  /** Result of a store: false refuses; it may throw. */
  accepts: (type: number, offset: number) => boolean = () => true;

  constructor(name: string) {
    this.name = name;
  }

  static key(type: number, offset: number): string {
    return `${type}:${offset}`;
  }

  init(type: number, slots: number): void {
    this.calls.push(`init ${type} ${slots}`);
    assert.ok(!this.areas.has(type), `${this.name}: area ${type} is off before init`);
    this.areas.set(type, slots);
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    const key = this.#called('store', type, offset);
    assert.ok(!this.pages.has(key), `${this.name}: slot ${key} was invalidated before the store`);
    if (!this.accepts(type, offset)) return false;
    this.pages.set(key, page.slice(at, at + 4096));
    return true;
  }

  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const key = this.#called('load', type, offset);
    const held = this.pages.get(key);
    if (held === undefined) return LoadResult.absent;
    if (this.damaged.has(key)) return LoadResult.corrupt;
    page.set(held, at);
    return LoadResult.loaded;
  }

  invalidatePage(type: number, offset: number): void {
    const key = this.#called('invalidatePage', type, offset);
    this.pages.delete(key);
    this.damaged.delete(key);
  }

  invalidateArea(type: number): void {
    this.calls.push(`invalidateArea ${type}`);
    assert.ok(this.areas.delete(type), `${this.name}: area ${type} is on`);
    for (const key of this.pages.keys())
      if (key.startsWith(`${type}:`)) {
        this.pages.delete(key);
        this.damaged.delete(key);
      }
  }

  #called(what: string, type: number, offset: number): string {
    this.calls.push(`${what} ${type} ${offset}`);
    const slots = this.areas.get(type);
    assert.ok(slots !== undefined, `${this.name}: area ${type} is on`);
    assert.ok(offset >= 0 && offset < slots, `${this.name}: slot ${offset} is inside area ${type}`);
    return StrictBackend.key(type, offset);
  }
}
