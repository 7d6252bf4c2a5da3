/**
 * The host's configuration: one table of settings, filled from flags and from a JSON file with the same
 * keys, checked in one place. A flag wins over the file. Errors name the flag or key that is wrong.
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
  /** Placeholder of the value in help; absent: a flag, true or false. */
  readonly value?: string;
  readonly multiple?: boolean;
  readonly help: string;
}

/** Every setting, in the order of help. Keys of the configuration file are the long names. */
export const hostSettings: readonly SettingSpec[] = [
  {
    name: 'disk',
    value: 'NAME=SIZE[,limit=SIZE][,backing=PATH][,shared=on][,keep=SECONDS]',
    multiple: true,
    help: 'a disk to serve, with its own ceiling of memory and a file or block device for pages that do not compress or do not fit, if any; only one client at a time may open it unless shared=on; keep drops its pages that long after the last client disconnects; repeatable (default swap0=1G)',
  },
  {
    name: 'limit',
    value: 'SIZE',
    help: 'ceiling of memory, metadata included, for each disk without its own; 25% is a share of the memory (default none but the total)',
  },
  {
    name: 'total-limit',
    value: 'SIZE',
    help: 'ceiling of memory of all disks together; 0 for none (default 50%: half of the memory, of the control group if that has less)',
  },
  { name: 'codec', value: 'lz4|lz4-native', help: 'page compressor (default lz4)' },
  {
    name: 'unix',
    short: 'U',
    value: 'PATH',
    help: "listen on a Unix socket; '-' makes a private one with a random name",
  },
  {
    name: 'socket-mode',
    value: 'MODE',
    help: 'who may open the socket of --unix PATH, octal (default 0600: you alone; 0660: a group)',
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
  { name: 'max-clients', value: 'N', help: 'most connections at a time (default 1024)' },
  { name: 'run', value: 'COMMAND', help: 'run a shell command, stop when it ends' },
  { name: 'pidfile', short: 'P', value: 'PATH', help: 'write the process id here when ready' },
  { name: 'control', value: 'PATH', help: 'control socket, for list and attach' },
  { name: 'no-control', help: 'open no control socket' },
];

export interface Setting {
  readonly value: string | boolean | readonly string[];
  /** Its name in messages: `--port`, or `host.json: port`. */
  readonly from: string;
}
export type Settings = ReadonlyMap<string, Setting>;

export interface DiskConfig {
  readonly name: string;
  readonly sizeBytes: number;
  /** 0 = none but the host's total. */
  readonly limitBytes: number;
  /** Several clients may have it open at a time. */
  readonly isShared: boolean;
  /** How long pages are kept after the last client disconnects, seconds; null: until a reset or the end of the host. */
  readonly keepSeconds: number | null;
  /** File or block device behind it; absent: none. */
  readonly backing?: string;
}

export interface TcpConfig {
  readonly host: string;
  readonly port: number;
  /** The port is the default: if it is in use, take the next one that is free. */
  readonly orNext: boolean;
}

export interface HostConfig {
  /** At least one; the default export is the first. */
  readonly disks: readonly DiskConfig[];
  /** Ceiling of all disks together, bytes; 0 = none. */
  readonly totalLimitBytes: number;
  readonly codec: string;
  /** Path, '-' for a private one, null for none. At least one of unix and tcp is set. */
  readonly unix: string | null;
  /** Permission bits of the Unix socket. */
  readonly socketMode: number;
  readonly tcp: TcpConfig | null;
  /** Path, `default` for the user's own place, `private` beside the private socket, null for none. */
  readonly control: { readonly path: string } | 'default' | 'private' | null;
  readonly pidFile: string | null;
  readonly run: string | null;
  readonly maxClients: number;
}

/** Slots are numbered below 2^31; 2^31 pages of 4 KiB are 8 TiB. */
const diskBytesMax = 2 ** 31 * PAGE_BYTES;
/** mkswap takes no fewer than 10 pages. */
const diskBytesMin = 10 * PAGE_BYTES;
const disksMax = 256;
/** A year. */
const keepSecondsMax = 31_536_000;
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
    throw invalid({ from }, JSON.stringify(one) ?? 'nothing', 'is neither text nor a whole number');
  };
  if (spec.multiple === true) return Array.isArray(value) ? value.map(text) : [text(value)];
  return text(value);
}

