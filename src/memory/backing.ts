/**
 * What backs the regions of an engine: ranges registered with a userfaultfd, or memory files if there is no userfaultfd. Also
 * has the frames that pages are copied through.
 */
import { AdviceBatch } from '../os/linux/advice-batch.ts';
import type { Mapping } from '../os/linux/mapping.ts';
import { Process } from '../os/linux/process.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { UffdFeature } from '../os/linux/uffd-constants.ts';
import type { Userfaultfd } from '../os/linux/userfaultfd.ts';
import { MemfdMemory } from './memfd-memory.ts';
import { UffdFrames, UffdMemory } from './uffd-memory.ts';

export class Backing {
  readonly frames: UffdFrames;
  /** Null: regions are memory files. */
  readonly uffd: Userfaultfd | null;
  /** True: an access to a lost page raises SIGBUS. */
  readonly canPoison: boolean;
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #drops: AdviceBatch;

  constructor(linux: Linux, mapping: Mapping, uffd: Userfaultfd | null) {
    this.#linux = linux;
    this.#mapping = mapping;
    this.uffd = uffd;
    this.canPoison = uffd === null || (uffd.features & UffdFeature.poison) !== 0;
    this.frames = new UffdFrames(mapping);
    this.#drops = new AdviceBatch(linux, mapping);
  }

  /** Registers the range. */
  register(address: number, pages: number, uffd: Userfaultfd): UffdMemory {
    const [mapping, frames, drops] = [this.#mapping, this.frames, this.#drops];
    const abort = (): never => new Process(this.#linux).abort(); // addLost() has printed the reason
    return new UffdMemory({ address, pages, uffd, mapping, frames, drops, abort });
  }

  /** Registers the range for native code, or makes a memory file for it. */
  make(address: number, pages: number): UffdMemory | MemfdMemory {
    if (this.uffd !== null) return this.register(address, pages, this.uffd);
    const [linux, mapping, frames] = [this.#linux, this.#mapping, this.frames];
    return new MemfdMemory({ address, pages, linux, mapping, frames });
  }

  close(): void {
    this.#drops.close();
    this.frames.unmap();
  }
}
