/** Several queues of one disk: what is written by one is read by the others, while queues are disabled, stopped and started. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import type { Disk } from '../../src/block/ops.ts';
import { Flag, Request, State, VERSION } from '../../src/vhost-user/protocol/wire.ts';
import { ShuffledDisk } from '../support/fakes/shuffled-disk.ts';
import { testSeed, testSteps } from '../support/fixtures/replay.ts';
import { state } from '../support/fixtures/vhost-bytes.ts';
import { BlockType, VhostFrontEnd } from '../support/fixtures/vhost-front-end.ts';
import { DISK_BYTES, VhostRig } from '../support/fixtures/vhost-rig.ts';

const QUEUES = 4;
/** Requests of a queue at a time. */
const SLOTS = 10;
/** Pages of the disk that are used: few, so that the queues use the same ones. */
const PAGES = 64;
const PAGE = 4096;
const SECTOR = 512;

interface Sent {
  readonly type: number;
  /** Its first page and the one behind the last. No other request uses them until this one has ended. */
  readonly from: number;
  readonly to: number;
  /** What a read returns. */
  readonly expected: Uint8Array;
}

type Mode = 'running' | 'disabled' | 'stopped';

class Trial {
  readonly model = new Uint8Array(DISK_BYTES);
  readonly modes: Mode[] = Array.from({ length: QUEUES }, () => 'running');
  /** Requests that have not ended, by slot. */
  readonly sent: readonly Map<number, Sent>[] = this.modes.map(() => new Map<number, Sent>());
  readonly #seen: number[] = this.modes.map(() => 0);
  readonly #busy = new Set<number>();
  readonly #front: VhostFrontEnd;
  readonly #prng: Prng;
  readonly #kinds: readonly number[];

  constructor(front: VhostFrontEnd, prng: Prng, kinds: readonly number[]) {
    this.#front = front;
    this.#prng = prng;
    this.#kinds = kinds;
  }

