// Runs the unit tests as a user without privileges, in a copy that this user can read.
//
//   sudo node scripts/test-as-nobody.mjs [WHICH...]     as for scripts/run-tests.mjs
//
// Tests that need root are skipped by name. The tests run with the Node that runs this script.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const UNPRIVILEGED = 65534;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
if (process.getuid?.() !== 0) {
  console.error('test-as-nobody: must run as root, because it changes the user');
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'frontswap-nobody-'));
try {
  const isCopied = (path) => !/^\.(git|cache)$|^(dist|coverage)$/.test(path.slice(root.length + 1));
  cpSync(root, folder, { recursive: true, verbatimSymlinks: true, filter: isCopied });
  // That user may have no access to this folder, and Node may be in it (scripts/newer-node.sh).
  const isOurs = process.execPath.startsWith(root + sep);
  const node = isOurs ? join(folder, 'node') : process.execPath;
  if (isOurs) copyFileSync(process.execPath, node);
  const own = spawnSync('chown', ['-R', `${UNPRIVILEGED}:${UNPRIVILEGED}`, folder], {
    stdio: 'inherit',
  });
  if (own.status !== 0) process.exit(1);
  chmodSync(folder, 0o755);
  const { status } = spawnSync(node, ['scripts/run-tests.mjs', 'unit', ...process.argv.slice(2)], {
    cwd: folder,
    stdio: 'inherit',
    uid: UNPRIVILEGED,
    gid: UNPRIVILEGED,
    env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: '' },
  });
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
