/** Buffers that Node's own code makes under FRONTSWAP_BUFFERS: they are not paged, and keep their bytes. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { skipUnlessBuffers, skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const options = { skip: skipUnlessPaging || skipUnlessBuffers, timeout: 60_000 };
const register = new URL('../../src/memory/register.js', import.meta.url).href;

/** An array of 8 MiB in `data`; the budget of the tests is 1 MiB. */
const prelude = `const data = new Uint8Array(2 ** 23).map((_, i) => i >>> 5);
const same = (bytes) => bytes.length === data.length && Buffer.compare(bytes, data) === 0;
/** Takes the place of evicted pages. */
const fill = () => Array.from({ length: 8 }, (_, i) => new Uint8Array(2 ** 22).fill(i));
`;

function run(code: string): Promise<Ending> {
  const argv = ['--import', register, '--input-type=module', '-e', prelude + code];
  const env = {
    ...process.env,
    FRONTSWAP_RESIDENT: '1M',
    FRONTSWAP_BUFFERS: '1M',
    FRONTSWAP_STATS: '1',
  };
  return endingOf(spawn(process.execPath, argv, { env }));
}

/** Number of paged buffers, `data` and its source included. */
const paged = ({ stderr }: Ending): number =>
  Number(/frontswap: (\d+) memor(?:y|ies)/.exec(stderr)?.[1]);

test('a Blob of a paged array has its bytes, although Node detaches a copy', options, async () => {
  const { stdout, stderr } = await run(`const blobs = [new Blob([data]), new Blob([data.buffer])];
    fill();
    for (const blob of blobs) console.log(same(new Uint8Array(await blob.arrayBuffer())));
    console.log(same(data));`);
  assert.equal(stdout, 'true\ntrue\ntrue\n', stderr);
});

const ownBuffers: readonly (readonly [string, string])[] = [
  ['fs.readFileSync()', 'same(fs.readFileSync(file))'],
  ['fs.promises.readFile()', 'same(await fs.promises.readFile(file))'],
  ['zlib', 'same(zlib.gunzipSync(zlib.gzipSync(data)))'],
  ['spawnSync()', `same(spawnSync('cat', { input: data, maxBuffer: 2 ** 26 }).stdout)`],
];
for (const [name, code] of ownBuffers)
  test(`buffers that ${name} makes are not paged`, options, async () => {
    const ending = await run(`import fs from 'node:fs';
      import os from 'node:os';
      import zlib from 'node:zlib';
      import { spawnSync } from 'node:child_process';
      const folder = fs.mkdtempSync(os.tmpdir() + '/frontswap-test-');
      const file = folder + '/data';
      fs.writeFileSync(file, data);
      console.log(${code});
      fs.rmSync(folder, { recursive: true });`);
    assert.equal(ending.stdout, 'true\n', ending.stderr);
    assert.equal(paged(ending), 2, ending.stderr);
  });

const ofProgram: readonly (readonly [string, string])[] = [
  ['slice()', 'data.slice()'],
  ['ArrayBuffer.prototype.slice()', 'data.buffer.slice(0)'],
  ['Buffer.concat()', 'Buffer.concat([data, data])'],
  ['new Function()', `new Function('return new Uint8Array(2 ** 22)')()`],
  ['a subclass whose getters need its fields', 'new Fields(2 ** 22)'],
];
for (const [name, code] of ofProgram)
  test(`a buffer that the program makes with ${name} is paged`, options, async () => {
    const ending = await run(`class Fields extends Uint8Array {
        #bytes = 1;
        get byteLength() { return this.#bytes; }
        get buffer() { throw new Error(String(this.#bytes)); }
      }
      console.log(typeof ${code});`);
    assert.equal(ending.stdout, 'object\n', ending.stderr);
    assert.equal(paged(ending), 3, ending.stderr);
  });

test('a program that freezes Error runs', options, async () => {
  const { stdout, stderr } = await run(
    'Object.freeze(Error); new Uint8Array(2 ** 22); new WebAssembly.Memory({ initial: 1 }); console.log(1);',
  );
  assert.equal(stdout, '1\n', stderr);
});

const errors: readonly string[] = [
  'Error.captureStackTrace = undefined;',
  'globalThis.Error = class Error {};',
  'Error.stackTraceLimit = 0;',
  'Error.prepareStackTrace = () => 5;',
];
for (const code of errors)
  test(`a buffer is paged after ${code}`, options, async () => {
    const ending = await run(`${code} globalThis.kept = new Uint8Array(2 ** 22);`);
    assert.equal(ending.code, 0, ending.stderr);
    assert.equal(paged(ending), 3, ending.stderr);
  });
