/** Snippets to paste: exact text, and quoting that holds for any name and path. */
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
  assert.match(snippet, /# Not on the machine of the host/);
  assert.doesNotMatch(snippet, /rotational/); // nbd.ko is no rotating disk
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

test('any word survives the shell', () => {
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

test('no name leaves the comment lines or the words; control characters are refused', () => {
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
