/**
 * Clients that reconnect by themselves after the host was killed and started again with the same arguments: its disks are
 * then empty. Under the name of the old generation (docs/adr/0013) they must be refused, and must never read zeros.
 *
 * `nbd-client -persist` reconnects only with the kernel's nbd driver, and then sends the same bytes as when it first
 * connects. So the tests run its negotiation by the program itself, which then fails because there is no device
 * (`-nonetlink`, /dev/null), and imitate its reconnect loop by sending the bytes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { type Finished, peerTest, run, TemporaryFolder } from '../support/fixtures/processes.ts';
import { QemuIo } from '../support/fixtures/qemu-io.ts';
import { command, goOption, RawClient, requestBytes } from '../support/fixtures/raw-client.ts';

const limits = { timeout: 60_000 } as const;
const PAGE = 4096;
const page = Buffer.alloc(PAGE, 0x5a);
const replyUnknown = 0x8000_0006; // NBD_REP_ERR_UNKNOWN
const replyAck = 1;
/** Fixed newstyle, no zeroes: what nbd-client answers to our handshake. */
const clientFlags = Buffer.from([0, 0, 0, 3]);

const startIn = (folder: TemporaryFolder): Promise<OwnHost> =>
  OwnHost.start({
    disks: ['vm1=16M', 'vm2=16M'],
    socketPath: folder.file('nbd.sock'),
    controlPath: folder.file('control.sock'),
  });

async function killed(host: OwnHost): Promise<void> {
  assert.equal(await host.stop('SIGKILL'), -1, 'a signal ended it');
}

/** NBD_OPT_EXPORT_NAME, which older clients use and `nbd-client -g`. */
function exportNameOption(name: string): Buffer {
  const option = Buffer.alloc(16 + name.length);
  option.write('IHAVEOPT', 0, 'latin1');
  option.writeUInt32BE(1, 8);
  option.writeUInt32BE(name.length, 12);
  option.write(name, 16, 'latin1');
  return option;
}

/** Connects as `nbd-client -persist` does when its connection is lost: again and again, until something listens. */
async function reconnected(socketPath: string): Promise<RawClient> {
  for (;;) {
    const client = await RawClient.connect(socketPath).catch(() => null);
    if (client !== null) {
      await client.read(18);
      client.socket.write(clientFlags);
      return client;
    }
    await sleep(20);
  }
}

/** Type and text of the reply to an option, refused or accepted. */
async function replyOf(client: RawClient): Promise<{ type: number; text: string }> {
  for (;;) {
    const head = await client.read(20);
    const text = (await client.read(head.readUInt32BE(16))).toString();
    const type = head.readUInt32BE(12);
    if (type === replyAck || type >= 0x8000_0000) return { type, text };
  }
}

/** Number of bytes that the server sends until it closes the connection. */
async function restOf(client: RawClient): Promise<number> {
  for (let count = 0; ; count++) {
    const got = await client.read(1).catch(() => null);
    if (got === null) return count;
  }
}

test(
  'a client that lost its connection to a running host finds its pages under the old name',
  limits,
  async () => {
    using folder = new TemporaryFolder();
    await using host = await startIn(folder);
    const name = await host.exportNow();
    const first = await RawClient.open(host.socketPath, name);
    assert.equal(await first.write(PAGE, page), 0);
    first.socket.destroy(); // the connection is lost: no NBD_CMD_DISC
    using again = await RawClient.open(host.socketPath, name);
    assert.deepEqual(await again.pread(PAGE, PAGE), page);
  },
);

test(
  'after kill -9 and a start with the same arguments NBD_OPT_GO refuses the old name, once and for every connection',
  limits,
  async () => {
    using folder = new TemporaryFolder();
    const host = await startIn(folder);
    const { socketPath } = host;
    const before = await Promise.all(['vm1', 'vm2'].map((disk) => host.exportNow(disk)));
    using first = await RawClient.open(socketPath, before[0]!);
    assert.equal(await first.write(PAGE, page), 0);
    await killed(host);
    await first.ended();
    assert.equal(await RawClient.connect(socketPath).catch(() => 'refused'), 'refused');
    // The client is the same process, which retries until a server listens.
    const waiting = before.flatMap((name) =>
      Array.from({ length: 4 }, async () => ({ name, client: await reconnected(socketPath) })),
    );
    await using next = await startIn(folder);
    for (const { name, client } of await Promise.all(waiting)) {
      using _ = client;
      for (let tries = 0; tries < 2; tries++) {
        client.socket.write(goOption(name));
        const { type, text } = await replyOf(client);
        assert.equal(type, replyUnknown);
        assert.match(
          text,
          new RegExp(`^'${name}' no longer exists: disk '${name.slice(0, 3)}' has been emptied`),
        );
      }
      // Nothing is served on a connection without an export, whatever is asked.
      client.socket.write(requestBytes(command.read, PAGE, PAGE));
      assert.equal(await restOf(client), 0);
    }
    assert.equal((await next.figures()).storedPages, 0);
  },
);

