/**
 * Reports every large ArrayBuffer that the program creates with a constructor of the main realm or with Buffer.alloc().
 * It wraps the platform's functions (platform-wrapper.ts).
 *
 *   new ArrayBuffer(n)              new Float64Array(n), .from(), .slice(), .map(), subclasses
 *   Buffer.alloc(), allocUnsafe(), allocUnsafeSlow(), concat()
 *
 * Left out: buffers that Node and V8 create themselves (fs.readFile(), response.arrayBuffer(), JSON), resizable and
 * shared ones, and those of other contexts and threads.
 *
 * Invariant: buffers that Node's own code creates are not reported, even though that code calls the wrapped functions, too.
 * Node detaches such buffers in native code (Blob) or passes them to system calls (fs.readFile()).
 *
 * Cost: about 10 ns for each new array, 60 ns for subarray() and slice(); accesses to elements are not slower.
 */
import { Buffer } from 'node:buffer';
import { types } from 'node:util';
import { isCalledByProgram } from './calling-code.ts';
import { bufferOfView, bytesOfArray, bytesOfBuffer, isResizable } from './native-getters.ts';
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
  const known = new WeakSet<ArrayBuffer>(); // Buffer.concat() calls allocUnsafe() before Node 24
  const report = (buffer: unknown): void => {
    if (isReporting || !types.isArrayBuffer(buffer) || isResizable(buffer)) return;
    if (known.has(buffer)) return;
    known.add(buffer);
    isReporting = true; // `found` may itself create buffers
    try {
      found(buffer);
    } finally {
      isReporting = false;
    }
  };
  const madeBuffer = (buffer: object, _: unknown, called: Callable): void => {
    if (bytesOfBuffer(buffer) >= bytesMin && isCalledByProgram(called)) report(buffer);
  };
  const madeArray = (array: object, args: readonly unknown[], called: Callable): void => {
    if (bytesOfArray(array) < bytesMin || types.isAnyArrayBuffer(args[0])) return;
    if (isCalledByProgram(called)) report(bufferOfView(array as ArrayBufferView));
  };
  replaceConstructor('ArrayBuffer', madeBuffer);
  for (const name of arrayNames()) replaceConstructor(name, madeArray);
  for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow', 'concat'] as const) {
    const alloc = (native: Callable, self: unknown, args: readonly unknown[]): Buffer => {
      const array = Reflect.apply(native, self, args) as Buffer;
      madeArray(array, [], alloc);
      return array;
    };
    const wrapper = wrapFunction(Buffer[name] as Callable, alloc);
    replace(Buffer, name, wrapper);
  }
  hideWrappers(Function.prototype);
}

function replaceConstructor(
  name: string,
  made: (result: object, args: readonly unknown[], called: Callable) => void,
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
