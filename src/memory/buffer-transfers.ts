/**
 * Reports paged ArrayBuffers before their bytes move to another ArrayBuffer. V8 frees the bytes with the object that
 * owns them, and without notice, so paging has to follow them to the new object or end first.
 *
 *   transfer() to the same length                         the new object owns the same bytes: paging follows
 *   transfer() to another length, structuredClone(),      paging ends, the pages are swapped in
 *   postMessage(), new Worker(), byte streams
 *
 * Not seen: native addons that detach a buffer (napi_detach_arraybuffer). Do not adopt a buffer that is passed to one.
 * Sources: ECMAScript 2024, ArrayBuffer.prototype.transfer; HTML, StructuredSerializeWithTransfer; Streams,
 * TransferArrayBuffer.
 */
import { createRequire, syncBuiltinESMExports } from 'node:module';
import {
  type Callable,
  hideWrappers,
  replace,
  wrapArguments,
  wrapFunction,
} from './platform-wrapper.ts';

/** What happens to a buffer. Buffers that are not paged are reported too. */
export interface TransferListener {
  /** Its bytes now belong to `to`. */
  moved(from: ArrayBuffer, to: ArrayBuffer): void;
  /** Its bytes will belong to an object that is not known, or be freed. */
  release(buffer: ArrayBuffer): void;
}

type Args = readonly unknown[];

let isWatching = false;

/** Wraps the functions that transfer buffers. A second call in the same thread has no effect. */
export function watchTransfers(listener: TransferListener): void {
  if (isWatching) return;
  isWatching = true;
  const require = createRequire(import.meta.url);
  const workers = require('node:worker_threads') as typeof import('node:worker_threads');
  for (const name of ['transfer', 'transferToFixedLength']) wrapTransfer(name, listener);
  const releaseListed = (args: Args): Args => withList(args, 'transfer', listener);
  wrapCall(globalThis, 'structuredClone', releaseListed);
  wrapCall(workers.MessagePort.prototype, 'postMessage', releaseListed);
  const listOfWorker = (args: Args): Args => withList(args, 'transferList', listener);
  replace(workers, 'Worker', wrapArguments(workers.Worker as unknown as Callable, listOfWorker));
  const releaseView = (args: Args): Args => {
    const view = args[0];
    if (ArrayBuffer.isView(view) && view.buffer instanceof ArrayBuffer)
      listener.release(view.buffer);
    return args;
  };
  wrapCall(ReadableByteStreamController.prototype, 'enqueue', releaseView);
  wrapCall(ReadableStreamBYOBReader.prototype, 'read', releaseView);
  wrapCall(ReadableStreamBYOBRequest.prototype, 'respondWithNewView', releaseView);
  hideWrappers(Function.prototype);
  syncBuiltinESMExports();
}

function wrapTransfer(name: string, { moved, release }: TransferListener): void {
  const native: unknown = Reflect.get(ArrayBuffer.prototype, name);
  if (typeof native !== 'function') return; // Node 20
  const wrapper = wrapFunction(native as Callable, (to, self, args) => {
    if (!(self instanceof ArrayBuffer)) return Reflect.apply(to, self, args);
    const staysInPlace = args[0] === undefined || args[0] === self.byteLength;
    if (!staysInPlace) release(self);
    const result = Reflect.apply(to, self, args) as ArrayBuffer;
    if (staysInPlace) moved(self, result);
    return result;
  });
  replace(ArrayBuffer.prototype, name, wrapper);
}

/** @param change returns the arguments for the native function */
function wrapCall(holder: object, name: string, change: (args: Args) => Args): void {
  const native = Reflect.get(holder, name) as Callable;
  const wrapper = wrapFunction(native, (to, self, args) => Reflect.apply(to, self, change(args)));
  replace(holder, name, wrapper);
}

/**
 * Releases the buffers of a transfer list: the second argument, or its property `key`. Returns the arguments with an
 * array in place of the list, which may be an iterator.
 */
function withList(args: Args, key: string, { release }: TransferListener): Args {
  const second = args[1] as Record<PropertyKey, unknown> | null | undefined;
  if (typeof second !== 'object' || second === null) return args;
  const isList = Symbol.iterator in second;
  const list: unknown = isList ? second : second[key];
  if (typeof list !== 'object' || list === null || !(Symbol.iterator in list)) return args;
  const entries = [...(list as Iterable<unknown>)];
  for (const entry of entries) if (entry instanceof ArrayBuffer) release(entry);
  return [args[0], isList ? entries : { ...second, [key]: entries }, ...args.slice(2)];
}
