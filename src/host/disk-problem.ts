/**
 * Log lines about a disk that refuses writes, or that has a full, failing or damaged backing. Each kind of problem is logged
 * once, and logged again only after a quiet period (refusal-watch.ts).
 *
 *   failedWrites         refused because the memory (and the backing) is full, or failed on the backing
 *   backingNoSpace       the backing is full; its pages stay in memory
 *   backingFailures      the other failures: I/O errors
 *   backingMismatches    pages that the backing returned with other contents than were written
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

  /** @param path path of the disk's backing, if it has one */
  constructor(path: string | undefined) {
    this.#backing = `its backing ${path ?? ''}`;
  }

  /**
   * Returns the log lines for problems that are new since the last call.
   * @param whyFull names the exhausted limit; called if a write was refused for lack of memory
   */
  check(stats: DiskStats, whyFull: () => string): string[] {
    const { failedWrites, backingNoSpace, backingMismatches } = stats;
    const ioErrors = ioErrorsOf(stats);
    const refused = this.#refused.check(failedWrites);
    const full = this.#full.check(backingNoSpace);
    const failing = this.#failing.check(ioErrors);
    const damaged = this.#damaged.check(backingMismatches);
    const isFull = backingNoSpace > this.#noSpaceSeen;
    const isFailing = ioErrors > this.#ioErrorsSeen;
    this.#noSpaceSeen = backingNoSpace;
    this.#ioErrorsSeen = ioErrors;
    const lines: string[] = [];
    if (refused && isFull)
      lines.push(`refuses writes: ${this.#backing} has no space left and ${whyFull()}; ${KEEPS}`);
    else if (refused && !isFailing) lines.push(`refuses writes: ${whyFull()}; ${KEEPS}`);
    else if (full)
      lines.push(
        `${this.#backing} has no space left; its pages stay in memory as long as the limit allows: ` +
          'free space there, or raise the limit',
      );
    if (failing) lines.push(`${this.#backing} fails requests: clients get I/O errors`);
    if (damaged)
      lines.push(
        `${this.#backing} returned ${backingMismatches} page(s) with other contents than were written: clients get ` +
          'I/O errors; the device is damaged, or another process writes to it',
      );
    return lines;
  }
}
