/**
 * The requests of the control socket: paths, methods, checks of their bodies, and replies. The transport is in
 * control-server.ts. docs/reference/control-api.md describes the requests for users. Within v1, fields and paths are only
 * added.
 *
 *   GET    /v1/disks                the list document (list-document.ts)
 *   POST   /v1/disks                adds a disk                   {"name","size","limit","backing","shared","keep","rate",
 *                                                                  "allow-uid","allow-gid"}
 *   GET    /v1/disks/NAME           one disk
 *   PATCH  /v1/disks/NAME           changes settings              {"size","limit","rate","keep",
 *                                                                  "allow-uid","allow-gid"}
 *   DELETE /v1/disks/NAME           removes it
 *   POST   /v1/disks/NAME/freeze, thaw, flush, reset
 *   /v1/tmem, /v1/tmem/UID         the tmem socket (tmem-routes.ts; save and restore: tmem-transfers.ts)
 *   GET    /v1/events               JSON lines, until the client disconnects
 *   GET    /v1/health               health and counters of the host
 *   GET    /metrics, /healthz, /readyz      as on the metrics server (metrics-server.ts)
 *   POST   /v1/reload               reads the configuration files again
 *   POST   /v1/stop                 202, then a clean stop
 *
 * DELETE, PATCH, reset and stop take ?force=1.
 */
import { SwapError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { accessKeys, parseAccess } from './disk-access.ts';
import { type DiskText, extraKeys, parseDiskSize, parseKeep, parseRate } from './disk-config.ts';
import type { DiskChange } from './disk-table.ts';
import type { HostEvents } from './events.ts';
import { parseLimit } from './limits.ts';
import type { DiskReport } from './list-document.ts';
import type { MetricsRoute } from './metrics-server.ts';
import type { TmemFrontEnd } from './parts.ts';
import type { ReloadReport } from './reload/apply.ts';
import {
  parseTmemChange,
  parseUid,
  RESTORE_PATH,
  tmemDocument,
  tmemKeys,
  tmemOf,
  userIn,
} from './tmem-routes.ts';

/** What a host does for clients of its control socket. All throw SwapError. */
export interface ControlHandlers {
  disks(): object | Promise<object>;
  disk(name: string): DiskReport | Promise<DiskReport>;
  health(): object | Promise<object>;
  readonly events: HostEvents;
  /** /metrics, /healthz, /readyz by path. */
  readonly metrics: ReadonlyMap<string, MetricsRoute>;
  add(disk: DiskText): void | Promise<void>;
  /** @returns bytes of pages dropped */
  remove(disk: string, force: boolean): Promise<number>;
  set(disk: string, change: DiskChange, force: boolean): Promise<void>;
  freeze(disk: string): Promise<void>;
  thaw(disk: string): Promise<void>;
  /** @returns bytes of pages moved to the backing */
  flush(disk: string): Promise<number>;
  /** @returns bytes of pages dropped */
  reset(disk: string, force: boolean): Promise<number>;
  /** The tmem socket; null: there is none. */
  tmem(): TmemFrontEnd | null;
  reload(): Promise<ReloadReport>;
  /** @throws SwapError ERR_IO_IN_USE: a stop would lose pages of clients */
  checkStop(force: boolean): void | Promise<void>;
  /** Starts the stop. Called when the reply was sent or the client has disconnected. */
  stop(): void;
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

interface Asked {
  /** Name of the disk, or id of the user; '' in paths without one. */
  readonly disk: string;
  readonly force: boolean;
  /** The parsed body; undefined: empty. */
  readonly body: unknown;
}

export interface Route {
  readonly status: number;
  readonly answer: (handlers: ControlHandlers, asked: Asked) => object | Promise<object>;
  /** Called once the reply is sent. */
  readonly after?: (handlers: ControlHandlers) => void;
  /** The reply is a stream of events. */
  readonly isStream?: boolean;
}

const done = { schemaVersion: 1 };

/** The reply has the state of the disk after the operation. */
const withDisk = async (handlers: ControlHandlers, disk: string): Promise<object> => ({
  ...done,
  disk: await handlers.disk(disk),
});

const route = (answer: Route['answer'], rest: Partial<Route> = {}): Route => ({
  status: 200,
  answer,
  ...rest,
});

const invalid = (key: string, value: unknown, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `the request: ${key}: ${JSON.stringify(value) ?? ''} ${why}`, {
    key,
    value: String(value),
  });

/** The values of a JSON object as text, in the form of flags and the configuration file. */
function textsOf(body: unknown, keys: readonly string[]): ReadonlyMap<string, string> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new SwapError('ERR_ARG_VALUE', 'the request: the body is not a JSON object', {});
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(body)) {
    if (!keys.includes(key))
      throw new SwapError(
        'ERR_ARG_VALUE',
        `the request: unknown key '${key}'${suggestion(key, keys)}; keys: ${keys.join(', ')}`,
        { key },
      );
    if (typeof value === 'string') texts.set(key, value);
    else if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0)
      texts.set(key, String(value));
    else if (typeof value === 'boolean') texts.set(key, value ? 'on' : 'off');
    else throw invalid(key, value, 'is not a string, a whole number, true or false');
  }
  return texts;
}

