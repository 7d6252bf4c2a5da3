/** TLS on real sockets: which clients pass, what a refused one gets, and that data arrives. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, test } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import { Prng } from '../../../src/base/prng.ts';
import { Secret } from '../../../src/base/secret.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Command, Option, OptionReply } from '../../../src/nbd/protocol/wire.ts';
import type { TlsServerOptions, X509Credentials } from '../../../src/nbd/server/tls-upgrade.ts';
import { Authority } from '../../support/fixtures/certificates.ts';
import { clientFlags, infoData, option, request } from '../../support/fixtures/nbd-client.ts';
import { slowed } from '../../support/fixtures/nbd-harness.ts';
import { have } from '../../support/fixtures/processes.ts';
import { until } from '../../support/fixtures/until.ts';
import { type Client, rig, secure } from './server-rig.ts';

const MIB = 1024 * 1024;
const limits = { timeout: 30_000 };
const key = randomBytes(32);
const psk: TlsServerOptions = {
  mode: 'require',
  credentials: { kind: 'psk', keys: new Secret(new Map([['alice', key]])) },
};

/** Options of a client with a pre-shared key. */
const withKey = (identity = 'alice', of: Uint8Array = key): ConnectionOptions => ({
  ciphers: 'ECDHE-PSK-CHACHA20-POLY1305',
  maxVersion: 'TLSv1.2',
  pskCallback: () => ({ psk: of, identity }),
  checkServerIdentity: () => undefined,
});

async function typeOfReply(client: Client): Promise<number> {
  const reply = await client.hear(20);
  return reply.length === 20 ? reply.readUInt32BE(12) : -1;
}

/** Opens the export through TLS. */
async function go(client: Client): Promise<Client> {
  client.say(option(Option.go, infoData('disk')));
  assert.equal((await client.hear(20 + 12 + 20)).length, 52);
  return client;
}

for (const sharedBuffer of [true, false])
  test(
    `data goes both ways through TLS, ${sharedBuffer ? 'from the shared buffer' : "by 'data' events"}`,
    limits,
    async () => {
      await rig({ tls: psk, sharedBuffer }, async ({ client, log, server }) => {
        const secured = await go(await secure(client(), withKey()));
        const data = new Uint8Array(5 * MIB);
        new Prng(1).fill(data);
        secured.say(request({ type: Command.write, offset: 4097, data }));
        assert.equal((await secured.hear(16)).readUInt32BE(4), 0);
        // Several outputs at once: the socket is backed up until the client reads.
        for (let i = 0; i < 4; i++)
          secured.say(request({ type: Command.read, offset: 4097, length: data.length }));
        for (let i = 0; i < 4; i++)
          assert.ok((await secured.hear(16 + data.length)).subarray(16).equals(data), `read ${i}`);
        assert.equal(await secured.flush(), 0);
        assert.deepEqual(log, []);
        assert.equal(server.stats.bytesIn > data.length, true);
        secured.say(request({ type: Command.disc }));
        await secured.hangUp();
        await until('the connection is closed', () => server.stats.connectionCount === 0);
      });
    },
  );

test('an asynchronous disk is served through TLS', limits, async () => {
  const disk = slowed(new MemoryDisk(4 * MIB));
  const exports = new Map([['disk', { name: 'disk', description: '', disk }]]);
  await rig({ tls: psk, exports }, async ({ client, log }) => {
    const secured = await go(await secure(client(), withKey()));
    const data = new Uint8Array(MIB);
    new Prng(2).fill(data);
    secured.say(request({ type: Command.write, offset: 5, data }));
    for (let i = 0; i < 3; i++)
      secured.say(request({ type: Command.read, offset: 5, length: data.length }));
    assert.equal((await secured.hear(16)).readUInt32BE(4), 0);
    for (let i = 0; i < 3; i++)
      assert.ok((await secured.hear(16 + data.length)).subarray(16).equals(data), `read ${i}`);
    assert.deepEqual(log, []);
  });
});

test('a client without TLS is refused and gets no name of an export', limits, async () => {
  await rig({ tls: psk }, async ({ client, log }) => {
    const plain = client();
    await plain.hear(18);
    for (const [type, data] of [
      [Option.list, new Uint8Array(0)],
      [Option.go, infoData('disk')],
      [Option.go, infoData('absent')],
    ] as const) {
      plain.say(...(type === Option.list ? [clientFlags()] : []), option(type, data));
      const reply = await plain.hear(20);
      assert.equal(reply.readUInt32BE(12), OptionReply.errTlsRequired);
      assert.equal(reply.readUInt32BE(16), 0, 'without data');
    }
    plain.say(option(Option.exportName, new TextEncoder().encode('disk')));
    await plain.hangUp();
    assert.match(log.join(), /EXPORT_NAME: TLS required/);
  });
});

test('with TLS optional, both kinds of clients are served', limits, async () => {
  await rig({ tls: { ...psk, mode: 'on' } }, async ({ client }) => {
    assert.equal(await (await client().go()).flush(), 0);
    assert.equal(await (await go(await secure(client(), withKey()))).flush(), 0);
  });
});

