/** The settings of a host: the top level of a file, and the flags of `frontswap host`. */
import * as v from 'valibot';
import { SwapError } from '../../base/errors.ts';
import type { UsableMemory } from '../../os/linux/usable-memory.ts';
import { CAP_MAX } from '../../tmem/options.ts';
import { parseOutputSize } from '../client-limits.ts';
import { parseLimit } from '../limits.ts';
import { type MetricsAddress, parseMetricsAddress } from '../metrics-server.ts';
import type { TmemValues } from '../tmem-config.ts';
import { isLoopback, NBD_PORT } from '../uri.ts';
import { diskEntries, ids, idsJson } from './disk-schema.ts';
import type { Settings } from './layers.ts';
import type { Problems } from './problems.ts';
import {
  checkEntries,
  commandText,
  type Entries,
  factsOf,
  parsedBy,
  refusing,
  type SettingSpec,
  setting,
  settingOr,
  specsOf,
  text,
  textOrNumber,
  wholeNumber,
} from './schema.ts';

/** As many processors as a host is likely to have. */
const WORKERS_MAX = 64;

const sizeJson = { type: ['string', 'integer'], minimum: 0 } as const;
const textJson = { type: 'string', minLength: 1 } as const;
const boolean = (): v.GenericSchema<boolean, boolean> =>
  v.boolean(refusing('is neither true nor false'));
const oneOf = <const Words extends readonly string[]>(words: Words, why: string) =>
  v.picklist(words, refusing(why));

const limit = (memory: UsableMemory): v.GenericSchema<string | number, number> =>
  v.pipe(
    textOrNumber(),
    parsedBy((from, size) => parseLimit(from, size, memory)),
  );

const socketMode = (): v.GenericSchema<string, number> => {
  const why = refusing(
    'is not a valid mode: write it in octal, as a string, from "0600" to "0777"',
  );
  return v.pipe(
    v.string(why),
    v.regex(/^0?[67][0-7]{2}$/, why),
    v.transform((digits) => Number.parseInt(digits, 8)),
  );
};

const loopback = (from: string, words: string): MetricsAddress => {
  const address = parseMetricsAddress(from, words);
  if (isLoopback(address.host)) return address;
  throw new SwapError(
    'ERR_ARG_VALUE',
    `${from}: '${words}' is not a loopback address: the dashboard has no encryption; listen on 127.0.0.1 and forward the port with ssh -L`,
    { key: from, value: words },
  );
};

/** A whole number that a reload does not change. */
const count = (
  [min, max]: readonly [number, number],
  ifAbsent: number,
  { value = 'N', help }: { readonly value?: string; readonly help: string },
) =>
  settingOr(wholeNumber(min, max), ifAbsent, {
    value,
    help,
    json: { type: ['integer', 'string'], minimum: min, maximum: max },
    reload: 'restart',
  });

/** Limits of what clients may use: one client must not take the memory or the time of the others. */
const clientEntries = () =>
  ({
    'max-clients': count([1, 65_536], 1024, {
      help: 'maximum number of connections (default 1024)',
    }),
    'max-requests': count([1, 512], 512, {
      help: 'requests in progress per connection; the rest wait in its socket (default 512)',
    }),
    'max-output': settingOr(v.pipe(textOrNumber(), parsedBy(parseOutputSize)), '256K', {
      value: 'SIZE',
      help: 'replies and data in flight per connection; the host stops reading from a client with more unread replies (default 256K)',
      json: sizeJson,
      reload: 'restart',
    }),
    'max-handshakes': count([1, 65_536], 128, {
      help: 'connections that negotiate at the same time; as many more may wait (default 128)',
    }),
    'accept-rate': count([0, 1_000_000], 200, {
      help: 'new connections per second; 0 for any number (default 200)',
    }),
    'handshake-timeout': count([1, 3600], 10, {
      value: 'SECONDS',
      help: 'time for a client to open a disk after it connects (default 10)',
    }),
  }) satisfies Entries;

