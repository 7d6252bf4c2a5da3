/** Clients that attack by TLS: expensive or endless handshakes, renegotiation, resumption, half-closed connections. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { inspect } from 'node:util';
import { Secret } from '../../../src/base/secret.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Command, Option, OptionReply } from '../../../src/nbd/protocol/wire.ts';
import { ExportGate } from '../../../src/nbd/server/export-gate.ts';
import type { NbdServer } from '../../../src/nbd/server/server.ts';
import type { TlsServerOptions } from '../../../src/nbd/server/tls-upgrade.ts';
import { systemHasHungUp } from '../../../src/os/linux/hang-up.ts';
import { noLinux } from '../../os/linux/machine.ts';
import { Authority } from '../../support/fixtures/certificates.ts';
import { testFolder } from '../../support/fixtures/folder.ts';
import { clientFlags, infoData, option, request } from '../../support/fixtures/nbd-client.ts';
import { have } from '../../support/fixtures/processes.ts';
import { until } from '../../support/fixtures/until.ts';
import { Client, rig, secure } from './server-rig.ts';

const limits = { timeout: 60_000 };
const key = randomBytes(32);
const keysOf = (...names: string[]): TlsServerOptions['credentials'] => ({
  kind: 'psk',
  keys: new Secret(new Map(names.map((name) => [name, key]))),
});
const psk: TlsServerOptions = { mode: 'require', credentials: keysOf('alice') };
const withKey = (identity = 'alice', more: ConnectionOptions = {}): ConnectionOptions => ({
  ciphers: 'PSK',
  maxVersion: 'TLSv1.2',
  pskCallback: () => ({ psk: key, identity }),
  checkServerIdentity: () => undefined,
  ...more,
});
const codeOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => 'accepted',
    (error: NodeJS.ErrnoException) => error.code ?? error.message,
  );

/** Sends STARTTLS and waits for its acknowledgement. */
async function beginTls(client: Client): Promise<Client> {
  await client.hear(18);
  client.say(clientFlags(), option(Option.startTls));
  assert.equal((await client.hear(20)).readUInt32BE(12), OptionReply.ack);
  return client;
}

async function go(client: Client): Promise<Client> {
  client.say(option(Option.go, infoData('disk')));
  assert.equal((await client.hear(52)).length, 52);
  return client;
}

const refusedOf = ({ stats }: NbdServer): Record<string, number> =>
  Object.fromEntries(Object.entries(stats.tls?.refused ?? {}).filter(([, count]) => count > 0));

const skip = !have('openssl') && 'openssl is missing';

/** A server's certificate and its authority, and certificates of clients. */
function certificates(t: TestContext, ...clients: string[]) {
  const folder = testFolder(t);
  const authority = new Authority(folder, 'authority');
  const read = (...names: string[]): string => readFileSync(join(folder, ...names), 'utf8');
  authority.issue(join(folder, 'server'), 'server', 'localhost');
  for (const name of clients) authority.issue(join(folder, name), 'client', name);
  const credentials = (revoked: readonly string[] | null): TlsServerOptions['credentials'] => ({
    kind: 'x509',
    certificate: read('server', 'server-cert.pem'),
    key: new Secret(read('server', 'server-key.pem')),
    clientAuthority: clients.length > 0 ? read('ca-cert.pem') : null,
    revoked,
  });
  const as = (name: string, more: ConnectionOptions = {}): ConnectionOptions => ({
    ca: read('ca-cert.pem'),
    servername: 'localhost',
    ...(name === '' ? {} : { cert: read(name, 'client-cert.pem') }),
    ...(name === '' ? {} : { key: read(name, 'client-key.pem') }),
    ...more,
  });
  const revoke = (name: string): string => {
    authority.revoke(folder, join(folder, name, 'client-cert.pem'));
    return read('ca-crl.pem');
  };
  return { credentials, as, revoke };
}

test(
  'a key exchange that is expensive for the server is refused: DHE with a pre-shared key',
  limits,
  async () => {
    await rig({ tls: psk }, async ({ client }) => {
      for (const ciphers of [
        'DHE-PSK-AES256-GCM-SHA384',
        'PSK-AES256-GCM-SHA384',
        'RSA-PSK-AES128-GCM-SHA256',
      ])
        assert.notEqual(
          await codeOf(secure(client(), withKey('alice', { ciphers }))),
          'accepted',
          ciphers,
        );
      await go(await secure(client(), withKey()));
    });
  },
);

