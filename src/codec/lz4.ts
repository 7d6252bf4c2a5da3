/** LZ4 blocks by the house's own kernels: on every machine, no native code. os/native-codec.ts has liblz4. */
import { type CodecFactory, PageFormat } from './codec.ts';

export const lz4: CodecFactory = (_memory, kernels) => ({
  name: 'lz4',
  format: PageFormat.lz4,
  compress: kernels.lz4Compress,
  decompress: kernels.lz4Decompress,
});
