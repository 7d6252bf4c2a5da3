/**
 * Pages in another machine's RAM, over the Redis protocol: a frontswap backend that keeps recent pages in a local store and
 * moves cold ones to a Redis or Valkey server. A page that the server lost is an I/O error, never zeros.
 */
export {
  type LocalPages,
  RemoteBackend,
  type RemoteBackendOptions,
} from '../frontswap/backends/remote-backend.ts';
export { type StoreBackend, storeBackend } from '../frontswap/backends/store-backend.ts';
export {
  type OpenStreamSocket,
  type StreamAddress,
  streamSockets,
} from '../os/linux/stream-socket.ts';
export type { RemoteCounter } from '../remote/counters.ts';
export type { OpenStream, Stream } from '../remote/ops.ts';
export { type RemoteOptions, RemotePages } from '../remote/remote-pages.ts';
