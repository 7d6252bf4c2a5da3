/*
 * The decoding half of the kernels (src/codec/wasm): checksum, LZ4 block to page, bit planes to page. Each gives the
 * same result as its kernel for every input, malformed ones included; test/native/codec.test compares them.
 *
 * A block is in a separate buffer with SLACK bytes after it, and so is the page that is written: copies are 16 bytes
 * wide and may overrun by that much. Nothing else is accessed, whatever the input.
 */
#define SLACK 64

typedef uint64_t v2 __attribute__((vector_size(16)));

static uint32_t keys[128];
static uint8_t patterns[256];
static uint8_t strides[16];

static v2 load16(const uint8_t *at) {
  v2 v;
  __builtin_memcpy(&v, at, 16);
  return v;
}

static void store16(uint8_t *at, v2 v) { __builtin_memcpy(at, &v, 16); }

static uint32_t load32(const uint8_t *at) {
  uint32_t v;
  __builtin_memcpy(&v, at, 4);
  return v;
}

/* See src/codec/wasm/copy.ts: splitmix64's high halves, made odd; for the patterns, see lz4.ts. */
static void init_codec(void) {
  uint64_t state = 0x5f3759df;
  for (int i = 0; i < 128; i++) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    keys[i] = (uint32_t)(z >> 32) | 1;
  }
  for (int d = 1; d < 16; d++) {
    for (int i = 0; i < 16; i++) patterns[d * 16 + i] = (uint8_t)(i % d);
    strides[d] = (uint8_t)((16 / d) * d);
  }
}

#define R 0x9fb21c651e98df25u

/* 32-bit checksum of a range; see src/codec/wasm/copy.ts. Nothing outside the range is read. */
static uint32_t checksum(const uint8_t *from, uint32_t length, uint32_t seed) {
  uint64_t sum = 0;
  const uint8_t *blocks_end = from + (length & ~255u);
  for (; from < blocks_end; from += 256) {
    uint64_t a = 0;
    for (int i = 0; i < 64; i++) a += (uint64_t)load32(from + i * 4) * keys[i];
    sum = (sum + a) * R;
  }
  uint32_t rest = length & 255;
  uint32_t words = rest >> 2;
  for (uint32_t i = 0; i < words; i++) sum += (uint64_t)load32(from + i * 4) * keys[i];
  if (rest & 3) {
    uint32_t word = 0;
    for (uint32_t i = 0; i < (rest & 3); i++) word |= (uint32_t)from[words * 4 + i] << (i * 8);
    sum += (uint64_t)word * keys[words];
  }
  uint64_t h = sum * R + (uint64_t)seed * 0xd6e8feb86659fd93u + (uint64_t)length * 0xa0761d6478bd642fu;
  uint32_t x = (uint32_t)(h >> 32);
  x ^= x >> 16;
  x *= 0x7feb352du;
  return x ^ (x >> 15);
}

/* The longest block that can hold a page. */
#define BLOCK_MAX 4114

/* Decompresses a block to a page. Returns 4096, or -1. The checks are those of src/codec/wasm/lz4.ts. */
static int lz4_decompress(const uint8_t *from, int32_t length, uint8_t *page) {
  if (length < 1 || length > BLOCK_MAX) return -1;
  const uint8_t *ip = from;
  uint8_t *op = page;
  const uint8_t *const block_end = from + length;
  uint8_t *const page_end = page + PAGE;
  for (;;) {
    size_t token = *ip++;
    size_t literals = token >> 4;
    if (literals != 15) {
      store16(op, load16(ip));
      op += literals;
      ip += literals;
    } else {
      size_t more;
      do {
        if (ip >= block_end) return -1;
        more = *ip++;
        literals += more;
      } while (more == 255);
      if (literals > (size_t)(page_end - op) || ip > block_end || literals > (size_t)(block_end - ip))
        return -1;
      uint8_t *const end = op + literals;
      const uint8_t *const next = ip + literals;
      do {
        store16(op, load16(ip));
        op += 16;
        ip += 16;
      } while (op < end);
      op = end;
      ip = next;
    }
    if (op > page_end - 12) return ip == block_end && op == page_end ? PAGE : -1;
    if (block_end - ip < 8) return -1;

    size_t offset = (size_t)ip[0] | (size_t)ip[1] << 8;
    ip += 2;
    if (offset - 1 >= (size_t)(op - page)) return -1;
    const uint8_t *source = op - offset;
    size_t match = (token & 15) + 4;
    if ((token & 15) == 15) {
      size_t more;
      do {
        if (ip >= block_end) return -1;
        more = *ip++;
        match += more;
      } while (more == 255);
    }
    if (match > (size_t)(page_end - 5 - op)) return -1;
    uint8_t *const end = op + match;
    if (offset >= 16) {
      do {
        store16(op, load16(source));
        op += 16;
        source += 16;
      } while (op < end);
    } else {
      /* Source and target overlap within 16 bytes: repeat the period. */
      uint8_t spread[16];
      for (int i = 0; i < 16; i++) spread[i] = source[patterns[offset * 16 + i]];
      v2 v = load16(spread);
      size_t step = strides[offset];
      do {
        store16(op, v);
        op += step;
      } while (op < end);
    }
    op = end;
  }
}

