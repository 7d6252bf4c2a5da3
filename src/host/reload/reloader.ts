/** Reloads the configuration of a running host: reads and checks everything, then applies what has changed in the files. */
import { SwapError } from '../../base/errors.ts';
import type { HostConfig } from '../config/host-config.ts';
import type { Log } from '../parts.ts';
import { applyPlan, type ReloadReport, type ReloadTarget } from './apply.ts';
import { planReload } from './plan.ts';

export interface ReloaderOptions {
  /** The configuration at the start. */
  readonly config: HostConfig;
  /** Reads the files again. @throws SwapError; null: there are no files */
  readonly read: (() => HostConfig) | null;
  readonly target: ReloadTarget;
  /** Called at the start and at the end; if the host stops, the end is not reported. */
  readonly onReloading: (isReloading: boolean) => void;
  /** Called after a reload that changed something, with the settings of the files that are now in effect. */
  readonly onReloaded: (config: HostConfig) => void;
  readonly log: Log;
  /** For lines that are printed even with --quiet. */
  readonly logError: Log;
}

/** All errors of the files get one code: ERR_ARG_UNKNOWN would mean that the request is unknown. */
function readAll(read: () => HostConfig): HostConfig {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SwapError) || !error.code.startsWith('ERR_ARG_')) throw error;
    throw new SwapError('ERR_ARG_VALUE', error.message, error.facts, { cause: error });
  }
}

export class Reloader {
  readonly #options: ReloaderOptions;
  #said: HostConfig;
  /** The reload in progress, or the last one. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#said = options.config;
  }

  /** Whether there are files to read: configuration files, or files of TLS. */
  get hasFiles(): boolean {
    return this.#options.read !== null || this.#options.config.tls !== null;
  }

  /**
   * Reloads, once the reload in progress has ended.
   * @throws SwapError with every error of the new files; ERR_IO_UNSUPPORTED: there are no files. Nothing has changed then
   */
  reload(): Promise<ReloadReport> {
    const next = this.#last.then(() => this.#reload());
    this.#last = next.catch(() => undefined);
    return next;
  }

  /** A file that is just being written may be empty: applying it would remove every disk without clients and pages. */
  #checkDisks(now: HostConfig): void {
    if (now.hasDefaultDisk && !this.#said.hasDefaultDisk)
      throw new SwapError(
        'ERR_ARG_VALUE',
        'the files no longer describe any disk; describe one, or stop the host to end all disks',
      );
  }

  async #reload(): Promise<ReloadReport> {
    const { read, target, onReloading, onReloaded, log, logError } = this.#options;
    if (target.isStopping())
      throw new SwapError('ERR_IO_IN_USE', 'not reloaded: the host is stopping');
    if (!this.hasFiles)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        'not reloaded: the host was started without --config and without TLS, so it has no files',
      );
    onReloading(true);
    try {
      const now = read === null ? this.#said : readAll(read);
      this.#checkDisks(now);
      const exchangeTls = target.loadTls(now);
      const plan = planReload(this.#said, now, target.running());
      const { report, said } = await applyPlan(
        plan,
        { said: this.#said, now },
        target,
        exchangeTls,
      );
      this.#said = said;
      // Changes of disks are logged where they are made.
      for (const line of report.changed) if (!line.startsWith('disk ')) log(`reload: ${line}`);
      for (const line of report.failed) logError(`reload: not done: ${line}`);
      for (const line of report.ignored) log(`reload: warning: ${line}`);
      const [done, failed] = [report.changed.length, report.failed.length];
      log(
        done + failed === 0
          ? 'reload: no changes'
          : `reload: ${done} ${done === 1 ? 'change' : 'changes'}, ${failed} not done`,
      );
      if (done > 0) onReloaded(said);
      return report;
    } catch (error) {
      if (error instanceof SwapError) logError(`reload: nothing was changed: ${error.message}`);
      throw error;
    } finally {
      if (!target.isStopping()) onReloading(false);
    }
  }
}
