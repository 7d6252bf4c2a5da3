/** System errors (`errno` by name) as errors of this house. */
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
  // Node's text is "EACCES: permission denied, open '/run/x.pid'": the middle is what we lack.
  const what = /^E[A-Z0-9]+: ([^,]+)/.exec(text)?.[1] ?? (errno === '' ? text : '');
  const why = [what, errno === '' ? '' : `(${errno})`].filter((part) => part !== '').join(' ');
  const message = `cannot ${action}: ${why}${advice === '' ? '' : `; ${advice}`}`;
  return new SwapError('ERR_IO_SYSTEM', message, { errno }, { cause });
}