/**
 * Settings of a JSON file.
 * @param file how to name the file in errors
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
    throw new SwapError('ERR_ARG_CONFLICT', `${file}: '${twice}' is there twice`, {
      file,
      key: twice,
    });
  const specs = new Map(hostSettings.map((spec) => [spec.name, spec]));
  const settings = new Map<string, Setting>();
  for (const [key, value] of Object.entries(document)) {
    const spec = specs.get(key);
    if (spec === undefined) {
      const hint = suggestion(key, specs.keys());
      throw new SwapError('ERR_ARG_UNKNOWN', `${file}: no setting '${key}'${hint}`, { file, key });
    }
    const from = `${file}: ${key}`;
    settings.set(key, { value: jsonValue(spec, value, from), from });
  }
  return settings;
}

/** What limits are read with. */
interface LimitDefaults {
  /** Of a disk that names none. */
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
      'is no disk name: a letter or a digit, then letters, digits and . _ : @ + -, at most 64 in all',
    );
  // `1,5G`: the comma ends the size, and what follows it is no option.
  const isDecimal = /^[0-9]*$/.test(size) && /^[0-9]/.test(extras[0] ?? '');
  const asked = parseSize(from, isDecimal ? `${size},${extras[0]}` : size);
  // The size is rounded up to a page, as zram does with disksize.
  const sizeBytes = Math.ceil(asked / PAGE_BYTES) * PAGE_BYTES;
  if (sizeBytes < diskBytesMin) throw invalid({ from }, size, 'is too small: mkswap needs 40K');
  if (sizeBytes > diskBytesMax) throw invalid({ from }, size, 'is too large: at most 8T');
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
  if (keep !== undefined && !(/^[0-9]{1,9}$/.test(keep) && Number(keep) <= keepSecondsMax))
    throw invalid(
      { from: `${from}: keep` },
      keep,
      `is no whole number of seconds, 0 to ${keepSecondsMax}`,
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

/** The KEY=VALUE behind a disk's size, each at most once. */
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
        `${from}: a disk has no '${key}'${suggestion(key, extraKeys)}`,
        { key: from, value: key },
      );
    if (more.length > 0) throw invalid({ from }, extra, `is not of the form ${key}=VALUE`);
    if (given.has(key))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: '${text}' has '${key}' twice`, {
        key: from,
        value: text,
      });
    given.set(key, value);
  }
  return given;
}

/** Typed reading of settings, with the defaults of the table. */
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
    throw invalid({ from: this.from(name) }, text, `is no whole number from ${min} to ${max}`);
  }
}

/** A limit as text, or what holds without. */
function readLimit(reader: Reader, name: string, memory: UsableMemory, without: number): number {
  const text = reader.text(name);
  return text === null ? without : parseLimit(reader.from(name), text, memory);
}

function readDisks(reader: Reader, memory: UsableMemory): DiskConfig[] {
  const defaults = { limitBytes: readLimit(reader, 'limit', memory, 0), memory };
  const from = reader.from('disk');
  const texts = reader.list('disk') ?? ['swap0=1G'];
  const disks = texts.map((text) => parseDisk(from, text, defaults));
  if (disks.length === 0) throw invalid({ from }, '[]', 'names no disk');
  if (disks.length > disksMax)
    throw invalid({ from }, String(disks.length), `disks are more than ${disksMax}`);
  const names = new Set<string>();
  for (const { name } of disks) {
    if (names.has(name))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: '${name}' is there twice`, {
        key: from,
        value: name,
      });
    names.add(name);
  }
  const backings = new Set<string>();
  for (const { backing } of disks) {
    if (backing === undefined) continue;
    if (backings.has(backing))
      throw new SwapError('ERR_ARG_CONFLICT', `${from}: two disks have the backing '${backing}'`, {
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
 * A socket's path as others can use it, who work in other folders. `@name`, an abstract socket elsewhere, would be a
 * file of that name here.
 */
function absolutePath(from: string, path: string | null): string | null {
  if (path?.startsWith('@') === true)
    throw invalid(
      { from },
      path,
      `is an abstract socket, which NBD URIs cannot name: give a path, or ./${path} for a file of that name`,
    );
  return path === null ? null : resolve(path);
}

function readControl(reader: Reader): HostConfig['control'] {
  const path = absolutePath(reader.from('control'), reader.text('control'));
  if (reader.flag('no-control')) {
    if (path === null) return null;
    const [a, b] = [reader.from('control'), reader.from('no-control')];
    throw new SwapError('ERR_ARG_CONFLICT', `${a} and ${b} exclude each other`, { key: a });
  }
  if (path !== null) return { path };
  // Hosts that serve one command come in numbers: each has its own, told to the command.
  return reader.has('run') ? 'private' : 'default';
}

function readSocketMode(reader: Reader, unix: string | null): number {
  const text = reader.text('socket-mode');
  if (text === null) return 0o600;
  const setting = { from: reader.from('socket-mode') };
  if (!/^0?[67][0-7]{2}$/.test(text))
    throw invalid(setting, text, 'is no mode: write it in octal, from 0600 to 0777');
  if (unix === null || unix === '-')
    throw new SwapError(
      'ERR_ARG_CONFLICT',
      `${setting.from} needs a socket with a place of its own: say where with --unix PATH`,
      { key: setting.from, value: text },
    );
  return Number.parseInt(text, 8);
}

/**
 * Checks every setting and fills in the defaults.
 * @param memory what percentages and the default total are of
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
    throw invalid({ from: reader.from('codec') }, codec, `is none of ${codecs.join(', ')}`);
  const run = reader.text('run');
  const tcpAsked = reader.has('port') || reader.has('ipaddr');
  const nothingAsked = !tcpAsked && !reader.has('unix');
  const asked = nothingAsked ? '-' : reader.text('unix');
  const unix = asked === '-' ? '-' : absolutePath(reader.from('unix'), asked);
  const host = reader.text('ipaddr') ?? '127.0.0.1';
  const port = reader.wholeNumber('port', 0, 65535) ?? NBD_PORT;
  return {
    disks,
    totalLimitBytes,
    codec,
    unix,
    socketMode: readSocketMode(reader, unix),
    tcp: tcpAsked || (nothingAsked && run === null) ? { host, port, orNext: nothingAsked } : null,
    control: readControl(reader),
    pidFile: reader.text('pidfile'),
    run,
    maxClients: reader.wholeNumber('max-clients', 1, 65536) ?? 1024,
  };
}