test('key exchanges that are expensive for the server are refused with certificates', {
  ...limits,
  skip,
}, async (t) => {
  const { credentials, as } = certificates(t);
  await rig({ tls: { mode: 'require', credentials: credentials(null) } }, async ({ client }) => {
    const attempt = (more: ConnectionOptions): Promise<string> =>
      codeOf(secure(client(), as('', more)));
    for (const ecdhCurve of ['ffdhe8192', 'ffdhe2048', 'P-521'])
      assert.notEqual(await attempt({ ecdhCurve }), 'accepted', ecdhCurve);
    for (const ciphers of [
      'DHE-RSA-AES256-GCM-SHA384',
      'AES256-GCM-SHA384',
      'ECDHE-ECDSA-AES128-SHA',
    ])
      assert.notEqual(await attempt({ maxVersion: 'TLSv1.2', ciphers }), 'accepted', ciphers);
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' } as const;
    assert.notEqual(await attempt(old), 'accepted', 'TLS 1.1');
    for (const ecdhCurve of ['X25519:P-256', 'P-256', 'P-384:P-256'])
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
        assert.equal(await attempt({ ecdhCurve, maxVersion }), 'accepted', ecdhCurve);
  });
});

test('the handshakes after a client with many certificates are delayed', {
  ...limits,
  skip,
}, async (t) => {
  const { credentials, as } = certificates(t, 'alice');
  let nowMs = 0;
  // No token is added during the test.
  const few = { perSecond: 0.001, burst: 10 };
  const tls = { mode: 'require', credentials: credentials(null), limits: few } as const;
  await rig({ tls, nowMs: () => nowMs }, async ({ client, log, server }) => {
    for (let i = 0; i < 3; i++) await go(await secure(client(), as('alice')));
    const many = Buffer.from(`${as('alice').cert}`.repeat(60));
    await go(await secure(client(), as('alice', { cert: many })));
    const late = codeOf(secure(client(), as('alice')));
    await until('it is connected', () => server.stats.connectionCount === 5);
    await Promise.race([late, new Promise((resolve) => setTimeout(resolve, 1000))]);
    nowMs = 20_000;
    server.sweep();
    assert.notEqual(await late, 'accepted');
    assert.match(log.join(), /negotiation timed out/);
    assert.equal(server.stats.tls?.completed, 4);
  });
});

test('a session is not resumed: each connection authenticates', { ...limits, skip }, async (t) => {
  const { credentials, as } = certificates(t, 'alice');
  const tls = { mode: 'require', credentials: credentials(null) } as const;
  await rig({ tls }, async ({ client }) => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const first = await secure(client(), as('alice', { maxVersion }));
      const socket = first.socket as TLSSocket;
      const sessions: Buffer[] = [];
      socket.on('session', (session) => sessions.push(session));
      await go(first);
      const session = sessions.at(-1) ?? socket.getSession();
      assert.ok(session !== undefined);
      const second = await secure(client(), as('alice', { maxVersion, session }));
      assert.equal((second.socket as TLSSocket).isSessionReused(), false);
    }
  });
});

test('renegotiation is refused, and the disk is served meanwhile', limits, async () => {
  await rig({ tls: psk }, async ({ client, server }) => {
    const secured = await go(await secure(client(), withKey()));
    const socket = secured.socket as TLSSocket;
    const result = await new Promise<string>((resolve) => {
      socket.once('close', () => resolve('closed'));
      socket.renegotiate({}, (error) => resolve(error === null ? 'renegotiated' : 'refused'));
    });
    assert.notEqual(result, 'renegotiated');
    assert.equal(server.stats.tls?.completed, 1);
    assert.equal(await (await go(await secure(client(), withKey()))).flush(), 0);
  });
});

