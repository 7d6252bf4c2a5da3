/** Memory of which no page can be evicted: the process does not grow, and one warning contains advice. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url).href;
const crowded = fileURLToPath(new URL('./children/crowded.js', import.meta.url));
const options = { skip: skipUnlessPaging, timeout: 180_000 };
/** Memory of paging itself (`npm run bench -- floor`), with a margin: a worker, tables, codecs. */
const FLOOR_MIB = 45;

interface Report {
  readonly wrong: number;
  readonly warnings: number;
  readonly residentMib: number;
  readonly stderr: string;
}

async function run(
  args: readonly string[],
  warnings: number,
  environment: NodeJS.ProcessEnv | null,
): Promise<Report> {
  const flags = environment === null ? [] : ['--import', register];
  const env = { ...process.env, FRONTSWAP_RESIDENT: '32M', FRONTSWAP_STATS: '1', ...environment };
  const child = spawn(process.execPath, [...flags, crowded, ...args, `${warnings}`], { env });
  const { code, stdout, stderr } = await endingOf(child);
  assert.equal(code, 0, stderr);
  const report: Report = { ...JSON.parse(stdout), stderr };
  assert.equal(report.wrong, 0);
  assert.equal(report.warnings, warnings, stderr);
  return report;
}

test(
  'incompressible data stays in memory, and the process grows by no more than paging itself needs',
  options,
  async () => {
    const args = ['150', 'noise'];
    const plain = await run(args, 0, null);
    const paged = await run(args, 1, {});
    assert.ok(
      paged.residentMib < plain.residentMib + FLOOR_MIB,
      `${plain.residentMib} MiB alone, ${paged.residentMib} paged: ${paged.stderr}`,
    );
    assert.match(paged.stderr, /do not compress stay in memory.*FRONTSWAP_FILE/);
  },
);

test('incompressible data goes to a swap file, and not to RAM first', options, async (t) => {
  const folder = mkdtempSync(`${tmpdir()}/frontswap-crowded-`);
  t.after(() => rmSync(folder, { recursive: true }));
  const paged = await run(['64', 'noise'], 0, {
    FRONTSWAP_RESIDENT: '8M',
    FRONTSWAP_FILE: `${folder}/swap:128M`,
  });
  const [, resident, stored] = /([\d.]+[KMG]?\w*) resident, ([\d.]+[KMG]?\w*) stored/.exec(
    paged.stderr,
  )!;
  assert.match(resident!, /^[78]/, paged.stderr);
  assert.match(stored!, /^0/, paged.stderr);
  assert.match(paged.stderr, /, [\d.]+M in files, /);
});

test('when the swap file is full too, the warning names both', options, async (t) => {
  const folder = mkdtempSync(`${tmpdir()}/frontswap-crowded-`);
  t.after(() => rmSync(folder, { recursive: true }));
  const paged = await run(['32', 'text'], 1, {
    FRONTSWAP_RESIDENT: '4M',
    FRONTSWAP_LIMIT: '2M',
    FRONTSWAP_FILE: `${folder}/swap:4M`,
  });
  assert.match(paged.stderr, /compressed RAM and the swap files are full.*a larger swap file/);
});

test('a reached limit is reported once, and the pager backs off', options, async () => {
  const paged = await run(['32', 'text'], 1, { FRONTSWAP_RESIDENT: '4M', FRONTSWAP_LIMIT: '2M' });
  assert.match(paged.stderr, /compressed RAM is full.*FRONTSWAP_LIMIT/);
});
