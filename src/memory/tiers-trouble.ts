/** Why more is in memory than the budget says. A mask. */
export const Trouble = {
  /** Compressed RAM and the files are full. */
  full: 1,
  /** Pages do not compress, and no file takes them. */
  poor: 2,
} as const;
