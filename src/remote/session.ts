/**
 * A client's session on the remote machine, apart from pages: it authenticates, checks that the machine is fit to
 * store pages, holds a lease for its boot, and deletes the pages of boots of the same client that are dead: without a
 * lease.
 *
 *   frontswap:{client}:{boot}:lease            a key with a time to live: the boot is alive
 *   frontswap:{client}:{boot}:{epoch}.{chunk}  a hash of up to 1024 pages
 *
 * Invariants
 * - A machine whose maxmemory-policy is not noeviction is refused: it may evict pages that it has acknowledged.
 * - Only keys of exactly these forms are deleted, of this client and of another boot without a lease.
 * - A sweep step sends no further command after STEP_MS, and each exchange is bounded in bytes and by its deadline.
 * - After SCANS_MAX steps a scan pauses for the time of a lease, so that an endless scan costs little.
 *
 * Cost: a sweep step allocates strings; it is not on the path of a page.
 * Left out: `volatile-*` policies, which never evict pages, but may evict leases.
 *
 * Sources: Redis command reference: AUTH, INFO, SET, PEXPIRE, SCAN, EXISTS, UNLINK; "Key eviction".
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import { type Link, LinkEnd } from './link.ts';
import { type RespReader, type RespWriter, Token } from './resp.ts';

/** A connection that speaks RESP2. */
export type RespLink = Link<RespWriter, RespReader>;

export interface SessionOptions {
  /** Checked by RemotePages: 1 to 64 letters, digits, `_` and `-`. */
  readonly client: string;
  /** Checked by RemotePages: 16 hexadecimal digits. */
  readonly boot: string;
  /** Time to live of the lease, ms; it is renewed after each third of it. */
  readonly leaseMs: number;
  /** For AUTH; if absent, no AUTH is sent. */
  readonly password?: string;
  readonly user?: string;
}

const NS_PER_MS = 1_000_000;
/** Keys per SCAN requested, per SCAN accepted, and per UNLINK. */
const SCAN_COUNT = 256;
const KEYS_MAX = 4096;
const UNLINK_KEYS = 64;
/** Time limit of a sweep step; the next scan finds the keys that it did not reach. */
const STEP_MS = 500;
/** Steps of a scan before it pauses. */
const SCANS_MAX = 4096;
/** Longest part of an error reply in a message. */
const REPLY_BYTES_MAX = 80;
/** Characters escaped in error messages: a reply is bytes of an unknown encoding. */
const NOT_ASCII = /[^ -~]/g;

export class Session {
  /** Prefix of every key of this boot. */
  readonly prefix: string;
  readonly #link: RespLink;
  readonly #clock: Clock;
  readonly #options: SessionOptions;
  readonly #leaseKey: string;
  readonly #pattern: RegExp;
  #hasLease = false;
  #renewNs = 0;
  /** Cursor of the scan in progress; '' if there is none. */
  #cursor = '';
  #sweepNs = 0;
  /** Steps of the scan since its last pause. */
  #scans = 0;
  /** True if keys were left that a later scan may have to delete. */
  #isAnyLeft = false;
  #sweptKeys = 0;
  #unfit = '';

  constructor(link: RespLink, clock: Clock, options: SessionOptions) {
    const { client, boot } = options;
    this.#link = link;
    this.#clock = clock;
    this.#options = options;
    this.prefix = `frontswap:${client}:${boot}:`;
    this.#leaseKey = `${this.prefix}lease`;
    this.#pattern = new RegExp(`^frontswap:${client}:([0-9a-f]{16}):\\d{1,10}\\.\\d{1,10}$`);
  }

  /** True while the lease is held; other boots then do not delete this boot's pages. */
  get hasLease(): boolean {
    return this.#hasLease;
  }

  /** Keys of dead boots deleted so far. */
  get sweptKeys(): number {
    return this.#sweptKeys;
  }

  /** Why the machine is unfit to store pages; '' if it is fit, or was not reached. */
  get unfit(): string {
    return this.#unfit;
  }

