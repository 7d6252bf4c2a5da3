// Completes package-lock.json after `npm install`: a registry mirror that lacks the binaries of other platforms makes
// npm leave them out of the lock, and `npm ci` then refuses the lock everywhere. This adds their entries as
// npm would write them, without an integrity hash (npm takes that from the registry where they exist).
//
//   npm install … && node scripts/complete-lock.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const path = join(dirname(dirname(fileURLToPath(import.meta.url))), 'package-lock.json');
const lock = JSON.parse(readFileSync(path, 'utf8'));
const systems = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32'];
const processors = ['arm64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'x64'];

/** The platform in a package's name: `binding-linux-x64-musl`. */
function platformOf(name) {
  const words = name.split('/').pop().split('-');
  const os = words.find((word) => systems.includes(word));
  const cpu = words.find((word) => processors.includes(word));
  if (os === undefined || cpu === undefined) return null;
  const last = words[words.length - 1];
  const libc = last.startsWith('musl') ? 'musl' : last.startsWith('gnu') ? 'glibc' : null;
  return { cpu: [cpu], os: [os], ...(libc === null ? {} : { libc: [libc] }) };
}

let added = 0;
for (const [place, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    const platform = platformOf(name);
    if (place === '' || lock.packages[key] !== undefined || platform === null) continue;
    const dev = entry.dev === true ? { dev: true } : {};
    lock.packages[key] = { version, ...dev, optional: true, ...platform };
    added++;
  }
}
lock.packages = Object.fromEntries(
  Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`complete-lock: added ${added} packages for other platforms`);
