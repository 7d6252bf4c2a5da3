/**
 * What a client of the other machine does besides pages: it says who it is, looks whether the machine is one to keep
 * pages, holds a lease on its boot, and clears away what boots of the same client left that hold none any more.
 *
 *   frontswap:{client}:{boot}:lease            there while the boot lives: a key with a time to live
 *   frontswap:{client}:{boot}:{epoch}.{chunk}  a hash of up to 1024 pages
 *
 * Invariants
 * - A machine whose maxmemory-policy is not noeviction is refused: it would drop pages that it has acknowledged.
 * - Only keys of exactly these forms, of this client, of another boot, without a lease, are ever given up.
 * - A step asks for no more once STEP_MS have passed, and each of its exchanges is bounded in bytes and by the deadline.
 * - A scan pauses for a lease after SCANS_MAX steps, so that one which never ends costs little.
 *
 * Cost: a step of the clean-up makes strings; it is no page's path.
 * Left out: `volatile-*` policies, which would spare pages but not leases.
 *
 * Sources: Redis command reference: AUTH, INFO, SET, PEXPIRE, SCAN, EXISTS, UNLINK; "Key eviction".
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { type Link, LinkEnd } from './link.ts';
import { Token } from './resp.ts';

export interface SessionOptions {
  /** Name of this client on the other machine: 1 to 64 letters, digits, `_` and `-`. One living daemon has it. */
  readonly client: string;
  /** Number of this boot, 16 hexadecimal digits, new each time: random. */
  readonly boot: string;
  /** How long the boot's pages outlive its last sign of life, ms. */
  readonly leaseMs: number;
  /** For AUTH; none: the machine asks for none. */
  readonly password?: string;
  readonly user?: string;
}

const NS_A_MS = 1_000_000;
const SCAN_COUNT = 256;
const KEYS_MAX = 4096;
const UNLINK_KEYS = 64;
/** What a step does not get done in this time is left for the next scan. */
const STEP_MS = 500;
const SCANS_MAX = 4096;
/** Of what the machine says, in a message. */
const SAID_BYTES_MAX = 80;

export class Session {
  /** Before every key of this boot. */
  readonly prefix: string;
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #options: SessionOptions;
  readonly #leaseKey: string;
  readonly #pattern: RegExp;
  #hasLease = false;
  #renewNs = 0;
  /** Cursor of the scan under way; '' when there is none. */
  #cursor = '';
  #sweepNs = 0;
  /** Steps of the scan since its last pause. */
  #scans = 0;
  /** Keys were left that a later scan may have to give up. */
  #isAnyLeft = false;
  #sweptKeys = 0;
  #unfit = '';

  constructor(link: Link, clock: Clock, options: SessionOptions) {
    const { client, boot } = options;
    this.#link = link;
    this.#clock = clock;
    this.#options = options;
    this.prefix = `frontswap:${client}:${boot}:`;
    this.#leaseKey = `${this.prefix}lease`;
    this.#pattern = new RegExp(`^frontswap:${client}:([0-9a-f]{16}):\\d{1,10}\\.\\d{1,10}$`);
  }

  /** The boot's lease is there: its pages are not cleared away by another boot. */
  get hasLease(): boolean {
    return this.#hasLease;
  }

  /** Keys of older boots given up so far. */
  get sweptKeys(): number {
    return this.#sweptKeys;
  }

  /** Why the machine is not one to keep pages; '' when it is, or was not reached. */
  get unfit(): string {
    return this.#unfit;
  }

