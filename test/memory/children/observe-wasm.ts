/**
 * Prints everything that a program can observe of the functions that `frontswap/register` wraps, as JSON. The output
 * with and without register must be equal.
 */
import vm from 'node:vm';
import { until } from '../../support/fixtures/until.ts';

// biome-ignore lint/suspicious/noExplicitAny: the checker knows no WebAssembly without the DOM's types
const wasm = (globalThis as any).WebAssembly;
const seen: Record<string, unknown> = {};

/** A module that exports its memory, and one that imports and exports it. */
const exporter = Uint8Array.from(
  Buffer.from('0061736d010000000503010001070a01066d656d6f72790200', 'hex'),
);
const importer = Uint8Array.from(
  Buffer.from('0061736d010000000208010161016202000107050101630200', 'hex'),
);
/** Imports `length` of `wasm:js-string`, which only the third argument of instantiate() gives. */
const stringModule = Uint8Array.from([
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x6f, 1, 0x7f],
  ...[2, 25, 1, 14, ...Buffer.from('wasm:js-string'), 6, ...Buffer.from('length'), 0, 0],
  ...[7, 5, 1, 1, 0x6c, 0, 0],
]);

function textOf(value: unknown): unknown {
  return typeof value === 'function' ? Function.prototype.toString.call(value) : String(value);
}

function attributes(holder: object): unknown {
  return Reflect.ownKeys(holder).map((key) => {
    const { value, get, set, ...flags } = Object.getOwnPropertyDescriptor(holder, key)!;
    const text = typeof value === 'function' || typeof value !== 'object' ? textOf(value) : '';
    return [String(key), flags, text, get !== undefined, set !== undefined];
  });
}

function thrown(body: () => unknown): string {
  try {
    return `no error: ${String(body())}`;
  } catch (error) {
    return `${(error as Error).constructor === globalThis[(error as Error).name as never]} ${error}`;
  }
}

function look(name: string, value: Record<string, unknown>): void {
  seen[`${name}: attributes`] = attributes(value);
  for (const key of Object.getOwnPropertyNames(value)) {
    const member = value[key];
    if (typeof member !== 'function') continue;
    const own = attributes(member);
    const prototype = (member as { prototype?: object }).prototype;
    seen[`${name}.${key}`] = [
      own,
      textOf(member),
      Object.getPrototypeOf(member) === Function.prototype,
      Symbol.hasInstance in member,
      prototype === undefined ? '' : attributes(prototype),
      (prototype as { constructor?: unknown } | undefined)?.constructor === member,
    ];
  }
}

function lookAtObjects(): void {
  const { Memory, Instance, Module } = wasm;
  class Own extends (Memory as new (limits: object) => object) {
    readonly mine = 1;
  }
  class Unrelated {}
  const memory = new Memory({ initial: 1, maximum: 2 });
  const own = new Own({ initial: 1 });
  const instance = new Instance(new Module(exporter));
  const strange = Reflect.construct(Memory, [{ initial: 1 }], Unrelated);
  seen['objects'] = [
    memory.constructor === Memory,
    Object.getPrototypeOf(memory) === Memory.prototype,
    [memory instanceof Memory, own instanceof Memory, own instanceof Own, memory instanceof Own],
    [own.mine, own.constructor === Own, Object.getPrototypeOf(Own) === Memory],
    [instance instanceof Instance, instance.constructor === Instance],
    [instance.exports.memory instanceof Memory, instance.exports.memory.constructor === Memory],
    [strange instanceof Unrelated, strange instanceof Memory],
    [Object.prototype.toString.call(memory), Object.prototype.toString.call(wasm)],
    Memory[Symbol.hasInstance] === Function.prototype[Symbol.hasInstance],
    Memory[Symbol.hasInstance](memory),
    Module.exports(new Module(exporter)).map(({ name }: { name: string }) => name),
    Module.imports(new Module(importer)).length,
  ];
  seen['errors'] = [
    thrown(() => Memory({ initial: 1 })),
    thrown(() => new Memory()),
    thrown(() => new Memory({ initial: 2, maximum: 1 })),
    thrown(() => new Instance({})),
    thrown(() => new wasm.instantiate(exporter)),
    thrown(() => Function.prototype.toString.call(1)),
    thrown(() => Function.prototype.toString.call({})),
    thrown(() => vm.createContext(1 as never)),
    thrown(() => vm.runInNewContext('1 +')),
    thrown(() => vm.runInNewContext('1', 1 as never)),
    thrown(() => vm.runInNewContext('WebAssembly', {}, { contextName: 7 as never })),
  ];
}

async function settled(promise: Promise<unknown>): Promise<unknown> {
  const isNative = Object.getPrototypeOf(promise) === Promise.prototype;
  return promise.then(
    (value) => [isNative, Object.keys(value as object), String(value)],
    (error: unknown) => [isNative, String(error)],
  );
}

async function lookAtPromises(): Promise<void> {
  const { instantiate, instantiateStreaming, compile, Module } = wasm;
  const options = { headers: { 'content-type': 'application/wasm' } };
  seen['promises'] = [
    await settled(wasm.instantiate(exporter)),
    await settled(instantiate(new Module(exporter), {})), // its `this` does not matter
    await settled(instantiate()),
    await settled(instantiate(new Uint8Array(8))),
    await settled(instantiate(exporter, 1)),
    await settled(compile(exporter)),
    await settled(instantiateStreaming(new Response(exporter, options))),
    await settled(instantiateStreaming(new Response(exporter))),
    await settled(instantiate(stringModule, {}, { builtins: ['js-string'] })),
  ];
  const unhandled: unknown[] = [];
  process.on('unhandledRejection', (reason) => unhandled.push(String(reason)));
  void instantiate(new Uint8Array(8));
  instantiate(new Uint8Array(8)).catch(() => {});
  await until('the unhandled rejection', () => unhandled.length > 0);
  await settled(instantiate(new Uint8Array(8))); // reports a second rejection, if any
  seen['unhandled rejections'] = unhandled.length;
}

function lookAtContexts(): void {
  const look = `[String(WebAssembly.Memory), WebAssembly.instantiate.name,
    new WebAssembly.Memory({ initial: 1 }).constructor === WebAssembly.Memory,
    WebAssembly.Memory instanceof Function, Object.getOwnPropertyNames(globalThis).length]`;
  const context = vm.createContext({ a: 1 }, { codeGeneration: { strings: false, wasm: true } });
  seen['contexts'] = [
    [...vm.runInContext(look, context)],
    [...vm.runInNewContext(look, { b: 2 })],
    [...vm.runInNewContext(look, undefined, 'a-file.js')],
    [...new vm.Script(look).runInNewContext()],
    vm.createContext(context) === context,
    Object.keys(context),
    vm.runInNewContext('typeof WebAssembly', { WebAssembly: 'mine' }),
    thrown(() => vm.runInContext('eval("1")', context)).replace(/^\w+/, ''),
    thrown(() =>
      vm.runInNewContext('eval("1")', {}, { contextCodeGeneration: { strings: false } }),
    ).replace(/^\w+/, ''),
  ];
}

look('WebAssembly', wasm);
look('vm', vm as unknown as Record<string, unknown>);
seen['vm.Script'] = attributes(vm.Script.prototype);
seen['Function.prototype'] = attributes(Function.prototype);
seen['toString'] = attributes(Function.prototype.toString);
lookAtObjects();
lookAtContexts();
await lookAtPromises();
process.stdout.write(JSON.stringify(seen));
