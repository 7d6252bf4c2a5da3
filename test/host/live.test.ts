/** Disks that are added, changed and removed while clients use them: real disks, a real NBD server, the control socket. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../src/base/prng.ts';
import {
  askAdd,
  askDisk,
  askDisks,
  askFlush,
  askGate,
  askRemove,
  askSet,
} from '../../src/host/control-client.ts';
import type { DiskReport } from '../../src/host/list-document.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { testSeed, testSteps } from '../support/fixtures/replay.ts';
import {
  check,
  fill,
  leave,
  live,
  liveTest,
  MiB,
  options,
  PAGE,
  pageOf,
  somePages,
} from './live-rig.ts';

liveTest('a disk is added, used and removed while another one is in use', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=8M'] });
  const a = await open('a');
  const pages = somePages(64);
  await fill(a, pages);
  const added = await askAdd(control, { name: 'b', size: '4M', limit: '1M', keep: 60 });
  assert.deepEqual([added.name, added.diskSizeBytes, added.limitBytes], ['b', 4 * MiB, MiB]);
  const b = await open('b');
  await fill(b, somePages(8, 2));
  await check(b, somePages(8, 2));
  await assert.rejects(askRemove(control, 'b', false), {
    code: 'ERR_IO_IN_USE',
    message: /1 connection\): removing it would lose .* --force$/,
  });
  await leave(control, 'b', b);
  await assert.rejects(askRemove(control, 'b', false), {
    code: 'ERR_IO_IN_USE',
    message: /has 32K of pages: removing it would lose them/,
  });
  assert.equal(await askRemove(control, 'b', true), 8 * PAGE);
  await assert.rejects(open('b'));
  await assert.rejects(askDisk(control, 'b'), { code: 'ERR_ARG_UNKNOWN' });
  await check(a, pages);
  await askAdd(control, { name: 'b', size: '4M' });
  const fresh = await open('b');
  assert.ok(
    (await fresh.pread(0, PAGE)).every((byte) => byte === 0),
    'nothing is left of the old disk',
  );
});

liveTest('a forced remove disconnects the clients of that disk only', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=8M', 'b=8M'] });
  const [a, b] = [await open('a'), await open('b')];
  const pages = somePages(16);
  await fill(a, pages);
  await fill(b, pages);
  await askRemove(control, 'b', true);
  await b.ended();
  await check(a, pages);
});

liveTest('invalid requests change nothing and say what is wrong', options, async (t) => {
  const { control } = await live(t, { disk: ['a=8M'], 'total-limit': '2M' });
  const refused: readonly [object, RegExp][] = [
    [{ name: 'a', size: '1M' }, /ERR_ARG_CONFLICT.*already has a disk 'a'/],
    [{ name: 'b' }, /ERR_ARG_VALUE.*size: null is missing/],
    [
      { name: 'b', size: '1M', limt: '1M' },
      /ERR_ARG_VALUE.*unknown key 'limt'; did you mean 'limit'/,
    ],
    [{ name: 'b', size: '1M', limit: -1 }, /ERR_ARG_VALUE.*limit: -1 is not a string/],
    [{ name: '../b', size: '1M' }, /ERR_ARG_VALUE.*not a valid disk name/],
    [{ name: 'b', size: '1' }, /ERR_ARG_VALUE.*too small/],
    [{ name: 'b', size: '1M', backing: '/no/such/file' }, /ERR_IO_.*\/no\/such\/file/],
    [{ name: 'b', size: '1M', rate: 5 }, /ERR_ARG_VALUE.*at least 64K/],
  ];
  for (const [values, pattern] of refused)
    await assert.rejects(askAdd(control, values), (error: Error & { code: string }) => {
      assert.match(`${error.code}: ${error.message}`, pattern);
      return true;
    });
  for (let i = 0; i < 7; i++) await askAdd(control, { name: `d${i}`, size: '1M' });
  await assert.rejects(askAdd(control, { name: 'd7', size: '1M' }), {
    code: 'ERR_ARG_VALUE',
    message: /too small for the tables of 9 disk/,
  });
  await assert.rejects(askSet(control, 'a', {}, false), /nothing to set/);
  await assert.rejects(askSet(control, 'a', { name: 'z' }, false), /unknown key 'name'/);
  await assert.rejects(askGate(control, 'zz', 'freeze'), { code: 'ERR_ARG_UNKNOWN' });
  assert.equal((await askDisks(control)).disks.length, 8);
});

liveTest(
  'a limit below what is used is refused; a higher one is applied at once',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=8M,limit=2M'] });
    const a = await open('a');
    const pages = somePages(600);
    await fill(a, pages);
    await assert.rejects(askSet(control, 'a', { limit: '512K', rate: '1G' }, false), {
      code: 'ERR_IO_NO_ROOM',
      message: /uses .*, more than the new limit of 512K; the limit is unchanged/,
    });
    const { limitBytes, rateBytes } = await askDisk(control, 'a');
    assert.deepEqual([limitBytes, rateBytes], [2 * MiB, 0], 'all settings or none');
    await check(a, pages);
    const prng = new Prng(9);
    let full = 0;
    for (let i = 600; full === 0 && i < 2000; i++) full = await a.write(i * PAGE, pageOf(prng));
    assert.equal(full, 28, 'ENOSPC at the old limit');
    assert.equal((await askSet(control, 'a', { limit: '4M' }, false)).limitBytes, 4 * MiB);
    assert.equal(await a.write(1999 * PAGE, pageOf(prng)), 0);
    await check(a, pages);
  },
);

liveTest(
  'with a backing a lower limit moves pages there, and flush moves the others',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=8M,limit=3M,backing=@/backing'] });
    const a = await open('a');
    const pages = somePages(700);
    const text = Buffer.alloc(PAGE, 'compresses well, and stays in memory by itself; ');
    for (let i = 0; i < 700; i += 2) {
      pages[i] = Buffer.from(text);
      pages[i]!.writeUInt32LE(i);
    }
    await fill(a, pages);
    const before = await askDisk(control, 'a');
    const lower = Math.floor(before.usedBytes * 0.8);
    const after = await askSet(control, 'a', { limit: lower }, false);
    assert.ok(after.usedBytes <= lower && after.limitBytes === lower);
    assert.ok(after.backingBytes > before.backingBytes);
    await check(a, pages);
    assert.ok((await askFlush(control, 'a')) > 0);
    const flushed = await askDisk(control, 'a');
    assert.equal(flushed.backingBytes, 700 * PAGE);
    assert.equal(await askFlush(control, 'a'), 0);
    await check(a, pages);
    await fill(a, pages); // compressible ones return to memory
    assert.ok((await askDisk(control, 'a')).backingBytes < 700 * PAGE);
    await check(a, pages);
  },
);

/** The bytes of a client that sends its handshake and a write of page 0 in one packet. */
function eagerWrite(name: string, page: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  const exportName = Buffer.from('49484156454f505400000001', 'hex');
  const write = Buffer.from(`25609513${'00'.repeat(2)}0001${'00'.repeat(16)}00001000`, 'hex');
  return Buffer.concat([
    Buffer.from([0, 0, 0, 3]),
    exportName,
    length,
    Buffer.from(name),
    write,
    page,
  ]);
}

