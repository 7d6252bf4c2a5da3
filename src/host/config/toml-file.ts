/**
 * Reads a configuration file: text, then TOML, then its settings with their positions. Nothing in the file is trusted: its size
 * and depth are limited, and keys are only used as keys of maps.
 */
import { parse, TomlError } from 'smol-toml';
import { SwapError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { keyLines } from './key-lines.ts';
import type { DiskLayer, Layer, Setting } from './layers.ts';
import type { Problems } from './problems.ts';
import { readText } from './read-text.ts';
import { isTable, shownKey, shownValue } from './shown-value.ts';

/** The deepest array or inline table. The settings need 2. */
export const DEPTH_MAX = 16;

const refused = (code: 'ERR_ARG_VALUE' | 'ERR_ARG_CONFLICT', file: string, why: string) =>
  new SwapError(code, `${file}: ${why}`, { file });

const example = 'port = 10809, and for a disk the lines [disks.vm1] and size = "4G"';

/** The error of a text that is not TOML. */
function syntaxError(file: string, text: string, { line, message }: TomlError): SwapError {
  if (/^\s*\{/.test(text))
    return refused(
      'ERR_ARG_VALUE',
      `${file}:1`,
      `looks like JSON; write TOML instead: ${example}; see docs/reference/host-toml.md`,
    );
  const [first = ''] = message.split('\n');
  const why = first.replace(/^Invalid TOML document: /, '');
  const place = `${file}:${line}`;
  if (!why.startsWith('trying to redefine')) return refused('ERR_ARG_VALUE', place, why);
  const [head = ''] = (text.split('\n')[line - 1] ?? '').split('=');
  const key = printable(head.trim()).slice(0, 80);
  return refused('ERR_ARG_CONFLICT', place, `${key}: is defined before; keep one of the two`);
}

/** A part of a key in TOML notation. */
const keyWord = (word: string): string => {
  const shown = shownKey(word);
  return /^[A-Za-z0-9_-]+$/.test(shown) ? shown : `"${shown}"`;
};

/**
 * The settings of a TOML text.
 * @param file name of the file in errors
 * @returns null after an error of syntax
 */
export function layerOfToml(file: string, text: string, problems: Problems): Layer | null {
  let document: object;
  try {
    document = parse(text, { maxDepth: DEPTH_MAX });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    problems.add(() => syntaxError(file, text, error));
    return null;
  }
  const lineOf = keyLines(text);
  const place = (path: readonly string[]): string =>
    `${file}:${lineOf(path)}: ${path.map(keyWord).join('.')}`;
  const settingsOf = (table: object, path: readonly string[]): Map<string, Setting> =>
    new Map(
      Object.entries(table).map(([key, value]) => [key, { value, from: place([...path, key]) }]),
    );
  const settings = settingsOf(document, []);
  const found = settings.get('disks');
  settings.delete('disks');
  const disks = new Map<string, DiskLayer>();
  const wantTable = (from: string, value: unknown, form: string): value is object => {
    if (isTable(value)) return true;
    const why = `${shownValue(value)} is not a table: write ${form}`;
    problems.add(() => refused('ERR_ARG_VALUE', from, why));
    return false;
  };
  if (found === undefined || !wantTable(found.from, found.value, '[disks.NAME]'))
    return { settings, disks };
  const names = Object.entries(found.value);
  if (names.length === 0)
    problems.add(() =>
      refused('ERR_ARG_VALUE', found.from, 'contains no disk: describe one, or remove the table'),
    );
  for (const [name, table] of names as [string, unknown][]) {
    const path = ['disks', name];
    const from = place(path);
    if (wantTable(from, table, `[${path.map(keyWord).join('.')}]`))
      disks.set(name, { from, settings: settingsOf(table, path) });
  }
  return { settings, disks };
}

/** The settings of a file; null after an error. */
export function layerOfFile(path: string, problems: Problems): Layer | null {
  const text = problems.attempt(() => readText(path, '--config'));
  return text === null ? null : layerOfToml(path, text, problems);
}
