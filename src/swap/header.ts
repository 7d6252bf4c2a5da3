/**
 * The header of a swap area, as mkswap writes it and the kernel reads it: the first page of the disk.
 *
 *   byte 0      1024        1028         1032          1036    1052     1068   1536        4086
 *   ┌──────────┬───────────┬────────────┬─────────────┬───────┬────────┬──────┬───────────┬────────────┐
 *   │boot bytes│version = 1│last_page   │nr_badpages  │uuid 16│label 16│ 0 .. │badpages[] │SWAPSPACE2  │
 *   └──────────┴───────────┴────────────┴─────────────┴───────┴────────┴──────┴───────────┴────────────┘
 *
 * Numbers are u32 in the byte order of the machine that ran mkswap; the version field reveals the order. The kernel
 * and readHeader() accept both. The slots of the area are pages 1 .. last_page; the page has space for 637 bad pages.
 *
 * The header is not trusted: every field is checked before it is used, and an error names the field.
 *
 * Sources: Linux include/linux/swap.h (union swap_header), mm/swapfile.c read_swap_header(); mkswap(8).
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { SWAP_SLOTS_MAX } from './entry.ts';

/** The contents of a swap area's header page. */
export interface SwapHeader {
  /** Highest slot, 9 .. 2^26 - 1. The area has lastPage + 1 pages, including the header. */
  readonly lastPage: number;
  /** Ascending, without duplicates. */
  readonly badPages: readonly number[];
  /** Format: `01234567-89ab-cdef-0123-456789abcdef`. */
  readonly uuid: string;
  /** 0 .. 16 bytes of UTF-8. */
  readonly label: string;
}

const At = { version: 1024, lastPage: 1028, badCount: 1032, uuid: 1036, label: 1052, bad: 1536 };
const SIGNATURE = 'SWAPSPACE2';
const SIGNATURE_AT: number = PAGE_BYTES - SIGNATURE.length;
const LABEL_BYTES = 16;
/** The minimum area size that mkswap accepts, including the header. */
const AREA_PAGES_MIN = 10;
export const BAD_PAGES_MAX: number = Math.floor((SIGNATURE_AT - At.bad) / 4);

const refuse = (reason: string, what: string, facts: SwapError['facts'] = {}): SwapError =>
  new SwapError('ERR_IO_SWAP_HEADER', `swap header: ${what}`, { reason, ...facts });

/**
 * @param page the first page of the disk; pass more than 4096 bytes to recognise an area made for larger pages
 * @param diskPages size of the disk in pages, rounded down
 * @throws SwapError ERR_IO_SWAP_HEADER; facts.reason: short, pageSize, old, foreign, version, empty, tooLarge, beyondDisk, badCount, badPage
 */
export function readHeader(page: Uint8Array, diskPages: number): SwapHeader {
  if (page.length < PAGE_BYTES)
    throw refuse('short', `only ${page.length} of 4096 bytes could be read; the disk is truncated`);
  checkSignature(page);
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const littleEndian = view.getUint32(At.version, true) === 1;
  const u32 = (at: number): number => view.getUint32(at, littleEndian);
  const version = u32(At.version);
  if (version !== 1)
    throw refuse('version', `unsupported version ${version}, expected 1; run mkswap again`, {
      version,
    });
  const lastPage = u32(At.lastPage);
  if (lastPage < AREA_PAGES_MIN - 1)
    throw refuse('empty', `last page ${lastPage} is too low: an area has at least 10 pages`, {
      lastPage,
    });
  if (lastPage >= diskPages)
    throw refuse(
      'beyondDisk',
      `last page ${lastPage} is beyond the end of the disk (${diskPages} pages); the disk has shrunk or is truncated`,
      { lastPage, diskPages },
    );
  if (lastPage >= SWAP_SLOTS_MAX)
    throw refuse('tooLarge', `last page ${lastPage} is above the maximum, ${SWAP_SLOTS_MAX - 1}`, {
      lastPage,
    });
  const badPages = readBadPages(u32, lastPage);
  const uuid = uuidText(page.subarray(At.uuid, At.uuid + 16));
  return { lastPage, badPages, uuid, label: labelText(page) };
}

