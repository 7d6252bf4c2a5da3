/**
 * Reports every WebAssembly memory that the program creates, exports or imports, in this realm and in contexts of node:vm. It
 * wraps the platform's functions (platform-wrapper.ts).
 *
 *   new Memory ─▶ the memory     new Instance, instantiate() ─▶ memories among the imports and the exports
 *   vm.createContext(), runInNewContext() ─▶ the WebAssembly of the new context is wrapped as well
 *
 * Invariant: a wrapper returns or throws what the native function does. Left out: memories that a module neither imports nor
 * exports; memories of Node's own modules; imports that are Proxies, because their traps would run twice; contexts over an
 * object that is a Proxy or has its own WebAssembly.
 */
import { syncBuiltinESMExports } from 'node:module';
import { types } from 'node:util';
import vm from 'node:vm';
import { isCalledByDependencyOfNode } from './calling-code.ts';
import {
  type Callable,
  hideWrappers,
  isReplaceable,
  isWrapper,
  replace,
  wrapConstructor,
  wrapFunction,
} from './platform-wrapper.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';

type Constructor = Callable & { readonly prototype: object };

/** The members of a realm's WebAssembly that are wrapped. */
interface Api {
  readonly Memory: Constructor;
  readonly Instance: Constructor;
  readonly instantiate: Callable;
  readonly instantiateStreaming?: Callable;
}

type Found = (memory: WasmMemory) => void;

/** Callbacks for the creation of instances. They must not throw. */
export interface Links {
  /** Called before an instance is created with the imports. */
  link(imports: unknown): void;
  /** Called for each memory of an instance that was created with the imports. */
  use(imports: unknown, memory: WasmMemory): void;
}

const mainApi = (globalThis as unknown as { readonly WebAssembly: Api }).WebAssembly;
const exportsOf = getterOf(mainApi.Instance, 'exports');
/** Saved now: the program may replace it. */
const { then } = Promise.prototype;

/** Whether the functions of WebAssembly can be replaced; false with --frozen-intrinsics. */
export const canWatchMemories: boolean = isOpen(mainApi);

/** Calls `found` once per memory, before the program receives the memory. `found` must not throw. */
export function watchMemories(found: Found, links: Links): void {
  const known = new WeakSet<object>();
  const once: Found = (memory) => {
    if (known.has(memory)) return;
    known.add(memory);
    found(memory);
  };
  watchRealm(mainApi, once, links);
  watchContexts(once, links);
}

function getterOf({ prototype }: Constructor, name: string): Callable {
  return Object.getOwnPropertyDescriptor(prototype, name)!.get!;
}

function isOpen(api: Api): boolean {
  const names = ['Memory', 'Instance', 'instantiate'];
  const makers = [api.Memory, api.Instance];
  return (
    names.every((name) => isReplaceable(api, name)) &&
    makers.every(({ prototype }) => isReplaceable(prototype, 'constructor'))
  );
}

function watchRealm(api: Api, found: Found, links: Links): void {
  if (isWrapper(api.Memory) || !isOpen(api)) return;
  replaceConstructor(api, 'Memory', (memory) => found(memory as WasmMemory));
  const made = (instance: unknown, imports: unknown): void => {
    const use: Found = (memory) => {
      found(memory);
      links.use(imports, memory);
    };
    findInImports(imports, use);
    findInExports(instance, use);
  };
  replaceConstructor(api, 'Instance', made, (imports) => links.link(imports));
  for (const name of ['instantiate', 'instantiateStreaming'] as const) {
    const native = api[name];
    if (native !== undefined) replace(api, name, wrapInstantiate(native, made, links));
  }
  hideWrappers(Object.getPrototypeOf(api.Memory));
}

function replaceConstructor(
  api: Api,
  name: 'Memory' | 'Instance',
  made: (result: object, secondArgument: unknown) => void,
  before: (secondArgument: unknown) => void = () => {},
): void {
  // A module bundled with Node: its memory has a few pages, never grows, and does not justify a fault thread. Depending on the
  // release, instantiate() or `new Instance` creates it. Node's loader is not such a module: its instances belong to the
  // program (`import 'file.wasm'`).
  const wrapper = wrapConstructor(
    api[name],
    (result, args, called) => {
      if (!isCalledByDependencyOfNode(called)) made(result, args[1]);
    },
    (args) => before(args[1]),
  );
  replace(api, name, wrapper);
}

