/** An unmodified program runs under `frontswap/register` as it does without. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { wrapConstructor, wrapFunction } from '../../src/memory/platform-wrapper.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url).href;
const observer = fileURLToPath(new URL('./children/observe-wasm.js', import.meta.url));
const major = Number(process.versions.node.split('.')[0]);
const options = { skip: skipUnlessPaging, timeout: 120_000 };

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ending> {
  const env = { ...process.env, ...environment };
  return endingOf(spawn(process.execPath, [...args], { env }));
}

const under = (args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ending> =>
  run(['--import', register, ...args], {
    FRONTSWAP_RESIDENT: '32M',
    FRONTSWAP_STATS: '1',
    ...environment,
  });

/** Memories that were adopted, of the line at the end. */
const adopted = ({ stderr }: Ending): number =>
  Number(/frontswap: (\d+) memor(?:y|ies)/.exec(stderr)?.[1] ?? -1);

test('a program cannot distinguish a wrapped function from the native one', options, async () => {
  const plain = await run([observer]);
  const wrapped = await under([observer]);
  assert.deepEqual(JSON.parse(wrapped.stdout), JSON.parse(plain.stdout), wrapped.stderr);
  assert.deepEqual([plain.code, wrapped.code], [0, 0]);
});

test('a wrapper passes on this, every argument and new.target', () => {
  class Native {
    readonly got: readonly unknown[];
    constructor(...got: readonly unknown[]) {
      this.got = got;
    }
  }
  class Derived extends Native {}
  const seen: unknown[] = [];
  const Wrapped = wrapConstructor(Native as never, (result, args) => seen.push(result, args));
  const made: Native = Reflect.construct(Wrapped, [1, 2, 3, 4], Derived);
  assert.deepEqual([made.got, made instanceof Derived], [[1, 2, 3, 4], true]);
  assert.deepEqual(seen, [made, [1, 2, 3, 4]]);
  const native = function (this: unknown, ...args: unknown[]): unknown[] {
    return [this, ...args];
  };
  const wrapper = wrapFunction(native, (to, self, args) => Reflect.apply(to, self, args));
  assert.deepEqual(wrapper.call('self', 1, 2, 3, 4), ['self', 1, 2, 3, 4]);
});

test('the third argument of instantiate() is passed on: builtins of a string module', {
  ...options,
  skip: skipUnlessPaging || (major < 24 && 'needs Node 24'),
}, async () => {
  const { stdout } = await under([observer]);
  const results = JSON.parse(stdout)['promises'] as unknown[];
  assert.deepEqual(results.at(-1), [true, ['module', 'instance'], '[object Object]']);
});

const starts: readonly (readonly [string, readonly string[], NodeJS.ProcessEnv])[] = [
  ['--frozen-intrinsics', ['--frozen-intrinsics'], {}],
  ['--disallow-code-generation-from-strings', ['--disallow-code-generation-from-strings'], {}],
  ['--disable-proto=delete', ['--disable-proto=delete'], {}],
  ['--no-wasm-trap-handler', ['--disable-wasm-trap-handler'], {}],
  ['--pending-deprecation', ['--pending-deprecation', '--throw-deprecation'], {}],
  ['a budget that is no size', [], { FRONTSWAP_RESIDENT: 'plenty' }],
  ['a swap file where none can be', [], { FRONTSWAP_FILE: '/no/such/folder:64M' }],
  ['a swap file without a size', [], { FRONTSWAP_FILE: '/tmp' }],
  ['an unusable limit', [], { FRONTSWAP_LIMIT: '-1' }],
];

const program = `new WebAssembly.Memory({ initial: 16 });
console.log('ran');`;

for (const [name, flags, environment] of starts)
  test(`a program starts under register, with at most one warning: ${name}`, options, async () => {
    if (flags.includes('--disable-wasm-trap-handler') && major < 22) return; // not an option of Node 20
    const { code, stdout, stderr } = await under([...flags, '-e', program], environment);
    assert.deepEqual([code, stdout], [0, 'ran\n'], stderr);
    assert.ok((stderr.match(/^\(node:\d+\)(?!.*Experimental)/gm) ?? []).length <= 1, stderr);
  });

