/** Collects the problems of an engine, and reports new ones to the program. */
import type { Process } from '../os/linux/process.ts';
import type { Region } from '../pager/region.ts';
import { SwapInResult } from '../swap/swap.ts';
import { type ControlBlock, regionIndex } from './control-block.ts';
import type { LiveRegions } from './live-regions.ts';
import { lossReason, type Tiers } from './tiers.ts';
import { type LostPage, ProblemHistory, type ProblemReport } from './tiers-problem.ts';

export class EngineProblems {
  readonly #control: ControlBlock;
  readonly #process: Process;
  readonly #regions: LiveRegions;
  readonly #isPoisoned: boolean;
  readonly #history = new ProblemHistory();
  #lost: LostPage[] = [];
  /** Called with problems that have not been reported yet. */
  onProblem: (report: ProblemReport) => void = () => {};

  /** @param isPoisoned whether this kernel can poison a lost page */
  constructor(control: ControlBlock, process: Process, regions: LiveRegions, isPoisoned: boolean) {
    this.#control = control;
    this.#process = process;
    this.#regions = regions;
    this.#isPoisoned = isPoisoned;
  }

  /** Reports a lost page: immediately on stderr, and to the program with the next report. */
  addLost(region: Region, page: number, reason: SwapInResult): void {
    const live = this.#regions.all.find((other) => other.region === region);
    this.#lost.push({ region: live?.id ?? 0, page, reason: lossReason(reason) });
    const why =
      reason === SwapInResult.corrupt
        ? 'its stored bytes fail their checksum'
        : 'its device could not read it';
    const then = this.#isPoisoned
      ? 'accessing it raises SIGBUS'
      : 'this kernel cannot poison it: ending the process';
    this.#process.writeStderr(
      `frontswap: region ${regionIndex(live?.id ?? 0)}, page ${page} is lost: ${why}; ${then}\n`,
    );
  }

  report(tiers: Tiers): void {
    const now = tiers.checkProblems();
    const fresh = this.#history.update(now);
    if (fresh === 0 && this.#lost.length === 0) return;
    const lost = this.#lost;
    this.#lost = [];
    this.#control.problem |= fresh;
    this.onProblem({ fresh, now, lost });
  }
}
