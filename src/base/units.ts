/**
 * Units as types: the compiler keeps slots, byte counts and page counts apart.
 * They are erased at run time; conversions are named functions.
 */
declare const unit: unique symbol;

/** A number whose type carries its unit. */
type Unit<Name extends string> = number & { readonly [unit]: Name };

/** Index of a page in a disk, swap area or store; 0 .. 2^31 - 1, so that V8 keeps it as a small integer. */
export type Slot = Unit<'Slot'>;
/** A number of bytes, 0 .. 2^53 - 1. */
export type ByteCount = Unit<'ByteCount'>;
/** A number of pages, 0 .. 2^41 - 1. */
export type PageCount = Unit<'PageCount'>;

/** Page size, bytes: the same in every part, and the default page size of x86-64 and arm64 kernels. */
export const PAGE_BYTES = 4096 as ByteCount;
export const PAGE_SHIFT = 12;

/** Marks a number as a byte count. Not checked. */
export const bytes = (n: number): ByteCount => n as ByteCount;
/** Marks a number as a slot, 0 .. 2^31 - 1. Not checked. */
export const slot = (n: number): Slot => n as Slot;
/** Marks a number as a page count. Not checked. */
export const pages = (n: number): PageCount => n as PageCount;

export const pagesToBytes = (n: PageCount): ByteCount => (n * PAGE_BYTES) as ByteCount;
/** Number of pages that hold `n` bytes, rounded up. */
export const bytesToPages = (n: ByteCount): PageCount => Math.ceil(n / PAGE_BYTES) as PageCount;

/** Maximum number of active swap areas, numbered from 0 (kernel: MAX_SWAPFILES, include/linux/swap.h). */
export const SWAP_AREAS_MAX = 32;