test(
  'after kill -9 and a start with the same arguments NBD_OPT_EXPORT_NAME ends the connection without a byte',
  limits,
  async () => {
    using folder = new TemporaryFolder();
    const host = await startIn(folder);
    const before = await host.exportNow();
    using first = await RawClient.open(host.socketPath, before);
    assert.equal(await first.write(0, page), 0);
    await killed(host);
    await using next = await startIn(folder);
    using client = await reconnected(next.socketPath);
    client.socket.write(
      Buffer.concat([exportNameOption(before), requestBytes(command.read, 0, PAGE)]),
    );
    assert.equal(await restOf(client), 0, 'no size, no flags, no reply');
    // The same option accepts the current name: 8 bytes of size, 2 of flags, and a request is answered.
    using now = await reconnected(next.socketPath);
    now.socket.write(exportNameOption(await next.exportNow()));
    assert.equal((await now.read(10)).readBigUInt64BE(0), 16n * 1024n * 1024n);
    assert.deepEqual(await now.pread(0, PAGE), Buffer.alloc(PAGE));
  },
);

test(
  'no generation is reused: three starts have three names, and each accepts only its own',
  limits,
  async () => {
    using folder = new TemporaryFolder();
    const names: string[] = [];
    for (let start = 0; start < 3; start++) {
      const host = await startIn(folder);
      names.push(await host.exportNow());
      for (const [i, name] of names.entries())
        if (i === start) (await RawClient.open(host.socketPath, name))[Symbol.dispose]();
        else
          await assert.rejects(RawClient.open(host.socketPath, name), /the server refuses 'vm1@/);
      await killed(host);
    }
    assert.equal(new Set(names).size, 3);
  },
);

/** nbd-client as `frontswap attach` prints it. It ends when it has negotiated: /dev/null is no nbd device. */
const nbdClient = (host: OwnHost, name: string, ...more: string[]): Promise<Finished> =>
  run('nbd-client', [
    ...['-unix', host.socketPath, '-N', name, '-b', '4096', '-persist', '-swap'],
    ...['-nonetlink', '-nofork', ...more, '/dev/null'],
  ]);

peerTest(
  'nbd-client -persist is refused under the old name after kill -9, by both options that open an export',
  ['nbd-client'],
  async () => {
    using folder = new TemporaryFolder();
    const host = await startIn(folder);
    const before = await host.exportNow();
    for (const way of [[], ['-g']]) {
      const { stdout } = await nbdClient(host, before, ...way);
      assert.match(stdout, /size = 16MB/, 'the negotiation succeeded');
    }
    await killed(host);
    await using next = await startIn(folder);
    const { status, stdout, stderr } = await nbdClient(next, before);
    assert.equal(status, 1);
    assert.doesNotMatch(stdout, /size =/);
    assert.match(
      stderr,
      /Server said: 'vm1@[0-9a-f]{8}' no longer exists: disk 'vm1' has been emptied/,
    );
    // Without NBD_OPT_GO it gets no reply and takes the contents of its buffer for the size, usually 0: "Size of the device
    // changed".
    assert.doesNotMatch((await nbdClient(next, before, '-g')).stdout, /size = 16MB/);
    assert.match((await nbdClient(next, await next.exportNow())).stdout, /size = 16MB/);
  },
);

peerTest(
  'nbdinfo and nbdcopy are refused under the old name after kill -9',
  ['nbdinfo', 'nbdcopy'],
  async () => {
    using folder = new TemporaryFolder();
    const host = await startIn(folder);
    const before = host.uri(await host.exportNow());
    assert.equal((await run('nbdinfo', ['--size', before])).stdout, `${16 * 1024 * 1024}\n`);
    await killed(host);
    await using next = await startIn(folder);
    for (const [tool, ...args] of [
      ['nbdinfo', before],
      ['nbdcopy', before, folder.file('copy')],
    ] as const) {
      const { status, stderr } = await run(tool, args);
      assert.notEqual(status, 0, tool);
      assert.match(
        stderr,
        /no export named 'vm1@|No such file or directory for export: vm1@/,
        tool,
      );
    }
    const now = next.uri(await next.exportNow());
    assert.equal((await run('nbdinfo', ['--size', now])).status, 0);
  },
);

peerTest(
  'QEMU that reconnects after kill -9 gets I/O errors under the name of its generation, zeros under the bare name',
  ['qemu-io'],
  async () => {
    using folder = new TemporaryFolder();
    const host = await startIn(folder);
    const { socketPath } = host;
    using guarded = new QemuIo(socketPath, await host.exportNow());
    using bare = new QemuIo(socketPath, 'vm2');
    for (const io of [guarded, bare]) {
      await io.tell('write -P 0x5a 0 4k', /wrote 4096/);
      await io.tell('read -P 0x5a 0 4k', /read 4096/);
    }
    await killed(host);
    await using next = await startIn(folder);
    const ended = /read 4096|failed/;
    assert.match(
      await guarded.tell('read -P 0x5a 0 4k', ended),
      /read failed: Input\/output error/,
    );
    assert.match(await guarded.tell('read -P 0 0 4k', ended), /read failed: Input\/output error/);
    // So attach does not print the bare name: its client cannot detect that the disk was emptied.
    assert.match(await bare.tell('read -P 0 0 4k', ended), /^(?!.*failed).*read 4096/s);
    assert.equal((await next.figures('vm1')).storedPages, 0);
  },
);
