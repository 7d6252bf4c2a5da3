/**
 * Gives a user of the tmem socket the pools of a file (user-file.ts). Chunks may have any size.
 *
 *   head ─▶ the user is taken: no connection of it is accepted ─▶ stream ─▶ tail ─▶ end(): its pools can be opened
 *             └ anything wrong, no memory, or disposed of: all of its pages are dropped, in steps
 *
 * The file is not trusted. Memory: one record of the stream, one bit per page, the head or the tail.
 *
 * A user that an operator has configured in this host keeps those settings, and its cap holds for the restored pages. Any other
 * user gets the settings that it had, if an operator had set them, and otherwise those of this host.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { Restore, RestoreState } from '../restore.ts';
import { POOLS_PER_CLIENT, TmemPutResult } from '../results.ts';
import type { ClientTable, TmemUser } from './client-table.ts';
import {
  decodeHead,
  decodeTail,
  type FileHead,
  type FileTail,
  HEAD_BYTES,
  TAIL_BYTES,
} from './user-file.ts';

/** What was restored. */
export interface RestoredUser {
  readonly uid: number;
  readonly pools: number;
  readonly pages: number;
}

/** Settings of a user. */
interface Settings {
  readonly weight: number;
  readonly cap: number;
  readonly compress: boolean;
  readonly frozen: boolean;
}

export interface UserRestoreOptions {
  readonly table: ClientTable;
  /** The user who gets the pools; null: the saved one. */
  readonly uid: number | null;
  /** Why no process of a user can connect; '': one may. */
  readonly whyNeverAdmitted: (uid: number) => string;
}

export class UserRestore implements Disposable {
  readonly #options: UserRestoreOptions;
  readonly #table: ClientTable;
  /** The head, later the tail, while it arrives. */
  #part = new Uint8Array(HEAD_BYTES);
  #partLength = 0;
  #head: FileHead | null = null;
  #user: TmemUser | null = null;
  /** Before the restore. */
  #before: Settings | null = null;
  #restore: Restore | null = null;
  #tail: FileTail | null = null;
  /** CRC-32 of the head and the stream so far. */
  #checksum = 0;
  #isEnded = false;

  constructor(options: UserRestoreOptions) {
    this.#options = options;
    this.#table = options.table;
  }

