/**
 * Units as types: a page number, a slot and a byte count never mix by accident.
 * Erased at run time; conversions are named functions.
 */
declare const unit: unique symbol;

/** A number that carries its unit in its type. */
type Unit<Name extends string> = number & { readonly [unit]: Name };

/** Index of a page in one disk, swap area or store; 0 .. 2^31 - 1, so V8 keeps it a small integer. */
export type Slot = Unit<'Slot'>;
/** A number of bytes, 0 .. 2^53 - 1. */
export type ByteCount = Unit<'ByteCount'>;
/** A number of pages, 0 .. 2^41 - 1. */
export type PageCount = Unit<'PageCount'>;

/** The page: 4096 bytes everywhere in this house, as on every kernel that swaps to us by default. */
export const PAGE_BYTES = 4096 as ByteCount;
export const PAGE_SHIFT = 12;

export const bytes = (n: number): ByteCount => n as ByteCount;
export const slot = (n: number): Slot => n as Slot;
export const pages = (n: number): PageCount => n as PageCount;

export const pagesToBytes = (n: PageCount): ByteCount => (n * PAGE_BYTES) as ByteCount;
/** Rounds up: the pages that hold `n` bytes. */
export const bytesToPages = (n: ByteCount): PageCount => Math.ceil(n / PAGE_BYTES) as PageCount;

/** Swap areas that can be on at once, numbered from 0 (kernel: MAX_SWAPFILES, include/linux/swap.h). */
export const SWAP_AREAS_MAX = 32;
