/**
 * TLS with the clients of libnbd and QEMU (GnuTLS): certificates and pre-shared keys, over both kinds of sockets, and
 * clients that must be refused.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Authority } from '../support/fixtures/certificates.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import {
  type Finished,
  must,
  peerTest,
  root,
  run,
  TemporaryFolder,
} from '../support/fixtures/processes.ts';
import { until } from '../support/fixtures/until.ts';

const seed = process.env['SEED'] ?? String(Math.floor(Math.random() * 2 ** 31));
const writeAndRead = ['-c', 'write -P 0x5a 4095 200k', '-c', 'read -P 0x5a 4095 200k'];

/** A host with TLS on a Unix socket and on TCP, and the credentials of its clients. */
class TlsHost implements AsyncDisposable {
  readonly host: OwnHost;
  readonly folder: TemporaryFolder;

  private constructor(host: OwnHost, folder: TemporaryFolder) {
    this.host = host;
    this.folder = folder;
  }

  /** Folders: `server`, and of clients `alice` (valid), `mallory` (another authority), `revoked`, `carol` (no certificate). */
  static async withCertificates(mode = 'require'): Promise<TlsHost> {
    const folder = new TemporaryFolder();
    const at = (name: string): string => folder.file(name);
    const authority = new Authority(at('server'), 'test authority');
    authority.issue(at('server'), 'server', 'localhost');
    for (const name of ['alice', 'revoked', 'carol']) {
      if (name === 'carol') mkdirSync(at(name));
      else authority.issue(at(name), 'client', name);
      copyFileSync(authority.certificate, join(at(name), 'ca-cert.pem'));
    }
    // The same name: else GnuTLS does not send a certificate of an authority that the server does not name.
    const other = new Authority(at('other'), 'test authority');
    other.issue(at('mallory'), 'client', 'alice');
    // Both authorities: QEMU checks its own certificate, too, before it connects.
    const both = [authority, other].map(({ certificate }) => readFileSync(certificate, 'utf8'));
    writeFileSync(join(at('mallory'), 'ca-cert.pem'), both.join(''));
    authority.revoke(at('server'), join(at('revoked'), 'client-cert.pem'));
    const certificates = ['--tls-certificates', at('server'), '--tls-verify-peer'];
    return TlsHost.#start(folder, ['--tls', mode, ...certificates]);
  }

  /** Files: keys.psk in the folders `alice` (valid), `mallory` (another key for alice), and `bob` (unknown). */
  static async withKeys(): Promise<TlsHost> {
    const folder = new TemporaryFolder();
    for (const name of ['alice', 'mallory', 'bob']) {
      mkdirSync(folder.file(name));
      const user = name === 'bob' ? 'bob' : 'alice';
      writeFileSync(
        join(folder.file(name), 'keys.psk'),
        `${user}:${randomBytes(32).toString('hex')}\n`,
        { mode: 0o600 },
      );
    }
    const keys = join(folder.file('alice'), 'keys.psk');
    return TlsHost.#start(folder, ['--tls', 'require', '--tls-psk', keys]);
  }

  static async #start(folder: TemporaryFolder, args: readonly string[]): Promise<TlsHost> {
    const host = await OwnHost.start({ arguments: [...args, '-p', '0', '--verbose'] });
    return new TlsHost(host, folder);
  }

  async port(): Promise<number> {
    const { uris } = await this.host.figures();
    const tcp = uris.find((uri) => uri.startsWith('nbds://')) ?? '';
    return Number(new URL(tcp).port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.stop();
    this.folder[Symbol.dispose]();
  }
}

/** URIs for libnbd, over both kinds of sockets. */
async function urisFor(tls: TlsHost, who: string): Promise<string[]> {
  const at = `tls-certificates=${tls.folder.file(who)}`;
  return [
    `nbds+unix:///swap0?socket=${tls.host.socketPath}&${at}`,
    `nbds://localhost:${await tls.port()}/swap0?${at}`,
  ];
}

async function keyUrisFor(tls: TlsHost, who: string, user = who): Promise<string[]> {
  const file = `tls-psk-file=${join(tls.folder.file(who), 'keys.psk')}`;
  return [
    `nbds+unix://${user}@/swap0?socket=${tls.host.socketPath}&${file}`,
    `nbds://${user}@127.0.0.1:${await tls.port()}/swap0?${file}`,
  ];
}

/** A refused client exits with an error and gets no byte about a disk. */
async function assertRefused(client: Finished, host: OwnHost, why: RegExp): Promise<void> {
  assert.notEqual(client.status, 0, client.stdout);
  assert.doesNotMatch(client.stdout + client.stderr, /256M|268435456|lz4/);
  await until(`the log has ${why}`, () => why.test(host.log)); // a pipe may deliver it after the client's end
  assert.doesNotMatch(host.log, /opened 'swap0'/);
}

