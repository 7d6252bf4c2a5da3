/**
 * Adopts the image of a shard that another process left; it may have been killed at any instruction.
 *
 *   header known ▶ complete the logged change ▶ walk the rows, check each object ▶ write tables, groups and counters again
 *
 * The rows are authoritative; everything else is rebuilt from them (docs/design/crash-safety.md). Nothing in the image
 * is trusted: the contents of the rows are checked before they are used.
 *
 * Invariants
 * - Refusing an image (SwapError ERR_IO_IMAGE) leaves its rows and objects unchanged, except for the logged change.
 * - Adoption can itself be killed and repeated.
 *
 * Cost: reads all rows of groups in use, and every stored byte, for its checksum.
 */
import type { Arena } from '../arena/arena.ts';
import type { PageRelease } from '../arena/ops.ts';
import { ArenaRebuild } from '../arena/rebuild.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { PageFormat } from '../codec/codec.ts';
import type { Kernels } from '../codec/kernels.ts';
import { countPage, isPageCounter } from './counters.ts';
import {
  COMPRESSED,
  type Image,
  MAGIC,
  OPEN_BYTES,
  PAGE_IN,
  PAGE_OUT,
  SLOT_TABLE,
  VERSION,
} from './image.ts';
import { CounterAt } from './results.ts';
import type { RowLog } from './row-log.ts';
import {
  checksumSeed,
  formatIn,
  GROUP_RESIDENT,
  GROUP_ROW_BYTES,
  GROUP_SHIFT,
  GROUP_SLOTS,
  LENGTH_MASK,
  ROW,
  wordCheck,
} from './rows.ts';

/** Maximum number of damaged slots that are named. */
const DAMAGED_NAMED_MAX = 16;
/** The highest format; the lowest is 1. */
const FORMAT_MAX: number = Math.max(...Object.values(PageFormat));

/** What the adoption of an image found. */
export interface Adopted {
  readonly pages: number;
  /** Pages whose bytes do not match their checksum: reading them is an I/O error. */
  readonly damaged: number;
  /** The first of them. */
  readonly damagedSlots: readonly number[];
  /** Number of changes that were in progress and are completed: 0 or 1 per shard. */
  readonly redone: number;
}

export interface AdoptParts {
  readonly slots: number;
  readonly buffer: ArrayBuffer;
  readonly image: Image;
  readonly rows: Int32Array;
  /** The words of the groups. */
  readonly groups: Int32Array;
  readonly counters: Float64Array;
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly log: RowLog;
  readonly release: PageRelease;
}

const refuse = (why: string): SwapError =>
  new SwapError('ERR_IO_IMAGE', `the image cannot be adopted: ${why}`, { reason: why });

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** @throws SwapError ERR_IO_IMAGE: the header is not that of a shard with this number of slots */
function checkHeader({ buffer, slots }: AdoptParts): void {
  const [magic, version, found] = new Int32Array(buffer, 0, 3);
  if (magic !== MAGIC) throw refuse('a shard does not start with the magic number');
  if (version !== VERSION) throw refuse(`a shard has layout ${version}, not ${VERSION}`);
  if (found !== slots) throw refuse(`a shard has ${found} slots, not ${slots}`);
}

class Adoption {
  readonly #parts: AdoptParts;
  readonly #rebuild: ArenaRebuild;
  readonly #damagedSlots: number[] = [];
  #damaged = 0;
  #pages = 0;

