/** ramzswap edge cases: invalid ranges, damaged pages, a full disk, and calls from bioEnd(). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../../src/base/assert.ts';
import { Bio, BioOp, type BioOwner, BioStatus } from '../../../src/block/bio.ts';
import { Ramzswap, type RamzswapOptions } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { Extent } from '../../../src/block/ops.ts';
import type { CodecFactory } from '../../../src/codec/codec.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { FakeReturns } from '../../support/fakes/fake-returns.ts';
import { madePages, type PageKind } from '../../support/fixtures/pages.ts';
import { Requests } from '../../support/models/disk-model.ts';

const PAGE = 4096;

const made = (kind: PageKind, seed: number, pages = 1): Uint8Array => madePages(kind, seed, pages);

function open(
  pages: number,
  more: Partial<RamzswapOptions> = {},
): { disk: Ramzswap; requests: Requests } {
  const disk = new Ramzswap({
    sizeBytes: pages * PAGE,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
    release: new FakeReturns().factory,
    ...more,
  });
  return { disk, requests: new Requests(disk) };
}

test('a request outside the disk is invalid and has no effect', () => {
  const { disk, requests } = open(4);
  const data = made('text', 1, 4);
  requests.write(0, data);
  const ranges = [
    [4 * PAGE, 1],
    [4 * PAGE - 1, 2],
    [0, 4 * PAGE + 1],
    [-1, 1],
    [-PAGE, PAGE],
    [2 ** 53 - 1, 4096],
    [PAGE, -1],
    [2 ** 32, PAGE],
  ] as const;
  let invalid = 0;
  for (const [offset, length] of ranges)
    for (const op of [BioOp.read, BioOp.write, BioOp.discard, BioOp.writeZeroes]) {
      const target = new Uint8Array(5 * PAGE).fill(9);
      const status = requests.run(op, offset, length, target);
      assert.equal(status, BioStatus.invalid, `op ${op}, ${length} at ${offset}`);
      assert.ok(target.every((b) => b === 9));
      invalid++;
    }
  assert.equal(requests.run(9 as BioOp, 0, PAGE, new Uint8Array(PAGE)), BioStatus.invalid);
  assert.deepEqual(requests.read(0, 4 * PAGE).data, data);
  const stats = disk.stats();
  assert.equal(stats.invalidIo, invalid + 1);
  assert.deepEqual([stats.reads, stats.writes, stats.discards], [1, 1, 0]);
});

test('the last byte of the disk can be read, written, zeroed and discarded', () => {
  const { disk, requests } = open(4);
  const end = 4 * PAGE;
  assert.equal(requests.write(end - 1, Uint8Array.of(7)), BioStatus.ok);
  assert.deepEqual(requests.read(end - 2, 2).data, Uint8Array.of(0, 7));
  assert.equal(requests.discard(end - 1, 1), BioStatus.ok);
  assert.deepEqual(
    requests.read(end - 1, 1).data,
    Uint8Array.of(7),
    'the rest of the page is kept',
  );
  assert.equal(requests.zero(end - 1, 1, false), BioStatus.ok);
  assert.deepEqual(requests.read(end - 1, 1).data, Uint8Array.of(0));
  assert.equal(requests.discard(3 * PAGE, PAGE), BioStatus.ok);
  assert.equal(disk.stats().storedPages, 0);
});

test('flush and empty requests succeed without effect', () => {
  const { disk, requests } = open(2);
  assert.equal(requests.run(BioOp.flush, 0, 0), BioStatus.ok);
  for (const op of [BioOp.read, BioOp.write, BioOp.discard, BioOp.writeZeroes])
    for (const offset of [0, 100, 2 * PAGE])
      assert.equal(requests.run(op, offset, 0), BioStatus.ok);
  assert.equal(disk.stats().storedPages, 0);
});

test('a full disk returns noSpace, keeps its pages and accepts writes again after a discard', () => {
  const { disk, requests } = open(200, { limitBytes: 400_000 });
  const pages: Uint8Array[] = [];
  for (let n = 0; ; n++) {
    const page = made('random', n);
    const status = requests.write(n * PAGE, page);
    if (status !== BioStatus.ok) {
      assert.equal(status, BioStatus.noSpace);
      break;
    }
    pages.push(page);
  }
  assert.ok(pages.length > 50);
  assert.equal(disk.stats().failedWrites, 1);
  pages.forEach((page, n) => {
    assert.deepEqual(requests.read(n * PAGE, PAGE).data, page, `page ${n}`);
  });
  assert.equal(requests.write(3 * PAGE, made('random', 900)), BioStatus.ok, 'overwrite in place');
  assert.equal(requests.write(100 * PAGE, made('text', 901)), BioStatus.noSpace);
  assert.deepEqual(requests.read(100 * PAGE, PAGE).data, new Uint8Array(PAGE));
  requests.discard(10 * PAGE, PAGE);
  assert.equal(requests.write(150 * PAGE, made('random', 902)), BioStatus.ok, 'after a discard');
  assert.equal(
    requests.write(151 * PAGE, made('random', 903)),
    BioStatus.noSpace,
    'only one page is free',
  );
  assert.ok(disk.stats().peakUsedBytes <= 400_000);
  disk.verify();
});

test('a long write stores the pages before the refused one', () => {
  const { requests } = open(200, { limitBytes: 65536 + 12288 + 10 * 4200 });
  const data = made('random', 1, 20);
  assert.equal(requests.write(0, data), BioStatus.noSpace);
  const now = requests.read(0, 20 * PAGE).data;
  const same = Array.from(
    { length: 20 },
    (_, n) =>
      Buffer.compare(
        now.subarray(n * PAGE, (n + 1) * PAGE),
        data.subarray(n * PAGE, (n + 1) * PAGE),
      ) === 0,
  );
  const written = same.indexOf(false);
  assert.ok(written >= 9 && written <= 10, `${written} pages`);
  assert.ok(now.subarray(written * PAGE).every((b) => b === 0));
});

test('a full disk accepts an overwrite that compresses better', () => {
  const { disk, requests } = open(200, { limitBytes: 65536 + 12288 + 10 * 4200 });
  for (let n = 0; n < 200; n++) requests.write(n * PAGE, made('random', n));
  assert.equal(requests.write(0, made('random', 500)), BioStatus.ok, 'overwrite in place');
  assert.equal(requests.write(199 * PAGE, made('text', 1)), BioStatus.noSpace);
  const text = made('text', 2);
  assert.equal(requests.write(0, text), BioStatus.ok);
  assert.deepEqual(requests.read(0, PAGE).data, text);
  disk.verify();
});

test('an unused disk of 4 TiB uses no memory, and extents() is fast', () => {
  const pageCount = 2 ** 30;
  const { disk, requests } = open(pageCount);
  const last = (pageCount - 1) * PAGE;
  const page = made('random', 3);
  assert.equal(requests.write(last, page), BioStatus.ok);
  assert.deepEqual(requests.read(last, PAGE).data, page);
  assert.ok(requests.read(2 ** 41, PAGE).data.every((b) => b === 0));
  const runs: [Extent, number][] = [];
  disk.extents(0, disk.sizeBytes, (kind, length) => runs.push([kind, length]) > 0);
  assert.deepEqual(runs, [
    [Extent.hole, last],
    [Extent.data, PAGE],
  ]);
  assert.ok(disk.stats().usedBytes < 200_000);
  disk.verify();
});

test('a damaged page fails reads and partial writes with ioError until a full write replaces it', () => {
  let image = new Uint8Array(0);
  const factory: CodecFactory = (memory, kernels) => {
    image = new Uint8Array(memory.buffer);
    return lz4(memory, kernels);
  };
  const { disk, requests } = open(8, { codec: { name: 'lz4', factory } });
  const pages = made('random', 5, 8);
  requests.write(0, pages);
  const at = Buffer.from(image.buffer).indexOf(pages.subarray(3 * PAGE, 4 * PAGE), 90_112);
  image[at + 100]! ^= 4;
  assert.equal(requests.read(3 * PAGE, PAGE).status, BioStatus.ioError);
  assert.equal(requests.read(3 * PAGE + 5, 10).status, BioStatus.ioError);
  const { status, data } = requests.read(2 * PAGE, 3 * PAGE);
  assert.equal(status, BioStatus.ioError);
  assert.ok(
    data.subarray(PAGE).every((b) => b === 0x77),
    'no byte of the damaged page is returned',
  );
  assert.equal(requests.write(3 * PAGE + 1, Uint8Array.of(1)), BioStatus.ioError);
  assert.equal(requests.zero(3 * PAGE + 1, 9, false), BioStatus.ioError);
  assert.equal(disk.stats().failedReads, 5);
  assert.deepEqual(requests.read(4 * PAGE, 4 * PAGE).data, pages.subarray(4 * PAGE));
  assert.equal(requests.write(3 * PAGE, pages.subarray(0, PAGE)), BioStatus.ok);
  assert.deepEqual(requests.read(3 * PAGE, PAGE).data, pages.subarray(0, PAGE));
  disk.verify();
});

test('writeZeroes stores same-filled pages with noUnmap and frees pages without it', () => {
  const { disk, requests } = open(8);
  requests.write(0, made('text', 1, 4));
  assert.equal(requests.zero(100, 3 * PAGE, true), BioStatus.ok);
  assert.equal(disk.stats().storedPages, 4);
  assert.equal(disk.stats().notifyFree, 0);
  assert.equal(requests.zero(100, 3 * PAGE, false), BioStatus.ok);
  assert.equal(disk.stats().storedPages, 2);
  assert.equal(disk.stats().notifyFree, 2);
});

test('a bio submitted from bioEnd ends in the next tick', () => {
  const { disk } = open(4);
  const order: number[] = [];
  const owner: BioOwner = {
    bioEnd(bio) {
      order.push(bio.tag);
      if (bio.tag < 6) {
        const next = new Bio();
        Object.assign(next, { op: BioOp.flush, owner, tag: bio.tag + 2 });
        disk.submit(next);
      }
    },
  };
  for (const tag of [0, 1]) {
    const bio = new Bio();
    Object.assign(bio, { op: BioOp.flush, owner, tag });
    disk.submit(bio);
  }
  const ended = Array.from({ length: 5 }, () => disk.tick());
  assert.deepEqual(ended, [2, 2, 2, 2, 0]);
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7]);
});

test('an owner may resubmit the ended bio and call tick from bioEnd', () => {
  const { disk } = open(4);
  const order: number[] = [];
  const bios = [0, 1, 2].map((tag) => {
    const bio = new Bio();
    const owner: BioOwner = {
      bioEnd(ended) {
        order.push(ended.tag);
        if (ended.tag === 0) {
          ended.tag = 10;
          disk.submit(ended);
          disk.tick();
        }
      },
    };
    Object.assign(bio, { op: BioOp.flush, owner, tag });
    return bio;
  });
  for (const bio of bios) disk.submit(bio);
  disk.tick();
  while (disk.tick() > 0);
  assert.deepEqual(order, [0, 1, 2, 10]);
});

test('extents cover the requested range and stop when the sink returns false', () => {
  const { disk, requests } = open(8);
  requests.write(2 * PAGE, made('text', 1, 2));
  requests.zero(5 * PAGE, PAGE, true);
  const runs = (offset: number, length: number, most = 99): [number, number][] => {
    const seen: [number, number][] = [];
    disk.extents(offset, length, (kind, bytes) => seen.push([kind, bytes]) < most);
    return seen;
  };
  assert.deepEqual(runs(0, 8 * PAGE), [
    [Extent.hole, 2 * PAGE],
    [Extent.data, 2 * PAGE],
    [Extent.hole, PAGE],
    [Extent.zero, PAGE],
    [Extent.hole, 2 * PAGE],
  ]);
  assert.deepEqual(runs(PAGE + 7, PAGE), [
    [Extent.hole, PAGE - 7],
    [Extent.data, 7],
  ]);
  assert.deepEqual(runs(3 * PAGE + 1, 1), [[Extent.data, 1]]);
  assert.deepEqual(runs(8 * PAGE - 1, 1), [[Extent.hole, 1]]);
  assert.deepEqual(runs(0, 8 * PAGE, 2), runs(0, 8 * PAGE).slice(0, 2));
});

test('C14 a freed slot is empty before slotFree() returns, and its next user never reads the old page', () => {
  const { disk, requests } = open(8);
  requests.write(0, made('random', 1, 8));
  const before = disk.stats();
  disk.slotFree(3);
  const after = disk.stats();
  assert.equal(after.storedPages, 7);
  assert.equal(after.compressedBytes, before.compressedBytes - PAGE, 'the bytes are free at once');
  assert.equal(after.notifyFree, 1);
  assert.equal(after.writes, before.writes, 'no bio');
  assert.ok(requests.read(3 * PAGE, PAGE).data.every((b) => b === 0));
  const next = made('text', 2, 1);
  requests.write(3 * PAGE, next.subarray(0, 100));
  const page = requests.read(3 * PAGE, PAGE).data;
  assert.deepEqual(page.slice(0, 100), next.slice(0, 100));
  assert.ok(
    page.subarray(100).every((b) => b === 0),
    'no byte of the old page',
  );
  disk.slotFree(2);
  disk.slotFree(2);
  assert.equal(disk.stats().notifyFree, 2, 'an empty slot frees nothing');
  disk.slotFree(8);
  disk.slotFree(-1);
  assert.equal(disk.stats().missFree, 2);
  assert.equal(disk.stats().storedPages, 7);
  disk.verify();
});

test('reset is refused while a bio is in flight', () => {
  const { disk, requests } = open(8);
  requests.submit(BioOp.write, 0, PAGE, made('random', 1, 1));
  assert.equal(disk.reset(), false);
  assert.equal(disk.stats().storedPages, 1);
  disk.tick();
  assert.equal(disk.reset(), true);
  assert.equal(disk.stats().storedPages, 0);
});

test('reset frees every page and the disk stays usable', () => {
  const { disk, requests } = open(2000);
  requests.write(0, made('random', 1, 2000));
  disk.reset();
  assert.equal(disk.stats().storedPages, 0);
  assert.ok(requests.read(0, 2000 * PAGE).data.every((b) => b === 0));
  while (disk.compactIdle());
  assert.ok(disk.stats().usedBytes < 65536 + 2000 * 33);
  requests.write(5, Uint8Array.of(1));
  assert.equal(disk.stats().storedPages, 1);
  disk.verify();
  disk[Symbol.dispose]();
  disk[Symbol.dispose]();
  assert.equal(disk.stats().storedPages, 0);
});

test('a wrong option is an error that names it, its value and the allowed range', () => {
  for (const sizeBytes of [0, -4096, 100, 4097, 2 ** 43 + 4096])
    assert.throws(
      () => open(sizeBytes / PAGE),
      {
        code: 'ERR_ARG_VALUE',
        message:
          `new Ramzswap(): sizeBytes is the number ${sizeBytes}; ` +
          'pass a multiple of 4096 from 4096 to 8796093022208',
      },
      `${sizeBytes} bytes`,
    );
  for (const limitBytes of [-1, 0.5])
    assert.throws(() => open(1, { limitBytes }), { code: 'ERR_ARG_VALUE', message: /limitBytes/ });
  const mistyped: object = { limitByte: 4096 };
  assert.throws(() => open(1, mistyped), {
    code: 'ERR_ARG_UNKNOWN',
    message: "new Ramzswap() has no option 'limitByte'; did you mean 'limitBytes'?",
  });
});

test('a broken invariant stops this disk, not the process', () => {
  let isBroken = false;
  const { disk, requests } = open(8, {
    codec: {
      name: 'lz4',
      factory: (memory, kernels) => {
        const codec = lz4(memory, kernels);
        return {
          ...codec,
          compress: (page, out, limit) => {
            if (isBroken) throw new InvariantError('made up');
            return codec.compress(page, out, limit);
          },
        };
      },
    },
  });
  assert.equal(requests.write(0, made('text', 1)), BioStatus.ok);
  isBroken = true;
  assert.equal(requests.write(PAGE, made('text', 2)), BioStatus.ioError);
  isBroken = false;
  assert.equal(requests.read(0, PAGE).status, BioStatus.ioError);
  assert.equal(disk.fault?.message, 'invariant violated: made up');
  assert.equal(disk.compactIdle(), false);
  assert.ok(disk.stats().failedReads > 0);
});