liveTest(
  'a write that arrives with the handshake waits for a frozen disk, too',
  options,
  async (t) => {
    const { control, folder } = await live(t, { disk: ['a=8M'] });
    await askGate(control, 'a', 'freeze');
    const client = await RawClient.connect(join(folder, 'nbd'));
    t.after(() => client[Symbol.dispose]());
    await client.read(18);
    const [page = Buffer.alloc(PAGE)] = somePages(1);
    client.socket.write(eagerWrite('a', page));
    await client.read(10); // size and flags: the handshake is not delayed
    await sleep(50);
    assert.equal((await askDisk(control, 'a')).storedPages, 0);
    await askGate(control, 'a', 'thaw');
    assert.equal((await client.read(16)).readUInt32BE(4), 0);
    assert.equal((await askDisk(control, 'a')).storedPages, 1);
  },
);

liveTest(
  'a client that disconnects from a frozen disk is noticed; keep= does not empty the disk while it is frozen',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=8M,keep=0'] });
    const a = await open('a');
    await fill(a, somePages(4));
    await askGate(control, 'a', 'freeze');
    void a.pread(0, PAGE).catch(() => undefined);
    await sleep(20);
    await leave(control, 'a', a);
    await sleep(400); // several passes of the maintenance
    assert.equal((await askDisk(control, 'a')).storedPages, 4);
  },
);

