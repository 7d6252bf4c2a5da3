declare module 'lz4js' {
  /** Compresses [sIndex, sIndex + sLength); returns the block's length, 0 if nothing was compressible. */
  export function compressBlock(
    src: Uint8Array,
    dst: Uint8Array,
    sIndex: number,
    sLength: number,
    hashTable: Uint32Array,
  ): number;
  /** Decompresses [sIndex, sIndex + sLength) to dIndex; returns the end of what it wrote. */
  export function decompressBlock(
    src: Uint8Array,
    dst: Uint8Array,
    sIndex: number,
    sLength: number,
    dIndex: number,
  ): number;
}
