/**
 * System calls that are given paged memory. Without privilege a userfaultfd reports only faults in user mode: a system call
 * that touches a page which is not resident fails with EFAULT, or sends nothing. So Node's functions pass the kernel a copy,
 * or a buffer of their own.
 *
 *   out   fs.write… · streams · dgram · spawnSync's input     a copy of the bytes; files in pieces of 64 KiB
 *   in    fs.read…                                            to a buffer of ours, in pieces, and copied from there
 *   WASI  fd_write, fd_read, random_get, …                    after an EFAULT: a piece is pinned, and the call made again
 *
 * Invariants
 * - Views that are not in or near paged memory reach the native function as they are, as do all views where faults in system
 *   calls are served.
 * - Pieces follow each other only in regular files. A pipe, a socket or a terminal gives what it has, once.
 *
 * Left out: native addons that make system calls of their own, and the `onread` buffer of net.connect().
 * Sources: userfaultfd(2), UFFD_USER_MODE_ONLY; Node's documentation of fs, stream, dgram, child_process, wasi.
 */
import childProcess from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Duplex, Writable } from 'node:stream';
import { type Callable, replace, wrapFunction } from './platform-wrapper.ts';

/** Most bytes that are copied at once: less than the smallest budget lets a program pin. */
const PIECE_BYTES = 65_536;

/** True: the bytes may be away, and a system call that is given them fails. */
export type IsAway = (view: ArrayBufferView) => boolean;

type Args = readonly unknown[];
type Result = { readonly [name: string]: unknown };

/** Wraps Node's functions, once for a process. */
export function guardSystemCalls(isAway: IsAway): void {
  const here = (value: unknown): unknown => copyOf(value, isAway);
  const allHere = (value: unknown): unknown => (Array.isArray(value) ? value.map(here) : value);
  guardFiles(isAway, here, allHere);
  for (const { prototype } of [Writable, Duplex])
    for (const name of ['write', 'end']) guardStream(prototype, name, here);
  const datagram = (value: unknown): unknown =>
    Array.isArray(value) ? allHere(value) : here(value);
  guardArgument(dgram.Socket.prototype, 'send', 0, datagram);
  for (const name of ['spawnSync', 'execFileSync', 'execSync'])
    for (const at of [1, 2])
      guardArgument(childProcess, name, at, (value) => withInputHere(value, here));
  syncBuiltinESMExports();
}

