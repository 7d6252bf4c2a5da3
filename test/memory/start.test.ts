/** frontswap/register starts the fault thread with the program's first WebAssembly memory, and not before. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url);
const options = { skip: skipUnlessPaging, timeout: 120_000 };

/** (memory (export "m") 64) */
const exportsMemory = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 0, 64, 7, 5, 1, 1, 109, 2, 0],
);

/** Runs a module under register; it may call `isPaging()` and `print()`. */
async function run(code: string, ...nodeArgs: readonly string[]): Promise<string> {
  const program = `
    import { readFileSync } from 'node:fs';
    const isPaging = () => readFileSync('/proc/self/maps', 'utf8').includes('koffi.node');
    const print = (value) => console.log(JSON.stringify(value));
    ${code}`;
  const imported = ['--import', fileURLToPath(register), '--input-type=module', '-e', program];
  const args = ['--no-warnings', ...nodeArgs, ...imported];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, FRONTSWAP_RESIDENT: '1M' },
  });
  const { code: status, stdout, stderr } = await endingOf(child);
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
  return stdout.trim();
}

test(
  'a program without WebAssembly memories loads neither koffi nor a fault thread',
  options,
  async () => {
    assert.equal(await run('print(isPaging())'), 'false');
  },
);

test(
  'the first memory is paged before its program receives it: new, instantiate, Instance',
  options,
  async () => {
    const module = `new Uint8Array([${exportsMemory.join()}])`;
    const fillAndCompare = `
    const bytes = new Uint8Array(memory.buffer);
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = (at >> 12) % 251;
    let wrong = 0;
    for (let at = 0; at < bytes.length; at += 4096) if (bytes[at] !== (at >> 12) % 251) wrong++;
    const { swap } = await import(${JSON.stringify(register.href)});
    print([isPaging(), wrong, swap.stats().pageOuts > 0]);`;
    for (const make of [
      'new WebAssembly.Memory({ initial: 64 })',
      `(await WebAssembly.instantiate(${module})).instance.exports.m`,
      `new WebAssembly.Instance(new WebAssembly.Module(${module})).exports.m`,
    ])
      assert.equal(await run(`const memory = ${make};${fillAndCompare}`), '[true,0,true]', make);
  },
);

test('memories of Node itself, such as that of fetch, do not start paging', options, async () => {
  const answer = await run(`
    import { createServer } from 'node:http';
    const server = createServer((_, response) => response.end('yes')).listen(0, '127.0.0.1', async () => {
      const answer = await (await fetch('http://127.0.0.1:' + server.address().port)).text();
      server.close();
      server.closeAllConnections();
      print([answer, isPaging()]);
    });`);
  assert.equal(answer, '["yes",false]');
});

test('memories that Node creates by `new Instance` do not start paging', options, async () => {
  const lexer = 'internal/deps/cjs-module-lexer/dist/lexer';
  const answer = await run(
    `
    import { builtinModules, createRequire } from 'node:module';
    if (builtinModules.includes('${lexer}')) createRequire('/')('${lexer}').initSync();
    print(isPaging());`,
    '--expose-internals',
  );
  assert.equal(answer, 'false');
});

test(
  'the memory of a module that the program imports as a file is paged, although Node instantiates it',
  options,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'frontswap-wasm-'));
    try {
      const path = join(folder, 'memory.wasm');
      writeFileSync(path, exportsMemory);
      const code = `await import(${JSON.stringify(pathToFileURL(path).href)}); print(isPaging());`;
      assert.equal(await run(code, '--experimental-wasm-modules'), 'true');
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test(
  'whenPaging() calls back when paging starts, or at once if it has started',
  options,
  async () => {
    const answer = await run(`
    const { whenPaging, swap } = await import(${JSON.stringify(register.href)});
    const seen = [];
    whenPaging((started) => seen.push(started.transparent));
    const before = [swap === null, seen.length];
    new WebAssembly.Memory({ initial: 1 });
    whenPaging((started) => seen.push(started.transparent));
    print([...before, seen]);`);
    assert.equal(answer, '[true,0,[true,true]]');
  },
);
