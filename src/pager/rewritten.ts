/** Whether stored copies of clean pages pay: see Region.rewritten. */

/** `rewritten` from which a region keeps no copies, and the value that the next measurement starts from. */
export const REWRITTEN_MAX = 128;
export const REWRITTEN_RETRY = 112;
