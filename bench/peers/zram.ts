/** A private zram device of the kernel's, added for the bench and removed after it. Needs root. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Pages } from '../pages.ts';

const control = '/sys/class/zram-control';

/** Why zram cannot be measured here; null when it can. */
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

export class Zram implements Disposable {
  readonly #id: string;
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #live = true;

  constructor(pages: Pages, copies: number, algorithm = 'lz4') {
    this.#id = readFileSync(join(control, 'hot_add'), 'utf8').trim();
    const sys = `/sys/block/zram${this.#id}`;
    writeFileSync(`${sys}/comp_algorithm`, algorithm);
    writeFileSync(`${sys}/disksize`, String(pages.bytes.length * copies));
    this.#folder = mkdtempSync(join(tmpdir(), 'frontswap-zram-'));
    const path = (name: string): string => join(this.#folder, name);
    writeFileSync(path('pages'), pages.bytes);
    writeFileSync(path('classes'), Buffer.from(pages.classOfPage.map((c) => 48 + c)));
    const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
    const source = join(root, 'bench/reference/zram.c');
    execFileSync('cc', ['-O2', '-o', path('zram'), source], { stdio: 'inherit' });
    this.#child = spawn(
      path('zram'),
      [`/dev/zram${this.#id}`, path('pages'), path('classes'), String(copies)],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** One pass over all pages; ns a page by class. */
  async pass(command: 'r' | 'w'): Promise<number[]> {
    this.#child.stdin!.write(`${command}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("zram's driver ended early");
    return JSON.parse(line.value) as number[];
  }

  /** Bytes: payload compressed, and all memory that the device uses. */
  memory(): { compressed: number; used: number } {
    const stat = readFileSync(`/sys/block/zram${this.#id}/mm_stat`, 'utf8').trim().split(/\s+/);
    return { compressed: Number(stat[1]), used: Number(stat[2]) };
  }

  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    this.#child.kill();
    rmSync(this.#folder, { recursive: true, force: true });
    // The driver's file descriptor must be closed before the device can go.
    for (let attempt = 0; attempt < 50; attempt++) {
      try {
        writeFileSync(`/sys/block/zram${this.#id}/reset`, '1');
        writeFileSync(join(control, 'hot_remove'), this.#id);
        return;
      } catch {
        execFileSync('sleep', ['0.1']);
      }
    }
  }
}
