/** allow-uid= and allow-gid= with the credentials that the kernel reports for a real client. */
import assert from 'node:assert/strict';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { freePort, must, peerTest, run } from '../support/fixtures/processes.ts';

const uid = process.geteuid?.() ?? 0;
const gid = process.getegid?.() ?? 0;

peerTest('libnbd sees the disks of its user and group, and no others', ['nbdinfo'], async () => {
  const port = await freePort();
  await using host = await OwnHost.start({
    disks: [
      `other=40K,allow-uid=${uid + 1}:${uid + 2},allow-gid=${gid + 1}`,
      `user=40K,allow-uid=${uid + 1}:${uid}`,
      `group=40K,allow-gid=${gid}`,
      'open=40K',
    ],
    arguments: ['-p', String(port)],
  });
  const listOf = async (uri: string): Promise<string[]> =>
    [...(await must('nbdinfo', ['--list', uri])).matchAll(/export="([^"]*)"/g)].map(
      ([, name = '']) => name,
    );
  assert.deepEqual(await listOf(host.uri('')), ['user', 'group', 'open']);
  assert.deepEqual(await listOf(`nbd://127.0.0.1:${port}`), ['open'], 'TCP has no credentials');
  for (const name of ['user', 'group', 'open']) await must('nbdinfo', [host.uri(name)]);
  const refusalOf = async (uri: string): Promise<string> => {
    const { status, stderr } = await run('nbdinfo', [uri]);
    assert.notEqual(status, 0);
    return stderr.replaceAll(/other|absent/g, 'NAME');
  };
  assert.equal(await refusalOf(host.uri('other')), await refusalOf(host.uri('absent')));
  assert.equal(
    await refusalOf(host.uri(await host.exportNow('other'))),
    await refusalOf(host.uri((await host.exportNow('other')).replace('other', 'absent'))),
    'nor by the name of its generation',
  );
  await run('nbdinfo', [`nbd://127.0.0.1:${port}/user`]).then(({ status }) =>
    assert.notEqual(status, 0),
  );
});