  /** Performs the first exchanges of a new connection. Returns false if it must not be used. */
  handshake(): boolean {
    this.#unfit = '';
    this.#hasLease = false;
    if (!this.#authenticate() || !this.#checkPolicy() || !this.#takeLease()) return false;
    this.#cursor = '';
    this.#scans = 0;
    this.#sweepNs = this.#clock.nowNs();
    return true;
  }

  /** Runs a step of lease renewal and sweep. Returns true while more is due. The link must be up. */
  maintain(): boolean {
    const now = this.#clock.nowNs();
    const isDue = !this.#hasLease || now >= this.#renewNs;
    if (isDue && !this.#renewLease()) return false;
    if (now < this.#sweepNs) return false;
    return this.#sweep();
  }

  #authenticate(): boolean {
    const { user, password } = this.#options;
    if (password === undefined) return true;
    const { writer } = this.#link;
    writer.command(user === undefined ? 2 : 3);
    writer.text('AUTH');
    if (user !== undefined) writer.data(new TextEncoder().encode(user));
    writer.data(new TextEncoder().encode(password));
    return this.#reply() === Token.simple || this.#isUnfit('it rejects the password');
  }

  #checkPolicy(): boolean {
    const { writer, reader } = this.#link;
    writer.command(2);
    writer.text('INFO');
    writer.text('memory');
    const token = this.#reply();
    if (token !== Token.bulk) return this.#isUnfit(`INFO failed: ${this.#errorText(token)}`);
    const text = textAt(reader.bytes, reader.at, reader.length);
    const policy = /^maxmemory_policy:([a-z-]+)\r?$/m.exec(text)?.[1] ?? 'unknown';
    return policy === 'noeviction' || this.#isUnfit(`its maxmemory-policy is ${policy}`);
  }

  /** Acquires the lease. A full machine refuses it, but its pages can still be read. */
  #takeLease(): boolean {
    const { writer } = this.#link;
    writer.command(5);
    writer.text('SET');
    writer.text(this.#leaseKey);
    writer.text('1');
    writer.text('PX');
    writer.number(this.#options.leaseMs);
    const token = this.#reply();
    if (token === Token.incomplete) return false;
    this.#hasLease = token === Token.simple;
    this.#scheduleRenewal();
    return true;
  }

  /** A full machine accepts PEXPIRE, but not SET. */
  #renewLease(): boolean {
    if (!this.#hasLease) return this.#takeLease();
    const { writer, reader } = this.#link;
    writer.command(3);
    writer.text('PEXPIRE');
    writer.text(this.#leaseKey);
    writer.number(this.#options.leaseMs);
    const token = this.#reply();
    if (token === Token.incomplete) return false;
    if (token === Token.integer && reader.value === 1) {
      this.#scheduleRenewal();
      return true;
    }
    this.#hasLease = false;
    return this.#takeLease();
  }

  #scheduleRenewal(): void {
    this.#renewNs = this.#clock.nowNs() + (this.#options.leaseMs * NS_PER_MS) / 3;
  }

  /** Runs one step of the scan. Returns false if the scan has ended or pauses. */
  #sweep(): boolean {
    const untilNs = this.#clock.nowNs() + STEP_MS * NS_PER_MS;
    const keys = this.#scan();
    if (keys === null) return false;
    const dead = new Map<string, boolean>();
    const deletable: string[] = [];
    for (const key of keys) {
      const boot = this.#pattern.exec(key)?.[1];
      if (boot === undefined || boot === this.#options.boot) continue;
      let isDead = dead.get(boot);
      if (isDead === undefined && this.#clock.nowNs() >= untilNs) this.#isAnyLeft = true;
      else if (isDead === undefined) {
        const reply = this.#isDead(boot);
        if (reply === null) return false;
        isDead = reply;
        dead.set(boot, isDead);
        if (!isDead) this.#isAnyLeft = true;
      }
      if (isDead === true) deletable.push(key);
    }
    for (let at = 0; at < deletable.length; at += UNLINK_KEYS) {
      if (at > 0 && this.#clock.nowNs() >= untilNs) {
        this.#isAnyLeft = true;
        break;
      }
      if (!this.#unlink(deletable.slice(at, at + UNLINK_KEYS))) return false;
    }
    return this.#continuesScan();
  }

  /** Called after a step of the scan. Returns true if the next one is due immediately. */
  #continuesScan(): boolean {
    this.#scans++;
    const isOver = this.#cursor === '0';
    if (!isOver && this.#scans < SCANS_MAX) return true;
    this.#scans = 0;
    let pauseMs = this.#options.leaseMs;
    if (isOver) {
      this.#cursor = '';
      // The lease of a boot that has just died has not expired yet: scan again after it has.
      if (!this.#isAnyLeft) pauseMs = Number.POSITIVE_INFINITY;
      this.#isAnyLeft = false;
    }
    this.#sweepNs = this.#clock.nowNs() + pauseMs * NS_PER_MS;
    return false;
  }

  /** Returns the next keys of this client; null if there was no usable reply. */
  #scan(): readonly string[] | null {
    const { writer, reader } = this.#link;
    writer.command(6);
    writer.text('SCAN');
    writer.text(this.#cursor === '' ? '0' : this.#cursor);
    writer.text('MATCH');
    writer.text(`frontswap:${this.#options.client}:*`);
    writer.text('COUNT');
    writer.number(SCAN_COUNT);
    const head = this.#reply();
    if (head === Token.error) return this.#endSweep();
    if (head !== Token.array || reader.value !== 2) return this.#malformed();
    if (this.#link.token() !== Token.bulk) return this.#malformed();
    const cursor = textAt(reader.bytes, reader.at, reader.length);
    if (!/^\d{1,20}$/.test(cursor)) return this.#malformed();
    if (this.#link.token() !== Token.array || reader.value > KEYS_MAX) return this.#malformed();
    const keys: string[] = [];
    for (let left = reader.value; left > 0; left--) {
      if (this.#link.token() !== Token.bulk) return this.#malformed();
      keys.push(textAt(reader.bytes, reader.at, reader.length));
    }
    this.#cursor = cursor;
    return keys;
  }

  /** Returns whether the boot has no lease; null if there was no usable reply. */
  #isDead(boot: string): boolean | null {
    const { writer, reader } = this.#link;
    writer.command(2);
    writer.text('EXISTS');
    writer.text(`frontswap:${this.#options.client}:${boot}:lease`);
    const token = this.#reply();
    if (token === Token.error) return this.#endSweep();
    return token === Token.integer ? reader.value === 0 : this.#malformed();
  }

  #unlink(keys: readonly string[]): boolean {
    const { writer, reader } = this.#link;
    writer.command(1 + keys.length);
    writer.text('UNLINK');
    for (const key of keys) writer.text(key);
    const token = this.#reply();
    if (token === Token.error) return this.#endSweep() !== null;
    if (token !== Token.integer) return this.#malformed() !== null;
    this.#sweptKeys += reader.value;
    return true;
  }

  /** Sends the staged command and reads the first token of its reply. */
  #reply(): Token {
    return this.#link.send() ? this.#link.token() : Token.incomplete;
  }

  /** The user has no permission to scan or delete: no sweep on this connection. */
  #endSweep(): null {
    this.#cursor = '';
    this.#sweepNs = Number.POSITIVE_INFINITY;
    return null;
  }

  #malformed(): null {
    this.#link.fail(LinkEnd.malformed);
    return null;
  }

  #isUnfit(why: string): false {
    if (this.#link.isOpen) this.#unfit = why;
    return false;
  }

  #errorText(token: Token): string {
    const { reader } = this.#link;
    if (token !== Token.error) return 'no error text';
    const text = textAt(reader.bytes, reader.at, Math.min(reader.length, REPLY_BYTES_MAX));
    return printable(text, NOT_ASCII);
  }
}

/** One character per byte, for messages and regular expressions. */
function textAt(bytes: Uint8Array, at: number, length: number): string {
  assert(at + length <= bytes.length, 'the reply is inside its buffer');
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');
}
