/** How much of a file was transferred, as the status line of a terminal. */
import { formatSize } from '../base/size.ts';
import { type Arguments, flag } from './command.ts';
import { StatusLine } from './status-line.ts';
import type { World } from './world.ts';

/** Between two updates, ms. */
const SHOW_MS = 100;

export class TransferProgress implements Disposable {
  /** Bytes so far. */
  bytes = 0;
  /** Bytes of the file, or a little more; null: unknown. */
  expectedBytes: number | null = null;
  readonly #line: StatusLine | null;
  readonly #what: string;
  #shownMs = Number.NEGATIVE_INFINITY;

  /** @param what before the size: `saved` */
  constructor(what: string, args: Arguments, { stderr }: World) {
    this.#what = what;
    this.#line = stderr.isTerminal && !flag(args, 'quiet') ? new StatusLine(stderr) : null;
  }

  add(bytes: number): void {
    this.bytes += bytes;
    const nowMs = performance.now();
    if (this.#line === null || nowMs - this.#shownMs < SHOW_MS) return;
    this.#shownMs = nowMs;
    const all = this.expectedBytes;
    const share = all === null ? '' : ` of ${formatSize(all)}`;
    this.#line.show(`${this.#what} ${formatSize(this.bytes)}${share}`);
  }

  [Symbol.dispose](): void {
    this.#line?.erase();
  }
}
