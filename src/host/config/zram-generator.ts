/**
 * Converts the configuration of zram-generator (zram-generator.conf(5)) to that of a host: a disk for each device. Settings
 * that belong to the guest, such as the swap priority, become warnings.
 */
import { SwapError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';

/** Nesting of parentheses in an expression. */
const DEPTH_MAX = 32;
const TEXT_CHARACTERS_MAX = 1024 * 1024;

interface Line {
  readonly place: string;
  readonly key: string;
  readonly value: string;
}

interface Device {
  readonly name: string;
  readonly lines: Line[];
}

const refused = (place: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `${place}: ${why}`, { key: place });

/** Evaluates `min(ram / 2, 4096)`: MiB, with `ram`, + - * /, min() and max(). */
class Expression {
  readonly #tokens: readonly string[];
  readonly #ramMiB: number;
  readonly #place: string;
  #at = 0;
  #depth = 0;

  constructor(place: string, text: string, ramMiB: number) {
    this.#tokens = text.match(/\d+(?:\.\d+)?|[a-z]+|\S/g) ?? [];
    this.#ramMiB = ramMiB;
    this.#place = place;
  }

  value(): number {
    const value = this.#sum();
    if (this.#at < this.#tokens.length) throw this.#wrong();
    if (!Number.isFinite(value) || value < 0)
      throw refused(this.#place, 'the expression has no size as its value');
    return value;
  }

  #wrong(): SwapError {
    const token = printable(this.#tokens[this.#at] ?? 'the end').slice(0, 40);
    return refused(
      this.#place,
      `the expression is wrong at '${token}'; write numbers, ram, + - * /, min and max`,
    );
  }

  #take(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false;
    this.#at++;
    return true;
  }

  #want(token: string): void {
    if (!this.#take(token)) throw this.#wrong();
  }

  #sum(): number {
    if (++this.#depth > DEPTH_MAX)
      throw refused(this.#place, 'the expression is nested too deeply');
    let value = this.#product();
    for (;;)
      if (this.#take('+')) value += this.#product();
      else if (this.#take('-')) value -= this.#product();
      else break;
    this.#depth--;
    return value;
  }

  #product(): number {
    let value = this.#atom();
    for (;;)
      if (this.#take('*')) value *= this.#atom();
      else if (this.#take('/')) value /= this.#atom();
      else return value;
  }

  #atom(): number {
    const token = this.#tokens[this.#at] ?? '';
    if (/^\d/.test(token)) {
      this.#at++;
      return Number(token);
    }
    if (this.#take('ram')) return this.#ramMiB;
    if (this.#take('(')) {
      const value = this.#sum();
      this.#want(')');
      return value;
    }
    if (token !== 'min' && token !== 'max') throw this.#wrong();
    this.#at++;
    this.#want('(');
    const a = this.#sum();
    this.#want(',');
    const b = this.#sum();
    this.#want(')');
    return token === 'min' ? Math.min(a, b) : Math.max(a, b);
  }
}

function devicesIn(file: string, text: string): readonly Device[] {
  if (text.length > TEXT_CHARACTERS_MAX)
    throw refused(file, `is longer than ${TEXT_CHARACTERS_MAX} characters, the maximum`);
  const devices: Device[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    const place = `${file}:${index + 1}`;
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const name = /^\[(.*)\]$/.exec(line)?.[1];
    if (name !== undefined) {
      if (!/^zram\d{1,6}$/.test(name))
        throw refused(
          place,
          `'${printable(name).slice(0, 40)}' is not a device: zram0, zram1, ...`,
        );
      devices.push(devices.find((device) => device.name === name) ?? { name, lines: [] });
      continue;
    }
    const at = line.indexOf('=');
    const device = devices.at(-1);
    if (at < 1 || device === undefined)
      throw refused(
        place,
        at < 1 ? 'is not of the form KEY = VALUE' : 'has no section [zram0] above it',
      );
    device.lines.push({ place, key: line.slice(0, at).trim(), value: line.slice(at + 1).trim() });
  }
  return [...new Set(devices)];
}

/** A size in whole KiB; a disk is rounded up to a page later. */
const sizeText = (mib: number): string =>
  Number.isInteger(mib) ? `${mib}M` : `${Math.max(1, Math.round(mib * 1024))}K`;

const ignored: ReadonlyMap<string, string> = new Map([
  ['compression-algorithm', 'a host compresses with its own codec'],
  ['swap-priority', 'it belongs to the guest: swapon --priority'],
  ['mount-point', 'a disk of a host is swap of a guest'],
  ['fs-type', 'a disk of a host is swap of a guest'],
  ['options', 'it belongs to the guest: swapon --discard'],
]);

const converted: readonly string[] = [
  ...['zram-size', 'zram-fraction', 'max-zram-size', 'zram-resident-limit'],
  ...['writeback-device', 'host-memory-limit', 'memory-limit'],
];

export interface Imported {
  readonly toml: string;
  /** Settings that have no counterpart. */
  readonly warnings: readonly string[];
}

/** The size given by the older settings, which override zram-size. */
function olderSize(values: ReadonlyMap<string, Line>): Line | undefined {
  const fraction = values.get('zram-fraction');
  const max = values.get('max-zram-size');
  const line = fraction ?? max;
  if (line === undefined) return undefined;
  const share = `ram * ${fraction?.value ?? '0.5'}`;
  const hasMax = max !== undefined && max.value !== 'none';
  return { ...line, value: hasMax ? `min(${share}, ${max.value})` : share };
}

/** The table of a device, or null if it would not be created on this machine. */
function tableOf(
  file: string,
  { name, lines }: Device,
  ramMiB: number,
  warnings: string[],
): string | null {
  const values = new Map(lines.map((line) => [line.key, line])); // the last one counts
  const given = (key: string): Line | undefined => {
    const line = values.get(key);
    return line === undefined || line.value === '' || line.value === 'none' ? undefined : line;
  };
  const sizeOf = ({ place, value }: Line): number => new Expression(place, value, ramMiB).value();
  const size = olderSize(values) ??
    given('zram-size') ?? {
      place: `${file}: ${name}`,
      key: '',
      value: 'min(ram / 2, 4096)',
    };
  const leaveOut = ({ place }: Line, why: string): null => {
    warnings.push(`${place}: ${name} is left out: ${why}`);
    return null;
  };
  const memoryLimit = given('host-memory-limit') ?? given('memory-limit');
  if (memoryLimit !== undefined && ramMiB > sizeOf(memoryLimit))
    return leaveOut(memoryLimit, 'this machine has more memory than its host-memory-limit');
  if (sizeOf(size) === 0) return leaveOut(size, 'its size is 0');
  const rows = [`[disks.${name}]`, `size = "${sizeText(sizeOf(size))}" # ${printable(size.value)}`];
  const limit = given('zram-resident-limit');
  if (limit !== undefined && sizeOf(limit) > 0)
    rows.push(`limit = "${sizeText(sizeOf(limit))}" # ${printable(limit.value)}`);
  const backing = given('writeback-device');
  if (backing !== undefined) rows.push(`backing = ${JSON.stringify(printable(backing.value))}`);
  for (const { key, place } of values.values())
    if (!converted.includes(key)) {
      const why = ignored.get(key) ?? 'it has no counterpart';
      warnings.push(`${place}: ${printable(key).slice(0, 40)} is left out: ${why}`);
    }
  return rows.join('\n');
}

/**
 * @param memoryBytes the memory of the machine, `ram` in expressions
 * @throws SwapError ERR_ARG_VALUE
 */
export function importZramGenerator(file: string, text: string, memoryBytes: number): Imported {
  const ramMiB = Math.floor(memoryBytes / 2 ** 20);
  const warnings: string[] = [];
  const tables = devicesIn(file, text).map((device) => tableOf(file, device, ramMiB, warnings));
  const toml = tables.flatMap((table) => (table === null ? [] : `${table}\n`)).join('\n');
  if (toml === '') warnings.push(`${file}: it describes no device for this machine`);
  return { toml, warnings };
}
