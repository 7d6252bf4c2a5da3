/**
 * The folder of --persist: the images of a host's disks. Only one host at a time uses a folder: it holds a lock that ends with
 * its process.
 *
 *   lock                locked while a host runs
 *   NAME.img            the image of disk NAME
 *   NAME.img.new        being created, or left by a dead host: removed at the next start
 *   NAME.img.refused-N  refused: incomplete, foreign, or of another layout; never removed
 *
 * The folder must be on tmpfs, private to the user, and have space for the limit of all disks: writing a page without space
 * would end the process.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { InvariantError } from '../base/assert.ts';
import type { Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { systemFileLock } from '../os/linux/file-lock.ts';
import { whyNoImages } from '../os/linux/image-mapping.ts';
import { systemError } from '../os/system-error.ts';
import { identityOf } from './backing-file.ts';
import { type LimitDefaults, resolveDisk } from './config/disk-schema.ts';
import type { HostConfig } from './config/host-config.ts';
import type { HostCounter } from './counters.ts';
import { type DiskConfig, splitDisk } from './disk-config.ts';
import { DiskImage } from './disk-image.ts';
import { textOfDisk } from './disk-text.ts';
import { fitsHeader } from './image-header.ts';
import type { Log, SwapDisk } from './parts.ts';
import { makePrivateFolder } from './runtime-folder.ts';

/** statfs(2). */
const TMPFS_MAGIC = 0x0102_1994;
const IMAGE = '.img';
const NEW = '.img.new';

/** A disk and its image. */
export interface PersistentDisk {
  readonly config: DiskConfig;
  readonly disk: SwapDisk;
  readonly image: DiskImage;
}

export type MakeDisk = (config: DiskConfig, image: DiskImage) => SwapDisk;

/** Whether the image itself is bad; other errors come from the machine or the configuration. */
const isUnusable = (error: unknown): error is Error =>
  error instanceof InvariantError || (error instanceof SwapError && error.code === 'ERR_IO_IMAGE');

/** @throws SwapError ERR_ARG_VALUE */
function settingsOf(config: DiskConfig): string {
  const settings = textOfDisk(config);
  if (fitsHeader(settings)) return settings;
  const { name } = config;
  throw new SwapError('ERR_ARG_VALUE', `disk '${name}': its settings are too long to persist`, {
    key: 'disk',
    value: name,
  });
}

/** Checks that the backing that an image names is the one that it used. */
function checkBacking({ backing }: DiskConfig, identity: string): void {
  if (backing === undefined) return;
  const stat = statSync(backing, { throwIfNoEntry: false });
  if (stat !== undefined && identityOf(stat) === identity) return;
  const why = stat === undefined ? 'does not exist' : 'is not the one that it used';
  throw new SwapError('ERR_IO_IMAGE', `its backing ${backing} ${why}`, { reason: why });
}

