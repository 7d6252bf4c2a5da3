/** Replaces this process with a program and an extended environment; the last step of `frontswap run`. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { SwapError } from '../base/errors.ts';
import { statusOfSignal } from '../host/run-command.ts';
import { type Exec, systemExec } from '../os/linux/exec.ts';

export type Variables = Readonly<Record<string, string>>;

const { ENOENT, ENOTDIR, EACCES } = constants.errno;

/** execvp(3) fails with EACCES for a folder of PATH that cannot be searched, too; a shell calls that not found. */
const isInPath = (name: string): boolean =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, name)));

/** Why a program does not start, with the statuses of a shell: 127 it is not found, 126 it cannot be executed. */
function notStarted(name: string, errno: number): SwapError {
  const [symbol = 'unknown error', text = ''] = getSystemErrorMap().get(-errno) ?? [];
  const facts = { program: name, errno: symbol };
  const isPath = name.includes('/');
  const isHidden = errno === EACCES && !isPath && !isInPath(name);
  if (errno === ENOENT || errno === ENOTDIR || isHidden) {
    const why = isPath ? `${text} (${symbol})` : 'it is in no folder of PATH';
    return new SwapError('ERR_IO_NO_PROGRAM', `cannot run '${name}': ${why}`, facts);
  }
  const advice = symbol === 'EACCES' ? '; is it a file, and executable (chmod +x)?' : '';
  const message = `cannot run '${name}': ${text} (${symbol})${advice}`;
  return new SwapError('ERR_IO_NOT_EXECUTABLE', message, facts);
}

/**
 * Becomes the program. Where exec cannot be had the program is a child, and this process waits for it.
 * @returns the exit status of a child
 * @throws SwapError ERR_IO_NO_PROGRAM, ERR_IO_NOT_EXECUTABLE
 */
export function runProgram(
  words: readonly string[],
  variables: Variables,
  exec: Exec | null = systemExec(process.platform),
): Promise<number> {
  Object.assign(process.env, variables);
  if (exec === null) return runChild(words);
  throw notStarted(words[0] ?? '', exec(words));
}

/** Those that a terminal sends to its whole process group: the child has them already. */
const groupSignals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];
const forwardedSignals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'];

function runChild([name = '', ...rest]: readonly string[]): Promise<number> {
  // Before there is a child: a signal that comes between is delivered to it later, and does not end this process alone.
  for (const signal of groupSignals) process.on(signal, () => undefined);
  for (const signal of forwardedSignals) process.on(signal, () => child.kill(signal));
  const child = spawn(name, rest, { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(notStarted(name, Math.abs(error.errno ?? 0))),
    );
    child.once('exit', (status, signal) =>
      resolve(signal === null ? (status ?? 1) : statusOfSignal(signal)),
    );
  });
}
