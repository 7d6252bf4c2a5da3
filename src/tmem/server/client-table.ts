/**
 * The clients of the tmem socket and their pools. A client is a system user; all its connections see the same pools.
 *
 *   connected()    a connection of the user starts       ─▶ TmemUser.connect() ─▶ UserConnection: the pools it has open
 *   open()         a pool without a name: of this connection only; with one: the user's pool of that uuid, or a new one
 *   end            each pool that no connection has open any more is doomed, immediately or when its lease ends
 *   step()         drops pages of doomed pools, a bounded number at a time
 *   beginRestore() a saved user gets its pools again (user-restore.ts); until endRestore() no connection of it is accepted
 *
 * Invariants
 * - A pool is in `pools` of its user until its last page is dropped, so it counts against the 16 pools until then.
 * - A doomed pool has no connection and is not found by its name.
 * - A user without connections and pools is removed, unless an operator has configured or frozen it.
 */
import { SwapError } from '../../base/errors.ts';
import type { ConnectionPools } from '../protocol/session.ts';
import { LEASE_FOREVER, PoolFlag } from '../protocol/wire.ts';
import { NewPoolError, POOLS_PER_CLIENT, TmemFlushResult } from '../results.ts';
import type { Tmem } from '../tmem.ts';
import type { FilePool } from './user-file.ts';

/** Connections of one user. */
export const CONNECTIONS_PER_USER = 64;
/** Pages of doomed pools dropped per step. */
const DROP_PAGES = 256;
/** Puts and drops between calls of tmem's maintenance. */
const MAINTAIN_CHANGES = 256;

export interface UserPool {
  readonly number: number;
  readonly flags: number;
  /** 32 hex digits; '': none. */
  readonly name: string;
  /** Seconds that it outlives its last connection. */
  lease: number;
  connections: number;
  /** When the lease ends, ms; Infinity: it has no end, or connections have the pool open. */
  expiresMs: number;
  isDoomed: boolean;
}

/** One user of the system. */
export class TmemUser {
  readonly uid: number;
  /** Its number in tmem. */
  readonly client: number;
  readonly pools: (UserPool | null)[] = new Array<UserPool | null>(POOLS_PER_CLIENT).fill(null);
  connections = 0;
  /** An operator has configured it: it is kept without connections. */
  isConfigured = false;
  /** Its pools are being saved: it is frozen, and nothing else freezes or thaws it. */
  isSaving = false;
  /** Its pools are being restored: it has no connections. */
  isRestoring = false;

  constructor(uid: number, client: number) {
    this.uid = uid;
    this.client = client;
  }

  get poolCount(): number {
    return this.pools.reduce((count, pool) => count + (pool === null ? 0 : 1), 0);
  }
}

export interface ClientTableOptions {
  readonly tmem: Tmem;
  /** Monotonic clock, ms. */
  readonly nowMs: () => number;
  /** Cap of users without a cap of their own, pages; 0: none. */
  readonly cap: number;
  /** Called when pools become doomed: step() has work. */
  readonly onDoomed: () => void;
}

export class ClientTable {
  readonly tmem: Tmem;
  readonly #options: ClientTableOptions;
  readonly #users = new Map<number, TmemUser>();
  #sharedMade = 0;

  constructor(options: ClientTableOptions) {
    this.tmem = options.tmem;
    this.#options = options;
  }

  get users(): Iterable<TmemUser> {
    return this.#users.values();
  }

  find(uid: number): TmemUser | null {
    return this.#users.get(uid) ?? null;
  }

