/**
 * A naive in-memory Redis, and a connection to it with fault injection. Its clock is virtual: a wait takes no time, unless
 * a fault makes a reply late.
 */
import { SwapError } from '../../../src/base/errors.ts';
import type { OpenStream, Stream } from '../../../src/remote/ops.ts';
import { FakeClock } from './fake-clock.ts';

const bulk = (value: Buffer | string | undefined): Buffer => {
  if (value === undefined) return Buffer.from('$-1\r\n');
  const bytes = Buffer.from(value as string);
  return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]);
};
const line = (text: string): Buffer => Buffer.from(`${text}\r\n`);
const integer = (n: number): Buffer => line(`:${n}`);

/** The data and the replies of the machine. */
export class FakeRedis {
  readonly hashes: Map<string, Map<string, Buffer>> = new Map();
  /** Expiry by key, ms. */
  readonly strings: Map<string, number> = new Map();
  policy = 'noeviction';
  password = '';
  isFull = false;
  /** Reply to every HSET; '': a normal reply. */
  putError = '';
  /** Command that is answered with an error; '': none. */
  forbids = '';
  forbidsText = 'NOPERM this user has no permissions';
  readonly #clock: FakeClock;
  /** True: every SCAN step returns all keys, and the scan never ends. */
  scansForever = false;
  /** Keys of the scan in progress. */
  #scanned: string[] = [];

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  get pages(): number {
    return [...this.hashes.values()].reduce((sum, hash) => sum + hash.size, 0);
  }

  /** Loses all data, as a restart without persistence does. */
  lose(): void {
    this.hashes.clear();
    this.strings.clear();
  }

  run(words: readonly Buffer[]): Buffer {
    const [name, key = '', ...rest] = words.map((word) => word.toString('latin1'));
    if (name === this.forbids) return Buffer.from(`-${this.forbidsText}\r\n`, 'latin1');
    switch (name) {
      case 'AUTH':
        return [key, ...rest].at(-1) === this.password ? line('+OK') : line('-WRONGPASS no');
      case 'INFO':
        return bulk(`# Memory\r\nused_memory:1\r\nmaxmemory_policy:${this.policy}\r\n`);
      case 'SET':
        if (this.isFull) return line("-OOM command not allowed when used memory > 'maxmemory'.");
        this.strings.set(key, this.#clock.ms + Number(rest[2]));
        return line('+OK');
      case 'PEXPIRE':
        if (!this.#isAlive(key)) return integer(0);
        this.strings.set(key, this.#clock.ms + Number(rest[0]));
        return integer(1);
      case 'EXISTS':
        return integer(this.#isAlive(key) ? 1 : 0);
      case 'SCAN':
        return this.#scan(Number(key), rest[1] ?? '');
      case 'UNLINK':
        return integer([key, ...rest].filter((k) => this.hashes.delete(k)).length);
      case 'HSET':
        return this.#hset(key, rest[0] ?? '', words[3]!);
      case 'HGET':
        return bulk(this.hashes.get(key)?.get(rest[0] ?? ''));
      case 'HDEL':
        return this.#hdel(key, rest[0] ?? '');
      default:
        return line(`-ERR unknown command '${name}'`);
    }
  }

  #isAlive(key: string): boolean {
    return (this.strings.get(key) ?? 0) > this.#clock.ms;
  }

  #hset(key: string, field: string, value: Buffer): Buffer {
    if (this.isFull) return line("-OOM command not allowed when used memory > 'maxmemory'.");
    if (this.putError !== '') return line(this.putError);
    const hash = this.hashes.get(key) ?? new Map<string, Buffer>();
    this.hashes.set(key, hash);
    const isNew = !hash.has(field);
    hash.set(field, Buffer.from(value));
    return integer(isNew ? 1 : 0);
  }

  #hdel(key: string, field: string): Buffer {
    const hash = this.hashes.get(key);
    const isThere = hash?.delete(field) ?? false;
    if (hash?.size === 0) this.hashes.delete(key);
    return integer(isThere ? 1 : 0);
  }

  /** Returns three keys per step. */
  #scan(cursor: number, pattern: string): Buffer {
    if (cursor === 0) this.#scanned = [...this.hashes.keys(), ...this.strings.keys()];
    const keys = this.#scanned;
    const most = this.scansForever ? keys.length : 3;
    const part = keys.slice(cursor, cursor + most);
    const found = part.filter((k) => k.startsWith(pattern.slice(0, -1)));
    const isOver = cursor + most >= keys.length && !this.scansForever;
    const next = isOver ? '0' : String(cursor + most);
    return Buffer.concat([line('*2'), bulk(next), line(`*${found.length}`), ...found.map(bulk)]);
  }
}

export type Fault =
  | 'none'
  /** The first send finds the connection closed; nothing arrives. */
  | 'gone'
  /** Commands arrive, the client receives `keepBytes` of the replies, then the connection closes. */
  | 'cut'
  /** As `cut`, but the rest of the replies is late. */
  | 'late'
  /** Commands stay in flight until release(); the replies are late. */
  | 'stuck'
  /** Replies arrive `dripBytes` at a time, each part after `dripMs`. */
  | 'drip'
  /** Replies are not RESP. */
  | 'garbage'
  /** A system call fails. */
  | 'broken';

