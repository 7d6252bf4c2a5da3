/** The page states of a range, page by page and in runs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Advice, Mapping } from '../../../src/os/linux/mapping.ts';
import { PageCategory, PageMap, PageState, ScanFlag } from '../../../src/os/linux/pagemap.ts';
import {
  CopyMode,
  ProtectMode,
  UffdFeature,
  UffdMode,
} from '../../../src/os/linux/uffd-constants.ts';
import { ResolveResult } from '../../../src/os/linux/userfaultfd.ts';
import { openUserfaultfd } from '../../../src/os/linux/userfaultfd-open.ts';
import { errnoOf, noLinux, noUffd, theLinux } from './machine.ts';

/** False, or why this kernel has no PAGEMAP_SCAN (6.7). */
function noScan(): string | false {
  if (noLinux !== false) return noLinux;
  const map = new PageMap(theLinux());
  const answer = map.scan(4096, 4096, { all: PageCategory.present });
  map.close();
  return answer < 0 && 'this kernel has no PAGEMAP_SCAN';
}

describe('page map', { skip: noLinux }, () => {
  const linux = theLinux();
  const mapping = new Mapping(linux);
  const page = linux.pageBytes;

  /** A range in which the pages of `touched` are present. */
  function withRange(
    pages: number,
    touched: readonly number[],
    body: (at: number, map: PageMap, memory: Uint8Array) => void,
    runsMax?: number,
  ): void {
    const at = mapping.reserve(pages * page);
    mapping.advise(at, pages * page, Advice.noHugePage);
    const memory = new Uint8Array(mapping.viewOf(at, pages * page));
    for (const n of touched) memory[n * page] = 1;
    const map = new PageMap(linux, runsMax);
    try {
      body(at, map, memory);
    } finally {
      map.close();
      mapping.unmap(at, pages * page);
    }
  }

  test('read returns the state of pages at the given position of the buffer', () => {
    withRange(8, [1, 2, 6], (at, map) => {
      const out = new Uint8Array(12).fill(99);
      assert.equal(map.read(at, 8, out, 2), 3);
      assert.deepEqual([...out], [99, 99, 0, 1, 1, 0, 0, 0, 1, 0, 99, 99]);
      assert.throws(() => map.read(at, 8, out, 5), { name: 'InvariantError' });
    });
  });

  test('read of more pages than one read of the file returns', () => {
    const touched = [0, 511, 512, 1023, 1024, 1300];
    withRange(1301, touched, (at, map) => {
      const out = new Uint8Array(1301);
      assert.equal(map.read(at, 1301, out), touched.length);
      const found = [...out.keys()].filter((n) => out[n] === PageState.present);
      assert.deepEqual(found, touched);
    });
  });

  test('dropped and unmapped pages are absent', () => {
    withRange(4, [0, 1, 2, 3], (at, map) => {
      const out = new Uint8Array(4);
      mapping.advise(at + page, page, Advice.dontNeed);
      assert.equal(map.read(at, 4, out), 3);
      assert.equal(out[1], PageState.absent);
      mapping.unmap(at, 4 * page);
      assert.equal(map.read(at, 4, out), 0);
      mapping.mapAnonymous(at, 4 * page);
    });
  });

  test('pages past the end of the address space are absent', () => {
    const map = new PageMap(linux);
    const out = new Uint8Array(4).fill(9);
    assert.equal(map.read(2 ** 52, 4, out), 0);
    assert.deepEqual([...out], [0, 0, 0, 0]);
    map.close();
  });

  test('read distinguishes file pages from anonymous ones', () => {
    const fd = mapping.createMemoryFile('pagemap-test', page);
    const at = mapping.mapFile(page, { fd });
    new Uint8Array(mapping.viewOf(at, page))[0] = 1;
    const map = new PageMap(linux);
    const out = new Uint8Array(1);
    map.read(at, 1, out);
    assert.equal(out[0], PageState.present | PageState.file);
    map.close();
    mapping.unmap(at, page);
    linux.close(fd);
  });

  test('scan finds runs of pages and sets scannedTo', { skip: noScan() }, () => {
    withRange(16, [1, 2, 3, 7, 12, 13], (at, map) => {
      assert.equal(map.scan(at, 16 * page, { all: PageCategory.present }), 3);
      const runs = [0, 1, 2].map((i) => [
        (map.runStart(i) - at) / page,
        (map.runEnd(i) - at) / page,
        map.runCategories(i),
      ]);
      const there = PageCategory.present;
      assert.deepEqual(runs, [
        [1, 4, there],
        [7, 8, there],
        [12, 14, there],
      ]);
      assert.equal(map.scannedTo, at + 16 * page);
      assert.throws(() => map.runStart(3), { name: 'InvariantError' });
    });
  });

  test('scan stops at runsMax and can be continued', { skip: noScan() }, () => {
    withRange(
      16,
      [1, 3, 5, 7],
      (at, map) => {
        const end = at + 16 * page;
        const starts: number[] = [];
        let from = at;
        for (let calls = 0; from < end && calls < 20; calls++) {
          const found = map.scan(from, end - from, { all: PageCategory.present });
          for (let i = 0; i < found; i++) starts.push((map.runStart(i) - at) / page);
          from = map.scannedTo;
        }
        assert.deepEqual(starts, [1, 3, 5, 7]);
      },
      2,
    );
  });

  test('scan honours its filters none and any, and pagesMax', { skip: noScan() }, () => {
    withRange(8, [0, 1, 2, 3], (at, map) => {
      const { present, swapped } = PageCategory;
      assert.equal(map.scan(at, 8 * page, { all: present, none: swapped, report: present }), 1);
      assert.equal(map.runEnd(0) - map.runStart(0), 4 * page);
      assert.equal(map.scan(at, 8 * page, { none: present, report: present }), 1);
      assert.equal(map.runStart(0), at + 4 * page);
      assert.equal(map.scan(at, 8 * page, { any: present | swapped }), 1);
      assert.equal(map.scan(at, 8 * page, { all: swapped }), 0);
      assert.equal(map.scan(at, 8 * page, { all: present, pagesMax: 2 }), 1);
      assert.equal(map.runEnd(0), at + 2 * page);
    });
  });

  test('scan of partial pages is an error: EINVAL', { skip: noScan() }, () => {
    withRange(2, [], (at, map) => {
      assert.equal(
        errnoOf(() => map.scan(at + 1, page, { all: PageCategory.present })),
        'EINVAL',
      );
    });
  });

  const asynchronous = UffdFeature.writeProtectAsync | UffdFeature.writeProtectUnpopulated;
  const skip = noScan() || noUffd(asynchronous);
  test('scan with asynchronous write protection finds written pages once', { skip }, () => {
    withRange(8, [0, 1, 2, 3], (at, map, memory) => {
      const { uffd } = openUserfaultfd(linux, { required: asynchronous });
      assert.ok(uffd !== null);
      uffd.register(at, 8 * page, UffdMode.writeProtect);
      assert.equal(uffd.writeProtect(at, 8 * page, ProtectMode.protect), ResolveResult.done);
      const written = { all: PageCategory.written };
      assert.equal(map.scan(at, 8 * page, written), 0);
      memory[2 * page] = 5;
      memory[6 * page] = 5;
      const flags = ScanFlag.protectMatching | ScanFlag.requireAsync;
      assert.equal(map.scan(at, 8 * page, { ...written, flags }), 2);
      assert.deepEqual([map.runStart(0), map.runStart(1)], [at + 2 * page, at + 6 * page]);
      assert.equal(map.scan(at, 8 * page, written), 0, 'the pages are protected again');
      uffd.close();
    });
  });

  test('scan with requireAsync fails with EPERM for unregistered pages', { skip: noScan() }, () => {
    withRange(2, [0], (at, map) => {
      const wishes = { all: PageCategory.written, flags: ScanFlag.requireAsync };
      assert.equal(
        errnoOf(() => map.scan(at, 2 * page, wishes)),
        'EPERM',
      );
    });
  });

  test('read shows write protection', { skip: noUffd(UffdFeature.faultFlagWriteProtect) }, () => {
    withRange(2, [], (at, map) => {
      const { uffd } = openUserfaultfd(linux, { required: UffdFeature.faultFlagWriteProtect });
      assert.ok(uffd !== null);
      uffd.register(at, 2 * page, UffdMode.missing | UffdMode.writeProtect);
      const source = mapping.reserve(page);
      uffd.copy(at, source, page, CopyMode.writeProtect);
      const out = new Uint8Array(2);
      map.read(at, 2, out);
      assert.deepEqual([...out], [PageState.present | PageState.writeProtected, 0]);
      uffd.close();
      mapping.unmap(source, page);
    });
  });
});