  /** The user, created if it is new; null if tmem has no number for another client. */
  user(uid: number): TmemUser | null {
    const known = this.#users.get(uid);
    if (known !== undefined) return known;
    const client = this.tmem.addClient({ cap: this.#options.cap });
    if (client < 0) return null;
    const user = new TmemUser(uid, client);
    this.#users.set(uid, user);
    return user;
  }

  /** Lets tmem do its maintenance if enough pages have changed. */
  maintain(): void {
    if (this.tmem.index.changes >= MAINTAIN_CHANGES) this.tmem.maintain();
  }

  /**
   * Starts to restore pools of a user, which must have none and no connections.
   * @throws SwapError ERR_IO_IN_USE, ERR_IO_NO_ROOM
   */
  beginRestore(uid: number): TmemUser {
    const user = this.user(uid);
    if (user === null)
      throw new SwapError('ERR_IO_NO_ROOM', 'the host has too many tmem users', {});
    const { connections, poolCount, isRestoring } = user;
    const inUse = (why: string): SwapError =>
      new SwapError('ERR_IO_IN_USE', `user ${uid} ${why}`, { uid });
    if (isRestoring) throw inUse('is being restored already; wait until that ends');
    if (connections > 0)
      throw inUse(`has ${connections} connections to this host; disconnect its processes first`);
    if (poolCount > 0 && user.pools.every((pool) => pool?.isDoomed !== false))
      throw inUse('has pools whose pages are still being dropped; try again in a moment');
    if (poolCount > 0)
      throw inUse(
        `has ${poolCount} pools in this host; drop them first: frontswap tmem-destroy ${uid}`,
      );
    user.isRestoring = true;
    return user;
  }

  /**
   * Ends a restore.
   * @param pools the pools in tmem, from now on open to the user; null: it failed, and all pools in tmem are dropped
   */
  endRestore(user: TmemUser, pools: readonly FilePool[] | null): void {
    user.isRestoring = false;
    for (let number = 0; number < POOLS_PER_CLIENT; number++) {
      const pool = this.tmem.poolOf(user.client, number);
      if (pool === null) continue;
      const { name = '', lease = 0 } = pools?.find((known) => known.pool === number) ?? {};
      const exclusive = pool.exclusiveGets ? PoolFlag.exclusiveGets : 0;
      const flags = PoolFlag.persistent | PoolFlag.named | exclusive;
      const expiresMs = this.#leaseEnd(lease);
      const made = { number, flags, name, lease, connections: 0, expiresMs, isDoomed: false };
      user.pools[number] = made;
      if (pools === null) this.doom(made);
    }
    this.#removeIfUnused(user);
  }

  connect(user: TmemUser): UserConnection {
    user.connections++;
    return new UserConnection(this, user);
  }

  /** NEW_POOL. Returns the number of the pool, or an error below 0. */
  open(user: TmemUser, flags: number, lease: number, name: string): number {
    const known = name === '' ? undefined : user.pools.find((p) => p?.name === name && !p.isDoomed);
    if (known != null) {
      if (known.flags !== flags) return NewPoolError.otherKind;
      known.connections++;
      known.lease = lease;
      known.expiresMs = Number.POSITIVE_INFINITY;
      return known.number;
    }
    if (!user.pools.includes(null)) return NewPoolError.tooMany;
    const persistent = (flags & PoolFlag.persistent) !== 0;
    const exclusiveGets = (flags & PoolFlag.exclusiveGets) !== 0;
    const number =
      persistent || name === ''
        ? this.tmem.newPool(user.client, { persistent, exclusiveGets })
        : this.#newShared(user.client);
    if (number < 0) return number;
    const expiresMs = Number.POSITIVE_INFINITY;
    user.pools[number] = { number, flags, name, lease, connections: 1, expiresMs, isDoomed: false };
    return number;
  }

  /** A connection no longer uses the pool. */
  leave(user: TmemUser, number: number): void {
    const pool = user.pools[number];
    if (pool == null || --pool.connections > 0) return;
    const { lease } = pool;
    if (lease === 0) this.doom(pool);
    else pool.expiresMs = this.#leaseEnd(lease);
  }

  /** When a lease that starts now ends. */
  #leaseEnd(lease: number): number {
    if (lease === LEASE_FOREVER) return Number.POSITIVE_INFINITY;
    return this.#options.nowMs() + lease * 1000;
  }

  /** Drops up to `pagesMax` pages of a pool that no connection has open; returns `more` while pages are left. */
  destroy(user: TmemUser, number: number, pagesMax: number): TmemFlushResult {
    if (this.tmem.emptyPool(user.client, number, pagesMax) === TmemFlushResult.more)
      return TmemFlushResult.more;
    user.pools[number] = null;
    return this.tmem.destroyPool(user.client, number);
  }

  disconnected(user: TmemUser): void {
    user.connections--;
    this.#removeIfUnused(user);
  }

  /** Dooms pools whose lease has ended, and removes users that were thawed without connections and pools. */
  expire(): void {
    const now = this.#options.nowMs();
    for (const user of this.#users.values()) {
      for (const pool of user.pools) if (pool !== null && pool.expiresMs <= now) this.doom(pool);
      this.#removeIfUnused(user);
    }
  }

  /** Dooms all pools of the user; returns their number. Its connections can no longer find them. */
  doomAll(user: TmemUser): number {
    let count = 0;
    for (const pool of user.pools) {
      if (pool === null || pool.isDoomed) continue;
      this.doom(pool);
      count++;
    }
    return count;
  }

  /** Drops some pages of a doomed pool. Returns false if there is none. */
  step(): boolean {
    for (const user of this.#users.values())
      for (const pool of user.pools) {
        if (pool?.isDoomed !== true) continue;
        const isGone = this.destroy(user, pool.number, DROP_PAGES) !== TmemFlushResult.more;
        if (isGone) this.#removeIfUnused(user);
        return true;
      }
    return false;
  }

  /** Connections can no longer find the pool; step() drops its pages. */
  doom(pool: UserPool): void {
    pool.isDoomed = true;
    pool.connections = 0;
    pool.expiresMs = Number.POSITIVE_INFINITY;
    this.#options.onDoomed();
  }

  #removeIfUnused(user: TmemUser): void {
    const isFrozen = this.tmem.clientOf(user.client)?.frozen === true;
    const isUsed = user.connections > 0 || user.poolCount > 0 || user.isRestoring;
    if (isUsed || user.isConfigured || isFrozen) return;
    this.#users.delete(user.uid);
    this.tmem.destroyClient(user.client);
  }

  /** Tmem finds shared pools by uuid among all clients, but authorises no other client for this one. */
  #newShared(client: number): number {
    const shared = (++this.#sharedMade).toString(16).padStart(32, '0');
    this.tmem.authorise(client, shared);
    const number = this.tmem.newPool(client, { shared });
    this.tmem.deauthorise(client, shared);
    return number;
  }
}

/** The pools that one connection has open. */
export class UserConnection implements ConnectionPools {
  readonly tmem: Tmem;
  readonly client: number;
  readonly user: TmemUser;
  readonly #table: ClientTable;
  /** By number. Holds the pool object, to distinguish a later pool with the same number. */
  readonly #open: (UserPool | null)[] = new Array<UserPool | null>(POOLS_PER_CLIENT).fill(null);
  #isEnded = false;

