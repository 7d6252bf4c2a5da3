/** Memory files, where there is no userfaultfd: as in a container whose seccomp profile denies it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SwapError } from '../../src/base/errors.ts';
import { openSwap } from '../../src/memory/open-swap.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { type Ending, endingOf } from './ending.ts';
import { noise } from './noise.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const skip = loadLinux().reason || loadNativeFaults().reason || false;
const options = { skip, timeout: 120_000 };

const launcher = file('./children/without-userfaultfd.js');
const main = file('../../src/cli/main.js');

/** Runs Node without userfaultfd. */
function inContainer(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ending> {
  const { FRONTSWAP_FAULTS: _, ...others } = process.env;
  return endingOf(spawn(process.execPath, [launcher, ...args], { env: { ...others, ...env } }));
}

const program = (mode: string, env: Readonly<Record<string, string>> = {}): Promise<Ending> =>
  inContainer([file('./children/container.js'), mode], { FRONTSWAP_RESIDENT: '8M', ...env });

test('in a container an unmodified program is paged within its budget', options, async () => {
  const { code, stdout, stderr } = await program('page', { FRONTSWAP_STRICT: '1' });
  assert.deepEqual([code, stderr], [0, '']);
  assert.deepEqual(JSON.parse(stdout), {
    faults: 'memfd',
    wrong: 0,
    isPaged: true,
    isInBudget: true,
  });
});

test('in a container accesses out of bounds trap, and grown memory is zeros', options, async () => {
  const { stdout, stderr } = await program('trap', { FRONTSWAP_RESIDENT: '128M' });
  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(stdout), [7, 7, 'memory access out of bounds', 0]);
});

test(
  'in a container an access to an unmapped address ends the program with SIGSEGV',
  options,
  async () => {
    const { code, signal, stderr } = await program('die');
    assert.deepEqual([code, signal], [null, 'SIGSEGV'], stderr);
  },
);

test(
  'in a container a warning says that another mode than the chosen one serves faults',
  options,
  async () => {
    const { code, stdout, stderr } = await program('page', { FRONTSWAP_FAULTS: 'thread' });
    assert.equal(code, 0);
    assert.equal(JSON.parse(stdout).faults, 'memfd');
    assert.match(stderr, /page faults are served by memfd, not thread: no userfaultfd: .*EPERM/);
  },
);

test(
  'in a container FRONTSWAP_FAULTS=javascript ends a program with FRONTSWAP_STRICT',
  options,
  async () => {
    const strict = { FRONTSWAP_FAULTS: 'javascript', FRONTSWAP_STRICT: '1' };
    const { code, stdout, stderr } = await program('page', strict);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^frontswap: nothing is paged, and FRONTSWAP_STRICT is set: /);
  },
);

test('in a container doctor says how faults are served, and why', options, async () => {
  const { stdout } = await inContainer([main, 'doctor']);
  assert.match(stdout, /native code \(memfd\), because there is no userfaultfd/);
  assert.match(stdout, /EPERM/);
});

test(
  'with memory files ArrayBuffers are refused: malloc() may reuse their addresses',
  options,
  () => {
    using swap = openSwap({ faults: 'memfd', residentBytes: MiB });
    assert.throws(
      () => swap.adopt(new ArrayBuffer(4 * MiB)),
      (error: SwapError) => {
        assert.deepEqual([error.code, error.facts['reason']], ['ERR_IO_UNSUPPORTED', 'buffer']);
        assert.match(error.message, /without userfaultfd cannot be paged; use the buffer of map/);
        return true;
      },
    );
  },
);

test(
  'with memory files a memory above half of the limit of file sizes is refused, with the reason',
  options,
  async () => {
    const script = `import { openSwap } from ${JSON.stringify(file('../../src/memory/open-swap.js'))};
    const swap = openSwap({ faults: 'memfd', residentBytes: ${MiB} });
    const region = swap.map({ bytes: ${6 * MiB} });
    new Uint8Array(region.buffer)[${5 * MiB}] = 7;
    region.close();
    try { swap.map({ bytes: ${8 * MiB} }); } catch (error) { console.log(error.code, error.message); }
    swap.close();`;
    const node = [process.execPath, '--input-type=module', '-e', script];
    const { code, stdout, stderr } = await endingOf(
      spawn('prlimit', [`--fsize=${12 * MiB}`, ...node]),
    );
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^ERR_IO_SYSTEM paging a memory of 8M needs a file of twice that size.*ulimit -f unlimited/,
    );
  },
);

