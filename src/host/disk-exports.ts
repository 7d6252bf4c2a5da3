/**
 * The disks of a host, by the names under which clients open them.
 *
 *   NAME              the disk, whatever it holds
 *   NAME@GENERATION   the disk as it is since it was last emptied: since the host started, or `frontswap reset`; afterwards there
 *                     is no such export
 *
 * A client that reconnects by the second name after that is refused, and its reads fail. By the first it would find an
 * empty disk, and read zeros where its pages were.
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

  /** Draws the disk another generation, eight hexadecimal digits: it has been emptied. */
  renew(name: string): void {
    this.#generations.set(name, randomBytes(4).toString('hex'));
  }

  /** NAME@GENERATION of now. */
  nameNow(name: string): string {
    return `${name}@${this.#generations.get(name) ?? ''}`;
  }

  /** Told to a client that asks for a name that is not here, an old generation's above all. */
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
