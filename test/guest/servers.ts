/** The NBD servers a guest can swap on: ours, and nbdkit's as the marks to compare with. */
import { type DiskFigures, OwnHost } from '../interop/own-host.ts';
import { must, nbdUri, startServer } from '../interop/processes.ts';

export interface RunningServer {
  readonly pid: number;
  /** What the server itself says it holds; absent where it does not say. */
  readonly figures?: () => Promise<DiskFigures>;
  /** Bytes that the server says are allocated (base:allocation); walks the export, so not during a phase. */
  readonly held?: () => Promise<number>;
  /** QEMU's arguments for the disk, as `frontswap attach` prints them; absent for other servers. */
  readonly qemuArguments?: () => Promise<readonly string[]>;
  /** What the server said on stderr. */
  readonly log?: () => string;
  /** Ends the server with the signal and starts it again on the same socket. */
  readonly restart?: (signal: NodeJS.Signals) => Promise<void>;
  stop(): Promise<unknown>;
}

export interface GuestServer {
  readonly name: string;
  /** Serves the export `exportName` on `socketPath`; on one core when `cpu` is given. */
  start(socketPath: string, cpu?: number): Promise<RunningServer>;
}

export const exportName = 'swap0';

/** @param size what both nbdkit and ours read, "512M"; options of our disks may follow: "512M,shared=on" */
export function ownServer(size: string): GuestServer {
  return {
    name: 'frontswap',
    async start(socketPath, cpu) {
      const options = {
        socketPath,
        disks: [`${exportName}=${size}`],
        ...(cpu === undefined ? {} : { cpu }),
      };
      let host = await OwnHost.start(options);
      return {
        get pid() {
          return host.pid;
        },
        figures: () => host.figures(),
        qemuArguments: () => host.qemuArguments(),
        log: () => host.log,
        restart: async (signal) => {
          await host.stop(signal);
          host = await OwnHost.start(options);
        },
        stop: () => host.stop(),
      };
    },
  };
}

export function nbdkitServer(size: string, allocator: 'sparse' | 'zstd'): GuestServer {
  return {
    name: `nbdkit ${allocator}`,
    async start(socketPath, cpu) {
      const args = ['-f', '-U', socketPath, 'memory', size, `allocator=${allocator}`];
      const child = await startServer('nbdkit', args, socketPath, cpu);
      // 1.32 crashes when its zstd allocator is asked for extents
      const held = async (): Promise<number> => {
        const uri = nbdUri(exportName, socketPath);
        const map = JSON.parse(await must('nbdinfo', ['--map', '--json', uri])) as Extent[];
        return map.filter((e) => e.type === 0).reduce((sum, e) => sum + e.length, 0);
      };
      return {
        pid: child.pid,
        stop: () => child.stop(),
        ...(allocator === 'sparse' ? { held } : {}),
      };
    },
  };
}

interface Extent {
  readonly length: number;
  /** 0: data; bit 0: a hole, bit 1: reads as zeros. */
  readonly type: number;
}
