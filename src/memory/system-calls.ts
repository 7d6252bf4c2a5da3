/**
 * System calls that are given paged memory. Without privilege a userfaultfd reports only faults in user mode: a system
 * call that touches a page which is not resident fails with EFAULT, or sends nothing. So Node's functions pass the
 * kernel a copy, or a buffer of their own.
 *
 *   out   fs.write… · streams · dgram · spawnSync's input     a copy of the bytes; files in pieces of 64 KiB
 *   in    fs.read…                                            to a buffer of ours, in pieces, and copied from there
 *   WASI  fd_write, fd_read, random_get, …                    after an EFAULT: a piece is pinned, and the call made again
 *
 * Invariants
 * - Views that are not in or near paged memory reach the native function as they are, as do all views where faults in
 *   system calls are served.
 * - Pieces follow each other only in regular files. A pipe, a socket or a terminal gives what it has, once.
 *
 * Left out: native addons that make system calls of their own, and the `onread` buffer of net.connect().
 * Sources: userfaultfd(2), UFFD_USER_MODE_ONLY; Node's documentation of fs, stream, dgram, child_process, wasi.
 */
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import type { Writable } from 'node:stream';
import { type Callable, replace, wrapFunction } from './platform-wrapper.ts';

/** Most bytes that are copied at once: less than the smallest budget lets a program pin. */
const PIECE_BYTES = 65_536;

/** True: the bytes may be not resident, and a system call on them fails. */
export type IsAway = (view: ArrayBufferView) => boolean;

type Args = readonly unknown[];
type Result = { readonly [name: string]: unknown };

/** Wraps the functions of fs, once for a process: before the program takes them out of their module. */
export function guardFiles(isAway: IsAway): void {
  const { here, allHere } = copiers(isAway);
  for (const name of ['writeFile', 'writeFileSync', 'appendFile', 'appendFileSync'])
    guardArgument(fs, name, 1, here);
  for (const name of ['writev', 'writevSync']) guardArgument(fs, name, 1, allHere);
  for (const name of ['writeFile', 'appendFile'])
    guardArgument(fs.promises, name, 1, (data) => contentHere(data, here));
  for (const way of ['write', 'read'] as const) {
    guard(fs, `${way}Sync`, (native, self, args) => moveSync(native, self, args, way, isAway));
    guard(fs, way, (native, self, args) => moveThenCall(native, self, args, way, isAway));
  }
  guard(fs, 'readvSync', (native, self, args) => readvSync(native, self, args, isAway));
  guard(fs, 'readv', (native, self, args) => readv(native, self, args, isAway));
  guardHandles(isAway, here, allHere);
  syncBuiltinESMExports();
}

/**
 * Wraps the functions of streams, sockets and child processes, once per process. Nearly all are methods that programs
 * call on an instance, so it is early enough to wrap them when the first memory is paged; until then none of their
 * modules is loaded (2 MB, 3 ms).
 */
export function guardStreams(isAway: IsAway): void {
  const { here, allHere } = copiers(isAway);
  const require = createRequire(import.meta.url);
  const { Writable, Duplex } = require('node:stream') as typeof import('node:stream');
  const { Socket } = require('node:dgram') as typeof import('node:dgram');
  const childProcess = require('node:child_process') as object;
  for (const { prototype } of [Writable, Duplex])
    for (const name of ['write', 'end']) guardStream(prototype, name, here);
  guardArgument(Socket.prototype, 'send', 0, allHere);
  for (const name of ['spawnSync', 'execFileSync', 'execSync'])
    for (const at of [1, 2])
      guardArgument(childProcess, name, at, (value) => withInputHere(value, here));
  syncBuiltinESMExports();
}

/** What puts copies in the place of a value, and of each in an array. */
function copiers(isAway: IsAway): Record<'here' | 'allHere', (value: unknown) => unknown> {
  const here = (value: unknown): unknown => copyOf(value, isAway);
  return { here, allHere: (value) => (Array.isArray(value) ? value.map(here) : here(value)) };
}

