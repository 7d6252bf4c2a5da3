/**
 * The disks of a host, by the names under which clients open them.
 *
 *   NAME              the disk, whatever it holds
 *   NAME@GENERATION   the disk as this host has it since it started; another host, or this one started again, has no such
 *                     export
 *
 * A client that reconnects by the second name after a restart is refused, and its reads fail. By the first it would find an
 * empty disk, and read zeros where its pages were.
 */
import { randomBytes } from 'node:crypto';
import type { HostExport } from './parts.ts';

export class DiskExports extends Map<string, HostExport> {
  /** Eight hexadecimal digits, of this start of the host. */
  readonly generation: string = randomBytes(4).toString('hex');

  /** NAME@GENERATION of now. */
  nameNow(name: string): string {
    return `${name}@${this.generation}`;
  }

  /** Told to a client that asks for a name that is not here, an old generation's above all. */
  whyUnknown(name: string): string {
    const at = name.lastIndexOf('@');
    const disk = at > 0 ? name.slice(0, at) : '';
    return super.has(disk)
      ? `'${name}' is gone: the host has started again since, and disk '${disk}' is empty; ` +
          'make a new swap area on it under the name that frontswap attach prints'
      : `there is no disk '${name}'; frontswap list names those there are`;
  }

  override get(name: string): HostExport | undefined {
    const found = super.get(name);
    if (found !== undefined) return found;
    const at = name.lastIndexOf('@');
    return at > 0 && name.slice(at + 1) === this.generation
      ? super.get(name.slice(0, at))
      : undefined;
  }
}
