/** A host with real disks, a real NBD server and a control socket in this process, and what clients of it do. */
import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { composeParts } from '../../src/host/compose.ts';
import { askDisk } from '../../src/host/control-client.ts';
import { Host } from '../../src/host/host.ts';
import type { HostOptions } from '../../src/host/host-options.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { configOf } from '../support/fixtures/host-config.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';

export const PAGE = 4096;
export const MiB: number = 2 ** 20;
export const options: { readonly timeout: number } = { timeout: 120_000 };

export interface Live {
  readonly folder: string;
  readonly control: string;
  readonly host: Host;
  open(name: string): Promise<RawClient>;
}

const workersOf = new WeakMap<TestContext, number>();

/** A test of a host that serves its disks itself, and of one with two engine workers. */
export function liveTest(
  name: string,
  testOptions: typeof options,
  run: (t: TestContext) => Promise<void>,
): void {
  for (const workers of [1, 2])
    test(`${name}, workers=${workers}`, testOptions, (t) => {
      workersOf.set(t, workers);
      return run(t);
    });
}

/** @param extra more options, by the folder of the test */
export async function live(
  t: TestContext,
  settings: Record<string, unknown>,
  extra: (folder: string) => Partial<HostOptions> = () => ({}),
): Promise<Live> {
  const folder = testFolder(t);
  const control = join(folder, 'control');
  const socket = join(folder, 'nbd');
  writeFileSync(join(folder, 'backing'), '', { mode: 0o600 });
  truncateSync(join(folder, 'backing'), 8 * MiB);
  const workers = workersOf.get(t) ?? 1;
  const text = JSON.stringify({ unix: socket, control, workers, ...settings }).replaceAll(
    '@',
    folder,
  );
  const host = await Host.start({
    config: configOf(JSON.parse(text) as Record<string, unknown>),
    parts: composeParts(),
    runtimeFolder: join(folder, 'run'),
    uid: process.getuid?.() ?? 0,
    version: '0',
    log: () => undefined,
    trace: null,
    checkStop: () => undefined,
    onStopRequest: () => undefined,
    ...extra(folder),
  });
  t.after(() => host.stop());
  const open = async (name: string): Promise<RawClient> => {
    const client = await RawClient.open(socket, name);
    t.after(() => client[Symbol.dispose]());
    return client;
  };
  return { folder, control, host, open };
}

/** A page that compresses to about 1.6 KB: too well to be written to a backing by itself. */
export function pageOf(prng: Prng): Buffer {
  const page = Buffer.alloc(PAGE);
  for (let at = 0; at < 1600; at++) page[at] = prng.below(256);
  return page;
}

export async function fill(client: RawClient, pages: readonly Buffer[]): Promise<void> {
  for (const [i, page] of pages.entries()) assert.equal(await client.write(i * PAGE, page), 0);
}

export async function check(client: RawClient, pages: readonly Buffer[]): Promise<void> {
  for (const [i, page] of pages.entries())
    assert.ok(page.equals(await client.pread(i * PAGE, PAGE)), `page ${i}`);
}

export const somePages = (count: number, seed = 1): Buffer[] => {
  const prng = new Prng(seed);
  return Array.from({ length: count }, () => pageOf(prng));
};

/** Disconnects and waits until the host has noticed. */
export async function leave(control: string, name: string, ...clients: RawClient[]): Promise<void> {
  for (const client of clients) client[Symbol.dispose]();
  let connections = -1;
  while (connections !== 0) ({ connections } = await askDisk(control, name));
}