test('STARTTLS inside TLS is refused, and the connection continues', limits, async () => {
  await rig({ tls: psk }, async ({ client }) => {
    const secured = await secure(client(), withKey());
    for (let i = 0; i < 3; i++) {
      secured.say(option(Option.startTls));
      assert.equal((await secured.hear(20)).readUInt32BE(12), OptionReply.errInvalid);
    }
    assert.equal(await (await go(secured)).flush(), 0);
  });
});

test('an unfinished handshake is ended after its time limit', limits, async () => {
  await rig({ tls: { ...psk, handshakeMs: 50 } }, async ({ client, log, server }) => {
    const peer = await beginTls(client());
    // The header of a ClientHello that never arrives in full.
    peer.say(Buffer.from('16030100c8010000c4', 'hex'));
    await peer.hangUp();
    await until('it is closed', () => server.stats.connectionCount === 0);
    assert.match(log.join(), /TLS handshake failed: it took too long/);
    assert.deepEqual(refusedOf(server), { timeout: 1 });
  });
});

test('a record longer than TLS allows ends the connection', limits, async () => {
  await rig({ tls: psk }, async ({ client, server }) => {
    const early = await beginTls(client());
    early.say(Buffer.concat([Buffer.from('160301ffff', 'hex'), Buffer.alloc(65_535)]));
    await early.hangUp();
    const plain = client();
    await go(await secure(plain, withKey()));
    plain.say(Buffer.concat([Buffer.from('170303ffff', 'hex'), Buffer.alloc(65_535)]));
    await until('both are closed', () => server.stats.connectionCount === 0);
  });
});

test('a client is dropped while OpenSSL processes its handshake', limits, async () => {
  let nowMs = 0;
  let onKey = (): void => {};
  const trap = Object.defineProperty(Uint8Array.from(key), 'length', {
    get: () => {
      onKey(); // node:tls checks the length in the middle of the handshake
      return key.length;
    },
  });
  const credentials = { kind: 'psk', keys: new Secret(new Map([['alice', trap]])) } as const;
  const options = { tls: { mode: 'require', credentials }, nowMs: () => nowMs } as const;
  await rig(options, async ({ client, log, server }) => {
    for (let i = 1; i <= 20; i++) {
      onKey = () => {
        nowMs += 20_000;
        server.sweep();
        onKey = () => {};
      };
      const peer = client();
      await secure(peer, withKey()).catch(() => null);
      await peer.hangUp();
      await until('it is closed', () => server.stats.connectionCount === 0);
      assert.equal(log.length, i);
      assert.match(log.at(-1) ?? '', /negotiation timed out/);
    }
    assert.equal(await (await go(await secure(client(), withKey()))).flush(), 0);
  });
});

test('a client that sends more TLS records than data is dropped', limits, async () => {
  await rig({ tls: psk }, async ({ client, log, server }) => {
    const [good, bad] = [
      await go(await secure(client(), withKey())),
      await go(await secure(client(), withKey())),
    ];
    bad.say(request({ type: Command.write, data: new Uint8Array(65_536) }).subarray(0, 28));
    for (let i = 0; i < 14_000; i++)
      await new Promise((resolve) => bad.socket.write(Uint8Array.of(7), resolve));
    for (let i = 0; i < 100; i++) assert.equal(await good.flush(), 0);
    await until('it is dropped', () => {
      server.sweep();
      return log.length > 0;
    });
    assert.match(log.join(), /too many TLS messages without data/);
    assert.equal(await good.flush(), 0);
  });
});

for (const when of ['before the handshake', 'in the middle of it'])
  test(`a client that half-closes ${when} is disconnected`, limits, async () => {
    await rig({ tls: psk }, async ({ client, log, server }) => {
      const peer = await beginTls(client());
      if (when === 'in the middle of it') peer.say(Buffer.from('16030100c8010000c4', 'hex'));
      peer.socket.end();
      await until('it is closed', () => server.stats.connectionCount === 0);
      await until('it is logged', () => log.length === 1);
      assert.deepEqual(refusedOf(server), { disconnected: 1 });
    });
  });

test('a client that half-closes after a request gets its reply', limits, async () => {
  await rig({ tls: psk }, async ({ client, log, server }) => {
    const secured = await go(await secure(client(), withKey()));
    secured.socket.end(request({ type: Command.flush }));
    assert.equal((await secured.hear(16)).length, 16);
    await secured.hangUp();
    await until('it is closed', () => server.stats.connectionCount === 0);
    assert.deepEqual(log, []);
  });
});

