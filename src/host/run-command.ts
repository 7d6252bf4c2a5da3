/**
 * `--run`: a shell command that runs beside the host and finds the disks through its environment, as with nbdkit:
 * $uri $nbd $port $unixsocket $exportname, and $FRONTSWAP_CONTROL for list and attach. `frontswap` is in its PATH.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { delimiter, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemError } from '../os/system-error.ts';

/** 128 + n, as a shell reports a process that a signal ended. */
export const statusOfSignal = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

/** Holds `frontswap`; made by the build. */
const binFolder = fileURLToPath(new URL('../bin', import.meta.url));

/** Before everything: this program. Behind everything: the Node that runs it, for a PATH that has none. */
const pathWithOwn = (path = '/usr/local/bin:/usr/bin:/bin'): string =>
  [binFolder, path, dirname(process.execPath)].join(delimiter);

export class RunCommand {
  /** The command's exit status, 128 + n after a signal. Rejects when no shell can be started. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;

  constructor(command: string, variables: Readonly<Record<string, string>>) {
    this.#child = spawn('/bin/sh', ['-c', command], {
      stdio: 'inherit',
      env: { ...process.env, PATH: pathWithOwn(process.env['PATH']), ...variables },
    });
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', (cause) => reject(systemError('run /bin/sh', cause)));
      this.#child.once('exit', (status, signal) =>
        resolve(signal === null ? (status ?? 1) : statusOfSignal(signal)),
      );
    });
  }

  /** Asks the command to end. */
  terminate(): void {
    this.#child.kill('SIGTERM');
  }
}
