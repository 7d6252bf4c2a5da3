/**
 * The state of pages in the kernel: present, swapped, written since they were write-protected.
 *
 *   read()   converts /proc/self/pagemap, 8 bytes per page, to a byte per page; on every kernel, without privilege
 *   scan()   PAGEMAP_SCAN (6.7): runs of matching pages, optionally write-protected again in the same step; with
 *            UffdFeature.writeProtectAsync it finds written pages without faults
 *
 * Invariants: buffers are allocated once; a call allocates only heap numbers.
 * Cost: `read` one system call per 512 pages; `scan` one call per batch of runs, plus the page table walk.
 * Sources: Documentation/admin-guide/mm/pagemap.rst, linux/fs.h (PAGEMAP_SCAN), proc_pid_pagemap(5).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** Bits of the bytes that `read` writes. */
export const PageState = {
  absent: 0,
  present: 0x1,
  swapped: 0x2,
  /** File-backed or shared anonymous memory. */
  file: 0x4,
  /** Write-protected by a userfaultfd (5.14). */
  writeProtected: 0x8,
} as const;

/** linux/fs.h: PAGE_IS_*, the categories of the pages of a run. */
export const PageCategory = {
  /** In a range registered for asynchronous write protection. */
  protectable: 0x01,
  written: 0x02,
  file: 0x04,
  present: 0x08,
  swapped: 0x10,
  zero: 0x20,
  huge: 0x40,
  softDirty: 0x80,
} as const;

/** linux/fs.h: PM_SCAN_*. */
export const ScanFlag = {
  report: 0,
  /** Write-protects the reported pages in the same step. */
  protectMatching: 0x1,
  /** Fails with EPERM if a page of the range is not registered for asynchronous write protection. */
  requireAsync: 0x2,
} as const;

export interface ScanOptions {
  /** A mask of ScanFlag. */
  readonly flags?: number;
  /** A page must have all of these categories. Masks of PageCategory. */
  readonly all?: number;
  /** A page must have at least one of these categories. */
  readonly any?: number;
  /** A page must have none of these categories. */
  readonly none?: number;
  /** The categories to report; pages that differ in them are in different runs. */
  readonly report?: number;
  /** Maximum number of pages; 0 for no limit. */
  readonly pagesMax?: number;
}

/** Entries per read. */
const READ_PAGES = 512;
const ENTRY_BYTES = 8;
/** struct page_region: start, end, categories. */
const RUN_BYTES = 24;
/** struct pm_scan_arg. */
const SCAN_BYTES = 96;
/** _IOWR('f', 16, struct pm_scan_arg). */
const PAGEMAP_SCAN = 0xc0606610;
/** Result of `scan` on a kernel without PAGEMAP_SCAN. */
export const SCAN_UNSUPPORTED = -1;

/** The page map of this process. Create one object per thread. */
export class PageMap {
  /** Maximum number of runs per scan. */
  readonly runsMax: number;
  readonly #linux: Linux;
  readonly #fd: number;
  readonly #entries = new Uint32Array(READ_PAGES * 2);
  readonly #argument: Struct;
  readonly #runs: Struct;
  #runCount = 0;
  #scannedTo = 0;

  constructor(linux: Linux, runsMax: number = 256) {
    assert(runsMax > 0, 'runsMax > 0');
    this.#linux = linux;
    this.runsMax = runsMax;
    this.#argument = new Struct(linux, SCAN_BYTES);
    this.#runs = new Struct(linux, runsMax * RUN_BYTES);
    this.#fd = openPageMap();
  }

  /**
   * Writes the state of `pages` pages from `address` on to `out` from `at` on, a byte each: a mask of PageState.
   * Unmapped pages are absent.
   * @returns the number of present pages
   */
  read(address: number, pages: number, out: Uint8Array, at: number = 0): number {
    assert(at >= 0 && at + pages <= out.length, 'out has a byte per page');
    const first = Math.floor(address / this.#linux.pageBytes);
    let present = 0;
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, READ_PAGES);
      const position = (first + done) * ENTRY_BYTES;
      const got = readSync(this.#fd, this.#entries, 0, count * ENTRY_BYTES, position) / ENTRY_BYTES;
      if (got < 1) return present + this.#clear(out, at + done, at + pages);
      for (let i = 0; i < got; i++) {
        const state = stateOf(this.#entries[2 * i + 1]!);
        out[at + done + i] = state;
        present += state & PageState.present;
      }
      done += got;
    }
    return present;
  }

  /** For pages past the end of the address space: these have no entries. */
  #clear(out: Uint8Array, from: number, to: number): number {
    out.fill(PageState.absent, from, to);
    return 0;
  }

  /**
   * Finds up to `runsMax` runs of matching pages, valid until the next call; continue at `scannedTo`.
   * @returns the number of runs; SCAN_UNSUPPORTED on a kernel without PAGEMAP_SCAN
   */
  scan(address: number, bytes: number, options: ScanOptions): number {
    const { flags = 0, all = 0, any = 0, none = 0, report = all | any, pagesMax = 0 } = options;
    const argument = this.#argument;
    argument.set64(0, SCAN_BYTES);
    argument.set64(8, flags);
    argument.set64(16, address);
    argument.set64(24, address + bytes);
    argument.set64(32, 0);
    argument.set64(40, this.#runs.address);
    argument.set64(48, this.runsMax);
    argument.set64(56, pagesMax);
    argument.set64(64, none);
    argument.set64(72, all | none); // an inverted category matches when it is absent
    argument.set64(80, any);
    argument.set64(88, report);
    const found = this.#linux.ioctl(this.#fd, PAGEMAP_SCAN, argument.address);
    this.#runCount = Math.max(0, found);
    if (found < 0) {
      if (this.#linux.errno() === Errno.ENOTTY) return SCAN_UNSUPPORTED;
      this.#linux.fail('PAGEMAP_SCAN', { address, bytes });
    }
    this.#scannedTo = argument.get64(32);
    return found;
  }

  /** Where the last scan stopped: the end of its range, or where runsMax or pagesMax was reached. */
  get scannedTo(): number {
    return this.#scannedTo;
  }

  runStart(i: number): number {
    return this.#runs.get64(this.#at(i));
  }

  /** The first byte after the run. */
  runEnd(i: number): number {
    return this.#runs.get64(this.#at(i) + 8);
  }

  /** The reported categories, a mask of PageCategory. */
  runCategories(i: number): number {
    return this.#runs.get32(this.#at(i) + 16);
  }

  #at(i: number): number {
    assert(i >= 0 && i < this.#runCount, 'i < runs of the last scan');
    return i * RUN_BYTES;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** @param high the upper 32 bits of an entry: 63 present, 62 swapped, 61 file, 57 write-protected */
function stateOf(high: number): number {
  return (
    (high >>> 31) |
    (((high >>> 30) & 1) * PageState.swapped) |
    (((high >>> 29) & 1) * PageState.file) |
    (((high >>> 25) & 1) * PageState.writeProtected)
  );
}

function openPageMap(): number {
  try {
    return openSync('/proc/self/pagemap', 'r');
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    const message = `cannot open /proc/self/pagemap: ${errno}`;
    throw new SwapError('ERR_IO_SYSTEM', message, { call: 'open', errno }, { cause });
  }
}