  /**
   * Processes the next bytes. After an error nothing is left of the restore.
   * @throws SwapError ERR_IO_IMAGE: the file is not usable; ERR_IO_NO_ROOM, ERR_IO_IN_USE, ERR_ARG_CONFLICT
   */
  push(chunk: Uint8Array): void {
    assert(!this.#isEnded, 'the restore has not ended');
    try {
      for (let at = 0; at < chunk.length; ) at += this.#take(chunk.subarray(at));
      this.#table.maintain();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * The file is complete: opens the pools to the user.
   * @throws SwapError ERR_IO_IMAGE: it is truncated
   */
  end(): RestoredUser {
    assert(!this.#isEnded, 'the restore has not ended');
    const [user, tail] = [this.#user, this.#tail];
    if (user === null || tail === null) {
      this[Symbol.dispose]();
      throw unusable('the file is truncated');
    }
    this.#isEnded = true;
    this.#applySettings(user);
    this.#table.endRestore(user, tail.pools);
    return { uid: user.uid, pools: tail.pools.length, pages: tail.pages };
  }

  /** Drops what was restored, unless end() has returned. */
  [Symbol.dispose](): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (this.#user === null || this.#before === null) return;
    this.#set(this.#user, this.#before);
    this.#table.endRestore(this.#user, null);
  }

  /** Processes the start of `chunk`; returns how much. */
  #take(chunk: Uint8Array): number {
    const restore = this.#restore;
    if (this.#tail !== null) throw unusable('bytes follow its end');
    if (restore?.state === RestoreState.receiving) return this.#takeStream(restore, chunk);
    const part = this.#part;
    const taken = Math.min(part.length - this.#partLength, chunk.length);
    part.set(chunk.subarray(0, taken), this.#partLength);
    this.#partLength += taken;
    if (this.#partLength < part.length) return taken;
    this.#partLength = 0;
    if (restore === null) this.#begin(part);
    else this.#checkTail(restore, part);
    return taken;
  }

  #takeStream(restore: Restore, chunk: Uint8Array): number {
    let taken: number;
    try {
      taken = restore.take(chunk);
    } catch (error) {
      if (!(error instanceof SwapError) || error.code !== 'ERR_PEER_PROTOCOL') throw error;
      const { message } = error;
      throw new SwapError('ERR_IO_IMAGE', message, { reason: message }, { cause: error });
    }
    this.#checksum = crc32(chunk.subarray(0, taken), this.#checksum);
    if (restore.state === RestoreState.refused) throw this.#refused(restore.refusal);
    if (restore.state === RestoreState.done) this.#part = new Uint8Array(TAIL_BYTES);
    return taken;
  }

  #begin(bytes: Uint8Array): void {
    const head = decodeHead(bytes);
    if ('why' in head) throw unusable(head.why);
    const { tmem } = this.#table;
    const uid = this.#options.uid ?? head.uid;
    const why = this.#options.whyNeverAdmitted(uid);
    if (why !== '')
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        `${why}, so it could not open the pools: see --tmem-allow-uid, or restore them for another user with --user UID`,
        { uid },
      );
    const rows = tmem.index.pages.capacity;
    if (head.pages > rows)
      throw new SwapError(
        'ERR_IO_NO_ROOM',
        `the saved user has ${head.pages} pages, and this host has tables for ${rows}: raise --tmem-limit`,
        { pages: head.pages, rows },
      );
    const user = this.#table.beginRestore(uid);
    const { weight, cap, compress, frozen } = tmem.clientOf(user.client)!;
    this.#head = head;
    this.#user = user;
    this.#before = { weight, cap, compress, frozen };
    this.#checksum = crc32(bytes);
    // The saved user may have more pages than its cap: a lower cap does not drop persistent pages.
    const own = this.#usesFile(user) ? { compress: head.compress, cap: 0 } : {};
    this.#set(user, { ...this.#before, ...own, frozen: false });
    const target = { client: user.client, pagesMax: head.pages };
    this.#restore = new Restore(tmem, [], target);
  }

  #usesFile({ isConfigured }: TmemUser): boolean {
    return !isConfigured && this.#head?.hasOwnSettings === true;
  }

  #checkTail(restore: Restore, bytes: Uint8Array): void {
    const tail = decodeTail(bytes, this.#checksum);
    if ('why' in tail) throw unusable(tail.why);
    if (tail.pages !== restore.pages)
      throw unusable(`it has ${restore.pages} pages instead of ${tail.pages}`);
    for (let number = 0; number < POOLS_PER_CLIENT; number++) {
      const pool = this.#table.tmem.poolOf(restore.client, number);
      const isNamed = tail.pools.some((named) => named.pool === number);
      if (isNamed !== (pool !== null)) throw unusable(`pool ${number} has no pages or no name`);
      if (pool !== null && !pool.persistent) throw unusable(`pool ${number} is not persistent`);
    }
    this.#tail = tail;
  }

  #applySettings(user: TmemUser): void {
    const [before, restore] = [this.#before!, this.#restore!];
    const { tmem } = this.#table;
    if (this.#usesFile(user)) {
      tmem.setWeight(user.client, restore.weight);
      tmem.setCap(user.client, restore.cap);
      user.isConfigured = true;
    }
    if (before.frozen) tmem.freeze(user.client);
  }

  #set({ client }: TmemUser, { weight, cap, compress, frozen }: Settings): void {
    const { tmem } = this.#table;
    tmem.setWeight(client, weight);
    tmem.setCap(client, cap);
    tmem.setCompress(client, compress);
    if (frozen) tmem.freeze(client);
    else tmem.thaw(client);
  }

  #refused(refusal: TmemPutResult): SwapError {
    const { uid, client } = this.#user!;
    const { cap } = this.#table.tmem.clientOf(client)!;
    const why =
      refusal === TmemPutResult.capped
        ? `the cap of user ${uid} is ${cap} pages, and it has more: raise it with frontswap tmem-set ${uid} cap=PAGES`
        : `this host has no memory for all pages of user ${uid}: raise --tmem-limit or --total-limit`;
    return new SwapError('ERR_IO_NO_ROOM', `${why}; nothing was restored`, { uid });
  }
}

const unusable = (why: string): SwapError =>
  new SwapError('ERR_IO_IMAGE', `cannot restore the saved user: ${why}; save it again`, {
    reason: why,
  });
