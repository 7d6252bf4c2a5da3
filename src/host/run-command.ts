/**
 * `--run`: a shell command beside the host, told by its environment where the disks are, as nbdkit does it:
 * $uri $nbd $port $unixsocket $exportname, and $FRONTSWAP_CONTROL for list and attach.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { systemError } from '../os/system-error.ts';

/** 128 + n, as a shell reports a process that a signal ended. */
export const statusOfSignal = (signal: NodeJS.Signals): number => 128 + constants.signals[signal];

export class RunCommand {
  /** The command's exit status, 128 + n after a signal. Rejects when no shell can be started. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;

  constructor(command: string, variables: Readonly<Record<string, string>>) {
    this.#child = spawn('/bin/sh', ['-c', command], {
      stdio: 'inherit',
      env: { ...process.env, ...variables },
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