liveTest('rate, freeze and thaw work while another operation moves pages', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=8M,backing=@/backing'] });
  const a = await open('a');
  const text = Buffer.alloc(PAGE, 'compresses well, and stays in memory by itself; ');
  await fill(
    a,
    Array.from({ length: 1500 }, () => text),
  );
  const flushed = askFlush(control, 'a');
  const [set, frozen, thawed, second] = await Promise.allSettled([
    askSet(control, 'a', { rate: '100M' }, false),
    askGate(control, 'a', 'freeze'),
    askGate(control, 'a', 'thaw'),
    askFlush(control, 'a'),
  ]);
  assert.deepEqual(
    [set.status, frozen.status, thawed.status, second.status],
    ['fulfilled', 'fulfilled', 'fulfilled', 'rejected'],
  );
  assert.equal(await flushed, 1500 * PAGE);
  assert.equal((await askDisk(control, 'a')).rateBytes, 100 * MiB);
});

liveTest('a rate that is set during a resize is kept', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=64M'] });
  const a = await open('a');
  await fill(a, somePages(3000));
  await leave(control, 'a', a);
  const [resized] = await Promise.all([
    askSet(control, 'a', { size: '128M' }, false),
    askSet(control, 'a', { rate: '1M', keep: 60 }, false),
  ]);
  assert.deepEqual([resized.diskSizeBytes, resized.rateBytes], [128 * MiB, MiB]);
});

liveTest(
  'when the default disk is removed, the empty name opens no other disk',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=8M', 'b=8M'] });
    await leave(control, 'a', await open(''));
    await askRemove(control, 'a', false);
    await assert.rejects(open(''));
    await askAdd(control, { name: 'a', size: '1M' });
    await open('');
    assert.deepEqual(
      (await askDisks(control)).disks.map(({ connections }) => connections),
      [0, 1],
    );
  },
);

liveTest(
  'a shrink that is refused disconnects no client, not even with force',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=8M'] });
    const a = await open('a');
    const pages = somePages(600);
    await fill(a, pages);
    await assert.rejects(askSet(control, 'a', { size: '1M' }, true), /has pages past 1M/);
    await check(a, pages);
  },
);

liveTest('flush needs a backing', options, async (t) => {
  const { control } = await live(t, { disk: ['a=8M'] });
  await assert.rejects(askFlush(control, 'a'), {
    code: 'ERR_IO_UNSUPPORTED',
    message: /no backing .* backing=PATH$/,
  });
});

liveTest(
  'a size changes with the pages kept; pages past it and clients are protected',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=4M', 'b=4M'] });
    const a = await open('a');
    const pages = somePages(300);
    await fill(a, pages);
    await assert.rejects(askSet(control, 'a', { size: '8M' }, false), {
      code: 'ERR_IO_IN_USE',
      message: /1 connection, and clients learn a size only when they connect/,
    });
    const name = async (): Promise<string> => (await askDisk(control, 'a')).uris[0] ?? '';
    const uri = await name();
    assert.equal((await askSet(control, 'a', { size: '8M' }, true)).diskSizeBytes, 8 * MiB);
    await a.ended();
    assert.equal(await name(), uri, 'the client may reconnect: its pages are there');
    const again = await open('a');
    await check(again, pages);
    assert.equal(await again.write(8 * MiB - PAGE, pages[0]!), 0);
    await leave(control, 'a', again);
    await assert.rejects(askSet(control, 'a', { size: '4M' }, false), {
      code: 'ERR_IO_IN_USE',
      message: /has pages past 4M/,
    });
    const last = await open('a');
    await check(last, pages);
    assert.ok(pages[0]!.equals(await last.pread(8 * MiB - PAGE, PAGE)));
    assert.equal(await last.write(8 * MiB - PAGE, Buffer.alloc(PAGE)), 0);
    await leave(control, 'a', last);
    assert.equal((await askSet(control, 'b', { size: '1M' }, false)).diskSizeBytes, MiB);
  },
);