peerTest('libnbd connects with a certificate', ['nbdinfo', 'openssl'], async () => {
  await using tls = await TlsHost.withCertificates();
  for (const uri of await urisFor(tls, 'alice')) {
    const said = await must('nbdinfo', [uri]);
    assert.match(said, /newstyle-fixed with TLS, using structured/);
    assert.match(said, /export-size: 268435456/);
    assert.match(await must('nbdinfo', ['--list', uri]), /export="swap0"/);
  }
  assert.match(tls.host.log, /TLSv1\.3, .*, certificate of alice/);
});

peerTest('libnbd connects with a pre-shared key', ['nbdinfo'], async () => {
  await using tls = await TlsHost.withKeys();
  for (const uri of await keyUrisFor(tls, 'alice'))
    assert.match(await must('nbdinfo', [uri]), /newstyle-fixed with TLS, using structured/);
  assert.match(tls.host.log, /TLSv1\.2, ECDHE-PSK-CHACHA20-POLY1305, user alice/);
});

const python = ['/usr/bin/python3', '/usr/lib/python3/dist-packages/nbd.py', 'openssl'];
for (const check of ['structured_replies', 'in_flight', 'write_too_long', 'names', 'model'])
  for (const kind of ['certificate', 'key'] as const)
    peerTest(`libnbd through TLS with a ${kind}: ${check}`, python, async () => {
      const isKey = kind === 'key';
      await using tls = isKey ? await TlsHost.withKeys() : await TlsHost.withCertificates();
      const [uri = ''] = isKey ? await keyUrisFor(tls, 'alice') : await urisFor(tls, 'alice');
      const script = join(root, 'test', 'interop', 'libnbd_checks.py');
      await must('/usr/bin/python3', [script, check, uri, seed], { timeoutMs: 45_000 });
    });

peerTest(
  'libnbd is refused without TLS, without a certificate and with a wrong one',
  ['nbdinfo', 'openssl'],
  async () => {
    await using tls = await TlsHost.withCertificates();
    const plain = `nbd+unix:///swap0?socket=${tls.host.socketPath}`;
    await assertRefused(await run('nbdinfo', [plain]), tls.host, /connected/);
    const listed = await run('nbdinfo', ['--list', plain]);
    await assertRefused(listed, tls.host, /connected/);
    assert.doesNotMatch(listed.stdout + listed.stderr, /export="swap0"/);
    for (const [who, why] of [
      ['carol', /the client sent no certificate/],
      ['mallory', /client certificate refused: /],
      ['revoked', /client certificate refused: CERT_REVOKED/],
    ] as const)
      for (const uri of await urisFor(tls, who))
        await assertRefused(await run('nbdinfo', [uri]), tls.host, why);
  },
);

peerTest(
  'libnbd is refused with a wrong key and with an unknown user name',
  ['nbdinfo'],
  async () => {
    await using tls = await TlsHost.withKeys();
    const uris = [
      ...(await keyUrisFor(tls, 'mallory', 'alice')),
      ...(await keyUrisFor(tls, 'bob')),
      `nbd+unix:///swap0?socket=${tls.host.socketPath}`,
    ];
    const messages = new Set<string>();
    for (const uri of uris.slice(0, -1)) {
      const client = await run('nbdinfo', [uri]);
      await assertRefused(client, tls.host, /wrong key, or unknown user name/);
      messages.add(client.stderr);
    }
    assert.equal(messages.size, 1, 'the client does not learn which names exist');
    await assertRefused(await run('nbdinfo', uris.slice(-1)), tls.host, /connected/);
  },
);

peerTest('with --tls=on libnbd connects with and without TLS', ['nbdinfo', 'openssl'], async () => {
  await using tls = await TlsHost.withCertificates('on');
  const plain = await must('nbdinfo', [`nbd+unix:///swap0?socket=${tls.host.socketPath}`]);
  assert.match(plain, /newstyle-fixed without TLS/);
  const [uri = ''] = await urisFor(tls, 'alice');
  assert.match(await must('nbdinfo', [uri]), /newstyle-fixed with TLS/);
});

peerTest('nbdcopy moves an image through TLS, both ways', ['nbdcopy', 'openssl'], async () => {
  await using tls = await TlsHost.withCertificates();
  const [uri = ''] = await urisFor(tls, 'alice');
  const bytes = Buffer.concat([randomBytes(40 << 20), Buffer.alloc(24 << 20)]);
  const image = Buffer.concat([bytes, Buffer.alloc((256 << 20) - bytes.length)]);
  writeFileSync(tls.folder.file('in'), image);
  await must('nbdcopy', [tls.folder.file('in'), uri]);
  await must('nbdcopy', [uri, tls.folder.file('out')]);
  await must('cmp', [tls.folder.file('in'), tls.folder.file('out')]);
});

