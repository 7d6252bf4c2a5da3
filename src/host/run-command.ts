/**
 * `--run`: a shell command that runs while the host serves. Its environment has the variables of nbdkit: $uri $nbd $port
 * $unixsocket $exportname, and $FRONTSWAP_CONTROL for list and attach. `frontswap` is in its PATH.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { delimiter, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemError } from '../os/system-error.ts';

/** Exit status of a process that signal n ended, as a shell reports it: 128 + n. */
export const statusOfSignal = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

/** The folder of `frontswap`, created by the build. */
const binFolder = fileURLToPath(new URL('../bin', import.meta.url));

/** PATH with the folder of this program first, and the folder of the running Node last, in case PATH has no Node. */
const pathWithOwn = (path = '/usr/local/bin:/usr/bin:/bin'): string =>
  [binFolder, path, dirname(process.execPath)].join(delimiter);

export class RunCommand {
  /** Resolves with the exit status of the command, 128 + n after a signal. Rejects if no shell can be started. */
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

  /** Sends SIGTERM to the command. */
  terminate(): void {
    this.#child.kill('SIGTERM');
  }
}
