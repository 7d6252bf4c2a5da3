/** Events of the listening socket: errors of accept(2), and connections that arrive during a stop. */
import assert from 'node:assert/strict';
import { Server, Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { rig } from './server-rig.ts';

/** The servers that listen from now on. */
function listening(t: TestContext): Server[] {
  const servers: Server[] = [];
  const { listen } = Server.prototype;
  t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: unknown[]) {
    servers.push(this);
    return Reflect.apply(listen, this, args) as Server;
  });
  return servers;
}

test('an error of accept(2) is logged and costs no more than its connection', async (t) => {
  const servers = listening(t);
  await rig({}, async ({ client, log, path }) => {
    for (let i = 0; i < 2; i++) servers[0]?.emit('error', new Error('accept EMFILE'));
    const line = `nbd: ${path}: accept EMFILE`;
    assert.deepEqual(log, [line, line]);
    assert.equal(await (await client().go()).flush(), 0);
  });
});

test('a connection that arrives during a stop is refused without a line', async (t) => {
  const servers = listening(t);
  await rig({}, async ({ server, log }) => {
    await server.close();
    const late = new Socket();
    servers[0]?.emit('connection', late);
    assert.equal(late.destroyed, true);
    late.emit('error', new Error('reset'));
    assert.deepEqual([server.stats.refused, server.stats.connectionCount, log.length], [1, 0, 0]);
  });
});
