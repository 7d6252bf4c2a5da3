/**
 * A memory control group that limits the resident memory of one program, version 1 or 2, whichever has the memory
 * controller. If neither is mounted, it mounts one in a private folder. The group is at the top of its hierarchy, so
 * that no limit of an enclosing group applies. Needs root.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { insist, undoLater } from './undo.ts';

export interface Hierarchy {
  readonly version: 1 | 2;
  readonly folder: string;
}

/** Hierarchies in the text of /proc/self/mounts that may have the memory controller; version 1 first. */
export function hierarchies(mounts: string): Hierarchy[] {
  const found: Hierarchy[] = [];
  for (const line of mounts.split('\n')) {
    const [, path, type, options] = line.split(' ');
    if (path === undefined || options === undefined) continue;
    const folder = path.replace(/\\([0-7]{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    if (type === 'cgroup2') found.push({ version: 2, folder });
    else if (type === 'cgroup' && options.split(',').includes('memory'))
      found.unshift({ version: 1, folder });
  }
  return found;
}

const words = (path: string): string[] => readFileSync(path, 'utf8').trim().split(/\s+/);

/** A hierarchy of version 2 may lack the memory controller. */
function hasMemory({ version, folder }: Hierarchy): boolean {
  return version === 1 || words(join(folder, 'cgroup.controllers')).includes('memory');
}

function mountPrivately(): Hierarchy {
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-cgroup-'));
  undoLater(() => rmdirSync(folder));
  for (const version of [2, 1] as const) {
    const type = version === 2 ? ['-t', 'cgroup2'] : ['-t', 'cgroup', '-o', 'memory'];
    try {
      execFileSync('mount', [...type, 'none', folder], { stdio: 'ignore' });
    } catch {
      continue; // try the other version
    }
    const mounted = undoLater(() => insist(() => execFileSync('umount', [folder])));
    if (hasMemory({ version, folder })) return { version, folder };
    mounted[Symbol.dispose]();
  }
  throw new Error('no memory controller in cgroups of version 1 or 2');
}

let hierarchy: Hierarchy | undefined;

/** In version 2 a parent must enable the controller for its children. */
function enableForChildren(folder: string): void {
  const control = join(folder, 'cgroup.subtree_control');
  if (words(control).includes('memory')) return;
  writeFileSync(control, '+memory');
  undoLater(() => writeFileSync(control, '-memory'));
}

function memoryHierarchy(): Hierarchy {
  if (hierarchy !== undefined) return hierarchy;
  const mounted = hierarchies(readFileSync('/proc/self/mounts', 'utf8')).find(hasMemory);
  hierarchy = mounted ?? mountPrivately();
  if (hierarchy.version === 2) enableForChildren(hierarchy.folder);
  return hierarchy;
}

export class MemoryCgroup implements Disposable {
  readonly version: 1 | 2;
  readonly #folder: string;
  readonly #made: Disposable;

  /** Dispose it after the processes in the group have ended. */
  constructor(limitBytes: number) {
    const { version, folder } = memoryHierarchy();
    this.version = version;
    const group = join(folder, `frontswap-bench-${process.pid}`);
    this.#folder = group;
    mkdirSync(group);
    this.#made = undoLater(() => insist(() => rmdirSync(group)));
    if (version === 2) {
      this.#set('memory.max', limitBytes);
      return;
    }
    this.#set('memory.limit_in_bytes', limitBytes);
    this.#set('memory.swappiness', 100); // version 2 has no such file; the program has only anonymous memory
  }

  /** Memory that the process has already stays charged to its previous group. */
  add(pid: number): void {
    this.#set('cgroup.procs', pid);
  }

  #set(name: string, value: number): void {
    writeFileSync(join(this.#folder, name), String(value));
  }

  [Symbol.dispose](): void {
    this.#made[Symbol.dispose]();
  }
}
