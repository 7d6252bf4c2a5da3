/** The foreign function interface is loaded by its binary alone, and by its package where that is elsewhere. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const built = fileURLToPath(new URL('../../src/os/koffi.js', import.meta.url));
const isKnown =
  ['x64', 'arm64'].includes(process.arch) &&
  !existsSync(`/lib/ld-musl-${process.arch === 'x64' ? 'x86_64' : 'aarch64'}.so.1`);

/** Files of koffi that a thread has loaded, after `before` and the binding of a function. */
function loaded(before: string): readonly string[] {
  const code = `${before};
    const { loadKoffi } = await import(${JSON.stringify(built)});
    const { createRequire } = await import('node:module');
    if (loadKoffi().load(null).func('int getpid()')() !== process.pid) throw new Error('another process');
    const files = Object.keys(createRequire(import.meta.url).cache);
    console.log(JSON.stringify(files.filter((file) => file.includes('koffi'))));`;
  return JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }),
  );
}

test('the binary of koffi is loaded without its package', {
  skip: process.platform !== 'linux' || !isKnown ? 'the package looks for the binary here' : false,
}, () => {
  const files = loaded('');
  assert.equal(files.length, 1, files.join());
  assert.match(files[0]!, /koffi\.node$/);
});

test('without the binary in its usual location, the package selects it', () => {
  const hidden = `const { default: Module } = await import('node:module');
    const resolve = Module._resolveFilename;
    Module._resolveFilename = function (name, ...rest) {
      if (name.startsWith('@koromix/')) throw new Error('hidden');
      return Reflect.apply(resolve, this, [name, ...rest]);
    };`;
  assert.ok(loaded(hidden).includes(require.resolve('koffi')));
});
