/**
 * The tmem socket of a host next to redis-server, over Unix sockets, from one client that blocks in its calls: one
 * request at a time, and 32 pages in flight. Both clients are this project's own (remote/link.ts), and both poll before they
 * sleep, so that the difference is that of servers and protocols. Wall time, because a round trip is mostly waiting. The contenders alternate in each round.
 */
import { randomBytes } from 'node:crypto';
import { askTmemSet } from '../src/host/tmem-client.ts';
import { Link } from '../src/remote/link.ts';
import type { OpenStream } from '../src/remote/ops.ts';
import { RespReader, RespWriter, Token } from '../src/remote/resp.ts';
import { BlockingPool } from '../src/tmem/protocol/blocking.ts';
import { ReplyReader, RequestWriter } from '../src/tmem/protocol/requests.ts';
import { Op, REPLY_BYTES_MAX, REQUEST_BYTES_MAX } from '../src/tmem/protocol/wire.ts';
import { TmemGetResult } from '../src/tmem/results.ts';
import { OwnHost } from '../test/support/fixtures/own-host.ts';
import { have, TemporaryFolder } from '../test/support/fixtures/processes.ts';
import { Redis, WallClock, way } from '../test/support/fixtures/redis.ts';
import {
  type BenchOptions,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import { loadPages } from './pages.ts';

const PAGES = 2048;
const SINGLE = 1500;
const BATCH = 32;
const PAGE = 4096;

/** What a contender does with page `i`; batches are pages i .. i + 31. All check their replies. */
interface Contender {
  put(i: number): void;
  get(i: number): void;
  flush(i: number): void;
  putBatch(i: number): void;
  getBatch(i: number): void;
  flushBatch(i: number): void;
}

const check = (holds: boolean): void => {
  if (!holds) throw new Error('an unexpected reply');
};

const linkOf = <W extends RespWriter | RequestWriter, R extends RespReader | ReplyReader>(
  open: OpenStream,
  make: (memory: Uint8Array, end: number) => { writer: W; reader: R },
  handshake: (link: Link<W, R>) => boolean,
): Link<W, R> => {
  const sendBytes = 2 * REQUEST_BYTES_MAX;
  const memory = new Uint8Array(sendBytes + 2 * REPLY_BYTES_MAX);
  const windows = { sendAt: 0, sendBytes, receiveAt: sendBytes, receiveBytes: 2 * REPLY_BYTES_MAX };
  const times = { deadlineMs: 5000, pauseMs: 1, pauseMsMax: 1 };
  const parts = { ...make(memory, sendBytes), memory, windows, open, clock: new WallClock() };
  const link: Link<W, R> = new Link({ ...parts, ...times, handshake: () => handshake(link) });
  return link;
};

/** Commands of Redis with keys of 28 bytes, as those of tmem. */
function redisContender(open: OpenStream, pages: Uint8Array): Contender {
  const link = linkOf(
    open,
    (memory, end) => ({
      writer: new RespWriter(memory, 0, end),
      reader: new RespReader(memory, 2 * REPLY_BYTES_MAX),
    }),
    () => true,
  );
  check(link.ready());
  const { writer, reader } = link;
  const keys = Array.from({ length: PAGES }, (_, i) => {
    const key = new Uint8Array(28).fill(7);
    new DataView(key.buffer).setUint32(24, i);
    return key;
  });
  const views = Array.from({ length: PAGES }, (_, i) => pages.subarray(i * PAGE, i * PAGE + PAGE));
  const into = new Uint8Array(PAGE);
  const stage = (name: string, i: number, isPut = false): void => {
    writer.command(isPut ? 3 : 2);
    writer.text(name);
    writer.data(keys[i]!);
    if (isPut) writer.data(views[i]!);
  };
  const each = (first: number, count: number, name: string, token: Token): void => {
    for (let i = first; i < first + count; i++) stage(name, i, name === 'SET');
    check(link.send());
    for (let i = 0; i < count; i++) {
      check(link.token() === token);
      if (token === Token.bulk) into.set(reader.bytes.subarray(reader.at, reader.at + PAGE));
    }
  };
  return {
    put: (i) => each(i, 1, 'SET', Token.simple),
    get: (i) => each(i, 1, 'GET', Token.bulk),
    flush: (i) => each(i, 1, 'DEL', Token.integer),
    putBatch: (i) => each(i, BATCH, 'SET', Token.simple),
    getBatch: (i) => each(i, BATCH, 'GET', Token.bulk),
    flushBatch: (i) => each(i, BATCH, 'DEL', Token.integer),
  };
}

/** Requests of one page each, up to 32 of them sent together. */
function pipelined(open: OpenStream, pages: Uint8Array): Contender {
  let pool = -1;
  let id = 0;
  const link = linkOf(
    open,
    (memory, end) => ({
      writer: new RequestWriter(memory, 0, end),
      reader: new ReplyReader(memory),
    }),
    ({ writer, reader }) => {
      writer.hello();
      check(link.send() && link.token() === 2);
      writer.newPool(++id, 1, 0, '');
      check(link.send() && link.token() === 3);
      pool = reader.value;
      return pool >= 0;
    },
  );
  check(link.ready());
  const { writer, reader } = link;
  const oid = new Uint32Array(6);
  const into = new Uint8Array(PAGE);
  const each = (first: number, count: number, op: Op): void => {
    const before = id;
    for (let i = first; i < first + count; i++) {
      writer.head(op, pool, 1, ++id);
      writer.oid(oid, 0);
      writer.index(i);
      if (op === Op.put) writer.page(pages, i * PAGE);
    }
    check(link.send());
    for (let i = 0; i < count; i++) {
      check(link.token() === 3 && reader.id === before + 1 + i && reader.value === 1);
      if (op === Op.get) into.set(reader.bytes.subarray(reader.pagesAt, reader.pagesAt + PAGE));
    }
  };
  return {
    put: (i) => each(i, 1, Op.put),
    get: (i) => each(i, 1, Op.get),
    flush: (i) => each(i, 1, Op.flushPage),
    putBatch: (i) => each(i, BATCH, Op.put),
    getBatch: (i) => each(i, BATCH, Op.get),
    flushBatch: (i) => each(i, BATCH, Op.flushPage),
  };
}

/** BlockingPool; batches are vectored requests. */
function vectored(open: OpenStream, pages: Uint8Array): Contender {
  const uuid = randomBytes(16).toString('hex');
  const pool = new BlockingPool({ open, clock: new WallClock(), uuid, deadlineMs: 5000 });
  pool.start();
  const oid = new Uint32Array(6);
  const into = new Uint8Array(BATCH * PAGE);
  const results = new Uint8Array(BATCH);
  const keys = Array.from({ length: PAGES / BATCH }, (_, batch) => {
    const words = new Uint32Array(BATCH * 7);
    for (let i = 0; i < BATCH; i++) words[i * 7 + 6] = batch * BATCH + i;
    return words;
  });
  return {
    put: (i) => check(pool.put(oid, i, pages, i * PAGE) === 0),
    get: (i) => check(pool.get(oid, i, into, 0) === TmemGetResult.found),
    flush: (i) => check(pool.flushPage(oid, i) === 0),
    putBatch: (i) =>
      check(pool.putMany(keys[i / BATCH]!, BATCH, pages, i * PAGE, results) === BATCH),
    getBatch: (i) => check(pool.getMany(keys[i / BATCH]!, BATCH, into, 0, results) === BATCH),
    flushBatch: (i) => check(pool.flushMany(keys[i / BATCH]!, BATCH, results) === BATCH),
  };
}

/** p50 of single calls in us, and pages per millisecond of batches. */
function measure(contender: Contender): number[] {
  const p50 = (work: (i: number) => void): number => {
    const samples: number[] = [];
    for (let n = 0; n < SINGLE; n++) {
      const i = (n * 7919) % PAGES;
      const before = process.hrtime.bigint();
      work(i);
      samples.push(Number(process.hrtime.bigint() - before) / 1000);
    }
    return median(samples);
  };
  const rate = (work: (i: number) => void): number => {
    const start = performance.now();
    for (let i = 0; i < PAGES; i += BATCH) work(i);
    return PAGES / (performance.now() - start);
  };
  const puts = rate((i) => contender.putBatch(i));
  const gets = rate((i) => contender.getBatch(i));
  const single = [p50((i) => contender.put(i)), p50((i) => contender.get(i))];
  const flush = p50((i) => contender.flush(i));
  rate((i) => contender.putBatch(i));
  return [...single, flush, puts, gets, rate((i) => contender.flushBatch(i))];
}

export async function tmemSocket(options: BenchOptions): Promise<readonly Table[]> {
  const title = 'tmem-socket: a page of the tmem socket and of redis-server';
  if (!have('redis-server'))
    return [{ title, columns: ['', ''], rows: [], notes: ['redis-server is not installed.'] }];
  const { bytes } = await loadPages(options.corpus);
  const pages = new Uint8Array(PAGES * PAGE);
  for (let at = 0; at < pages.length; at += PAGE)
    pages.set(
      bytes.subarray((at % bytes.length) & ~4095, ((at % bytes.length) & ~4095) + PAGE),
      at,
    );
  await using redis = await Redis.start();
  using folder = new TemporaryFolder();
  const socket = folder.file('tmem.sock');
  const control = folder.file('control.sock');
  await using _host = await OwnHost.start({
    disks: ['swap0=1M'],
    controlPath: control,
    arguments: ['--tmem', socket, '--tmem-limit', '256M'],
  });
  const uid = process.geteuid?.() ?? 0;
  const toHost = way({ path: socket });
  const contenders: Record<string, Contender> = {
    'redis-server, pipelined': redisContender(way(redis.unix), pages),
    'tmem socket, pipelined': pipelined(toHost, pages),
    'tmem socket, vectored': vectored(toHost, pages),
  };
  const names = [...Object.keys(contenders), 'tmem socket, vectored, compress=off'];
  const figures = new Map<string, number[][]>(names.map((name) => [name, []]));
  for (let round = 0; round < options.rounds + 1; round++)
    for (const name of names) {
      const isRaw = name.endsWith('=off');
      await askTmemSet(control, uid, { compress: isRaw ? 'off' : 'on' });
      const taken = measure(contenders[isRaw ? 'tmem socket, vectored' : name]!);
      if (round > 0) figures.get(name)!.push(taken);
    }
  const of = (name: string, figure: number): number[] =>
    figures.get(name)!.map((row) => row[figure]!);
  const base = names[0]!;
  const table = (what: string, first: number, isRate: boolean): Table => ({
    title: `${title}: ${what}`,
    columns: ['', 'put', 'median x', 'get', 'median x', 'flush', 'median x'],
    rows: names.map((name) => [
      name,
      ...[0, 1, 2].flatMap((at) => {
        const [own, theirs] = [of(name, first + at), of(base, first + at)];
        return [median(own), isRate ? medianRatio(own, theirs) : medianRatio(theirs, own)];
      }),
    ]),
    notes: [
      `${ofRounds(options.rounds, 'interleaved')}; more than 1 in "median x" is faster than redis-server. ${medianRatioNote(base)}`,
    ],
  });
  return [
    table('one request at a time, p50 us', 0, false),
    table('32 pages in flight, pages per ms', 3, true),
  ];
}
