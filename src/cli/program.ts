/** Replaces this process with a program: the last step of `frontswap run`. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { SwapError } from '../base/errors.ts';
import { statusOfSignal } from '../host/run-command.ts';
import { type Exec, systemExec } from '../os/linux/exec.ts';

export type Variables = Readonly<Record<string, string>>;

const { ENOENT, ENOTDIR, EACCES } = constants.errno;

/** execvp(3) also fails with EACCES for a folder of PATH that cannot be searched; a shell reports that as not found. */
const isInPath = (name: string): boolean =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, name)));

/** The error of a program that does not start, with the exit status of a shell: 127 not found, 126 not executable. */
export function notStarted(name: string, errno: number): SwapError {
  const [symbol = 'unknown error', text = ''] = getSystemErrorMap().get(-errno) ?? [];
  const facts = { program: name, errno: symbol };
  const isPath = name.includes('/');
  const isHidden = errno === EACCES && !isPath && !isInPath(name);
  if (errno === ENOENT || errno === ENOTDIR || isHidden) {
    const why = isPath ? `${text} (${symbol})` : 'it is not in PATH';
    return new SwapError('ERR_IO_NO_PROGRAM', `cannot run '${name}': ${why}`, facts);
  }
  const advice = symbol === 'EACCES' ? '; check that it is a file and executable (chmod +x)' : '';
  const message = `cannot run '${name}': ${text} (${symbol})${advice}`;
  return new SwapError('ERR_IO_NOT_EXECUTABLE', message, facts);
}

/** spawn() throws some errors (ENOTDIR, ENAMETOOLONG), and emits others. @throws SwapError, as notStarted() */
export function startProgram(
  [name = '', ...rest]: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  if (name === '') throw notStarted(name, ENOENT); // as execvp(3)
  try {
    return spawn(name, rest, options);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    throw errno === undefined ? error : notStarted(name, Math.abs(errno));
  }
}

/**
 * Replaces this process with the program. Without exec(3) the program is a child, and this process waits for it.
 * @returns the exit status of a child
 * @throws SwapError ERR_IO_NO_PROGRAM, ERR_IO_NOT_EXECUTABLE
 */
export async function runProgram(
  words: readonly string[],
  variables: Variables,
  exec: Exec | null = systemExec(process.platform),
): Promise<number> {
  Object.assign(process.env, variables);
  if (exec === null) return runChild(words);
  throw notStarted(words[0] ?? '', exec(words));
}

/** Signals that a terminal sends to its whole process group: the child gets them, too. */
const groupSignals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT'];
const forwardedSignals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'];

function runChild(words: readonly string[]): Promise<number> {
  // Installed before the child starts, so that a signal in between does not end only this process.
  for (const signal of groupSignals) process.on(signal, () => undefined);
  for (const signal of forwardedSignals) process.on(signal, () => child.kill(signal));
  const child = startProgram(words, { stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(notStarted(words[0] ?? '', Math.abs(error.errno ?? 0))),
    );
    child.once('exit', (status, signal) =>
      resolve(signal === null ? (status ?? 1) : statusOfSignal(signal)),
    );
  });
}