interface QemuClient {
  readonly object: string;
  readonly server: string;
  readonly more: string;
}

const io = ({ object, server, more }: QemuClient): Promise<Finished> =>
  run('qemu-io', [
    ...['--object', object, ...writeAndRead],
    ...['--image-opts', `driver=nbd,${server},export=swap0,tls-creds=t${more}`],
  ]);

/** QEMU as a client, over both kinds of sockets. */
async function qemuClients(tls: TlsHost, object: string, isX509: boolean): Promise<QemuClient[]> {
  return [
    {
      object,
      server: `server.type=unix,server.path=${tls.host.socketPath}`,
      more: isX509 ? ',tls-hostname=localhost' : '',
    },
    {
      object,
      server: `server.type=inet,server.host=localhost,server.port=${await tls.port()}`,
      more: '',
    },
  ];
}

peerTest(
  'qemu-io connects with a valid certificate, and is refused with any other',
  ['qemu-io', 'openssl'],
  async () => {
    await using tls = await TlsHost.withCertificates();
    const objectOf = (who: string): string =>
      `tls-creds-x509,id=t,endpoint=client,verify-peer=on,dir=${tls.folder.file(who)}`;
    for (const [who, why] of [
      ['carol', /the client sent no certificate/],
      ['mallory', /client certificate refused: /],
      ['revoked', /client certificate refused: CERT_REVOKED/],
    ] as const)
      for (const client of await qemuClients(tls, objectOf(who), true))
        await assertRefused(await io(client), tls.host, why);
    for (const client of await qemuClients(tls, objectOf('alice'), true)) {
      const { status, stdout, stderr } = await io(client);
      assert.equal(status, 0, stdout + stderr);
      assert.doesNotMatch(stdout, /Pattern verification failed/);
    }
    const [client] = await qemuClients(tls, objectOf('alice'), true);
    assert.ok(client !== undefined);
    const elsewhere = await io({ ...client, more: ',tls-hostname=example.com' });
    assert.notEqual(elsewhere.status, 0, 'QEMU checks the name in the certificate of the host');
  },
);

peerTest(
  'qemu-io connects with a valid pre-shared key, and is refused with any other',
  ['qemu-io'],
  async () => {
    await using tls = await TlsHost.withKeys();
    const objectOf = (who: string, user: string): string =>
      `tls-creds-psk,id=t,endpoint=client,dir=${tls.folder.file(who)},username=${user}`;
    for (const [who, user] of [
      ['mallory', 'alice'],
      ['bob', 'bob'],
    ] as const)
      for (const client of await qemuClients(tls, objectOf(who, user), false))
        await assertRefused(await io(client), tls.host, /wrong key, or unknown user name/);
    for (const client of await qemuClients(tls, objectOf('alice', 'alice'), false)) {
      const { status, stdout, stderr } = await io(client);
      assert.equal(status, 0, stdout + stderr);
    }
  },
);

peerTest('qemu-nbd lists the disks only through TLS', ['qemu-nbd', 'openssl'], async () => {
  await using tls = await TlsHost.withCertificates();
  const list = (who: string): Promise<Finished> =>
    run('qemu-nbd', [
      ...['--list', '--socket', tls.host.socketPath, '--tls-creds', 't'],
      ...['--tls-hostname', 'localhost', '--object'],
      `tls-creds-x509,id=t,endpoint=client,verify-peer=on,dir=${tls.folder.file(who)}`,
    ]);
  await assertRefused(await list('carol'), tls.host, /the client sent no certificate/);
  const { stdout, stderr } = await list('alice');
  assert.match(stdout, /export: 'swap0'/, stderr);
  const plain = await run('qemu-nbd', ['--list', '--socket', tls.host.socketPath]);
  assert.doesNotMatch(plain.stdout + plain.stderr, /swap0/);
});

peerTest(
  'QEMU accepts what attach prints for TLS',
  ['qemu-storage-daemon', 'openssl'],
  async () => {
    await using tls = await TlsHost.withCertificates();
    const args = (await tls.host.qemuArguments())
      .slice(0, 4)
      .map((arg) => arg.replace('/etc/pki/qemu', tls.folder.file('alice')));
    assert.deepEqual([args[0], args[2]], ['-object', '-blockdev']);
    // Ends with an error if the block device cannot be opened; else it runs until it is killed.
    const pidfile = tls.folder.file('pid');
    const { status, stderr } = await run('qemu-storage-daemon', [
      ...args.map((arg) => arg.replace(/^-(?=object|blockdev)/, '--')),
      ...['--daemonize', '--pidfile', pidfile],
    ]);
    assert.equal(status, 0, stderr);
    try {
      await until('it is opened', () => tls.host.log.includes("opened 'swap0'"));
    } finally {
      await must('sh', ['-c', `kill "$(cat ${pidfile})"`]);
    }
  },
);
