/** Who we are, what we may, where we run, what is mapped: by the kernel's own files and by calls. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { createMemory } from '../../../src/kernels/linear-memory.ts';
import { Affinity, processorIn, processorOf } from '../../../src/os/linux/affinity.ts';
import { Mapping, Protection } from '../../../src/os/linux/mapping.ts';
import { mappedRanges, parseMapsLine, privateBytesFrom } from '../../../src/os/linux/proc-maps.ts';
import {
  Capability,
  exactMemory,
  hasCapability,
  isInCapabilities,
  kernelRelease,
  Limit,
  Process,
  residentBytes,
  unprivilegedUserfaultfd,
} from '../../../src/os/linux/process.ts';
import { UffdFeature } from '../../../src/os/linux/uffd-constants.ts';
import { errnoOf, noLinux, noUffd, theLinux } from './machine.ts';

const child = fileURLToPath(new URL('./ending-child.js', import.meta.url));
const run = (task: string) =>
  spawnSync(process.execPath, [child, task], { encoding: 'utf8', timeout: 20_000 });

describe('process', { skip: noLinux }, () => {
  const linux = theLinux();
  const own = new Process(linux);

  test('the main thread has the number of the process', () => {
    assert.equal(own.threadId(), process.pid);
    assert.match(readFileSync(`/proc/self/task/${own.threadId()}/comm`, 'utf8'), /./);
  });

  test('_exit ends at once with its status, past handlers and a busy worker', () => {
    const { status, stderr, stdout } = run('exit');
    assert.equal(status, 3);
    assert.equal(stderr, 'a note\n');
    assert.equal(stdout, '');
  });

  test('abort ends by SIGABRT', () => {
    assert.equal(run('abort').signal, 'SIGABRT');
  });

  test('a note is cut after 1024 bytes', () => {
    assert.equal(run('long-note').stderr.length, 1024);
  });

  test('duplicate puts a descriptor in the place of another', () => {
    const { stdout, stderr } = run('duplicate');
    assert.equal(stdout, '');
    assert.equal(stderr, 'to stderr');
    assert.equal(
      errnoOf(() => own.duplicate(9999, 1)),
      'EBADF',
    );
  });

  test('who touches a poisoned page dies of SIGBUS', { skip: noUffd(UffdFeature.poison) }, () => {
    const { signal, stdout } = run('poison');
    assert.equal(stdout, 'poisoned\n');
    assert.equal(signal, 'SIGBUS');
  });

  test('without privilege there is a userfaultfd for user mode, and it serves', {
    skip: noNobody(),
  }, () => {
    const as = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
    const printed = execFileSync('setpriv', [...as, process.execPath, child, 'user-mode'], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    const { access, value, kernel } = JSON.parse(printed) as Record<string, unknown>;
    assert.equal(access, unprivilegedUserfaultfd() === 1 ? 'system-call' : 'user-mode');
    assert.equal(value, 21);
    assert.equal(kernel, unprivilegedUserfaultfd() === 1 ? 21 : 'EFAULT', 'a system call on it');
  });

  test('limits are those of /proc/self/limits', () => {
    const [, soft, hard] =
      /^Max open files\s+(\S+)\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    const numberOf = (text: string | undefined): number =>
      text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);
    assert.deepEqual(own.limit(Limit.openFiles), { soft: numberOf(soft), hard: numberOf(hard) });
    assert.equal(
      errnoOf(() => own.limit(999)),
      'EINVAL',
    );
  });

  test('capabilities are bits of CapEff', () => {
    const status = (digits: string): string => `Name:\tx\nCapEff:\t${digits}\nCapBnd:\t0\n`;
    assert.equal(isInCapabilities(status('0000000000080000'), Capability.sysPtrace), true);
    assert.equal(isInCapabilities(status('fffffffffff7ffff'), Capability.sysPtrace), false);
    assert.equal(isInCapabilities(status('0000000100000000'), 32), true);
    assert.equal(isInCapabilities('no such line', Capability.sysPtrace), false);
    assert.throws(() => isInCapabilities('', 64), { name: 'Bug' });
    assert.equal(typeof hasCapability(Capability.sysPtrace), 'boolean');
  });

  test('the release of the kernel has numbers', () => {
    assert.deepEqual(kernelRelease('6.18.44-fc'), { major: 6, minor: 18, text: '6.18.44-fc' });
    assert.deepEqual(kernelRelease('odd'), { major: 0, minor: 0, text: 'odd' });
    assert.ok(kernelRelease().major >= 3);
  });

  test('resident bytes grow with what is touched, by both ways of asking', () => {
    const before = { quick: residentBytes(), exact: exactMemory() };
    const bytes = 32 * 2 ** 20;
    const touched = new Uint8Array(bytes).fill(1);
    const after = { quick: residentBytes(), exact: exactMemory() };
    assert.ok(after.quick - before.quick > 0.9 * bytes);
    assert.ok(after.exact.residentBytes - before.exact.residentBytes > 0.9 * bytes);
    assert.ok(after.exact.anonymousBytes - before.exact.anonymousBytes > 0.9 * bytes);
    assert.ok(after.exact.proportionalBytes <= after.exact.residentBytes);
    assert.equal(touched[bytes - 1], 1);
  });
});

function noNobody(): string | false {
  if (process.getuid?.() !== 0) return 'only root can become nobody';
  const { status } = spawnSync(
    'setpriv',
    ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, child, 'nothing'],
    { timeout: 20_000 },
  );
  return status !== 0 && 'setpriv is missing, or nobody cannot read this checkout';
}

describe('affinity', { skip: noLinux }, () => {
  const linux = theLinux();
  const affinity = new Affinity(linux);

  test('a thread that is pinned runs there, and can be let go again', () => {
    const before = affinity.allowed();
    assert.ok(before.length >= 1 && before.length >= availableParallelism());
    const last = before.at(-1)!;
    assert.equal(affinity.pin([last]), true);
    assert.deepEqual(affinity.allowed(), [last]);
    assert.equal(affinity.current(), last);
    assert.equal(processorOf(process.pid), last);
    assert.equal(affinity.pin(before), true);
    assert.deepEqual(affinity.allowed(), before);
  });

  test('another thread can be pinned by its number', async () => {
    const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
    await new Promise((resolve) => worker.once('online', resolve));
    const before = affinity.allowed();
    const others = execFileSync('ls', [`/proc/${process.pid}/task`], { encoding: 'utf8' })
      .split('\n')
      .filter((t) => t !== '' && Number(t) !== process.pid)
      .map(Number);
    const thread = others.at(-1)!;
    assert.equal(affinity.pin([before[0]!], thread), true);
    assert.deepEqual(affinity.allowed(thread), [before[0]]);
    assert.deepEqual(affinity.allowed(), before);
    affinity.pin(before, thread);
    await worker.terminate();
  });

  test('processors that are not there, no processor, and no such thread are answers', () => {
    assert.equal(affinity.pin([1023]), false);
    assert.equal(affinity.pin([]), false);
    assert.equal(affinity.pin([0], 2 ** 22 + 1), false);
    assert.deepEqual(affinity.allowed(2 ** 22 + 1), []);
    assert.equal(processorOf(2 ** 22 + 1), -1);
    assert.throws(() => affinity.pin([1024]), { name: 'Bug' });
  });

  test('the processor is found behind a name full of brackets and blanks', () => {
    const rest = Array.from({ length: 50 }, (_, i) => String(i + 3)).join(' ');
    assert.equal(processorIn(`12 (a) R (b c) ${rest}`), 39);
  });
});

describe('proc maps', { skip: noLinux }, () => {
  test('a line is taken apart; what is none is null', () => {
    assert.deepEqual(parseMapsLine('7f00a000-7f00b000 r-xp 00002000 fe:01 77   /a b/c.so'), {
      start: 0x7f00a000,
      end: 0x7f00b000,
      permissions: 'r-xp',
      position: 0x2000,
      inode: 77,
      path: '/a b/c.so',
    });
    assert.equal(parseMapsLine('7f00a000-7f00b000 ---p 00000000 00:00 0 ')?.path, '');
    assert.equal(parseMapsLine(''), null);
    assert.equal(parseMapsLine('Rss: 4 kB'), null);
  });

  test('ranges that share a byte with what is asked for, and no others', () => {
    const text = ['1000-2000', '2000-3000', '5000-6000'].map((r) => `${r} rw-p 0 00:00 0 `);
    const maps = text.join('\n');
    const starts = (at: number, bytes: number): number[] =>
      mappedRanges(at, bytes, maps).map((r) => r.start);
    assert.deepEqual(starts(0x1fff, 1), [0x1000]);
    assert.deepEqual(starts(0x1fff, 2), [0x1000, 0x2000]);
    assert.deepEqual(starts(0x3000, 0x2000), []);
    assert.deepEqual(starts(0x3000, 0x2001), [0x5000]);
    assert.equal(privateBytesFrom(0x1800, maps), 0x1800);
    assert.equal(privateBytesFrom(0x3000, maps), 0);
    const shared = maps.replace('2000-3000 rw-p', '2000-3000 rw-s');
    assert.equal(privateBytesFrom(0x1800, shared), 0x800);
  });

  test('the reserve of a WebAssembly memory lies behind it', () => {
    const memory = createMemory(4 * 65536);
    const mapping = new Mapping(theLinux());
    const at = mapping.addressOf(memory.buffer);
    const [first, second] = mappedRanges(at, 2 ** 32);
    assert.ok(first !== undefined && first.start <= at && first.permissions === 'rw-p');
    assert.equal(second?.permissions, '---p');
    assert.ok(privateBytesFrom(at) >= 4 * 65536);
  });

  test('a mapping of ours is found with the protection it has', () => {
    const linux = theLinux();
    const mapping = new Mapping(linux);
    const at = mapping.reserve(4 * linux.pageBytes);
    mapping.protect(at, linux.pageBytes, Protection.read);
    const [first] = mappedRanges(at, 1);
    assert.deepEqual([first?.start, first?.permissions], [at, 'r--p']);
    mapping.unmap(at, 4 * linux.pageBytes);
    assert.deepEqual(mappedRanges(at, linux.pageBytes), []);
  });
});
