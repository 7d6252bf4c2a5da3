/**
 * Misbehaving clients over real sockets: the host keeps running and serves other clients, and only written bytes
 * change.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { residentBytes } from '../support/fixtures/process-sample.ts';
import { command, goOption, RawClient, requestBytes } from '../support/fixtures/raw-client.ts';
import { until } from '../support/fixtures/until.ts';

const mib = 2 ** 20;
const page = 4096;
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const limits = { timeout: 60_000 };

/** A well-behaved client with known data on the disk, checked after each violation. */
class Witness implements Disposable {
  readonly #client: RawClient;
  readonly #data: Buffer = Buffer.alloc(64 * page);

  private constructor(client: RawClient) {
    this.#client = client;
    new Prng(11).fill(this.#data);
  }

  static async on(host: OwnHost): Promise<Witness> {
    const witness = new Witness(await RawClient.open(host.socketPath, 'swap0'));
    assert.equal(await witness.#client.write(mib, witness.#data), 0);
    return witness;
  }

  async check(host: OwnHost): Promise<void> {
    assert(host.isRunning, `the host is running\n${host.log}`);
    const back = await this.#client.pread(mib, this.#data.length);
    assert(back.equals(this.#data), 'the data of the well-behaved client is unchanged');
    using newcomer = await RawClient.open(host.socketPath, 'swap0');
    assert(
      (await newcomer.pread(mib, page)).equals(this.#data.subarray(0, page)),
      'a new client reads the same data',
    );
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

test('a garbage handshake ends only its own connection', limits, async () => {
  await using host = await OwnHost.start();
  using witness = await Witness.on(host);
  const prng = new Prng(seed);
  for (let turn = 0; turn < 30; turn++) {
    using peer = await RawClient.connect(host.socketPath);
    const bytes = new Uint8Array(1 + prng.below(65_536));
    prng.fill(bytes);
    if (turn % 2 === 1) bytes.set(Buffer.concat([Buffer.from([0, 0, 0, 3]), goOption('swap0')]));
    peer.socket.write(bytes);
    await sleep(5);
    if (turn % 10 === 9) await witness.check(host);
  }
  await witness.check(host);
});

test('a garbage request ends only its own connection', limits, async () => {
  await using host = await OwnHost.start();
  using witness = await Witness.on(host);
  const prng = new Prng(seed);
  for (let turn = 0; turn < 30; turn++) {
    using peer = await RawClient.open(host.socketPath, 'swap0');
    const bytes = new Uint8Array(28 + prng.below(4096));
    prng.fill(bytes);
    bytes[0] = 0; // not the request magic, so that no write is sent by chance
    peer.socket.write(bytes);
    await peer.ended();
  }
  await witness.check(host);
});

test('a write length of 4 GiB - 1 is refused before its data', limits, async () => {
  await using host = await OwnHost.start();
  using witness = await Witness.on(host);
  const before = residentBytes(host.pid);
  using peer = await RawClient.open(host.socketPath, 'swap0');
  peer.socket.write(requestBytes(command.write, mib, 0xffff_ffff));
  for (let sent = 0; sent < 64 && peer.isOpen; sent++) {
    peer.socket.write(Buffer.alloc(mib, 0xee));
    await sleep(1);
  }
  await witness.check(host);
  assert(residentBytes(host.pid) - before < 48 * mib, 'its data is not buffered');
});

test(
  'a connection that breaks during a write leaves complete pages, old or new',
  limits,
  async () => {
    await using host = await OwnHost.start();
    using witness = await Witness.on(host);
    using reader = await RawClient.open(host.socketPath, 'swap0');
    const old = Buffer.alloc(mib, 0x11);
    const offset = 8 * mib;
    for (const sent of [0, 1, 100, page - 1, page, page + 1, 300_001, mib - 1]) {
      assert.equal(await reader.write(offset, old), 0);
      const peer = await RawClient.open(host.socketPath, 'swap0');
      peer.socket.write(requestBytes(command.write, offset, mib));
      await new Promise<void>((done) => peer.socket.write(Buffer.alloc(sent, 0x22), () => done()));
      peer.socket.destroy();
      await sleep(30);
      const now = await reader.pread(offset - page, mib + 2 * page);
      assert(
        now.subarray(0, page).every((b) => b === 0) && now.subarray(-page).every((b) => b === 0),
      );
      for (let at = 0; at < mib; at += page) {
        const got = now.subarray(page + at, 2 * page + at);
        const isNew = got[0] === 0x22;
        assert(
          got.every((b) => b === (isNew ? 0x22 : 0x11)),
          `page at ${at} is complete, ${sent} bytes sent`,
        );
        assert(!isNew || at + page <= sent, 'a page is new only if all its bytes were sent');
      }
    }
    await witness.check(host);
  },
);

test(
  'a client that never reads its replies uses little memory and does not block others',
  limits,
  async () => {
    await using host = await OwnHost.start();
    using witness = await Witness.on(host);
    await witness.check(host);
    const before = residentBytes(host.pid);
    const peers: RawClient[] = [];
    for (let i = 0; i < 8; i++) {
      const peer = await RawClient.open(host.socketPath, 'swap0');
      peer.socket.pause();
      for (let n = 0; n < 1_000; n++) peer.socket.write(requestBytes(command.read, mib, mib));
      peers.push(peer);
    }
    for (let turn = 0; turn < 20; turn++) {
      await witness.check(host);
      await sleep(20);
    }
    const grown = residentBytes(host.pid) - before;
    assert(grown < 64 * mib, `8 GiB requested and not read: grown by ${grown} bytes`);
    for (const peer of peers) peer[Symbol.dispose]();
    await witness.check(host);
  },
);

test('a handshake and a request sent byte by byte are served', limits, async () => {
  await using host = await OwnHost.start();
  using witness = await Witness.on(host);
  using peer = await RawClient.connect(host.socketPath);
  await peer.read(18);
  peer.socket.setNoDelay(true);
  const wholeTalk = Buffer.concat([
    ...[Buffer.from([0, 0, 0, 3]), goOption('swap0')],
    ...[requestBytes(command.write, 0, 3), Buffer.from('abc'), requestBytes(command.read, 0, 4)],
  ]);
  for (const byte of wholeTalk) {
    await new Promise<void>((done) => peer.socket.write(Buffer.from([byte]), () => done()));
    await sleep(1);
  }
  await until('a reply', () => peer.socket.bytesRead > 18 + 20 + 16 + 20);
  await witness.check(host);
  using reader = await RawClient.open(host.socketPath, 'swap0');
  assert.equal((await reader.pread(0, 4)).toString('latin1'), 'abc\0');
});

test('half a request followed by silence does not block others', limits, async () => {
  await using host = await OwnHost.start();
  using witness = await Witness.on(host);
  const halves: RawClient[] = [];
  for (const bytes of [1, 4, 16, 27]) {
    const peer = await RawClient.open(host.socketPath, 'swap0');
    peer.socket.write(requestBytes(command.read, 0, page).subarray(0, bytes));
    halves.push(peer);
  }
  await sleep(50);
  await witness.check(host);
  const last = halves.at(-1);
  last?.socket.write(requestBytes(command.read, 0, page).subarray(27));
  assert.equal((await last?.read(16 + page))?.length, 16 + page, 'the silent client can continue');
  for (const peer of halves) peer[Symbol.dispose]();
});

test('1,000 idle connections use little memory, and an active one is served', limits, async () => {
  await using host = await OwnHost.start({ arguments: ['--max-clients', '1024'] });
  using witness = await Witness.on(host);
  await witness.check(host);
  const before = residentBytes(host.pid);
  const idle: RawClient[] = [];
  for (let i = 0; i < 1_000; i += 50) {
    const fifty = Array.from({ length: 50 }, () => RawClient.open(host.socketPath, 'swap0'));
    idle.push(...(await Promise.all(fifty)));
  }
  const eachBytes = (residentBytes(host.pid) - before) / idle.length;
  assert(eachBytes < 64 * 1024, `an idle connection costs ${eachBytes} bytes`);
  for (let turn = 0; turn < 20; turn++) await witness.check(host);
  assert(
    idle.every((peer) => peer.isOpen),
    'the idle ones stay connected',
  );
  for (const peer of idle) peer[Symbol.dispose]();
  await witness.check(host);
});

test('SIGTERM ends the host with status 0 while clients are connected', limits, async () => {
  const host = await OwnHost.start();
  using busy = await RawClient.open(host.socketPath, 'swap0');
  using _silent = await RawClient.connect(host.socketPath);
  assert.equal(await busy.write(0, Buffer.alloc(page, 5)), 0);
  assert.equal(await host.stop(), 0);
  await busy.ended();
});
