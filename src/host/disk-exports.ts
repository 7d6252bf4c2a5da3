/**
 * The disks of a host, by the names under which clients open them.
 *
 *   NAME              the disk, whatever it holds
 *   NAME@GENERATION   the disk's contents since it was last emptied (start of the host, `frontswap reset`); once it is
 *                     emptied again, this export no longer exists
 *
 * A client that then reconnects by the second name is refused, and its reads fail. By the first name it would open an
 * empty disk, and read zeros in place of its pages.
 */
import { randomBytes } from 'node:crypto';
import type { HostExport } from './parts.ts';

/** NAME of NAME@GENERATION; '', which no disk is called, of a name without a generation. */
const diskIn = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf('@')));

export class DiskExports extends Map<string, HostExport> {
  readonly #generations = new Map<string, string>();

  override set(name: string, disk: HostExport): this {
    this.renew(name);
    return super.set(name, disk);
  }

  /** Gives an emptied disk a new random generation of eight hexadecimal digits. */
  renew(name: string): void {
    this.#generations.set(name, randomBytes(4).toString('hex'));
  }

  /** The current NAME@GENERATION. */
  nameNow(name: string): string {
    return `${name}@${this.#generations.get(name) ?? ''}`;
  }

  /** Error text for a client that asks for an unknown name, usually that of an old generation. */
  whyUnknown(name: string): string {
    const disk = diskIn(name);
    return super.has(disk)
      ? `'${name}' is gone: disk '${disk}' has been emptied since, by a start of the host or a reset; ` +
          'make a new swap area on it under the name that frontswap attach prints'
      : `there is no disk '${name}'; frontswap list names those there are`;
  }

  override get(name: string): HostExport | undefined {
    const found = super.get(name);
    if (found !== undefined) return found;
    const disk = diskIn(name);
    return name === this.nameNow(disk) ? super.get(disk) : undefined;
  }
}