  constructor(parts: AdoptParts) {
    this.#parts = parts;
    this.#rebuild = new ArenaRebuild(parts.buffer, parts.image.arena);
    if (this.#rebuild.descriptors < 0) throw refuse('the number of zspages is impossible');
  }

  run(): { adopted: Adopted; bytes: number } {
    const redone = this.#redo();
    const { groups, arena } = this.#parts;
    const counts = new Int32Array(groups.length);
    for (let group = 0; group < groups.length; group++)
      if (groups[group] !== 0) counts[group] = this.#walkGroup(group);
    this.#releaseRows();
    const bytes = OPEN_BYTES + arena.rebuild(this.#rebuild) + this.#writeGroups(counts);
    const adopted = {
      ...{ pages: this.#pages, damaged: this.#damaged },
      ...{ damagedSlots: this.#damagedSlots, redone },
    };
    return { adopted, bytes };
  }

  /** Completes the change in progress. */
  #redo(): number {
    const { log, slots, groups } = this.#parts;
    const { pending } = log;
    if (pending === null) return 0;
    const { slot, from, location, state } = pending;
    if (slot < 0 || slot >= slots || groups[slot >>> GROUP_SHIFT] === 0)
      throw refuse(`the log names slot ${slot}`);
    const isStaged = from === PAGE_IN || from === COMPRESSED || from === PAGE_OUT;
    const format = formatIn(state);
    if (format === PageFormat.same ? from !== 0 : !isStaged) throw refuse('the log has no bytes');
    const problem = this.#problemOf(location, state);
    if (problem !== '') throw refuse(`the log of slot ${slot} ${problem}`);
    log.redo();
    return 1;
  }

  /** Returns why a row is invalid; empty if it is valid. */
  #problemOf(location: number, state: number): string {
    const format = formatIn(state);
    const length = state & LENGTH_MASK;
    if (format === PageFormat.none || format > FORMAT_MAX)
      return `has the unknown format ${format}`;
    if (format === PageFormat.same) return '';
    const isLengthKnown = format === PageFormat.raw ? length === PAGE_BYTES : length > 0;
    if (!isLengthKnown || length > PAGE_BYTES) return `has the impossible length ${length}`;
    return this.#rebuild.problemOf(location, length);
  }

  /** Returns the number of pages. */
  #walkGroup(group: number): number {
    const { rows, slots } = this.#parts;
    const first = group << GROUP_SHIFT;
    let pages = 0;
    for (let slot = first; slot < first + GROUP_SLOTS; slot++) {
      const row = slot * ROW;
      const state = rows[row + 2]!;
      if (state === 0) {
        if ((rows[row]! | rows[row + 1]!) !== 0) rows.fill(0, row, row + 2); // killed in a drop
        continue;
      }
      if (slot >= slots) throw refuse(`slot ${slot} is past the last one`);
      const location = rows[row]!;
      const problem = this.#problemOf(location, state);
      if (problem !== '') throw refuse(`slot ${slot} ${problem}`);
      const conflict =
        formatIn(state) === PageFormat.same ? '' : this.#rebuild.claim(location, slot);
      if (conflict !== '') throw refuse(`slot ${slot} ${conflict}`);
      if (!this.#isIntact(slot)) this.#damage(slot);
      pages++;
    }
    this.#pages += pages;
    return pages;
  }

  /** Drops the rows of groups that are not in use, without reading what the file has there. */
  #releaseRows(): void {
    const { groups, release } = this.#parts;
    for (let from = 0, to = 0; from < groups.length; from = to + 1) {
      for (to = from; to < groups.length && groups[to] === 0; ) to++;
      const bytes = (to - from) * GROUP_ROW_BYTES;
      if (bytes > 0) release.release(SLOT_TABLE + from * GROUP_ROW_BYTES, bytes);
    }
  }

  #isIntact(slot: number): boolean {
    const { rows, kernels, arena } = this.#parts;
    const row = slot * ROW;
    const [word0, word1, state] = [rows[row]!, rows[row + 1]!, rows[row + 2]!];
    const format = formatIn(state);
    const length = state & LENGTH_MASK;
    if (format === PageFormat.same) return wordCheck(word0, word1, slot) === length;
    return kernels.checksum(arena.address(word0), length, checksumSeed(slot, format)) === word1;
  }

  #damage(slot: number): void {
    this.#damaged++;
    if (this.#damagedSlots.length < DAMAGED_NAMED_MAX) this.#damagedSlots.push(slot);
  }

  /** Writes the words of the groups, and the counters. Returns the bytes to charge. */
  #writeGroups(counts: Int32Array): number {
    const { groups, rows, counters } = this.#parts;
    for (let at = 0; at < CounterAt.count; at++)
      if (isPageCounter(at) || !isCount(counters[at]!)) counters[at] = 0;
    let bytes = 0;
    for (let group = 0; group < groups.length; group++) {
      if (groups[group] === 0) continue;
      groups[group] = GROUP_RESIDENT + counts[group]!;
      bytes += GROUP_ROW_BYTES;
      if (counts[group] === 0) continue;
      const end = (group + 1) << GROUP_SHIFT;
      for (let slot = group << GROUP_SHIFT; slot < end; slot++) {
        const row = slot * ROW;
        const state = rows[row + 2]!;
        if (state !== 0) countPage(counters, state, (rows[row]! | rows[row + 1]!) === 0, 1);
      }
    }
    return bytes;
  }
}

/**
 * Adopts an image; its budget is not charged yet.
 * @returns what was found, and the bytes that may be resident
 * @throws SwapError ERR_IO_IMAGE
 */
export function adoptImage(parts: AdoptParts): { adopted: Adopted; bytes: number } {
  checkHeader(parts);
  return new Adoption(parts).run();
}
