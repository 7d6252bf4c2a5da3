/**
 * Finds the pages of a memory that hold data when the memory is adopted: present pages, and those in the system's swap.
 *
 *   PAGEMAP_SCAN (6.7)      the kernel walks the page table and returns runs of pages
 *   /proc/self/pagemap      8 bytes per page
 *   mincore(2)              a byte per page; used if the pagemap cannot be opened (the process has changed its user).
 *                           Does not report pages in the system's swap; the system keeps those
 *
 * Cost: proportional to the present pages (PAGEMAP_SCAN) or to the range; 10 us per MiB.
 */
import type { Mapping } from '../os/linux/mapping.ts';
import { PageCategory, PageMap, PageState, SCAN_UNSUPPORTED } from '../os/linux/pagemap.ts';
import type { Linux } from '../os/linux/system-call.ts';

/** Pages per read of the pagemap and per mincore(2). */
const BATCH_PAGES = 4096;

export class PresentPages {
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #map: PageMap | null;
  readonly #states = new Uint8Array(BATCH_PAGES);

  constructor(linux: Linux, mapping: Mapping) {
    this.#linux = linux;
    this.#mapping = mapping;
    this.#map = openPageMap(linux);
  }

  /**
   * Calls `found` with the number of each page of [address, address + bytes) that holds data; page 0 is at `address`.
   */
  find(address: number, bytes: number, found: (page: number) => void): void {
    if (this.#map !== null && this.#scan(this.#map, address, bytes, found)) return;
    const { pageBytes } = this.#linux;
    const pages = bytes / pageBytes;
    for (let first = 0; first < pages; first += BATCH_PAGES) {
      const count = Math.min(BATCH_PAGES, pages - first);
      const at = address + first * pageBytes;
      if (this.#map === null) this.#mapping.resident(at, count * pageBytes, this.#states);
      else this.#map.read(at, count, this.#states);
      for (let i = 0; i < count; i++)
        if ((this.#states[i]! & (PageState.present | PageState.swapped)) !== 0) found(first + i);
    }
  }

  close(): void {
    this.#map?.close();
  }

  /** False: this kernel has no PAGEMAP_SCAN. */
  #scan(map: PageMap, address: number, bytes: number, found: (page: number) => void): boolean {
    const { pageBytes } = this.#linux;
    const end = address + bytes;
    for (let at = address; at < end; at = map.scannedTo) {
      const runs = map.scan(at, end - at, { any: PageCategory.present | PageCategory.swapped });
      if (runs === SCAN_UNSUPPORTED) return false;
      for (let i = 0; i < runs; i++)
        for (let page = map.runStart(i); page < map.runEnd(i); page += pageBytes)
          found((page - address) / pageBytes);
    }
    return true;
  }
}

function openPageMap(linux: Linux): PageMap | null {
  try {
    return new PageMap(linux);
  } catch {
    return null;
  }
}
