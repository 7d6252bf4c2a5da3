/**
 * The slots of a shard in groups of 1024. The rows of a group become resident, are charged and are released together.
 *
 * A group's word in the image: GROUP_RESIDENT if its rows may be resident, plus the number of its slots in use.
 *
 * Invariants
 * - The rows of a group with a slot in use are charged to the budget.
 * - #emptyGroups counts the groups whose rows are charged and have no slot in use.
 *
 * Cost: enter() and leave() write one word; release() reads a word per group, and only if a group is empty.
 */
import type { PageRelease } from '../arena/ops.ts';
import { assert } from '../base/assert.ts';
import { SLOT_TABLE } from './image.ts';
import { GROUP_RESIDENT, GROUP_ROW_BYTES, GROUP_SHIFT } from './rows.ts';

export class SlotGroups {
  readonly words: Int32Array;
  readonly #release: PageRelease;
  #emptyGroups = 0;

  constructor(words: Int32Array, release: PageRelease) {
    this.words = words;
    this.#release = release;
  }

  /** True if the rows of the group of `slot` are charged; if not, the caller charges them before enter(). */
  isCharged(slot: number): boolean {
    return this.words[slot >>> GROUP_SHIFT]! >= GROUP_RESIDENT;
  }

  /** Counts `slot` as used. */
  enter(slot: number): void {
    const group = slot >>> GROUP_SHIFT;
    const word = this.words[group]!;
    if (word === GROUP_RESIDENT) this.#emptyGroups--;
    this.words[group] = (word | GROUP_RESIDENT) + 1;
  }

  /** Counts `slot` as unused. */
  leave(slot: number): void {
    const group = slot >>> GROUP_SHIFT;
    const word = this.words[group]! - 1;
    this.words[group] = word;
    if (word === GROUP_RESIDENT) this.#emptyGroups++;
  }

  /** Releases the rows of empty groups to the system; returns their bytes, which the caller no longer charges. */
  release(): number {
    if (this.#emptyGroups === 0) return 0;
    let released = 0;
    for (let group = 0; group < this.words.length; group++) {
      if (this.words[group] !== GROUP_RESIDENT) continue;
      if (!this.#release.release(SLOT_TABLE + group * GROUP_ROW_BYTES, GROUP_ROW_BYTES)) break;
      this.words[group] = 0;
      this.#emptyGroups--;
      released += GROUP_ROW_BYTES;
    }
    return released;
  }

  /** Counts the empty groups again, after an image was adopted. */
  recount(): void {
    this.#emptyGroups = this.words.filter((word) => word === GROUP_RESIDENT).length;
  }

  /** Throws InvariantError unless the empty groups are counted. */
  verify(): void {
    const empty = this.words.filter((word) => word === GROUP_RESIDENT).length;
    assert(this.#emptyGroups === empty, 'the counter equals the number of empty groups');
  }
}
