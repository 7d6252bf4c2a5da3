/**
 * Reports paged ArrayBuffers before their bytes move to another ArrayBuffer. V8 frees the bytes together with the object that
 * owns them, without notice. So paging must follow the bytes to the new object, or end first.
 *
 *   transfer() to the same length                         the new object owns the same bytes: paging follows
 *   transfer() to another length, structuredClone(),      paging ends, the pages are swapped in
 *   postMessage(), new Worker(), byte streams
 *
 * Not seen: native addons that detach a buffer (napi_detach_arraybuffer), functions that the program stored in a variable
 * before watchTransfers(), and transfer() of another node:vm context. Do not adopt a buffer that is passed to one of them.
 * unseenTransfers() lists functions that cannot be replaced because the program has frozen their prototype.
 *
 * Sources: ECMAScript 2024, ArrayBuffer.prototype.transfer; HTML, StructuredSerializeWithTransfer; Streams, TransferArrayBuffer.
 */
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { types } from 'node:util';
import { bufferOfView, bytesOfBuffer } from './native-getters.ts';
import {
  type Callable,
  hideWrappers,
  isWrapper,
  replace,
  wrapArguments,
  wrapFunction,
} from './platform-wrapper.ts';

/** What happens to a buffer. Buffers that are not paged are reported too. */
export interface TransferListener {
  /** Its bytes now belong to `to`. */
  moved(from: ArrayBuffer, to: ArrayBuffer): void;
  /** Its bytes will belong to an unknown object, or be freed. */
  release(buffer: ArrayBuffer): void;
}

type Args = readonly unknown[];

let isWatching = false;
const unseen: string[] = [];

/** Names of functions that could not be wrapped: a buffer transferred by one of them would lose its bytes. */
export const unseenTransfers = (): readonly string[] => unseen;

/** Wraps the functions that transfer buffers. A second call in the same thread has no effect. */
export function watchTransfers(listener: TransferListener): void {
  if (isWatching) return;
  isWatching = true;
  const require = createRequire(import.meta.url);
  const workers = require('node:worker_threads') as typeof import('node:worker_threads');
  for (const name of ['transfer', 'transferToFixedLength']) wrapTransfer(name, listener);
  wrapCall(globalThis, 'structuredClone', (args) => withList(args, 'transfer', listener));
  const posted = (args: Args): Args =>
    isIterable(args[1]) ? withEntries(args, listener) : withList(args, 'transfer', listener);
  wrapCall(workers.MessagePort.prototype, 'postMessage', posted);
  wrapMove(workers, posted);
  const listOfWorker = (args: Args): Args => withList(args, 'transferList', listener);
  const wrapper = wrapArguments(workers.Worker as unknown as Callable, listOfWorker);
  if (!replace(workers, 'Worker', wrapper)) unseen.push('Worker');
  wrapStreams(require('node:stream/web') as typeof import('node:stream/web'), listener);
  hideWrappers(Function.prototype);
  syncBuiltinESMExports();
}

function wrapStreams(web: typeof import('node:stream/web'), listener: TransferListener): void {
  const release = (view: unknown): void => {
    const buffer = ArrayBuffer.isView(view) ? bufferOfView(view) : null;
    if (types.isArrayBuffer(buffer)) listener.release(buffer);
  };
  const releaseView = (args: Args): Args => {
    release(args[0]);
    return args;
  };
  wrapCall(web.ReadableByteStreamController.prototype, 'enqueue', (args, self) => {
    release((self as ReadableByteStreamController).byobRequest?.view);
    return releaseView(args);
  });
  wrapCall(web.ReadableStreamBYOBReader.prototype, 'read', releaseView);
  const request = web.ReadableStreamBYOBRequest.prototype;
  wrapCall(request, 'respond', (args, self) => {
    release((self as ReadableStreamBYOBRequest).view);
    return args;
  });
  wrapCall(request, 'respondWithNewView', releaseView);
}

function wrapTransfer(name: string, { moved, release }: TransferListener): void {
  const native: unknown = Reflect.get(ArrayBuffer.prototype, name);
  if (typeof native !== 'function') return; // Node 20
  const wrapper = wrapFunction(native as Callable, (to, self, args) => {
    if (!types.isArrayBuffer(self)) return Reflect.apply(to, self, args);
    // Converted here, once: the conversion may run code of the program.
    const length = args[0] === undefined ? bytesOfBuffer(self) : Math.trunc(+(args[0] as number));
    const staysInPlace = length === bytesOfBuffer(self);
    if (!staysInPlace) release(self);
    const result = Reflect.apply(to, self, [length] as never[]) as ArrayBuffer;
    if (staysInPlace) moved(self, result);
    return result;
  });
  if (!replace(ArrayBuffer.prototype, name, wrapper)) unseen.push(name);
}

/**
 * Wraps a function that the program may have removed.
 * @param change returns the arguments for the native function
 */
function wrapCall(holder: object, name: string, change: (args: Args, self: unknown) => Args): void {
  const native: unknown = Reflect.get(holder, name);
  if (typeof native !== 'function' || isWrapper(native)) return;
  const wrapper = wrapFunction(native as Callable, (to, self, args) =>
    Reflect.apply(to, self, change(args, self) as never[]),
  );
  if (!replace(holder, name, wrapper)) unseen.push(name);
}

/** A port that moves to another context uses the postMessage() of that context. */
function wrapMove(workers: object, posted: (args: Args) => Args): void {
  const name = 'moveMessagePortToContext';
  const wrapper = wrapFunction(Reflect.get(workers, name) as Callable, (to, self, args) => {
    const port = Reflect.apply(to, self, args as never[]) as object;
    let holder: object | null = port;
    while (holder !== null && !Object.hasOwn(holder, 'postMessage'))
      holder = Object.getPrototypeOf(holder);
    if (holder !== null) wrapCall(holder, 'postMessage', posted);
    return port;
  });
  if (!replace(workers, name, wrapper)) unseen.push(name);
}

/** Releases the buffers of the transfer list in property `key` of the second argument, as withEntries(). */
function withList(args: Args, key: string, listener: TransferListener): Args {
  const options = args[1];
  if (!isObject(options)) return args;
  const list = options[key];
  if (!isIterable(list)) return args;
  const [, value] = withEntries([undefined, list], listener);
  // Inherits and forwards, because getters of the options may need their own object.
  const target = Object.create(options, { [key]: { value, writable: true, configurable: true } });
  const get = (_: object, name: PropertyKey): unknown =>
    name === key ? value : Reflect.get(options, name);
  return [args[0], new Proxy(target, { get }), ...args.slice(2)];
}

/**
 * Releases the buffers of the transfer list that is the second argument. Returns the arguments with an array in place of the
 * list, which may be an iterator.
 */
function withEntries(args: Args, { release }: TransferListener): Args {
  const entries = [...(args[1] as Iterable<unknown>)];
  for (const entry of entries) if (types.isArrayBuffer(entry)) release(entry);
  return [args[0], entries, ...args.slice(2)];
}

const isObject = (value: unknown): value is Record<PropertyKey, unknown> =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

const isIterable = (value: unknown): value is Iterable<unknown> =>
  isObject(value) && typeof value[Symbol.iterator] === 'function';