/** Only an open file handle gives access to its class. */
function guardHandles(
  isAway: IsAway,
  here: (value: unknown) => unknown,
  allHere: (value: unknown) => unknown,
): void {
  let isDone = false;
  guard(fs.promises, 'open', async (native, self, args) => {
    const handle = (await Reflect.apply(native, self, args)) as object;
    if (isDone) return handle;
    isDone = true;
    const prototype = Object.getPrototypeOf(handle) as object;
    for (const name of ['writeFile', 'appendFile'])
      guardArgument(prototype, name, 0, (data) => contentHere(data, here));
    guardArgument(prototype, 'writev', 0, allHere);
    for (const way of ['write', 'read'] as const)
      guard(prototype, way, (to, file, given) => moveOfHandle(to, file, given, way, isAway));
    guard(prototype, 'readv', (to, file, given) => handleReadv(to, file, given, isAway));
    return handle;
  });
}

function guard(
  holder: object,
  name: string,
  call: (native: Callable, self: unknown, args: Args) => unknown,
): void {
  const native = (holder as Record<string, Callable | undefined>)[name];
  if (native !== undefined) replace(holder, name, wrapFunction(native, call));
}

/** The argument at a place goes through `change`; where that leaves it as it is, so are all. */
function guardArgument(
  holder: object,
  name: string,
  at: number,
  change: (value: unknown) => unknown,
): void {
  guard(holder, name, (native, self, args) => {
    if (args.length <= at) return Reflect.apply(native, self, args);
    const all = [...args];
    all[at] = change(all[at]);
    return Reflect.apply(native, self, all);
  });
}

/** A stream of objects hands on the object itself: no system call is made of it. */
function guardStream(holder: object, name: string, here: (value: unknown) => unknown): void {
  guard(holder, name, (native, self, args) => {
    if (args.length === 0 || (self as Writable).writableObjectMode)
      return Reflect.apply(native, self, args);
    return Reflect.apply(native, self, [here(args[0]), ...args.slice(1)]);
  });
}

/** A copy of a view of paged memory, of the same class; any other value itself. */
function copyOf(value: unknown, isAway: IsAway): unknown {
  if (value instanceof ArrayBuffer) return isAway(new Uint8Array(value)) ? value.slice(0) : value;
  if (!ArrayBuffer.isView(value) || !isAway(value)) return value;
  const copy = new ArrayBuffer(value.byteLength);
  new Uint8Array(copy).set(bytesOf(value));
  return viewLike(value, copy);
}

const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

function viewLike(view: ArrayBufferView, buffer: ArrayBuffer): ArrayBufferView {
  if (Buffer.isBuffer(view)) return Buffer.from(buffer);
  if (view instanceof DataView) return new DataView(buffer);
  const name = Reflect.apply(typedArrayName, view, []) as 'Uint8Array';
  return new globalThis[name](buffer);
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

function withInputHere(options: unknown, here: (value: unknown) => unknown): unknown {
  if (typeof options !== 'object' || options === null || !('input' in options)) return options;
  const input = here(options.input);
  return input === options.input ? options : { ...options, input };
}

/** What a promise of a file's writing takes: bytes, or something that yields them. */
function contentHere(data: unknown, here: (value: unknown) => unknown): unknown {
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) return here(data);
  if (!(Symbol.asyncIterator in data) && !(Symbol.iterator in data)) return data;
  return (async function* () {
    for await (const part of data as AsyncIterable<unknown>) yield here(part);
  })();
}

/** What a call for one run of bytes asks, in whichever form: (buffer, offset, length, position), (buffer, { … }). */
interface Run {
  readonly bytes: Uint8Array;
  readonly position: unknown;
}