const tlsEntries = () =>
  ({
    tls: settingOr(oneOf(['off', 'on', 'require'], 'is not off, on or require'), 'off', {
      value: 'off|on|require',
      help: 'encrypt connections; on: if the client asks for it, require: always (default off)',
      json: { enum: ['off', 'on', 'require'] },
      reload: 'restart',
    }),
    'tls-certificates': setting(text(), {
      value: 'DIR',
      help: 'folder of server-cert.pem, server-key.pem, and for --tls-verify-peer ca-cert.pem and optionally ca-crl.pem',
      json: textJson,
      reload: 'new connections',
    }),
    'tls-verify-peer': settingOr(boolean(), false, {
      help: 'accept only clients with a certificate that ca-cert.pem has signed',
      json: { type: 'boolean' },
      reload: 'restart',
    }),
    'tls-psk': setting(text(), {
      value: 'FILE',
      help: 'file of pre-shared keys, instead of certificates: lines USERNAME:HEXKEY',
      json: textJson,
      reload: 'new connections',
    }),
  }) satisfies Entries;

const listenEntries = () =>
  ({
    unix: setting(text(), {
      short: 'U',
      value: 'PATH',
      help: "listen on a Unix socket; '-' creates a private one with a random name",
      json: textJson,
      reload: 'restart',
    }),
    'socket-mode': settingOr(socketMode(), '0600', {
      value: 'MODE',
      help: 'permissions of the socket of --unix PATH, octal (default 0600: only you; 0660: also a group)',
      json: { type: 'string', pattern: '^0?[67][0-7]{2}$' },
      reload: 'at once',
    }),
    port: settingOr(wholeNumber(0, 65_535), NBD_PORT, {
      short: 'p',
      value: 'PORT',
      help: 'listen on TCP; 0 lets the system choose',
      json: { type: ['integer', 'string'], minimum: 0, maximum: 65_535 },
      reload: 'restart',
    }),
    ipaddr: settingOr(text(), '127.0.0.1', {
      short: 'i',
      value: 'ADDRESS',
      help: 'address to listen on with TCP (default 127.0.0.1)',
      json: textJson,
      reload: 'restart',
    }),
    exportname: setting(text(), {
      short: 'e',
      value: 'NAME',
      help: 'the disk given to clients that do not name one (default the first one)',
      json: textJson,
      reload: 'at once',
    }),
  }) satisfies Entries;

/** Pools of pages for other processes. */
const tmemEntries = (memory: UsableMemory) =>
  ({
    tmem: setting(text(), {
      value: 'PATH',
      help: 'serve pools of pages (tmem) to other processes on this Unix socket',
      json: textJson,
      reload: 'restart',
    }),
    'tmem-mode': settingOr(socketMode(), '0600', {
      value: 'MODE',
      help: 'permissions of the socket of --tmem, octal (default 0600: only you; 0660: also a group)',
      json: { type: 'string', pattern: '^0?[67][0-7]{2}$' },
      reload: 'restart',
    }),
    'tmem-group': setting(wholeNumber(0, 0xffff_fffe), {
      value: 'ID',
      help: 'group of the socket of --tmem, a numeric id',
      json: { type: ['integer', 'string'], minimum: 0 },
      reload: 'restart',
    }),
    'tmem-limit': setting(limit(memory), {
      value: 'SIZE',
      help: 'memory limit of all pools, metadata included; part of the total (default a quarter of it)',
      json: sizeJson,
      reload: 'restart',
    }),
    'tmem-cap': count([0, CAP_MAX], 0, {
      value: 'PAGES',
      help: 'maximum number of pages of each user, 0 for no maximum (default 0); see frontswap tmem-set',
    }),
    'tmem-allow-uid': setting(ids(), {
      value: 'ID[:ID...]',
      help: 'the users that may connect to the socket of --tmem',
      json: idsJson,
      reload: 'restart',
    }),
    'tmem-allow-gid': setting(ids(), {
      value: 'ID[:ID...]',
      help: 'the groups that may connect to the socket of --tmem',
      json: idsJson,
      reload: 'restart',
    }),
  }) satisfies Entries;

