/** The swap header: util-linux reads ours, we read mkswap's, and anything else is refused with a named reason. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BAD_PAGES_MAX, readHeader, type SwapHeader, writeHeader } from '../../src/swap/header.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const uuid = '01234567-89ab-cdef-0123-456789abcdef';
const usual: SwapHeader = { lastPage: 15, badPages: [3, 7], uuid, label: 'lab' };

function pageOf(header: SwapHeader): Uint8Array {
  const page = new Uint8Array(4096);
  writeHeader(header, page);
  return page;
}

const reasonOf = (page: Uint8Array, diskPages = 16): unknown => {
  try {
    readHeader(page, diskPages);
  } catch (error) {
    const { code, facts } = error as { code: string; facts: Record<string, unknown> };
    assert.equal(code, 'ERR_IO_SWAP_HEADER', String(error));
    return facts['reason'];
  }
  return 'accepted';
};

const changed = (at: number, value: number, littleEndian = true): Uint8Array => {
  const page = pageOf(usual);
  new DataView(page.buffer).setUint32(at, value, littleEndian);
  return page;
};

test('a header is read as it was written, and the boot bytes are unchanged', () => {
  const page = new Uint8Array(4096).fill(0xaa);
  writeHeader(usual, page);
  assert.deepEqual(readHeader(page, 16), usual);
  assert.ok(page.subarray(0, 1024).every((byte) => byte === 0xaa));
  const many = Array.from({ length: BAD_PAGES_MAX }, (_, i) => i + 1);
  const full = { ...usual, lastPage: 2 ** 26 - 1, badPages: many, label: 'sixteen bytes ..' };
  assert.equal(BAD_PAGES_MAX, 637);
  assert.deepEqual(readHeader(pageOf(full), 2 ** 26), full);
});

test('a header of the other byte order is accepted, as by the kernel', () => {
  const page = pageOf(usual);
  for (const at of [1024, 1028, 1032, 1536, 1540]) page.subarray(at, at + 4).reverse();
  assert.deepEqual(readHeader(page, 16), usual);
});

test('an unusable header is refused with a named reason', () => {
  assert.equal(reasonOf(pageOf(usual).subarray(0, 4095)), 'short');
  assert.equal(reasonOf(new Uint8Array(4096)), 'foreign');
  const old = pageOf(usual);
  old.set(new TextEncoder().encode('SWAP-SPACE'), 4086);
  assert.equal(reasonOf(old), 'old');
  const large = new Uint8Array(65536);
  large.set(new TextEncoder().encode('SWAPSPACE2'), 65526);
  assert.equal(reasonOf(large), 'pageSize');
  assert.equal(reasonOf(changed(1024, 2)), 'version');
  assert.equal(reasonOf(changed(1028, 0)), 'empty');
  assert.equal(reasonOf(changed(1028, 8)), 'empty');
  assert.equal(reasonOf(changed(1028, 16)), 'beyondDisk');
  assert.equal(reasonOf(changed(1028, 2 ** 26), 2 ** 27), 'tooLarge');
  assert.equal(reasonOf(changed(1028, 15, false)), 'beyondDisk', 'half of it swapped');
  assert.equal(reasonOf(changed(1032, 638)), 'badCount');
  assert.equal(reasonOf(changed(1032, 0xffff_ffff)), 'badCount');
  assert.equal(reasonOf(changed(1536, 0)), 'badPage');
  assert.equal(reasonOf(changed(1540, 16)), 'badPage');
  assert.equal(reasonOf(pageOf(usual)), 'accepted');
});

test('a label has up to 16 bytes, whatever follows it', () => {
  const page = pageOf({ ...usual, label: 'sixteen bytes ..' });
  page.fill(0x78, 1068, 1100);
  assert.equal(readHeader(page, 16).label, 'sixteen bytes ..');
});

test('a bad page listed twice counts once', () => {
  assert.deepEqual(readHeader(changed(1540, 3), 16).badPages, [3]);
});

test('writeHeader refuses values out of range', () => {
  for (const [part, code] of [
    [{ lastPage: 8 }, 'ERR_ARG_AREA'],
    [{ lastPage: 2 ** 26 }, 'ERR_ARG_AREA'],
    [{ uuid: 'x' }, 'ERR_ARG_VALUE'],
    [{ label: 'seventeen bytes .' }, 'ERR_ARG_VALUE'],
    [{ badPages: [0] }, 'ERR_ARG_VALUE'],
    [{ badPages: [16] }, 'ERR_ARG_VALUE'],
    [{ badPages: new Array<number>(638).fill(1) }, 'ERR_ARG_VALUE'],
  ] as const)
    assert.throws(() => pageOf({ ...usual, ...part }), { code });
});

randomTest('random first pages: a header in range, or a reason', 3000, (prng, steps) => {
  for (let step = 0; step < steps; step++) {
    const page = pageOf(usual);
    for (let i = prng.below(6); i >= 0; i--) {
      const at = prng.oneIn(3) ? prng.below(4096) : 1024 + prng.below(528);
      page[at] = prng.oneIn(2) ? prng.below(256) : prng.below(3);
    }
    const reason = reasonOf(page);
    if (reason !== 'accepted') continue;
    const { lastPage, badPages } = readHeader(page, 16);
    assert.ok(lastPage >= 9 && lastPage < 16);
    assert.ok(badPages.every((bad) => bad >= 1 && bad <= lastPage));
  }
});

const toolPath = (name: string): string | undefined =>
  ['/usr/sbin', '/sbin', '/usr/bin', '/bin'].map((d) => join(d, name)).find((p) => existsSync(p));

function toolTest(tool: string, name: string, body: (run: string, file: string) => void): void {
  const run = toolPath(tool);
  test(name, { skip: run === undefined ? `${tool} missing` : false }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'frontswap-header-'));
    try {
      const file = join(folder, 'area');
      writeFileSync(file, Buffer.alloc(65536), { mode: 0o600 });
      body(run ?? '', file);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

const output = (run: string, ...args: string[]): string =>
  execFileSync(run, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

function writeOurs(file: string): void {
  const disk = readFileSync(file);
  disk.set(pageOf(usual));
  writeFileSync(file, disk);
}

toolTest('mkswap', 'the header that mkswap writes is read', (mkswap, file) => {
  output(mkswap, '-L', 'lab', '-U', uuid, file);
  const header = readHeader(readFileSync(file), 16);
  assert.deepEqual(header, { ...usual, badPages: [] });
  assert.deepEqual(pageOf(header), new Uint8Array(readFileSync(file).subarray(0, 4096)));
});

toolTest('swaplabel', 'swaplabel reads the header that we write', (swaplabel, file) => {
  writeOurs(file);
  assert.match(output(swaplabel, file), new RegExp(`LABEL: lab\\s+UUID: +${uuid}`));
});

toolTest('file', 'file(1) reads the header that we write', (run, file) => {
  writeOurs(file);
  const said = output(run, file);
  assert.match(said, /version 1, size 15 pages, 2 bad pages, LABEL=lab/i);
  assert.ok(said.includes(uuid));
});
