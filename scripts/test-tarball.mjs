// node scripts/test-tarball.mjs TARBALL: installs the tarball into an empty project, where every program of
// examples/ and test/tarball/ must type-check under `node16` and `bundler` resolution, and run. The example of
// `frontswap/remote` needs redis-server.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tarball = resolve(process.argv[2] ?? '');
const project = mkdtempSync(join(tmpdir(), 'frontswap-project-'));
const programs = ['examples', 'test/tarball'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => ({ folder, name: file.slice(0, -3) })),
);

const run = (command, args) =>
  execFileSync(command, args, { cwd: project, stdio: ['ignore', 'pipe', 'inherit'] });

function compile(resolution, module, out) {
  const compilerOptions = {
    module,
    moduleResolution: resolution,
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    strict: true,
    skipLibCheck: false,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
    rootDir: 'src',
    outDir: out,
  };
  const file = join(project, `tsconfig.${resolution}.json`);
  writeFileSync(file, JSON.stringify({ compilerOptions, include: ['src'] }));
  run(join(root, 'node_modules/.bin/tsc'), ['-p', file]);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function withRedis(use) {
  const port = String(await freePort());
  const options = ['--port', port, '--save', '', '--bind', '127.0.0.1', '--dir', project];
  const server = spawn('redis-server', [...options, '--maxmemory', '64mb'], { stdio: 'pipe' });
  const ended = once(server, 'exit');
  let isReady = false;
  for await (const line of server.stdout) {
    isReady = /ready to accept/i.test(String(line));
    if (isReady) break;
  }
  try {
    if (!isReady) throw new Error('redis-server did not start');
    use(port);
  } finally {
    server.kill();
    await ended;
  }
}

try {
  writeFileSync(join(project, 'package.json'), '{"name":"project","private":true,"type":"module"}');
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--silent', tarball]);
  mkdirSync(join(project, 'src'));
  for (const { folder, name } of programs)
    copyFileSync(join(root, folder, `${name}.ts`), join(project, 'src', `${name}.ts`));
  compile('bundler', 'esnext', 'bundler');
  compile('node16', 'node16', 'node16');
  const hasRedis = spawnSync('redis-server', ['--version']).status === 0;
  for (const { folder, name } of programs) {
    const start = (...args) => run(process.execPath, [join('node16', `${name}.js`), ...args]);
    if (name !== 'remote') start();
    else if (hasRedis) await withRedis((port) => start('127.0.0.1', port));
    else {
      console.log('tarball: examples/remote.ts not run: no redis-server');
      continue;
    }
    console.log(`tarball: ${folder}/${name}.ts runs`);
  }
} finally {
  rmSync(project, { recursive: true, force: true });
}
