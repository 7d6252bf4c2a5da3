/**
 * The host's configuration: one table of settings, read from flags and from a JSON file with the same keys, and checked in
 * one place. Flags override the file. Errors name the flag or key.
 */
import { resolve } from 'node:path';
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type UsableMemory, usableMemory } from '../os/linux/usable-memory.ts';
import { repeatedKey } from './json-keys.ts';
import { defaultTotal, leastBytes, parseLimit, underTotal } from './limits.ts';
import { NBD_PORT } from './uri.ts';

export interface SettingSpec {
  readonly name: string;
  readonly short?: string;
  /** Placeholder of the value in help; absent: a boolean flag. */
  readonly value?: string;
  /** True: also a flag; a value follows `=` in the same word. */
  readonly isValueOptional?: boolean;
  readonly multiple?: boolean;
  readonly help: string;
}

/** All settings in the order of help. The long names are the keys of the configuration file. */
export const hostSettings: readonly SettingSpec[] = [
  {
    name: 'disk',
    value: 'NAME=SIZE[,limit=SIZE][,backing=PATH][,shared=on][,keep=SECONDS]',
    multiple: true,
    help: 'a disk to serve; limit: its memory limit; backing: a file or block device for pages that do not compress or do not fit; shared=on: several clients may open it at the same time; keep: drop its pages this long after the last client disconnects; repeatable (default swap0=1G)',
  },
  {
    name: 'limit',
    value: 'SIZE',
    help: 'memory limit, metadata included, of each disk without its own; 25% is a share of the memory (default none except the total)',
  },
  {
    name: 'total-limit',
    value: 'SIZE',
    help: 'memory limit of all disks together; 0 for none (default 50%: half of the memory of the machine, or of the control group if that is less)',
  },
  { name: 'codec', value: 'lz4|lz4-native', help: 'page compressor (default lz4)' },
  {
    name: 'unix',
    short: 'U',
    value: 'PATH',
    help: "listen on a Unix socket; '-' creates a private one with a random name",
  },
  {
    name: 'socket-mode',
    value: 'MODE',
    help: 'permissions of the socket of --unix PATH, octal (default 0600: only you; 0660: also a group)',
  },
  { name: 'port', short: 'p', value: 'PORT', help: 'listen on TCP; 0 lets the system choose' },
  {
    name: 'ipaddr',
    short: 'i',
    value: 'ADDRESS',
    help: 'address to listen on with TCP (default 127.0.0.1)',
  },
  {
    name: 'exportname',
    short: 'e',
    value: 'NAME',
    help: 'the disk given to clients that do not name one (default the first one)',
  },
  { name: 'max-clients', value: 'N', help: 'maximum number of connections (default 1024)' },
  { name: 'run', value: 'COMMAND', help: 'run a shell command, and stop when it ends' },
  { name: 'pidfile', short: 'P', value: 'PATH', help: 'write the process id here when ready' },
  { name: 'control', value: 'PATH', help: 'control socket, for list and attach' },
  { name: 'no-control', help: 'do not open a control socket' },
];

export interface Setting {
  readonly value: string | boolean | readonly string[];
  /** Origin for messages: `--port`, or `host.json: port`. */
  readonly from: string;
}
export type Settings = ReadonlyMap<string, Setting>;

export interface DiskConfig {
  readonly name: string;
  readonly sizeBytes: number;
  /** Bytes; 0 = none except the host's total. */
  readonly limitBytes: number;
  /** Several clients may open it at the same time. */
  readonly isShared: boolean;
  /** Time until pages are dropped after the last client has disconnected, seconds; null: never. */
  readonly keepSeconds: number | null;
  /** Path of a file or block device; absent: none. */
  readonly backing?: string;
}

export interface TcpConfig {
  readonly host: string;
  readonly port: number;
  /** The port is the default: if it is in use, use the next free one. */
  readonly orNext: boolean;
}