test(
  'a wrong key and an unknown user name fail alike, and no secret is logged',
  limits,
  async () => {
    await rig({ tls: psk }, async ({ client, log, server }) => {
      const errors: string[] = [];
      const wrong = randomBytes(32);
      for (const options of [withKey('alice', wrong), withKey('mallory\u001b', key)]) {
        const error = await secure(client(), options).then(
          () => null,
          (cause: NodeJS.ErrnoException) => cause,
        );
        errors.push(error?.code ?? 'accepted');
      }
      assert.equal(errors[0], errors[1]);
      assert.notEqual(errors[0], 'accepted');
      await until('both are logged', () => log.length === 2);
      for (const line of log) assert.match(line, /dropped: TLS handshake failed: wrong key, or/);
      for (const secret of [key, wrong])
        for (const form of ['hex', 'base64', 'latin1'] as const)
          assert.ok(!log.join('\n').includes(secret.toString(form)));
      await until('the connections are closed', () => server.stats.connectionCount === 0);
      assert.equal(server.stats.dropped, 2);
    });
  },
);

test('the trace names the user, escaped', limits, async () => {
  const trace: string[] = [];
  const name = 'bob\u001b[31m';
  const tls = {
    ...psk,
    credentials: { kind: 'psk', keys: new Secret(new Map([[name, key]])) },
  } as const;
  await rig({ tls, trace: (line) => trace.push(line) }, async ({ client }) => {
    await go(await secure(client(), withKey(name)));
    assert.match(trace.join('\n'), /TLSv1\.2, .*, user bob\\x1b\[31m/);
    assert.ok(!trace.join().includes('\u001b'));
  });
});

test('plain bytes sent with STARTTLS are not processed', limits, async () => {
  await rig({ tls: { ...psk, mode: 'on' } }, async ({ client, log, server }) => {
    const peer = client();
    await peer.hear(18);
    peer.say(clientFlags(), option(Option.startTls), option(Option.go, infoData('disk')));
    assert.equal((await peer.hear(1)).length, 0, 'no acknowledgement');
    await peer.hangUp();
    assert.match(log.join(), /STARTTLS: more unencrypted data after it/);
    assert.equal(server.connections('disk'), 0);
  });
});

test('plain bytes sent after the acknowledgement are refused', limits, async () => {
  await rig({ tls: { ...psk, mode: 'on' } }, async ({ client, log, server }) => {
    const peer = client();
    await peer.hear(18);
    peer.say(clientFlags(), option(Option.startTls));
    assert.equal(await typeOfReply(peer), OptionReply.ack);
    peer.say(option(Option.go, infoData('disk')));
    await peer.hangUp();
    await until('it is logged', () => log.length > 0);
    assert.match(log.join(), /dropped: TLS handshake failed: the client did not start TLS/);
    assert.equal(server.connections('disk'), 0);
  });
});

test(
  'damaged data after the handshake ends the connection with one line in the log',
  limits,
  async () => {
    await rig({ tls: psk }, async ({ client, log, server }) => {
      const plain = client();
      await go(await secure(plain, withKey()));
      // A record of application data, TLS 1.2, of 32 bytes that no key made.
      plain.say(Buffer.concat([Buffer.from('1703030020', 'hex'), randomBytes(32)]));
      await until('it is closed', () => server.stats.connectionCount === 0);
      assert.deepEqual(
        log.map((line) => line.replace(/ERR_SSL_\w+$/, 'CODE')),
        ['nbd: unix client 1: dropped: TLS error: CODE'],
      );
    });
  },
);

test('a client that does not begin the handshake is dropped', limits, async () => {
  let nowMs = 0;
  const options = { tls: psk, negotiationMs: 1000, nowMs: () => nowMs };
  await rig(options, async ({ client, log, server }) => {
    const peer = client();
    await peer.hear(18);
    peer.say(clientFlags(), option(Option.startTls));
    assert.equal(await typeOfReply(peer), OptionReply.ack);
    nowMs = 1001;
    server.sweep();
    await peer.hangUp();
    assert.match(log.join(), /negotiation timed out/);
  });
});

test('a client that disconnects during the handshake is logged once', limits, async () => {
  await rig({ tls: psk }, async ({ client, log, server }) => {
    const peer = client();
    await peer.hear(18);
    peer.say(clientFlags(), option(Option.startTls));
    await typeOfReply(peer);
    peer.socket.destroy();
    await until('it is closed', () => server.stats.connectionCount === 0);
    await until('it is logged', () => log.length > 0);
    assert.deepEqual(
      log.map((line) => line.replace(/^nbd: unix client 1: /, '')),
      ['dropped: TLS handshake failed: the client disconnected'],
    );
  });
});

test('a close ends connections during and after the handshake', limits, async () => {
  await rig({ tls: psk, closeMs: 20_000 }, async ({ client, server }) => {
    const waiting = client();
    await waiting.hear(18);
    waiting.say(clientFlags(), option(Option.startTls));
    await typeOfReply(waiting);
    const open = await go(await secure(client(), withKey()));
    const closed = server.close();
    await Promise.all([waiting.hangUp(), open.hangUp(), closed]);
  });
});

test(
  'a client that does not read its replies through TLS is counted as stalled',
  limits,
  async () => {
    await rig({ tls: psk, stalledCountMax: 0 }, async ({ client, log }) => {
      const secured = await go(await secure(client(), withKey()));
      secured.socket.pause();
      for (let i = 0; i < 30; i++) secured.say(request({ type: Command.read, length: MIB }));
      await until('it is dropped', () => log.length > 0);
      assert.match(log.join(), /does not read its replies/);
    });
  },
);

test(
  'a client that reads is not counted as stalled, however many outputs it reads',
  limits,
  async () => {
    await rig({ tls: psk, stalledCountMax: 0 }, async ({ client, log }) => {
      const secured = await go(await secure(client(), withKey()));
      for (let i = 0; i < 200; i++) {
        secured.say(request({ type: Command.read, length: 80 * 1024 }));
        assert.equal((await secured.hear(16 + 80 * 1024)).length, 16 + 80 * 1024);
      }
      assert.deepEqual(log, []);
    });
  },
);

const folder = mkdtempSync(joinPath(tmpdir(), 'nbd-tls-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (...names: string[]): string => joinPath(folder, ...names);
const read = (...names: string[]): string => readFileSync(file(...names), 'utf8');
const x509Limits = { ...limits, skip: !have('openssl') && 'openssl is missing' };

/** A server with certificates; `alice` has a valid certificate, `revoked` one on the list, `mallory` one of another CA. */
function certificates(verifyPeer: boolean): TlsServerOptions {
  const authority = new Authority(file('ca'), 'test authority');
  authority.issue(file('server'), 'server', 'localhost');
  authority.issue(file('alice'), 'client', 'alice');
  authority.issue(file('revoked'), 'client', 'revoked');
  new Authority(file('other'), 'test authority').issue(file('mallory'), 'client', 'alice');
  authority.revoke(file('ca'), file('revoked', 'client-cert.pem'));
  const credentials: X509Credentials = {
    kind: 'x509',
    certificate: read('server', 'server-cert.pem'),
    key: new Secret(read('server', 'server-key.pem')),
    clientAuthority: verifyPeer ? read('ca', 'ca-cert.pem') : null,
    revoked: verifyPeer ? [read('ca', 'ca-crl.pem')] : null,
  };
  return { mode: 'require', credentials };
}

const trusting = (): ConnectionOptions => ({
  ca: read('ca', 'ca-cert.pem'),
  servername: 'localhost',
});
const asClient = (name: string): ConnectionOptions => ({
  ...trusting(),
  cert: read(name, 'client-cert.pem'),
  key: read(name, 'client-key.pem'),
});

test('certificates of clients are verified: missing, foreign, revoked', x509Limits, async () => {
  const trace: string[] = [];
  const options = { tls: certificates(true), trace: (line: string): unknown => trace.push(line) };
  await rig(options, async ({ client, log, server }) => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const protocol = { minVersion: version, maxVersion: version };
      const good = await go(await secure(client(), { ...asClient('alice'), ...protocol }));
      assert.equal(await good.flush(), 0);
      assert.match(trace.join('\n'), new RegExp(`${version}, .*, certificate of alice`));
      good.socket.destroy();
      for (const [who, why] of [
        [trusting(), /the client sent no certificate/],
        [asClient('mallory'), /client certificate refused: /],
        [asClient('revoked'), /client certificate refused: CERT_REVOKED/],
        // A certificate for servers is none for clients.
        [
          {
            ...trusting(),
            cert: read('server', 'server-cert.pem'),
            key: read('server', 'server-key.pem'),
          },
          /client certificate refused: INVALID_PURPOSE/,
        ],
      ] as const) {
        const before = log.length;
        // With TLS 1.3 the client's part ends before the server refuses: it must not get a reply either.
        const peer = await secure(client(), { ...who, ...protocol }).catch(() => null);
        peer?.say(option(Option.list));
        assert.equal((await peer?.hear(1))?.length ?? 0, 0, 'no reply');
        await until('it is logged', () => log.length > before);
        assert.match(log.at(-1) ?? '', why);
        assert.equal(server.connections('disk'), 0);
      }
    }
  });
});

test(
  'without verification any client passes, and the server proves its name',
  x509Limits,
  async () => {
    await rig({ tls: certificates(false) }, async ({ client, log }) => {
      for (const who of [trusting(), asClient('mallory')])
        assert.equal(await (await go(await secure(client(), who))).flush(), 0);
      const other = { ...trusting(), ca: read('other', 'ca-cert.pem') };
      await assert.rejects(secure(client(), other));
      await until('the handshake that the client broke off is logged', () => log.length > 0);
    });
  },
);