static v2 splat(uint8_t byte) {
  uint64_t w = byte * 0x0101010101010101u;
  return (v2){w, w};
}

#define EXCHANGE(a, b, by, mask)   \
  do {                             \
    v2 t = ((a >> by) ^ b) & mask; \
    b ^= t;                        \
    a ^= t << by;                  \
  } while (0)

/*
 * turnBits() of src/codec/wasm/planes.ts: reads eight vectors, transposes the 8 x 8 bit matrix of each byte, writes
 * eight.
 */
static void turn_bits(const uint8_t *from, size_t from_stride, uint8_t *to) {
  v2 v[8];
  for (int i = 0; i < 8; i++) v[i] = load16(from + i * from_stride);
  v2 mask = splat(0x0f);
  for (int i = 0; i < 4; i++) EXCHANGE(v[i], v[i + 4], 4, mask);
  mask = splat(0x33);
  for (int i = 0; i < 8; i += 4) {
    EXCHANGE(v[i], v[i + 2], 2, mask);
    EXCHANGE(v[i + 1], v[i + 3], 2, mask);
  }
  mask = splat(0x55);
  for (int i = 0; i < 8; i += 2) EXCHANGE(v[i], v[i + 1], 1, mask);
  for (int i = 0; i < 8; i++) store16(to + i * 16, v[i]);
}

/*
 * Writes the page whose planes are at `from`; `rows` is a page of scratch. Returns 4096, or -1 for an unknown filter.
 */
static int from_planes(uint32_t filter, const uint8_t *from, uint8_t *rows, uint8_t *page) {
  if (filter < 1 || filter > 4) return -1;
  int is8 = (filter - 1) & 1;
  int is_delta = filter >= 3;
  size_t row = is8 ? 512 : 1024;
  const uint8_t *planes = from;
  for (uint8_t *b = rows; b < rows + PAGE; b += row, planes += row)
    for (size_t at = 0; at < row; at += 128) turn_bits(planes + (at >> 3), row >> 3, b + at);
  if (is8) {
    uint64_t before = 0;
    for (int i = 0; i < 512; i++) {
      uint64_t v = 0;
      for (int b = 0; b < 8; b++) v |= (uint64_t)rows[b * 512 + i] << (b * 8);
      if (is_delta) v += before;
      before = v;
      __builtin_memcpy(page + i * 8, &v, 8);
    }
  } else {
    uint32_t before = 0;
    for (int i = 0; i < 1024; i++) {
      uint32_t v = rows[i] | (uint32_t)rows[1024 + i] << 8 | (uint32_t)rows[2048 + i] << 16 |
                   (uint32_t)rows[3072 + i] << 24;
      if (is_delta) v += before;
      before = v;
      __builtin_memcpy(page + i * 4, &v, 4);
    }
  }
  return PAGE;
}

/* ---- the sum of a block in a swap file: block/filters/checksum-disk.ts ---- */

static inline uint32_t mix(uint32_t state, uint32_t word) {
  uint32_t product = (state ^ word) * 0x9e3779b1u;
  return product << 15 | product >> 17;
}

static uint32_t block_sum(const uint8_t *page) {
  uint32_t lanes[4] = {0x243f6a88u, 0x13198a2eu, 0x2b7e1516u, 0x3c6ef372u};
  for (int at = 0; at < PAGE; at += 16) {
    uint32_t words[4];
    __builtin_memcpy(words, page + at, 16);
    for (int i = 0; i < 4; i++) lanes[i] = mix(lanes[i], words[i]);
  }
  uint32_t sum = mix(mix(mix(mix(0, lanes[0]), lanes[1]), lanes[2]), lanes[3]);
  return sum == 0 ? 1 : sum;
}
