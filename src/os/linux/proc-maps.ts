/**
 * Parses /proc/self/maps. A WebAssembly memory appears as its pages, readable and writable, followed by its reserve without
 * access rights, which makes out-of-bounds accesses trap.
 *
 *   7f0000000000-7f0000010000 rw-p 00000000 00:00 0      the memory
 *   7f0000010000-7f0200000000 ---p 00000000 00:00 0      its reserve
 *
 * The kernel merges adjacent mappings with equal properties, so one line may cover several mappings.
 * Cost: reads the whole file, about 1 ms with a few hundred mappings. Not for hot paths.
 * Sources: proc_pid_maps(5).
 */
import { readFileSync } from 'node:fs';

export interface MappedRange {
  readonly start: number;
  /** The first byte after it. */
  readonly end: number;
  /** In the format of the kernel: `rw-p`, with `s` for shared. */
  readonly permissions: string;
  /** Offset in the file. */
  readonly position: number;
  /** 0 for anonymous memory. */
  readonly inode: number;
  /** A file, or a name such as `[heap]`; empty for anonymous memory. */
  readonly path: string;
}

/** All ranges that overlap [address, address + bytes), ascending. */
export function mappedRanges(
  address: number,
  bytes: number,
  text: string = readFileSync('/proc/self/maps', 'utf8'),
): MappedRange[] {
  const found: MappedRange[] = [];
  for (const line of text.split('\n')) {
    const range = parseMapsLine(line);
    if (range !== null && range.start < address + bytes && range.end > address) found.push(range);
  }
  return found;
}

/** Null for an invalid line. */
export function parseMapsLine(line: string): MappedRange | null {
  const [, start, end, permissions, position, inode, path] =
    /^([0-9a-f]+)-([0-9a-f]+) ([rwxps-]{4}) ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ (\d+) *(.*)$/.exec(
      line,
    ) ?? [];
  if (start === undefined || end === undefined || permissions === undefined) return null;
  return {
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    permissions,
    position: Number.parseInt(position ?? '0', 16),
    inode: Number(inode),
    path: path ?? '',
  };
}

/**
 * The size of the contiguous private anonymous mappings from `address` on. This is an upper bound of the size of a memory at
 * that address, including its reserve, because the kernel may have merged it with adjacent mappings.
 */
export function privateBytesFrom(
  address: number,
  text: string = readFileSync('/proc/self/maps', 'utf8'),
): number {
  let end = address;
  for (let at = lineOf(text, address); at < text.length; ) {
    const lineEnd = text.indexOf('\n', at);
    const range = parseMapsLine(text.slice(at, lineEnd === -1 ? text.length : lineEnd));
    at = lineEnd === -1 ? text.length : lineEnd + 1;
    if (range === null || range.end <= address) continue;
    if (range.start > end || range.inode !== 0 || !range.permissions.endsWith('p')) break;
    end = range.end;
  }
  return end - address;
}

/** Position of the line of the mapping that starts at the address; 0 if none does. */
function lineOf(text: string, address: number): number {
  return text.indexOf(`\n${address.toString(16).padStart(8, '0')}-`) + 1;
}
