/** Converts system errors to SwapError. */
import { getSystemErrorMap } from 'node:util';
import { SwapError } from '../base/errors.ts';

/** ENOENT, EACCES, ...; empty if it is not a system error. */
export function errnoOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const code = (error as NodeJS.ErrnoException).code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : '';
}

/**
 * "cannot write /run/x.pid: permission denied (EACCES)".
 * @param action the failed action and its object
 * @param advice what to do, if known
 */
export function systemError(action: string, cause: unknown, advice = ''): SwapError {
  const errno = errnoOf(cause);
  const text = cause instanceof Error ? cause.message : String(cause);
  // Node's message repeats the file or address in a different form for each call.
  const number = (cause as NodeJS.ErrnoException | null)?.errno ?? 0;
  const what = getSystemErrorMap().get(number)?.[1] ?? (errno === '' ? text : '');
  const why = [what, errno === '' ? '' : `(${errno})`].filter((part) => part !== '').join(' ');
  const message = `cannot ${action}: ${why}${advice === '' ? '' : `; ${advice}`}`;
  return new SwapError('ERR_IO_SYSTEM', message, { errno }, { cause });
}

/** The error for a failed listen on a TCP address, with advice. */
export function tcpListenError(host: string, port: number, cause: unknown): SwapError {
  const errno = errnoOf(cause);
  if (errno === 'EADDRINUSE')
    return new SwapError(
      'ERR_IO_IN_USE',
      `port ${port} on ${host} is in use; choose another one with --port, ` +
        'or use only a Unix socket with --unix',
      { host, port },
      { cause },
    );
  const advice =
    errno === 'EACCES'
      ? 'ports below 1024 require root; choose another one with --port'
      : errno === 'EADDRNOTAVAIL' || errno === 'ENOTFOUND'
        ? 'choose an address of this machine with --ipaddr'
        : 'see --ipaddr and --port';
  return systemError(`listen on ${host} port ${port}`, cause, advice);
}
