/**
 * The image of a disk: an open and locked file that contains the memories of the disk's shards, and the tables of its backing.
 *
 *   create ─▶ NAME.img.new, complete ─publish()─▶ NAME.img ─▶ map ─▶ … killed … ─▶ open ─▶ map ─▶ adopted by the store
 *
 * Invariants
 * - A file named NAME.img always has a complete header.
 * - The file is locked (flock) until it is disposed of, or the process ends.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { belowInImage } from '../block/disks/ramzswap/backing-tables.ts';
import { createMemory, type LinearMemory } from '../codec/linear-memory.ts';
import { holderOf, systemFileLock, systemFileUnlock } from '../os/linux/file-lock.ts';
import { mapImage } from '../os/linux/image-mapping.ts';
import { systemError } from '../os/system-error.ts';
import {
  decodeHeader,
  encodeHeader,
  fileBytes,
  HEADER_BYTES,
  type ImageHeader,
  SHARDS_AT,
  shardBytes,
  tablesAt,
} from './image-header.ts';
import type { DiskImages } from './parts.ts';

const { O_RDWR, O_RDONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;

const imageError = (path: string, why: string): SwapError =>
  new SwapError('ERR_IO_IMAGE', `${path}: ${why}`, { path, reason: why });

function openLocked(path: string, flags: number): number {
  const attempt = (): number => {
    try {
      return openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600); // opening a FIFO would wait
    } catch (cause) {
      throw systemError(`open the image ${path}`, cause, 'see --persist');
    }
  };
  const fd = attempt();
  if (systemFileLock(process.platform)(fd)) return fd;
  const holder = holderOf(fstatSync(fd)) || 'another process';
  closeSync(fd);
  throw new SwapError('ERR_IO_IN_USE', `the image ${path} is in use by ${holder}`, { path });
}

export class DiskImage implements DiskImages, Disposable {
  #path: string;
  #fd: number;
  #header: ImageHeader;
  readonly #isShared: boolean;

  private constructor(path: string, fd: number, header: ImageHeader, isShared: boolean) {
    this.#path = path;
    this.#fd = fd;
    this.#header = header;
    this.#isShared = isShared;
  }

  /** A new image, at a path that publish() changes. @throws SwapError ERR_IO_IN_USE, ERR_IO_SYSTEM */
  static create(path: string, header: ImageHeader): DiskImage {
    const fd = openLocked(path, O_RDWR | O_CREAT);
    try {
      ftruncateSync(fd);
      ftruncateSync(fd, fileBytes(header.sizeBytes));
      writeSync(fd, encodeHeader(header), 0, HEADER_BYTES, 0);
    } catch (cause) {
      closeSync(fd);
      throw systemError(`write the image ${path}`, cause, 'see --persist');
    }
    return new DiskImage(path, fd, header, true);
  }

  /**
   * Opens an image that another process left.
   * @param isReadOnly its memories are private copies: adopting them does not change the file
   * @throws SwapError ERR_IO_IMAGE: it is not usable; ERR_IO_IN_USE, ERR_IO_SYSTEM
   */
  static open(path: string, isReadOnly: boolean = false): DiskImage {
    if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === false)
      throw imageError(path, 'it is not a file');
    const fd = openLocked(path, isReadOnly ? O_RDONLY : O_RDWR);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw imageError(path, 'it is not a file');
      if (!isReadOnly && stat.uid !== process.geteuid?.())
        throw imageError(path, `it belongs to user ${stat.uid}, who may change it`);
      const page = Buffer.alloc(HEADER_BYTES);
      const length = readSync(fd, page, 0, HEADER_BYTES, 0);
      const header = decodeHeader(page.subarray(0, length), stat.size);
      if ('why' in header) throw imageError(path, header.why);
      return new DiskImage(path, fd, header, !isReadOnly);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  get path(): string {
    return this.#path;
  }

  get header(): ImageHeader {
    return this.#header;
  }

  /** Bytes of the file in use. */
  get residentBytes(): number {
    return fstatSync(this.#fd).blocks * 512;
  }

  has(number: number): boolean {
    const word = Buffer.alloc(4);
    readSync(this.#fd, word, 0, 4, this.#positionOf(number));
    return word.readUInt32LE(0) !== 0;
  }

  open(number: number, bytes: number): ReturnType<DiskImages['open']> {
    assert(
      this.#positionOf(number) + bytes <= fileBytes(this.#header.sizeBytes),
      'the shard is inside the file',
    );
    const memory = createMemory(bytes);
    const file = { fd: this.#fd, position: this.#positionOf(number), shared: this.#isShared };
    return { memory, release: mapImage(memory, file) };
  }

  openTables(bytes: number): LinearMemory {
    const position = tablesAt(this.#header.sizeBytes);
    assert(position + bytes === fileBytes(this.#header.sizeBytes), 'the tables end the file');
    const memory = createMemory(bytes);
    mapImage(memory, { fd: this.#fd, position, shared: this.#isShared });
    return memory;
  }

  useBacking(identity: string): void {
    const { backing } = this.#header;
    if (identity === backing) return;
    if (backing !== '' && this.#hasPagesAtBacking())
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        `${this.#path} has pages on the backing that was ${backing}, not on ` +
          `${identity === '' ? 'none' : identity}: configure that backing, or move the image away`,
        { key: 'backing', path: this.#path },
      );
    this.update({ backing: identity });
  }

  /** Gives a new image its name; it replaces any image of that name. */
  publish(path: string): void {
    renameSync(this.#path, path);
    this.#path = path;
  }

  /** Changes the header. */
  update(change: Partial<Omit<ImageHeader, 'sizeBytes'>>): void {
    this.#header = { ...this.#header, ...change };
    writeSync(this.#fd, encodeHeader(this.#header), 0, HEADER_BYTES, 0);
  }

  /** Removes the file. Its memories stay usable. */
  remove(): void {
    rmSync(this.#path, { force: true });
  }

  /** Closes and unlocks the file. Mapped memories stay usable, but no lock protects them any more. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    systemFileUnlock(process.platform)(this.#fd);
    closeSync(this.#fd);
    this.#fd = -1;
  }

  #hasPagesAtBacking(): boolean {
    const { sizeBytes } = this.#header;
    const { at, length } = belowInImage(sizeBytes / PAGE_BYTES);
    const piece = Buffer.alloc(65536);
    for (let done = 0; done < length; done += piece.length) {
      const bytes = Math.min(piece.length, length - done);
      readSync(this.#fd, piece, 0, bytes, tablesAt(sizeBytes) + at + done);
      if (piece.subarray(0, bytes).some((byte) => byte !== 0)) return true;
    }
    return false;
  }

  #positionOf(number: number): number {
    return SHARDS_AT + number * shardBytes(this.#header.sizeBytes);
  }
}