test(
  'the warning about a swap file that cannot be opened states the consequence, the reason and what to do',
  options,
  async () => {
    const { stderr } = await under(['-e', program], { FRONTSWAP_FILE: '/no/such/folder:64M' });
    assert.match(
      stderr,
      /\[ERR_IO_SYSTEM\] FrontswapWarning: nothing is paged: cannot open the swap file \/no\/such\/folder: no such file or directory \(ENOENT\); create its folder first/,
    );
  },
);

test('the warning about a setting that is not a size states the consequence', options, async () => {
  const { stderr } = await under(['-e', program], { FRONTSWAP_RESIDENT: 'plenty' });
  assert.match(
    stderr,
    /\[ERR_ARG_VALUE\] FrontswapWarning: nothing is paged: FRONTSWAP_RESIDENT: 'plenty' is not/,
  );
});

test('a switch that is neither 0 nor 1 is an error', options, async () => {
  const { stderr } = await under(['-e', program], { FRONTSWAP_SHARED: 'on' });
  assert.match(stderr, /\[ERR_ARG_VALUE\] .*FRONTSWAP_SHARED is 'on'; set it to 1, or unset it/);
});

test(
  'a misspelt variable is reported; other names with the prefix are ignored',
  options,
  async () => {
    const { stderr } = await under(['-e', program], {
      FRONTSWAP_LIMITS: '64M',
      FRONTSWAP_VERSION: '1',
    });
    assert.match(
      stderr,
      /\[ERR_ARG_UNKNOWN\] .*unknown variable FRONTSWAP_LIMITS has no effect; did you mean FRONTSWAP_LIMIT\?/,
    );
    assert.doesNotMatch(stderr, /VERSION/);
  },
);

const unpaged: readonly (readonly [string, readonly string[], NodeJS.ProcessEnv, RegExp])[] = [
  ['no budget', [], { FRONTSWAP_RESIDENT: undefined }, /FRONTSWAP_RESIDENT is not set/],
  ['a wrong setting', [], { FRONTSWAP_LIMIT: 'much' }, /FRONTSWAP_LIMIT: 'much' is not/],
  ['a wrong switch', [], { FRONTSWAP_STRICT: 'yes' }, /FRONTSWAP_STRICT is 'yes'/],
  ['no foreign functions', ['--no-addons'], {}, /memory cannot be paged here: koffi does not load/],
  ['frozen intrinsics', ['--frozen-intrinsics'], {}, /WebAssembly is frozen/],
];

for (const [why, flags, environment, message] of unpaged)
  test(`FRONTSWAP_STRICT ends the process before the program starts: ${why}`, options, async () => {
    const strict = { FRONTSWAP_STRICT: '1', ...environment };
    const ended = await under([...flags, '-e', "console.log('ran')"], strict);
    assert.deepEqual([ended.code, ended.stdout], [1, ''], ended.stderr);
    assert.match(ended.stderr, message);
    assert.match(ended.stderr, /^frontswap: nothing is paged, and FRONTSWAP_STRICT is set: /m);
  });

test(
  'FRONTSWAP_STRICT ends the process when its first memory cannot be paged',
  options,
  async () => {
    const strict = { FRONTSWAP_STRICT: '1', FRONTSWAP_FILE: '/no/such/folder:64M' };
    const { code, stdout, stderr } = await under(['-e', program], strict);
    assert.deepEqual([code, stdout], [1, ''], stderr);
    assert.match(stderr, /FRONTSWAP_STRICT is set: cannot open the swap file/);
  },
);

test('a process that is paged runs under FRONTSWAP_STRICT', options, async () => {
  const ended = await under(['-e', program], { FRONTSWAP_STRICT: '1' });
  assert.deepEqual([ended.code, ended.stdout, adopted(ended)], [0, 'ran\n', 1], ended.stderr);
});

test('frozen intrinsics cause one warning', options, async () => {
  const { stderr } = await under(['--frozen-intrinsics', '-e', program]);
  assert.match(
    stderr,
    /FrontswapWarning: nothing is paged: WebAssembly is frozen; run Node without/,
  );
});

