/**
 * Makes system calls on views of paged memory, each after evicting the complete memory. Runs under
 * `frontswap/register`. Prints a line of JSON: the calls by name, with `ok` or the error.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash, getRandomValues, randomFill, randomFillSync } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import fs, { createWriteStream } from 'node:fs';
import fsp from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { regionOf } from '../../../src/memory/open-swap.ts';
import { moduleOfWasi, type WasiExports } from '../wasi-module.ts';
import { wasm } from '../wasm-api.ts';

const BYTES = 200_000; // several pieces, and not a multiple of the page size
const AT = 65_536 + 123;
const folder = fs.mkdtempSync(join(tmpdir(), 'frontswap-calls-'));
const memory = new wasm.Memory({ initial: 32 });
const view = Buffer.from(memory.buffer, AT, BYTES);
const expected = Buffer.alloc(BYTES);
for (let i = 0; i < BYTES; i++) expected[i] = (i * 31) ^ (i >> 8);

const file = (name: string): string => join(folder, name);
const half = BYTES >> 1;
const halves = [view.subarray(0, half), view.subarray(half)];

async function bytesFrom(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

/** Returns the contents of a file after `write`. */
async function written(write: (path: string, fd: number) => unknown): Promise<Buffer> {
  const path = file('written');
  fs.writeFileSync(path, '');
  const fd = fs.openSync(path, 'r+');
  await write(path, fd);
  fs.closeSync(fd);
  return fs.readFileSync(path);
}

/** Calls `write` on one end of a socket; returns the bytes received at the other. */
async function sent(write: (socket: net.Socket) => void): Promise<Buffer> {
  const server = net.createServer().listen(file('socket'));
  await once(server, 'listening');
  const socket = net.connect(file('socket'));
  const [other] = (await once(server, 'connection')) as [net.Socket];
  write(socket);
  const bytes = await bytesFrom(other);
  socket.destroy();
  server.close();
  return bytes;
}

/** Bytes that a socket reads into paged memory, which is evicted before each read. */
async function readInto(
  connect: (path: string, onread: net.OnReadOpts) => net.Socket,
  isGenerated: boolean,
): Promise<Buffer> {
  const server = net.createServer((other) => other.end(expected)).listen(file('socket'));
  await once(server, 'listening');
  const parts: Buffer[] = [];
  const next = (): Buffer => {
    evict();
    return halves[0]!;
  };
  const socket = connect(file('socket'), {
    buffer: isGenerated ? next : next(),
    callback: (count, buffer) => {
      assert.equal(buffer.buffer, memory.buffer);
      parts.push(Buffer.from(buffer.subarray(0, count)));
      evict();
      return true;
    },
  });
  await once(socket, 'close');
  server.close();
  return Buffer.concat(parts);
}

