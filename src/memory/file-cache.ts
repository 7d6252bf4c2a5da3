/**
 * A read cache for files, with a byte limit: it keeps the pages that were read compressed in the page store and serves them
 * from there until the file changes. It is for files that are read repeatedly and compress well, in a container with a small
 * page cache or on a slow filesystem.
 *
 *   read(path, offset, length)
 *     open, fstat ──▶ (device, inode); size, mtime or ctime changed? its pages are dropped
 *     page by page: in the store? decompress : read up to 32 missing pages in one call, store them
 *     anything read from the file? fstat again: if it has changed, nothing is kept
 *
 * Invariants
 * - A page is served only while its file, identified by device and inode, has the same size, mtime and ctime as when the page
 *   was read. A file changed less than 100 ms ago bypasses the cache: a second change in the same tick of the file clock would
 *   not change its times.
 * - Pages and tables together stay below limitBytes; the oldest pages are evicted first. (Not counted: an object
 *   of some 300 bytes per file with pages.)
 * - A page that fails its checksum counts as a miss and is read from the file.
 *
 * Cost: open, fstat and close per call; 1 to 2 us per page from the store. Synchronous, as fs.readSync.
 * Not supported: files changed through shared mappings (their times change only at writeback), and filesystems with times that
 * cannot be trusted (some network filesystems). Call invalidate() there, or do not use the cache.
 */
import {
  type BigIntStats,
  closeSync,
  fstatSync,
  openSync,
  type PathLike,
  readSync,
  statSync,
} from 'node:fs';
import { Budget } from '../arena/budget.ts';
import type { PageReleaseFactory } from '../arena/ops.ts';
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { checkInteger, checkOptions } from '../base/options.ts';
import { PAGE_BYTES, slot as slotOf } from '../base/units.ts';
import { lz4 } from '../codec/lz4.ts';
import { systemPageRelease } from '../os/linux/page-release.ts';
import { GetResult, PutResult } from '../store/results.ts';
import { Store } from '../store/store.ts';
import { FilePages } from './file-pages.ts';

/** Range of limitBytes. */
const LIMIT_BYTES_MIN = 2 ** 20;
const LIMIT_BYTES_MAX = 2 ** 40;
/** Rows per page of the limit: files that compress better than this do not use the full limit. */
const ROWS_A_PAGE = 4;
/** Maximum number of missing pages read from the file in one call. */
const RUN_PAGES = 32;
/** File times tick every 10 ms at most: a file last changed longer ago than this gets new times when it changes. */
const STABLE_MS = 100;
/** Pages evicted per round when the store has no space, and maximum rounds for one page. */
const EVICT_PAGES = 8;
const EVICT_ROUNDS = 16;
const MAINTAIN_PAGES = 64;
/** Size of one read that bypasses the cache, bytes. */
const PLAIN_READ_BYTES = 2 ** 20;
const INDEX_END = 2 ** 32;

/** Options of a `FileCache`. */
export interface FileCacheOptions {
  /** Limit of the cached pages and their tables, bytes: 1 MiB .. 1 TiB. */
  readonly limitBytes: number;
  /** Releases freed memory to the system; default: that of the platform. */
  readonly release?: PageReleaseFactory;
  /** Milliseconds since 1970 by the clock of file times; default Date.now. */
  readonly clock?: () => number;
}

/** Statistics of a `FileCache`. Pages have 4096 bytes; all but the first four count since the cache was created. */
export interface FileCacheStats {
  readonly limitBytes: number;
  /** Bytes of RAM in use, tables included. */
  readonly usedBytes: number;
  readonly files: number;
  readonly pages: number;
  /** Pages served from the cache, and pages read from files because they were not cached. */
  readonly hits: number;
  readonly misses: number;
  /** Pages evicted to free space. */
  readonly evictions: number;
  /** Pages dropped because their file had changed, or on demand. */
  readonly invalidated: number;
  /** Pages that were not stored because there was no space. */
  readonly refused: number;
  /** Reads that bypassed the cache: the file was empty, had just changed, or was not a regular file. */
  readonly plainReads: number;
  /** Pages that failed their checksum; must stay 0. */
  readonly damaged: number;
}

