/**
 * One disk of the soak (soak.ts): a client with requests in flight that verifies every page it reads, while the disk is
 * frozen, changed, resized, emptied and removed.
 *
 * A page contains its number and a version; version 0 is zeros. Each lane has one request in flight, in pages of its own.
 * A request without a reply leaves its pages with the old or the new version; the lane reads them before anything else.
 * A new connection is opened at once: the host ends the old one first.
 */
import type { Prng } from '../../src/base/prng.ts';
import {
  askAdd,
  askFlush,
  askGate,
  askRemove,
  askReset,
  askSet,
} from '../../src/host/control-client.ts';
import { madePage, type PageKind } from '../support/fixtures/pages.ts';
import { Disconnected, RawClient, requestBytes } from '../support/fixtures/raw-client.ts';

const PAGE = 4096;
const LANES = 6;
const LANE_PAGES = 512;
const PAGES: number = LANES * LANE_PAGES;
/** Longest request, pages. */
const RUN_PAGES = 64;
const Command = { read: 0, write: 1, flush: 3, trim: 4, writeZeroes: 6 } as const;
const FUA = 1;
const NO_HOLE = 2;
const MIB = 2 ** 20;
/** A client that is served gets a reply in this time. */
const REPLY_MS = 20_000;
/** From 16 MiB; the client uses the first 12 MiB. */
const SIZES_MIB = [16, 24, 40, 64] as const;

const kinds: readonly PageKind[] = ['text', 'records', 'text', 'cut', 'poor', 'random', 'int12'];
const samples: readonly Uint8Array[] = Array.from({ length: 56 }, (_, seed) =>
  madePage(kinds[seed % kinds.length]!, seed),
);
const ZEROS = Buffer.alloc(PAGE);
const expected: Buffer = Buffer.alloc(PAGE);

/** Fills `out` with version `version` of a page. */
function fillPage(out: Buffer, page: number, version: number): void {
  if (version === 0) {
    out.fill(0);
    return;
  }
  out.set(samples[version % samples.length]!);
  out.writeUInt32LE(page, 0);
  out.writeUInt32LE(version, 4);
}

interface Pending {
  readonly readBytes: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** Requests in a pipeline, with simple replies in order. */
class SoakClient {
  readonly #raw: RawClient;
  readonly #pending: Pending[] = [];
  #isReading = false;
  replies = 0;

  private constructor(raw: RawClient) {
    this.#raw = raw;
  }

  static async open(socketPath: string, name: string): Promise<SoakClient> {
    return new SoakClient(await RawClient.open(socketPath, name));
  }