async function requested(): Promise<Buffer> {
  const server = http.createServer(async (request, response) => {
    assert(expected.equals(await bytesFrom(request)), 'the body of the request');
    evict();
    response.end(view);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const request = http.request({ port, host: '127.0.0.1', method: 'POST' });
  evict();
  request.end(view);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const bytes = await bytesFrom(response);
  server.close();
  return bytes;
}

async function datagram(message: Uint8Array | Uint8Array[]): Promise<Buffer> {
  const receiver = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  const sender = dgram.createSocket('udp4');
  sender.send(message as Uint8Array, receiver.address().port, '127.0.0.1');
  const [bytes] = (await once(receiver, 'message')) as [Buffer];
  receiver.close();
  sender.close();
  return bytes;
}

async function throughChild(): Promise<Buffer> {
  const child = spawn('cat');
  child.stdin.end(view);
  return bytesFrom(child.stdout);
}

const { WASI } = (await import('node:wasi')) as unknown as {
  WASI: new (options: object) => { wasiImport: object; initialize(instance: object): void };
};

/**
 * WASI functions on a module's memory, with the bytes at `AT` and a vector of three entries at 0. The first entry is
 * empty, as a C library's often is.
 */
async function withWasi(
  call: (wasi: WasiExports, fd: number) => void,
  begin: Buffer,
  importOf: (calls: object) => object = (calls) => calls,
): Promise<Buffer> {
  fs.writeFileSync(file('wasi'), begin);
  const fd = fs.openSync(file('wasi'), 'r+');
  const wasi = new WASI({ version: 'preview1', stdin: fd, stdout: fd });
  const imports = { wasi_snapshot_preview1: importOf(wasi.wasiImport) };
  const instance = new wasm.Instance(new wasm.Module(moduleOfWasi()), imports);
  wasi.initialize(instance);
  const exports = instance.exports as unknown as WasiExports;
  const own = Buffer.from(exports.memory.buffer);
  own.set(expected, AT);
  const vector = new Uint32Array(exports.memory.buffer, 0, 6);
  const region = regionOf(exports.memory);
  assert(region !== null, 'the memory of the module is paged');
  for (let done = 0; done < BYTES; ) {
    const first = Math.min(half, BYTES - done);
    vector.set([AT, 0, AT + done, first, AT + done + first, BYTES - done - first]);
    region.evict();
    call(exports, done);
    const count = new Uint32Array(exports.memory.buffer, 64, 1)[0]!;
    assert(count > 0, 'something was done');
    assert.equal(vector[3], first, 'the vector is as it was');
    done += count;
  }
  fs.closeSync(fd);
  return begin.length === 0 ? fs.readFileSync(file('wasi')) : own.subarray(AT, AT + BYTES);
}

function done(errno: number): void {
  assert.equal(errno, 0, `errno ${errno} of WASI`);
}

const write = promisify(fs.write);
const read = promisify(fs.read);

/** Calls that return the bytes written. */
const out: Record<string, () => Buffer | Promise<Buffer>> = {
  'fs.writeSync(fd, view)': () => written((_, fd) => fs.writeSync(fd, view)),
  'fs.writeSync(fd, memory, offset, length, position)': () =>
    written((_, fd) => fs.writeSync(fd, new Uint8Array(memory.buffer), AT, BYTES, 0)),
  'fs.writeSync(fd, view, options)': () =>
    written((_, fd) => fs.writeSync(fd, view, { offset: 0, length: BYTES, position: 0 } as never)),
  'fs.write': () => written((_, fd) => write(fd, view, 0, BYTES, 0)),
  'fs.writevSync': () => written((_, fd) => fs.writevSync(fd, halves)),
  'fs.writev': () => written((_, fd) => promisify(fs.writev)(fd, halves)),
  'fs.writeFileSync': () => written((path) => fs.writeFileSync(path, view)),
  'fs.writeFile': () => written((path) => promisify(fs.writeFile)(path, view)),
  'fs.appendFileSync': () => written((path) => fs.appendFileSync(path, view)),
  'fs.appendFile': () => written((path) => promisify(fs.appendFile)(path, view)),
  'fs.promises.writeFile': () => written((path) => fsp.writeFile(path, view)),
  'fs.promises.writeFile of parts': () => written((path) => fsp.writeFile(path, halves as never)),
  'fs.promises.appendFile': () => written((path) => fsp.appendFile(path, view)),
  'FileHandle.write': () =>
    written(async (path) => {
      await using handle = await fsp.open(path, 'r+');
      await handle.write(view);
    }),
  'FileHandle.writev': () =>
    written(async (path) => {
      await using handle = await fsp.open(path, 'r+');
      await handle.writev(halves);
    }),
  'FileHandle.writeFile': () =>
    written(async (path) => {
      await using handle = await fsp.open(path, 'r+');
      await handle.writeFile(view);
    }),
  'FileHandle.appendFile': () =>
    written(async (path) => {
      await using handle = await fsp.open(path, 'a');
      await handle.appendFile(view);
    }),
  'fs.createWriteStream': () => written((path) => pipeline([view], createWriteStream(path))),
  'net.Socket.end': () => sent((socket) => socket.end(view)),
  'net.connect, onread': () => readInto((path, onread) => net.connect({ path, onread }), false),
  'net.connect, onread of a function': () =>
    readInto((path, onread) => net.connect({ path, onread }), true),
  'new net.Socket, onread': () =>
    readInto(
      (path, onread) => new net.Socket({ onread } as net.SocketConstructorOpts).connect(path),
      false,
    ),
  'net.Socket.write, corked': () =>
    sent((socket) => {
      socket.cork();
      for (const part of halves) socket.write(part);
      socket.end();
    }),
  'http, both bodies': requested,
  'dgram.send': async () =>
    Buffer.concat([await datagram(view.subarray(0, 8000)), expected.subarray(8000)]),
  'dgram.send of parts': async () =>
    Buffer.concat([
      await datagram([view.subarray(0, 4000), view.subarray(4000, 8000)]),
      expected.subarray(8000),
    ]),
  'stdin of a child': throughChild,
  'spawnSync({ input })': () => spawnSync('cat', { input: view, maxBuffer: BYTES * 2 }).stdout,
  'execFileSync(…, { input })': () =>
    execFileSync('cat', [], { input: view, maxBuffer: BYTES * 2 }),
  'WASI fd_write': () => withWasi((wasi) => done(wasi.fd_write(1, 0, 3, 64)), Buffer.alloc(0)),
  'WASI fd_pwrite': () =>
    withWasi((wasi, at) => done(wasi.fd_pwrite(1, 0, 3, BigInt(at), 64)), Buffer.alloc(0)),
  'WASI fd_write of a copy of the functions': () =>
    withWasi(
      (wasi) => done(wasi.fd_write(1, 0, 3, 64)),
      Buffer.alloc(0),
      (calls) => ({ ...calls, sched_yield: () => 0 }),
    ),
  'zlib.gzipSync': () => gunzipSync(gzipSync(view)),
  'crypto.Hash.update': () => {
    const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    assert.equal(digest(view), digest(expected));
    return expected;
  },
  structuredClone: () => Buffer.from(structuredClone(Uint8Array.from(view))),
};

fs.writeFileSync(file('given'), expected);
const given = fs.openSync(file('given'), 'r');

/** Calls that fill the view with the bytes. */
const into: Record<string, () => unknown> = {
  'fs.readSync(fd, view)': () => fs.readSync(given, view, 0, BYTES, 0),
  'fs.readSync(fd, memory, options)': () =>
    fs.readSync(given, new DataView(memory.buffer), { offset: AT, length: BYTES, position: 0n }),
  'fs.readSync of a pipe': readPipe,
  'fs.read': () => read(given, view, 0, BYTES, 0),
  'fs.readvSync': () => fs.readvSync(given, halves, 0),
  'fs.readv': () => promisify(fs.readv)(given, halves, 0),
  'FileHandle.read': async () => {
    await using handle = await fsp.open(file('given'));
    await handle.read({ buffer: view, position: 0 });
  },
  'FileHandle.readv': async () => {
    await using handle = await fsp.open(file('given'));
    await handle.readv(halves, 0);
  },
  'WASI fd_read': async () =>
    view.set(await withWasi((wasi) => done(wasi.fd_read(0, 0, 3, 64)), expected)),
  'WASI fd_pread': async () =>
    view.set(await withWasi((wasi, at) => done(wasi.fd_pread(0, 0, 3, BigInt(at), 64)), expected)),
};

/** Calls that fill the view with noise. */
const noise: Record<string, () => unknown> = {
  'crypto.randomFillSync': () => randomFillSync(view),
  'crypto.randomFill': () => promisify(randomFill)(view),
  'crypto.getRandomValues': () => getRandomValues(view.subarray(0, 65_536)),
};

function evict(): void {
  regionOf(memory)!.evict();
}

/** A peer that sends as much as fits a pipe and waits for a reply before it sends more. */
function readPipe(): void {
  const [pipe, answer, sent] = [file('pipe'), file('answer'), file('sent')];
  execFileSync('sh', ['-c', 'mkfifo "$@"', 'sh', pipe, answer]);
  const peer = `exec 3> "$1"; head -c 65536 "$2" >&3; echo > "$4"; read line < "$3"`;
  spawn('sh', ['-c', peer, 'sh', pipe, file('given'), answer, sent]);
  const fd = fs.openSync(pipe, 'r');
  while (!fs.existsSync(sent)) execFileSync('sleep', ['0.01']);
  const count = fs.readSync(fd, view, 0, BYTES, null);
  fs.writeFileSync(answer, 'thanks\n');
  fs.closeSync(fd);
  assert.equal(count, 65_536);
  view.set(expected.subarray(count), count);
}

const results: Record<string, string> = {};

async function look(name: string, body: () => unknown): Promise<void> {
  try {
    await body();
    results[name] = 'ok';
  } catch (error) {
    results[name] = (error as Error).message.split('\n')[0]!;
  }
}

for (const [name, call] of Object.entries(out))
  await look(name, async () => {
    view.set(expected);
    evict();
    assert(expected.equals(await call()), 'other bytes');
  });
for (const [name, call] of Object.entries(into))
  await look(name, async () => {
    view.fill(0);
    evict();
    await call();
    assert(expected.equals(view), 'other bytes');
  });
for (const [name, call] of Object.entries(noise))
  await look(name, async () => {
    view.fill(0);
    evict();
    await call();
    assert(new Set(view.subarray(0, 65_536)).size > 200, 'no noise');
  });
await look('a stream of objects', () => {
  const seen: unknown[] = [];
  const stream = new Writable({
    objectMode: true,
    write: (part, _, done) => {
      seen.push(part);
      done();
    },
  });
  stream.write(view);
  assert.equal(seen[0], view, 'the object itself');
});
await look('WASI random_get', () => {
  const wasi = new WASI({ version: 'preview1' });
  const imports = { wasi_snapshot_preview1: wasi.wasiImport };
  const instance = new wasm.Instance(new wasm.Module(moduleOfWasi()), imports);
  wasi.initialize(instance);
  const exports = instance.exports as unknown as WasiExports;
  const own = new Uint8Array(exports.memory.buffer, AT, BYTES).fill(0);
  regionOf(exports.memory)!.evict();
  done(exports.random_get(AT, BYTES));
  assert(new Set(own.subarray(BYTES - 5000)).size > 200, 'no noise');
});

fs.closeSync(given);
fs.rmSync(folder, { recursive: true });
console.log(JSON.stringify(results));