export class FakePeer {
  readonly clock: FakeClock = new FakeClock(1e9);
  readonly redis: FakeRedis = new FakeRedis(this.clock);
  /** Connections are refused. */
  isDown = false;
  fault: Fault = 'none';
  keepBytes = 0;
  dripBytes = 1;
  dripMs = 0;
  /** Commands in flight on a connection that the client has closed. */
  readonly inFlight: Buffer[][] = [];
  connects = 0;
  /** A new connection clears the fault. */
  healsOnConnect = false;
  /** By name: commands sent, and commands whose complete reply was received. */
  readonly sent: Map<string, number> = new Map();
  readonly answered: Map<string, number> = new Map();
  /** Bytes in front of the next reply. */
  unasked = '';

  readonly open: OpenStream = (memory) => {
    this.connects++;
    if (this.healsOnConnect) this.fault = 'none';
    if (this.isDown)
      throw new SwapError('ERR_IO_SYSTEM', 'connect: ECONNREFUSED', { errno: 'ECONNREFUSED' });
    return new FakeStream(this, memory);
  };

  /** The commands in flight arrive: late, from a closed connection. */
  release(): void {
    for (const words of this.inFlight.splice(0)) this.redis.run(words);
  }
}

const count = (map: Map<string, number>, name: string): void => {
  map.set(name, (map.get(name) ?? 0) + 1);
};

/** Parses complete commands. */
function commandsOf(bytes: Buffer): Buffer[][] {
  const commands: Buffer[][] = [];
  let at = 0;
  const number = (): number => {
    const end = bytes.indexOf('\r\n', at);
    const n = Number(bytes.toString('latin1', at + 1, end));
    at = end + 2;
    return n;
  };
  while (at < bytes.length) {
    const words: Buffer[] = [];
    for (let left = number(); left > 0; left--) {
      const length = number();
      words.push(Buffer.from(bytes.subarray(at, at + length)));
      at += length + 2;
    }
    commands.push(words);
  }
  return commands;
}

class FakeStream implements Stream {
  readonly #peer: FakePeer;
  readonly #memory: Uint8Array;
  /** Replies not yet received, with the names of their commands. */
  #replies: { name: string; bytes: Buffer }[] = [];

  constructor(peer: FakePeer, memory: Uint8Array) {
    this.#peer = peer;
    this.#memory = memory;
  }

  send(at: number, length: number, _timeoutMs: number): number {
    const peer = this.#peer;
    const commands = commandsOf(Buffer.from(this.#memory.subarray(at, at + length)));
    for (const [name] of commands) count(peer.sent, name!.toString());
    if (peer.fault === 'gone') return 0;
    if (peer.fault === 'broken') throw new SwapError('ERR_IO_SYSTEM', 'send: EIO', {});
    if (peer.fault === 'stuck') {
      peer.inFlight.push(...commands);
      return length;
    }
    for (const words of commands) {
      const bytes = Buffer.concat([Buffer.from(peer.unasked), peer.redis.run(words)]);
      peer.unasked = '';
      this.#replies.push({ name: words[0]!.toString(), bytes });
    }
    return length;
  }

  receive(at: number, length: number, timeoutMs: number): number {
    const peer = this.#peer;
    const { fault } = peer;
    if (fault === 'stuck') return this.#late(timeoutMs);
    if (fault === 'garbage') {
      this.#memory.set(Buffer.from('?\r\n'), at);
      return 3;
    }
    let most = length;
    if (fault === 'drip') {
      if (peer.dripMs >= timeoutMs) return this.#late(timeoutMs);
      peer.clock.ms += peer.dripMs;
      most = Math.min(length, peer.dripBytes);
    }
    if (fault === 'cut' || fault === 'late') {
      most = Math.min(length, peer.keepBytes);
      if (most === 0) return fault === 'cut' ? 0 : this.#late(timeoutMs);
    }
    const got = this.#take(at, most);
    if (fault === 'cut' || fault === 'late') peer.keepBytes -= got;
    return got === 0 ? this.#late(timeoutMs) : got;
  }

  [Symbol.dispose](): void {
    this.#replies = [];
  }

  #late(timeoutMs: number): number {
    this.#peer.clock.ms += timeoutMs;
    return -1;
  }

  #take(at: number, most: number): number {
    let got = 0;
    while (got < most && this.#replies.length > 0) {
      const reply = this.#replies[0]!;
      const n = Math.min(most - got, reply.bytes.length);
      this.#memory.set(reply.bytes.subarray(0, n), at + got);
      got += n;
      reply.bytes = reply.bytes.subarray(n);
      if (reply.bytes.length > 0) break;
      count(this.#peer.answered, reply.name);
      this.#replies.shift();
    }
    return got;
  }
}
