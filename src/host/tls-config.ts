/** The settings of TLS, with the names and meaning of nbdkit's options. */
import { resolve } from 'node:path';
import { SwapError } from '../base/errors.ts';

export interface TlsConfig {
  /** `on`: clients may use TLS; `require`: they must. */
  readonly mode: 'on' | 'require';
  /** Certificates of a folder, or the keys of a file. */
  readonly source:
    | { readonly kind: 'x509'; readonly folder: string; readonly verifyPeer: boolean }
    | { readonly kind: 'psk'; readonly file: string };
}

/** Access to the settings by name. */
interface TlsSettings {
  text(name: string): string | null;
  flag(name: string): boolean;
  /** The flag or key, for errors. */
  from(name: string): string;
}

const conflict = (key: string, why: string): SwapError =>
  new SwapError('ERR_ARG_CONFLICT', `${key} ${why}`, { key });

/** @throws SwapError ERR_ARG_VALUE, ERR_ARG_CONFLICT */
export function readTls(settings: TlsSettings): TlsConfig | null {
  const from = settings.from('tls');
  const mode = settings.text('tls') ?? 'off';
  const folder = settings.text('tls-certificates');
  const file = settings.text('tls-psk');
  const verifyPeer = settings.flag('tls-verify-peer');
  if (mode !== 'off' && mode !== 'on' && mode !== 'require')
    throw new SwapError('ERR_ARG_VALUE', `${from}: '${mode}' is not off, on or require`, {
      key: from,
      value: mode,
    });
  if (mode === 'off') {
    // Do not silently serve without encryption.
    for (const [name, isGiven] of [
      ['tls-certificates', folder !== null],
      ['tls-psk', file !== null],
      ['tls-verify-peer', verifyPeer],
    ] as const)
      if (isGiven)
        throw conflict(settings.from(name), 'has no effect without --tls=require or --tls=on');
    return null;
  }
  if (folder !== null && file !== null)
    throw conflict(
      `${settings.from('tls-certificates')} and ${settings.from('tls-psk')}`,
      'are mutually exclusive',
    );
  if (file !== null) {
    if (verifyPeer)
      throw conflict(
        settings.from('tls-verify-peer'),
        'requires --tls-certificates: clients with a pre-shared key have no certificate',
      );
    return { mode, source: { kind: 'psk', file: resolve(file) } };
  }
  if (folder === null)
    throw conflict(`${from} ${mode}`, 'requires --tls-certificates DIR or --tls-psk FILE');
  return { mode, source: { kind: 'x509', folder: resolve(folder), verifyPeer } };
}
