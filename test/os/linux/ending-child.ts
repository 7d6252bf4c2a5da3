/** Run by ending.test.ts in a child process: ways to end a process, and calls without privilege. */
import { openSync, readSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { Mapping } from '../../../src/os/linux/mapping.ts';
import { Process } from '../../../src/os/linux/process.ts';
import { CopyMode, UffdFeature, UffdMode } from '../../../src/os/linux/uffd-constants.ts';
import { openUserfaultfd } from '../../../src/os/linux/userfaultfd-open.ts';
import { awaitMessages, Toucher } from './faults.ts';
import { theLinux } from './machine.ts';

const linux = theLinux();
const own = new Process(linux);
const mapping = new Mapping(linux);

/** Serves a fault of a worker, then lets the kernel write to a missing page. */
async function serveUserMode(): Promise<void> {
  const { uffd, access, reason } = openUserfaultfd(linux);
  if (uffd === null) throw new Error(reason);
  const bytes = 2 * linux.pageBytes;
  const at = mapping.reserve(bytes);
  const source = mapping.reserve(bytes);
  new Uint8Array(mapping.viewOf(source, bytes)).fill(21);
  uffd.register(at, bytes, UffdMode.missing);
  const toucher = await Toucher.start(at, bytes);
  toucher.read(0);
  awaitMessages(linux, uffd);
  uffd.copy(at, source, linux.pageBytes, CopyMode.wake);
  const value = toucher.result();
  await toucher.stop();
  let kernel: unknown = 21; // if kernel faults are reported too, this one would never be served
  if (access === 'user-mode') {
    const memory = new Uint8Array(mapping.viewOf(at + linux.pageBytes, linux.pageBytes));
    try {
      readSync(openSync('/dev/zero', 'r'), memory, 0, 1, null);
    } catch (error) {
      kernel = (error as NodeJS.ErrnoException).code;
    }
  }
  uffd.close();
  console.log(JSON.stringify({ access, value, kernel }));
}

function touchPoison(): void {
  const { uffd, reason } = openUserfaultfd(linux, { required: UffdFeature.poison });
  if (uffd === null) throw new Error(reason);
  const at = mapping.reserve(linux.pageBytes);
  uffd.register(at, linux.pageBytes, UffdMode.missing);
  if (uffd.poison(at, linux.pageBytes, CopyMode.wake) === 0) process.stdout.write('poisoned\n');
  own.writeStderr(String(new Uint8Array(mapping.viewOf(at, linux.pageBytes))[0]));
}

switch (process.argv[2]) {
  case 'exit': {
    process.on('exit', () => own.writeStderr('not reached'));
    const worker = new Worker('for (;;);', { eval: true });
    await new Promise((resolve) => worker.once('online', resolve));
    own.writeStderr('a note\n');
    own.exitNow(3);
    break;
  }
  case 'abort':
    own.abort();
    break;
  case 'long-note':
    own.writeStderr('x'.repeat(5000));
    break;
  case 'duplicate':
    own.duplicate(2, 1);
    process.stdout.write('to stderr');
    break;
  case 'poison':
    touchPoison();
    break;
  case 'user-mode':
    await serveUserMode();
    break;
}