/** Returns a promise derived from the native one, so an unhandled rejection is still reported. */
function wrapInstantiate(
  native: Callable,
  made: (instance: unknown, imports: unknown) => void,
  links: Links,
): Callable {
  const call = (_native: unknown, self: unknown, args: readonly unknown[]): unknown => {
    links.link(args[1]);
    const promise = Reflect.apply(native, self, args);
    if (isCalledByDependencyOfNode(call)) return promise;
    const inspect = (result: { readonly instance?: unknown }): unknown => {
      made(result.instance ?? result, args[1]);
      return result;
    };
    return Reflect.apply(then, promise, [inspect]);
  };
  return wrapFunction(native, call);
}

function findInExports(instance: unknown, found: Found): void {
  const exports = attempt(() => Reflect.apply(exportsOf, instance, [])) ?? {};
  for (const value of Object.values(exports)) reportMemory(value, found);
}

/** Finds memories of another realm or thread, and memories created before this file was loaded. Runs no code of the program. */
function findInImports(imports: unknown, found: Found): void {
  for (const names of dataOf(imports))
    for (const value of dataOf(names)) reportMemory(value, found);
}

/** The values of an object's own data properties; none for a Proxy. */
function dataOf(holder: unknown): readonly unknown[] {
  const isPlain = typeof holder === 'object' && holder !== null && !types.isProxy(holder);
  if (!isPlain) return [];
  const all = attempt(() => Object.values(Object.getOwnPropertyDescriptors(holder)));
  return (all ?? []).map(({ value }) => value); // undefined for an accessor
}

function reportMemory(value: unknown, found: Found): void {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return;
  if (types.isModuleNamespaceObject(value)) return;
  if (attempt(() => wasmBuffer(value)) !== undefined) found(value as WasmMemory);
}

/**
 * Returns the result of the body, or undefined if it throws, as for an object that is not WebAssembly's, or an uninitialised
 * binding.
 */
function attempt<Result>(body: () => Result): Result | undefined {
  try {
    return body();
  } catch {
    return undefined;
  }
}

function watchContexts(found: Found, links: Links): void {
  const wasmOf = new vm.Script("typeof WebAssembly === 'object' ? WebAssembly : undefined");
  const create = wrapFunction(vm.createContext as Callable, (native, self, args) => {
    const isKnown = attempt(() => vm.isContext(args[0] as vm.Context)) === true;
    const context = Reflect.apply(native, self, args) as vm.Context;
    if (isKnown || types.isProxy(context)) return context;
    const api = attempt(() => wasmOf.runInContext(context) as Api | undefined);
    if (api !== undefined) attempt(() => watchRealm(api, found, links));
    return context;
  }) as typeof vm.createContext;
  replace(vm, 'createContext', create as Callable);
  replaceRunner(vm, 1, create);
  replaceRunner(vm.Script.prototype, 0, create);
  syncBuiltinESMExports();
}

/**
 * runInNewContext() creates its context with a function that cannot be wrapped, so the wrapper passes it an existing context.
 */
function replaceRunner(
  holder: { readonly runInNewContext: unknown },
  objectAt: number,
  create: typeof vm.createContext,
): void {
  const wrapper = wrapFunction(holder.runInNewContext as Callable, (native, self, args) => {
    const all = [...args];
    all[objectAt] =
      attempt(() => create(args[objectAt] as vm.Context, contextOptions(args[objectAt + 1]))) ??
      args[objectAt];
    return Reflect.apply(native, self, all);
  });
  replace(holder, 'runInNewContext', wrapper);
}

/** Maps the context options of runInNewContext() to the names that createContext() uses. */
function contextOptions(options: unknown): vm.CreateContextOptions {
  if (typeof options !== 'object' || options === null) return {};
  const { contextName, contextOrigin, contextCodeGeneration, microtaskMode } =
    options as vm.RunningScriptInNewContextOptions;
  return {
    ...(contextName === undefined ? {} : { name: contextName }),
    ...(contextOrigin === undefined ? {} : { origin: contextOrigin }),
    ...(contextCodeGeneration === undefined ? {} : { codeGeneration: contextCodeGeneration }),
    ...(microtaskMode === undefined ? {} : { microtaskMode }),
  };
}
