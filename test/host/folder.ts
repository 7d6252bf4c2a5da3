/** A folder for one test, short enough for socket paths, gone afterwards. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

export function testFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'fs-test-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