/** Attributes that change when a file's content does. */
export interface FileVersion {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/** A file that has pages in the cache or is being read. */
interface CachedFile {
  /** Its number in FilePages. */
  readonly number: number;
  readonly key: string;
  /** The version of the file that the stored pages belong to. */
  version: FileVersion;
}

const keyOf = (stat: BigIntStats): string => `${stat.dev}:${stat.ino}`;

const versionOf = ({ size, mtimeNs, ctimeNs }: BigIntStats): FileVersion => ({
  size,
  mtimeNs,
  ctimeNs,
});

export const isSameVersion = (a: FileVersion, b: FileVersion): boolean =>
  a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;

/** Reads until it has `length` bytes or the file ends; returns how many. */
function readFully(fd: number, into: Uint8Array, length: number, position: number): number {
  let got = 0;
  while (got < length) {
    const n = readSync(fd, into, got, length - got, position + got);
    if (n === 0) break;
    got += n;
  }
  return got;
}

/** Reads [offset, offset + length) up to the end of the file, and ignores the size that the file reports. */
function readPlain(fd: number, offset: number, length: number): Buffer {
  const parts: Buffer[] = [];
  for (let done = 0; done < length; ) {
    const part = Buffer.allocUnsafe(Math.min(length - done, PLAIN_READ_BYTES));
    const got = readFully(fd, part, part.length, offset + done);
    parts.push(part.subarray(0, got));
    done += got;
    if (got < part.length) break;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** A read cache for files: keeps their pages compressed in RAM, and drops the pages of a file when it has changed. */
export class FileCache implements Disposable {
  readonly #budget: Budget;
  readonly #store: Store;
  readonly #pages: FilePages;
  readonly #tableBytes: number;
  readonly #clock: () => number;
  readonly #run = new Uint8Array(RUN_PAGES * PAGE_BYTES);
  readonly #page = new Uint8Array(PAGE_BYTES);
  readonly #files: Map<string, CachedFile> = new Map();
  /** By number of a file. */
  readonly #fileAt: (CachedFile | null)[] = [null];
  readonly #freeNumbers: number[] = [];
  /** The file being read: its entry is kept even if it has no pages. */
  #reading: CachedFile | null = null;
  #isOpen = true;
  #changed = 0;
  #hits = 0;
  #misses = 0;
  #evictions = 0;
  #invalidated = 0;
  #refused = 0;
  #plainReads = 0;
  #damaged = 0;

  constructor(options: FileCacheOptions) {
    checkOptions(options, 'new FileCache(options)', ['limitBytes', 'release', 'clock']);
    const { limitBytes, release = systemPageRelease(process.platform), clock = Date.now } = options;
    const range = { min: LIMIT_BYTES_MIN, max: LIMIT_BYTES_MAX };
    checkInteger('new FileCache(options)', 'limitBytes', limitBytes, range);
    const rows = Math.floor(limitBytes / PAGE_BYTES) * ROWS_A_PAGE;
    this.#clock = clock;
    this.#budget = new Budget(limitBytes);
    this.#tableBytes = FilePages.tableBytes(rows) + this.#run.length + this.#page.length;
    assert(this.#budget.reserve(this.#tableBytes), 'the tables fit into the smallest limit');
    this.#pages = new FilePages(rows);
    // A page's slot is its row; slot 0 stays empty, like row 0.
    this.#store = new Store({
      slots: rows + 1,
      budget: this.#budget,
      codec: lz4,
      release,
    });
  }

  /**
   * Returns the bytes [offset, offset + length) of a file, or fewer if the file ends before, like fs.readSync.
   * @throws the system's error if the file cannot be opened or read; SwapError ERR_ARG_VALUE: invalid offset or length;
   * ERR_IO_ENDED: the cache has been disposed of
   */
  read(path: PathLike, offset: number, length: number): Buffer {
    checkInteger('read()', 'offset', offset, { min: 0 });
    checkInteger('read()', 'length', length, { min: 0 });
    this.#checkOpen();
    const fd = openSync(path, 'r');
    try {
      const stat = fstatSync(fd, { bigint: true });
      const isCacheable =
        stat.isFile() && stat.size > 0n && stat.size <= BigInt(INDEX_END) * BigInt(PAGE_BYTES);
      if (isCacheable && this.#isStable(stat)) return this.#readCached(fd, stat, offset, length);
      if (stat.isFile()) this.#dropFile(stat);
      this.#plainReads++;
      return readPlain(fd, offset, length);
    } finally {
      closeSync(fd);
    }
  }

  /** Drops the pages of the file that is now at `path`; returns how many. 0 if there is no such file. */
  invalidate(path: PathLike): number {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? 0 : this.#dropFile(stat);
  }

  stats(): FileCacheStats {
    return {
      limitBytes: this.#budget.limitBytes,
      usedBytes: this.#tableBytes + this.#store.usedBytes,
      files: this.#files.size,
      pages: this.#pages.count,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
      invalidated: this.#invalidated,
      refused: this.#refused,
      plainReads: this.#plainReads,
      damaged: this.#damaged,
    };
  }

  /** Drops all pages and releases the memory. Later reads throw an error. */
  [Symbol.dispose](): void {
    for (const file of this.#files.values()) this.#drop(file);
    this.#store.releaseAll();
    this.#isOpen = false;
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  /** Checks every invariant; throws InvariantError. Cost: all rows. */
  verify(): void {
    this.#pages.verify();
    this.#store.verify();
    assert(this.#store.storedPages === this.#pages.count, 'storedPages = rows in use');
    for (const file of this.#files.values()) {
      assert(this.#fileAt[file.number] === file, 'the file is at its number');
      assert(this.#pages.firstOf(file.number) !== 0, 'the file has pages');
    }
    const numbers = this.#fileAt.length - 1 - this.#freeNumbers.length;
    assert(numbers === this.#files.size, 'numbers = files + free numbers');
  }

  #checkOpen(): void {
    if (this.#isOpen) return;
    throw new SwapError('ERR_IO_ENDED', 'the file cache has been disposed of', {
      reason: 'disposed',
    });
  }

  #isStable(stat: BigIntStats): boolean {
    return this.#clock() - Number(stat.ctimeNs / 1_000_000n) >= STABLE_MS;
  }

  #readCached(fd: number, stat: BigIntStats, offset: number, length: number): Buffer {
    const size = Number(stat.size);
    const out = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
    if (out.length === 0) return out;
    const file = this.#fileOf(stat);
    this.#reading = file;
    const missesBefore = this.#misses;
    let filled = 0;
    let isKept = false;
    try {
      filled = this.#fill(fd, file, offset, out);
      isKept =
        this.#misses === missesBefore ||
        isSameVersion(file.version, fstatSync(fd, { bigint: true }));
    } finally {
      // The file changed or the read failed: the cache may contain pages of two versions.
      if (!isKept) this.#invalidated += this.#drop(file);
      this.#reading = null;
      this.#removeIfEmpty(file);
    }
    this.#maintain();
    return filled === out.length ? out : out.subarray(0, filled);
  }

  /** Fills `out` with bytes of the file from `offset` on. Returns how many there were. */
  #fill(fd: number, file: CachedFile, offset: number, out: Buffer): number {
    const end = Math.ceil((offset + out.length) / PAGE_BYTES);
    for (let index = Math.floor(offset / PAGE_BYTES); index < end; ) {
      if (this.#copyStored(file, index, offset, out)) {
        index++;
        continue;
      }
      let pages = 1;
      while (
        pages < RUN_PAGES &&
        index + pages < end &&
        this.#pages.peek(file.number, index + pages) === 0
      )
        pages++;
      const start = index * PAGE_BYTES;
      const bytes = Math.min(pages * PAGE_BYTES, Number(file.version.size) - start);
      this.#misses += pages;
      const got = readFully(fd, this.#run, bytes, start);
      const from = Math.max(0, offset - start);
      const to = Math.min(got, offset + out.length - start);
      if (to > from) out.set(this.#run.subarray(from, to), start + from - offset);
      if (got < bytes) return Math.max(0, start + got - offset); // the file shrank, or reports more bytes than it has
      this.#run.fill(0, got, pages * PAGE_BYTES);
      for (let i = 0; i < pages; i++) this.#storePage(file, index + i, i * PAGE_BYTES);
      index += pages;
    }
    return out.length;
  }

  /** Copies the part of a page that `out` needs from the store; false if the page is not stored. */
  #copyStored(file: CachedFile, index: number, offset: number, out: Buffer): boolean {
    const row = this.#pages.find(file.number, index);
    if (row === 0) return false;
    const to = index * PAGE_BYTES - offset;
    const isWhole = to >= 0 && to + PAGE_BYTES <= out.length;
    const got = this.#store.get(slotOf(row), isWhole ? out : this.#page, isWhole ? to : 0);
    if (got !== GetResult.found) {
      this.#damaged++;
      this.#remove(row);
      return false;
    }
    this.#hits++;
    if (!isWhole) {
      const from = Math.max(0, -to);
      out.set(this.#page.subarray(from, Math.min(PAGE_BYTES, out.length - to)), to + from);
    }
    return true;
  }

  /** Stores the page at #run[at ..], evicting others if there is no space. */
  #storePage(file: CachedFile, index: number, at: number): void {
    if (this.#pages.count === this.#pages.rows) this.#evict(1, 0);
    const row = this.#pages.add(file.number, index);
    assert(row !== 0, 'a row is free');
    this.#changed++;
    for (let round = 0; round <= EVICT_ROUNDS; round++) {
      if (this.#store.put(slotOf(row), this.#run, at) !== PutResult.refused) return;
      if (!this.#evict(EVICT_PAGES, row)) break;
    }
    this.#refused++;
    this.#pages.remove(row);
  }

  /** Evicts up to `pages` pages, but never the page in row `except`; false if there were none. */
  #evict(pages: number, except: number): boolean {
    for (let i = 0; i < pages; i++) {
      const row = this.#pages.victim(except);
      if (row === 0) return i > 0;
      const file = this.#fileAt[this.#pages.fileOf(row)]!;
      this.#remove(row);
      this.#evictions++;
      this.#removeIfEmpty(file);
    }
    return true;
  }

  #remove(row: number): void {
    this.#store.drop(slotOf(row));
    this.#pages.remove(row);
    this.#changed++;
  }

  /** The file's current entry: created if missing, emptied if the file has changed. */
  #fileOf(stat: BigIntStats): CachedFile {
    const key = keyOf(stat);
    let file = this.#files.get(key);
    if (file === undefined) {
      const number = this.#freeNumbers.pop() ?? this.#fileAt.length;
      file = { number, key, version: versionOf(stat) };
      this.#fileAt[number] = file;
      this.#files.set(key, file);
    } else if (!isSameVersion(file.version, stat)) {
      this.#reading = file;
      this.#invalidated += this.#drop(file);
      file.version = versionOf(stat);
    }
    return file;
  }

  /** Drops the pages of the file of `stat` and counts them as invalidated; returns how many. */
  #dropFile(stat: BigIntStats): number {
    const file = this.#files.get(keyOf(stat));
    if (file === undefined) return 0;
    const dropped = this.#drop(file);
    this.#invalidated += dropped;
    this.#maintain();
    return dropped;
  }

  #drop(file: CachedFile): number {
    let dropped = 0;
    for (let row = this.#pages.firstOf(file.number); row !== 0; dropped++) {
      this.#remove(row);
      row = this.#pages.firstOf(file.number);
    }
    this.#removeIfEmpty(file);
    return dropped;
  }

  /** Forgets a file that has no pages and is not being read. */
  #removeIfEmpty(file: CachedFile): void {
    if (file === this.#reading || this.#pages.firstOf(file.number) !== 0) return;
    if (!this.#files.delete(file.key)) return;
    this.#fileAt[file.number] = null;
    this.#freeNumbers.push(file.number);
  }

  #maintain(): void {
    if (this.#changed < MAINTAIN_PAGES) return;
    this.#store.maintain(this.#changed);
    this.#changed = 0;
  }
}
