/**
 * Time is an argument: the host passes its monotonic clock; tests and simulators pass one that they advance
 * themselves.
 */
export interface Clock {
  /** Nanoseconds since a fixed time, below 2^53 (104 days); monotonic. */
  nowNs(): number;
}