/** Null: no paged memory, or arguments that the native function is to refuse. */
function runOf(args: Args, at: number, isAway: IsAway): Run | null {
  let buffer = args[at];
  let wishes: unknown = args[at + 1];
  if (isOptions(buffer)) {
    wishes = buffer;
    buffer = (buffer as Result)['buffer'];
  }
  if (!ArrayBuffer.isView(buffer) || !isAway(buffer)) return null;
  const {
    offset = 0,
    length,
    position,
  } = isOptions(wishes)
    ? (wishes as Result)
    : { offset: wishes ?? 0, length: args[at + 2], position: args[at + 3] };
  const count = typeof length === 'number' ? length : buffer.byteLength - Number(offset);
  const isInside =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(count) &&
    Number(offset) >= 0 &&
    count >= 0 &&
    Number(offset) + count <= buffer.byteLength;
  if (!isInside) return null;
  const bytes = bytesOf(buffer).subarray(Number(offset), Number(offset) + count);
  return { bytes, position: position ?? null };
}

const isOptions = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);

/** Where a piece goes that comes `done` bytes after the beginning; null and what is negative: where the file is. */
function positionAfter(position: unknown, done: number): unknown {
  if (typeof position === 'bigint') return position < 0n ? position : position + BigInt(done);
  return typeof position === 'number' && position >= 0 ? position + done : position;
}

type Way = 'write' | 'read';

/** The pieces of a run, one after the other, through one buffer. */
class Pieces {
  done = 0;
  /** All was moved, or the last piece was short or failed. */
  isOver = false;
  readonly #run: Run;
  readonly #way: Way;
  readonly #scratch: Uint8Array;
  #piece: Uint8Array;

  constructor(run: Run, way: Way) {
    this.#run = run;
    this.#way = way;
    this.#scratch = new Uint8Array(Math.min(PIECE_BYTES, run.bytes.length));
    this.#piece = this.#scratch;
  }

