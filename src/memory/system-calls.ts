/**
 * Wraps Node's functions that pass buffers to system calls. Without privilege, a userfaultfd reports only faults in user mode:
 * a system call that accesses a page that is not resident fails with EFAULT, or sends nothing. So the wrappers pass the kernel
 * a copy of paged memory, or a scratch buffer.
 *
 *   write   fs.write…, streams, dgram, input of spawnSync     a copy of the bytes; files in pieces of 64 KiB
 *   read    fs.read…                                          into a scratch buffer, in pieces, then copied
 *   onread  net.connect(), new net.Socket()                   into a scratch buffer, copied before the callback
 *   WASI    fd_write, fd_read, random_get, …                  after EFAULT: pins a piece and repeats the call (wasi-calls.ts)
 *
 * Invariants
 * - A view that is not in or near paged memory is passed unchanged. If faults in system calls are served, every view is.
 * - Only regular files are read in several pieces. A pipe, a socket or a terminal is read once.
 *
 * Not supported: system calls of native addons.
 * Sources: userfaultfd(2), UFFD_USER_MODE_ONLY; Node's documentation of fs, stream, net, dgram, child_process, wasi.
 */
import fs from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import type { Writable } from 'node:stream';
import { type Callable, replace, wrapArguments, wrapFunction } from './platform-wrapper.ts';

/** Maximum bytes copied at a time. */
const PIECE_BYTES = 65_536;

/** True: the bytes may not be resident, and a system call on them may fail. */
export type NeedsPin = (view: ArrayBufferView) => boolean;

type Args = readonly unknown[];
type Result = { readonly [name: string]: unknown };

/** Wraps the functions of fs. Call it once per process, before the program imports them. */
export function guardFiles(needsPin: NeedsPin): void {
  const { copy, copyAll } = copiers(needsPin);
  for (const name of ['writeFile', 'writeFileSync', 'appendFile', 'appendFileSync'])
    guardArgument(fs, name, 1, copy);
  for (const name of ['writev', 'writevSync']) guardArgument(fs, name, 1, copyAll);
  for (const name of ['writeFile', 'appendFile'])
    guardArgument(fs.promises, name, 1, (data) => contentCopied(data, copy));
  for (const direction of ['write', 'read'] as const) {
    guard(fs, `${direction}Sync`, (native, self, args) =>
      moveSync(native, self, args, direction, needsPin),
    );
    guard(fs, direction, (native, self, args) =>
      moveThenCall(native, self, args, direction, needsPin),
    );
  }
  guard(fs, 'readvSync', (native, self, args) => readvSync(native, self, args, needsPin));
  guard(fs, 'readv', (native, self, args) => readv(native, self, args, needsPin));
  guardHandles(needsPin, copy, copyAll);
  syncBuiltinESMExports();
}

/**
 * Wraps the functions of streams, sockets and child processes. Call it once per process, when the first memory is paged: nearly
 * all of them are methods, which a program calls on an instance, so they need not be wrapped earlier. Their modules cost 2 MB
 * and 3 ms.
 */
export function guardStreams(needsPin: NeedsPin): void {
  const { copy, copyAll } = copiers(needsPin);
  const require = createRequire(import.meta.url);
  const { Writable, Duplex } = require('node:stream') as typeof import('node:stream');
  const { Socket } = require('node:dgram') as typeof import('node:dgram');
  const childProcess = require('node:child_process') as object;
  for (const { prototype } of [Writable, Duplex])
    for (const name of ['write', 'end']) guardStream(prototype, name, copy);
  guardArgument(Socket.prototype, 'send', 0, copyAll);
  guardOnread(require('node:net') as typeof import('node:net'), needsPin);
  for (const name of ['spawnSync', 'execFileSync', 'execSync'])
    for (const at of [1, 2])
      guardArgument(childProcess, name, at, (value) => inputCopied(value, copy));
  syncBuiltinESMExports();
}

