/**
 * What the kernel has of each page of a range: present, swapped, written since it was protected.
 *
 *   read()   8 bytes a page of /proc/self/pagemap, into a byte a page; every kernel, no privilege
 *   scan()   PAGEMAP_SCAN (6.7): runs of pages that match, and may protect them again in the same step; with
 *            UffdFeature.writeProtectAsync the way to know what was written without a fault
 *
 * Invariants: buffers are made once; a call allocates nothing but heap numbers.
 * Cost: `read` 512 pages a system call; `scan` one call a batch of runs, page tables walked in the kernel.
 * Sources: Documentation/admin-guide/mm/pagemap.rst, linux/fs.h (PAGEMAP_SCAN), proc_pid_pagemap(5).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** Bits of a byte of `read`. */
export const PageState = {
  absent: 0,
  present: 0x1,
  swapped: 0x2,
  /** Of a file, or shared anonymous memory. */
  file: 0x4,
  /** Protected by a userfaultfd (5.14). */
  writeProtected: 0x8,
} as const;

/** linux/fs.h: PAGE_IS_*; what a run of `scan` is. */
export const PageCategory = {
  /** In a range that is registered for asynchronous write protection. */
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
  /** Protect what is reported, in the same step. */
  protectMatching: 0x1,
  /** An error (EPERM) when a page of the range is not registered for it. */
  requireAsync: 0x2,
} as const;

export interface ScanWishes {
  /** A mask of ScanFlag. */
  readonly flags?: number;
  /** A page must have all of these. Masks of PageCategory. */
  readonly all?: number;
  /** And one of these. */
  readonly any?: number;
  /** And none of these. */
  readonly none?: number;
  /** What is told of a run; pages that differ in it are different runs. */
  readonly report?: number;
  /** Pages after which it stops; 0 for no limit. */
  readonly maxPages?: number;
}

/** Entries that one read takes. */
const READ_PAGES = 512;
const ENTRY_BYTES = 8;
/** struct page_region: start, end, categories. */
const RUN_BYTES = 24;
/** struct pm_scan_arg. */
const SCAN_BYTES = 96;
/** _IOWR('f', 16, struct pm_scan_arg). */
const PAGEMAP_SCAN = 0xc0606610;

/** The page map of this process. One object a thread. */
export class PageMap {
  /** Runs that one scan finds at most. */
  readonly maxRuns: number;
  readonly #linux: Linux;
  readonly #fd: number;
  readonly #entries = new Uint32Array(READ_PAGES * 2);
  readonly #argument: Struct;
  readonly #runs: Struct;
  #runCount = 0;
  #scannedTo = 0;

  constructor(linux: Linux, maxRuns: number = 256) {
    assert(maxRuns > 0, 'there is room for a run');
    this.#linux = linux;
    this.maxRuns = maxRuns;
    this.#argument = new Struct(linux, SCAN_BYTES);
    this.#runs = new Struct(linux, maxRuns * RUN_BYTES);
    this.#fd = openPageMap();
  }

  /**
   * The state of `pages` pages from `address` on, a byte each, into `out` from `at`: a mask of PageState. What is not
   * mapped is absent.
   * @returns how many are present
   */
  read(address: number, pages: number, out: Uint8Array, at: number = 0): number {
    assert(at >= 0 && at + pages <= out.length, 'there is a byte for every page');
    const first = Math.floor(address / this.#linux.pageBytes);
    let present = 0;
    for (let done = 0; done < pages; ) {
      const wanted = Math.min(pages - done, READ_PAGES);
      const position = (first + done) * ENTRY_BYTES;
      const got =
        readSync(this.#fd, this.#entries, 0, wanted * ENTRY_BYTES, position) / ENTRY_BYTES;
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

  /** Behind the end of the address space there are no entries. */
  #clear(out: Uint8Array, from: number, to: number): number {
    out.fill(PageState.absent, from, to);
    return 0;
  }

  /**
   * Runs of pages that match, at most `maxRuns`; they are there until the next call.
   * @returns how many; -1 on a kernel without PAGEMAP_SCAN. `scannedTo` says where to go on
   */
  scan(address: number, bytes: number, wishes: ScanWishes): number {
    const { flags = 0, all = 0, any = 0, none = 0, report = all | any, maxPages = 0 } = wishes;
    const argument = this.#argument;
    argument.set64(0, SCAN_BYTES);
    argument.set64(8, flags);
    argument.set64(16, address);
    argument.set64(24, address + bytes);
    argument.set64(32, 0);
    argument.set64(40, this.#runs.address);
    argument.set64(48, this.maxRuns);
    argument.set64(56, maxPages);
    argument.set64(64, none);
    argument.set64(72, all | none); // an inverted category matches when it is absent
    argument.set64(80, any);
    argument.set64(88, report);
    const found = this.#linux.ioctl(this.#fd, PAGEMAP_SCAN, argument.address);
    this.#runCount = Math.max(0, found);
    if (found < 0) {
      if (this.#linux.errno() === Errno.ENOTTY) return -1;
      this.#linux.fail('PAGEMAP_SCAN', { address, bytes });
    }
    this.#scannedTo = argument.get64(32);
    return found;
  }

  /** Where the last scan stopped: at the end of its range, or where its room or its limit of pages was used up. */
  get scannedTo(): number {
    return this.#scannedTo;
  }

  runStart(i: number): number {
    return this.#runs.get64(this.#at(i));
  }

  /** The first byte behind the run. */
  runEnd(i: number): number {
    return this.#runs.get64(this.#at(i) + 8);
  }

  /** A mask of PageCategory, of those that were to be reported. */
  runCategories(i: number): number {
    return this.#runs.get32(this.#at(i) + 16);
  }

  #at(i: number): number {
    assert(i >= 0 && i < this.#runCount, 'the run was found');
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
    const message = `/proc/self/pagemap cannot be opened: ${errno}`;
    throw new SwapError('ERR_IO_SYSTEM', message, { call: 'open', errno }, { cause });
  }
}