  request(type: number, flags: number, range: Range, data?: Buffer): Promise<Buffer> {
    const head = requestBytes(type, range.page * PAGE, range.count * PAGE);
    head.writeUInt16BE(flags, 4);
    const readBytes = type === Command.read ? range.count * PAGE : 0;
    return new Promise((resolve, reject) => {
      this.#pending.push({ readBytes, resolve, reject });
      this.#raw.socket.write(data === undefined ? head : Buffer.concat([head, data]));
      if (!this.#isReading) void this.#read();
    });
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    try {
      for (let next = this.#pending[0]; next !== undefined; next = this.#pending[0]) {
        const error = (await this.#raw.read(16)).readUInt32BE(4);
        const data = error === 0 ? await this.#raw.read(next.readBytes) : ZEROS;
        this.#pending.shift();
        this.replies++;
        if (error === 0) next.resolve(data);
        else next.reject(new RequestError(error));
      }
    } catch (error) {
      for (const { reject } of this.#pending.splice(0)) reject(error as Error);
    }
    this.#isReading = false;
  }

  get isOpen(): boolean {
    return this.#raw.isOpen;
  }

  close(): void {
    this.#raw[Symbol.dispose]();
  }
}

/** The host answered a request with an error. */
class RequestError extends Error {
  constructor(error: number) {
    super(`NBD error ${error}`);
  }
}

interface Range {
  readonly page: number;
  readonly count: number;
}

export interface SoakCounts {
  requests: number;
  pagesVerified: number;
  miscompares: number;
  disconnects: number;
  /** Operations of the control API, by name. */
  readonly operations: Record<string, number>;
}

export interface SoakTarget {
  readonly socketPath: string;
  readonly controlPath: string;
  /** Null: no backing. */
  readonly backing: string | null;
  readonly counts: SoakCounts;
  /** Says what was wrong. */
  readonly report: (line: string) => void;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class SoakDisk {
  readonly #name: string;
  readonly #target: SoakTarget;
  readonly #prng: Prng;
  /** By page: the version, and another possible one. */
  readonly #versions: Uint32Array = new Uint32Array(PAGES);
  readonly #others: Uint32Array = new Uint32Array(PAGES);
  #nextVersion = 1;

  constructor(name: string, target: SoakTarget, prng: Prng) {
    this.#name = name;
    this.#target = target;
    this.#prng = prng;
  }

  /** Works until `isOver`; the disk does not exist before and after. */
  async run(isOver: () => boolean): Promise<void> {
    await this.#add();
    while (!isOver()) await this.#connection();
    await this.#verifyAll();
    await this.#count('remove', askRemove(this.#target.controlPath, this.#name, true));
  }

  /** One connection, until an operation ends it. */
  async #connection(): Promise<void> {
    const client = await SoakClient.open(this.#target.socketPath, this.#name);
    let isEnding = false;
    const lanes = Array.from({ length: LANES }, (_, lane) =>
      this.#lane(client, lane, () => isEnding),
    );
    const ended = Promise.all(lanes);
    try {
      for (let left = 1 + this.#prng.below(6); left > 0; left--) {
        await sleep(20 + this.#prng.below(80));
        await this.#changeWhileOpen(client);
      }
      await this.#end(client);
    } finally {
      isEnding = true;
      await ended;
      client.close();
    }
    if (this.#isEmptied) this.#versions.fill(0);
    if (this.#isEmptied) this.#others.fill(0);
    this.#isEmptied = false;
  }

  #isEmptied = false;

  /** Operations that the client does not notice. */
  async #changeWhileOpen(client: SoakClient): Promise<void> {
    const { controlPath } = this.#target;
    const name = this.#name;
    const choice = this.#prng.below(4);
    if (choice === 0) {
      await this.#count('freeze', askGate(controlPath, name, 'freeze'));
      await sleep(this.#prng.below(50));
      await this.#count('thaw', askGate(controlPath, name, 'thaw'));
      await this.#awaitReply(client);
    } else if (choice === 1) {
      const rate = this.#prng.oneIn(2) ? 0 : (20 + this.#prng.below(80)) * MIB;
      await this.#count('rate', askSet(controlPath, name, { rate }, false));
    } else if (choice === 2 && this.#target.backing !== null)
      await this.#count('flush', askFlush(controlPath, name));
    else await this.#passingDisk();
  }

  /** Each lane has a request in flight. */
  async #awaitReply(client: SoakClient): Promise<void> {
    const before = client.replies;
    const deadlineMs = performance.now() + REPLY_MS;
    while (client.replies === before && client.isOpen) {
      if (performance.now() > deadlineMs) {
        this.#target.report(`${this.#name}: no reply in ${REPLY_MS} ms after it was thawed`);
        return;
      }
      await sleep(5);
    }
  }

  /** Adds and removes a disk that has no client. */
  async #passingDisk(): Promise<void> {
    const { controlPath } = this.#target;
    const name = `${this.#name}-${this.#nextVersion}`;
    await this.#count('add', askAdd(controlPath, { name, size: '32M' }));
    await this.#count('remove', askRemove(controlPath, name, false));
  }

  /** Ends the connection in one of several ways, with requests in flight. */
  async #end(client: SoakClient): Promise<void> {
    const { controlPath, backing } = this.#target;
    const choice = this.#prng.below(5);
    this.#target.counts.disconnects++;
    if (choice === 0) {
      await this.#count('reset', askReset(controlPath, this.#name, true));
      this.#isEmptied = true;
    } else if (choice === 1) {
      await this.#count('remove', askRemove(controlPath, this.#name, true));
      this.#isEmptied = true;
      await this.#add();
    } else if (choice < 4 && backing === null) {
      const size = SIZES_MIB[this.#prng.below(SIZES_MIB.length)]! * MIB;
      await this.#count('resize', askSet(controlPath, this.#name, { size }, true));
      client.close(); // the disk may have this size already
    } else client.close();
  }

  async #add(): Promise<void> {
    const { controlPath, backing } = this.#target;
    const extra = backing === null ? {} : { backing, limit: '8M' };
    const disk = { name: this.#name, size: '16M', ...extra };
    await this.#count('add', askAdd(controlPath, disk));
  }

  async #count(name: string, operation: Promise<unknown>): Promise<void> {
    const { operations } = this.#target.counts;
    await operation;
    operations[name] = (operations[name] ?? 0) + 1;
  }

  async #verifyAll(): Promise<void> {
    const client = await SoakClient.open(this.#target.socketPath, this.#name);
    for (let page = 0; page < PAGES; page += RUN_PAGES)
      await this.#verify(client, { page, count: RUN_PAGES });
    client.close();
  }

  /** Requests in the pages of a lane, one at a time, until the connection ends. */
  async #lane(client: SoakClient, lane: number, isEnding: () => boolean): Promise<void> {
    try {
      for (let page = 0; page < LANE_PAGES; page += RUN_PAGES) {
        const range = { page: lane * LANE_PAGES + page, count: RUN_PAGES };
        if (this.#isUncertain(range)) await this.#verify(client, range);
      }
      while (!isEnding()) {
        const count = 1 + this.#prng.below(this.#prng.oneIn(4) ? RUN_PAGES : 4);
        const page = lane * LANE_PAGES + this.#prng.below(LANE_PAGES - count);
        await this.#step(client, { page, count });
      }
    } catch (error) {
      if (error instanceof Disconnected) return;
      if (error instanceof RequestError) this.#target.counts.miscompares++;
      this.#target.report(`${this.#name}: ${(error as Error).stack}`);
    }
  }

  async #step(client: SoakClient, range: Range): Promise<void> {
    const choice = this.#prng.below(16);
    if (choice < 8) await this.#verify(client, range);
    else if (choice < 13) await this.#write(client, range);
    else if (choice === 13) await this.#zero(client, Command.trim, 0, range);
    else if (choice === 14) await this.#zero(client, Command.writeZeroes, NO_HOLE, range);
    else await client.request(Command.flush, 0, { page: 0, count: 0 });
    this.#target.counts.requests++;
  }

  async #write(client: SoakClient, range: Range): Promise<void> {
    const data = Buffer.alloc(range.count * PAGE);
    const version = this.#nextVersion++;
    for (let i = 0; i < range.count; i++)
      fillPage(data.subarray(i * PAGE, (i + 1) * PAGE), range.page + i, version);
    const flags = this.#prng.oneIn(4) ? FUA : 0;
    await this.#change(version, range, client.request(Command.write, flags, range, data));
  }

  #zero(client: SoakClient, type: number, flags: number, range: Range): Promise<void> {
    return this.#change(0, range, client.request(type, flags, range));
  }

  /** The pages have either version until the request has been answered. */
  async #change(version: number, { page, count }: Range, request: Promise<Buffer>): Promise<void> {
    this.#others.fill(version, page, page + count);
    await request;
    this.#versions.fill(version, page, page + count);
  }

  #isUncertain({ page, count }: Range): boolean {
    for (let i = page; i < page + count; i++)
      if (this.#versions[i] !== this.#others[i]) return true;
    return false;
  }

  /** Reads and compares the pages; they are certain afterwards. */
  async #verify(client: SoakClient, range: Range): Promise<void> {
    const data = await client.request(Command.read, 0, range);
    for (let i = 0; i < range.count; i++) {
      const page = range.page + i;
      const found = data.subarray(i * PAGE, (i + 1) * PAGE);
      if (this.#isVersion(found, page, this.#versions[page]!))
        this.#others[page] = this.#versions[page]!;
      else if (this.#isVersion(found, page, this.#others[page]!))
        this.#versions[page] = this.#others[page]!;
      else {
        this.#target.counts.miscompares++;
        const said = `page ${found.readUInt32LE(0)}, version ${found.readUInt32LE(4)}`;
        const wanted = `version ${this.#versions[page]} or ${this.#others[page]}`;
        this.#target.report(`${this.#name}: page ${page}: ${wanted} expected, has ${said}`);
      }
    }
    this.#target.counts.pagesVerified += range.count;
  }

  #isVersion(found: Buffer, page: number, version: number): boolean {
    fillPage(expected, page, version);
    return found.equals(expected);
  }
}
