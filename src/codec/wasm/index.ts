// The kernels' module. It exports what kernels.ts declares.
//
// Scratch, below KERNEL_SCRATCH_BYTES of the caller's memory. Only the kernels write it. Its contents are valid
// only during one call, except for the two tables that init() fills.
//
//    4096  LZ4 encoder's table        8192 bytes    (the bytes below belong to the memory's owner)
//   12288  LZ4 decoder's patterns      272 bytes    filled by init()
//   12800  keys                        512 bytes    filled by init()
//   16448  LZ4 encoder's window       4096 bytes    and 64 after it; rows of bytes between page and planes
//   24576  planes                     4096 bytes    and 64 bytes of slack: the filtered page (codec/filtered.ts)
import { initKeys } from './copy';
import { initLz4 } from './lz4';

export { checksum, copy, copyChecksum, equal } from './copy';
export { lz4Compress, lz4Decompress } from './lz4';
export { fill, hash, hashHigh, sameFilled } from './page';
export { fromPlanes, pickFilter, toPlanes } from './planes';

export function init(): void {
  initLz4();
  initKeys();
}
