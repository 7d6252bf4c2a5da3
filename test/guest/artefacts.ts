/**
 * What a guest boots: Debian's own kernel and a small initramfs, both kept under .cache/guest/.
 *
 *   linux-image-*-cloud-amd64 (apt-get download, extracted, not installed)  -> vmlinuz, modules
 *   busybox-static + hog.c (cc -O2 -static) + init + modules                 -> initramfs-HASH.cpio
 *
 * The initramfs is named by the hash of all that is in it, so a changed hog.c makes a new one and an
 * unchanged one costs a read. Which modules virtio_blk and virtio_pci depend on is read out of the
 * modules themselves (`depends=` in .modinfo): the package has no modules.dep before depmod has run.
 * The archive is written here ("newc", as Documentation/driver-api/early-userspace/buffer-format.rst
 * has it), because /dev/console in it is a device node, which only root may make with mknod.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { environment, have, must, root } from '../interop/processes.ts';

export const cacheFolder: string = join(root, '.cache', 'guest');

/** What a run needs; see `peerTest` for what happens where one is missing. */
export const guestTools: readonly string[] = ['qemu-system-x86_64', 'busybox', 'cc', 'dpkg-deb'];

export interface Artefacts {
  readonly kernelPath: string;
  readonly kernelName: string;
  readonly initramfsPath: string;
}

const wantedModules = ['virtio_pci', 'virtio_blk'];
const metaPackage = 'linux-image-cloud-amd64';

/** Builds what is missing; the first time it downloads 27 MB. */
export async function prepareGuest(): Promise<Artefacts> {
  mkdirSync(cacheFolder, { recursive: true });
  const folder = await kernelFolder();
  const hogPath = join(cacheFolder, 'hog');
  const source = join(root, 'test', 'guest', 'hog.c');
  await must('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-static', '-o', hogPath, source]);
  const names = orderedModules(folder);
  const entries: Entry[] = [
    ...['bin', 'dev', 'proc', 'sys', 'modules'].map((name) => folderEntry(name)),
    { name: 'dev/console', mode: 0o020600, major: 5, minor: 1, data: Buffer.alloc(0) },
    fileEntry('bin/busybox', await readFile(busyboxPath())),
    fileEntry('bin/hog', await readFile(hogPath)),
    fileEntry('init', Buffer.from(initScript(names))),
    ...names.map((name) =>
      fileEntry(`modules/${name}.ko`, readFileSync(join(folder, `${name}.ko`))),
    ),
  ];
  const archive = newcArchive(entries);
  const hash = createHash('sha256').update(archive).digest('hex').slice(0, 16);
  const initramfsPath = join(cacheFolder, `initramfs-${hash}.cpio`);
  if (!existsSync(initramfsPath)) {
    for (const old of readdirSync(cacheFolder).filter((f) => f.startsWith('initramfs-')))
      rmSync(join(cacheFolder, old));
    await writeFile(initramfsPath, archive);
  }
  return { kernelPath: join(folder, 'vmlinuz'), kernelName: basename(folder), initramfsPath };
}

/** Debian's static busybox; a dynamic one would not find its libraries in the guest. */
function busyboxPath(): string {
  const found = (environment['PATH'] ?? '')
    .split(':')
    .map((folder) => join(folder, 'busybox'))
    .find((path) => have(path));
  if (found === undefined) throw new Error('busybox is missing: install busybox-static');
  return found;
}

