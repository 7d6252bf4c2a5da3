/** The status line: the last line of a terminal, rewritten in place. Other lines are printed above it. */

import { formatSize } from '../base/size.ts';
import type { HostTotals } from '../host/totals.ts';
import { formatRatio } from './columns.ts';
import type { Output } from './world.ts';

const eraseLine = '\r\x1b[K';

export class StatusLine {
  readonly #output: Output;
  #text = '';

  constructor(output: Output) {
    this.#output = output;
  }

  /** Replaces the line. It is cut to the width of the terminal, because a line that wraps cannot be rewritten. */
  show(text: string): void {
    this.#text = text.slice(0, Math.max(0, this.#output.columns - 1));
    this.#output.write(eraseLine + this.#text);
  }

  /** Prints a line above the status line. */
  print(line: string): void {
    this.#output.write(this.#text === '' ? `${line}\n` : `${eraseLine}${line}\n${this.#text}`);
  }

  /** Removes the status line. */
  erase(): void {
    if (this.#text !== '') this.#output.write(eraseLine);
    this.#text = '';
  }
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

/** The pages and connections of a disk. */
export interface DiskUse {
  readonly name: string;
  readonly dataBytes: number;
  readonly connections: number;
}

/** Formats disks with their pages and connections: `vm1 (1.2G of pages, 2 connections), vm2 (...)`. */
export const formatDiskUses = (disks: readonly DiskUse[]): string =>
  disks
    .map(({ name, dataBytes, connections }) => {
      const clients = connections === 0 ? '' : `, ${plural(connections, 'connection')}`;
      return `${name} (${formatSize(dataBytes)} of pages${clients})`;
    })
    .join(', ');

/** @param requestsPerSecond rate since the last update */
export function formatStatus(totals: HostTotals, requestsPerSecond: number): string {
  const { diskCount, dataBytes, compressedBytes, usedBytes, connections } = totals;
  return [
    plural(diskCount, 'disk'),
    `stored ${formatSize(dataBytes)}`,
    `compressed ${formatSize(compressedBytes)}`,
    `used ${formatSize(usedBytes)}`,
    `ratio ${formatRatio(dataBytes, usedBytes)}`,
    plural(connections, 'connection'),
    `${Math.round(requestsPerSecond)} ops/s`,
  ].join('  ');
}
