/** A buffer of received bytes. */
export interface Input {
  readonly bytes: Uint8Array;
  /** View of the same bytes. */
  readonly view: DataView;
}
