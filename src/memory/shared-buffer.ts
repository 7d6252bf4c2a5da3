/** A SharedArrayBuffer that can be paged: it shares no page with other data. */

/** ES2024's growable SharedArrayBuffer: Node 20 has it, but the es2023 types do not. */
interface GrowableShared extends SharedArrayBuffer {
  grow(bytes: number): void;
}
const Growable = SharedArrayBuffer as unknown as new (
  bytes: number,
  options: { readonly maxByteLength: number },
) => GrowableShared;

/** New shared memory. A growable buffer is page-aligned, unlike one of fixed length, and uses memory only where it is accessed. */
export function growShared(bytes: number): SharedArrayBuffer {
  const memory = new Growable(0, { maxByteLength: bytes });
  memory.grow(bytes);
  return memory;
}
