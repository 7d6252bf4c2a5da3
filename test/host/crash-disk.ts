/**
 * A disk under load whose host is killed: a client that knows which requests were acknowledged, and what every page must
 * contain. A page contains its number and a version, so that the page of another slot and an older page of the slot are
 * both detected; version 0 is zeros. A request without a reply leaves each of its pages with the old or the new version.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Prng } from '../../src/base/prng.ts';
import { madePage, type PageKind } from '../support/fixtures/pages.ts';
import { goOption, requestBytes } from '../support/fixtures/raw-client.ts';

const PAGE = 4096;
const LANES = 8;
/** Longest request, pages. */
const RUN_PAGES = 16;
const READ_PAGES = 64;
const Command = { read: 0, write: 1, trim: 4, writeZeroes: 6 } as const;
const HANDSHAKE_BYTES = 18;

const kinds: readonly PageKind[] = ['text', 'records', 'cut', 'poor', 'random', 'int12'];
const samples: readonly Uint8Array[] = Array.from({ length: 48 }, (_, seed) =>
  madePage(kinds[seed % kinds.length]!, seed),
);

/** Fills `out` with version `version` of a page; every seventh page repeats one word. */
function fillPage(out: Buffer, page: number, version: number): void {
  if (version === 0) {
    out.fill(0);
    return;
  }
  out.writeUInt32LE(page, 0);
  out.writeUInt32LE(version, 4);
  if (version % 7 === 0) out.copy(out, 8, 0, PAGE - 8);
  else out.set(samples[version % samples.length]!.subarray(8), 8);
  if (version % 7 === 0) for (let at = 8; at < PAGE; at += 8) out.copy(out, at, 0, 8);
}

interface Pending {
  readonly readBytes: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** Pipelined requests with simple replies. */
class CrashClient {
  readonly #socket: Socket;
  readonly #pending = new Map<bigint, Pending>();
  #input: Buffer = Buffer.alloc(0);
  #handle = 1n;
  #onHandshake: ((isAccepted: boolean) => void) | null;
  #isGreeted = false;

  private constructor(socket: Socket, exportName: string, onHandshake: (ok: boolean) => void) {
    this.#socket = socket;
    this.#onHandshake = onHandshake;
    socket.on('data', (part: Buffer) => {
      this.#input = this.#input.length === 0 ? part : Buffer.concat([this.#input, part]);
      if (this.#onHandshake !== null) this.#shake(exportName);
      else this.#replies();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#onHandshake?.(false);
      for (const { reject } of this.#pending.values()) reject(new Error('disconnected'));
      this.#pending.clear();
    });
  }

  /** Null: no server, or it refuses the export. */
  static open(socketPath: string, exportName: string): Promise<CrashClient | null> {
    return new Promise((resolve) => {
      const socket = connect(socketPath);
      const client = new CrashClient(socket, exportName, (ok) => resolve(ok ? client : null));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  request(type: number, offset: number, length: number, data?: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error('disconnected'));
      const head = requestBytes(type, offset, length);
      const handle = this.#handle++;
      head.writeBigUInt64BE(handle, 8);
      this.#pending.set(handle, {
        readBytes: type === Command.read ? length : 0,
        ...{ resolve, reject },
      });
      this.#socket.write(data === undefined ? head : Buffer.concat([head, data]));
    });
  }

  #shake(exportName: string): void {
    if (!this.#isGreeted) {
      if (this.#input.length < HANDSHAKE_BYTES) return;
      this.#input = this.#input.subarray(HANDSHAKE_BYTES);
      this.#isGreeted = true;
      this.#socket.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), goOption(exportName)]));
    }
    while (this.#input.length >= 20) {
      const type = this.#input.readUInt32BE(12);
      const bytes = 20 + this.#input.readUInt32BE(16);
      if (this.#input.length < bytes) return;
      this.#input = this.#input.subarray(bytes);
      if (type !== 1 && type < 0x8000_0000) continue; // NBD_REP_INFO
      this.#onHandshake?.(type === 1);
      this.#onHandshake = null;
      if (type !== 1) this.#socket.destroy();
      return;
    }
  }

  #replies(): void {
    while (this.#input.length >= 16) {
      const handle = this.#input.readBigUInt64BE(8);
      const pending = this.#pending.get(handle);
      if (pending === undefined) throw new Error('a reply to no request');
      const error = this.#input.readUInt32BE(4);
      const bytes = error === 0 ? pending.readBytes : 0;
      if (this.#input.length < 16 + bytes) return;
      const data = this.#input.subarray(16, 16 + bytes);
      this.#input = this.#input.subarray(16 + bytes);
      this.#pending.delete(handle);
      if (error === 0) pending.resolve(data);
      else pending.reject(new Error(`error ${error}`));
    }
  }
}

export interface CrashCounts {
  acknowledged: number;
  /** Requests in flight when the host was killed. */
  inFlight: number;
  pagesVerified: number;
  /** Acknowledged pages that are missing. */
  lost: number;
  /** Freed pages that are found, and pages from before an acknowledged write. */
  revived: number;
}

export class CrashDisk {
  readonly counts: CrashCounts = {
    ...{ acknowledged: 0, inFlight: 0, pagesVerified: 0, lost: 0, revived: 0 },
  };
  readonly #socketPath: string;
  readonly #exportName: string;
  readonly #prng: Prng;
  readonly #pages: number;
  /** Version of each page, as acknowledged. */
  readonly #versions: Uint32Array;
  /** Versions that requests without a reply may have left. */
  readonly #maybe = new Map<number, number>();
  readonly #report: (line: string) => void;
  #client: CrashClient | null = null;
  #version = 0;

