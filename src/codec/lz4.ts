/** LZ4 blocks with the WebAssembly kernels, which run on every machine. os/native-codec.ts uses liblz4. */
import { type CodecFactory, PageFormat } from './codec.ts';

/** Builds the LZ4 codec on the WebAssembly kernels; the default codec of a Store. */
export const lz4: CodecFactory = (_memory, kernels) => ({
  name: 'lz4',
  format: PageFormat.lz4,
  compress: kernels.lz4Compress,
  decompress: kernels.lz4Decompress,
});
