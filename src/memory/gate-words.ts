/**
 * The position of the words of thread-gate.ts in the control block. The fault thread reads one of them but must not load that
 * file, because it uses Atomics.wait().
 */

/** Offset, bytes. */
export const GATE_AT = 3072;
export const GATE_WORDS = 256;
/** Index of the word that is 1 once the process is exiting. */
export const EXITING = 0;
