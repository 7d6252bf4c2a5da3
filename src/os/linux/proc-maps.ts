/**
 * Lines of /proc/self/maps: what is mapped where. A WebAssembly memory shows as its pages, readable and writable, and
 * behind them its reserve, without any right; both belong to it, and a touch of the reserve is V8's trap.
 *
 *   7f0000000000-7f0000010000 rw-p 00000000 00:00 0      the memory
 *   7f0000010000-7f0200000000 ---p 00000000 00:00 0      its reserve
 *
 * The kernel joins neighbours that are alike, so that a line may hold more than one mapping of ours.
 * Cost: the whole file is read, a millisecond or so in a process of a few hundred mappings. Not for hot paths.
 * Sources: proc_pid_maps(5).
 */
import { readFileSync } from 'node:fs';

export interface MappedRange {
  readonly start: number;
  /** The first byte behind it. */
  readonly end: number;
  /** As the kernel writes it: `rw-p`, with `s` for shared. */
  readonly permissions: string;
  /** Where in the file it starts. */
  readonly position: number;
  /** 0 for anonymous memory. */
  readonly inode: number;
  /** A file, `[heap]` and the like; empty for anonymous memory. */
  readonly path: string;
}

/** All lines that share a byte with `address` .. `address + bytes`, in order of address. */
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

/** Null for what is no line of a maps file. */
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
 * The mapped bytes without a gap from `address` on that are anonymous and private: what a memory at that address could
 * hold at most, its reserve included. The kernel may have joined it with what lies behind.
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

/** Where the line of the mapping that begins at the address is; 0, where none does: it is in one that begins before. */
function lineOf(text: string, address: number): number {
  return text.indexOf(`\n${address.toString(16).padStart(8, '0')}-`) + 1;
}
