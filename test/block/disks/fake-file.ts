/** A file in memory with short reads and writes and injected errors, which checks the alignment rules of O_DIRECT. */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import type { FileIo } from '../../../src/block/disks/file-io.ts';

export class FakeFile implements FileIo {
  readonly bytes: Uint8Array;
  readonly #prng: Prng;
  readonly #isDirect: boolean;
  /** Size of the file: tests may truncate it; writes extend it. */
  sizeBytes: number;
  /** The error code of the next calls, by name. */
  readonly failing: Map<'read' | 'write' | 'sync', string> = new Map();
  canPunch = true;
  syncs = 0;
  closes = 0;
  calls = 0;

  constructor(sizeBytes: number, prng: Prng, isDirect: boolean) {
    this.bytes = new Uint8Array(sizeBytes);
    this.sizeBytes = sizeBytes;
    this.#prng = prng;
    this.#isDirect = isDirect;
  }

  read(data: Uint8Array, at: number, length: number, position: number): number {
    this.#check('read', data, at, length, position);
    const there = Math.min(length, Math.max(0, this.sizeBytes - position));
    const moved = this.#some(there);
    data.set(this.bytes.subarray(position, position + moved), at);
    return moved;
  }

  write(data: Uint8Array, at: number, length: number, position: number): number {
    this.#check('write', data, at, length, position);
    const moved = this.#some(length);
    this.bytes.set(data.subarray(at, at + moved), position);
    this.sizeBytes = Math.max(this.sizeBytes, position + moved);
    return moved;
  }

  sync(): void {
    this.#fail('sync');
    this.syncs++;
  }

  punchHole(position: number, length: number): boolean {
    if (!this.canPunch) return false;
    this.bytes.fill(0, position, position + length);
    return true;
  }

  close(): void {
    this.closes++;
  }

  #check(
    name: 'read' | 'write',
    data: Uint8Array,
    at: number,
    length: number,
    position: number,
  ): void {
    this.calls++;
    assert.ok(length > 0 && at >= 0 && at + length <= data.length, 'inside the array');
    assert.ok(position >= 0 && position + length <= this.bytes.length, 'inside the file');
    if (this.#isDirect)
      for (const n of [position, length, data.byteOffset + at])
        assert.equal(n % 4096, 0, 'O_DIRECT requires full blocks');
    this.#fail(name);
  }

  #fail(name: 'read' | 'write' | 'sync'): void {
    const code = this.failing.get(name);
    if (code !== undefined) throw Object.assign(new Error(code), { code, errno: -1 });
  }

  #some(length: number): number {
    if (length <= 4096 && this.#isDirect) return length;
    if (!this.#prng.oneIn(3) || length < 2) return length;
    const part = 1 + this.#prng.below(length - 1);
    return this.#isDirect ? Math.max(4096, part - (part % 4096)) : part;
  }
}
