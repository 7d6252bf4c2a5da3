/** Private zram devices, added for a bench and removed after it. Needs root. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { PageSet } from '../page-set.ts';
import { insist, undoLater } from './undo.ts';

const control = '/sys/class/zram-control';

/** Why zram cannot be measured here; null if it can. */
export function zramMissing(): string | null {
  if (!existsSync(control)) return 'this kernel has no zram';
  if (process.getuid?.() !== 0) return 'adding a zram device needs root';
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'no C compiler';
  }
  return null;
}

/** Adds a device and returns its number. It is removed by dispose(), or when the process exits. */
export class ZramDevice implements Disposable {
  readonly path: string;
  readonly #added: Disposable;

  constructor(bytes: number, algorithm: string) {
    const id = readFileSync(join(control, 'hot_add'), 'utf8').trim();
    const sys = `/sys/block/zram${id}`;
    this.path = `/dev/zram${id}`;
    this.#added = undoLater(() =>
      // Fails while it is open: by the driver program, or by udev, which probes each new disk.
      insist(() => {
        writeFileSync(`${sys}/reset`, '1');
        writeFileSync(join(control, 'hot_remove'), id);
      }),
    );
    try {
      writeFileSync(`${sys}/comp_algorithm`, algorithm);
      writeFileSync(`${sys}/disksize`, String(bytes));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#added[Symbol.dispose]();
  }
}

export class Zram implements Disposable {
  readonly #device: ZramDevice;
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #live = true;

  constructor(pages: PageSet, copies: number, algorithm = 'lz4') {
    this.#device = new ZramDevice(pages.bytes.length * copies, algorithm);
    this.#folder = mkdtempSync(join(tmpdir(), 'frontswap-zram-'));
    const path = (name: string): string => join(this.#folder, name);
    writeFileSync(path('pages'), pages.bytes);
    writeFileSync(path('classes'), Buffer.from(pages.classOfPage.map((c) => 48 + c)));
    const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
    const source = join(root, 'bench/reference/zram.c');
    execFileSync('cc', ['-O2', '-o', path('zram'), source], { stdio: 'inherit' });
    this.#child = spawn(
      path('zram'),
      [this.#device.path, path('pages'), path('classes'), String(copies)],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** One pass over all pages; ns per page by class. */
  async pass(command: 'r' | 'w'): Promise<number[]> {
    this.#child.stdin!.write(`${command}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("zram's driver ended early");
    return JSON.parse(line.value) as number[];
  }

  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    this.#child.kill();
    rmSync(this.#folder, { recursive: true, force: true });
    this.#device[Symbol.dispose]();
  }
}