  /** The first exchanges on a new connection; false when it is not to be used. */
  greet(): boolean {
    this.#unfit = '';
    this.#hasLease = false;
    if (!this.#authenticate() || !this.#checkPolicy() || !this.#takeLease()) return false;
    this.#cursor = '';
    this.#scans = 0;
    this.#sweepNs = this.#clock.nowNs();
    return true;
  }

  /** Lease and clean-up, a step of what is due; true while there is more. The link is up. */
  tend(): boolean {
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
    return this.#reply() === Token.simple || this.#isUnfit('it does not take the password');
  }

  #checkPolicy(): boolean {
    const { writer, reader } = this.#link;
    writer.command(2);
    writer.text('INFO');
    writer.text('memory');
    const token = this.#reply();
    if (token !== Token.bulk) return this.#isUnfit(`it does not answer INFO: ${this.#line(token)}`);
    const text = textAt(reader.bytes, reader.at, reader.length);
    const policy = /^maxmemory_policy:([a-z-]+)\r?$/m.exec(text)?.[1] ?? 'unknown';
    return policy === 'noeviction' || this.#isUnfit(`its maxmemory-policy is ${policy}`);
  }

  /** Sets the lease. A machine that is full refuses it and is used all the same: for the pages that are there. */
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
    this.#leaseFor();
    return true;
  }

  /** PEXPIRE is allowed on a full machine, SET is not. */
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
      this.#leaseFor();
      return true;
    }
    this.#hasLease = false;
    return this.#takeLease();
  }

  #leaseFor(): void {
    this.#renewNs = this.#clock.nowNs() + (this.#options.leaseMs * NS_A_MS) / 3;
  }

  /** One step of the scan; false when it is over for now. */
  #sweep(): boolean {
    const untilNs = this.#clock.nowNs() + STEP_MS * NS_A_MS;
    const keys = this.#scan();
    if (keys === null) return false;
    const dead = new Map<string, boolean>();
    const doomed: string[] = [];
    for (const key of keys) {
      const boot = this.#pattern.exec(key)?.[1];
      if (boot === undefined || boot === this.#options.boot) continue;
      let isDead = dead.get(boot);
      if (isDead === undefined && this.#clock.nowNs() >= untilNs) this.#isAnyLeft = true;
      else if (isDead === undefined) {
        const answer = this.#isDead(boot);
        if (answer === null) return false;
        isDead = answer;
        dead.set(boot, isDead);
        if (!isDead) this.#isAnyLeft = true;
      }
      if (isDead === true) doomed.push(key);
    }
    for (let at = 0; at < doomed.length; at += UNLINK_KEYS) {
      if (at > 0 && this.#clock.nowNs() >= untilNs) {
        this.#isAnyLeft = true;
        break;
      }
      if (!this.#unlink(doomed.slice(at, at + UNLINK_KEYS))) return false;
    }
    return this.#isScanOn();
  }

  /** After a step of the scan: true while the next one is due at once. */
  #isScanOn(): boolean {
    this.#scans++;
    const isOver = this.#cursor === '0';
    if (!isOver && this.#scans < SCANS_MAX) return true;
    this.#scans = 0;
    let pauseMs = this.#options.leaseMs;
    if (isOver) {
      this.#cursor = '';
      // A boot that died just now has its lease for a while yet: then once more.
      if (!this.#isAnyLeft) pauseMs = Number.POSITIVE_INFINITY;
      this.#isAnyLeft = false;
    }
    this.#sweepNs = this.#clock.nowNs() + pauseMs * NS_A_MS;
    return false;
  }

  /** The next keys of this client; null when there was no answer to use. */
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

  /** Sends the one command and reads the first token of its reply. */
  #reply(): Token {
    return this.#link.send() ? this.#link.token() : Token.incomplete;
  }

  /** The machine does not let this user look or clear away: nothing is, on this connection. */
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

  #line(token: Token): string {
    const { reader } = this.#link;
    if (token !== Token.error) return 'no text';
    return printable(textAt(reader.bytes, reader.at, Math.min(reader.length, SAID_BYTES_MAX)));
  }
}

/** For a person or a regular expression: a byte a character. */
function textAt(bytes: Uint8Array, at: number, length: number): string {
  assert(at + length <= bytes.length, 'a reply lies in its buffer');
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');
}

/** Bytes that a terminal might obey, spelt out. */
function printable(text: string): string {
  return text.replace(
    /[^ -~]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
