/**
 * The memory that this process can use: the memory of the machine, or the lowest limit of its memory cgroups. The limit of a
 * cgroup applies to all cgroups below it, so this file reads every cgroup from that of the process up to the mount point.
 *
 *   /proc/self/cgroup      4:memory:/a/b          version 1      0::/a/b    version 2
 *   /proc/self/mountinfo   ... ROOT MOUNTPOINT ... - cgroup|cgroup2 SOURCE OPTIONS
 *   the limit              memory.limit_in_bytes                 memory.max, `max` for none
 *
 * Sources: cgroups(7), proc_pid_mountinfo(5), Linux Documentation/admin-guide/cgroup-v2.rst.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join, relative } from 'node:path';

export interface UsableMemory {
  readonly bytes: number;
  /** True if a cgroup limit is lower than the memory of the machine. */
  readonly isGroupLimit: boolean;
}

/** Reads a file; null if it cannot be read. */
export type ReadText = (path: string) => string | null;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

/** The file with the limit, by type of file system. */
const limitFiles = { cgroup: 'memory.limit_in_bytes', cgroup2: 'memory.max' } as const;

/** Path of the memory cgroup of the process in each version, or null. */
function groupsOf(text: string): Record<keyof typeof limitFiles, string | null> {
  const lines = text.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const pathOf = (matches: (controllers: string) => boolean): string | null =>
    lines.find((line) => line !== null && matches(line[1] ?? ''))?.[2] ?? null;
  return {
    cgroup: pathOf((controllers) => controllers.split(',').includes('memory')),
    cgroup2: pathOf((controllers) => controllers === ''),
  };
}

/** Folders from the cgroup of the process up to the mount point. */
function foldersOf(mount: string, root: string, group: string): string[] {
  const below = relative(root, group);
  // The cgroup is outside the mount: this is a container that sees its own cgroup as the root.
  const parts = below === '' || below.startsWith('..') ? [] : below.split('/');
  return [...parts.keys(), parts.length].map((n) => join(mount, ...parts.slice(0, n))).reverse();
}

/**
 * @param machineBytes memory of the machine
 * @param read replaces the file system in tests
 */
export function usableMemory(
  machineBytes: number = totalmem(),
  read: ReadText = readText,
): UsableMemory {
  const groups = groupsOf(read('/proc/self/cgroup') ?? '');
  let bytes = machineBytes;
  for (const line of (read('/proc/self/mountinfo') ?? '').split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [type = '', , options = ''] = after.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') continue;
    if (type === 'cgroup' && !options.split(',').includes('memory')) continue;
    const [, , , root = '/', mount = '/'] = before.split(' ');
    const group = groups[type];
    if (group === null) continue;
    for (const folder of foldersOf(mount, root, group)) {
      const limit = Number.parseInt(read(join(folder, limitFiles[type])) ?? '', 10);
      if (limit > 0 && limit < bytes) bytes = limit;
    }
  }
  return { bytes, isGroupLimit: bytes < machineBytes };
}