const processEntries = () =>
  ({
    metrics: setting(v.pipe(textOrNumber(), parsedBy(parseMetricsAddress)), {
      value: 'ADDRESS:PORT',
      help: 'serve /metrics, /healthz and /readyz over HTTP; PORT alone listens on 127.0.0.1',
      json: { type: ['string', 'integer'], minimum: 0, maximum: 65_535 },
      reload: 'at once',
    }),
    dashboard: setting(v.pipe(textOrNumber(), parsedBy(loopback)), {
      value: 'ADDRESS:PORT',
      help: 'serve a page that shows and changes the disks; PORT alone listens on 127.0.0.1; loopback addresses only',
      json: { type: ['string', 'integer'], minimum: 0, maximum: 65_535 },
      reload: 'restart',
    }),
    run: setting(commandText(), {
      value: 'COMMAND',
      help: 'run a shell command, and stop when it ends',
      json: textJson,
      reload: 'restart',
    }),
    persist: setting(text(), {
      value: 'FOLDER',
      help: 'keep the pages in this folder, which must be on tmpfs: if the host is killed and started again, it serves them',
      json: textJson,
      reload: 'restart',
    }),
    pidfile: setting(text(), {
      short: 'P',
      value: 'PATH',
      help: 'write the process id here when ready',
      json: textJson,
      reload: 'restart',
    }),
    control: setting(text(), {
      value: 'PATH',
      help: 'control socket, for list and attach',
      json: textJson,
      reload: 'restart',
    }),
    'no-control': settingOr(boolean(), false, {
      help: 'do not open a control socket',
      json: { type: 'boolean' },
      reload: 'restart',
    }),
  }) satisfies Entries;

/** In the order of help. */
const entriesFor = (memory: UsableMemory) =>
  ({
    limit: setting(limit(memory), {
      value: 'SIZE',
      help: 'memory limit, metadata included, of each disk without its own; 25% is a share of the memory (default none except the total)',
      json: sizeJson,
      reload: 'at once',
    }),
    'total-limit': setting(limit(memory), {
      value: 'SIZE',
      help: 'memory limit of all disks together; 0 for none (default 50%: half of the memory of the machine, or of the control group if that is less)',
      json: sizeJson,
      reload: 'at once',
    }),
    codec: settingOr(oneOf(['lz4', 'lz4-native'], 'is not a codec; use lz4 or lz4-native'), 'lz4', {
      value: 'lz4|lz4-native',
      help: 'page compressor (default lz4)',
      json: { enum: ['lz4', 'lz4-native'] },
      reload: 'restart',
    }),
    workers: count([1, WORKERS_MAX], 1, {
      help: 'threads that serve the disks; each disk is served by one of them; 1: the main thread (default 1)',
    }),
    ...listenEntries(),
    ...tlsEntries(),
    ...clientEntries(),
    ...tmemEntries(memory),
    ...processEntries(),
  }) satisfies Entries;

/** The settings, for reference pages. */
export const hostEntries: Entries = entriesFor({ bytes: 0, isGroupLimit: false });

const diskKeysText = Object.entries(diskEntries)
  .filter(([key]) => key !== 'size')
  .map(([key, schema]) => {
    const { value, help } = factsOf(schema);
    return `${key}=${value ?? ''}, ${help}`;
  })
  .join('; ');

/** All settings as options of the command line, in the order of help. */
export const hostSettings: readonly SettingSpec[] = [
  {
    name: 'disk',
    value: 'NAME=SIZE[,KEY=VALUE...]',
    multiple: true,
    help: `a disk to serve; keys: ${diskKeysText}; repeatable (default swap0=1G)`,
  },
  ...specsOf(hostEntries),
];

/** The values of a host, checked one by one. */
export interface HostValues extends TmemValues {
  readonly limit?: number;
  readonly 'total-limit'?: number;
  readonly codec: string;
  readonly workers: number;
  readonly unix?: string;
  readonly 'socket-mode': number;
  readonly port: number;
  readonly ipaddr: string;
  readonly exportname?: string;
  readonly tls: 'off' | 'on' | 'require';
  readonly 'tls-certificates'?: string;
  readonly 'tls-verify-peer': boolean;
  readonly 'tls-psk'?: string;
  readonly 'max-clients': number;
  readonly 'max-requests': number;
  readonly 'max-output': number;
  readonly 'max-handshakes': number;
  readonly 'accept-rate': number;
  readonly 'handshake-timeout': number;
  readonly metrics?: MetricsAddress;
  readonly dashboard?: MetricsAddress;
  readonly run?: string;
  readonly persist?: string;
  readonly pidfile?: string;
  readonly control?: string;
  readonly 'no-control': boolean;
}

const whyUnknown = (key: string): string =>
  key === 'disk'
    ? "unknown setting 'disk': describe a disk by a table [disks.NAME]"
    : `unknown setting '${key}'`;

export const checkHostValues = (
  settings: Settings,
  memory: UsableMemory,
  problems: Problems,
): HostValues => checkEntries(entriesFor(memory), settings, problems, whyUnknown);
