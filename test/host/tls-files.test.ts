/** Files of TLS: what is refused, and that no error contains a secret. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { SwapError } from '../../src/base/errors.ts';
import { checkConfig } from '../../src/host/check-config.ts';
import { fileFlaw, loadTls, parsePskFile } from '../../src/host/tls-files.ts';
import type { TlsServerOptions } from '../../src/nbd/server/tls-upgrade.ts';
import { Authority } from '../support/fixtures/certificates.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { configOf } from '../support/fixtures/host-config.ts';
import { have } from '../support/fixtures/processes.ts';
import { rig, start } from './host-rig.ts';

const uid = process.getuid?.() ?? 0;
const key = 'ab'.repeat(32);

function withPsk(t: TestContext, text: string, mode: number): () => TlsServerOptions {
  const file = join(testFolder(t), 'keys.psk');
  writeFileSync(file, text);
  chmodSync(file, mode);
  return () => loadTls({ mode: 'require', source: { kind: 'psk', file } }, uid, () => undefined);
}

test('a key file has a line for each user', (t) => {
  const text = `# users\n\nalice:${key}\r\nbob@host:8080:${key.toUpperCase()}\n`;
  const { mode, credentials } = withPsk(t, text, 0o600)();
  assert.equal(mode, 'require');
  assert.ok(credentials.kind === 'psk');
  assert.deepEqual([...credentials.keys.reveal().keys()], ['alice', 'bob@host:8080']);
  for (const bytes of credentials.keys.reveal().values())
    assert.equal(Buffer.from(bytes).toString('hex'), key);
});

const badLines = [
  [`alice`, /line 1 is not of the form USERNAME:HEXKEY/],
  [`\n:${key}`, /line 2 is not of the form/],
  [`alice:${key}f`, /is not of the form/],
  [`alice:${key.replace('a', 'x')}`, /is not of the form/],
  [`alice:${key} `.replace(key, `${key} ${key}`), /is not of the form/],
  ['alice:', /is not of the form/],
  [`alice:${'ab'.repeat(15)}`, /line 1 has a key of 15 bytes: use 16 to 64/],
  [`alice:${'ab'.repeat(65)}`, /has a key of 65 bytes/],
  [`${'a'.repeat(129)}:${key}`, /user name of more than 128 bytes/],
  [`alice:${key}\nalice:${'cd'.repeat(32)}`, /line 2 repeats a user name/],
  [`a\u0007b:${key}`, /user name that is not printable UTF-8/],
  [`\ufeffbob:${key}`, /line 1 has a user name that is not printable UTF-8/],
  [`b\ufffdb:${key}`, /user name that is not printable UTF-8/],
  [`bob:${'ab'.repeat(500_000)}`, /has a key of 500000 bytes/],
  [`bob:${'ab'.repeat(500_000)}x`, /is not of the form/],
  ['# nothing', /contains no key/],
  ['', /contains no key/],
] as const;
test('a wrong line is refused by its number, without its text', () => {
  for (const [text, message] of badLines)
    assert.throws(
      () => parsePskFile('/k', text),
      (error: SwapError) => {
        assert.equal(error.code, 'ERR_ARG_VALUE');
        assert.match(error.message, message);
        const all = JSON.stringify([error.message, error.stack, error.facts]);
        assert.ok(!/(ab){4}|alice/.test(all), all);
        return true;
      },
    );
});

test('a file that others can read, or its group can write, is refused', (t) => {
  for (const mode of [0o604, 0o644, 0o602, 0o601, 0o620, 0o660])
    assert.throws(withPsk(t, `a:${key}`, mode), {
      code: 'ERR_IO_UNSAFE_PATH',
      message: /contains a secret: chmod 600 \S+, and make new keys if/,
    });
  for (const mode of [0o600, 0o400, 0o640]) withPsk(t, `a:${key}`, mode)();
});

test('a secret that belongs to another user is refused, one that belongs to root is not', () => {
  const flaw = (owner: number, uid: number): string =>
    fileFlaw({ uid: owner, mode: 0o100600 } as Stats, { uid, isSecret: true });
  assert.equal(flaw(1000, 1000), '');
  assert.equal(flaw(0, 1000), '');
  assert.equal(flaw(1001, 1000), 'belongs to user 1001, not to 1000 or root');
  assert.equal(flaw(1001, 0), 'belongs to user 1001, not to 0 or root');
});

test('a user name that is not UTF-8 is refused, not taken for another name', (t) => {
  const file = join(testFolder(t), 'keys.psk');
  writeFileSync(file, Buffer.concat([Buffer.from([0xff]), Buffer.from(`:${key}\n`)]), {
    mode: 0o600,
  });
  const source = { kind: 'psk', file } as const;
  assert.throws(() => loadTls({ mode: 'on', source }, uid, () => undefined), {
    message: /not printable UTF-8/,
  });
});

test('a file of 15,000 keys is read', (t) => {
  const text = Array.from({ length: 15_000 }, (_, i) => `u${i}:${key.slice(0, 60)}`).join('\n');
  const { credentials } = withPsk(t, text, 0o600)();
  assert.ok(credentials.kind === 'psk');
  assert.equal(credentials.keys.reveal().size, 15_000);
});

test('a symbolic link is as safe as its target', (t) => {
  const folder = testFolder(t);
  writeFileSync(join(folder, 'target'), `a:${key}\n`, { mode: 0o600 });
  symlinkSync('target', join(folder, 'link'));
  const source = { kind: 'psk', file: join(folder, 'link') } as const;
  const load = (): unknown => loadTls({ mode: 'on', source }, uid, () => undefined);
  load();
  chmodSync(join(folder, 'target'), 0o644);
  assert.throws(load, { code: 'ERR_IO_UNSAFE_PATH' });
});

test('a path that is not a file is refused without blocking, and so is a file above 1 MiB', (t) => {
  const folder = testFolder(t);
  const load = (name: string): (() => unknown) => {
    const source = { kind: 'psk', file: join(folder, name) } as const;
    return () => loadTls({ mode: 'on', source }, uid, () => undefined);
  };
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  writeFileSync(join(folder, 'long'), Buffer.alloc((1 << 20) + 1), { mode: 0o600 });
  mkdirSync(join(folder, 'folder'));
  symlinkSync('absent', join(folder, 'link'));
  assert.throws(load('fifo'), { code: 'ERR_ARG_VALUE', message: /is not a file/ });
  assert.throws(load('folder'), { code: 'ERR_ARG_VALUE', message: /is not a file/ });
  assert.throws(load('long'), { code: 'ERR_ARG_VALUE', message: /is longer than 1 MiB/ });
  assert.throws(load('link'), { code: 'ERR_IO_SYSTEM', message: /--tls-certificates/ });
});

const skip = !have('openssl') && 'openssl is missing';

test('certificates', { skip, timeout: 60_000 }, async (t) => {
  const folder = testFolder(t);
  const good = join(folder, 'good');
  new Authority(good, 'authority').issue(good, 'server', 'localhost');
  new Authority(join(folder, 'b'), 'other').issue(join(folder, 'b'), 'server', 'localhost');
  const changed = join(folder, 'changed');
  const log: string[] = [];
  /** Loads a copy of the good files after a change. */
  const load = (change: () => void, verifyPeer = true): TlsServerOptions => {
    rmSync(changed, { recursive: true, force: true });
    mkdirSync(changed);
    for (const name of ['ca-cert.pem', 'server-cert.pem', 'server-key.pem'])
      copyFileSync(join(good, name), join(changed, name));
    change();
    const source = { kind: 'x509', folder: changed, verifyPeer } as const;
    return loadTls({ mode: 'require', source }, uid, (line) => log.push(line));
  };
  const file = (name: string): string => join(changed, name);
  const put = (name: string, text: string) => (): void => writeFileSync(file(name), text);
  const refuse = (change: () => void, code: string, message: RegExp): void => {
    const secret = readFileSync(join(good, 'server-key.pem'), 'utf8').split('\n')[1] ?? '';
    assert.throws(
      () => load(change),
      (error: SwapError) => {
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        assert.ok(!`${error.message}${error.stack}`.includes(secret));
        return true;
      },
    );
  };

  await t.test('are read under the file names that nbdkit uses', () => {
    const { credentials } = load(() => undefined);
    assert.ok(credentials.kind === 'x509' && credentials.clientAuthority !== null);
    assert.equal(credentials.revoked, null);
    const { credentials: unverified } = load(() => rmSync(file('ca-cert.pem')), false);
    assert.ok(unverified.kind === 'x509' && unverified.clientAuthority === null);
    assert.deepEqual(log, []);
  });
  await t.test('are refused when a file is missing', () => {
    for (const name of ['ca-cert.pem', 'server-cert.pem', 'server-key.pem'])
      refuse(() => rmSync(file(name)), 'ERR_IO_SYSTEM', new RegExp(`cannot read \\S+/${name}: `));
  });
  await t.test('are refused when a file has the wrong contents', () => {
    const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    refuse(put('server-cert.pem', pem), 'ERR_ARG_VALUE', /server-cert.pem is not a certificate/);
    refuse(put('server-key.pem', 'x'), 'ERR_ARG_VALUE', /server-key.pem is not a private key/);
    refuse(put('ca-cert.pem', ''), 'ERR_ARG_VALUE', /ca-cert.pem is not a certificate/);
    refuse(put('ca-crl.pem', 'x'), 'ERR_ARG_VALUE', /ca-crl.pem is not a certificate revocation/);
    refuse(
      () => copyFileSync(join(good, 'server-cert.pem'), file('ca-cert.pem')),
      'ERR_ARG_VALUE',
      /is not the certificate of an authority/,
    );
    refuse(
      () => copyFileSync(join(folder, 'b', 'server-key.pem'), file('server-key.pem')),
      'ERR_ARG_VALUE',
      /server-key.pem is not the key of \S+server-cert.pem/,
    );
  });
  await t.test('are refused when the key has a passphrase', () => {
    const encrypt = ['pkey', '-in', join(good, 'server-key.pem'), '-aes256', '-passout', 'pass:x'];
    refuse(
      () => execFileSync('openssl', [...encrypt, '-out', file('server-key.pem')]),
      'ERR_ARG_VALUE',
      /server-key.pem has a passphrase/,
    );
  });
  await t.test('are refused when others can read the key', () => {
    refuse(
      () => chmodSync(file('server-key.pem'), 0o644),
      'ERR_IO_UNSAFE_PATH',
      /server-key.pem is accessible to all users, but contains a secret/,
    );
  });
  await t.test(
    'are refused when other users can change a file that decides which clients are accepted',
    () => {
      for (const name of ['ca-cert.pem', 'server-cert.pem', 'ca-crl.pem'])
        for (const mode of [0o646, 0o664])
          refuse(
            () => {
              if (name === 'ca-crl.pem') writeFileSync(file(name), '');
              chmodSync(file(name), mode);
            },
            'ERR_IO_UNSAFE_PATH',
            new RegExp(`${name} can be changed by (all users|its group): it decides which clients`),
          );
      refuse(
        () => chmodSync(changed, 0o757),
        'ERR_IO_UNSAFE_PATH',
        /changed can be changed by all users/,
      );
    },
  );
  await t.test('may have several authorities, with a revocation list of each', () => {
    const lists: string[] = [];
    for (const name of ['one', 'two']) {
      const authority = new Authority(join(folder, name), name);
      authority.issue(join(folder, name), 'client', 'x');
      authority.revoke(join(folder, name), join(folder, name, 'client-cert.pem'));
      lists.push(readFileSync(join(folder, name, 'ca-crl.pem'), 'utf8'));
    }
    const { credentials } = load(put('ca-crl.pem', lists.join('')));
    assert.ok(credentials.kind === 'x509');
    assert.deepEqual(credentials.revoked, lists);
    const both = ['one', 'two'].map((name) =>
      readFileSync(join(folder, name, 'ca-cert.pem'), 'utf8'),
    );
    load(put('ca-cert.pem', both.join('')));
    const leaf = readFileSync(join(good, 'server-cert.pem'), 'utf8');
    refuse(
      put('ca-cert.pem', both.join('') + leaf),
      'ERR_ARG_VALUE',
      /is not the certificate of an authority/,
    );
  });
  await t.test('are read again by reload(), and stay in use after an error', async () => {
    load(() => chmodSync(file('server-key.pem'), 0o600));
    const settings = { unix: `${folder}/r`, tls: 'require', 'tls-certificates': changed };
    const made = rig(t, { ...settings, 'no-control': true });
    const host = await start(t, made.options);
    assert.equal(host.reloader.hasFiles, true);
    assert.deepEqual(await host.reloader.reload(), {
      changed: ['the TLS files were read again; they apply to new connections'],
      failed: [],
      ignored: [],
    });
    chmodSync(file('server-key.pem'), 0o644);
    await assert.rejects(host.reloader.reload(), { code: 'ERR_IO_UNSAFE_PATH' });
    const plain = await start(t, rig(t, { unix: `${folder}/p`, 'no-control': true }).options);
    assert.equal(plain.reloader.hasFiles, false);
  });
  await t.test(
    'are checked by --check and at the start of a host, and an error leaves nothing running',
    async () => {
      load(() => chmodSync(file('server-key.pem'), 0o600));
      chmodSync(file('server-key.pem'), 0o644);
      const settings = { unix: '@/s', tls: 'require', 'tls-certificates': changed };
      const text = JSON.stringify({ ...settings, 'no-control': true }).replaceAll('@', folder);
      const config = configOf(JSON.parse(text) as Record<string, unknown>);
      const code = 'ERR_IO_UNSAFE_PATH';
      await assert.rejects(checkConfig({ config, runtimeFolder: folder, uid }), { code });
      await assert.rejects(start(t, rig(t, { ...settings, port: 0 }).options), { code });
    },
  );
});
