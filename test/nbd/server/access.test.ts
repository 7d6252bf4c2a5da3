/** Exports with an access list: visible to the users and groups in it; for others they do not exist. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { DiskExports } from '../../../src/host/disk-exports.ts';
import { Option, OptionReply } from '../../../src/nbd/protocol/wire.ts';
import type { NbdServerOptions } from '../../../src/nbd/server/server-options.ts';
import { isAllowed } from '../../../src/nbd/server/visible-exports.ts';
import type { PeerCredentials } from '../../../src/os/linux/peer-credentials.ts';
import {
  clientFlags,
  infoData,
  metaData,
  option,
  optionReplies,
  utf8,
} from '../../support/fixtures/nbd-client.ts';
import { Client, rig } from './server-rig.ts';

const limits = { timeout: 30_000 };

/** Exports `hidden`, for user 1000 and group 2000, and `open`, for all. */
function twoDisks(): DiskExports {
  const exports = new DiskExports();
  for (const name of ['hidden', 'open'])
    exports.set(name, {
      name,
      description: '',
      disk: new MemoryDisk(1 << 20),
      isShared: true,
      access: name === 'hidden' ? { uids: [1000], gids: [2000] } : null,
    });
  return exports;
}

const as = (peer: PeerCredentials | null): Partial<NbdServerOptions> => ({
  exports: twoDisks(),
  peer: () => peer,
});

/** Sends an option; the types and texts of its replies, until the final one. */
async function ask(client: Client, type: number, data?: Uint8Array): Promise<[number, string][]> {
  client.say(option(type, data));
  const replies: [number, string][] = [];
  for (;;) {
    const head = await client.hear(20);
    if (head.length < 20) return replies;
    const body = await client.hear(head.readUInt32BE(16));
    const [reply] = optionReplies(Buffer.concat([head, body]));
    assert.ok(reply !== undefined);
    replies.push([reply.type, Buffer.from(reply.data).toString('utf8')]);
    if (reply.type === OptionReply.ack || reply.type >= 0x8000_0000) return replies;
  }
}

async function negotiating(client: Client): Promise<Client> {
  await client.hear(18);
  client.say(clientFlags());
  return client;
}

const listed = async (client: Client): Promise<string[]> =>
  (await ask(client, Option.list))
    .filter(([type]) => type === OptionReply.server)
    .map(([, text]) => text.slice(4));

const strangers: readonly (readonly [string, PeerCredentials | null])[] = [
  ['another user', { pid: 5, uid: 1001, gid: 1001 }],
  ['a user with the number of the group', { pid: 5, uid: 2000, gid: 1000 }],
  ['root', { pid: 5, uid: 0, gid: 0 }],
  ['an unknown client', null],
];
for (const [who, peer] of strangers)
  test(`${who} gets the same answers for a hidden name as for an unknown one`, limits, async () => {
    await rig(as(peer), async ({ client }) => {
      const stranger = await negotiating(client());
      assert.deepEqual(await listed(stranger), ['open']);
      await ask(stranger, Option.structuredReply);
      for (const suffix of ['', '@00000000', '@'])
        for (const [type, dataOf] of [
          [Option.info, (name: string) => infoData(name, [0, 1, 2, 3])],
          [Option.go, (name: string) => infoData(name)],
          [Option.listMetaContext, (name: string) => metaData(name, [])],
          [Option.setMetaContext, (name: string) => metaData(name, ['base:allocation'])],
        ] as const) {
          const hidden = await ask(stranger, type, dataOf(`hidden${suffix}`));
          const absent = await ask(stranger, type, dataOf(`absent${suffix}`));
          assert.deepEqual(
            hidden.map(([reply, text]) => [reply, text.replaceAll('hidden', 'absent')]),
            absent,
          );
          assert.equal(hidden[0]?.[0], OptionReply.errUnknown);
        }
      const [[type] = []] = await ask(stranger, Option.info, infoData('', [1]));
      assert.equal(type, OptionReply.errUnknown, 'no other disk takes the place of the default');
    });
  });

test('EXPORT_NAME of a hidden name disconnects, like that of an unknown one', limits, async () => {
  await rig(as({ pid: 5, uid: 1, gid: 1 }), async ({ client, log, server }) => {
    for (const name of ['hidden', 'absent']) {
      const stranger = await negotiating(client());
      stranger.say(option(Option.exportName, utf8(name)));
      assert.equal((await stranger.hear(1)).length, 0);
      await stranger.hangUp();
    }
    assert.equal(log.length, 2);
    assert.equal(log[0]?.replace('client 1', ''), log[1]?.replace('client 2', ''));
    assert.equal(server.connections('hidden'), 0);
  });
});

for (const [who, peer] of [
  ['the user', { pid: 5, uid: 1000, gid: 1 }],
  ['a member of the group', { pid: 5, uid: 1, gid: 2000 }],
] as const)
  test(`${who} in the list sees and opens the export`, limits, async () => {
    await rig(as(peer), async ({ client, server }) => {
      const member = await negotiating(client());
      assert.deepEqual(await listed(member), ['hidden', 'open']);
      assert.equal((await ask(member, Option.go, infoData('hidden'))).at(-1)?.[0], OptionReply.ack);
      assert.equal(server.connections('hidden'), 1);
    });
  });

test('a client on TCP sees no export with a list', limits, async () => {
  await rig(as({ pid: 5, uid: 1000, gid: 2000 }), async ({ server }) => {
    const { port } = await server.listenTcp('127.0.0.1', 0);
    const client = await negotiating(new Client({ port, host: '127.0.0.1' }));
    assert.deepEqual(await listed(client), ['open']);
    client.socket.destroy();
  });
});

test('an empty access list admits no client, and no access list admits all', () => {
  const user = { uid: 0, gid: 0 };
  assert.equal(isAllowed({ uids: [], gids: [] }, user), false);
  assert.equal(isAllowed(null, null), true);
  assert.equal(isAllowed(undefined, user), true);
});