/** The disk that the body of a POST describes. */
function diskOfBody(body: unknown): DiskText {
  const texts = textsOf(body, ['name', 'size', ...extraKeys]);
  const part = (key: string): string => {
    const text = texts.get(key);
    if (text === undefined) throw invalid(key, null, 'is missing');
    return text;
  };
  const given = new Map([...texts].filter(([key]) => extraKeys.includes(key)));
  return { name: part('name'), size: part('size'), given };
}

/** Settings that change while a disk is served. */
export const changeKeys: readonly string[] = ['size', 'limit', 'rate', 'keep', ...accessKeys];

/** The change that the body of a PATCH describes. */
function changeOfBody(body: unknown): DiskChange {
  const texts = textsOf(body, changeKeys);
  if (texts.size === 0)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `the request: nothing to set; keys: ${changeKeys.join(', ')}`,
    );
  const from = 'the request: ';
  const change: { -readonly [Key in keyof DiskChange]: DiskChange[Key] } = {};
  for (const [key, text] of texts)
    if (key === 'size') change.sizeBytes = parseDiskSize(from + key, text);
    else if (key === 'limit') change.limitBytes = parseLimit(from + key, text, usableMemory());
    else if (key === 'rate') change.rateBytes = parseRate(from + key, text);
    else if (key === 'keep') change.keepSeconds = parseKeep(from + key, text);
  const access = parseAccess(from, texts);
  if (access !== null) change.access = access;
  return change;
}

const diskRoutes: Readonly<Partial<Record<Method, Route>>> = {
  GET: route((h, { disk }) => withDisk(h, disk)),
  PATCH: route(async (h, { disk, body, force }) => {
    await h.set(disk, changeOfBody(body), force);
    return withDisk(h, disk);
  }),
  DELETE: route(async (h, { disk, force }) => ({
    ...done,
    disk,
    droppedBytes: await h.remove(disk, force),
  })),
};

const verbRoutes: ReadonlyMap<string, Route> = new Map([
  [
    'freeze',
    route(async (h, { disk }) => {
      await h.freeze(disk);
      return withDisk(h, disk);
    }),
  ],
  [
    'thaw',
    route(async (h, { disk }) => {
      await h.thaw(disk);
      return withDisk(h, disk);
    }),
  ],
  ['flush', route(async (h, { disk }) => ({ ...done, disk, movedBytes: await h.flush(disk) }))],
  [
    'reset',
    route(async (h, { disk, force }) => ({
      ...done,
      disk,
      droppedBytes: await h.reset(disk, force),
    })),
  ],
]);

