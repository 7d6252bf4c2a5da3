// The kernels' module: what kernels.ts declares, no more.
export { checksum, copy, copyChecksum } from './copy';
export { init, lz4Compress, lz4Expand } from './lz4';
export { equal, fill, hash, hashHigh, sameFilled } from './page';