const places: readonly (readonly [string, number, string])[] = [
  ['made', 1, 'new WebAssembly.Memory({ initial: 1 })'],
  ['of a subclass', 1, 'new (class extends WebAssembly.Memory {})({ initial: 1 })'],
  ['exported by an instance', 1, 'new WebAssembly.Instance(new WebAssembly.Module(bytes))'],
  ['exported by instantiate(bytes)', 1, 'await WebAssembly.instantiate(bytes)'],
  [
    'exported by instantiate(module)',
    1,
    'await WebAssembly.instantiate(new WebAssembly.Module(bytes))',
  ],
  ['exported by a stream', 1, 'await WebAssembly.instantiateStreaming(new Response(bytes, type))'],
  [
    'made in a context',
    1,
    `vm.runInContext('new WebAssembly.Memory({ initial: 1 })', vm.createContext())`,
  ],
  ['made in a new context', 1, `vm.runInNewContext('new WebAssembly.Memory({ initial: 1 })')`],
  [
    'made by a script in a new context',
    1,
    `new vm.Script('new WebAssembly.Memory({ initial: 1 })').runInNewContext({})`,
  ],
  [
    'imported, of a context that is not watched',
    1,
    `const memory = vm.runInNewContext('new WebAssembly.Memory({ initial: 1 })',
       new Proxy({}, {}));
     new WebAssembly.Instance(new WebAssembly.Module(importer), { a: { b: memory } });
     await WebAssembly.instantiate(importer, { a: { b: memory } })`,
  ],
  ['none', 0, 'await WebAssembly.compile(bytes)'],
];

for (const [name, count, code] of places)
  test(`a memory is reported once: ${name}`, options, async () => {
    const text = `import vm from 'node:vm';
      const bytes = Buffer.from('0061736d010000000503010001070a01066d656d6f72790200', 'hex');
      const importer = Buffer.from('0061736d010000000208010161016202000107050101630200', 'hex');
      const type = { headers: { 'content-type': 'application/wasm' } };
      ${code};`;
    const ending = await under(['--input-type=module', '-e', text]);
    assert.deepEqual([ending.code, adopted(ending)], [0, count], ending.stderr);
  });

test('1,100 memories are paged, without a warning', options, async () => {
  const make = 'new WebAssembly.Memory({ initial: 1 })';
  const code = `const all = []; for (let i = 0; i < 1100; i++) all.push(${make});
    for (const [i, { buffer }] of all.entries()) new Uint32Array(buffer)[7] = i;
    if (all.some(({ buffer }, i) => new Uint32Array(buffer)[7] !== i)) throw new Error('wrong');`;
  const ending = await under(['-e', code]);
  assert.equal(ending.code, 0, ending.stderr);
  assert.equal(adopted(ending), 1100, ending.stderr);
  assert.doesNotMatch(ending.stderr, /Warning/);
});

test('warnings with the same code are printed once', options, async () => {
  // Such memories may move when they grow, and each of them is refused.
  const make = 'new WebAssembly.Memory({ initial: 1, maximum: 2 });';
  const ending = await under(['--disable-wasm-trap-handler', '-e', make.repeat(20)]);
  assert.equal(ending.code, 0, ending.stderr);
  assert.equal(ending.stderr.match(/4 GiB/g)?.length, 1, ending.stderr);
});

test('a memory is paged although the process has changed its user', {
  ...options,
  skip: skipUnlessPaging || (process.getuid?.() !== 0 && 'needs root, to become another user'),
}, async () => {
  const code = `process.setgid(65534); process.setuid(65534);
    const { buffer } = new WebAssembly.Memory({ initial: 1600 });
    const words = new Uint32Array(buffer).map((_, i) => i >>> 3);
    new Uint32Array(buffer).set(words);
    if (new Uint32Array(buffer).some((word, i) => word !== i >>> 3)) throw new Error('wrong');`;
  const ending = await under(['-e', code]);
  assert.equal(ending.code, 0, ending.stderr);
  assert.match(ending.stderr, /1 memory, .* stored in [\d.]+M/);
});
