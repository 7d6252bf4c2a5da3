/**
 * Log lines about a disk whose writes are refused or whose backing fails; full and damaged backings are distinguished.
 * Each kind of problem is logged once, and again only after a quiet period (refusal-watch.ts).
 *
 *   failedWrites         refused, because both the backing and the memory are full, or failed by the backing
 *   backingNoSpace       the backing is full; its pages stay in memory
 *   backingFailures      the other failures: I/O errors
 *   backingMismatches    pages that the backing did not return as they were written
 */
import type { DiskStats } from './parts.ts';
import { RefusalWatch } from './refusal-watch.ts';

const ioErrorsOf = ({ backingFailures, backingNoSpace }: DiskStats): number =>
  backingFailures - backingNoSpace;

const KEEPS = 'the guest keeps those pages in its own memory';

export class DiskProblem {
  readonly #backing: string;
  readonly #refused = new RefusalWatch();
  readonly #full = new RefusalWatch();
  readonly #failing = new RefusalWatch();
  readonly #damaged = new RefusalWatch();
  #noSpaceSeen = 0;
  #ioErrorsSeen = 0;

  /** @param path of the disk's backing, if it has one */
  constructor(path: string | undefined) {
    this.#backing = `its backing ${path ?? ''}`;
  }

  /**
   * What is news since the last look.
   * @param whyFull what of the memory is used up, should a write have been refused for that
   */
  look(stats: DiskStats, whyFull: () => string): string[] {
    const { failedWrites, backingNoSpace, backingMismatches } = stats;
    const ioErrors = ioErrorsOf(stats);
    const refused = this.#refused.look(failedWrites);
    const full = this.#full.look(backingNoSpace);
    const failing = this.#failing.look(ioErrors);
    const damaged = this.#damaged.look(backingMismatches);
    const isFull = backingNoSpace > this.#noSpaceSeen;
    const isFailing = ioErrors > this.#ioErrorsSeen;
    this.#noSpaceSeen = backingNoSpace;
    this.#ioErrorsSeen = ioErrors;
    const news: string[] = [];
    if (refused && isFull)
      news.push(`refuses writes: ${this.#backing} has no space left and ${whyFull()}; ${KEEPS}`);
    else if (refused && !isFailing) news.push(`refuses writes: ${whyFull()}; ${KEEPS}`);
    else if (full)
      news.push(
        `${this.#backing} has no space left; pages that were to go there stay in memory as long as the limit allows: ` +
          'free space there, or raise the limit',
      );
    if (failing) news.push(`${this.#backing} fails requests: clients get I/O errors`);
    if (damaged)
      news.push(
        `${backingMismatches} page(s) that ${this.#backing} returned are not those that were written there: clients get ` +
          'I/O errors; the device is damaged, or another process writes to it',
      );
    return news;
  }
}
