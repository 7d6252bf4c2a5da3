/**
 * Time, as an argument: the host passes its monotonic clock, a test or a simulator one that it turns itself.
 */
export interface Clock {
  /** Nanoseconds since some fixed moment; never runs backwards. Up to 2^53: 104 days. */
  nowNs(): number;
}
