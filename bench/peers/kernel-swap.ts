/**
 * The kernel's paging within a resident budget, driven by bench/reference/pager.c: anonymous memory swapped to a
 * private zram device, and a mapped file. The budget is the limit of a memory control group, which needs root; without
 * root the file is mapped without a limit, and the name of the row says so. Each run has its own device, group and
 * process, and removes them.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PagerContender, PhaseResult, Plan } from '../touches.ts';
import { MemoryCgroup } from './memory-cgroup.ts';
import { referencePager, runPagerProgram } from './pager-program.ts';
import { installed } from './server.ts';
import { insist, undoLater } from './undo.ts';
import { ZramDevice, zramMissing } from './zram.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const clusterFile = '/proc/sys/vm/page-cluster';
/** The highest priority: pages go to this device, whatever other swap the machine has. */
const PRIORITY = 32767;
/** Bytes of the device beyond the region: for the header, and for pages that are resident and in a slot. */
const SPARE_BYTES = 64 * 2 ** 20;
const TMPFS = 0x01021994;

/** Bytes charged to the group besides resident pages: page tables, 8 bytes per page, and small kernel objects. */
const allowance = (plan: Plan): number => plan.regionBytes / 512 + 2 ** 20;

/** Runs pager.c within the budget. The process is stopped before its group is removed. */
async function runInGroup(
  where: string,
  patterns: readonly string[],
  plan: Plan,
): Promise<PhaseResult[]> {
  using group = new MemoryCgroup(plan.budgetBytes + allowance(plan));
  return await runPagerProgram([referencePager()], where, patterns, plan, (pid) => group.add(pid));
}

/** The swap tools are not in every root's PATH. */
const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

function swapOn({ path }: ZramDevice): Disposable {
  execFileSync('mkswap', [path], { env, stdio: 'ignore' });
  execFileSync('swapon', ['-p', String(PRIORITY), path], { env });
  return undoLater(() => insist(() => execFileSync('swapoff', [path], { env })));
}

const pageCluster = (): number => Number(readFileSync(clusterFile, 'utf8'));

/** Sets vm.page-cluster until it is disposed. */
function withPageCluster(value: number): Disposable {
  const was = pageCluster();
  if (was === value) return { [Symbol.dispose]: () => undefined };
  writeFileSync(clusterFile, String(value));
  return undoLater(() => writeFileSync(clusterFile, String(was)));
}

function swapMissing(): string | null {
  const tool = ['mkswap', 'swapon', 'swapoff'].find((name) => !installed(name, env));
  return zramMissing() ?? (tool === undefined ? null : `${tool} is not installed`);
}

async function runOnZram(
  cluster: number,
  patterns: readonly string[],
  plan: Plan,
): Promise<PhaseResult[]> {
  using device = new ZramDevice(plan.regionBytes + SPARE_BYTES, 'lz4');
  using _on = swapOn(device);
  using _cluster = withPageCluster(cluster);
  return await runInGroup('anon', patterns, plan);
}

/** With the machine's vm.page-cluster (reads 2^n pages ahead), and with 0, the usual setting for zram. */
export function kernelSwaps(): PagerContender[] {
  const missing = swapMissing();
  if (missing !== null) {
    const run = async (): Promise<PhaseResult[]> => [];
    return [{ name: 'zram swap', missing, run }];
  }
  const usual = pageCluster();
  return (usual === 0 ? [0] : [usual, 0]).map((cluster) => ({
    name: `zram swap, page-cluster ${cluster}`,
    missing: null,
    run: (patterns, plan) => runOnZram(cluster, patterns, plan),
  }));
}

/** Makes a folder that is not on tmpfs. */
export function diskFolder(): string {
  const cache = join(root, '.cache');
  if (statfsSync(tmpdir()).type !== TMPFS) return mkdtempSync(join(tmpdir(), 'frontswap-region-'));
  mkdirSync(cache, { recursive: true });
  return mkdtempSync(join(cache, 'region-'));
}

function fileMissing(): string | null {
  if (process.platform !== 'linux') return 'pager.c is for Linux';
  return installed('cc') ? null : 'no C compiler';
}

export function mappedFile(): PagerContender {
  const isRoot = process.getuid?.() === 0;
  return {
    name: isRoot ? 'mapped file' : 'mapped file, no limit (a budget needs root)',
    missing: fileMissing(),
    run: async (patterns, plan) => {
      const folder = diskFolder();
      using _file = undoLater(() => rmSync(folder, { recursive: true, force: true }));
      const file = join(folder, 'region');
      if (isRoot) return await runInGroup(file, patterns, plan);
      return await runPagerProgram([referencePager()], file, patterns, plan, () => undefined);
    },
  };
}
