/** Capacity of the queue of remote deletions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { type FlushCounts, FlushQueue } from '../../src/remote/flush-queue.ts';
import { BATCH_MAX, RemotePages, RemoteResult } from '../../src/remote/remote-pages.ts';
import { FakePeer } from '../support/fakes/fake-peer.ts';
import { BOOT } from '../support/fixtures/remote-rig.ts';

test('the ring has space for one page per entry', () => {
  const queue = new FlushQueue(8);
  for (let i = 0; i < 8; i++) assert.equal(queue.addPage(1, i, 1), true, `page ${i}`);
  assert.equal(queue.addPage(1, 8, 1), false);
  assert.equal(queue.pages, 8);
  for (const entries of [0, 7, 12]) assert.throws(() => new FlushQueue(entries), InvariantError);
});

test('the queue has space for 64 areas; adding another drops the oldest and returns how many of its chunks remained', () => {
  const queue = new FlushQueue(8);
  const touched = (chunks: number): Uint8Array => new Uint8Array(5).fill(1, 0, chunks);
  assert.equal(queue.addArea(1, touched(0)), 0);
  assert.ok(queue.isEmpty, 'an area without remote pages is not queued');
  assert.equal(queue.addArea(2, touched(3)), 0);
  for (let epoch = 3; epoch < 66; epoch++) assert.equal(queue.addArea(epoch, touched(1)), 0);
  assert.equal(queue.addArea(66, touched(1)), 3);
  assert.equal(queue.addArea(67, touched(1)), 1);
});

/** What a queue asks of the other machine, by batch; the answers of a batch are those given, then `done`. */
class Batches {
  readonly sent: string[][] = [];
  readonly #answers: RemoteResult[];
  #staged: string[] = [];

  constructor(answers: readonly RemoteResult[] = []) {
    this.#answers = [...answers];
  }

  readonly stageDelete = (epoch: number, offset: number, generation: number): boolean =>
    this.#stage(`page ${epoch} ${offset} ${generation}`);
  readonly stageUnlink = (epoch: number, chunk: number): boolean =>
    this.#stage(`chunk ${epoch} ${chunk}`);
  readonly send = (): void => {
    this.sent.push(this.#staged);
    this.#staged = [];
  };
  readonly readReply = (): RemoteResult => this.#answers.shift() ?? RemoteResult.done;

  #stage(what: string): boolean {
    if (this.#staged.length === BATCH_MAX) return false;
    return this.#staged.push(what) > 0;
  }

  flush(queue: FlushQueue): FlushCounts {
    const flushed = { pages: 0, pagesFailed: 0, chunks: 0, chunksFailed: 0 };
    queue.flush(this as unknown as RemotePages, flushed);
    return flushed;
  }
}

for (const count of [BATCH_MAX - 1, BATCH_MAX, BATCH_MAX + 1])
  test(`${count} pages and the same number of chunks are sent in batches of ${BATCH_MAX}, pages first, each once`, () => {
    const queue = new FlushQueue(1024);
    for (let i = 0; i < count; i++) assert.ok(queue.addPage(1, i, 7));
    assert.equal(queue.addArea(2, new Uint8Array(count).fill(1)), 0);
    const batches = new Batches();
    const pages: number[] = [];
    const chunks: number[] = [];
    while (!queue.isEmpty) {
      const flushed = batches.flush(queue);
      if (flushed.pages > 0) pages.push(flushed.pages);
      if (flushed.chunks > 0) chunks.push(flushed.chunks);
    }
    const expected = count > BATCH_MAX ? [BATCH_MAX, 1] : [count];
    assert.deepEqual(pages, expected);
    assert.deepEqual(chunks, expected);
    const each = Array.from({ length: count }, (_, i) => i);
    assert.deepEqual(batches.sent.flat(), [
      ...each.map((i) => `page 1 ${i} 7`),
      ...each.map((i) => `chunk 2 ${i}`),
    ]);
  });

test('commands without a reply are resent, refused ones are not', () => {
  const { down, done, refused } = RemoteResult;
  const queue = new FlushQueue(8);
  for (let i = 0; i < 3; i++) queue.addPage(1, i, 1);
  queue.addArea(2, new Uint8Array(3).fill(1));
  const batches = new Batches([done, refused, down, done, refused, done, down, done]);
  assert.deepEqual(batches.flush(queue), { pages: 1, pagesFailed: 1, chunks: 0, chunksFailed: 0 });
  assert.deepEqual(batches.flush(queue), { pages: 1, pagesFailed: 0, chunks: 0, chunksFailed: 0 });
  assert.deepEqual(batches.flush(queue), { pages: 0, pagesFailed: 0, chunks: 1, chunksFailed: 1 });
  assert.equal(queue.isEmpty, false);
  assert.deepEqual(batches.flush(queue), { pages: 0, pagesFailed: 0, chunks: 1, chunksFailed: 0 });
  assert.ok(queue.isEmpty);
  assert.deepEqual(
    batches.sent.map((batch) => batch.at(-1)),
    ['page 1 2 1', 'page 1 2 1', 'chunk 2 2', 'chunk 2 2'],
  );
});

test('RemotePages stages a batch and not one more', () => {
  const { open, clock } = new FakePeer();
  using remote = new RemotePages({ open, clock, client: 'vm1', boot: BOOT });
  for (let i = 0; i < BATCH_MAX; i++) assert.equal(remote.stageUnlink(1, i), true, `chunk ${i}`);
  assert.equal(remote.stageUnlink(1, 0), false);
  assert.equal(remote.stageDelete(1, 0, 1), false);
});
