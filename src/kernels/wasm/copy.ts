// Copies and checksums of stored bytes.

/** 32-bit checksum of a range of any length and alignment. */
export function checksum(from: usize, length: usize, seed: u32): i32 {
  let a: u64 = (<u64>seed ^ (<u64>length << 32)) * 0x9e3779b97f4a7c15;
  const end = from + (length & ~7);
  while (from < end) {
    a = (a ^ load<u64>(from)) * 0xff51afd7ed558ccd;
    a ^= a >> 32;
    from += 8;
  }
  const tail = end + (length & 7);
  while (from < tail) a = (a ^ <u64>load<u8>(from++)) * 0xc4ceb9fe1a85ec53;
  a ^= a >> 33;
  return <i32>(<u32>a ^ <u32>(a >> 32));
}

export function copy(to: usize, from: usize, length: usize): void {
  memory.copy(to, from, length);
}

/** Copies a range and returns its checksum. */
export function copyChecksum(to: usize, from: usize, length: usize, seed: u32): i32 {
  memory.copy(to, from, length);
  return checksum(from, length, seed);
}
