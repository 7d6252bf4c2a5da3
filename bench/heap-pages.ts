/**
 * Pages from live heaps, for machines without a corpus: starts a few common programs on generated data, reads resident
 * pages of their private anonymous mappings from /proc/PID/mem, and ends them. Text, random and same-filled pages are
 * generated. Programs that are not installed are left out; `origin` lists those that were used.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { Prng } from '../src/base/prng.ts';
import type { PageSet } from './page-set.ts';

const PAGE_BYTES = 4096;
const PAGES_A_CLASS = 150;

/** Programs that fill a heap, print `ready` and wait. */
const programs: readonly { name: string; command: string; args: readonly string[] }[] = [
  {
    name: 'node',
    command: process.execPath,
    args: [
      '-e',
      `const m=new Map();for(let i=0;i<60000;i++)m.set('user:'+i,{id:i,name:'n'+(i*7919%1000),tags:['a'+i%7,'b'+i%11],at:new Date(1e12+i*1e5)});
       globalThis.m=m;globalThis.t=JSON.stringify([...m.values()].slice(0,20000));console.log('ready');setInterval(()=>{},1000)`,
    ],
  },
  {
    name: 'python',
    command: 'python3',
    args: [
      '-c',
      `import ast,glob,os,sys
t=[ast.parse(open(f,encoding='utf8',errors='replace').read()) for f in sorted(glob.glob(os.path.dirname(os.__file__)+'/*.py'))[:40]]
d=[{'id':i,'name':'item %d'%i,'price':i*1.37,'tags':('x','y%d'%(i%9))} for i in range(60000)]
print('ready',flush=True);sys.stdin.read()`,
    ],
  },
  {
    name: 'sqlite',
    command: 'sqlite3',
    args: [
      ':memory:',
      '-cmd',
      `CREATE TABLE t(a INTEGER PRIMARY KEY,b TEXT,c REAL);
       WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<120000) INSERT INTO t SELECT i,'row '||(i*7919%100003),i*0.5 FROM n;
       CREATE INDEX u ON t(b); SELECT 'ready';`,
    ],
  },
];

/** Starts a program and waits for its `ready`; null if it is not installed or prints none. */
async function started(command: string, args: readonly string[]): Promise<ChildProcess | null> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'], env: {} });
  return await new Promise((resolve) => {
    const settle = (result: ChildProcess | null): void => {
      clearTimeout(timer);
      resolve(result);
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      settle(null);
    }, 30_000);
    child.once('error', () => settle(null));
    child.once('exit', () => settle(null));
    child.stdout?.on('data', (chunk: Buffer) => {
      if (chunk.includes('ready')) settle(child);
    });
  });
}

/** Resident, not same-filled pages of private anonymous writable mappings, spread evenly. */
function pagesOf(pid: number, count: number): Uint8Array[] {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const found: Uint8Array[] = [];
  try {
    for (const line of maps) {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0\s*(\[heap\])?$/.exec(line);
      if (match === null) continue;
      const end = Number.parseInt(match[2]!, 16);
      for (let at = Number.parseInt(match[1]!, 16); at < end; at += PAGE_BYTES) {
        const page = new Uint8Array(PAGE_BYTES);
        try {
          if (readSync(memory, page, 0, PAGE_BYTES, at) !== PAGE_BYTES) break;
        } catch {
          break;
        }
        if (page.some((b) => b !== page[0])) found.push(page);
      }
    }
  } finally {
    closeSync(memory);
  }
  const step = Math.max(1, Math.floor(found.length / count));
  return found.filter((_, i) => i % step === 0).slice(0, count);
}

/** Text and code from this package's own dependencies and the system's documentation. */
function textPages(count: number): Uint8Array[] {
  const folder = '/usr/share/common-licenses';
  let text = '';
  try {
    for (const f of readdirSync(folder)) text += readFileSync(join(folder, f), 'latin1');
  } catch {
    text = readFileSync(new URL(import.meta.url), 'latin1').repeat(40);
  }
  const all = Buffer.from(text, 'latin1');
  const available = Math.min(count, Math.floor(all.length / PAGE_BYTES));
  return Array.from({ length: available }, (_, i) =>
    Uint8Array.from(all.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES)),
  );
}

export async function heapPages(): Promise<PageSet> {
  const prng = new Prng(2010);
  const groups: { name: string; pages: Uint8Array[] }[] = [];
  for (const { name, command, args } of programs) {
    const child = await started(command, args);
    if (child?.pid === undefined) continue;
    try {
      groups.push({ name, pages: pagesOf(child.pid, PAGES_A_CLASS) });
    } finally {
      child.kill('SIGKILL');
    }
  }
  groups.push({ name: 'text', pages: textPages(PAGES_A_CLASS) });
  const random = Array.from({ length: PAGES_A_CLASS }, () => new Uint8Array(PAGE_BYTES));
  for (const page of random) prng.fill(page);
  groups.push({ name: 'random', pages: random });
  const same = Array.from({ length: PAGES_A_CLASS }, (_, i) =>
    new Uint8Array(PAGE_BYTES).fill(i % 2 === 0 ? 0 : prng.below(256)),
  );
  groups.push({ name: 'same', pages: same });
  const all = groups.flatMap(({ pages }, c) => pages.map((page) => ({ page, c })));
  const bytes = new Uint8Array(all.length * PAGE_BYTES);
  for (const [i, { page }] of all.entries()) bytes.set(page, i * PAGE_BYTES);
  return {
    bytes,
    classes: groups.map((g) => g.name),
    classOfPage: Uint8Array.from(all, (p) => p.c),
    origin: `${all.length} pages: heaps of ${groups
      .slice(0, -3)
      .map((g) => g.name)
      .join(', ')} started for this bench; text, random and same-filled pages are generated`,
  };
}
