/** The tmem socket with its store, as a part of a host. */
import { randomBytes } from 'node:crypto';
import { lchownSync } from 'node:fs';
import { Budget } from '../arena/budget.ts';
import type { PageReleaseFactory } from '../arena/ops.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { systemDirectIo } from '../os/linux/direct-io.ts';
import { systemHasHungUp } from '../os/linux/hang-up.ts';
import { systemPeerCredentials } from '../os/linux/peer-credentials.ts';
import { systemError } from '../os/system-error.ts';
import { changeMode, type OwnFile, ownFile, removeOwn, tmemSocketPath } from '../os/unix-socket.ts';
import { Store } from '../store/store.ts';
import { CLIENTS_MAX } from '../tmem/options.ts';
import { LEASE_FOREVER } from '../tmem/protocol/wire.ts';
import { POOLS_PER_CLIENT } from '../tmem/results.ts';
import type { TmemUser } from '../tmem/server/client-table.ts';
import { TmemServer } from '../tmem/server/server.ts';
import { UserRestore } from '../tmem/server/user-restore.ts';
import { UserSave } from '../tmem/server/user-save.ts';
import { Tmem } from '../tmem/tmem.ts';
import { tmemStore } from '../tmem/tmem-store.ts';
import { listenAt } from './listen.ts';
import type {
  Log,
  TmemChange,
  TmemFrontEnd,
  TmemFrontEndOptions,
  TmemReport,
  TmemRestore,
  TmemSave,
  TmemUserReport,
} from './parts.ts';
import type { TmemConfig } from './tmem-config.ts';

/** Users at a time. */
const USERS_MAX = 256;
/** Rows for pages: three for each page of the limit, because pages are compressed. */
const PAGES_PER_LIMIT_PAGE = 3;
const PAGES_MIN = 1024;
const PAGES_MAX = 2 ** 24;
/** Rows and index cells of a page, an object and a content: docs/design/tmem.md, "Data layout". */
const TABLE_BYTES_PER_PAGE = 112;
/** Pages if there is no limit: 8 GiB. */
const PAGES_UNLIMITED = 2 ** 21;

/**
 * Listens on the socket of the configuration. @returns the file
 * @throws SwapError of the path, or ERR_IO_SYSTEM: this process may not set the group
 */
export async function listenTmem(
  tmem: TmemFrontEnd,
  { path, mode, gid }: TmemConfig,
): Promise<OwnFile> {
  // No other user may connect before the group is set.
  await listenAt(tmemSocketPath(path), () => tmem.listen(path, gid === null ? mode : 0o600));
  const file = ownFile(path);
  if (gid === null) return file;
  try {
    lchownSync(path, -1, gid);
  } catch (cause) {
    removeOwn(file);
    throw systemError(`set the group of ${path}`, cause, 'choose one of your groups: --tmem-group');
  }
  return changeMode(ownFile(path), mode);
}

/** @throws SwapError ERR_IO_NO_ROOM: no space for the tables in the total */
export function createTmem(
  { config, total, clientsMax, log }: TmemFrontEndOptions,
  release: PageReleaseFactory,
): TmemFrontEnd {
  const { limitBytes, cap, access } = config;
  const ofLimit = Math.floor(limitBytes / PAGE_BYTES) * PAGES_PER_LIMIT_PAGE;
  const pages =
    limitBytes === 0 ? PAGES_UNLIMITED : Math.min(PAGES_MAX, Math.max(PAGES_MIN, ofLimit));
  const budget = new Budget(limitBytes, total);
  const tables = pages * TABLE_BYTES_PER_PAGE;
  if (!budget.reserve(tables))
    throw new SwapError(
      'ERR_IO_NO_ROOM',
      `--tmem: the tables for ${pages} pages need ${tables} bytes; raise --tmem-limit or --total-limit`,
      { bytes: tables },
    );
  const store = new Store({ slots: pages, budget, release, startsEmpty: true });
  const tmem = new Tmem({
    store: tmemStore(store),
    clients: Math.min(USERS_MAX, CLIENTS_MAX),
    dedup: 'off',
    sharedPools: USERS_MAX * POOLS_PER_CLIENT,
    seed: randomBytes(4).readInt32LE(),
  });
  const server = new TmemServer({
    ...{ tmem, access, cap, clientsMax, log },
    peer: systemPeerCredentials(process.platform),
    hasHungUp: systemHasHungUp(process.platform),
    directIo: systemDirectIo(process.platform),
  });
  return new TmemPart(server, tmem, budget, log);
}

const busy = (uid: number, work: 'saved' | 'restored'): SwapError =>
  new SwapError('ERR_IO_IN_USE', `user ${uid} is being ${work}; wait until that ends`, { uid });

class TmemPart implements TmemFrontEnd {
  readonly #server: TmemServer;
  readonly #tmem: Tmem;
  readonly #budget: Budget;
  readonly #log: Log;