liveTest(
  'a new size that needs more memory than the total limit is refused, and nothing is lost',
  options,
  async (t) => {
    const { control, open } = await live(t, { disk: ['a=4M'], 'total-limit': '2M' });
    const a = await open('a');
    const pages = somePages(700);
    await fill(a, pages);
    await leave(control, 'a', a);
    await assert.rejects(askSet(control, 'a', { size: '5M' }, false), { code: 'ERR_IO_NO_ROOM' });
    assert.equal((await askDisk(control, 'a')).diskSizeBytes, 4 * MiB);
    await check(await open('a'), pages);
  },
);

liveTest(
  'requests of a frozen disk wait without an error; other disks are served',
  options,
  async (t) => {
    const { control, host, open } = await live(t, { disk: ['a=8M', 'b=8M'] });
    const [a, b] = [await open('a'), await open('b')];
    const pages = somePages(4);
    await fill(a, pages);
    assert.equal((await askGate(control, 'a', 'freeze')).isFrozen, true);
    let status = -1;
    const write = a.write(8 * PAGE, pages[0]!).then((error) => {
      status = error;
    });
    await fill(b, pages);
    assert.equal(status, -1);
    assert.equal((await askGate(control, 'a', 'thaw')).isFrozen, false);
    await write;
    assert.equal(status, 0);
    await check(a, pages);
    await askGate(control, 'a', 'freeze');
    void a.pread(0, PAGE).catch(() => undefined);
    await sleep(20);
    await host.stop(); // completes the waiting request and ends
  },
);

liveTest('a second operation on a disk is refused while the first one runs', options, async (t) => {
  const { control, open } = await live(t, { disk: ['a=64M', 'b=8M'] });
  const a = await open('a');
  const pages = somePages(2000);
  await fill(a, pages);
  await leave(control, 'a', a);
  const results = await Promise.allSettled([
    askSet(control, 'a', { size: '128M' }, false),
    askRemove(control, 'a', true),
    askSet(control, 'b', { size: '4M' }, false),
  ]);
  const [first, second, other] = results.map(({ status }) => status);
  assert.deepEqual([first, second, other], ['fulfilled', 'rejected', 'fulfilled']);
  assert.match(String((results[1] as PromiseRejectedResult).reason), /being changed by another/);
  await check(await open('a'), pages);
});

liveTest(
  'metrics follow disks that are added and removed, on the socket and over TCP',
  options,
  async (t) => {
    const { control, host, open } = await live(t, { disk: ['a=8M'], metrics: '127.0.0.1:0' });
    const textOf = async (): Promise<string> => (await fetch(host.metricsUrl ?? '')).text();
    await fill(await open('a'), somePages(8));
    await askAdd(control, { name: 'b', size: '1M', rate: '1M' });
    const text = await textOf();
    assert.match(text, /^frontswap_disk_size_bytes\{disk="b"\} 1048576$/m);
    assert.match(text, /^frontswap_rate_limit_bytes\{disk="b"\} 1048576$/m);
    assert.match(text, /_duration_seconds_count\{disk="a",op="write"\} 8$/m);
    await askGate(control, 'b', 'freeze');
    assert.match(await textOf(), /^frontswap_frozen\{disk="b"\} 1$/m);
    await askRemove(control, 'b', false);
    assert.doesNotMatch(await textOf(), /disk="b"/);
    const bySocket = await new Promise<string>((resolve, reject) => {
      let all = '';
      get({ socketPath: control, path: '/metrics' }, (response) => {
        response.setEncoding('utf8').on('data', (more: string) => {
          all += more;
        });
        response.once('end', () => resolve(all));
      }).once('error', reject);
    });
    assert.match(bySocket, /^frontswap_disk_size_bytes\{disk="a"\} 8388608$/m);
    const ready = (host.metricsUrl ?? '').replace('/metrics', '/readyz');
    assert.equal((await fetch(ready)).status, 200);
  },
);

