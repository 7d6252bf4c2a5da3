/** Tables in the style of util-linux: aligned for people, or raw for programs. */

export interface TableColumn {
  readonly name: string;
  readonly right: boolean;
}

export interface TableOptions {
  /** One space between cells, and \x20 for a space inside a cell, so that columns can be split. */
  readonly raw: boolean;
  readonly headings: boolean;
}

/** Replaces control characters, which could be terminal sequences or newlines. */
const shown = (cell: string): string => cell.replace(/\p{Cc}/gu, '?');

const rawCell = (cell: string): string =>
  cell === '' ? '-' : cell.replaceAll('\\', '\\x5c').replaceAll(' ', '\\x20');

/** Formats the lines of a table, each with a newline and without trailing spaces. */
export function formatTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  { raw, headings }: TableOptions,
): string {
  const cells = rows.map((row) => row.map(shown));
  const all = headings ? [columns.map(({ name }) => name), ...cells] : cells;
  if (raw) return all.map((row) => `${row.map(rawCell).join(' ')}\n`).join('');
  const widths = columns.map((_, at) => Math.max(0, ...all.map((row) => (row[at] ?? '').length)));
  const line = (row: readonly string[]): string =>
    columns
      .map(({ right }, at) => {
        const cell = row[at] ?? '';
        const width = widths[at] ?? 0;
        return right ? cell.padStart(width) : cell.padEnd(width);
      })
      .join(' ')
      .trimEnd();
  return all.map((row) => `${line(row)}\n`).join('');
}