/** Pages in memory and at the backing. */
function pagesOf(disk: SwapDisk): { pages: number; atBacking: number } {
  const { storedPages, backingBytes } = disk.stats();
  const atBacking = backingBytes / PAGE_BYTES;
  return { pages: storedPages + atBacking, atBacking };
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** Receives what a folder finds. */
export interface ImageReporters {
  readonly log: Log;
  readonly counters: Pick<Counters<HostCounter>, 'add'>;
}

export class ImageFolder implements Disposable {
  readonly #path: string;
  readonly #log: Log;
  readonly #counters: ImageReporters['counters'];
  readonly #lockFd: number;
  /** Limit of all disks together; call checkSpace() before raising it. */
  totalBytes: number;

  /**
   * Locks the folder, and removes what a dead host left behind. Creates it if necessary.
   * @param totalBytes limit of all disks together
   * @throws SwapError ERR_IO_UNSUPPORTED, ERR_IO_UNSAFE_PATH, ERR_IO_IN_USE, ERR_IO_NO_ROOM, ERR_IO_SYSTEM
   */
  constructor(path: string, uid: number, totalBytes: number, reporters: ImageReporters) {
    this.#path = path;
    this.#log = reporters.log;
    this.#counters = reporters.counters;
    const why = whyNoImages();
    if (why !== '')
      throw new SwapError('ERR_IO_UNSUPPORTED', `--persist is not supported here: ${why}`, {
        reason: why,
      });
    makePrivateFolder(path, uid, 'choose another folder with --persist');
    this.totalBytes = totalBytes;
    this.checkSpace(totalBytes);
    this.#lockFd = this.#lock();
    for (const file of readdirSync(path)) if (file.endsWith(NEW)) this.#removeNew(file);
  }

  /** Opens and locks the folder of a host's configuration; null: the pages end with the host. */
  static of(config: HostConfig, uid: number, reporters: ImageReporters): ImageFolder | null {
    const { persist, totalLimitBytes } = config;
    return persist === null ? null : new ImageFolder(persist, uid, totalLimitBytes, reporters);
  }

  /** Returns the disks that have images and are not `served`. Renames unusable images aside. */
  saved(served: readonly string[], defaults: LimitDefaults): DiskConfig[] {
    const found: DiskConfig[] = [];
    for (const file of readdirSync(this.#path).sort()) {
      if (!file.endsWith(IMAGE)) continue;
      const name = file.slice(0, -IMAGE.length);
      const image = served.includes(name) ? null : this.#openOrRefuse(name);
      if (image === null) continue;
      image[Symbol.dispose]();
      try {
        const text = splitDisk('its settings', image.header.settings);
        const config = resolveDisk('its settings', { ...text, name }, defaults);
        checkBacking(config, image.header.backing);
        found.push(config);
      } catch (error) {
        this.#refuse(name, (error as Error).message);
      }
    }
    return found;
  }

  /**
   * Creates a disk over its image: the pages of a usable one are adopted. An image with pages keeps its size.
   * @throws SwapError ERR_ARG_CONFLICT: its pages are on another backing; those of `make`
   */
  open(requested: DiskConfig, make: MakeDisk): PersistentDisk {
    const { name } = requested;
    const started = performance.now();
    const image = this.#openOrRefuse(name);
    if (image === null) return this.#create(requested, make);
    const config = { ...requested, sizeBytes: image.header.sizeBytes };
    try {
      const disk = make(config, image);
      const { pages } = pagesOf(disk);
      if (config.sizeBytes !== requested.sizeBytes && pages === 0) {
        disk[Symbol.dispose]();
        return this.#create(requested, make, image);
      }
      if (config.sizeBytes !== requested.sizeBytes)
        this.#log(
          `disk ${name}: its image has pages, so it keeps the size ${formatSize(config.sizeBytes)}; see frontswap set`,
        );
      this.#logAdopted(disk, name, performance.now() - started);
      image.update({ settings: settingsOf(config) });
      return { config, disk, image };
    } catch (error) {
      image[Symbol.dispose]();
      if (!isUnusable(error)) throw error;
      this.#refuse(name, error.message);
      return this.#create(requested, make);
    }
  }

  /**
   * Checks that the free space plus the space of the images is enough for the limit of all disks.
   * @throws SwapError ERR_IO_UNSUPPORTED, ERR_IO_NO_ROOM
   */
  checkSpace(totalBytes: number): void {
    const { type, bavail, bsize } = statfsSync(this.#path);
    if (type !== TMPFS_MAGIC)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        `--persist: ${this.#path} is not on tmpfs: choose a folder in /dev/shm or /run`,
        { reason: 'not tmpfs' },
      );
    let free = bavail * bsize;
    for (const file of readdirSync(this.#path)) {
      if (!file.endsWith(IMAGE) && !file.endsWith(NEW)) continue; // refused images keep their space
      const stat = lstatSync(join(this.#path, file));
      if (stat.isFile()) free += stat.blocks * 512;
    }
    if (totalBytes !== 0 && totalBytes <= free) return;
    throw new SwapError(
      'ERR_IO_NO_ROOM',
      totalBytes === 0
        ? '--persist requires a total limit: --total-limit'
        : `--persist: ${this.#path} has space for ${formatSize(free)}, less than the total limit of ${formatSize(totalBytes)}: lower --total-limit, or enlarge the tmpfs`,
      { freeBytes: free, totalBytes },
    );
  }

  /** Creates an image for a disk that changes its size; replace() gives it its name. */
  prepare(config: DiskConfig, generation: string): DiskImage {
    const { name, sizeBytes } = config;
    this.checkSpace(this.totalBytes); // a refused image or another program may have used some space
    const settings = settingsOf(config);
    return DiskImage.create(join(this.#path, `${name}${NEW}`), {
      ...{ sizeBytes, generation, settings, backing: '' },
    });
  }

  /** Gives an image of prepare() its name: from now on it is the image of the disk. */
  replace(name: string, image: DiskImage): void {
    image.publish(this.#pathOf(name));
  }

  /** Unlocks the folder. */
  [Symbol.dispose](): void {
    closeSync(this.#lockFd);
  }

  #pathOf(name: string): string {
    return join(this.#path, `${name}${IMAGE}`);
  }

  #create(config: DiskConfig, make: MakeDisk, former?: DiskImage): PersistentDisk {
    const generation = former?.header.generation ?? randomBytes(4).toString('hex');
    const image = this.prepare(config, generation);
    try {
      const disk = make(config, image);
      this.replace(config.name, image);
      former?.[Symbol.dispose]();
      return { config, disk, image };
    } catch (error) {
      image.remove();
      image[Symbol.dispose]();
      throw error;
    }
  }

  /** Null: there is no image, or an unusable one, which is renamed aside. */
  #openOrRefuse(name: string): DiskImage | null {
    const path = this.#pathOf(name);
    if (!isThere(path)) return null;
    try {
      return DiskImage.open(path);
    } catch (error) {
      if (!isUnusable(error)) throw error;
      this.#refuse(name, error.message);
      return null;
    }
  }

  #refuse(name: string, why: string): void {
    const kept = this.#setAside(this.#pathOf(name));
    this.#counters.add('refusedImages', 1);
    this.#log(
      `warning: disk ${name}: ${why}; the image is kept as ${kept}, and clients of the disk are refused`,
    );
  }

  /** Returns its new path. */
  #setAside(path: string): string {
    let number = 1;
    while (isThere(`${path}.refused-${number}`)) number++;
    renameSync(path, `${path}.refused-${number}`);
    return `${path}.refused-${number}`;
  }

  #removeNew(file: string): void {
    const path = join(this.#path, file);
    if (lstatSync(path).isDirectory()) {
      this.#log(`warning: ${path} is not a file; it is kept as ${this.#setAside(path)}`);
      return;
    }
    rmSync(path);
    this.#log(`removed ${path}, which a dead host left unfinished`);
  }

  #logAdopted(disk: SwapDisk, name: string, ms: number): void {
    const { adopted } = disk;
    if (adopted === undefined) return;
    const { pages, atBacking } = pagesOf(disk);
    const where = atBacking === 0 ? '' : `, ${atBacking} of them on its backing`;
    this.#log(`disk ${name}: ${pages} pages adopted${where}, in ${Math.round(ms)} ms`);
    if (adopted.damaged === 0) return;
    this.#log(
      `warning: disk ${name}: ${adopted.damaged} pages do not match their checksum; reading them is an I/O error; ` +
        `slots ${adopted.damagedSlots.join(', ')}${adopted.damaged > adopted.damagedSlots.length ? ' ...' : ''}`,
    );
  }

  #lock(): number {
    const path = join(this.#path, 'lock');
    try {
      const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
      const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
      if (systemFileLock(process.platform)(fd)) return fd;
      closeSync(fd);
    } catch (cause) {
      throw systemError(`open ${path}`, cause, 'choose another folder with --persist');
    }
    throw new SwapError('ERR_IO_IN_USE', `--persist: another host uses ${this.#path}`, {
      path: this.#path,
    });
  }
}
