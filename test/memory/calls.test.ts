/** Calls to the fault thread: from more threads than there are slots, from threads that end, and without V8's locks. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ControlBlock, EngineState } from '../../src/memory/control-block.ts';
import { Futex } from '../../src/os/linux/futex.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';

const program = fileURLToPath(new URL('./children/calls.js', import.meta.url));
const options = { skip: skipUnlessPaging, timeout: 300_000 };

for (const mode of ['many workers', 'leavers'])
  test(`calls of more threads than there are slots: ${mode}`, options, async () => {
    const { code, stdout, stderr } = await endingOf(
      spawn(process.execPath, [program, mode]),
      undefined,
      240_000,
    );
    assert.deepEqual([code, stdout], [0, 'intact\n'], stderr);
  });

const root = join(import.meta.dirname, '../../..');

/** The files of src/ that one of them imports at run time, itself included. */
function reachable(file: string, found: Set<string> = new Set()): Set<string> {
  if (found.has(file)) return found;
  found.add(file);
  const text = readFileSync(file, 'utf8');
  for (const [, target = ''] of text.matchAll(
    /^(?:import|export) (?!type )[^;]*?from '(\.[^']+)';/gms,
  ))
    reachable(join(dirname(file), target), found);
  return found;
}

test('neither the fault thread nor its callers wait or wake through V8', () => {
  const files = ['fault-thread', 'caller', 'region', 'control-block'].flatMap((name) => [
    ...reachable(join(root, `src/memory/${name}.ts`)),
  ]);
  assert.ok(files.some((file) => file.endsWith('pager/evictor.ts')));
  const users = files.filter((file) => /Atomics\.(wait|waitAsync|notify)\(/.test(codeOf(file)));
  assert.deepEqual(users, []);
});

const codeOf = (file: string): string =>
  readFileSync(file, 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');

test('a futex: returns if the word differs, on timeout, and when it is woken', {
  skip: skipUnlessPaging,
}, () => {
  const linux = loadLinux().linux!;
  const memory = new SharedArrayBuffer(64);
  const futex = new Futex(linux, memory);
  new Int32Array(memory)[15] = 7;
  assert.equal(futex.wait(15, 8, 60_000), true);
  assert.equal(futex.wait(15, 7, 1), false);
  assert.equal(futex.wait(15, 7, 0), false);
  futex.wake(15);
  assert.throws(() => futex.wait(16, 0, 1), /word < words/);
});

test('waiting for an engine that never starts ends after the timeout', options, () => {
  const control = new ControlBlock(loadLinux().linux!);
  assert.equal(control.waitForStart(1), false);
  control.state = EngineState.running;
  assert.equal(control.waitForStart(1), true);
  control.thread = 2 ** 22; // no thread has this id
  assert.deepEqual([control.isFaultThreadAlive, control.state], [false, EngineState.ended]);
});
