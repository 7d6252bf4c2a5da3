/** Whether stored copies of clean pages are worth their cost: see Region.rewritten. */

/** Value of `rewritten` from which a region keeps no copies, and the initial value of the next measurement. */
export const REWRITTEN_MAX = 128;
export const REWRITTEN_RETRY = 112;
