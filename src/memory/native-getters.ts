/**
 * Reads properties of buffers and views with V8's own getters. A program may replace properties on an object, in a subclass or
 * on a prototype; these functions run no code of the program.
 */
import { types } from 'node:util';

const getterOf = (prototype: object, name: string): (() => unknown) =>
  Object.getOwnPropertyDescriptor(prototype, name)!.get!;

const arrayPrototype = Object.getPrototypeOf(Uint8Array.prototype) as object;
const getters = {
  bytes: getterOf(ArrayBuffer.prototype, 'byteLength') as () => number,
  resizable: getterOf(ArrayBuffer.prototype, 'resizable') as () => boolean,
  bytesOfArray: getterOf(arrayPrototype, 'byteLength') as () => number,
  ofArray: getterOf(arrayPrototype, 'buffer') as () => ArrayBufferLike,
  ofDataView: getterOf(DataView.prototype, 'buffer') as () => ArrayBufferLike,
};

/** Works for other realms, too. Throws for a SharedArrayBuffer. */
export const bytesOfBuffer = (buffer: object): number => Reflect.apply(getters.bytes, buffer, []);

export const isResizable = (buffer: object): boolean =>
  Reflect.apply(getters.resizable, buffer, []);

/** @param array a typed array */
export const bytesOfArray = (array: object): number =>
  Reflect.apply(getters.bytesOfArray, array, []);

export const bufferOfView = (view: ArrayBufferView): ArrayBufferLike =>
  Reflect.apply(types.isDataView(view) ? getters.ofDataView : getters.ofArray, view, []);