test('unfinished handshakes of one client do not stop those of another one', limits, async () => {
  const tls = { ...psk, limits: { activeMax: 3, originMax: 2, burst: 100 } };
  await rig({ tls }, async ({ client, server, log }) => {
    const { port } = await server.listenTcp('0.0.0.0', 0);
    const from = (localAddress: string): Client =>
      new Client({ port, host: '127.0.0.1', localAddress });
    const attackers = ['127.0.0.2', '127.0.0.2', '127.0.0.2', '127.0.0.3', '127.0.0.3'].map(from);
    for (const attacker of attackers) await beginTls(attacker);
    for (let i = 0; i < 3; i++) {
      const good = await go(await secure(from('127.0.0.4'), withKey()));
      assert.equal(await good.flush(), 0);
      good.socket.destroy();
    }
    assert.equal(await (await go(await secure(client(), withKey()))).flush(), 0);
    assert.match(log.join(), /TLS handshake failed: too many handshakes at a time/);
    assert.ok((refusedOf(server)['limit'] ?? 0) >= 1);
    for (const attacker of attackers) attacker.socket.destroy();
  });
});

test(
  'a client that disconnects while it waits for its handshake frees its place',
  limits,
  async () => {
    const tls = { ...psk, limits: { originMax: 1 } };
    await rig({ tls }, async ({ client, server }) => {
      const [first, second] = [await beginTls(client()), await beginTls(client())];
      second.socket.destroy();
      first.socket.destroy();
      assert.equal(await (await go(await secure(client(), withKey()))).flush(), 0);
      await until('all are closed', () => server.stats.connectionCount === 1);
    });
  },
);

test('a reload applies to new handshakes, and open connections stay: keys', limits, async () => {
  await rig({ tls: psk }, async ({ client, server }) => {
    const open = await go(await secure(client(), withKey('alice')));
    server.reloadTls(keysOf('bob'));
    assert.equal(await open.flush(), 0);
    assert.notEqual(await codeOf(secure(client(), withKey('alice'))), 'accepted');
    assert.equal(await codeOf(secure(client(), withKey('bob'))), 'accepted');
    assert.equal(await open.flush(), 0);
  });
});

test('a reload revokes a certificate', { ...limits, skip }, async (t) => {
  const { credentials, as, revoke } = certificates(t, 'alice', 'eve');
  const tls = { mode: 'require', credentials: credentials(null) } as const;
  await rig({ tls }, async ({ client, server, log }) => {
    const open = await go(await secure(client(), as('eve')));
    server.reloadTls(credentials([revoke('eve')]));
    assert.equal(await open.flush(), 0);
    const eve = await secure(client(), as('eve')).catch(() => null);
    eve?.say(option(Option.list));
    assert.equal((await eve?.hear(1))?.length ?? 0, 0, 'no reply');
    await until('it is logged', () => log.length > 0);
    assert.deepEqual(refusedOf(server), { bad_certificate: 1 });
    assert.equal(await (await go(await secure(client(), as('alice')))).flush(), 0);
    const broken = { ...credentials(null), certificate: 'x' } as TlsServerOptions['credentials'];
    assert.throws(() => server.reloadTls(broken));
    assert.equal(await (await go(await secure(client(), as('alice')))).flush(), 0, 'as before');
  });
});

test('a refused client that disconnects at once is counted and logged', {
  ...limits,
  skip,
}, async (t) => {
  const { credentials, as, revoke } = certificates(t, 'eve');
  const tls = { mode: 'require', credentials: credentials([revoke('eve')]) } as const;
  await rig({ tls }, async ({ client, server, log }) => {
    const { port } = await server.listenTcp('127.0.0.1', 0);
    for (let i = 0; i < 40; i++) {
      const plain = i % 2 === 0 ? client() : new Client({ port, host: '127.0.0.1' });
      const eve = await secure(plain, as('eve')).catch(() => null);
      // Only one of the two sockets: Node 20 crashed after both were destroyed in one turn.
      (eve ?? plain).socket.destroy();
      await until('it is closed', () => server.stats.connectionCount === 0);
      await until('it is logged', () => log.length === i + 1);
    }
    const counts = Object.values(refusedOf(server));
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      40,
    );
  });
});