export interface HostConfig {
  /** At least one; the default export is the first. */
  readonly disks: readonly DiskConfig[];
  /** Limit of all disks together, bytes; 0 = none. */
  readonly totalLimitBytes: number;
  readonly codec: string;
  /** Path; '-': a private socket; null: none. At least one of unix and tcp is set. */
  readonly unix: string | null;
  /** Permission bits of the Unix socket. */
  readonly socketMode: number;
  readonly tcp: TcpConfig | null;
  /** Path; `default`: in the runtime folder; `private`: in the private folder; null: none. */
  readonly control: { readonly path: string } | 'default' | 'private' | null;
  readonly pidFile: string | null;
  readonly run: string | null;
  readonly maxClients: number;
}

/** Slots are numbered below 2^31; 2^31 pages of 4 KiB are 8 TiB. */
const DISK_BYTES_MAX = 2 ** 31 * PAGE_BYTES;
/** mkswap(8) requires 10 pages. */
const DISK_BYTES_MIN = 10 * PAGE_BYTES;
const DISKS_MAX = 256;
/** One year. */
const KEEP_SECONDS_MAX = 31_536_000;
const codecs: readonly string[] = ['lz4', 'lz4-native'];
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$/;

const invalid = (setting: { from: string }, value: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${setting.from}: '${value}' ${why}`, {
    key: setting.from,
    value,
  });

function jsonValue(spec: SettingSpec, value: unknown, from: string): Setting['value'] {
  const shown = JSON.stringify(value) ?? 'nothing';
  if (spec.value === undefined) {
    if (typeof value === 'boolean') return value;
    throw invalid({ from }, shown, 'is neither true nor false');
  }
  const text = (one: unknown): string => {
    if (typeof one === 'string') return one;
    if (typeof one === 'number' && Number.isSafeInteger(one)) return String(one);
    throw invalid(
      { from },
      JSON.stringify(one) ?? 'nothing',
      'is neither a string nor a whole number',
    );
  };
  if (spec.multiple === true) return Array.isArray(value) ? value.map(text) : [text(value)];
  return text(value);
}

/**
 * Reads the settings of a JSON file.
 * @param file name of the file in errors
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN
 */
export function settingsOfJson(file: string, text: string): Settings {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unreadable';
    throw new SwapError('ERR_ARG_VALUE', `${file}: not JSON: ${why}`, { file }, { cause });
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw new SwapError('ERR_ARG_VALUE', `${file}: not a JSON object`, { file });
  const twice = repeatedKey(text);
  if (twice !== null)
    throw new SwapError('ERR_ARG_CONFLICT', `${file}: duplicate key '${twice}'`, {
      file,
      key: twice,
    });
  const specs = new Map(hostSettings.map((spec) => [spec.name, spec]));
  const settings = new Map<string, Setting>();
  for (const [key, value] of Object.entries(document)) {
    const spec = specs.get(key);
    if (spec === undefined) {
      const hint = suggestion(key, specs.keys());
      throw new SwapError('ERR_ARG_UNKNOWN', `${file}: unknown setting '${key}'${hint}`, {
        file,
        key,
      });
    }
    const from = `${file}: ${key}`;
    settings.set(key, { value: jsonValue(spec, value, from), from });
  }
  return settings;
}

/** The default limit of a disk, and the memory that percentages refer to. */
interface LimitDefaults {
  readonly limitBytes: number;
  readonly memory: UsableMemory;
}

function parseDisk(from: string, text: string, defaults: LimitDefaults): DiskConfig {
  const [head = '', ...extras] = text.split(',');
  const [name = '', size, ...rest] = head.split('=');
  if (size === undefined || rest.length > 0)
    throw invalid(
      { from },
      text,
      'is not of the form NAME=SIZE[,limit=SIZE][,backing=PATH][,shared=on][,keep=SECONDS]',
    );
  if (!namePattern.test(name))
    throw invalid(
      { from },
      name,
      'is not a valid disk name: use a letter or digit, then letters, digits and . _ : @ + -, at most 64 characters',
    );
  // `1,5G`: report the decimal comma, not an unknown option '5G'.
  const isDecimal = /^[0-9]*$/.test(size) && /^[0-9]/.test(extras[0] ?? '');
  const givenBytes = parseSize(from, isDecimal ? `${size},${extras[0]}` : size);
  // Rounded up to a page, as zram does with disksize.
  const sizeBytes = Math.ceil(givenBytes / PAGE_BYTES) * PAGE_BYTES;
  if (sizeBytes < DISK_BYTES_MIN) throw invalid({ from }, size, 'is too small: mkswap needs 40K');
  if (sizeBytes > DISK_BYTES_MAX) throw invalid({ from }, size, 'is too large: the maximum is 8T');
  const given = readExtras(from, text, extras);
  const limit = given.get('limit');
  const limitBytes =
    limit === undefined
      ? defaults.limitBytes
      : parseLimit(`${from}: limit`, limit, defaults.memory);
  const backing = given.get('backing');
  const shared = given.get('shared') ?? 'off';
  if (shared !== 'on' && shared !== 'off')
    throw invalid({ from: `${from}: shared` }, shared, 'is neither on nor off');
  const isShared = shared === 'on';
  const keep = given.get('keep');
  if (keep !== undefined && !(/^[0-9]{1,9}$/.test(keep) && Number(keep) <= KEEP_SECONDS_MAX))
    throw invalid(
      { from: `${from}: keep` },
      keep,
      `is not a whole number of seconds from 0 to ${KEEP_SECONDS_MAX}`,
    );
  const keepSeconds = keep === undefined ? null : Number(keep);
  const disk = { name, sizeBytes, limitBytes, isShared, keepSeconds };
  if (backing === undefined) return disk;
  if (backing === '') throw invalid({ from: `${from}: backing` }, backing, 'is empty');
  const least = leastBytes({ ...disk, backing });
  if (limitBytes !== 0 && limitBytes < least)
    throw invalid(
      { from: `${from}: limit` },
      formatSize(limitBytes),
      `is too small for the tables of a disk of ${formatSize(sizeBytes)} with a backing: at least ${Math.ceil(least / 1024)}K`,
    );
  return { ...disk, backing };
}

const extraKeys = ['limit', 'backing', 'shared', 'keep'];

/** Parses the KEY=VALUE pairs after a disk's size; each key at most once. */
function readExtras(
  from: string,
  text: string,
  extras: readonly string[],
): ReadonlyMap<string, string> {
  const given = new Map<string, string>();
  for (const extra of extras) {
    const [key = '', value = '', ...more] = extra.split('=');
    if (!extraKeys.includes(key))
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `${from}: a disk has no option '${key}'${suggestion(key, extraKeys)}`,
        { key: from, value: key },
      );
    if (more.length > 0) throw invalid({ from }, extra, `is not of the form ${key}=VALUE`);
    if (given.has(key))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: duplicate '${key}' in '${text}'`, {
        key: from,
        value: text,
      });
    given.set(key, value);
  }
  return given;
}