/** Writes a header to page[0 .. 4096). Leaves bytes 0 .. 1023 unchanged, as mkswap does, for a boot loader. */
export function writeHeader(header: SwapHeader, page: Uint8Array): void {
  const { lastPage, badPages, uuid } = header;
  const label = new TextEncoder().encode(header.label);
  const hex = uuid.replaceAll('-', '');
  if (!(lastPage >= AREA_PAGES_MIN - 1 && lastPage < SWAP_SLOTS_MAX))
    throw new SwapError(
      'ERR_ARG_AREA',
      `a swap area of ${lastPage + 1} pages is out of range; use 10 to ${SWAP_SLOTS_MAX} pages`,
    );
  if (!/^[0-9a-f]{32}$/i.test(hex))
    throw new SwapError('ERR_ARG_VALUE', `uuid '${uuid}' is not valid; use 32 hexadecimal digits`);
  if (label.length > LABEL_BYTES)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `label '${header.label}' is too long; use at most 16 bytes`,
    );
  if (badPages.length > BAD_PAGES_MAX)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${badPages.length} bad pages are too many; the header has space for ${BAD_PAGES_MAX}`,
    );
  for (const bad of badPages)
    if (!Number.isInteger(bad) || bad < 1 || bad > lastPage)
      throw new SwapError('ERR_ARG_VALUE', `bad page ${bad} is out of range; use 1 .. ${lastPage}`);
  const view = new DataView(page.buffer, page.byteOffset, PAGE_BYTES);
  page.fill(0, At.version, PAGE_BYTES);
  view.setUint32(At.version, 1, true);
  view.setUint32(At.lastPage, lastPage, true);
  view.setUint32(At.badCount, badPages.length, true);
  for (let i = 0; i < 16; i++) page[At.uuid + i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  page.set(label, At.label);
  for (const [i, bad] of badPages.entries()) view.setUint32(At.bad + 4 * i, bad, true);
  page.set(new TextEncoder().encode(SIGNATURE), SIGNATURE_AT);
}

function checkSignature(page: Uint8Array): void {
  if (signatureAt(page, PAGE_BYTES) === SIGNATURE) return;
  if (signatureAt(page, PAGE_BYTES) === 'SWAP-SPACE')
    throw refuse('old', 'the area has the format of Linux before 2.2; run mkswap again');
  for (let size = 2 * PAGE_BYTES; size <= Math.min(page.length, 65536); size *= 2)
    if (signatureAt(page, size) === SIGNATURE)
      throw refuse('pageSize', `the area was made for pages of ${size} bytes, expected 4096`, {
        pageBytes: size,
      });
  throw refuse(
    'foreign',
    'no SWAPSPACE2 signature at the end of the first page; check that this is the right disk',
  );
}

function signatureAt(page: Uint8Array, pageBytes: number): string {
  return String.fromCharCode(...page.subarray(pageBytes - SIGNATURE.length, pageBytes));
}

function readBadPages(u32: (at: number) => number, lastPage: number): number[] {
  const count = u32(At.badCount);
  if (count > BAD_PAGES_MAX)
    throw refuse(
      'badCount',
      `${count} bad pages are more than the header has space for (${BAD_PAGES_MAX})`,
      {
        count,
      },
    );
  const bad = new Set<number>();
  for (let i = 0; i < count; i++) {
    const page = u32(At.bad + 4 * i);
    if (page < 1 || page > lastPage)
      throw refuse('badPage', `bad page ${page} is out of range 1 .. ${lastPage}`, { page });
    bad.add(page);
  }
  return [...bad].sort((a, b) => a - b);
}

function uuidText(raw: Uint8Array): string {
  const hex = Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function labelText(page: Uint8Array): string {
  const raw = page.subarray(At.label, At.label + LABEL_BYTES);
  const end = raw.indexOf(0);
  return new TextDecoder().decode(end === -1 ? raw : raw.subarray(0, end));
}
