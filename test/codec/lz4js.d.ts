declare module 'lz4js' {
  /** Packs [sIndex, sIndex + sLength); the block's bytes, 0 when it found nothing to pack. */
  export function compressBlock(
    src: Uint8Array,
    dst: Uint8Array,
    sIndex: number,
    sLength: number,
    hashTable: Uint32Array,
  ): number;
  /** Unpacks [sIndex, sIndex + sLength) to dIndex; the end of what it wrote. */
  export function decompressBlock(
    src: Uint8Array,
    dst: Uint8Array,
    sIndex: number,
    sLength: number,
    dIndex: number,
  ): number;
}
