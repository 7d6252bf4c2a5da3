/** Drives a session without a socket: passes input in pieces, collects the output, keeps the carry. */
import assert from 'node:assert/strict';
import { BioPool } from '../../../src/block/bio.ts';
import { delayDisk } from '../../../src/block/filters/delay-disk.ts';
import type { Disk } from '../../../src/block/ops.ts';
import type { NbdExport } from '../../../src/nbd/protocol/exports.ts';
import { Output } from '../../../src/nbd/protocol/output.ts';
import { CARRY_BYTES_MAX, OUTPUT_BYTES_MIN, Session } from '../../../src/nbd/protocol/session.ts';
import { COUNTER_COUNT, SessionEnd, SessionStop } from '../../../src/nbd/protocol/state.ts';
import { Option } from '../../../src/nbd/protocol/wire.ts';
import { clientFlags, infoData, join, joinAll, metaData, option } from './client.ts';

export interface HarnessOptions {
  readonly outputBytes?: number;
  readonly bioCount?: number;
  /** An output shared with other sessions, instead of the two options above. */
  readonly output?: Output;
}

export class Harness {
  readonly session: Session;
  readonly counters: Float64Array = new Float64Array(COUNTER_COUNT);
  /** Number of calls of receive(). */
  callCount = 0;
  /** Number of those that returned SessionStop.disk. */
  diskWaits = 0;
  readonly #out: Output;
  #carry: Uint8Array = new Uint8Array(0);

  constructor(exports: ReadonlyMap<string, NbdExport>, options: HarnessOptions = {}) {
    this.session = new Session(exports, this.counters);
    const bytes = new Uint8Array(options.outputBytes ?? OUTPUT_BYTES_MIN);
    const pool = new BioPool(options.bioCount ?? 64);
    this.#out = options.output ?? new Output(bytes, { synchronous: pool, asynchronous: pool });
  }

  open(): Uint8Array {
    this.session.open(this.#out);
    return this.#taken();
  }

  /**
   * Passes `bytes` in one piece. Returns the output. Bytes after the end of the session are dropped, as by a socket.
   */
  feed(bytes: Uint8Array): Uint8Array {
    if (this.session.end !== SessionEnd.none) return new Uint8Array(0);
    let all = join(this.#carry, bytes);
    let input = { bytes: all, view: new DataView(all.buffer) };
    const said: Uint8Array[] = [];
    let at = 0;
    const callsMax = this.callCount + 100_000;
    for (;;) {
      assert.ok(this.callCount++ < callsMax, 'a session makes progress');
      const next = this.session.receive(input, at, all.length, this.#out);
      assert.ok(next >= at && next <= all.length, 'a session consumes existing bytes');
      at = next;
      if (this.session.stop === SessionStop.disk) {
        // Between calls the input is reused, and the output must not be touched.
        this.diskWaits++;
        const rest = all.slice(at);
        all.fill(0xee);
        all = rest;
        input = { bytes: all, view: new DataView(all.buffer) };
        at = 0;
        continue;
      }
      said.push(this.#taken());
      if (this.session.stop !== SessionStop.output) break;
    }
    this.#carry = all.slice(at);
    if (this.session.stop === SessionStop.input)
      assert.ok(this.#carry.length <= CARRY_BYTES_MAX, 'the carry fits CARRY_BYTES_MAX');
    return joinAll(said);
  }

  /** Passes `bytes` in pieces of these sizes, repeatedly. */
  feedInPieces(bytes: Uint8Array, sizes: readonly number[]): Uint8Array {
    const said: Uint8Array[] = [];
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const size = Math.max(1, sizes[i % sizes.length] ?? 1);
      said.push(this.feed(bytes.subarray(at, at + size)));
      at += size;
    }
    return joinAll(said);
  }

  #taken(): Uint8Array {
    const said = this.#out.bytes.slice(0, this.#out.length);
    this.#out.clear();
    return said;
  }
}

const exportsOf = (disk: Disk): Map<string, NbdExport> =>
  new Map([['disk', { name: 'disk', description: 'a disk', disk }]]);

/** A session in the transmission phase. */
export function transmitting(
  disk: Disk,
  options: HarnessOptions & { readonly structured?: boolean } = {},
): Harness {
  const harness = new Harness(exportsOf(disk), options);
  harness.open();
  harness.feed(clientFlags());
  if (options.structured === true) {
    harness.feed(option(Option.structuredReply));
    harness.feed(option(Option.setMetaContext, metaData('disk', ['base:allocation'])));
  }
  harness.feed(option(Option.go, infoData('disk')));
  assert.ok(harness.session.export !== null, 'the handshake succeeded');
  return harness;
}

/** An asynchronous disk that needs `ticks` ticks per bio, one bio at a time. */
export function slowed(next: Disk, ticks = 3): Disk {
  let now = 0;
  const clock = { nowNs: (): number => now++ };
  return delayDisk(next, clock, { readNs: ticks, writeNs: ticks, flushNs: ticks, byteNs: 0 });
}
