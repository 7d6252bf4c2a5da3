/**
 * Saves a user of the tmem socket to a file (user-file.ts), in steps, so that other users are served in between.
 *
 *   constructor ─▶ frozen ─▶ step(): head, pools and pages, a few at a time ─▶ last step(): the rest, the tail ─▶ end(): frozen
 *                              └ disposed of without end(), also after the last step: the user is as before
 *
 * The user is frozen from the start, so that nothing new needs to be sent. Its gets and flushes go on: what it flushes
 * before the last step is not in the file. It stays frozen, because a page put later would be missing in the file.
 *
 * Saved are the pools that a process could open again: persistent ones with a name and a lease. The constructor and the last
 * step are not divided: each scans every page row of the host, some nanoseconds each.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { Save, type Sink } from '../save.ts';
import type { ClientTable, TmemUser, UserPool } from './client-table.ts';
import { encodeHead, encodeTail, type FileTail, isKept } from './user-file.ts';

/** Pages of a step: a little less than 64 KiB of a file. */
const STEP_PAGES = 15;
/** Page rows that a step visits. */
const STEP_ROWS = 16384;

export class UserSave implements Disposable {
  /** The end of the file, once it was written. */
  tail: FileTail | null = null;
  readonly #table: ClientTable;
  readonly #user: TmemUser;
  readonly #save: Save;
  readonly #wasFrozen: boolean;
  /** The pools to save. One that is opened later is empty, because the user is frozen. */
  readonly #kept: ReadonlySet<UserPool>;
  /** CRC-32 of what was written. */
  #checksum = 0;
  #hasHead = false;
  #isEnded = false;

  /** Freezes the user. @throws SwapError ERR_IO_IN_USE, ERR_ARG_UNKNOWN: it has no pool to save */
  constructor(table: ClientTable, user: TmemUser) {
    const { uid, client } = user;
    const { tmem } = table;
    const { frozen } = tmem.clientOf(client)!;
    if (user.isSaving || user.isRestoring)
      throw new SwapError(
        'ERR_IO_IN_USE',
        `user ${uid} is being ${user.isSaving ? 'saved' : 'restored'} already; wait until that ends`,
        { uid },
      );
    const kept = user.pools.filter((pool) => pool !== null).filter(isKept);
    if (kept.length === 0)
      throw new SwapError(
        'ERR_ARG_UNKNOWN',
        `user ${uid} has no pool to save: only persistent pools with a uuid and a lease can be opened again`,
        { uid },
      );
    this.#table = table;
    this.#user = user;
    this.#wasFrozen = frozen;
    this.#kept = new Set(kept);
    this.#save = new Save(tmem, client, (pool) => this.#isSaved(pool));
    user.isSaving = true;
    tmem.freeze(client);
  }

  /**
   * Writes the next part of the file: about 64 KiB, or the last part, which has a bit for each page.
   * @returns true: it was the last part
   */
  step(sink: Sink): boolean {
    const write: Sink = (chunk) => {
      this.#checksum = crc32(chunk, this.#checksum);
      sink(chunk);
    };
    if (!this.#hasHead) this.#writeHead(write);
    const save = this.#save;
    save.step(write, STEP_PAGES, STEP_ROWS);
    if (!save.isCaughtUp) return false;
    const { tmem } = this.#table;
    // The stream says whether the restored user is frozen; finish() freezes this one again.
    if (!this.#wasFrozen) tmem.thaw(this.#user.client);
    const pages = save.finish(write);
    const kept = [...this.#kept].filter(({ number }) => this.#isSaved(number));
    this.tail = {
      pools: kept.map(({ number: pool, lease, name }) => ({ pool, lease, name })),
      pages,
      damagedPages: save.damagedPages,
      leftPools: this.#user.poolCount - kept.length,
    };
    sink(encodeTail(this.tail, this.#checksum));
    return true;
  }

  /** The file has arrived: the user stays frozen. */
  end(): void {
    assert(this.tail !== null, 'the last step was done');
    this.#isEnded = true;
    this.#user.isSaving = false;
  }

  /** Without end(), the user is again as it was before the save. */
  [Symbol.dispose](): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#save[Symbol.dispose]();
    this.#user.isSaving = false;
    if (!this.#wasFrozen) this.#table.tmem.thaw(this.#user.client);
  }

  #writeHead(write: Sink): void {
    this.#hasHead = true;
    const { uid, client, isConfigured: hasOwnSettings } = this.#user;
    const { tmem } = this.#table;
    let pages = 0;
    for (const { number } of this.#kept)
      if (this.#isSaved(number)) pages += tmem.poolOf(client, number)?.counters.get('pages') ?? 0;
    const { compress } = tmem.clientOf(client)!;
    write(encodeHead({ uid, pages, hasOwnSettings, compress }));
  }

  #isSaved(number: number): boolean {
    const pool = this.#user.pools[number] ?? null;
    return pool !== null && this.#kept.has(pool) && isKept(pool);
  }
}