/** The kernel writes to the `onread` buffer of a socket at any time, so the socket gets a scratch buffer for its lifetime. */
function guardOnread(net: typeof import('node:net'), needsPin: NeedsPin): void {
  const change = (args: Args): Args => [onreadCopied(args[0], needsPin), ...args.slice(1)];
  for (const name of ['connect', 'createConnection', 'Socket'] as const)
    replace(net, name, wrapArguments(net[name] as Callable, change));
}

/** Functions that replace a view of paged memory, or each view in an array, with a copy. */
function copiers(needsPin: NeedsPin): Record<'copy' | 'copyAll', (value: unknown) => unknown> {
  const copy = (value: unknown): unknown => copyOf(value, needsPin);
  return { copy, copyAll: (value) => (Array.isArray(value) ? value.map(copy) : copy(value)) };
}

/** Wraps the methods of FileHandle at the first open(): the class is accessible only through an instance. */
function guardHandles(
  needsPin: NeedsPin,
  copy: (value: unknown) => unknown,
  copyAll: (value: unknown) => unknown,
): void {
  let isDone = false;
  guard(fs.promises, 'open', async (native, self, args) => {
    const handle = (await Reflect.apply(native, self, args)) as object;
    if (isDone) return handle;
    isDone = true;
    const prototype = Object.getPrototypeOf(handle) as object;
    for (const name of ['writeFile', 'appendFile'])
      guardArgument(prototype, name, 0, (data) => contentCopied(data, copy));
    guardArgument(prototype, 'writev', 0, copyAll);
    for (const direction of ['write', 'read'] as const)
      guard(prototype, direction, (to, file, given) =>
        moveOfHandle(to, file, given, direction, needsPin),
      );
    guard(prototype, 'readv', (to, file, given) => handleReadv(to, file, given, needsPin));
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

/** Wraps a function: `change` maps its argument `at`; other arguments are passed unchanged. */
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

/** A stream in object mode passes the object itself: no system call accesses it. */
function guardStream(holder: object, name: string, copy: (value: unknown) => unknown): void {
  guard(holder, name, (native, self, args) => {
    if (args.length === 0 || (self as Writable).writableObjectMode)
      return Reflect.apply(native, self, args);
    return Reflect.apply(native, self, [copy(args[0]), ...args.slice(1)]);
  });
}

/** Returns a copy, of the same class, of a view of paged memory; any other value unchanged. */
function copyOf(value: unknown, needsPin: NeedsPin): unknown {
  if (value instanceof ArrayBuffer) return needsPin(new Uint8Array(value)) ? value.slice(0) : value;
  if (!ArrayBuffer.isView(value) || !needsPin(value)) return value;
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

type OnreadCallback = (count: number, buffer: Uint8Array) => boolean;

/** Returns socket options with `onread` buffers that are not in paged memory. */
function onreadCopied(options: unknown, needsPin: NeedsPin): unknown {
  if (typeof options !== 'object' || options === null || !('onread' in options)) return options;
  const { onread } = options;
  if (typeof onread !== 'object' || onread === null) return options;
  const { buffer, callback } = onread as { buffer?: unknown; callback?: unknown };
  if (typeof callback !== 'function') return options;
  /** The view that each scratch buffer replaces. */
  const views = new WeakMap<Uint8Array, Uint8Array>();
  const scratchFor = (view: unknown): unknown => {
    if (!(view instanceof Uint8Array) || !needsPin(view)) return view;
    const scratch = new Uint8Array(view.byteLength);
    views.set(scratch, view);
    return scratch;
  };
  const copied = {
    ...onread,
    buffer: typeof buffer === 'function' ? () => scratchFor(buffer()) : scratchFor(buffer),
    callback(this: unknown, count: number, filled: Uint8Array): boolean {
      const view = views.get(filled);
      view?.set(filled.subarray(0, count));
      return Reflect.apply(callback as OnreadCallback, this, [count, view ?? filled]);
    },
  };
  return { ...options, onread: copied };
}

function inputCopied(options: unknown, copy: (value: unknown) => unknown): unknown {
  if (typeof options !== 'object' || options === null || !('input' in options)) return options;
  const input = copy(options.input);
  return input === options.input ? options : { ...options, input };
}

/** Maps the data of fs.promises.writeFile: bytes, or an iterable of them. */
function contentCopied(data: unknown, copy: (value: unknown) => unknown): unknown {
  if (typeof data !== 'object' || data === null || ArrayBuffer.isView(data)) return copy(data);
  if (!(Symbol.asyncIterator in data) && !(Symbol.iterator in data)) return data;
  return (async function* () {
    for await (const part of data as AsyncIterable<unknown>) yield copy(part);
  })();
}

/** The bytes of a call, from both forms of arguments: (buffer, offset, length, position) or (buffer, { … }). */
interface Run {
  readonly bytes: Uint8Array;
  readonly position: unknown;
}

/** Null: no paged memory, or invalid arguments, which the native function refuses. */
function runOf(args: Args, at: number, needsPin: NeedsPin): Run | null {
  let buffer = args[at];
  let options: unknown = args[at + 1];
  if (isOptions(buffer)) {
    options = buffer;
    buffer = (buffer as Result)['buffer'];
  }
  if (!ArrayBuffer.isView(buffer) || !needsPin(buffer)) return null;
  const {
    offset = 0,
    length,
    position,
  } = isOptions(options)
    ? (options as Result)
    : { offset: options ?? 0, length: args[at + 2], position: args[at + 3] };
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

/** File position of the piece that starts after `done` bytes. Null and negative positions mean the current one. */
function positionAfter(position: unknown, done: number): unknown {
  if (typeof position === 'bigint') return position < 0n ? position : position + BigInt(done);
  return typeof position === 'number' && position >= 0 ? position + done : position;
}

type Direction = 'write' | 'read';

/** Moves the bytes of a call piece by piece through one scratch buffer. */
class Pieces {
  done = 0;
  /** True when all bytes were moved, or the last piece was short or failed. */
  isOver = false;
  readonly #run: Run;
  readonly #direction: Direction;
  readonly #scratch: Uint8Array;
  #piece: Uint8Array;

  constructor(run: Run, direction: Direction) {
    this.#run = run;
    this.#direction = direction;
    this.#scratch = new Uint8Array(Math.min(PIECE_BYTES, run.bytes.length));
    this.#piece = this.#scratch;
  }

  /** Buffer, offset, length and position for the native function. */
  next(): readonly [Uint8Array, number, number, unknown] {
    const { bytes, position } = this.#run;
    const length = Math.min(PIECE_BYTES, bytes.length - this.done);
    this.#piece = this.#scratch.subarray(0, length);
    if (this.#direction === 'write') this.#piece.set(bytes.subarray(this.done, this.done + length));
    return [this.#piece, 0, length, positionAfter(position, this.done)];
  }

  moved(count: number): void {
    const { bytes } = this.#run;
    if (this.#direction === 'read') bytes.set(this.#piece.subarray(0, count), this.done);
    this.done += count;
    this.isOver = count < this.#piece.length || this.done === bytes.length;
  }

  /** Ends after a partial transfer. @throws error if nothing was moved */
  failed(error: unknown): void {
    if (this.done === 0) throw error;
    this.isOver = true;
  }
}

/**
 * Null: see runOf(). Only regular files are read in more than one piece: a second read from a pipe or a socket could
 * wait for bytes that were never sent.
 */
function piecesOf(
  fd: unknown,
  args: Args,
  at: number,
  direction: Direction,
  needsPin: NeedsPin,
): Pieces | null {
  const run = runOf(args, at, needsPin);
  if (run === null) return null;
  const isWhole = direction === 'write' || (typeof fd === 'number' && fs.fstatSync(fd).isFile());
  const bytes = isWhole ? run.bytes : run.bytes.subarray(0, PIECE_BYTES);
  return new Pieces({ ...run, bytes }, direction);
}

function moveSync(
  native: Callable,
  self: unknown,
  args: Args,
  direction: Direction,
  needsPin: NeedsPin,
): unknown {
  const [fd] = args;
  const pieces = piecesOf(fd, args, 1, direction, needsPin);
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

/** Calls a function with a callback; returns a promise of its byte count. */
const counted = (native: Callable, self: unknown, args: Args): Promise<number> =>
  new Promise((done, fail) => {
    const callback: Callback = (error, count) => (error === null ? done(count!) : fail(error));
    Reflect.apply(native, self, [...args, callback]);
  });

function moveThenCall(
  native: Callable,
  self: unknown,
  args: Args,
  direction: Direction,
  needsPin: NeedsPin,
): unknown {
  const [fd] = args;
  const callback = args.at(-1) as Callback;
  const hasCallback = typeof callback === 'function';
  const pieces = hasCallback ? piecesOf(fd, args.slice(0, -1), 1, direction, needsPin) : null;
  if (pieces === null) return Reflect.apply(native, self, args);
  const all = moveLater(pieces, (piece) => counted(native, self, [fd, ...piece]));
  return callBack(all, callback, bufferOf(args[1]));
}

const bufferOf = (given: unknown): unknown =>
  isOptions(given) ? (given as Result)['buffer'] : given;

/** Calls back outside the promise, so that an exception in the callback is uncaught, as with the native function. */
function callBack(count: Promise<number>, callback: Callback, buffer: unknown): void {
  count.then(
    (done) => process.nextTick(callback, null, done, buffer),
    (error) => process.nextTick(callback, error),
  );
}

function readvSync(native: Callable, self: unknown, args: Args, needsPin: NeedsPin): unknown {
  const scratch = scratchOf(args[1], needsPin);
  if (scratch === null) return Reflect.apply(native, self, args);
  const bytesRead = Reflect.apply(native, self, [args[0], scratch, ...args.slice(2)]) as number;
  scatter(scratch, args[1] as ArrayBufferView[], bytesRead);
  return bytesRead;
}

function readv(native: Callable, self: unknown, args: Args, needsPin: NeedsPin): unknown {
  const callback = args.at(-1) as Callback;
  const scratch = typeof callback === 'function' ? scratchOf(args[1], needsPin) : null;
  if (scratch === null) return Reflect.apply(native, self, args);
  const all = counted(native, self, [args[0], scratch, ...args.slice(2, -1)]).then((bytesRead) => {
    scatter(scratch, args[1] as ArrayBufferView[], bytesRead);
    return bytesRead;
  });
  return callBack(all, callback, args[1]);
}

/** A buffer per view; null if none of the views is in paged memory. */
function scratchOf(views: unknown, needsPin: NeedsPin): Uint8Array[] | null {
  if (!Array.isArray(views) || !views.every((view) => ArrayBuffer.isView(view))) return null;
  if (!views.some(needsPin)) return null;
  return views.map(({ byteLength }) => new Uint8Array(byteLength));
}

/** Copies the first `count` bytes of the buffers to the views. */
function scatter(scratch: readonly Uint8Array[], views: readonly ArrayBufferView[], count: number) {
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
  direction: Direction,
  needsPin: NeedsPin,
): Promise<unknown> {
  const pieces = piecesOf((self as { readonly fd: number }).fd, args, 0, direction, needsPin);
  if (pieces === null) return Reflect.apply(native, self, args);
  const name = direction === 'write' ? 'bytesWritten' : 'bytesRead';
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
  needsPin: NeedsPin,
): Promise<unknown> {
  const scratch = scratchOf(args[0], needsPin);
  if (scratch === null) return Reflect.apply(native, self, args);
  const result = await Reflect.apply(native, self, [scratch, ...args.slice(1)]);
  const { bytesRead } = result as { bytesRead: number };
  scatter(scratch, args[0] as ArrayBufferView[], bytesRead);
  return { bytesRead, buffers: args[0] };
}
