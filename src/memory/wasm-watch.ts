/**
 * Sees every WebAssembly memory that the program makes, exports or imports, in this realm and in the contexts of
 * node:vm, by wrappers of the platform's functions (platform-wrapper.ts).
 *
 *   new Memory ─▶ the memory     new Instance, instantiate() ─▶ memories among the imports and the exports
 *   vm.createContext(), runInNewContext() ─▶ the WebAssembly of the new context is wrapped in the same way
 *
 * Invariant: the program gets what the native function returns or throws, whatever is done with a memory that was
 * found. Left out: memories that a module neither imports nor exports; those of Node's own modules; imports that are
 * Proxies, whose traps would run twice; contexts over an object that is a Proxy or has a WebAssembly of its own.
 */
import { syncBuiltinESMExports } from 'node:module';
import { types } from 'node:util';
import vm from 'node:vm';
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

/** What is wrapped of a realm's WebAssembly. */
interface Api {
  readonly Memory: Constructor;
  readonly Instance: Constructor;
  readonly instantiate: Callable;
  readonly instantiateStreaming?: Callable;
}

type Found = (memory: WasmMemory) => void;

/** Callbacks for the creation of instances. Must not throw. */
export interface Links {
  /** Before an instance is made of the imports. */
  link(imports: unknown): void;
  /** An instance of the imports has the memory. */
  use(imports: unknown, memory: WasmMemory): void;
}

const mainApi = (globalThis as unknown as { readonly WebAssembly: Api }).WebAssembly;
const exportsOf = getterOf(mainApi.Instance, 'exports');
/** The program may put its own there. */
const { then } = Promise.prototype;

/** Whether the functions of WebAssembly may be replaced; not so with --frozen-intrinsics. */
export const canWatchMemories: boolean = isOpen(mainApi);

/** Gives each memory to `found` once, before the program has it. `found` must not throw. */
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
  const wrapper = wrapConstructor(
    api[name],
    (result, args, called) => {
      if (!isCalledByDependencyOfNode(called)) made(result, args[1]);
    },
    (args) => before(args[1]),
  );
  replace(api, name, wrapper);
}

/** The promise is one of ours that follows the native one: an error that the program does not handle is still told. */
function wrapInstantiate(
  native: Callable,
  made: (instance: unknown, imports: unknown) => void,
  links: Links,
): Callable {
  const call = (_native: unknown, self: unknown, args: readonly unknown[]): unknown => {
    links.link(args[1]);
    const promise = Reflect.apply(native, self, args);
    if (isCalledByDependencyOfNode(call)) return promise;
    const look = (result: { readonly instance?: unknown }): unknown => {
      made(result.instance ?? result, args[1]);
      return result;
    };
    return Reflect.apply(then, promise, [look]);
  };
  return wrapFunction(native, call);
}

/**
 * Whether the caller of `wrapper` is a module that Node has within (undici, the lexer of CommonJS). Their memories are
 * some pages that never grow: paging them would start the fault thread for nothing. Some releases make them by
 * instantiate(), some by `new Instance`. Not so Node's loader, whose instances are the program's: `import 'file.wasm'`.
 */
function isCalledByDependencyOfNode(wrapper: object): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error;
  const trace: { stack?: readonly NodeJS.CallSite[] | string } = {};
  Error.stackTraceLimit = 1;
  Error.prepareStackTrace = (_, sites) => sites;
  Error.captureStackTrace(trace, wrapper as () => void);
  const { stack } = trace; // read while it is made our way
  Object.assign(Error, { stackTraceLimit, prepareStackTrace });
  return (
    typeof stack === 'object' && stack[0]?.getFileName()?.startsWith('node:internal/deps/') === true
  );
}

function findInExports(instance: unknown, found: Found): void {
  const exports = attempt(() => Reflect.apply(exportsOf, instance, [])) ?? {};
  for (const value of Object.values(exports)) findMemory(value, found);
}

/** Memories of another realm, of another thread, or made before we were loaded. Runs no code of the program's. */
function findInImports(imports: unknown, found: Found): void {
  for (const names of dataOf(imports)) for (const value of dataOf(names)) findMemory(value, found);
}

/** Values of an object's own properties; none of accessors and Proxies. */
function dataOf(holder: unknown): readonly unknown[] {
  const isPlain = typeof holder === 'object' && holder !== null && !types.isProxy(holder);
  if (!isPlain) return [];
  const all = attempt(() => Object.values(Object.getOwnPropertyDescriptors(holder)));
  return (all ?? []).map(({ value }) => value); // undefined of an accessor
}

function findMemory(value: unknown, found: Found): void {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return;
  if (types.isModuleNamespaceObject(value)) return;
  if (attempt(() => wasmBuffer(value)) !== undefined) found(value as WasmMemory);
}

/**
 * What the body returns; undefined where it throws: an object that is none of WebAssembly's, a binding without a value.
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

/** runInNewContext() creates its context by a function that cannot be replaced, so it gets a context created before. */
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