  /** Makes a request available if no other one uses its pages. The model is changed at once. */
  send(queue: number): void {
    const prng = this.#prng;
    const front = this.#front;
    const requests = this.sent[queue]!;
    if (requests.size === SLOTS) return;
    let slot = queue * SLOTS;
    while (requests.has(slot)) slot++;
    const type = this.#kinds[prng.below(this.#kinds.length)]!;
    const isRange = type === BlockType.discard || type === BlockType.writeZeroes;
    const unit = isRange ? PAGE : SECTOR;
    const start = prng.below((PAGES * PAGE) / unit) * unit;
    const length = Math.min(PAGES * PAGE - start, (1 + prng.below(isRange ? 4 : 20)) * unit);
    const [from, to] = [Math.floor(start / PAGE), Math.ceil((start + length) / PAGE)];
    for (let page = from; page < to; page++) if (this.#busy.has(page)) return;
    for (let page = from; page < to; page++) this.#busy.add(page);
    const data = front.memory.bytes.subarray(front.dataAt(slot), front.dataAt(slot) + length);
    if (isRange) {
      this.model.fill(0, start, start + length);
      const range = new DataView(data.buffer, data.byteOffset, 16);
      range.setBigUint64(0, BigInt(start / SECTOR), true);
      range.setUint32(8, length / SECTOR, true);
      range.setUint32(12, 0, true);
      front.put(slot, type, 0, 16, queue);
    } else {
      if (type === BlockType.out) {
        prng.fill(data);
        this.model.set(data, start);
      } else data.fill(0xee);
      front.put(slot, type, start / SECTOR, length, queue);
    }
    const isRead = type === BlockType.in;
    const expected = this.model.slice(start, isRead ? start + length : start);
    requests.set(slot, { type, from, to, expected });
  }

  /** Checks what a queue has returned. */
  reap(queue: number): void {
    const front = this.#front;
    for (; this.#seen[queue] !== front.used(queue); this.#seen[queue]!++) {
      const slot = front.usedHead(this.#seen[queue]!, queue) / 3;
      const request = this.sent[queue]!.get(slot);
      assert(request !== undefined, `queue ${queue} returns a request of slot ${slot} once`);
      this.sent[queue]!.delete(slot);
      const { type, from, to, expected } = request;
      assert.equal(front.status(slot, queue), 0, `status of a request of type ${type}`);
      const isRead = type === BlockType.in;
      if (isRead) assert(Buffer.compare(front.dataOf(slot, expected.length), expected) === 0);
      for (let page = from; page < to; page++) this.#busy.delete(page);
    }
  }

  /** Waits for the requests of a queue; one that does not run must return none. */
  async settle(queue: number): Promise<void> {
    const front = this.#front;
    front.kick(queue);
    if (this.modes[queue] === 'running') {
      assert(await front.settled(queue, 5000), `queue ${queue} completes its requests`);
      this.reap(queue);
      assert.equal(this.sent[queue]!.size, 0);
    } else {
      for (let turns = 0; turns < 5; turns++) await turn();
      assert.equal(front.used(queue), this.#seen[queue], `queue ${queue} does not run`);
    }
  }

  async disable(queue: number): Promise<void> {
    assert(await this.#front.acknowledged(Request.setVringEnable, state(queue, 0)));
    if (this.modes[queue] === 'running') this.modes[queue] = 'disabled';
    this.reap(queue);
  }

  async stop(queue: number): Promise<void> {
    const { payload } = await this.#front.call(Request.getVringBase, state(queue, 0));
    this.modes[queue] = 'stopped';
    this.reap(queue);
    const base = payload.getUint32(State.value, true);
    assert.equal(base, this.#seen[queue], 'what was taken has been returned');
  }

  async start(queue: number): Promise<void> {
    const front = this.#front;
    if (this.modes[queue] === 'stopped') await front.startQueue(queue, front.used(queue));
    else assert(await front.acknowledged(Request.setVringEnable, state(queue, 1)));
    this.modes[queue] = 'running';
  }

  async step(): Promise<void> {
    const queue = this.#prng.below(QUEUES);
    const kind = this.#prng.below(20);
    if (kind < 13) {
      this.send(queue);
      if (this.#prng.oneIn(2)) this.#front.kick(queue);
    } else if (kind < 15) await this.settle(queue);
    else if (kind === 15) await this.disable(queue);
    else if (kind === 16) await this.stop(queue);
    else if (kind < 19) await this.start(queue);
    else this.reap(queue);
  }

  /** Starts all queues, and reads everything by each. */
  async finish(): Promise<void> {
    for (let queue = 0; queue < QUEUES; queue++) {
      await this.start(queue);
      await this.settle(queue);
    }
    const bytes = (PAGES * PAGE) / QUEUES;
    for (let queue = 0; queue < QUEUES; queue++)
      for (let part = 0; part < QUEUES; part++) {
        const at = part * bytes;
        assert.equal(await this.#front.request(BlockType.in, at / SECTOR, bytes, 0, queue), 0);
        const wanted = this.model.subarray(at, at + bytes);
        assert(Buffer.compare(this.#front.dataOf(0, bytes), wanted) === 0, `queue ${queue}`);
      }
  }
}

interface Kind {
  readonly createDisk: (prng: Prng) => Disk;
  /** Request types that clear pages; discarded pages of a shuffled disk may read as anything. */
  readonly clear: readonly number[];
}

const kinds: Readonly<Record<string, Kind>> = {
  synchronous: {
    createDisk: () => new MemoryDisk(DISK_BYTES),
    clear: [BlockType.discard, BlockType.writeZeroes],
  },
  asynchronous: {
    createDisk: (prng) => new ShuffledDisk(DISK_BYTES, prng),
    clear: [BlockType.writeZeroes],
  },
};

for (const [kind, { createDisk, clear }] of Object.entries(kinds))
  test(`the data that one of four queues writes is read by the others while queues stop and start: ${kind} disk`, async () => {
    const seed = testSeed();
    const prng = new Prng(seed);
    const body = async (rig: VhostRig): Promise<void> => {
      using front = new VhostFrontEnd(rig.path, { queues: QUEUES });
      await front.start();
      const { in: read, out: write } = BlockType;
      const trial = new Trial(front, prng, [read, read, write, write, ...clear]);
      for (let left = testSteps(3000); left > 0; left--) await trial.step();
      await trial.finish();
      assert.deepEqual(rig.lines.slice(1), [], 'nothing is logged but the connection');
    };
    await VhostRig.run(body, createDisk(prng)).catch((cause: unknown) => {
      throw new Error(`failed with SEED=${seed}: ${String(cause)}`, { cause });
    });
  });

const pause = async (): Promise<void> => {
  for (let turns = 0; turns < 20; turns++) await turn();
};

for (const how of ['disabled', 'stopped'])
  test(`a request in flight when its queue is ${how} completes first, and the next ones wait`, async () => {
    const disk = new ShuffledDisk(DISK_BYTES, new Prng(1));
    await VhostRig.run(async (rig) => {
      using front = new VhostFrontEnd(rig.path, { queues: 2 });
      await front.start();
      disk.isHeld = true;
      front.memory.bytes.fill(1, front.dataAt(0), front.dataAt(0) + PAGE);
      front.put(0, BlockType.out, 0, PAGE, 1);
      front.kick(1);
      await rig.until(() => disk.inFlight.length === 1);
      if (how === 'stopped') front.send(Request.getVringBase, state(1, 0));
      else front.send(Request.setVringEnable, state(1, 0), [], VERSION | Flag.needReply);
      await pause();
      // Requests of any queue: the message would wait forever if they were taken.
      front.memory.bytes.fill(2, front.dataAt(1), front.dataAt(1) + PAGE);
      for (const queue of [0, 1]) {
        front.put(1 + queue, BlockType.out, 8 * (1 + queue), PAGE, queue);
        front.kick(queue);
      }
      await pause();
      assert.equal(disk.inFlight.length, 1, 'no request is taken while the message waits');
      assert.equal(front.used(1), 0);
      disk.isHeld = false;
      const reply = await front.reply();
      assert.equal(
        reply?.payload.getUint32(how === 'stopped' ? 4 : 0, true),
        how === 'stopped' ? 1 : 0,
      );
      assert.deepEqual([front.used(1), front.status(0, 1)], [1, 0]);
      assert(await front.settled(0));
      front.kick(1);
      assert.equal(await front.settled(1, 50), false, 'the queue does not run');
      if (how === 'stopped') await front.startQueue(1, 1);
      else assert(await front.acknowledged(Request.setVringEnable, state(1, 1)));
      assert(await front.settled(1));
      assert.equal(front.status(2, 1), 0);
      assert.equal(await front.request(BlockType.in, 0, PAGE, 5, 0), 0);
      assert.deepEqual(front.dataOf(5, PAGE), new Uint8Array(PAGE).fill(1));
    }, disk);
  });