liveTest('random operations lose no page, and equal a model', options, async (t) => {
  const seed = testSeed();
  const prng = new Prng(seed);
  const steps = testSteps(300);
  t.diagnostic(`SEED=${seed} STEPS=${steps}`);
  const { control, open } = await live(t, { disk: ['a=2M', 'b=2M,backing=@/backing'] });
  /** Contents by disk and page; a missing page is zeros. */
  const model = new Map<string, Map<number, Buffer>>([
    ['a', new Map()],
    ['b', new Map()],
  ]);
  const clients = new Map<string, RawClient>();
  const client = async (name: string): Promise<RawClient> => {
    const known = clients.get(name);
    if (known?.isOpen === true) return known;
    const opened = await open(name);
    clients.set(name, opened);
    return opened;
  };
  const frozen = new Set<string>();
  for (let step = 0; step < steps; step++) {
    const names = [...model.keys()];
    const name = names[prng.below(names.length)] ?? 'a';
    const pages = model.get(name)!;
    const kind = prng.below(12);
    const code = `SEED=${seed}: step ${step}, ${kind} on ${name}`;
    if (kind < 5 && !frozen.has(name)) {
      const { diskSizeBytes } = await askDisk(control, name);
      const at = prng.below(diskSizeBytes / PAGE);
      const page = pageOf(prng);
      assert.equal(await (await client(name)).write(at * PAGE, page), 0, code);
      pages.set(at, page);
    } else if (kind === 5) {
      await askGate(control, name, frozen.delete(name) ? 'thaw' : 'freeze');
      if ((await askDisk(control, name)).isFrozen) frozen.add(name);
    } else if (kind === 6 && name !== 'b') {
      const size = (1 + prng.below(4)) * MiB;
      const hasBehind = [...pages.keys()].some((at) => at * PAGE >= size);
      const { diskSizeBytes: before } = await askDisk(control, name);
      const outcome = await askSet(control, name, { size }, true).then(
        (disk: DiskReport) => disk.diskSizeBytes,
        () => -1,
      );
      if (before !== size) assert.equal(outcome, hasBehind ? -1 : size, code);
    } else if (kind === 7) await askSet(control, name, { limit: '4M', rate: '100M' }, false);
    else if (kind === 8 && name === 'b') await askFlush(control, name);
    else if (kind === 9 && model.size < 5) {
      const added = `d${step}`;
      await askAdd(control, { name: added, size: '1M' });
      model.set(added, new Map());
    } else if (kind === 10 && name.startsWith('d')) {
      const remove = askRemove(control, name, false);
      const isUsed = clients.get(name)?.isOpen === true || pages.size > 0;
      if (isUsed) await assert.rejects(remove, { code: 'ERR_IO_IN_USE' }, code);
      else {
        await remove;
        model.delete(name);
        frozen.delete(name);
      }
    } else if (kind === 11 && !frozen.has(name))
      for (const [at, page] of pages)
        assert.ok(page.equals(await (await client(name)).pread(at * PAGE, PAGE)), `${code}: ${at}`);
  }
  for (const name of frozen) await askGate(control, name, 'thaw');
  for (const [name, pages] of model)
    for (const [at, page] of pages)
      assert.ok(
        page.equals(await (await client(name)).pread(at * PAGE, PAGE)),
        `${seed} ${name} ${at}`,
      );
});
