/**
 * The disks of a host by export name.
 *
 *   NAME              the disk, whatever its contents
 *   NAME@GENERATION   the disk with its contents since it was last emptied (start of the host without --persist, `reset`);
 *                     the export ends when the disk is emptied again
 *
 * A client that reconnects with an old NAME@GENERATION is refused, and its reads fail. With NAME it would open the empty disk
 * and read zeros in place of its pages.
 */
import { randomBytes } from 'node:crypto';
import type { HostExport } from './parts.ts';

/** NAME of NAME@GENERATION; '' for a name without a generation. No disk has the name ''. */
const diskIn = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf('@')));

export class DiskExports extends Map<string, HostExport> {
  readonly #generations = new Map<string, string>();
  /** The first disk of the host. It stays the default after it is removed: no disk of another guest takes its place. */
  defaultName = '';

  override set(name: string, disk: HostExport): this {
    if (this.defaultName === '') this.defaultName = name;
    this.renew(name);
    return super.set(name, disk);
  }

  /** Replaces the export of a disk and keeps its generation, because its pages are kept. */
  restore(name: string, disk: HostExport): void {
    super.set(name, disk);
  }

  /**
   * Assigns a generation: a random one of eight hexadecimal digits to an emptied disk, and that of the image to adopted pages.
   */
  renew(name: string, generation: string = randomBytes(4).toString('hex')): void {
    this.#generations.set(name, generation);
  }

  generationOf(name: string): string {
    return this.#generations.get(name) ?? '';
  }

  /** The current NAME@GENERATION. */
  nameNow(name: string): string {
    return `${name}@${this.generationOf(name)}`;
  }

  /**
   * Error text for a client that requests an unknown name, usually one of an old generation.
   * @param sees whether the client may know of a disk
   */
  whyUnknown(name: string, sees: (disk: HostExport) => boolean = () => true): string {
    const disk = diskIn(name);
    const served = super.get(disk);
    return served !== undefined && sees(served)
      ? `'${name}' no longer exists: disk '${disk}' has been emptied by a restart of the host or a reset; ` +
          'run mkswap on it under the name that frontswap attach prints'
      : `there is no disk '${name}'; see frontswap list`;
  }

  override get(name: string): HostExport | undefined {
    const found = super.get(name);
    if (found !== undefined) return found;
    const disk = diskIn(name);
    return name === this.nameNow(disk) ? super.get(disk) : undefined;
  }
}