  /** Buffer, offset, length and position for the native function. */
  next(): readonly [Uint8Array, number, number, unknown] {
    const { bytes, position } = this.#run;
    const length = Math.min(PIECE_BYTES, bytes.length - this.done);
    this.#piece = this.#scratch.subarray(0, length);
    if (this.#way === 'write') this.#piece.set(bytes.subarray(this.done, this.done + length));
    return [this.#piece, 0, length, positionAfter(position, this.done)];
  }

  moved(count: number): void {
    const { bytes } = this.#run;
    if (this.#way === 'read') bytes.set(this.#piece.subarray(0, count), this.done);
    this.done += count;
    this.isOver = count < this.#piece.length || this.done === bytes.length;
  }

  /** What was moved before counts. @throws error where nothing was */
  failed(error: unknown): void {
    if (this.done === 0) throw error;
    this.isOver = true;
  }
}

/**
 * Null: as runOf(). A second read from a pipe or a socket would wait for bytes that were not sent: only files have one.
 */
function piecesOf(fd: unknown, args: Args, at: number, way: Way, isAway: IsAway): Pieces | null {
  const run = runOf(args, at, isAway);
  if (run === null) return null;
  const isWhole = way === 'write' || (typeof fd === 'number' && fs.fstatSync(fd).isFile());
  const bytes = isWhole ? run.bytes : run.bytes.subarray(0, PIECE_BYTES);
  return new Pieces({ ...run, bytes }, way);
}

function moveSync(native: Callable, self: unknown, args: Args, way: Way, isAway: IsAway): unknown {
  const [fd] = args;
  const pieces = piecesOf(fd, args, 1, way, isAway);
  if (pieces === null) return Reflect.apply(native, self, args);
  while (!pieces.isOver)
    try {
      pieces.moved(Reflect.apply(native, self, [fd, ...pieces.next()]) as number);
    } catch (error) {
      pieces.failed(error);
    }
  return pieces.done;
}

async function moveLater(
  pieces: Pieces,
  move: (piece: ReturnType<Pieces['next']>) => Promise<number>,
): Promise<number> {
  while (!pieces.isOver)
    try {
      pieces.moved(await move(pieces.next()));
    } catch (error) {
      pieces.failed(error);
    }
  return pieces.done;
}

type Callback = (error: unknown, count?: number, buffer?: unknown) => void;

/** A call with a callback as a promise of its count. */
const counted = (native: Callable, self: unknown, args: Args): Promise<number> =>
  new Promise((done, fail) => {
    const callback: Callback = (error, count) => (error === null ? done(count!) : fail(error));
    Reflect.apply(native, self, [...args, callback]);
  });

function moveThenCall(
  native: Callable,
  self: unknown,
  args: Args,
  way: Way,
  isAway: IsAway,
): unknown {
  const [fd] = args;
  const callback = args.at(-1) as Callback;
  const isAsked = typeof callback === 'function';
  const pieces = isAsked ? piecesOf(fd, args.slice(0, -1), 1, way, isAway) : null;
  if (pieces === null) return Reflect.apply(native, self, args);
  const all = moveLater(pieces, (piece) => counted(native, self, [fd, ...piece]));
  return tell(all, callback, bufferOf(args[1]));
}

const bufferOf = (given: unknown): unknown =>
  isOptions(given) ? (given as Result)['buffer'] : given;

/** Outside of the promise: what a callback throws is an uncaught error, as of the native function's. */
function tell(count: Promise<number>, callback: Callback, buffer: unknown): void {
  count.then(
    (done) => process.nextTick(callback, null, done, buffer),
    (error) => process.nextTick(callback, error),
  );
}

function readvSync(native: Callable, self: unknown, args: Args, isAway: IsAway): unknown {
  const scratch = scratchOf(args[1], isAway);
  if (scratch === null) return Reflect.apply(native, self, args);
  const come = Reflect.apply(native, self, [args[0], scratch, ...args.slice(2)]) as number;
  spread(scratch, args[1] as ArrayBufferView[], come);
  return come;
}

function readv(native: Callable, self: unknown, args: Args, isAway: IsAway): unknown {
  const callback = args.at(-1) as Callback;
  const scratch = typeof callback === 'function' ? scratchOf(args[1], isAway) : null;
  if (scratch === null) return Reflect.apply(native, self, args);
  const all = counted(native, self, [args[0], scratch, ...args.slice(2, -1)]).then((come) => {
    spread(scratch, args[1] as ArrayBufferView[], come);
    return come;
  });
  return tell(all, callback, args[1]);
}

/** A buffer for each view; null: none of them is of paged memory. */
function scratchOf(views: unknown, isAway: IsAway): Uint8Array[] | null {
  if (!Array.isArray(views) || !views.every((view) => ArrayBuffer.isView(view))) return null;
  if (!views.some(isAway)) return null;
  return views.map(({ byteLength }) => new Uint8Array(byteLength));
}

/** The first `count` bytes of the buffers go to the views. */
function spread(scratch: readonly Uint8Array[], views: readonly ArrayBufferView[], count: number) {
  let left = count;
  for (let i = 0; i < scratch.length && left > 0; i++) {
    const part = scratch[i]!.subarray(0, left);
    bytesOf(views[i]!).set(part);
    left -= part.length;
  }
}

async function moveOfHandle(
  native: Callable,
  self: unknown,
  args: Args,
  way: Way,
  isAway: IsAway,
): Promise<unknown> {
  const pieces = piecesOf((self as { readonly fd: number }).fd, args, 0, way, isAway);
  if (pieces === null) return Reflect.apply(native, self, args);
  const name = way === 'write' ? 'bytesWritten' : 'bytesRead';
  const count = await moveLater(pieces, async (piece) => {
    const result = (await Reflect.apply(native, self, piece)) as Readonly<Record<string, number>>;
    return result[name]!;
  });
  return { [name]: count, buffer: bufferOf(args[0]) };
}

async function handleReadv(
  native: Callable,
  self: unknown,
  args: Args,
  isAway: IsAway,
): Promise<unknown> {
  const scratch = scratchOf(args[0], isAway);
  if (scratch === null) return Reflect.apply(native, self, args);
  const result = await Reflect.apply(native, self, [scratch, ...args.slice(1)]);
  const { bytesRead } = result as { bytesRead: number };
  spread(scratch, args[0] as ArrayBufferView[], bytesRead);
  return { bytesRead, buffers: args[0] };
}