  constructor(
    { socketPath, exportName, bytes }: { socketPath: string; exportName: string; bytes: number },
    prng: Prng,
    report: (line: string) => void,
  ) {
    this.#socketPath = socketPath;
    this.#exportName = exportName;
    this.#pages = bytes / PAGE;
    this.#versions = new Uint32Array(this.#pages);
    this.#prng = prng;
    this.#report = report;
  }

  /** Reconnects under the name of the generation, as QEMU does, and reads a page. */
  async connect(): Promise<void> {
    for (let waited = 0; ; waited += 2) {
      this.#client = await CrashClient.open(this.#socketPath, this.#exportName);
      if (this.#client !== null) break;
      if (waited > 60_000) throw new Error('the host does not serve the disk again');
      await sleep(2);
    }
    await this.#client.request(Command.read, 0, PAGE);
  }

  /** Reads every page. */
  async verify(): Promise<void> {
    const reads: Promise<void>[] = [];
    for (let page = 0; page < this.#pages; page += READ_PAGES)
      reads.push(this.#verifyRun(page, Math.min(READ_PAGES, this.#pages - page)));
    await Promise.all(reads);
    this.#maybe.clear();
  }

  /** Writes and trims in several lanes until the host is killed. */
  async load(): Promise<void> {
    const lanePages = this.#pages / LANES;
    await Promise.all(Array.from({ length: LANES }, (_, lane) => this.#lane(lane, lanePages)));
    this.#client?.close();
  }

  close(): void {
    this.#client?.close();
  }

  async #verifyRun(first: number, count: number): Promise<void> {
    const data = await this.#client!.request(Command.read, first * PAGE, count * PAGE).catch(
      (error: Error) => error,
    );
    const expected = Buffer.alloc(PAGE);
    for (let i = 0; i < count; i++) {
      const page = first + i;
      this.counts.pagesVerified++;
      const found = data instanceof Error ? null : data.subarray(i * PAGE, (i + 1) * PAGE);
      const is = (version: number): boolean => {
        fillPage(expected, page, version);
        return found?.equals(expected) === true;
      };
      const [before, after] = [this.#versions[page]!, this.#maybe.get(page)];
      if (is(before)) continue;
      if (after !== undefined && is(after)) this.#versions[page] = after;
      else this.#wrong(page, before, found, data);
    }
  }

  #wrong(page: number, version: number, found: Buffer | null, data: Buffer | Error): void {
    const isRevived =
      found !== null && found.readUInt32LE(0) === page && found.readUInt32LE(4) !== 0;
    if (isRevived) this.counts.revived++;
    else this.counts.lost++;
    const what =
      found === null
        ? String(data)
        : `version ${found.readUInt32LE(4)} of page ${found.readUInt32LE(0)}`;
    this.#report(`page ${page}: version ${version} was acknowledged, found ${what}`);
    if (found !== null) this.#versions[page] = isRevived ? found.readUInt32LE(4) : 0;
  }

  /** One request in flight, in pages of its own. */
  async #lane(lane: number, lanePages: number): Promise<void> {
    const prng = this.#prng;
    for (;;) {
      const count = 1 + prng.below(RUN_PAGES);
      const first = lane * lanePages + prng.below(lanePages - count);
      const isWrite = prng.below(10) < 6;
      const version = isWrite ? ++this.#version : 0;
      const data = Buffer.alloc(isWrite ? count * PAGE : 0);
      if (isWrite)
        for (let i = 0; i < count; i++)
          fillPage(data.subarray(i * PAGE, (i + 1) * PAGE), first + i, version);
      const type = isWrite ? Command.write : prng.oneIn(3) ? Command.writeZeroes : Command.trim;
      try {
        await this.#client!.request(type, first * PAGE, count * PAGE, isWrite ? data : undefined);
      } catch (error) {
        if ((error as Error).message !== 'disconnected') throw error;
        this.counts.inFlight++;
        for (let i = 0; i < count; i++) this.#maybe.set(first + i, version);
        return;
      }
      this.counts.acknowledged++;
      this.#versions.fill(version, first, first + count);
    }
  }
}
