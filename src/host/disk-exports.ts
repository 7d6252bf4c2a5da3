/**
 * The disks of a host by export name.
 *
 *   NAME              the disk with any contents
 *   NAME@GENERATION   the disk with its contents since it was last emptied (start of the host, `frontswap reset`); the
 *                     export ends when the disk is emptied again
 *
 * A client that reconnects by an old NAME@GENERATION is refused, and its reads fail. By NAME it would open the empty disk and
 * read zeros in place of its pages.
 */
import { randomBytes } from 'node:crypto';
import type { HostExport } from './parts.ts';

/** NAME of NAME@GENERATION; '' for a name without a generation. No disk has the name ''. */
const diskIn = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf('@')));

export class DiskExports extends Map<string, HostExport> {
  readonly #generations = new Map<string, string>();

  override set(name: string, disk: HostExport): this {
    this.renew(name);
    return super.set(name, disk);
  }

  /** Assigns a new random generation, eight hexadecimal digits, to an emptied disk. */
  renew(name: string): void {
    this.#generations.set(name, randomBytes(4).toString('hex'));
  }

  /** The current NAME@GENERATION. */
  nameNow(name: string): string {
    return `${name}@${this.#generations.get(name) ?? ''}`;
  }

  /** Error text for a client that requests an unknown name, usually that of an old generation. */
  whyUnknown(name: string): string {
    const disk = diskIn(name);
    return super.has(disk)
      ? `'${name}' is gone: disk '${disk}' has been emptied since, by a restart of the host or a reset; ` +
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