/** Typed access to the settings. */
class Reader {
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  has(name: string): boolean {
    return this.#settings.has(name);
  }

  from(name: string): string {
    return this.#settings.get(name)?.from ?? `--${name}`;
  }

  text(name: string): string | null {
    const setting = this.#settings.get(name);
    if (setting === undefined) return null;
    if (typeof setting.value === 'string' && setting.value !== '') return setting.value;
    throw invalid(setting, String(setting.value), 'is empty');
  }

  flag(name: string): boolean {
    return this.#settings.get(name)?.value === true;
  }

  list(name: string): readonly string[] | null {
    const value = this.#settings.get(name)?.value;
    return Array.isArray(value) ? (value as readonly string[]) : null;
  }

  wholeNumber(name: string, min: number, max: number): number | null {
    const text = this.text(name);
    if (text === null) return null;
    const number = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw invalid({ from: this.from(name) }, text, `is not a whole number from ${min} to ${max}`);
  }
}

/** A limit of the settings, or its default. */
function readLimit(
  reader: Reader,
  name: string,
  memory: UsableMemory,
  defaultBytes: number,
): number {
  const text = reader.text(name);
  return text === null ? defaultBytes : parseLimit(reader.from(name), text, memory);
}

function readDisks(reader: Reader, memory: UsableMemory): DiskConfig[] {
  const defaults = { limitBytes: readLimit(reader, 'limit', memory, 0), memory };
  const from = reader.from('disk');
  const texts = reader.list('disk') ?? ['swap0=1G'];
  const disks = texts.map((text) => parseDisk(from, text, defaults));
  if (disks.length === 0) throw invalid({ from }, '[]', 'contains no disk');
  if (disks.length > DISKS_MAX)
    throw invalid({ from }, String(disks.length), `is too many disks: at most ${DISKS_MAX}`);
  const names = new Set<string>();
  for (const { name } of disks) {
    if (names.has(name))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: duplicate disk '${name}'`, {
        key: from,
        value: name,
      });
    names.add(name);
  }
  const backings = new Set<string>();
  for (const { backing } of disks) {
    if (backing === undefined) continue;
    if (backings.has(backing))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: two disks use the backing '${backing}'`, {
        key: from,
        value: backing,
      });
    backings.add(backing);
  }
  const first = reader.text('exportname');
  if (first === null) return disks;
  const at = disks.findIndex((disk) => disk.name === first);
  if (at < 0)
    throw new SwapError(
      'ERR_ARG_UNKNOWN',
      `${reader.from('exportname')}: no disk '${first}'${suggestion(first, names)}`,
      { key: reader.from('exportname'), value: first },
    );
  return [...disks.splice(at, 1), ...disks];
}