test('a page that was swapped in and then written is not dropped for its copy', options, () => {
  using swap = openSwap({ faults: 'memfd', residentBytes: 16 * MiB });
  const region = swap.map({ bytes: 8 * MiB });
  const words = new Uint32Array(region.buffer);
  for (let page = 0; page < 2048; page++) words[page * 1024] = page + 1;
  region.evict();
  for (let page = 0; page < 2048; page++) assert.equal(words[page * 1024], page + 1);
  for (let page = 0; page < 2048; page += 2) words[page * 1024 + 5] = page;
  region.evict();
  region.evict(); // those that were written are dirty since
  assert.ok(region.stats().pagesDropped >= 1000, 'the others were dropped');
  for (let page = 0; page < 2048; page++)
    assert.deepEqual(
      [words[page * 1024], words[page * 1024 + 5]],
      [page + 1, page % 2 === 0 ? page : 0],
    );
});

/** Mappings of this process. */
const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('\n').length;

test(
  'scattered pages use at most half of the mappings that a process may have, and pinned pages stay mapped',
  options,
  () => {
    const share = Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8')) / 2;
    using swap = openSwap({ faults: 'memfd', residentBytes: 512 * MiB });
    const others = mappings();
    const region = swap.map({ bytes: 512 * MiB });
    const pages = (512 * MiB) / PAGE;
    const words = new Uint32Array(region.buffer);
    const linux = loadLinux().linux!;
    const getrandom = linux.bind(
      'int64_t getrandom(uintptr_t to, size_t bytes, unsigned int flags)',
    );
    using _pin = region.pin({ offset: 1001 * PAGE, length: PAGE });
    for (let page = 0; page < pages; page += 2) words[page * 1024 + 7] = page + 1; // each a border, twice
    assert.ok(mappings() - others <= share + 100, `${mappings()} mappings`);
    assert.equal(getrandom(linux.addressOf(words) + 1001 * PAGE, PAGE, 0), PAGE);
    words.fill(0, 1001 * 1024, 1002 * 1024);
    region.prefetch({ length: PAGE }); // the engine follows native code
    assert.equal(region.stats().residentBytes, 256 * MiB + PAGE);
    for (let page = 1; page < 4096; page += 2) assert.equal(words[page * 1024 + 7], 0);
    for (let page = 0; page < pages; page += 2) assert.equal(words[page * 1024 + 7], page + 1);
  },
);

test(
  'with memory files system calls fail on evicted pages, and work on pinned ones',
  options,
  () => {
    using swap = openSwap({ faults: 'memfd', residentBytes: 16 * MiB });
    const region = swap.map({ bytes: 64 * MiB });
    const page = (i: number): Uint8Array => new Uint8Array(region.buffer, i * PAGE, PAGE);
    for (let i = 0; i < 1024; i++) page(i).set(noise(i).fill(0, 1024));
    region.evict();
    const linux = loadLinux().linux!;
    const getrandom = linux.bind(
      'int64_t getrandom(uintptr_t to, size_t bytes, unsigned int flags)',
    );
    const address = linux.addressOf(page(3));
    assert.equal(getrandom(address, 16, 0), -1); // EFAULT
    using pin = region.pin({ offset: 3 * PAGE, length: 2 * PAGE });
    assert.equal(getrandom(address, 16, 0), 16);
    region.evict();
    assert.equal(getrandom(address, 16, 0), 16);
    pin[Symbol.dispose]();
    region.evict();
    assert.equal(getrandom(address, 16, 0), -1);
  },
);

test('in a container memory files do not serve a swap with a tmem socket', options, async () => {
  const script = `import { openSwap } from ${JSON.stringify(file('../../src/memory/open-swap.js'))};
    try { openSwap({ frontswap: { tmem: '/nonexistent/tmem.sock' } }); } catch {}`;
  const { stderr } = await inContainer(['--input-type=module', '-e', script]);
  assert.match(stderr, /memory cannot be paged transparently: no userfaultfd/);
});