function guardFiles(
  isAway: IsAway,
  here: (value: unknown) => unknown,
  allHere: (value: unknown) => unknown,
): void {
  for (const name of ['writeFile', 'writeFileSync', 'appendFile', 'appendFileSync'])
    guardArgument(fs, name, 1, here);
  for (const name of ['writev', 'writevSync']) guardArgument(fs, name, 1, allHere);
  for (const name of ['writeFile', 'appendFile'])
    guardArgument(fs.promises, name, 1, (data) => contentHere(data, here));
  guard(fs, 'writeSync', (native, self, args) => writeSync(native, self, args, isAway));
  guard(fs, 'readSync', (native, self, args) => readSync(native, self, args, isAway));
  guard(fs, 'write', (native, self, args) => write(native, self, args, isAway));
  guard(fs, 'read', (native, self, args) => read(native, self, args, isAway));
  guard(fs, 'readvSync', (native, self, args) => readvSync(native, self, args, isAway));
  guard(fs, 'readv', (native, self, args) => readv(native, self, args, isAway));
  guardHandles(isAway, here, allHere);
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
    guard(prototype, 'write', (to, file, given) => handleWrite(to, file, given, isAway));
    guard(prototype, 'read', (to, file, given) => handleRead(to, file, given, isAway));
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

function writeSync(native: Callable, self: unknown, args: Args, isAway: IsAway): unknown {
  const run = runOf(args, 1, isAway);
  if (run === null) return Reflect.apply(native, self, args);
  return inPieces(run, (piece, position, done) => {
    piece.set(run.bytes.subarray(done, done + piece.length));
    return Reflect.apply(native, self, [args[0], piece, 0, piece.length, position]) as number;
  });
}

/** What one call may read: a second read from a pipe or a socket would wait for bytes that nobody has sent. */
function readable(fd: unknown, run: Run): Run {
  const isFile = typeof fd === 'number' && fs.fstatSync(fd).isFile();
  return isFile ? run : { ...run, bytes: run.bytes.subarray(0, PIECE_BYTES) };
}

function readSync(native: Callable, self: unknown, args: Args, isAway: IsAway): unknown {
  const whole = runOf(args, 1, isAway);
  if (whole === null) return Reflect.apply(native, self, args);
  const run = readable(args[0], whole);
  return inPieces(run, (piece, position, done) => {
    const come = Reflect.apply(native, self, [args[0], piece, 0, piece.length, position]) as number;
    run.bytes.set(piece.subarray(0, come), done);
    return come;
  });
}

/** Bytes that were moved: all, or those before the first piece that was short or failed. */
function inPieces(
  { bytes, position }: Run,
  move: (piece: Uint8Array, position: unknown, done: number) => number,
): number {
  const scratch = new Uint8Array(Math.min(PIECE_BYTES, bytes.length));
  let done = 0;
  do {
    const piece = scratch.subarray(0, Math.min(PIECE_BYTES, bytes.length - done));
    let moved: number;
    try {
      moved = move(piece, positionAfter(position, done), done);
    } catch (error) {
      if (done === 0) throw error;
      return done;
    }
    done += moved;
    if (moved < piece.length) return done;
  } while (done < bytes.length);
  return done;
}

/** The same, of a promise. */
async function inPiecesLater(
  { bytes, position }: Run,
  move: (piece: Uint8Array, position: unknown, done: number) => Promise<number>,
): Promise<number> {
  const scratch = new Uint8Array(Math.min(PIECE_BYTES, bytes.length));
  let done = 0;
  do {
    const piece = scratch.subarray(0, Math.min(PIECE_BYTES, bytes.length - done));
    let moved: number;
    try {
      moved = await move(piece, positionAfter(position, done), done);
    } catch (error) {
      if (done === 0) throw error;
      return done;
    }
    done += moved;
    if (moved < piece.length) return done;
  } while (done < bytes.length);
  return done;
}

type Callback = (error: unknown, count?: number, buffer?: unknown) => void;

/** A call with a callback as a promise of its count. */
const counted = (native: Callable, self: unknown, args: Args): Promise<number> =>
  new Promise((done, fail) => {
    const callback: Callback = (error, count) => (error === null ? done(count!) : fail(error));
    Reflect.apply(native, self, [...args, callback]);
  });

function write(native: Callable, self: unknown, args: Args, isAway: IsAway): unknown {
  const callback = args.at(-1) as Callback;
  const run = typeof callback === 'function' ? runOf(args.slice(0, -1), 1, isAway) : null;
  if (run === null) return Reflect.apply(native, self, args);
  const all = inPiecesLater(run, (piece, position, done) => {
    piece.set(run.bytes.subarray(done, done + piece.length));
    return counted(native, self, [args[0], piece, 0, piece.length, position]);
  });
  return tell(all, callback, bufferOf(args));
}

function read(native: Callable, self: unknown, args: Args, isAway: IsAway): unknown {
  const callback = args.at(-1) as Callback;
  const whole = typeof callback === 'function' ? runOf(args.slice(0, -1), 1, isAway) : null;
  if (whole === null) return Reflect.apply(native, self, args);
  const run = readable(args[0], whole);
  const all = inPiecesLater(run, async (piece, position, done) => {
    const come = await counted(native, self, [args[0], piece, 0, piece.length, position]);
    run.bytes.set(piece.subarray(0, come), done);
    return come;
  });
  return tell(all, callback, bufferOf(args));
}

const bufferOf = (args: Args): unknown =>
  isOptions(args[1]) ? (args[1] as Result)['buffer'] : args[1];

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

async function handleWrite(
  native: Callable,
  self: unknown,
  args: Args,
  isAway: IsAway,
): Promise<unknown> {
  const run = runOf(args, 0, isAway);
  if (run === null) return Reflect.apply(native, self, args);
  const bytesWritten = await inPiecesLater(run, async (piece, position, done) => {
    piece.set(run.bytes.subarray(done, done + piece.length));
    const result = await Reflect.apply(native, self, [piece, 0, piece.length, position]);
    return (result as { bytesWritten: number }).bytesWritten;
  });
  return { bytesWritten, buffer: args[0] };
}

async function handleRead(
  native: Callable,
  self: unknown,
  args: Args,
  isAway: IsAway,
): Promise<unknown> {
  const whole = runOf(args, 0, isAway);
  if (whole === null) return Reflect.apply(native, self, args);
  const run = readable((self as { readonly fd: number }).fd, whole);
  const bytesRead = await inPiecesLater(run, async (piece, position, done) => {
    const result = await Reflect.apply(native, self, [piece, 0, piece.length, position]);
    const { bytesRead: come } = result as { bytesRead: number };
    run.bytes.set(piece.subarray(0, come), done);
    return come;
  });
  return { bytesRead, buffer: isOptions(args[0]) ? (args[0] as Result)['buffer'] : args[0] };
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