/**
 * An absolute path, which clients in other working directories can use. `@name`, in other programs an abstract socket, would
 * be a file of that name.
 */
function absolutePath(from: string, path: string | null): string | null {
  if (path?.startsWith('@') === true)
    throw invalid(
      { from },
      path,
      `is an abstract socket, which NBD URIs cannot name: use a path, or ./${path} for a file of that name`,
    );
  return path === null ? null : resolve(path);
}

function readControl(reader: Reader): HostConfig['control'] {
  const path = absolutePath(reader.from('control'), reader.text('control'));
  if (reader.flag('no-control')) {
    if (path === null) return null;
    const [a, b] = [reader.from('control'), reader.from('no-control')];
    throw new SwapError('ERR_ARG_CONFLICT', `${a} and ${b} are mutually exclusive`, { key: a });
  }
  if (path !== null) return { path };
  // There may be many hosts that serve one command: each has its own control socket, which the command finds.
  return reader.has('run') ? 'private' : 'default';
}

function readSocketMode(reader: Reader, unix: string | null): number {
  const text = reader.text('socket-mode');
  if (text === null) return 0o600;
  const setting = { from: reader.from('socket-mode') };
  if (!/^0?[67][0-7]{2}$/.test(text))
    throw invalid(setting, text, 'is not a valid mode: write it in octal, from 0600 to 0777');
  if (unix === null || unix === '-')
    throw new SwapError(
      'ERR_ARG_CONFLICT',
      `${setting.from} requires --unix PATH: a private socket has a fixed mode`,
      { key: setting.from, value: text },
    );
  return Number.parseInt(text, 8);
}

/**
 * Checks every setting and fills in the defaults.
 * @param memory the memory that percentages and the default total refer to
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN, ERR_ARG_CONFLICT
 */
export function resolveHostConfig(
  settings: Settings,
  memory: UsableMemory = usableMemory(),
): HostConfig {
  const reader = new Reader(settings);
  const totalLimitBytes = readLimit(reader, 'total-limit', memory, defaultTotal(memory));
  const disks = underTotal(readDisks(reader, memory), totalLimitBytes, reader.from('total-limit'));
  const codec = reader.text('codec') ?? 'lz4';
  if (!codecs.includes(codec))
    throw invalid(
      { from: reader.from('codec') },
      codec,
      `is not a codec; use ${codecs.join(' or ')}`,
    );
  const run = reader.text('run');
  const hasTcp = reader.has('port') || reader.has('ipaddr');
  const hasNoListener = !hasTcp && !reader.has('unix');
  const path = hasNoListener ? '-' : reader.text('unix');
  const unix = path === '-' ? '-' : absolutePath(reader.from('unix'), path);
  const host = reader.text('ipaddr') ?? '127.0.0.1';
  const port = reader.wholeNumber('port', 0, 65535) ?? NBD_PORT;
  return {
    disks,
    totalLimitBytes,
    codec,
    unix,
    socketMode: readSocketMode(reader, unix),
    tcp: hasTcp || (hasNoListener && run === null) ? { host, port, orNext: hasNoListener } : null,
    control: readControl(reader),
    pidFile: reader.text('pidfile'),
    run,
    maxClients: reader.wholeNumber('max-clients', 1, 65536) ?? 1024,
  };
}
