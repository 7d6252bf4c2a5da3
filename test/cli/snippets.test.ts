/** Snippets to paste: exact text, and quoting that is correct for any name and path. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatSnippet, shellQuote } from '../../src/cli/snippets.ts';
import { formatUri, type NbdTarget } from '../../src/host/uri.ts';
import { cli } from './fake-world.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const unix = (path: string, exportName: string): NbdTarget => ({
  address: { kind: 'unix', path },
  exportName,
});
const tcp = (host: string, exportName: string): NbdTarget => ({
  address: { kind: 'tcp', host, port: 10809 },
  exportName,
});

/** The words a shell makes of the lines that are not comments. */
const shellWords = (snippet: string): string[] =>
  execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${snippet.replace(/^#.*$/gm, '').trim()}`])
    .toString()
    .split('\0')
    .slice(0, -1);

test('QEMU gets a block device and a disk that discards in pages', () => {
  const snippet = formatSnippet('qemu', unix('/run/x/nbd.sock', 'vm1'));
  assert.deepEqual(shellWords(snippet), [
    '-blockdev',
    'driver=nbd,node-name=nbd-vm1,server.type=unix,server.path=/run/x/nbd.sock,export=vm1,reconnect-delay=60,discard=unmap',
    '-device',
    'virtio-blk-pci,drive=nbd-vm1,serial=vm1,discard=on,logical_block_size=4096,physical_block_size=4096,werror=report,rerror=report',
  ]);
});

test('QEMU reaches a host on another machine', () => {
  assert.match(
    formatSnippet('qemu', tcp('10.0.0.1', '')),
    /server.type=inet,server.host=10.0.0.1,server.port=10809,export=,/,
  );
});

test('a comma, a quote and a space reach QEMU unchanged', () => {
  const [, blockdev = ''] = shellWords(formatSnippet('qemu', unix("/a,b/it's here", 'x y,z')));
  assert.ok(blockdev.includes("server.path=/a,,b/it's here,export=x y,,z,"), blockdev);
  assert.match(blockdev, /node-name=nbd-x-y-z-[0-9a-f]{8},/);
});

test('QEMU ids and serials are never too long', () => {
  const snippet = formatSnippet('qemu', unix('/s', 'n'.repeat(64)));
  assert.match(snippet, /node-name=nbd-n{18}-[0-9a-f]{8},/);
  assert.match(snippet, /serial=n{11}-[0-9a-f]{8},/);
});

test('names that differ only in replaced or cut characters have different serials and ids', () => {
  const idsOf = (name: string): string[] =>
    [
      .../(?:serial|node-name)=([^,]+)/g[Symbol.matchAll](formatSnippet('qemu', unix('/s', name))),
    ].map(([, id = '']) => id);
  const fits = 'n'.repeat(20);
  assert.match(formatSnippet('qemu', unix('/s', fits)), new RegExp(`serial=${fits},`));
  for (const [one, other] of [
    [`${fits}1`, `${fits}2`],
    ['a b', 'a,b'],
    ['a b', 'a-b'],
  ] as const) {
    const ids = [...idsOf(one), ...idsOf(other)];
    assert.equal(new Set(ids).size, 4, ids.join(' '));
  }
});

test('Cloud Hypervisor and Firecracker open a vhost-user socket beside that of the host', () => {
  const chosen = unix('/run/x y/nbd.sock', 'vm1');
  const words = shellWords(formatSnippet('cloud-hypervisor', chosen));
  assert.deepEqual(words, [
    'qemu-storage-daemon',
    '--daemonize',
    '--pidfile',
    '/run/x y/vhost-vm1.pid',
    '--blockdev',
    'driver=nbd,node-name=nbd-vm1,server.type=unix,server.path=/run/x y/nbd.sock,export=vm1,reconnect-delay=60,discard=unmap',
    '--export',
    'type=vhost-user-blk,id=vhost-vm1,node-name=nbd-vm1,addr.type=unix,addr.path=/run/x y/vhost-vm1.sock,writable=on,logical-block-size=4096,num-queues=1',
  ]);
  assert.match(
    formatSnippet('cloud-hypervisor', chosen),
    /# {3}--memory size=1G,shared=on \\\n# {3}--disk 'vhost_user=on,socket=\/run\/x y\/vhost-vm1.sock,num_queues=1,/,
  );
  const [, curl = ''] = formatSnippet('firecracker', tcp('10.0.0.1', 'a-b')).split('curl');
  const all = shellWords(curl);
  const drive = JSON.parse(all.at(-1) ?? '') as { drive_id: string; socket: string };
  assert.match(drive.drive_id, /^a_b_[0-9a-f]{8}$/);
  assert.equal(drive.socket, '/run/vhost-a-b.sock');
  assert.ok(all.includes(`http://localhost/drives/${drive.drive_id}`));
});

test('a path that Cloud Hypervisor cannot parse is refused, one with a comma is quoted', () => {
  const text = formatSnippet('cloud-hypervisor', unix('/a,b/nbd.sock', 'vm1'));
  assert.match(text, /socket="\/a,b\/vhost-vm1.sock",/);
  assert.match(text, /addr.path=\/a,,b\/vhost-vm1.sock,/);
  for (const path of ['/a"b/nbd.sock', '/a[b/nbd.sock', '/a]b/nbd.sock'])
    assert.throws(() => formatSnippet('cloud-hypervisor', unix(path, 'vm1')), {
      code: 'ERR_ARG_VALUE',
    });
});

test('libvirt gets XML for both kinds of address', () => {
  const local = formatSnippet('libvirt', unix('/run/a&b', 'vm1'));
  assert.match(
    local,
    /<source protocol='nbd' name='vm1'>\n\s+<host transport='unix' socket='\/run\/a&amp;b'\/>/,
  );
  assert.match(local, /discard='unmap'/);
  const remote = formatSnippet('libvirt', tcp('::1', `<'">`));
  assert.match(remote, /name='&lt;&apos;&quot;&gt;'>\n\s+<host name='::1' port='10809'\/>/);
});

test('the XML comment contains no two hyphens', () => {
  const xml = formatSnippet('libvirt', unix('/s--t', 'a--b'));
  const comment = /<!--([\s\S]*)-->/.exec(xml)?.[1] ?? '--';
  assert.ok(!comment.includes('--'), comment);
});

test('nbd-client gets its device, and a warning against swapping to the same machine', () => {
  const snippet = formatSnippet('nbd-client', tcp('10.0.0.1', 'vm1'));
  assert.match(snippet, /\nnbd-client 10.0.0.1 10809 -N vm1 -b 4096 -persist -swap \/dev\/nbd0\n/);
  assert.match(snippet, /# Do not run it on the machine of the host/);
  assert.doesNotMatch(snippet, /rotational/); // nbd.ko is not a rotating disk
  assert.match(formatSnippet('nbd-client', unix('/a b', '')), /nbd-client -unix '\/a b' -b 4096/);
});

test('every format lists the commands for the guest, with reasons', () => {
  for (const format of ['qemu', 'libvirt', 'nbd-client']) {
    const text = formatSnippet(format, unix('/s', 'vm1'));
    assert.match(text, /mkswap \/dev\//);
    assert.match(text, /swapon -o pri=100,discard=pages \/dev\//);
    assert.match(text, /several times larger/);
    if (format !== 'nbd-client')
      assert.ok(text.indexOf('queue/rotational') < text.indexOf('swapon -o'), text);
  }
});

test('any quoted word passes through the shell unchanged', () => {
  const word = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), (words) => {
      const script = `printf '%s\\0' ${words.map(shellQuote).join(' ')}`;
      const out = execFileSync('/bin/sh', ['-c', script]).toString();
      assert.deepEqual(out.split('\0').slice(0, -1), words);
    }),
    { seed, numRuns: 30 },
  );
});

test('no name or path breaks out of its comment or its word; control characters are refused', () => {
  const text = fc.string({
    unit: fc.oneof(fc.constantFrom('\n', '\r', '\x1b', "'", '#'), fc.string({ unit: 'grapheme' })),
    maxLength: 30,
  });
  fc.assert(
    fc.property(text, text, (path, name) => {
      for (const format of ['qemu', 'nbd-client']) {
        const target = unix(`/${path}`, name);
        if (/\p{Cc}/u.test(path + name)) {
          assert.throws(() => formatSnippet(format, target), { code: 'ERR_ARG_VALUE' });
          continue;
        }
        const head = formatSnippet(format, target).split('\n')[0] ?? '';
        assert.ok(head.startsWith('# '), head);
      }
    }),
    { seed },
  );
});

test('QEMU gets credentials for TLS', () => {
  const tls = (type: 'x509' | 'psk', more = {}): NbdTarget => ({
    address: { kind: 'unix', path: '/s', tls: { type, ...more } },
    exportName: 'vm1',
  });
  const [, x509, , blockdev] = shellWords(formatSnippet('qemu', tls('x509')));
  assert.equal(x509, 'tls-creds-x509,id=tls-vm1,endpoint=client,dir=/etc/pki/qemu,verify-peer=on');
  assert.match(blockdev ?? '', /,export=vm1,tls-creds=tls-vm1,tls-hostname=localhost,reconnect/);
  const [, psk, , withKey] = shellWords(formatSnippet('qemu', tls('psk')));
  assert.equal(psk, 'tls-creds-psk,id=tls-vm1,endpoint=client,dir=/etc/pki/qemu,username=qemu');
  assert.match(withKey ?? '', /,export=vm1,tls-creds=tls-vm1,reconnect/);
  const more = { hostname: 'a,b', certificates: '/x y' };
  const [, there, , named] = shellWords(formatSnippet('qemu', tls('x509', more)));
  assert.match(there ?? '', /,dir=\/x y,/);
  assert.match(named ?? '', /,tls-hostname=a,,b,/);
  const control = tls('x509', { hostname: 'a\u001b' });
  assert.throws(() => formatSnippet('qemu', control), { code: 'ERR_ARG_VALUE' });
});

test('libvirt gets TLS with certificates; what a client cannot do is refused', () => {
  const target = (type: 'x509' | 'psk', hostname?: string): NbdTarget => ({
    address: {
      ...{ kind: 'tcp', host: 'h', port: 1 },
      tls: { type, ...(hostname === undefined ? {} : { hostname }) },
    } as NbdTarget['address'],
    exportName: 'vm1',
  });
  assert.match(formatSnippet('libvirt', target('x509')), /name='vm1' tls='yes'>/);
  assert.match(formatSnippet('libvirt', target('x509', "a'b")), /tlsHostname='a&apos;b'>/);
  const code = 'ERR_IO_UNSUPPORTED';
  assert.throws(() => formatSnippet('libvirt', target('psk')), { code });
  for (const type of ['x509', 'psk'] as const)
    assert.throws(() => formatSnippet('nbd-client', target(type)), {
      code,
      message: /hangs when its machine swaps/,
    });
});

test('attach --uri queries no host, and --json wraps the text', async () => {
  const target = unix('/run/x', 'vm1');
  const uri = formatUri(target.address, 'vm1');
  const { status, stdout } = await cli(['attach', '-f', 'qemu', '--uri', uri]);
  assert.deepEqual([status, stdout], [0, formatSnippet('qemu', target)]);
  const named = await cli(['attach', '-f', 'qemu', '--uri', 'nbd+unix:///?socket=/run/x', 'vm1']);
  assert.equal(named.stdout, stdout);
  const json = await cli(['attach', '-f', 'qemu', '--uri', uri, '--json']);
  assert.deepEqual(JSON.parse(json.stdout), {
    schemaVersion: 1,
    format: 'qemu',
    uri,
    text: stdout,
  });
});