  constructor(server: TmemServer, tmem: Tmem, budget: Budget, log: Log) {
    this.#log = log;
    this.#server = server;
    this.#tmem = tmem;
    this.#budget = budget;
  }

  listen(path: string, mode: number): Promise<void> {
    return this.#server.listen(path, mode);
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  report(): TmemReport {
    const users = [...this.#server.clients.users].map((user) => this.#reportOf(user));
    const sum = (key: 'ephemeralPages' | 'persistentPages'): number =>
      users.reduce((pages, user) => pages + user[key], 0);
    return {
      limitBytes: this.#budget.limitBytes,
      usedBytes: this.#budget.usedBytes,
      freeableBytes: this.#tmem.freeableBytes,
      ephemeralPages: sum('ephemeralPages'),
      persistentPages: sum('persistentPages'),
      users: users.sort((a, b) => a.uid - b.uid),
    };
  }

  set(uid: number, { weight, cap, compress }: TmemChange): void {
    const user = this.#server.clients.user(uid);
    if (user?.isRestoring === true) throw busy(uid, 'restored');
    if (user === null)
      throw new SwapError('ERR_IO_NO_ROOM', `the host has ${USERS_MAX} tmem users already`, {});
    user.isConfigured = true;
    if (weight !== undefined) this.#tmem.setWeight(user.client, weight);
    if (compress !== undefined) this.#tmem.setCompress(user.client, compress);
    if (cap !== undefined) this.#tmem.setCap(user.client, cap);
  }

  freeze(uid: number): void {
    this.#tmem.freeze(this.#gateOf(uid).client);
  }

  thaw(uid: number): void {
    this.#tmem.thaw(this.#gateOf(uid).client);
  }

  destroy(uid: number): number {
    return this.#server.clients.doomAll(this.#named(uid));
  }

  save(uid: number): TmemSave {
    const save = new UserSave(this.#server.clients, this.#named(uid));
    return {
      step: (sink) => save.step(sink),
      end: () => {
        save.end();
        const { pages = 0, pools = [] } = save.tail ?? {};
        const what = `${pages} pages of ${pools.length} pools`;
        this.#log(`tmem: saved user ${uid}: ${what}; it stays frozen`);
      },
      [Symbol.dispose]: () => save[Symbol.dispose](),
    };
  }

  restore(uid: number | null): TmemRestore {
    const { clients: table } = this.#server;
    const whyNeverAdmitted = (id: number): string => this.#server.whyNeverAdmitted(id);
    const restore = new UserRestore({ table, uid, whyNeverAdmitted });
    return {
      push: (chunk) => restore.push(chunk),
      end: () => {
        const made = restore.end();
        this.#log(`tmem: restored user ${made.uid}: ${made.pages} pages of ${made.pools} pools`);
        return made;
      },
      [Symbol.dispose]: () => restore[Symbol.dispose](),
    };
  }

  /** The user, if it may be frozen or thawed now. */
  #gateOf(uid: number): TmemUser {
    const user = this.#named(uid);
    if (user.isSaving) throw busy(uid, 'saved');
    return user;
  }

  #named(uid: number): TmemUser {
    const user = this.#server.clients.find(uid);
    if (user?.isRestoring === true) throw busy(uid, 'restored');
    if (user !== null) return user;
    const known = [...this.#server.clients.users].map((one) => one.uid).join(', ');
    const hint = known === '' ? 'no user has any' : `users: ${known}`;
    throw new SwapError('ERR_ARG_UNKNOWN', `user ${uid} has no tmem pools; ${hint}`, { uid });
  }

  #reportOf(user: TmemUser): TmemUserReport {
    const client = this.#tmem.clientOf(user.client)!;
    const { counters } = client;
    const refusals = ['refusedFrozen', 'refusedCapped', 'refusedNoSpace', 'refusedNoRows'] as const;
    return {
      uid: user.uid,
      connections: user.connections,
      weight: client.weight,
      cap: client.cap,
      compress: client.compress,
      isFrozen: client.frozen,
      ephemeralPages: counters.get('ephemeralPages'),
      persistentPages: counters.get('persistentPages'),
      compressedBytes: counters.get('bytes'),
      puts: counters.get('goodPuts'),
      gets: counters.get('goodEphemeralGets') + counters.get('goodPersistentGets'),
      evictedPages: counters.get('evictedPages'),
      refusedPuts: refusals.reduce((sum, name) => sum + counters.get(name), 0),
      pools: user.pools
        .filter((pool) => pool !== null && !pool.isDoomed)
        .map((pool) => ({
          pool: pool!.number,
          isPersistent: this.#tmem.poolOf(user.client, pool!.number)?.persistent ?? false,
          uuid: pool!.name === '' ? null : pool!.name,
          leaseSeconds: pool!.lease === LEASE_FOREVER ? null : pool!.lease,
          connections: pool!.connections,
          pages: this.#tmem.poolOf(user.client, pool!.number)?.counters.get('pages') ?? 0,
        })),
    };
  }
}
