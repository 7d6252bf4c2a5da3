/**
 * How much memory this process may use: the machine's, or the limit of a memory control group that it is in when that is
 * less. A group's limit holds for all groups below it, so every group from the process's own up to the mount is looked at.
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
  /** A control group's limit, not the machine's memory. */
  readonly isGroupLimit: boolean;
}

/** The text of a file; null where it cannot be read. */
export type ReadText = (path: string) => string | null;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

/** Source of the limit by type of file system. */
const limitFiles = { cgroup: 'memory.limit_in_bytes', cgroup2: 'memory.max' } as const;

/** Path of the process's group in each version, null where it is in none that limits memory. */
function groupsOf(text: string): Record<keyof typeof limitFiles, string | null> {
  const lines = text.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const pathOf = (isIt: (controllers: string) => boolean): string | null =>
    lines.find((line) => line !== null && isIt(line[1] ?? ''))?.[2] ?? null;
  return {
    cgroup: pathOf((controllers) => controllers.split(',').includes('memory')),
    cgroup2: pathOf((controllers) => controllers === ''),
  };
}

/** Folders from the process's own group up to the one that is mounted. */
function foldersOf(mount: string, root: string, group: string): string[] {
  const below = relative(root, group);
  // A group outside what is mounted: a container that sees its own group as the root.
  const parts = below === '' || below.startsWith('..') ? [] : below.split('/');
  return [...parts.keys(), parts.length].map((n) => join(mount, ...parts.slice(0, n))).reverse();
}

/**
 * @param machineBytes memory of the machine
 * @param read stands in for the file system in tests
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