  constructor(table: ClientTable, user: TmemUser) {
    this.#table = table;
    this.tmem = table.tmem;
    this.user = user;
    this.client = user.client;
  }

  isOpen(number: number): boolean {
    const pool = this.#open[number] ?? null;
    return pool !== null && !pool.isDoomed && this.user.pools[number] === pool;
  }

  open(flags: number, lease: number, name: string): number {
    const number = this.#table.open(this.user, flags, lease, name);
    if (number < 0) return number;
    const pool = this.user.pools[number]!;
    if (this.#open[number] === pool) pool.connections--; // already open here
    this.#open[number] = pool;
    return number;
  }

  destroy(number: number, pagesMax: number): TmemFlushResult {
    const pool = this.#open[number] ?? null;
    if (pool === null) return TmemFlushResult.noPool;
    if (pool.connections > 1) {
      this.#table.leave(this.user, number);
      this.#open[number] = null;
      return TmemFlushResult.done;
    }
    if (!pool.isDoomed) this.#table.doom(pool);
    // step() may have dropped it in the meantime.
    const isHere = this.user.pools[number] === pool;
    const result = isHere ? this.#table.destroy(this.user, number, pagesMax) : TmemFlushResult.done;
    if (result !== TmemFlushResult.more) this.#open[number] = null;
    return result;
  }

  /** The connection has ended. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    for (let number = 0; number < POOLS_PER_CLIENT; number++)
      if (this.isOpen(number)) this.#table.leave(this.user, number);
    this.#table.disconnected(this.user);
  }
}
