/**
 * Parses the placeholder of an option (`PATH`, `qemu|libvirt`) into its kind of value; shared by all completion
 * scripts.
 */
import type { Command, OptionSpec } from './command.ts';

export type ValueKind =
  | { readonly kind: 'none' | 'any' | 'file' | 'columns' }
  | { readonly kind: 'words'; readonly words: readonly string[] };

export function valueKind({ value, isValueOptional }: OptionSpec): ValueKind {
  if (value === undefined || isValueOptional === true) return { kind: 'none' };
  if (value === 'COLUMNS') return { kind: 'columns' };
  if (['PATH', 'FILE', 'PATH:SIZE'].includes(value)) return { kind: 'file' };
  const isChoice = value.includes('|') && value === value.toLowerCase();
  return isChoice ? { kind: 'words', words: value.split('|') } : { kind: 'any' };
}

/** The value as help prints it after the option: ` PATH`, `[=INTERVAL]`. */
export const valueText = ({ value, isValueOptional }: OptionSpec): string =>
  value === undefined ? '' : isValueOptional === true ? `[=${value}]` : ` ${value}`;

/** `-U` and `--unix`. */
export const spellings = ({ name, short }: OptionSpec): readonly string[] =>
  short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`];

/** The words of the command's table: the columns of `list`. */
export const tableWords = ({ table }: Command): readonly string[] =>
  table === undefined ? [] : table.rows.map(([word]) => word.replace('*', ''));

/** The first part of an option's help. */
export const brief = (help: string): string => help.split(/[;(]/)[0]?.trim() ?? '';