/** A route about a user. The reply has the state of the user after the operation. */
const userRoute = (work: (tmem: TmemFrontEnd, uid: number, asked: Asked) => void): Route =>
  route((h, asked) => {
    const tmem = tmemOf(h.tmem());
    const uid = parseUid('the request', asked.disk);
    work(tmem, uid, asked);
    return { ...done, user: userIn(tmem, uid) };
  });

const userRoutes: Readonly<Partial<Record<Method, Route>>> = {
  PATCH: userRoute((tmem, uid, { body }) =>
    tmem.set(uid, parseTmemChange('the request: ', textsOf(body, tmemKeys))),
  ),
  DELETE: route((h, { disk }) => {
    const uid = parseUid('the request', disk);
    return { ...done, uid, destroyedPools: tmemOf(h.tmem()).destroy(uid) };
  }),
};

const userVerbRoutes: ReadonlyMap<string, Route> = new Map([
  ['freeze', userRoute((tmem, uid) => tmem.freeze(uid))],
  ['thaw', userRoute((tmem, uid) => tmem.thaw(uid))],
]);

const fixedRoutes: ReadonlyMap<string, Readonly<Partial<Record<Method, Route>>>> = new Map([
  [
    '/v1/disks',
    {
      GET: route((h) => h.disks()),
      POST: route(
        async (h, { body }) => {
          const disk = diskOfBody(body);
          await h.add(disk);
          return withDisk(h, disk.name);
        },
        { status: 201 },
      ),
    },
  ],
  ['/v1/tmem', { GET: route((h) => tmemDocument(tmemOf(h.tmem()))) }],
  ['/v1/health', { GET: route((h) => h.health()) }],
  ['/v1/reload', { POST: route(async (h) => ({ ...done, ...(await h.reload()) })) }],
  ['/v1/events', { GET: route(() => done, { isStream: true }) }],
  [
    '/v1/stop',
    {
      POST: route(
        async (h, { force }) => {
          await h.checkStop(force);
          return { ...done, pid: process.pid };
        },
        { status: 202, after: (h) => h.stop() },
      ),
    },
  ],
]);

/** All paths, for the error of an unknown one. */
const paths = [
  ...fixedRoutes.keys(),
  '/v1/disks/NAME',
  ...[...verbRoutes.keys()].map((verb) => `/v1/disks/NAME/${verb}`),
  '/v1/tmem/UID',
  ...[...userVerbRoutes.keys(), 'save'].map((verb) => `/v1/tmem/UID/${verb}`),
  RESTORE_PATH,
].join(', ');

/** Paths with a name: of a disk, of a user of the tmem socket. */
const named = new Map([
  ['disks', { routes: diskRoutes, verbs: verbRoutes }],
  ['tmem', { routes: userRoutes, verbs: userVerbRoutes }],
]);

/** A route, or the reason why there is none. */
export type Found =
  | { readonly route: Route; readonly disk: string }
  | { readonly status: 404 | 405; readonly message: string; readonly allow: string };

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Finds the route of a request by its path, without the query. */
export function findRoute(method: string, path: string): Found {
  const [, version, kind, name, verb, ...more] = path.split('/');
  const kinds = version === 'v1' ? named.get(kind ?? '') : undefined;
  const isNamed = kinds !== undefined && name !== undefined && more.length === 0;
  const verbRoute = verb === undefined ? undefined : kinds?.verbs.get(verb);
  const methods: Readonly<Partial<Record<Method, Route>>> | undefined = isNamed
    ? verb === undefined
      ? kinds.routes
      : verbRoute && { POST: verbRoute }
    : fixedRoutes.get(path);
  if (methods === undefined)
    return { status: 404, message: `unknown path '${path}'; paths: ${paths}`, allow: '' };
  const found = Object.hasOwn(methods, method) ? methods[method as Method] : undefined;
  const allow = Object.keys(methods).join(', ');
  return found === undefined
    ? { status: 405, message: `${path} requires ${allow}`, allow }
    : { route: found, disk: isNamed ? decoded(name) : '' };
}
