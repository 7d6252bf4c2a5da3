/**
 * Reports every large ArrayBuffer that the program creates with a constructor of the main realm or with Buffer.alloc().
 * It wraps the platform's functions (platform-wrapper.ts).
 *
 *   new ArrayBuffer(n)              new Float64Array(n), .from(), .slice(), .map(), subclasses
 *   Buffer.alloc(), allocUnsafe(), allocUnsafeSlow(), and concat(), which calls them
 *
 * Left out: buffers that Node and V8 create themselves (fs.readFile(), response.arrayBuffer(), JSON), resizable and
 * shared ones, and those of other contexts and threads.
 *
 * Cost: about 10 ns for each new array, 60 ns for subarray() and slice(); accesses to elements are not slower.
 */
import { Buffer } from 'node:buffer';
import { types } from 'node:util';
import {
  type Callable,
  hideWrappers,
  replace,
  wrapFrequentConstructor,
  wrapFunction,
} from './platform-wrapper.ts';

type Found = (buffer: ArrayBuffer) => void;

/** Calls `found` with each new buffer of at least `bytesMin` bytes, before the program receives it. It must not throw. */
export function watchBuffers(bytesMin: number, found: Found): void {
  let isReporting = false;
  const report = (buffer: unknown): void => {
    if (isReporting || !(buffer instanceof ArrayBuffer) || isResizable(buffer)) return;
    isReporting = true; // `found` may itself create buffers
    try {
      found(buffer);
    } finally {
      isReporting = false;
    }
  };
  const madeBuffer = (buffer: object): void => {
    if ((buffer as ArrayBuffer).byteLength >= bytesMin) report(buffer);
  };
  const madeArray = (array: object, args: readonly unknown[]): void => {
    const { byteLength } = array as ArrayBufferView;
    if (byteLength >= bytesMin && !types.isAnyArrayBuffer(args[0]))
      report((array as ArrayBufferView).buffer);
  };
  replaceConstructor('ArrayBuffer', madeBuffer);
  for (const name of arrayNames()) replaceConstructor(name, madeArray);
  for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const) {
    const wrapper = wrapFunction(Buffer[name] as Callable, (native, self, args) => {
      const array = Reflect.apply(native, self, args) as Buffer;
      madeArray(array, []);
      return array;
    });
    replace(Buffer, name, wrapper);
  }
  hideWrappers(Function.prototype);
}

function replaceConstructor(
  name: string,
  made: (result: object, args: readonly unknown[]) => void,
): void {
  const native = Reflect.get(globalThis, name) as Callable;
  replace(globalThis, name, wrapFrequentConstructor(native, made));
}

/** The typed arrays of this release: Float16Array is one from Node 24 on. */
function arrayNames(): readonly string[] {
  const abstract = Object.getPrototypeOf(Uint8Array) as object;
  return Object.getOwnPropertyNames(globalThis).filter((name) => {
    const { value } = Object.getOwnPropertyDescriptor(globalThis, name)!;
    return typeof value === 'function' && Object.getPrototypeOf(value) === abstract;
  });
}

const isResizable = (buffer: ArrayBuffer): boolean =>
  (buffer as ArrayBuffer & { readonly resizable?: boolean }).resizable === true;
