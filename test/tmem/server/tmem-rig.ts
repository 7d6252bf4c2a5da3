/** A tmem server in this process, on a socket of its own, over a real store. */
import { Budget } from '../../../src/arena/budget.ts';
import { systemDirectIo } from '../../../src/os/linux/direct-io.ts';
import { systemHasHungUp } from '../../../src/os/linux/hang-up.ts';
import { systemPeerCredentials } from '../../../src/os/linux/peer-credentials.ts';
import { Store } from '../../../src/store/store.ts';
import type { TmemOptions } from '../../../src/tmem/options.ts';
import { TmemClient } from '../../../src/tmem/server/client.ts';
import { TmemServer, type TmemServerOptions } from '../../../src/tmem/server/server.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { tmemStore } from '../../../src/tmem/tmem-store.ts';
import { TemporaryFolder } from '../../support/fixtures/processes.ts';

export interface TmemRig extends AsyncDisposable {
  readonly tmem: Tmem;
  readonly server: TmemServer;
  readonly path: string;
  /** Lines of the server's log. */
  readonly log: string[];
  /** Milliseconds that the server's clock is ahead. */
  ahead: { ms: number };
  connect(): Promise<TmemClient>;
}

export interface RigOptions {
  readonly tmem?: Partial<TmemOptions>;
  readonly server?: Partial<TmemServerOptions>;
  readonly limitBytes?: number;
}

export async function tmemRig({
  tmem: own = {},
  server: about = {},
  limitBytes = 0,
}: RigOptions = {}): Promise<TmemRig> {
  const folder = new TemporaryFolder();
  const path = folder.file('tmem.sock');
  const log: string[] = [];
  const ahead = { ms: 0 };
  const store = tmemStore(new Store({ slots: 16384, budget: new Budget(limitBytes) }));
  const tmem = new Tmem({ store, dedup: 'off', sharedPools: 256, ...own });
  const server = new TmemServer({
    tmem,
    // an id that may stand for several users must be named
    access: about.peer === undefined ? { uids: [process.geteuid?.() ?? 0], gids: [] } : null,
    cap: 0,
    clientsMax: 256,
    peer: systemPeerCredentials(process.platform),
    hasHungUp: systemHasHungUp(process.platform),
    directIo: systemDirectIo(process.platform),
    log: (line) => log.push(line),
    nowMs: () => performance.now() + ahead.ms,
    ...about,
  });
  await server.listen(path, 0o600);
  const clients: TmemClient[] = [];
  return {
    ...{ tmem, server, path, log, ahead },
    connect: async () => {
      const client = await TmemClient.connect(path);
      clients.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client.close();
      await server.close();
      tmem.verify();
      folder[Symbol.dispose]();
    },
  };
}
