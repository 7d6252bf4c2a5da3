/** System errors (`errno` by name) as errors of this house. */
import { getSystemErrorMap } from 'node:util';
import { SwapError } from '../base/errors.ts';

/** ENOENT, EACCES, ...; empty when the error is none of the system's. */
export function errnoOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const code = (error as NodeJS.ErrnoException).code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : '';
}

/**
 * "cannot write /run/x.pid: permission denied (EACCES)".
 * @param action what was tried, to what
 * @param advice what to do about it, if that is known
 */
export function systemError(action: string, cause: unknown, advice = ''): SwapError {
  const errno = errnoOf(cause);
  const text = cause instanceof Error ? cause.message : String(cause);
  // Node's own text names file or address again, each call in its own way.
  const number = (cause as NodeJS.ErrnoException | null)?.errno ?? 0;
  const what = getSystemErrorMap().get(number)?.[1] ?? (errno === '' ? text : '');
  const why = [what, errno === '' ? '' : `(${errno})`].filter((part) => part !== '').join(' ');
  const message = `cannot ${action}: ${why}${advice === '' ? '' : `; ${advice}`}`;
  return new SwapError('ERR_IO_SYSTEM', message, { errno }, { cause });
}

/** What it means that nobody can listen on a TCP address, and what to do. */
export function tcpListenError(host: string, port: number, cause: unknown): SwapError {
  const errno = errnoOf(cause);
  if (errno === 'EADDRINUSE')
    return new SwapError(
      'ERR_IO_IN_USE',
      `port ${port} on ${host} is in use; choose another with --port, ` +
        'or serve a Unix socket only with --unix',
      { host, port },
      { cause },
    );
  const advice =
    errno === 'EACCES'
      ? 'ports below 1024 are for root: choose another with --port'
      : errno === 'EADDRNOTAVAIL' || errno === 'ENOTFOUND'
        ? 'choose an address that this machine has with --ipaddr'
        : 'see --ipaddr and --port';
  return systemError(`listen on ${host} port ${port}`, cause, advice);
}
