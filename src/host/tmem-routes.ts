/**
 * The requests of the control socket about the tmem socket.
 *
 *   GET    /v1/tmem                 the tmem document
 *   PATCH  /v1/tmem/UID             changes settings of a user    {"weight","cap","compress"}
 *   DELETE /v1/tmem/UID             drops all pools of the user
 *   POST   /v1/tmem/UID/freeze, thaw
 *   POST   /v1/tmem/UID/save, /v1/tmem/restore      see tmem-transfers.ts
 */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { CAP_MAX, WEIGHT_MAX } from '../tmem/options.ts';
import type { TmemChange, TmemFrontEnd, TmemReport, TmemUserReport } from './parts.ts';

/** The reply to `GET /v1/tmem`. */
export interface TmemDocument extends TmemReport {
  readonly schemaVersion: 1;
}

/** The request that restores a user. */
export const RESTORE_PATH = '/v1/tmem/restore';

/** The tmem socket of a host. @throws SwapError ERR_IO_UNSUPPORTED */
export function tmemOf(tmem: TmemFrontEnd | null): TmemFrontEnd {
  if (tmem !== null) return tmem;
  throw new SwapError(
    'ERR_IO_UNSUPPORTED',
    'the host has no tmem socket; start it with --tmem PATH',
    { reason: 'no tmem socket' },
  );
}

export const tmemDocument = (tmem: TmemFrontEnd): TmemDocument => ({
  schemaVersion: 1,
  ...tmem.report(),
});

/** @throws SwapError ERR_ARG_VALUE */
export function parseUid(from: string, text: string): number {
  if (/^[0-9]{1,10}$/.test(text) && Number(text) < 0xffff_ffff) return Number(text);
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${from}: '${text}' is not the numeric id of a user, such as 1000 (see id -u)`,
    { key: from, value: text },
  );
}

/** Settings of a user. */
export const tmemKeys: readonly string[] = ['weight', 'cap', 'compress'];

function wholeNumber(from: string, text: string, max: number): number {
  if (/^[0-9]{1,10}$/.test(text) && Number(text) <= max) return Number(text);
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${from}: '${text}' is not a whole number from 0 to ${max}`,
    {
      key: from,
      value: text,
    },
  );
}

/** The change that settings as text describe. @param from precedes the key in errors; @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN */
export function parseTmemChange(from: string, texts: ReadonlyMap<string, string>): TmemChange {
  const change: { -readonly [Key in keyof TmemChange]: TmemChange[Key] } = {};
  if (texts.size === 0)
    throw new SwapError('ERR_ARG_VALUE', `${from}nothing to set; keys: ${tmemKeys.join(', ')}`);
  for (const [key, text] of texts)
    if (key === 'weight') change.weight = wholeNumber(from + key, text, WEIGHT_MAX);
    else if (key === 'cap') change.cap = wholeNumber(from + key, text, CAP_MAX);
    else if (key === 'compress' && (text === 'on' || text === 'off'))
      change.compress = text === 'on';
    else if (key === 'compress')
      throw new SwapError('ERR_ARG_VALUE', `${from}${key}: '${text}' is neither on nor off`, {
        key: from + key,
      });
    else
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `${from}'${key}' cannot be set${suggestion(key, tmemKeys)}; keys: ${tmemKeys.join(', ')}`,
        { key },
      );
  return change;
}

/** The state of the user after an operation. */
export const userIn = (tmem: TmemFrontEnd, uid: number): TmemUserReport | null =>
  tmem.report().users.find((user) => user.uid === uid) ?? null;