test('a frozen export holds a client with TLS until it is thawed', limits, async () => {
  const gate = new ExportGate();
  const disk = new MemoryDisk(1 << 20);
  const exports = new Map([
    ['disk', { name: 'disk', description: '', disk, gate, isShared: true }],
  ]);
  await rig({ tls: psk, exports }, async ({ client, server }) => {
    const secured = await go(await secure(client(), withKey()));
    gate.isFrozen = true;
    const data = new Uint8Array(300_000).fill(7);
    secured.say(
      request({ type: Command.write, data }),
      request({ type: Command.read, length: data.length }),
    );
    const late = await go(await secure(client(), withKey()));
    late.say(request({ type: Command.flush }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(disk.tick(), 0);
    assert.ok(server.stats.counters[0] === 0 && server.stats.counters[2] === 0, 'no request runs');
    gate.isFrozen = false;
    server.resume('disk');
    assert.equal((await secured.hear(16)).readUInt32BE(4), 0);
    assert.ok((await secured.hear(16 + data.length)).subarray(16).equals(data));
    assert.equal((await late.hear(16)).length, 16);
  });
});

test('a client with TLS that disconnects while its export is frozen is noticed', {
  ...limits,
  skip: noLinux,
}, async () => {
  const gate = new ExportGate();
  const disk = new MemoryDisk(1 << 20);
  const exports = new Map([['disk', { name: 'disk', description: '', disk, gate }]]);
  const hasHungUp = systemHasHungUp(process.platform);
  await rig({ tls: psk, exports, hasHungUp }, async ({ client, server }) => {
    const plain = client();
    const secured = await go(await secure(plain, withKey()));
    gate.isFrozen = true;
    const { bytesIn } = server.stats;
    // More than the buffers of the stream take: Node does not see the end of the connection behind it.
    secured.say(request({ type: Command.write, data: new Uint8Array(400_000) }));
    await until('it is held', () => server.stats.bytesIn > bytesIn);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(server.stats.bytesIn - bytesIn < 200_000, 'a held connection does not read');
    plain.socket.destroy();
    await until('it is dropped', () => {
      server.sweep();
      return server.stats.connectionCount === 0;
    });
  });
});

test('keys do not appear where options and errors are printed', { ...limits, skip }, async (t) => {
  const { credentials } = certificates(t, 'alice');
  const secretOf = (options: TlsServerOptions['credentials']): string[] =>
    options.kind === 'x509'
      ? options.key.reveal().split('\n').slice(1, 3)
      : [...options.keys.reveal().values()].flatMap((one) => [
          Buffer.from(one).toString('hex'),
          Buffer.from(one).toString('base64'),
        ]);
  for (const options of [credentials(null), keysOf('alice')])
    await rig({ tls: { mode: 'on', credentials: options } }, async ({ server }) => {
      const shown = [
        inspect([options, server], { depth: null, showHidden: true, maxStringLength: null }),
        JSON.stringify(options),
        `${options}`,
      ].join();
      for (const secret of secretOf(options)) assert.ok(!shown.includes(secret));
      assert.ok(
        !/<Buffer|Uint8Array\(32\)/.test(inspect(options, { depth: null, showHidden: true })),
      );
    });
});

test('an unauthenticated client learns nothing from the alert of the server', limits, async () => {
  await rig({ tls: psk }, async ({ client }) => {
    const alerts: string[] = [];
    for (const [identity, of] of [
      ['alice', randomBytes(32)],
      ['nobody-known', randomBytes(32)],
      ['', randomBytes(32)],
    ] as const) {
      const plain = await beginTls(client());
      plain.socket.removeAllListeners('data');
      const seen: Buffer[] = [];
      plain.socket.on('data', (chunk: Buffer) => seen.push(chunk));
      const socket = tlsConnect({
        socket: plain.socket,
        ...withKey(identity),
        pskCallback: () => ({ psk: of, identity }),
      });
      const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
      alerts.push(error.code ?? '');
    }
    assert.equal(new Set(alerts).size, 1, alerts.join());
  });
});