/** The guest's life: hog.c's header says what is printed, guest-run.ts reads it. */
function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
# DISCARD, HOG, HOG_MIB and SEED come from the kernel's command line.
b=/bin/busybox
fail() { echo "@failed $1"; $b poweroff -f; }
$b mount -t proc proc /proc || fail proc
$b mount -t sysfs sysfs /sys || fail sysfs
$b mount -t devtmpfs dev /dev || fail devtmpfs
${modules.map((name) => `$b insmod /modules/${name}.ko || fail ${name}`).join('\n')}
[ -b /dev/vda ] || fail /dev/vda
# virtio-blk calls itself rotational, and then the kernel never discards what it freed
echo 0 > /sys/block/vda/queue/rotational || fail rotational
hog() { /bin/hog "$@"; }
hog at booted
$b mkswap /dev/vda > /dev/null || fail mkswap
hog swapon /dev/vda $DISCARD 100 || fail swapon
hog at swapon
hog $HOG $HOG_MIB $SEED
echo "@hog status=$?"
hog at gone
$b swapoff /dev/vda || fail swapoff
hog discard /dev/vda || fail discard
hog at discarded
$b poweroff -f
`;
}

/** The newest kernel's folder: vmlinuz and every virtio module, flat. Asks apt only when it has none. */
async function kernelFolder(): Promise<string> {
  const kept = readdirSync(cacheFolder).filter((f) => f.startsWith('linux-image-'));
  const newest = kept.sort().at(-1);
  if (newest !== undefined) return join(cacheFolder, newest);

  const depends = await must('apt-cache', ['depends', metaPackage]);
  const packageName = /Depends: (linux-image-\S+-cloud-amd64)/.exec(depends)?.[1];
  if (packageName === undefined)
    throw new Error(`apt knows no kernel behind ${metaPackage}: run apt-get update\n${depends}`);
  const work = join(cacheFolder, 'extracting');
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, 'kernel'), { recursive: true });
  const download = ['download', '-q', '-o', 'APT::Sandbox::User=root', packageName];
  await must('apt-get', download, { cwd: work, timeoutMs: 300_000 });
  const archive = readdirSync(work).find((f) => f.endsWith('.deb')) ?? '';
  await must('dpkg-deb', ['-x', archive, 'tree'], { cwd: work, timeoutMs: 120_000 });

  const files = readdirSync(join(work, 'tree'), { recursive: true }).map(String);
  const image = files.find((f) => /^boot\/vmlinuz-/.test(f)) ?? 'boot/vmlinuz';
  await copyFile(join(work, 'tree', image), join(work, 'kernel', 'vmlinuz'));
  for (const file of files.filter((f) => /\/virtio[^/]*\.ko$/.test(f)))
    await copyFile(join(work, 'tree', file), join(work, 'kernel', basename(file)));
  const folder = join(cacheFolder, packageName);
  renameSync(join(work, 'kernel'), folder);
  rmSync(work, { recursive: true, force: true });
  return folder;
}

/** The wanted modules and what they depend on, each after its dependencies. */
function orderedModules(folder: string): string[] {
  const ordered: string[] = [];
  const visit = (name: string): void => {
    if (ordered.includes(name)) return;
    const info = readFileSync(join(folder, `${name}.ko`)).toString('latin1');
    const depends = /\0depends=([a-z0-9_,-]*)\0/.exec(info)?.[1] ?? '';
    for (const other of depends.split(',').filter((d) => d !== '')) visit(other);
    ordered.push(name);
  };
  wantedModules.forEach(visit);
  return ordered;
}

interface Entry {
  readonly name: string;
  readonly mode: number;
  readonly data: Buffer;
  readonly major?: number;
  readonly minor?: number;
}

const folderEntry = (name: string): Entry => ({ name, mode: 0o040755, data: Buffer.alloc(0) });
const fileEntry = (name: string, data: Buffer): Entry => ({ name, mode: 0o100755, data });

/** "newc": 6 bytes of magic, 13 hexadecimal words, the name and the data, each padded to 4 bytes. */
function newcArchive(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const all = [...entries, { name: 'TRAILER!!!', mode: 0, data: Buffer.alloc(0) }];
  all.forEach(({ name, mode, data, major = 0, minor = 0 }: Entry, index) => {
    // inode, mode, uid, gid, links, mtime, size, device, special device, name length, checksum
    const inode = index + 1;
    const words = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length + 1, 0];
    const header = `070701${words.map((w) => w.toString(16).padStart(8, '0')).join('')}${name}\0`;
    parts.push(padded(Buffer.from(header, 'latin1')), padded(data));
  });
  return Buffer.concat(parts);
}

function padded(bytes: Buffer): Buffer {
  const over = bytes.length % 4;
  return over === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - over)]);
}
