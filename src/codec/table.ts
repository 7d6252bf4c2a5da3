/**
 * The codecs of a process, by the name users give in a configuration. `lz4` is always there; the composition
 * root adds what the machine has (src/os/native-codec.ts) before the first shard is built.
 */
import { SwapError } from '../base/errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { LinearMemory } from '../kernels/linear-memory.ts';
import { type CodecFactory, type PageCodec, PageFormat } from './codec.ts';

/** LZ4 by the kernels: on every machine, no native code. */
const lz4: CodecFactory = (_memory, kernels) => ({
  name: 'lz4',
  format: PageFormat.lz4,
  compress: kernels.lz4Compress,
  expand: kernels.lz4Expand,
});

export class CodecTable {
  readonly #factories: Map<string, CodecFactory> = new Map([['lz4', lz4]]);

  /** @throws SwapError ERR_ARG_CONFLICT when the name is taken */
  add(name: string, factory: CodecFactory): void {
    if (this.#factories.has(name))
      throw new SwapError('ERR_ARG_CONFLICT', `codec '${name}' is already there; add it once`, {
        name,
      });
    this.#factories.set(name, factory);
  }

  /** Names in the order they were added. */
  get names(): readonly string[] {
    return [...this.#factories.keys()];
  }

  /**
   * The codec `name` over `memory`.
   * @throws SwapError ERR_ARG_UNKNOWN when there is no such codec
   */
  build(name: string, memory: LinearMemory, kernels: Kernels): PageCodec {
    const factory = this.#factories.get(name);
    if (factory === undefined)
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `no codec '${name}' on this machine; choose one of ${this.names.join(', ')}`,
        { name },
      );
    return factory(memory, kernels);
  }
}
